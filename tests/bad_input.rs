//! Whatever is sent, the answer is a problem that says what to do; never a panic, never a 500.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Answer, TestServer};

#[tokio::test]
async fn every_bad_body_has_its_problem() {
    let server = TestServer::start();
    let long = format!("{{\"email\":\"{}\",\"password\":\"x\"}}", "a".repeat(20_000));
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("application/json", b"{".to_vec(), 400, "malformed_json"),
        ("application/json", b"".to_vec(), 400, "malformed_json"),
        ("application/json", b"{\"email\":\"a@b.c\",\"password\":\"\xff\"}".to_vec(), 400, "malformed_json"),
        ("application/json", b"{\"email\":\"a@b.c\",\"password\":\"x\"} {}".to_vec(), 400, "malformed_json"),
        ("application/json", b"[]".to_vec(), 422, "unprocessable"),
        ("application/json", b"{\"email\":7,\"password\":\"x\"}".to_vec(), 422, "unprocessable"),
        ("application/json", b"{\"email\":\"a@b.c\"}".to_vec(), 422, "unprocessable"),
        (
            "application/json",
            b"{\"email\":\"a@b.c\",\"password\":\"x\",\"admin\":true}".to_vec(),
            422,
            "unprocessable",
        ),
        ("application/json", b"{\"email\":\"nobody\",\"password\":\"x\"}".to_vec(), 422, "unprocessable"),
        ("application/json", long.into_bytes(), 413, "payload_too_large"),
        ("text/plain", b"{}".to_vec(), 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"email=a".to_vec(), 415, "unsupported_media_type"),
    ];
    for (content_type, body, status, code) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let request =
            server.request(Method::POST, "/v1/login").header("content-type", content_type).body(body);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.problem(), (status, code), "{shown}");
    }
    let unknown = server.post("/v1/login", json!({"email": "a@b.c", "password": "x", "admin": true})).await;
    assert_eq!(unknown.body["errors"][0]["pointer"], json!("/admin"), "{}", unknown.body);
}

#[tokio::test]
async fn unknown_paths_and_methods_have_their_problem() {
    let server = TestServer::start();
    let nowhere = Answer::of(server.request(Method::GET, "/v1/nope").send().await.unwrap()).await;
    assert_eq!(nowhere.problem(), (404, "not_found"));
    let wrong = Answer::of(server.request(Method::PUT, "/v1/login").send().await.unwrap()).await;
    assert_eq!((wrong.problem(), wrong.header("allow")), ((405, "method_not_allowed"), "POST"));
    let id = nowhere.header("x-request-id").to_owned();
    assert_eq!(nowhere.body["instance"], json!(format!("/requests/{id}")));
    assert_eq!(nowhere.body["type"], json!("http://login.test/problems/not-found"));
    for path in ["/v1/me", "/v1/sessions", "/v1/csrf", "/v1/session", "/v1/admin/users"] {
        let answer = Answer::of(server.request(Method::GET, path).send().await.unwrap()).await;
        assert_eq!(
            (answer.problem(), answer.header("www-authenticate")),
            ((401, "unauthenticated"), "Bearer")
        );
    }
    let odd =
        server.request(Method::GET, "/v1/me").header("authorization", "Basic YTpi").send().await.unwrap();
    assert_eq!(odd.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn admin_endpoints_need_the_role() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    assert_eq!(server.get_as("/v1/admin/users", &access).await.problem(), (403, "insufficient_role"));
    assert_eq!(
        server.post_as("/v1/introspect", &access, json!({"token": access})).await.problem(),
        (403, "insufficient_role")
    );
    assert_eq!(server.get_as("/metrics", &access).await.problem(), (403, "insufficient_role"));
}
