//! A credential as something it is not, or after its end: I send a cookie as a bearer, to get around the protection
//! against CSRF, an access token as a cookie, or a token after the second in which it ends; or I keep a stream open that I
//! began while I had the right.
//!
//! Bounds: none of them is accepted, whether the server knows the credential already or not. A stream ends within
//! seconds.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{NAME, ROOT, is_alive, path_of};
use crate::support::{Answer, ORIGIN, PASSWORD, TestServer, send};

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
    assert_eq!(out.status, StatusCode::UNAUTHORIZED);
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
    let open = async |credential: &str| {
        let request = server.request(Method::GET, "/v1/revocations").bearer_auth(credential);
        request.header("accept", "text/event-stream").send().await.unwrap()
    };
    let mut others = Vec::new();
    let mut streams = Vec::new();
    for reader in 0..4 {
        let key = server.api_key(&["revocations"], None).await.0;
        let credential = if reader == 0 { &service } else { &key };
        for _ in 0..64 {
            let stream = open(credential).await;
            assert_eq!(stream.status(), StatusCode::OK);
            if reader == 0 { &mut streams } else { &mut others }.push(stream);
        }
        // One reader does not keep the others out.
        let refused = Answer::of(open(credential).await).await;
        assert_eq!(refused.problem(), (429, "too_many_streams"));
    }
    let late = server.api_key(&["revocations"], None).await.0;
    let full = open(&late).await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(full.headers()["retry-after"], "15");
    // It may poll all the same.
    assert_eq!(server.get_as("/v1/revocations", &late).await.status, StatusCode::OK);
    // The service logs out, which ends its streams, and in again.
    server.post_as("/v1/logout", &service, json!({})).await;
    for stream in &mut streams {
        while let Ok(Some(_)) = stream.chunk().await {}
    }
    let (service, _) = server.tokens("service@test.org").await;
    assert_eq!(open(&service).await.status(), StatusCode::OK);
}

/// Order of the base point of P-256 (NIST SP 800-186 §3.2.1.3).
const ORDER: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC,
    0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
];

/// Returns the other text of an ES256 token, whose signature has `n - s` for `s`, and whether that `s` is the larger one.
fn second_text(token: &str) -> (String, bool) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = Base64UrlUnpadded::decode_vec(signature).unwrap();
    let first = bytes[32..].to_vec();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(first[at]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[32 + at] = difference.rem_euclid(256) as u8;
    }
    let is_larger = first.as_slice() > &bytes[32..];
    (format!("{signed}.{}", Base64UrlUnpadded::encode_string(&bytes)), is_larger)
}

/// I write a token in the other text that its signature has, and hope that only the first one ends.
#[tokio::test]
async fn the_second_text_of_a_token_ends_with_the_first() {
    let server = TestServer::start();
    server.account(NAME).await;
    let mut seen = [false; 2];
    for _ in 0..64 {
        let (access, refresh) = server.tokens(NAME).await;
        let (second, is_larger) = second_text(&access);
        assert_ne!(access, second);
        for token in [&access, &second, &access, &second] {
            assert!(is_alive(&server, token).await);
        }
        let out = server.post("/v1/logout", json!({"refresh_token": refresh})).await;
        assert_eq!(out.status, StatusCode::NO_CONTENT);
        for token in [&second, &access] {
            assert!(!is_alive(&server, token).await);
        }
        seen[usize::from(is_larger)] = true;
        if seen == [true; 2] {
            break;
        }
    }
    // So no reader of tokens can refuse one half of them.
    assert_eq!(seen, [true; 2], "the signer keeps to one half of s: refuse the other");
}
