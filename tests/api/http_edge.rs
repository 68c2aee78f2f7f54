//! HTTP on every endpoint: HEAD, preflights, CORS, and bodies and queries with members that an endpoint does not take.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer, send};

const ADA: &str = "ada@test.org";
const APP: &str = "https://app.test";

async fn post_raw(server: &TestServer, path: &str, body: &[u8]) -> Answer {
    let request = server.request(Method::POST, path).header("content-type", "application/json");
    send(request.body(body.to_vec())).await
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let server = TestServer::start();
    server.account(ADA).await;
    let (access, _) = server.tokens(ADA).await;
    for path in ["/healthz", "/readyz", "/.well-known/jwks.json", "/v1/me", "/v1/session"] {
        let get = server.get_as(path, &access).await;
        let head = server.request(Method::HEAD, path).bearer_auth(&access).send().await.unwrap();
        assert_eq!(head.status().as_u16(), 200, "{path}");
        assert_eq!(head.headers()["content-length"], get.bytes.len().to_string(), "{path}");
        assert_eq!(head.headers()["content-type"], "application/json", "{path}");
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
    let head = server.request(Method::HEAD, "/v1/me").send().await.unwrap();
    assert_eq!(head.status().as_u16(), 401);
    let head = server.request(Method::HEAD, "/v1/login").send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let put = send(server.request(Method::PUT, "/v1/me")).await;
    assert_eq!(put.header("allow"), "GET, HEAD, PATCH, DELETE");
}

/// A stream has no end, so an answer to HEAD must not wait for it.
#[tokio::test]
async fn head_of_a_stream_ends_at_once() {
    let server = TestServer::start();
    let admin = server.operator_account("root@test.org", &["admin"]).await;
    let request = server.request(Method::HEAD, "/v1/revocations").bearer_auth(&admin);
    let response = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert!(response.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn pages_of_a_listed_origin_can_read_every_answer() {
    let server = TestServer::with(&[("http.allowed_origins", APP)]);
    let large = vec![b' '; 17_000];
    let post = |body: Vec<u8>| server.request(Method::POST, "/v1/login").body(body);
    let announced = server.request(Method::POST, "/v1/login").header("content-length", "9999999999");
    for (status, request) in [
        (200, server.request(Method::GET, "/healthz")),
        (401, server.request(Method::GET, "/v1/me")),
        (404, server.request(Method::GET, "/nowhere")),
        (405, server.request(Method::PUT, "/v1/login")),
        (413, post(large)),
        (413, announced),
        (415, post(b"{}".to_vec())),
    ] {
        let answer = send(request.header("origin", APP)).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        assert_eq!(answer.header("access-control-allow-origin"), APP, "{status}");
        assert_eq!(answer.header("access-control-allow-credentials"), "true", "{status}");
        let exposed = answer.header("access-control-expose-headers");
        // A page of another origin gets its next CSRF token in a header when its cookie is replaced.
        assert!(
            ["x-request-id", "x-csrf-token"].iter().all(|name| exposed.contains(name)),
            "{status}: {exposed}"
        );
        assert_eq!(answer.header("vary"), "origin", "{status}");
    }
    for origin in [
        "https://evil.test",
        "https://app.test.evil.test",
        "https://APP.test",
        "null",
        "https://app.test:444",
    ] {
        let answer = send(server.request(Method::GET, "/healthz").header("origin", origin)).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        assert_eq!(answer.header("vary"), "origin", "{origin}");
    }
    let twice = server.request(Method::GET, "/healthz").header("origin", APP).header("origin", APP);
    assert_eq!(send(twice).await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_preflight_is_answered_for_listed_origins_only() {
    let server = TestServer::with(&[("http.allowed_origins", APP)]);
    let preflight = |origin: &'static str| {
        let request = server.request(Method::OPTIONS, "/v1/login").header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        send(request.header("access-control-request-headers", "content-type,traceparent"))
    };
    let answer = preflight(APP).await;
    assert_eq!(answer.status.as_u16(), 204);
    assert_eq!(answer.header("access-control-allow-origin"), APP);
    for (header, value) in [
        ("access-control-allow-methods", "DELETE"),
        ("access-control-allow-headers", "x-csrf-token"),
        ("access-control-allow-headers", "traceparent"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert!(answer.header(header).contains(value), "{header}: {:?}", answer.headers);
    }
    let other = preflight("https://evil.test").await;
    assert_eq!(other.problem(), (405, "method_not_allowed"));
    assert_eq!(other.header("access-control-allow-origin"), "");
    // With no origin listed, no answer has anything to do with CORS.
    let closed = TestServer::start();
    let answer = send(closed.request(Method::GET, "/healthz").header("origin", ORIGIN)).await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), ("", ""));
}

#[tokio::test]
async fn every_page_may_read_the_public_keys() {
    for settings in [&[][..], &[("http.allowed_origins", APP)]] {
        let server = TestServer::with(settings);
        let request = server.request(Method::GET, "/.well-known/jwks.json");
        let answer = send(request.header("origin", "https://elsewhere.test")).await;
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
        assert_eq!(answer.header("cross-origin-resource-policy"), "cross-origin");
        assert_eq!(server.get("/healthz").await.header("cross-origin-resource-policy"), "same-origin");
    }
}

#[tokio::test]
async fn a_faulty_body_is_told_apart_from_a_faulty_field() {
    let server = TestServer::start();
    for body in [
        &b"{\"a\":"[..],
        b"{\"a\":1",
        b"{\"a\":tru}",
        b"{\"admin\":\"\xff\"}",
        b"{\"admin\":1}}",
        b"{\"email\":1,}",
        b"\xfe\xff\x00{",
        b"\xef\xbb\xbf",
    ] {
        let answer = post_raw(&server, "/v1/login", body).await;
        assert_eq!(answer.problem(), (400, "malformed_json"), "{}", String::from_utf8_lossy(body));
    }
    for (body, pointer, code) in [
        ("{\"email\":\"a@b.org\",\"email\":\"c@d.org\",\"password\":\"x\"}", "/email", "duplicate_field"),
        ("{\"email\":\"a@b.org\"}", "/password", "missing_field"),
        ("{\"email\":\"a@b.org\",\"password\":\"x\",\"a/b~\":1}", "/a~1b~0", "unknown_field"),
        ("{\"email\":\"a@b.org\",\"password\":[]}", "/password", "invalid_type"),
        ("{\"email\":\"a@b.org\",\"password\":\"x\",\"mode\":\"basic\"}", "/mode", "invalid_type"),
    ] {
        let answer = post_raw(&server, "/v1/login", body.as_bytes()).await;
        assert_eq!(answer.problem(), (422, "unprocessable"), "{body}");
        let error = &answer.body["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{body}");
    }
    let marked = format!("\u{feff}{}", json!({"email": ADA, "password": PASSWORD}));
    let answer = post_raw(&server, "/v1/login", marked.as_bytes()).await;
    assert_eq!(answer.problem(), (401, "invalid_credentials"));
}

#[tokio::test]
async fn an_endpoint_that_takes_no_body_refuses_one_that_says_something() {
    let server = TestServer::start();
    let admin = server.operator_account("root@test.org", &["admin"]).await;
    server.account(ADA).await;
    let (access, _) = server.tokens(ADA).await;
    let id = server.get_as("/v1/session", &access).await.body["user"]["id"].as_str().unwrap().to_owned();
    let session =
        server.get_as("/v1/session", &access).await.body["session"]["id"].as_str().unwrap().to_owned();
    let account = format!("/v1/admin/users/{id}");
    for (method, path, access) in [
        (Method::POST, String::from("/v1/admin/keys/none/retire"), &admin),
        (Method::POST, format!("{account}/unlock"), &admin),
        (Method::POST, format!("{account}/revoke_sessions"), &admin),
        (Method::DELETE, account.clone(), &admin),
        (Method::DELETE, format!("/v1/sessions/{session}"), &access),
    ] {
        let request = || server.request(method.clone(), &path).bearer_auth(access);
        let answer = send(request().json(&json!({"reason": "x"}))).await;
        assert_eq!(answer.problem(), (422, "unprocessable"), "{path}");
        assert_eq!(answer.body["errors"][0]["pointer"], json!("/reason"), "{path}");
        assert_eq!(send(request().body("x")).await.problem(), (415, "unsupported_media_type"), "{path}");
    }
    let get = server.request(Method::GET, "/v1/me").bearer_auth(&access);
    assert_eq!(send(get.body("{\"x\":1}")).await.problem(), (400, "unexpected_body"));
    // An empty object says nothing.
    let unlock = server.request(Method::POST, &format!("{account}/unlock")).bearer_auth(&admin);
    assert_eq!(send(unlock.json(&json!({}))).await.status.as_u16(), 204);
}

#[tokio::test]
async fn a_page_may_ask_whether_anybody_is_logged_in() {
    let server = TestServer::start();
    server.account(ADA).await;
    let cookie = server.log_in_for_cookie(ADA).await.session_cookie();
    for path in ["/v1/session?optional", "/v1/session?optional=true"] {
        let nobody = server.get(path).await;
        assert_eq!((nobody.status.as_u16(), nobody.body), (200, json!({"session": null})), "{path}");
        let stale = server.get_with_cookie(path, "portcullis_session=pcs_x").await;
        assert_eq!((stale.status.as_u16(), stale.body), (200, json!({"session": null})), "{path}");
        let ada = server.get_with_cookie(path, &cookie).await;
        assert_eq!(ada.body["user"]["email"], json!(ADA), "{path}");
    }
    for path in ["/v1/session", "/v1/session?optional=false", "/v1/session?optional=0"] {
        assert_eq!(server.get(path).await.problem(), (401, "unauthenticated"), "{path}");
    }
    assert_eq!(server.get("/v1/session?what").await.problem(), (401, "unauthenticated"));
    assert_eq!(server.get_with_cookie("/v1/session?what", &cookie).await.problem(), (422, "unprocessable"));
    let both = server.request(Method::GET, "/v1/session?optional").header("cookie", &cookie).bearer_auth("x");
    assert_eq!(send(both).await.problem(), (400, "ambiguous_credentials"));
}

#[tokio::test]
async fn of_deletions_at_once_one_succeeds_and_the_others_are_logged_out() {
    let server = TestServer::start();
    server.account(ADA).await;
    let (access, _) = server.tokens(ADA).await;
    let delete = || server.delete_as("/v1/me", &access, json!({"password": PASSWORD}));
    let (a, b, c, d) = tokio::join!(delete(), delete(), delete(), delete());
    let mut statuses = [a, b, c, d].map(|answer| answer.status.as_u16());
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 401, 401, 401]);
}

#[tokio::test]
async fn garbage_is_charged_like_a_request_that_can_be_read() {
    let mailing = ["/v1/password/forgot", "/v1/email/verify/resend"];
    for (path, class) in [
        ("/v1/login", "login"),
        ("/v1/signup", "signup"),
        ("/v1/refresh", "refresh"),
        (mailing[0], "forgot"),
        (mailing[1], "forgot"),
        ("/v1/password/reset", "reset"),
        ("/v1/password/check", "advice"),
        ("/v1/email/verify", "verify"),
        ("/v1/unlock", "unlock"),
    ] {
        let burst = format!("throttle.{class}.burst");
        let rate = format!("throttle.{class}.per_minute");
        let server = TestServer::with(&[(burst.as_str(), "3"), (rate.as_str(), "3")]);
        for (left, body) in [(2, &b"{"[..]), (1, b"{\"x\":1}"), (0, b"[]")] {
            let answer = post_raw(&server, path, body).await;
            assert!(
                answer.header("ratelimit").starts_with(&format!("\"{class}\";r={left};")),
                "{path}: {answer:?}"
            );
        }
        assert_eq!(post_raw(&server, path, b"{").await.problem(), (429, "too_many_requests"), "{path}");
    }
}
