//! The attack: a credential that was good a moment ago is used on after it was ended. The server keeps verdicts so that it
//! need not ask its registries for each request; none of them may outlive what it rests on.
//!
//! Source: OWASP Session Management Cheat Sheet, "Session Expiration". Bound: 0 requests succeed after the answer that
//! ended the session, whatever ended it.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer};

async fn is_alive(server: &TestServer, access: &str) -> bool {
    server.get_as("/v1/session", access).await.status == StatusCode::OK
}

#[tokio::test]
async fn no_kept_verdict_outlives_the_end_of_its_session() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    for ending in ["logout", "elsewhere", "password", "reuse"] {
        let (access, refresh) = server.tokens("ada@test.org").await;
        for _ in 0..3 {
            assert!(is_alive(&server, &access).await);
        }
        match ending {
            "logout" => drop(server.post_as("/v1/logout", &access, json!({})).await),
            "elsewhere" => {
                let (other, _) = server.tokens("ada@test.org").await;
                assert!(is_alive(&server, &access).await);
                server.post_as("/v1/logout", &other, json!({"scope": "global"})).await;
            }
            "password" => {
                let (other, _) = server.tokens("ada@test.org").await;
                let change = json!({"current_password": PASSWORD, "new_password": PASSWORD});
                let changed = server.post_as("/v1/password/change", &other, change).await;
                assert_eq!(changed.status, StatusCode::NO_CONTENT);
            }
            _ => {
                server.refresh(&refresh).await;
                assert!(is_alive(&server, &access).await);
                server.clock.advance(Duration::from_secs(30));
                assert_eq!(server.refresh(&refresh).await.problem(), (401, "refresh_token_reused"));
            }
        }
        for _ in 0..3 {
            assert!(!is_alive(&server, &access).await, "{ending}");
        }
    }
}

#[tokio::test]
async fn a_kept_verdict_ends_with_the_time_of_its_token() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    for _ in 0..31 {
        assert!(is_alive(&server, &access).await);
        server.clock.advance(Duration::from_secs(30));
    }
    assert!(!is_alive(&server, &access).await);
}

#[tokio::test]
async fn a_kept_verdict_of_a_cookie_neither_survives_log_out_nor_stops_its_idle_time() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let log_in = || async {
        let body = json!({"email": "ada@test.org", "password": PASSWORD, "mode": "cookie"});
        let request = server.request(Method::POST, "/v1/login").header("origin", ORIGIN).json(&body);
        let response = request.send().await.unwrap();
        let cookies = response.headers().get_all("set-cookie").iter();
        let session = cookies.filter_map(|cookie| cookie.to_str().unwrap().split(';').next());
        let session = session.into_iter().find(|cookie| cookie.contains("session")).unwrap().to_owned();
        (session, Answer::of(response).await.text("csrf_token"))
    };
    let status = |cookie: String| async {
        let request = server.request(Method::GET, "/v1/session").header("cookie", cookie);
        request.send().await.unwrap().status()
    };
    let (cookie, csrf) = log_in().await;
    // Used all along, it lives past its idle time of half an hour.
    for _ in 0..8 {
        server.clock.advance(Duration::from_mins(10));
        assert_eq!(status(cookie.clone()).await, StatusCode::OK);
        assert_eq!(status(cookie.clone()).await, StatusCode::OK);
    }
    let log_out = server.request(Method::POST, "/v1/logout").header("cookie", &cookie);
    let log_out = log_out.header("origin", ORIGIN).header("x-csrf-token", csrf).send().await.unwrap();
    assert_eq!(log_out.status(), StatusCode::NO_CONTENT);
    assert_eq!(status(cookie).await, StatusCode::UNAUTHORIZED);
    let (idle, _) = log_in().await;
    assert_eq!(status(idle.clone()).await, StatusCode::OK);
    server.clock.advance(Duration::from_mins(31));
    assert_eq!(status(idle).await, StatusCode::UNAUTHORIZED);
}
