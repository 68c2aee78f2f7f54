//! Headers that two readers read differently: I send one twice, or with bytes that are no text, so that a check in front
//! of the server sees one value and the server another, or so that a header passes for one that is absent.
//!
//! Bounds: a header that decides something counts only if it is there once and is text; otherwise the request is refused,
//! or is treated as if it had the worse of the values.

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer, send};

const ADA: &str = "ada@test.org";

async fn site() -> TestServer {
    let server = TestServer::start();
    server.account(ADA).await;
    server
}

fn with(mut request: RequestBuilder, headers: &[(&str, &[u8])]) -> RequestBuilder {
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    request
}

async fn log_in(server: &TestServer, mode: &str, headers: &[(&str, &[u8])]) -> Answer {
    let body = json!({"email": ADA, "password": PASSWORD, "mode": mode});
    send(with(server.request(Method::POST, "/v1/login").json(&body), headers)).await
}

#[tokio::test]
async fn a_second_or_unreadable_source_does_not_hide_where_a_log_in_comes_from() {
    let server = site().await;
    let own = ORIGIN.as_bytes();
    let cases: [&[(&str, &[u8])]; 9] = [
        &[("origin", own), ("origin", b"http://evil.test")],
        &[("origin", b"http://evil.test"), ("origin", own)],
        &[("origin", own), ("origin", own)],
        &[("origin", b"http://evil.test\xff"), ("referer", own)],
        &[("origin", b"http://\xe9vil.test"), ("sec-fetch-site", b"same-origin")],
        &[("sec-fetch-site", b"same-origin"), ("sec-fetch-site", b"cross-site")],
        &[("sec-fetch-site", b"cross-site\xff"), ("origin", own)],
        &[("sec-fetch-site", b"none"), ("sec-fetch-mode", b"navigate"), ("sec-fetch-mode", b"no-cors")],
        &[("referer", own), ("referer", b"http://evil.test/")],
    ];
    for headers in cases {
        let answer = log_in(&server, "cookie", headers).await;
        assert_eq!(answer.problem(), (403, "csrf_rejected"), "{headers:?}");
    }
}

#[tokio::test]
async fn a_second_csrf_token_is_none() {
    let server = site().await;
    let opened = server.log_in_for_cookie(ADA).await;
    let (cookie, csrf) = (opened.session_cookie(), opened.text("csrf_token"));
    let log_out = |tokens: [&[u8]; 2]| {
        let request = server.request(Method::POST, "/v1/logout").header("cookie", &cookie);
        let tokens = tokens.map(|token| ("x-csrf-token", token));
        send(with(request.header("origin", ORIGIN), &tokens))
    };
    for tokens in [[csrf.as_bytes(), b"x"], [b"x", csrf.as_bytes()], [csrf.as_bytes(), csrf.as_bytes()]] {
        assert_eq!(log_out(tokens).await.problem(), (403, "csrf_rejected"));
    }
}

#[tokio::test]
async fn only_a_bearer_is_a_second_credential() {
    let server = site().await;
    let (access, _) = server.tokens(ADA).await;
    let cookie = server.log_in_for_cookie(ADA).await.session_cookie();
    let bearer = format!("Bearer {access}");
    let me = |headers: &[(&str, &[u8])]| send(with(server.request(Method::GET, "/v1/me"), headers));
    let cookie = ("cookie", cookie.as_bytes());
    // A proxy in front asks for a password of its own, which browsers then send to everything behind it.
    for other in
        [&b"Basic YTpi"[..], b"Negotiate YTpi", b"basic", b"Digest \xff", b"", b"Bearers x", b"\xffearer x"]
    {
        assert_eq!(me(&[cookie, ("authorization", other)]).await.status.as_u16(), 200, "{other:?}");
        assert_eq!(me(&[("authorization", other)]).await.problem(), (401, "unauthenticated"), "{other:?}");
    }
    for second in [bearer.as_bytes(), b"bearer x", b"BEARER \xff", b"Bearer", b"Bearer "] {
        let both = me(&[cookie, ("authorization", second)]).await;
        assert_eq!(both.problem(), (400, "ambiguous_credentials"), "{second:?}");
        let twice = me(&[("authorization", bearer.as_bytes()), ("authorization", second)]).await;
        assert_eq!(twice.problem(), (400, "ambiguous_credentials"), "{second:?}");
    }
    let twice = me(&[("authorization", b"Basic YTpi"), ("authorization", bearer.as_bytes())]).await;
    assert_eq!(twice.problem(), (400, "ambiguous_credentials"));
    assert_eq!(me(&[("authorization", b"Bearer \xff")]).await.problem(), (401, "unauthenticated"));
    let lower = format!("bearer {access}");
    assert_eq!(me(&[("authorization", lower.as_bytes())]).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_bad_device_cookie_does_not_hide_a_good_device_header() {
    let server = site().await;
    let device = log_in(&server, "token", &[]).await.header("x-device-token").to_owned();
    for guess in 0..6 {
        server.log_in(ADA, &format!("a wrong password {guess}")).await;
    }
    let good = ("x-device-token", device.as_bytes());
    let bad = ("cookie", &b"portcullis_device=pcd_x"[..]);
    assert_eq!(log_in(&server, "token", &[bad]).await.problem(), (429, "too_many_attempts"));
    assert_eq!(log_in(&server, "token", &[good]).await.status.as_u16(), 200);
    assert_eq!(log_in(&server, "token", &[bad, good]).await.status.as_u16(), 200);
    let cookie = format!("portcullis_device={device}");
    let unreadable = ("x-device-token", &b"\xff"[..]);
    assert_eq!(
        log_in(&server, "token", &[("cookie", cookie.as_bytes()), unreadable]).await.status.as_u16(),
        200
    );
    let twice = log_in(&server, "token", &[good, ("x-device-token", b"pcd_x")]).await;
    assert_eq!(twice.problem(), (400, "ambiguous_credentials"));
}

#[tokio::test]
async fn bytes_of_the_client_do_not_hide_what_the_proxy_wrote_behind_them() {
    let settings = [("http.trusted_proxies", "127.0.0.1/32")];
    for (header, lines) in [
        ("x-forwarded-for", vec![&b"\xff\xfe, 203.0.113.9"[..]]),
        ("x-forwarded-for", vec![b"caf\xe9", b"203.0.113.9"]),
        ("x-forwarded-for", vec![b"\xc2\xa0198.51.100.1, 203.0.113.9 "]),
        ("forwarded", vec![b"for=\xff;host=\"\xe9\", for=203.0.113.9"]),
    ] {
        let server = TestServer::with(&[settings[0], ("http.forwarded_header", header)]);
        server.account(ADA).await;
        let headers: Vec<_> = lines.iter().map(|line| (header, *line)).collect();
        let access = log_in(&server, "token", &headers).await.text("access_token");
        let sessions = server.get_as("/v1/sessions", &access).await;
        let networks: Vec<_> = sessions.array("items").iter().map(|item| item["network"].clone()).collect();
        assert_eq!(networks, [json!("203.0.113.9/32")], "{header}: {lines:?}");
    }
}

#[tokio::test]
async fn a_body_of_two_types_or_in_a_coding_is_not_read() {
    let server = site().await;
    let body = json!({"email": ADA, "password": PASSWORD}).to_string();
    let json = ("content-type", &b"application/json"[..]);
    let cases: [&[(&str, &[u8])]; 6] = [
        &[json, ("content-type", b"text/plain")],
        &[("content-type", b"text/plain"), json],
        &[("content-type", b"application/json\xff")],
        &[json, ("content-encoding", b"gzip")],
        &[json, ("content-encoding", b"identity"), ("content-encoding", b"br")],
        &[json, ("content-encoding", b"identity, gzip")],
    ];
    for headers in cases {
        let request = with(server.request(Method::POST, "/v1/login"), headers);
        let answer = send(request.body(body.clone())).await;
        assert_eq!(answer.problem(), (415, "unsupported_media_type"), "{headers:?}");
        let coded = headers.iter().any(|(name, _)| *name == "content-encoding");
        assert_eq!(answer.header("accept-encoding"), if coded { "identity" } else { "" });
    }
    let plain =
        [("content-type", &b"Application/JSON ; charset=utf-8"[..]), ("content-encoding", b"identity")];
    let request = with(server.request(Method::POST, "/v1/login"), &plain);
    assert_eq!(send(request.body(body)).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_media_type_is_found_in_a_list_of_them() {
    let server = site().await;
    let admin = server.operator_account("root@test.org", &["admin"]).await;
    for accept in ["text/event-stream, */*;q=0.1", "application/json;q=0.5,Text/Event-Stream"] {
        let request = server.request(Method::GET, "/v1/revocations").bearer_auth(&admin);
        let response = request.header("accept", accept).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream", "{accept}");
    }
    let audit = server.request(Method::GET, "/v1/admin/audit").bearer_auth(&admin);
    let answer = send(audit.header("accept", "application/x-ndjson, */*")).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
}
