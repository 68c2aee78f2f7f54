//! A credential as something it is not, or after its end: I send a cookie as a bearer, to get around the protection
//! against CSRF, an access token as a cookie, or a token after the second in which it ends; or I keep a stream open that I
//! began while I had the right.
//!
//! Bounds: none of them is accepted, whether the server knows the credential already or not. A stream ends within
//! seconds.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{NAME, ROOT, is_alive, path_of};
use crate::support::{ORIGIN, PASSWORD, TestServer, send};

#[tokio::test]
async fn a_cookie_is_no_bearer_and_an_access_token_no_cookie_cold_or_warm() {
    let server = TestServer::start();
    server.account(NAME).await;
    // A client that does not say what it is.
    let http = reqwest::Client::builder().build().unwrap();
    let url = |path: &str| format!("{}{path}", server.url);
    let body = json!({"email": NAME, "password": PASSWORD, "mode": "cookie"});
    let opened = send(http.post(url("/v1/login")).header("origin", ORIGIN).json(&body)).await;
    let cookie = opened.session_cookie();
    let secret = cookie.split_once('=').unwrap().1.to_owned();
    let (access, _) = server.tokens(NAME).await;
    let as_bearer = async || send(http.get(url("/v1/me")).bearer_auth(&secret)).await.status.as_u16();
    let as_cookie = async || {
        let request = http.get(url("/v1/me")).header("cookie", format!("portcullis_session={access}"));
        send(request).await.status.as_u16()
    };
    for _ in 0..2 {
        assert_eq!(as_bearer().await, 401);
        assert_eq!(as_cookie().await, 401);
        // Each is used as what it is, so that the server knows it.
        let warm = send(http.get(url("/v1/me")).header("cookie", &cookie)).await;
        assert_eq!(warm.status, StatusCode::OK);
        assert_eq!(send(http.get(url("/v1/me")).bearer_auth(&access)).await.status, StatusCode::OK);
    }
    // And so a log-out needs the CSRF token.
    let out = send(http.post(url("/v1/logout")).bearer_auth(&secret).json(&json!({}))).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(send(http.get(url("/v1/me")).header("cookie", &cookie)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_access_token_ends_at_its_second_cold_and_warm_and_in_introspection() {
    let server = TestServer::with(&[("token.access_ttl_secs", "60")]);
    let service = server.operator_account("service@test.org", &["introspect"]).await;
    server.account(NAME).await;
    let (warm, _) = server.tokens(NAME).await;
    let (cold, _) = server.tokens(NAME).await;
    server.clock.advance(Duration::from_secs(59));
    assert!(is_alive(&server, &warm).await);
    let (reader, _) = server.tokens("service@test.org").await;
    server.clock.advance(Duration::from_secs(1));
    for token in [&warm, &cold, &service] {
        assert_eq!(server.get_as("/v1/me", token).await.problem(), (401, "unauthenticated"));
        let seen = server.post_as("/v1/introspect", &reader, json!({"token": token})).await;
        assert_eq!(seen.body, json!({"active": false}));
    }
}

/// What ends the right of the service that reads the stream.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Disabled,
    Deleted,
    RoleLost,
    LoggedOut,
    Revoked,
    Expired,
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_read_it() {
    use Ending::{Deleted, Disabled, Expired, LoggedOut, Revoked, RoleLost};
    let server = TestServer::start();
    for (number, ending) in [Disabled, Deleted, RoleLost, LoggedOut, Revoked, Expired].into_iter().enumerate()
    {
        let root = server.operator_account(&format!("{number}{ROOT}"), &["admin"]).await;
        let email = format!("service{number}@test.org");
        let service = server.operator_account(&email, &["introspect"]).await;
        let user = path_of(&server, &service).await;
        let request = server.request(Method::GET, "/v1/revocations").bearer_auth(&service);
        let mut stream = request.header("accept", "text/event-stream").send().await.unwrap();
        assert!(stream.chunk().await.unwrap().is_some());
        match ending {
            Disabled => server.patch_as(&user, &root, json!({"status": "disabled"})).await.status,
            Deleted => send(server.request(Method::DELETE, &user).bearer_auth(&root)).await.status,
            RoleLost => server.patch_as(&user, &root, json!({"roles": []})).await.status,
            LoggedOut => server.post_as("/v1/logout", &service, json!({})).await.status,
            Revoked => server.post_as(&format!("{user}/revoke_sessions"), &root, json!({})).await.status,
            Expired => {
                server.clock.advance(Duration::from_mins(15));
                StatusCode::OK
            }
        };
        // Of what happens from now on I must not hear.
        let victim = server.log_in(&format!("{number}{ROOT}"), PASSWORD).await;
        server.post("/v1/logout", json!({"refresh_token": victim.text("refresh_token")})).await;
        let rest = async {
            let mut rest = Vec::new();
            while let Ok(Some(chunk)) = stream.chunk().await {
                rest.extend(chunk);
            }
            String::from_utf8(rest).unwrap()
        };
        let rest = tokio::time::timeout(Duration::from_secs(5), rest).await;
        let rest = rest.unwrap_or_else(|_| panic!("the stream goes on after {ending:?}"));
        assert!(!rest.contains(&victim.text("session_id")), "{ending:?}: {rest}");
    }
}

#[tokio::test]
async fn streams_are_bounded_and_a_place_is_free_again_when_one_ends() {
    let server = TestServer::start();
    let service = server.operator_account("service@test.org", &["introspect"]).await;
    let open = async || {
        let request = server.request(Method::GET, "/v1/revocations").bearer_auth(&service);
        request.header("accept", "text/event-stream").send().await.unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..256 {
        let stream = open().await;
        assert_eq!(stream.status(), StatusCode::OK);
        streams.push(stream);
    }
    let full = open().await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(full.headers()["retry-after"], "15");
    // The service logs out, which ends its streams, and in again.
    server.post_as("/v1/logout", &service, json!({})).await;
    for stream in &mut streams {
        while let Ok(Some(_)) = stream.chunk().await {}
    }
    let (service, _) = server.tokens("service@test.org").await;
    let request = server.request(Method::GET, "/v1/revocations").bearer_auth(&service);
    let again = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
}
