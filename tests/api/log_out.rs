//! The kind: a client asks for an end, is told that it was done, and it was not. So it forgets what lives on.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Browser, ORIGIN, TestServer, send};

const ADA: &str = "ada@test.org";
const SCOPES: [&str; 3] = ["local", "others", "global"];

async fn log_out(server: &TestServer, access: &str, scope: &str) -> (u16, String) {
    let out = server.post_as("/v1/logout", access, json!({"scope": scope})).await;
    (out.status.as_u16(), out.body["code"].as_str().unwrap_or_default().to_owned())
}

fn unauthenticated() -> (u16, String) {
    (401, String::from("unauthenticated"))
}

#[tokio::test]
async fn an_expired_access_token_is_refreshed_and_logs_out_after_that() {
    let server = TestServer::start();
    server.account(ADA).await;
    for scope in SCOPES {
        let (access, refresh) = server.tokens(ADA).await;
        let (_, elsewhere) = server.tokens(ADA).await;
        server.clock.advance(Duration::from_mins(16));
        assert_eq!(log_out(&server, &access, scope).await, unauthenticated(), "{scope}");
        let next = server.refresh(&refresh).await;
        let there = server.refresh(&elsewhere).await;
        assert_eq!((next.status, there.status), (StatusCode::OK, StatusCode::OK), "{scope}");
        // The others end by a user who has just proved who they are.
        let access = next.text("access_token");
        let expected =
            if scope == "others" { (401, String::from("step_up_required")) } else { (204, String::new()) };
        assert_eq!(log_out(&server, &access, scope).await, expected);
        let here = server.refresh(&next.text("refresh_token")).await.problem() == (401, "session_expired");
        let there = server.refresh(&there.text("refresh_token")).await.problem() == (401, "session_expired");
        assert_eq!([here, there], [scope != "others", scope == "global"], "{scope}");
    }
}

#[tokio::test]
async fn garbage_logs_nobody_out() {
    let server = TestServer::start();
    server.account(ADA).await;
    let (access, refresh) = server.tokens(ADA).await;
    let changed = format!("{}AAAA", &access[..access.len() - 4]);
    for scope in SCOPES {
        for garbage in ["garbage", "a.b.c", &changed, &refresh] {
            assert_eq!(log_out(&server, garbage, scope).await, unauthenticated(), "{scope} {garbage}");
        }
    }
    for garbage in ["undefined", "", &refresh[..20], &access] {
        let out = server.post("/v1/logout", json!({"refresh_token": garbage})).await;
        assert_eq!(out.problem(), (401, "invalid_refresh_token"), "{garbage}");
    }
    assert_eq!(server.refresh(&refresh).await.status, StatusCode::OK);
}

/// One request more than needed is no error. What it asks for beyond its own session needs one that is alive.
#[tokio::test]
async fn a_session_that_has_ended_is_logged_out_already_and_ends_no_other() {
    let server = TestServer::start();
    server.account(ADA).await;
    for way in ["local", "global"] {
        let (access, refresh) = server.tokens(ADA).await;
        assert_eq!(log_out(&server, &access, way).await.0, 204);
        let (_, alive) = server.tokens(ADA).await;
        assert_eq!(log_out(&server, &access, "local").await.0, 204, "{way}");
        let both = server.post_as("/v1/logout", &access, json!({"refresh_token": refresh})).await;
        assert_eq!(both.status, StatusCode::NO_CONTENT, "{way}");
        for scope in ["others", "global"] {
            assert_eq!(log_out(&server, &access, scope).await, unauthenticated(), "{way} {scope}");
        }
        assert_eq!(server.refresh(&alive).await.status, StatusCode::OK, "{way}");
        server.clock.advance(Duration::from_mins(15));
        assert_eq!(log_out(&server, &access, "local").await, unauthenticated(), "{way}");
    }
}

/// A token that has lost a role is refused, and its session lives: the next one from a refresh is good.
#[tokio::test]
async fn a_token_that_is_refused_for_a_role_does_not_log_out() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let access = server.operator_account(ADA, &["staff"]).await;
    let id = server.get_as("/v1/me", &access).await.text("id");
    server.clock.advance(Duration::from_secs(2));
    let fewer = server.patch_as(&format!("/v1/admin/users/{id}"), &root, json!({"roles": []})).await;
    assert_eq!(fewer.status, StatusCode::OK);
    assert_eq!(log_out(&server, &access, "local").await, unauthenticated());
}

#[tokio::test]
async fn a_cookie_of_an_ended_session_is_deleted_and_one_of_another_browser_is_not() {
    let server = TestServer::start();
    server.account(ADA).await;
    let out = json!({"scope": "local"});
    let there = Browser::log_in(&server, ADA).await;
    let moved = Browser { cookie: there.cookie.clone(), csrf: there.csrf.clone(), agent: "Firefox/140.0" };
    let refused = moved.ask(&server, Method::POST, "/v1/logout", out.clone()).await;
    assert_eq!((refused.problem(), refused.header("set-cookie")), ((401, "unauthenticated"), ""));
    assert_eq!(server.get_with_cookie("/v1/me", &there.cookie).await.status, StatusCode::OK);

    for _ in 0..2 {
        let done = there.ask(&server, Method::POST, "/v1/logout", out.clone()).await;
        assert_eq!(done.status, StatusCode::NO_CONTENT);
        assert!(done.header("set-cookie").starts_with("portcullis_session=;"), "{done:?}");
    }
    let dead = Browser { cookie: String::from("portcullis_session=garbage"), ..there };
    let done = dead.ask(&server, Method::POST, "/v1/logout", out).await;
    assert!(done.header("set-cookie").starts_with("portcullis_session=;"), "{done:?}");
    for scope in ["others", "global"] {
        let refused = dead.ask(&server, Method::POST, "/v1/logout", json!({"scope": scope})).await;
        assert_eq!(refused.problem(), (401, "unauthenticated"), "{scope}");
    }
}

/// Client libraries add the access token to every request.
#[tokio::test]
async fn an_access_token_may_stand_beside_the_refresh_token_of_its_session() {
    let server = TestServer::start();
    server.account(ADA).await;
    let (access, refresh) = server.tokens(ADA).await;
    let (other, alive) = server.tokens(ADA).await;
    let both = async |access: &str, refresh: &str, scope: &str| {
        let body = json!({"refresh_token": refresh, "scope": scope});
        server.post_as("/v1/logout", access, body).await
    };
    for scope in SCOPES {
        assert_eq!(both(&access, &alive, scope).await.problem(), (400, "ambiguous_credentials"), "{scope}");
        let garbage = both(&access, "pcr_garbage", scope).await;
        assert_eq!(garbage.problem(), (401, "invalid_refresh_token"), "{scope}");
    }
    assert_eq!(both(&access, &refresh, "local").await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    let (_, third) = server.tokens(ADA).await;
    assert_eq!(both(&other, &alive, "global").await.status, StatusCode::NO_CONTENT);
    for ended in [alive, third] {
        assert_eq!(server.refresh(&ended).await.problem(), (401, "session_expired"));
    }
    let alone = server.post("/v1/logout", json!({"refresh_token": refresh, "scope": "global"})).await;
    assert_eq!(alone.problem(), (422, "unprocessable"));
}

/// `fetch` with a fixed header and no body, as many wrappers send it.
#[tokio::test]
async fn a_declared_body_that_is_left_out_says_nothing() {
    let server = TestServer::start();
    server.account(ADA).await;
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let (access, refresh) = server.tokens(ADA).await;
    for (path, access, status) in
        [("/v1/logout", &access, StatusCode::NO_CONTENT), ("/v1/admin/keys/rotate", &root, StatusCode::OK)]
    {
        let request = server.request(Method::POST, path).bearer_auth(access);
        let answer = send(request.header("content-type", "application/json")).await;
        assert_eq!(answer.status, status, "{path} {}", answer.body);
    }
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    let browser = Browser::log_in(&server, ADA).await;
    let request = server.request(Method::POST, "/v1/logout").header("cookie", &browser.cookie);
    let request = request.header("origin", ORIGIN).header("x-csrf-token", &browser.csrf);
    let done = send(request.header("content-type", "application/json; charset=utf-8")).await;
    assert_eq!((done.status, &done.body), (StatusCode::NO_CONTENT, &Value::Null));
}
