//! Token theft: I have copied a refresh token, I use an access token after its session has ended, or I forge tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, TestServer, send};

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

const OWNER: (&str, &str) =
    ("192.0.2.1", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0");
const THIEF: (&str, &str) = ("198.51.100.7", "curl/8");

/// Sends a request of the client `from`, which is at an address and has a name; as `access` if there is one.
async fn ask(
    server: &TestServer,
    from: (&str, &str),
    (method, path): (Method, &str),
    access: Option<&str>,
    body: Value,
) -> Answer {
    let request = server.request(method, path).header("x-forwarded-for", from.0).header("user-agent", from.1);
    let request = if let Some(access) = access { request.bearer_auth(access) } else { request };
    send(request.json(&body)).await
}

async fn refresh_from(server: &TestServer, from: (&str, &str), token: &str) -> Answer {
    ask(server, from, (Method::POST, "/v1/refresh"), None, json!({"refresh_token": token})).await
}

/// How I end a session that I have stolen.
#[derive(Clone, Copy, Debug)]
enum End {
    Token,
    Bearer(&'static str),
    Listed,
}

/// I rotate first and then log out, so that the owner's spent token finds no family that it could end.
#[tokio::test]
async fn a_thief_who_rotates_and_logs_out_is_found_out_all_the_same() {
    let server = TestServer::behind_proxy();
    let ways = [End::Token, End::Bearer("local"), End::Bearer("global"), End::Listed];
    for (number, way) in ways.into_iter().enumerate() {
        let email = format!("ada{number}@test.org");
        server.account(&email).await;
        let body = json!({"email": email, "password": PASSWORD});
        let opened = ask(&server, OWNER, (Method::POST, "/v1/login"), None, body).await;
        let stolen = opened.text("refresh_token");
        let thief = refresh_from(&server, THIEF, &stolen).await;
        let access = thief.text("access_token");
        let log_out = (Method::POST, "/v1/logout");
        let ended = match way {
            End::Token => {
                let body = json!({"refresh_token": thief.text("refresh_token")});
                ask(&server, THIEF, log_out, None, body).await
            }
            End::Bearer(scope) => ask(&server, THIEF, log_out, Some(&access), json!({"scope": scope})).await,
            End::Listed => {
                let session = server.get_as("/v1/session", &access).await;
                let path = format!("/v1/sessions/{}", session.body["session"]["id"].as_str().unwrap());
                ask(&server, THIEF, (Method::DELETE, &path), Some(&access), json!({})).await
            }
        };
        assert_eq!(ended.status, StatusCode::NO_CONTENT, "{way:?}: {ended:?}");
        // The owner comes back, at once or hours later, and hears of it once.
        server.clock.advance(Duration::from_mins(30) * number.try_into().unwrap());
        for _ in 0..2 {
            let back = refresh_from(&server, OWNER, &stolen).await;
            assert_eq!(back.problem(), (401, "refresh_token_reused"), "{way:?}");
        }
        server.mail(&email, "session").await;
        assert_eq!(server.mail_count("session"), number + 1, "{way:?}");
    }
}

/// The other way round: the owner logs out in one tab, and another one comes back with what it had before.
#[tokio::test]
async fn the_other_tab_of_who_logged_out_looks_like_no_thief() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let body = json!({"email": NAME, "password": PASSWORD});
    for back in [(OWNER.0, "another program"), ("203.0.113.9", OWNER.1)] {
        let opened = ask(&server, OWNER, (Method::POST, "/v1/login"), None, body.clone()).await;
        let first = opened.text("refresh_token");
        let second = refresh_from(&server, OWNER, &first).await.text("refresh_token");
        let body = json!({"refresh_token": second});
        let ended = ask(&server, OWNER, (Method::POST, "/v1/logout"), None, body).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT);
        server.clock.advance(Duration::from_mins(1));
        for token in [&first, &second] {
            assert_eq!(refresh_from(&server, back, token).await.problem(), (401, "session_expired"));
        }
    }
}

/// I log out with a token that its owner has spent long ago.
#[tokio::test]
async fn a_log_out_with_a_spent_token_tells_the_owner() {
    let server = TestServer::start();
    for (number, rotations) in [1, 3].into_iter().enumerate() {
        let email = format!("ada{number}@test.org");
        server.account(&email).await;
        let (_, stolen) = server.tokens(&email).await;
        let mut live = stolen.clone();
        for _ in 0..rotations {
            live = server.refresh(&live).await.text("refresh_token");
            server.clock.advance(Duration::from_secs(10));
        }
        let ended = server.post("/v1/logout", json!({"refresh_token": stolen})).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT);
        assert_eq!(server.refresh(&live).await.problem(), (401, "refresh_token_reused"));
        server.mail(&email, "session").await;
        assert_eq!(server.mail_count("session"), number + 1);
    }
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
