//! What honest users and administrators do.

use std::time::Duration;

use insta::assert_json_snapshot;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::values::redacted;
use crate::support::{ORIGIN, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";
const NEXT: &str = "an entirely different phrase";

#[tokio::test]
async fn a_stranger_signs_up_and_logs_in_once_the_address_is_confirmed() {
    let server = TestServer::start();
    let sign_up = json!({"email": NAME, "password": PASSWORD, "name": "Ada"});
    let signed_up = server.post("/v1/signup", sign_up).await;
    assert_eq!(signed_up.status, StatusCode::ACCEPTED);
    let half = signed_up.text("signup_token");
    for password in [PASSWORD, "wrong"] {
        assert_eq!(server.log_in(NAME, password).await.problem(), (401, "invalid_credentials"));
    }
    // A browser may ask twice.
    let token = server.mailed(NAME, "Confirm").await;
    for _ in 0..2 {
        assert_eq!(server.confirm(&token, &half).await.status, StatusCode::NO_CONTENT);
    }
    // The name may be typed in any case.
    let login = server.log_in("Ada@Test.org", PASSWORD).await;
    let varying = ["/access_token", "/refresh_token", "/session_id", "/user/id"];
    assert_json_snapshot!(redacted(login.body.clone(), &varying), @r#"
    {
      "access_token": "[redacted]",
      "expires_at": "2027-01-15T08:15:00Z",
      "expires_in": 900,
      "refresh_expires_at": "2027-02-14T08:00:00Z",
      "refresh_token": "[redacted]",
      "session_id": "[redacted]",
      "token_type": "Bearer",
      "user": {
        "created_at": "2027-01-15T08:00:00Z",
        "email": "ada@test.org",
        "email_verified": true,
        "id": "[redacted]",
        "name": "Ada",
        "roles": []
      }
    }
    "#);
    let access = login.text("access_token");
    let mut me = server.get_as("/v1/me", &access).await.body;
    // What only the owner is shown, and not the application at each log-in.
    assert_eq!(me.as_object_mut().unwrap().remove("new_device_mail"), Some(true.into()));
    assert_eq!(me, login.body["user"]);
    let session = server.get_as("/v1/session", &access).await;
    assert_eq!(session.body["session"]["id"], login.body["session_id"]);
}

#[tokio::test]
async fn tokens_are_refreshed_until_log_out_ends_them() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (_, refresh) = server.tokens(NAME).await;
    let next = server.refresh(&refresh).await;
    assert_eq!(next.status, StatusCode::OK);
    let access = next.text("access_token");
    assert_eq!(server.post_as("/v1/logout", &access, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get_as("/v1/me", &access).await.problem(), (401, "unauthenticated"));
    assert_eq!(server.refresh(&next.text("refresh_token")).await.problem(), (401, "session_expired"));
    // A second log-out is no error.
    assert_eq!(server.post_as("/v1/logout", &access, json!({})).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_forgotten_password_is_reset_and_every_session_ends() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, refresh) = server.tokens(NAME).await;
    for email in [NAME, "nobody@test.org"] {
        let answer = server.forgot(email).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{email}");
        assert_eq!(answer.body, json!({"status": "reset_sent"}), "{email}");
    }
    // A weak password is refused and leaves the link alive. The link works once.
    let token = server.mailed(NAME, "new password").await;
    let weak = server.reset(&token, "short").await;
    assert_eq!(weak.problem(), (422, "weak_password"));
    assert_eq!(weak.body["reasons"], json!(["too_short"]));
    assert_eq!(weak.body["errors"][0]["pointer"], "/new_password");
    assert_eq!(server.reset(&token, NEXT).await.status, StatusCode::NO_CONTENT);
    let other = server.reset(&token, "a third phrase for the door").await;
    assert_eq!(other.problem(), (400, "invalid_or_expired_token"));
    // Everything from before is dead.
    assert_eq!(server.get_as("/v1/me", &access).await.problem(), (401, "unauthenticated"));
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    assert_eq!(server.log_in(NAME, PASSWORD).await.problem(), (401, "invalid_credentials"));
    assert_eq!(server.log_in(NAME, NEXT).await.status, StatusCode::OK);
    server.mail(NAME, "changed by a mailed link").await;
}

#[tokio::test]
async fn a_changed_password_renews_this_session_and_ends_the_others() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (here, refresh) = server.tokens(NAME).await;
    let (elsewhere, _) = server.tokens(NAME).await;
    assert_eq!(server.get_as("/v1/sessions", &here).await.array("items").len(), 2);
    let wrong = server.change_password(&here, "wrong one", NEXT).await;
    assert_eq!(wrong.problem(), (401, "invalid_credentials"));
    let changed = server.change_password(&here, PASSWORD, NEXT).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(server.get_as("/v1/me", &changed.text("access_token")).await.status, StatusCode::OK);
    assert_eq!(server.refresh(&changed.text("refresh_token")).await.status, StatusCode::OK);
    assert_eq!(server.get_as("/v1/me", &here).await.problem(), (401, "unauthenticated"));
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    assert_eq!(server.get_as("/v1/me", &elsewhere).await.problem(), (401, "unauthenticated"));
    server.mail(NAME, "was changed").await;
}

#[tokio::test]
async fn a_weak_password_is_refused_with_the_field_that_holds_it() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let changed = server.change_password(&access, PASSWORD, "short").await;
    assert_eq!(changed.problem(), (422, "weak_password"));
    assert_eq!(changed.body["errors"][0]["pointer"], json!("/new_password"));
    // The text alone says what to do, to users whose application shows nothing else.
    let (detail, first) =
        (changed.text("detail"), changed.body["errors"][0]["message"].as_str().unwrap().to_owned());
    assert!(first.contains("15 characters"), "{first}");
    assert_eq!(detail, format!("The password is not accepted: {first}."));
    let signed_up = server.post("/v1/signup", json!({"email": "eve@test.org", "password": "short"})).await;
    assert_eq!(signed_up.problem(), (422, "weak_password"));
    assert_eq!(signed_up.body["errors"][0]["pointer"], json!("/password"));
}

/// Asserts that `cookie` has an attribute.
#[track_caller]
fn assert_has(cookie: &str, attribute: &str) {
    assert!(cookie.contains(attribute), "no {attribute} in {cookie}");
}

#[tokio::test]
async fn a_browser_logs_in_with_a_cookie_and_logs_out_with_a_csrf_token() {
    let server = TestServer::start();
    server.account(NAME).await;
    let body = json!({"email": NAME, "password": PASSWORD, "mode": "cookie", "remember": true});
    let login = send(server.request(Method::POST, "/v1/login").header("origin", ORIGIN).json(&body)).await;
    assert_eq!(login.body.get("access_token"), None);
    assert_eq!(login.body.get("refresh_token"), None);
    let cookies = login.set_cookies();
    let session = cookies.iter().find(|cookie| cookie.starts_with("portcullis_session=")).unwrap();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=2592000"] {
        assert_has(session, attribute);
    }
    assert!(!session.contains("Domain"), "{session}");

    let cookie = login.session_cookie();
    assert_eq!(server.get_with_cookie("/v1/me", &cookie).await.status, StatusCode::OK);
    let csrf = server.get_with_cookie("/v1/csrf", &cookie).await.text("csrf_token");
    assert_eq!(csrf, login.text("csrf_token"));

    let log_out = server.request(Method::POST, "/v1/logout").header("cookie", &cookie);
    let done = send(log_out.header("origin", ORIGIN).header("x-csrf-token", csrf)).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
    assert_eq!(done.header("clear-site-data"), "");
    // The session cookie is cleared, and no other: the device stays known.
    let cleared = done.set_cookies();
    assert_eq!(cleared.len(), 1, "{cleared:?}");
    assert!(cleared[0].starts_with("portcullis_session=;"), "{cleared:?}");
    assert_has(cleared[0], "Max-Age=0");
    assert_eq!(server.get_with_cookie("/v1/me", &cookie).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_was_acknowledged_holds_after_a_restart_and_snapshot() {
    let mut server = TestServer::start();
    server.account(NAME).await;
    let (access, first) = server.tokens(NAME).await;
    let second = server.refresh(&first).await.text("refresh_token");
    let (_, logged_out) = server.tokens(NAME).await;
    server.post("/v1/logout", json!({"refresh_token": logged_out})).await;
    for _ in 0..2 {
        server = server.restart();
        assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
        assert_eq!(server.refresh(&logged_out).await.problem(), (401, "session_expired"));
        // Within the grace a lost answer is given again, also by the next process.
        assert_eq!(server.refresh(&first).await.text("refresh_token"), second);
    }
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(server.refresh(&first).await.problem(), (401, "refresh_token_reused"));
    server = server.restart();
    let reused = server.refresh(&second).await;
    assert_eq!(reused.problem(), (401, "refresh_token_reused"));
    // Most often a lost answer is the cause, so the text accuses nobody.
    assert!(reused.text("detail").contains("was lost"), "{reused:?}");
}

#[tokio::test]
async fn an_account_is_deleted_with_its_password_and_its_sessions() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, refresh) = server.tokens(NAME).await;
    let wrong = server.delete_as("/v1/me", &access, json!({"password": "wrong"})).await;
    assert_eq!(wrong.problem(), (401, "invalid_credentials"));
    let deleted = server.delete_as("/v1/me", &access, json!({"password": PASSWORD})).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    assert_eq!(server.log_in(NAME, PASSWORD).await.problem(), (401, "invalid_credentials"));
}

#[tokio::test]
async fn a_ready_server_says_so_with_the_headers_of_the_contract() {
    let server = TestServer::start();
    let ready = server.get("/readyz").await;
    assert_eq!(ready.body, json!({"status": "ready", "reasons": []}));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        ("cache-control", "no-store"),
        // Over plain http it would say nothing.
        ("strict-transport-security", ""),
    ] {
        assert_eq!(ready.header(name), value, "{name}");
    }
    for feature in ["camera", "geolocation", "microphone", "payment", "usb"] {
        assert!(ready.header("permissions-policy").contains(&format!("{feature}=()")), "{feature}");
    }
    assert!(ready.headers.contains_key("x-request-id"));
    assert!(!ready.headers.contains_key("server"));
    assert!(!ready.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn the_keys_are_public_and_the_metrics_are_not() {
    let server = TestServer::start();
    let keys = server.get("/.well-known/jwks.json").await;
    assert_eq!(keys.header("cache-control"), "public, max-age=300");
    let varying = ["/keys/0/kid", "/keys/0/x", "/keys/0/y"];
    assert_json_snapshot!(redacted(keys.body, &varying), @r#"
    {
      "keys": [
        {
          "alg": "ES256",
          "crv": "P-256",
          "kid": "[redacted]",
          "kty": "EC",
          "use": "sig",
          "x": "[redacted]",
          "y": "[redacted]"
        }
      ]
    }
    "#);
    assert_eq!(server.get("/metrics").await.status, StatusCode::UNAUTHORIZED);
}

/// An account of an administrator, made on the operator's socket, and Ada's. Returns the administrator's access token.
async fn with_administrator() -> (TestServer, String) {
    let server = TestServer::start();
    server.account(NAME).await;
    let root = server.operator_account("root@test.org", &["admin"]).await;
    (server, root)
}

#[tokio::test]
async fn an_administrator_lists_accounts_page_by_page() {
    let (server, root) = with_administrator().await;
    let page = server.get_as("/v1/admin/users?limit=1", &root).await;
    let cursor = page.text("next_cursor");
    let rest = server.get_as(&format!("/v1/admin/users?cursor={cursor}"), &root).await;
    assert_eq!(rest.array("items").len(), 1);
}

#[tokio::test]
async fn an_administrator_disables_an_account_and_its_tokens_are_inactive() {
    let (server, root) = with_administrator().await;
    let (access, refresh) = server.tokens(NAME).await;
    let seen = server.post_as("/v1/introspect", &root, json!({"token": access})).await;
    let varying = ["/sid", "/sub"];
    assert_json_snapshot!(redacted(seen.body.clone(), &varying), @r#"
    {
      "active": true,
      "aud": "http://login.test",
      "client_id": "portcullis",
      "exp": 1800000900,
      "iat": 1800000000,
      "iss": "http://login.test",
      "roles": [],
      "sid": "[redacted]",
      "sub": "[redacted]",
      "token_type": "access_token"
    }
    "#);
    let path = format!("/v1/admin/users/{}", seen.text("sub"));
    let patched = server.patch_as(&path, &root, json!({"status": "disabled"})).await;
    assert_eq!(patched.body["status"], json!("disabled"));
    for token in [&access, &refresh] {
        let seen = server.post_as("/v1/introspect", &root, json!({"token": token})).await;
        assert_eq!(seen.body, json!({"active": false}));
    }
    // Only the right password learns that the account is disabled.
    assert_eq!(server.log_in(NAME, PASSWORD).await.problem(), (403, "account_disabled"));
    assert_eq!(server.log_in(NAME, "wrong").await.problem(), (401, "invalid_credentials"));
}

#[tokio::test]
async fn an_administrator_deletes_an_account() {
    let (server, root) = with_administrator().await;
    let (access, _) = server.tokens(NAME).await;
    let path = format!("/v1/admin/users/{}", server.get_as("/v1/me", &access).await.text("id"));
    assert_eq!(server.get_as(&format!("{path}/nope"), &root).await.problem(), (404, "not_found"));
    assert_eq!(server.get_as(&format!("{path}/unlock"), &root).await.problem(), (405, "method_not_allowed"));
    let deleted = send(server.request(Method::DELETE, &path).bearer_auth(&root)).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get_as(&path, &root).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn an_administrator_rotates_the_key_and_finds_it_in_the_audit_log() {
    let (server, root) = with_administrator().await;
    let kid = server.post_as("/v1/admin/keys/rotate", &root, json!({})).await.text("kid");
    let keys = server.get("/.well-known/jwks.json").await;
    assert_eq!(keys.array("keys").len(), 2);
    assert_eq!(keys.body["keys"][0]["kid"], json!(kid));
    // Tokens of the key before it stay valid.
    assert_eq!(server.get_as("/v1/me", &root).await.status, StatusCode::OK);
    let events = server.get_as("/v1/admin/audit?type=key.rotated", &root).await;
    assert_eq!(events.body["items"][0]["subject"], json!(kid));
}

#[tokio::test]
async fn an_administrator_reads_the_metrics() {
    let (server, root) = with_administrator().await;
    server.tokens(NAME).await;
    let metrics = server.get_as("/metrics", &root).await;
    let text = String::from_utf8(metrics.bytes).unwrap();
    assert!(text.contains("portcullis_events_total{event=\"login.succeeded\"} 2"), "{text}");
}
