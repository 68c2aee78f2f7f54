//! Bad input: every answer is a problem document that says what to do, never a panic and never a 500.

use reqwest::Method;
use serde_json::json;

use crate::support::values::redacted;
use crate::support::{Answer, TestServer, send};

async fn post_raw(server: &TestServer, content_type: &str, body: &[u8]) -> Answer {
    let request = server.request(Method::POST, "/v1/login").header("content-type", content_type);
    send(request.body(body.to_vec())).await
}

#[tokio::test]
async fn every_bad_body_has_its_problem() {
    let server = TestServer::start();
    let long = format!("{{\"email\":\"{}\",\"password\":\"x\"}}", "a".repeat(20_000));
    let cases: [(&[u8], u16, &str); 10] = [
        (b"{", 400, "malformed_json"),
        (b"", 400, "malformed_json"),
        (b"{\"email\":\"a@b.c\",\"password\":\"\xff\"}", 400, "malformed_json"),
        (b"{\"email\":\"a@b.c\",\"password\":\"x\"} {}", 400, "malformed_json"),
        (b"[]", 422, "unprocessable"),
        (b"{\"email\":7,\"password\":\"x\"}", 422, "unprocessable"),
        (b"{\"email\":\"a@b.c\"}", 422, "unprocessable"),
        (b"{\"email\":\"a@b.c\",\"password\":\"x\",\"admin\":true}", 422, "unprocessable"),
        (b"{\"email\":\"nobody\",\"password\":\"x\"}", 422, "unprocessable"),
        (long.as_bytes(), 413, "payload_too_large"),
    ];
    for (body, status, code) in cases {
        let answer = post_raw(&server, "application/json", body).await;
        let begin = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert_eq!(answer.problem(), (status, code), "{begin}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_by_its_type_is_refused() {
    let server = TestServer::start();
    for (content_type, body) in [("text/plain", "{}"), ("application/x-www-form-urlencoded", "email=a")] {
        let answer = post_raw(&server, content_type, body.as_bytes()).await;
        assert_eq!(answer.problem(), (415, "unsupported_media_type"), "{content_type}");
    }
}

#[tokio::test]
async fn a_problem_points_at_the_unknown_field() {
    let server = TestServer::start();
    let answer = server.post("/v1/login", json!({"email": "a@b.c", "password": "x", "admin": true})).await;
    assert_eq!(answer.body["errors"][0]["pointer"], json!("/admin"), "{}", answer.body);
}

#[tokio::test]
async fn an_unknown_path_has_a_problem_that_names_the_request() {
    let server = TestServer::start();
    let answer = server.get("/v1/nope").await;
    assert_eq!(answer.problem(), (404, "not_found"));
    let id = answer.header("x-request-id");
    assert_eq!(answer.body["instance"], json!(format!("/requests/{id}")));
    assert_eq!(answer.body["type"], json!("http://login.test/problems/not-found"));
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one() {
    let server = TestServer::start();
    let answer = send(server.request(Method::PUT, "/v1/login")).await;
    assert_eq!(answer.problem(), (405, "method_not_allowed"));
    assert_eq!(answer.header("allow"), "POST");
}

#[tokio::test]
async fn a_request_without_credentials_is_told_the_scheme() {
    let server = TestServer::start();
    for path in ["/v1/me", "/v1/sessions", "/v1/csrf", "/v1/session", "/v1/admin/users"] {
        let answer = server.get(path).await;
        assert_eq!(answer.problem(), (401, "unauthenticated"), "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{path}");
    }
    let bad = server.get_as("/v1/me", "x").await;
    assert_eq!(bad.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    let basic = send(server.request(Method::GET, "/v1/me").header("authorization", "Basic YTpi")).await;
    assert_eq!(basic.status.as_u16(), 401);
}

#[tokio::test]
async fn admin_endpoints_need_the_role() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    let introspect = server.post_as("/v1/introspect", &access, json!({"token": access})).await;
    assert_eq!(introspect.problem(), (403, "insufficient_role"));
    for path in ["/v1/admin/users", "/metrics"] {
        assert_eq!(server.get_as(path, &access).await.problem(), (403, "insufficient_role"), "{path}");
    }
}

/// The whole body of a problem, so that no field of it changes unnoticed.
#[tokio::test]
async fn a_problem_document_is_as_the_contract_says() {
    let server = TestServer::start();
    let answer = server.post("/v1/login", json!({"email": 7, "password": "x"})).await;
    let varying = ["/detail", "/errors/0/message", "/instance", "/request_id"];
    insta::assert_json_snapshot!(redacted(answer.body, &varying), @r#"
    {
      "code": "unprocessable",
      "detail": "[redacted]",
      "errors": [
        {
          "code": "invalid_type",
          "message": "[redacted]",
          "pointer": "/email"
        }
      ],
      "instance": "[redacted]",
      "request_id": "[redacted]",
      "status": 422,
      "title": "Unprocessable",
      "type": "http://login.test/problems/unprocessable"
    }
    "#);
}
