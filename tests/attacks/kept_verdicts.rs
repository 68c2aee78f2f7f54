//! A cached verdict outlives its credential: I go on using a token or cookie after it was ended. The server caches
//! verdicts, so that it need not ask its registries for each request.
//!
//! Source: OWASP Session Management Cheat Sheet, "Session Expiration".
//!
//! Bound: no request succeeds after the answer that ended the session, whatever ended it.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{ORIGIN, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";

async fn is_alive(server: &TestServer, access: &str) -> bool {
    server.get_as("/v1/session", access).await.status == StatusCode::OK
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    LogOut,
    LogOutElsewhere,
    PasswordChange,
    Reuse,
}

/// Ends the session of the tokens `access` and `refresh`.
async fn end(server: &TestServer, ending: Ending, access: &str, refresh: &str) {
    match ending {
        Ending::LogOut => {
            server.post_as("/v1/logout", access, json!({})).await;
        }
        Ending::LogOutElsewhere => {
            let (other, _) = server.tokens(NAME).await;
            assert!(is_alive(server, access).await);
            server.post_as("/v1/logout", &other, json!({"scope": "global"})).await;
        }
        Ending::PasswordChange => {
            let (other, _) = server.tokens(NAME).await;
            let changed = server.change_password(&other, PASSWORD, PASSWORD).await;
            assert_eq!(changed.status, StatusCode::OK);
        }
        Ending::Reuse => {
            server.refresh(refresh).await;
            assert!(is_alive(server, access).await);
            server.clock.advance(Duration::from_secs(30));
            assert_eq!(server.refresh(refresh).await.problem(), (401, "refresh_token_reused"));
        }
    }
}

#[tokio::test]
async fn no_cached_verdict_outlives_the_end_of_its_session() {
    let server = TestServer::start();
    server.account(NAME).await;
    for ending in [Ending::LogOut, Ending::LogOutElsewhere, Ending::PasswordChange, Ending::Reuse] {
        let (access, refresh) = server.tokens(NAME).await;
        for _ in 0..3 {
            assert!(is_alive(&server, &access).await, "{ending:?}");
        }
        end(&server, ending, &access, &refresh).await;
        for _ in 0..3 {
            assert!(!is_alive(&server, &access).await, "{ending:?}");
        }
    }
}

#[tokio::test]
async fn a_cached_verdict_ends_when_its_token_expires() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    for _ in 0..30 {
        assert!(is_alive(&server, &access).await);
        server.clock.advance(Duration::from_secs(30));
    }
    assert!(!is_alive(&server, &access).await);
}

/// Returns the status of a request with `cookie`.
async fn status(server: &TestServer, cookie: &str) -> StatusCode {
    server.get_with_cookie("/v1/session", cookie).await.status
}

#[tokio::test]
async fn a_cached_verdict_of_a_cookie_ends_with_log_out() {
    let server = TestServer::start();
    server.account(NAME).await;
    let opened = server.log_in_for_cookie(NAME).await;
    let cookie = opened.session_cookie();
    // It is in use all the time, so it lives longer than the idle timeout of half an hour.
    for _ in 0..8 {
        server.clock.advance(Duration::from_mins(10));
        assert_eq!(status(&server, &cookie).await, StatusCode::OK);
        assert_eq!(status(&server, &cookie).await, StatusCode::OK);
    }
    let log_out = server.request(Method::POST, "/v1/logout").header("cookie", &cookie);
    let log_out = log_out.header("origin", ORIGIN).header("x-csrf-token", opened.text("csrf_token"));
    assert_eq!(send(log_out).await.status, StatusCode::NO_CONTENT);
    assert_eq!(status(&server, &cookie).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_cached_verdict_of_a_cookie_does_not_stop_the_idle_timeout() {
    let server = TestServer::start();
    server.account(NAME).await;
    let cookie = server.log_in_for_cookie(NAME).await.session_cookie();
    assert_eq!(status(&server, &cookie).await, StatusCode::OK);
    server.clock.advance(Duration::from_mins(31));
    assert_eq!(status(&server, &cookie).await, StatusCode::UNAUTHORIZED);
}
