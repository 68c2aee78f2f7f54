//! What honest users do.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer};

#[tokio::test]
async fn a_stranger_signs_up_confirms_logs_in_refreshes_and_logs_out() {
    let server = TestServer::start();
    let signed_up = server
        .post("/v1/signup", json!({"email": "ada@test.org", "password": PASSWORD, "name": "Ada"}))
        .await;
    assert_eq!(signed_up.status, StatusCode::ACCEPTED);
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.problem(), (403, "email_not_verified"));
    assert_eq!(server.log_in("ada@test.org", "wrong").await.problem(), (401, "invalid_credentials"));
    let token = server.mailed("ada@test.org", "Confirm").await;
    assert_eq!(server.post("/v1/email/verify", json!({"token": token})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        server.post("/v1/email/verify", json!({"token": token})).await.problem(),
        (400, "invalid_or_expired_token")
    );
    let login = server.log_in("Ada@Test.org", PASSWORD).await;
    assert_eq!(login.body["user"]["name"], json!("Ada"));
    assert_eq!((&login.body["token_type"], &login.body["expires_in"]), (&json!("Bearer"), &json!(900)));
    let access = login.text("access_token");
    assert_eq!(server.get_as("/v1/me", &access).await.body, login.body["user"]);
    let session = server.get_as("/v1/session", &access).await;
    assert_eq!(session.body["session"]["id"], login.body["session_id"]);
    let next = server.refresh(&login.text("refresh_token")).await;
    assert_eq!(next.status, StatusCode::OK);
    let access = next.text("access_token");
    assert_eq!(server.post_as("/v1/logout", &access, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get_as("/v1/me", &access).await.problem(), (401, "unauthenticated"));
    assert_eq!(server.refresh(&next.text("refresh_token")).await.problem(), (401, "session_expired"));
    assert_eq!(server.post_as("/v1/logout", &access, json!({})).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_forgotten_password_is_set_anew_and_everything_open_ends() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, refresh) = server.tokens("ada@test.org").await;
    for email in ["ada@test.org", "nobody@test.org"] {
        let answer = server.post("/v1/password/forgot", json!({"email": email})).await;
        assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, json!({"status": "reset_sent"})));
    }
    let token = server.mailed("ada@test.org", "new password").await;
    let reset = |password: &'static str| {
        server.post("/v1/password/reset", json!({"token": token, "new_password": password}))
    };
    let weak = reset("short").await;
    assert_eq!((weak.problem(), &weak.body["reasons"]), ((422, "weak_password"), &json!(["too_short"])));
    assert_eq!(weak.body["errors"][0]["pointer"], "/new_password");
    assert_eq!(reset("an entirely different phrase").await.status, StatusCode::NO_CONTENT);
    assert_eq!(reset("an entirely different phrase").await.problem(), (400, "invalid_or_expired_token"));
    assert_eq!(server.get_as("/v1/me", &access).await.problem(), (401, "unauthenticated"));
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.problem(), (401, "invalid_credentials"));
    assert_eq!(server.log_in("ada@test.org", "an entirely different phrase").await.status, StatusCode::OK);
    server.mail("ada@test.org", "set anew").await;
}

#[tokio::test]
async fn a_changed_password_keeps_this_session_and_ends_the_others() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (here, refresh) = server.tokens("ada@test.org").await;
    let (elsewhere, _) = server.tokens("ada@test.org").await;
    let list = server.get_as("/v1/sessions", &here).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 2);
    let change = json!({"current_password": "wrong one", "new_password": "an entirely different phrase"});
    assert_eq!(
        server.post_as("/v1/password/change", &here, change).await.problem(),
        (401, "invalid_credentials")
    );
    let weak = json!({"current_password": PASSWORD, "new_password": "short"});
    let weak = server.post_as("/v1/password/change", &here, weak).await;
    assert_eq!(
        (weak.problem(), &weak.body["errors"][0]["pointer"]),
        ((422, "weak_password"), &json!("/new_password"))
    );
    let weak = server.post("/v1/signup", json!({"email": "eve@test.org", "password": "short"})).await;
    assert_eq!(
        (weak.problem(), &weak.body["errors"][0]["pointer"]),
        ((422, "weak_password"), &json!("/password"))
    );
    let change = json!({"current_password": PASSWORD, "new_password": "an entirely different phrase"});
    assert_eq!(server.post_as("/v1/password/change", &here, change).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get_as("/v1/me", &here).await.status, StatusCode::OK);
    assert_eq!(server.get_as("/v1/me", &elsewhere).await.problem(), (401, "unauthenticated"));
    assert_eq!(server.refresh(&refresh).await.status, StatusCode::OK);
    server.mail("ada@test.org", "was changed").await;
}

#[tokio::test]
async fn a_browser_lives_with_a_cookie_and_a_csrf_token() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let body = json!({"email": "ada@test.org", "password": PASSWORD, "mode": "cookie", "remember": true});
    let login =
        server.request(Method::POST, "/v1/login").header("origin", ORIGIN).json(&body).send().await.unwrap();
    let login = Answer::of(login).await;
    assert!(login.body.get("access_token").is_none() && login.body.get("refresh_token").is_none());
    let cookies: Vec<_> = login.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).collect();
    let session = cookies.iter().find(|cookie| cookie.starts_with("portcullis_session=")).unwrap();
    assert!(session.contains("HttpOnly") && session.contains("SameSite=Lax") && session.contains("Path=/"));
    assert!(session.contains("Max-Age=2592000") && !session.contains("Domain"));
    let cookie = session.split(';').next().unwrap();
    let get = |path: &'static str| server.request(Method::GET, path).header("cookie", cookie).send();
    assert_eq!(get("/v1/me").await.unwrap().status(), StatusCode::OK);
    let csrf = Answer::of(get("/v1/csrf").await.unwrap()).await.text("csrf_token");
    assert_eq!(csrf, login.text("csrf_token"));
    let log_out =
        server.request(Method::POST, "/v1/logout").header("cookie", cookie).header("origin", ORIGIN);
    let done = Answer::of(log_out.header("x-csrf-token", csrf).send().await.unwrap()).await;
    assert_eq!((done.status, done.header("clear-site-data")), (StatusCode::NO_CONTENT, ""));
    let ended: Vec<_> = done.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert!(ended[0].starts_with("portcullis_session=;") && ended[0].contains("Max-Age=0"), "{ended:?}");
    assert_eq!(get("/v1/me").await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_was_acknowledged_holds_after_a_restart_and_snapshot() {
    let mut server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, first) = server.tokens("ada@test.org").await;
    let second = server.refresh(&first).await.text("refresh_token");
    let (_, ended) = server.tokens("ada@test.org").await;
    server.post("/v1/logout", json!({"refresh_token": ended})).await;
    for _ in 0..2 {
        server = server.restart();
        assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
        assert_eq!(server.refresh(&ended).await.problem(), (401, "session_expired"));
        // Within the grace the lost answer is given again, also by the next process.
        assert_eq!(server.refresh(&first).await.text("refresh_token"), second);
    }
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(server.refresh(&first).await.problem(), (401, "refresh_token_reused"));
    server = server.restart();
    assert_eq!(server.refresh(&second).await.problem(), (401, "refresh_token_reused"));
}

#[tokio::test]
async fn an_account_is_deleted_with_its_password_and_its_sessions() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, refresh) = server.tokens("ada@test.org").await;
    let delete = |password: &'static str| {
        server
            .request(Method::DELETE, "/v1/me")
            .bearer_auth(&access)
            .json(&json!({"password": password}))
            .send()
    };
    assert_eq!(Answer::of(delete("wrong").await.unwrap()).await.problem(), (401, "invalid_credentials"));
    assert_eq!(delete(PASSWORD).await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.problem(), (401, "invalid_credentials"));
}

#[tokio::test]
async fn health_keys_and_headers_are_as_the_contract_says() {
    let server = TestServer::start();
    let ready = Answer::of(server.request(Method::GET, "/readyz").send().await.unwrap()).await;
    assert_eq!(ready.body, json!({"status": "ready", "reasons": []}));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(ready.header(name), value);
    }
    assert!(ready.headers.contains_key("x-request-id") && !ready.headers.contains_key("server"));
    assert!(!ready.headers.contains_key("access-control-allow-credentials"));
    let keys = Answer::of(server.request(Method::GET, "/.well-known/jwks.json").send().await.unwrap()).await;
    assert_eq!(
        (keys.header("cache-control"), &keys.body["keys"][0]["kty"]),
        ("public, max-age=300", &json!("EC"))
    );
    assert_eq!(
        server.request(Method::GET, "/metrics").send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn an_administrator_made_on_the_socket_manages_accounts_keys_and_events() {
    use std::io::{BufRead, BufReader, Write};
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let socket = server.data_dir().join("admin.sock");
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        let add = json!({
            "operation": "user_add", "email": "root@test.org", "password": PASSWORD, "roles": ["admin"],
        });
        writeln!(stream, "{add}").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    });
    assert_eq!(asked.await.unwrap()["ok"]["roles"], json!(["admin"]));
    let (root, _) = server.tokens("root@test.org").await;
    let (ada, refresh) = server.tokens("ada@test.org").await;
    let page = server.get_as("/v1/admin/users?limit=1", &root).await;
    let cursor = page.text("next_cursor");
    let rest = server.get_as(&format!("/v1/admin/users?cursor={cursor}"), &root).await;
    assert_eq!(rest.body["items"].as_array().unwrap().len(), 1);
    let seen = server.post_as("/v1/introspect", &root, json!({"token": ada})).await;
    assert_eq!((&seen.body["active"], &seen.body["token_type"]), (&json!(true), &json!("access_token")));
    let id = seen.text("sub");
    let path = format!("/v1/admin/users/{id}");
    let patch = server.request(Method::PATCH, &path).bearer_auth(&root).json(&json!({"status": "disabled"}));
    assert_eq!(Answer::of(patch.send().await.unwrap()).await.body["status"], json!("disabled"));
    for token in [&ada, &refresh] {
        let seen = server.post_as("/v1/introspect", &root, json!({"token": token})).await;
        assert_eq!(seen.body, json!({"active": false}));
    }
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.problem(), (403, "account_disabled"));
    assert_eq!(server.log_in("ada@test.org", "wrong").await.problem(), (401, "invalid_credentials"));
    let kid = server.post_as("/v1/admin/keys/rotate", &root, json!({})).await.text("kid");
    let keys = Answer::of(server.request(Method::GET, "/.well-known/jwks.json").send().await.unwrap()).await;
    assert_eq!((&keys.body["keys"][0]["kid"], keys.body["keys"].as_array().unwrap().len()), (&json!(kid), 2));
    assert_eq!(server.get_as("/v1/me", &root).await.status, StatusCode::OK);
    let events = server.get_as("/v1/admin/audit?type=key.rotated", &root).await;
    assert_eq!(events.body["items"][0]["subject"], json!(kid));
    assert_eq!(server.get_as(&format!("{path}/nope"), &root).await.problem(), (405, "method_not_allowed"));
    let gone = server.request(Method::DELETE, &path).bearer_auth(&root).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(server.get_as(&path, &root).await.problem(), (404, "not_found"));
    let metrics = server.get_as("/metrics", &root).await;
    assert!(
        String::from_utf8(metrics.bytes)
            .unwrap()
            .contains("portcullis_events_total{event=\"login.succeeded\"} 2")
    );
}

#[tokio::test]
async fn no_secret_stands_in_any_file_but_the_keys_and_mails() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, refresh) = server.tokens("ada@test.org").await;
    let next = server.refresh(&refresh).await.text("refresh_token");
    server.log_in("nobody@test.org", "the wrong phrase of nobody").await;
    server.post("/v1/password/forgot", json!({"email": "ada@test.org"})).await;
    let mailed = server.mailed("ada@test.org", "new password").await;
    let server = server.restart();
    let secrets =
        [PASSWORD, &access, &refresh, &next, &mailed, "the wrong phrase of nobody", "nobody@test.org"];
    let mut looked = 0;
    let mut dirs = vec![server.data_dir().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                looked += 1;
                for secret in secrets {
                    let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                    assert!(!found, "{secret} stands in {}", path.display());
                }
            }
        }
    }
    assert!(looked > 10);
}
