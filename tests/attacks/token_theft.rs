//! Token theft: a refresh token was copied; an access token is used after its session has ended; tokens are forged.

use std::collections::BTreeSet;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Answer, TestServer};

#[tokio::test]
async fn fifty_parallel_refreshes_of_one_token_give_one_successor_and_later_use_ends_the_family() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (_, first) = server.tokens("ada@test.org").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let request = server.request(Method::POST, "/v1/refresh").json(&json!({"refresh_token": first}));
        tasks.spawn(async { Answer::of(request.send().await.unwrap()).await });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    let successors: BTreeSet<String> = answers.iter().map(|answer| answer.text("refresh_token")).collect();
    assert_eq!(successors.len(), 1);
    assert_eq!(server.refresh(&first).await.text("refresh_token"), *successors.first().unwrap());
    let access = answers[0].text("access_token");
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_secs(10));
    assert_eq!(server.refresh(&first).await.problem(), (401, "refresh_token_reused"));
    assert_eq!(server.refresh(successors.first().unwrap()).await.problem(), (401, "refresh_token_reused"));
    assert_eq!(server.get_as("/v1/me", &access).await.problem(), (401, "unauthenticated"));
    server.mail("ada@test.org", "session").await;
    let told = server.mails.lock().iter().filter(|mail| mail.letter.subject.contains("session")).count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_thief_who_rotates_first_is_found_out_by_the_owner() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (_, stolen) = server.tokens("ada@test.org").await;
    let thief = server.refresh(&stolen).await.text("refresh_token");
    let thief = server.refresh(&thief).await.text("refresh_token");
    assert_eq!(server.refresh(&stolen).await.problem(), (401, "refresh_token_reused"));
    assert_eq!(server.refresh(&thief).await.problem(), (401, "refresh_token_reused"));
}

#[tokio::test]
async fn garbage_and_changed_tokens_are_refused() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, refresh) = server.tokens("ada@test.org").await;
    let flipped: String = refresh
        .chars()
        .enumerate()
        .map(|(at, c)| if at == 40 { if c == 'A' { 'B' } else { 'A' } } else { c })
        .collect();
    for token in ["", "pcr_", "x", &refresh[..70], &refresh.replace("pcr_", "pcs_"), &flipped] {
        assert_eq!(server.refresh(token).await.problem(), (401, "invalid_refresh_token"), "{token}");
    }
    for token in ["", "x.y.z", &access[..access.len() - 2], &refresh] {
        assert_eq!(server.get_as("/v1/me", token).await.problem(), (401, "unauthenticated"), "{token}");
    }
    server.clock.advance(Duration::from_secs(931));
    assert_eq!(server.get_as("/v1/me", &access).await.problem(), (401, "unauthenticated"));
}

#[tokio::test]
async fn log_out_everywhere_kills_every_token_at_once() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (here, _) = server.tokens("ada@test.org").await;
    let (there, refresh) = server.tokens("ada@test.org").await;
    assert_eq!(
        server.post_as("/v1/logout", &here, json!({"scope": "others"})).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(server.get_as("/v1/me", &there).await.problem(), (401, "unauthenticated"));
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    assert_eq!(server.get_as("/v1/me", &here).await.status, StatusCode::OK);
    assert_eq!(
        server.post_as("/v1/logout", &here, json!({"scope": "global"})).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(server.get_as("/v1/me", &here).await.problem(), (401, "unauthenticated"));
}

#[tokio::test]
async fn an_access_token_ends_with_its_session_and_not_a_quarter_of_an_hour_later() {
    let end = 3600;
    let server =
        TestServer::with(&[("refresh.absolute_ttl_secs", "3600"), ("refresh.idle_ttl_secs", "3600")]);
    server.account("ada@test.org").await;
    let opened = server.clock.now();
    let (_, mut refresh) = server.tokens("ada@test.org").await;
    for at in [1800, 2700, 3000, 3599] {
        let passed = server.clock.now().since(opened);
        server.clock.advance(Duration::from_secs(at).checked_sub(passed).unwrap());
        let answer = server.refresh(&refresh).await;
        assert_eq!(answer.status, StatusCode::OK, "{at}");
        assert_eq!(answer.body["expires_in"], (end - at).min(900), "{at}");
        // Who checks tokens without asking has nothing else to go by.
        let access = answer.text("access_token");
        let claims = access.split('.').nth(1).unwrap();
        let claims = Base64UrlUnpadded::decode_vec(claims).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert!(claims["exp"].as_u64().unwrap() <= opened.as_secs() + end, "{at}");
        refresh = answer.text("refresh_token");
    }
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
}
