//! Token theft: I have copied a refresh token, I use an access token after its session has ended, or I forge tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{TestServer, send};

const NAME: &str = "ada@test.org";

#[tokio::test]
async fn parallel_refreshes_of_one_token_give_one_successor() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (_, first) = server.tokens(NAME).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let request = server.request(Method::POST, "/v1/refresh").json(&json!({"refresh_token": first}));
        tasks.spawn(send(request));
    }
    let answers = tasks.join_all().await;
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::OK);
    }
    let successors: BTreeSet<String> = answers.iter().map(|answer| answer.text("refresh_token")).collect();
    assert_eq!(successors.len(), 1);
    let successor = successors.first().unwrap();
    assert_eq!(server.refresh(&first).await.text("refresh_token"), *successor);
    let access = answers[0].text("access_token");
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);

    // A use after the grace ends the family and everything in it, and the owner gets one mail.
    server.clock.advance(Duration::from_secs(10));
    assert_eq!(server.refresh(&first).await.problem(), (401, "refresh_token_reused"));
    assert_eq!(server.refresh(successor).await.problem(), (401, "refresh_token_reused"));
    assert_eq!(server.get_as("/v1/me", &access).await.problem(), (401, "unauthenticated"));
    server.mail(NAME, "session").await;
    assert_eq!(server.mail_count("session"), 1);
}

#[tokio::test]
async fn a_thief_who_rotates_first_is_found_out_by_the_owner() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (_, stolen) = server.tokens(NAME).await;
    let thief = server.refresh(&stolen).await.text("refresh_token");
    let thief = server.refresh(&thief).await.text("refresh_token");
    assert_eq!(server.refresh(&stolen).await.problem(), (401, "refresh_token_reused"));
    assert_eq!(server.refresh(&thief).await.problem(), (401, "refresh_token_reused"));
}

#[tokio::test]
async fn garbage_and_changed_tokens_are_refused() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, refresh) = server.tokens(NAME).await;
    let mut flipped = refresh.clone().into_bytes();
    flipped[40] = if flipped[40] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for token in ["", "pcr_", "x", &refresh[..70], &refresh.replace("pcr_", "pcs_"), &flipped] {
        assert_eq!(server.refresh(token).await.problem(), (401, "invalid_refresh_token"), "{token}");
    }
    for token in ["", "x.y.z", &access[..access.len() - 2], &refresh] {
        assert_eq!(server.get_as("/v1/me", token).await.problem(), (401, "unauthenticated"), "{token}");
    }
    server.clock.advance(Duration::from_mins(15));
    assert_eq!(server.get_as("/v1/me", &access).await.problem(), (401, "unauthenticated"));
}

#[tokio::test]
async fn log_out_everywhere_kills_every_token_at_once() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (here, _) = server.tokens(NAME).await;
    let (there, refresh) = server.tokens(NAME).await;
    let others = server.post_as("/v1/logout", &here, json!({"scope": "others"})).await;
    assert_eq!(others.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get_as("/v1/me", &there).await.problem(), (401, "unauthenticated"));
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    assert_eq!(server.get_as("/v1/me", &here).await.status, StatusCode::OK);
    let global = server.post_as("/v1/logout", &here, json!({"scope": "global"})).await;
    assert_eq!(global.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get_as("/v1/me", &here).await.problem(), (401, "unauthenticated"));
}

/// Returns when an access token says that it expires, in seconds since 1970.
fn expiry(access: &str) -> u64 {
    let claims = Base64UrlUnpadded::decode_vec(access.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["exp"].as_u64().unwrap()
}

#[tokio::test]
async fn an_access_token_does_not_outlive_its_session() {
    let end = 3600;
    let server =
        TestServer::with(&[("refresh.absolute_ttl_secs", "3600"), ("refresh.idle_ttl_secs", "3600")]);
    server.account(NAME).await;
    let opened = server.clock.now();
    let (_, mut refresh) = server.tokens(NAME).await;
    for at in [1800, 2700, 3000, 3599] {
        let passed = server.clock.now().since(opened);
        server.clock.advance(Duration::from_secs(at).checked_sub(passed).unwrap());
        let answer = server.refresh(&refresh).await;
        assert_eq!(answer.status, StatusCode::OK, "{at}");
        assert_eq!(answer.body["expires_in"], (end - at).min(900), "{at}");
        // A resource server that checks tokens by itself has only this time to go by.
        assert!(expiry(&answer.text("access_token")) <= opened.as_secs() + end, "{at}");
        refresh = answer.text("refresh_token");
    }
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
}
