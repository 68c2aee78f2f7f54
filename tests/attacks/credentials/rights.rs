//! Rights that were taken away: I go on using what I had before a role, a password or an account was changed. And rights
//! elsewhere: a resource server that an administrator visits replays the token here.
//!
//! Bounds: an access token with a role that was taken away is refused here at once, and by resource servers within a
//! second. A token of the application opens no administrators' endpoint.

use portcullis::resource_server::Verifier;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{NAME, NEXT, ROOT, is_alive, path_of};
use crate::support::{Browser, ORIGIN, PASSWORD, TestServer, send};

#[tokio::test]
async fn a_token_of_the_application_opens_no_administrators_endpoint() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    // An administrator visits the application, which replays the token here.
    let (stolen, refresh) = server.tokens(ROOT).await;
    let renewed = server.refresh(&refresh).await.text("access_token");
    for token in [&stolen, &renewed] {
        assert!(is_alive(&server, token).await);
        for path in ["/v1/admin/users", "/v1/admin/audit"] {
            assert_eq!(server.get_as(path, token).await.problem(), (403, "wrong_audience"), "{path}");
        }
        let new = json!({"email": "eve@test.org", "password": PASSWORD, "roles": ["admin"]});
        assert_eq!(server.post_as("/v1/admin/users", token, new).await.problem(), (403, "wrong_audience"));
        let rotated = server.post_as("/v1/admin/keys/rotate", token, json!({})).await;
        assert_eq!(rotated.problem(), (403, "wrong_audience"));
    }
    assert_eq!(server.get_as("/v1/admin/users", &root).await.status, StatusCode::OK);
    // Nor does the application take a token that is meant for here.
    let verifier = Verifier::new(ORIGIN, ORIGIN, server.clock.clone());
    verifier.set_keys(&server.get("/.well-known/jwks.json").await.bytes).unwrap();
    verifier.apply(&server.get_as("/v1/revocations", &root).await.bytes).unwrap();
    assert!(verifier.check(&stolen).is_ok());
    assert!(verifier.check(&root).is_err());
    // A cookie is sent nowhere else.
    let browser = Browser::log_in(&server, ROOT).await;
    let users = browser.ask(&server, Method::GET, "/v1/admin/users", Value::Null).await;
    assert_eq!(users.status, StatusCode::OK);
    let unknown = json!({"email": ROOT, "password": PASSWORD, "audience": "elsewhere"});
    assert_eq!(server.post("/v1/login", unknown).await.status.as_u16(), 422);
}

#[tokio::test]
async fn a_role_that_was_taken_away_works_nowhere_and_the_session_lives_on() {
    let mut server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let service = server.operator_account("service@test.org", &["introspect"]).await;
    let fired = server.operator_account("mallory@test.org", &["admin"]).await;
    let (at_application, refresh) = server.tokens("mallory@test.org").await;
    let path = path_of(&server, &fired).await;
    let verifier = Verifier::new(ORIGIN, ORIGIN, server.clock.clone());
    verifier.set_keys(&server.get("/.well-known/jwks.json").await.bytes).unwrap();
    verifier.apply(&server.get_as("/v1/revocations", &root).await.bytes).unwrap();
    assert!(verifier.check(&at_application).is_ok());
    assert_eq!(server.get_as("/v1/admin/users", &fired).await.status, StatusCode::OK);

    let patched = server.patch_as(&path, &root, json!({"roles": ["staff"]})).await;
    assert_eq!(patched.status, StatusCode::OK);
    for token in [&fired, &at_application] {
        assert_eq!(server.get_as("/v1/me", token).await.problem(), (401, "unauthenticated"));
        let seen = server.post_as("/v1/introspect", &service, json!({"token": token})).await;
        assert_eq!(seen.body, json!({"active": false}));
    }
    // The session goes on with the roles that are left, in the same second.
    let renewed = server.refresh(&refresh).await;
    assert_eq!(renewed.body["user"]["roles"], json!(["staff"]));
    let renewed = renewed.text("access_token");
    assert!(is_alive(&server, &renewed).await);
    // A resource server is told, also by a server that was started since.
    for _ in 0..2 {
        let feed = server.get_as("/v1/revocations", &service).await;
        let item = feed.array("items").iter().find(|item| item["issued_before"].is_u64()).unwrap().clone();
        assert_eq!(item["sub"], patched.body["id"]);
        let verifier = Verifier::new(ORIGIN, ORIGIN, server.clock.clone());
        verifier.set_keys(&server.get("/.well-known/jwks.json").await.bytes).unwrap();
        verifier.apply(&feed.bytes).unwrap();
        assert!(verifier.check(&at_application).is_err());
        assert_eq!(verifier.check(&renewed).unwrap().roles, ["staff"]);
        server = server.restart();
        assert!(!is_alive(&server, &fired).await);
    }
    // More roles end nothing.
    let (access, _) = server.tokens(ROOT).await;
    server.operated(json!({"operation": "user_set_role", "user": ROOT, "roles": ["admin", "staff"]})).await;
    assert!(is_alive(&server, &access).await);
}

/// I lose two roles within one second, and ask for a token between.
#[tokio::test]
async fn a_token_from_between_two_changes_of_roles_ends_with_the_second() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let fired = server.operator_account("mallory@test.org", &["admin", "staff", "support"]).await;
    let (_, refresh) = server.tokens("mallory@test.org").await;
    let path = path_of(&server, &fired).await;
    let mut refresh = refresh;
    for roles in [json!(["staff", "support"]), json!(["staff"]), json!([])] {
        let held = server.refresh(&refresh).await;
        refresh = held.text("refresh_token");
        assert_eq!(server.patch_as(&path, &root, json!({"roles": roles})).await.status, StatusCode::OK);
        assert!(!is_alive(&server, &held.text("access_token")).await, "{roles}");
    }
    let left = server.refresh(&refresh).await;
    assert_eq!(left.body["user"]["roles"], json!([]));
    assert!(is_alive(&server, &left.text("access_token")).await);
}

/// I have copied every credential of a session, and its owner changes the password from it.
#[tokio::test]
async fn a_copied_session_does_not_survive_the_owners_change_of_the_password() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, refresh) = server.tokens(NAME).await;
    let changed = server.change_password(&access, PASSWORD, NEXT).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert!(!is_alive(&server, &access).await);
    assert_eq!(server.refresh(&refresh).await.status.as_u16(), 401);
    assert!(is_alive(&server, &changed.text("access_token")).await);

    let browser = {
        let body = json!({"email": NAME, "password": NEXT, "mode": "cookie", "remember": true});
        let opened =
            send(server.request(Method::POST, "/v1/login").header("origin", ORIGIN).json(&body)).await;
        Browser::of(&opened)
    };
    let body = json!({"current_password": NEXT, "new_password": PASSWORD});
    let changed = browser.ask(&server, Method::POST, "/v1/password/change", body).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
    let renewed = Browser::of(&changed);
    assert!(changed.set_cookies().iter().any(|c| c.contains("session=") && c.contains("Max-Age=2592000")));
    let me = async |browser: &Browser| browser.ask(&server, Method::GET, "/v1/me", Value::Null).await.status;
    assert_eq!(me(&browser).await, StatusCode::UNAUTHORIZED);
    assert_eq!(me(&renewed).await, StatusCode::OK);
    let out = renewed.ask(&server, Method::POST, "/v1/logout", json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_last_administrator_cannot_lock_everybody_out_and_the_operator_can() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let path = path_of(&server, &root).await;
    let refused = (409, "last_administrator");
    assert_eq!(server.patch_as(&path, &root, json!({"roles": []})).await.problem(), refused);
    assert_eq!(server.patch_as(&path, &root, json!({"status": "disabled"})).await.problem(), refused);
    assert_eq!(send(server.request(Method::DELETE, &path).bearer_auth(&root)).await.problem(), refused);
    let own = server.delete_as("/v1/me", &root, json!({"password": PASSWORD})).await;
    assert_eq!(own.problem(), refused);
    // With a second one it may go.
    server.operator_account("second@test.org", &["admin"]).await;
    assert_eq!(server.patch_as(&path, &root, json!({"roles": []})).await.status, StatusCode::OK);
    let delete = |force: bool| json!({"operation": "user_delete", "user": "second@test.org", "force": force});
    let refused = server.operate(delete(false)).await;
    let why = refused["error"].as_str().unwrap();
    assert!(why.starts_with("no administrator would be left") && why.ends_with("--force"), "{why}");
    server.operated(delete(true)).await;
}

/// I am an administrator's careless colleague, or hold a session of the only one: the accounts that I made administrators
/// have the role, and nobody can log in to them.
#[tokio::test]
async fn an_administrator_who_cannot_log_in_does_not_count_as_the_one_who_is_left() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let path = path_of(&server, &root).await;
    for new in [
        json!({"email": "invited@test.org", "roles": ["admin"]}),
        json!({"email": "proved@test.org", "roles": ["admin"], "verified": true}),
        json!({"email": "unproved@test.org", "roles": ["admin"], "password": PASSWORD}),
    ] {
        assert_eq!(server.post_as("/v1/admin/users", &root, new).await.status, StatusCode::CREATED);
    }
    let refused = (409, "last_administrator");
    assert_eq!(server.patch_as(&path, &root, json!({"roles": []})).await.problem(), refused);
    assert_eq!(server.patch_as(&path, &root, json!({"status": "disabled"})).await.problem(), refused);
    assert_eq!(server.delete_as(&path, &root, Value::Null).await.problem(), refused);
    let own = server.delete_as("/v1/me", &root, json!({"password": PASSWORD})).await;
    assert_eq!(own.problem(), refused);
    // The one who was invited sets a password, and can log in.
    let link = server.mailed("invited@test.org", "Your account at").await;
    assert_eq!(server.reset(&link, PASSWORD).await.status, StatusCode::NO_CONTENT);
    let second = server.admin_token("invited@test.org").await;
    assert_eq!(server.get_as("/v1/admin/users", &second).await.status, StatusCode::OK);
    assert_eq!(server.patch_as(&path, &root, json!({"roles": []})).await.status, StatusCode::OK);
}

/// I have made an account an administrator's, and try to make its tokens as long as a head may be.
#[tokio::test]
async fn an_account_has_thirty_two_roles_at_most() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    server.account(NAME).await;
    let path = path_of(&server, &server.tokens(NAME).await.0).await;
    let roles = |count: u32| json!({"roles": (0..count).map(|n| format!("role{n}")).collect::<Vec<_>>()});
    let most = server.patch_as(&path, &root, roles(32)).await;
    assert_eq!(most.array("roles").len(), 32);
    assert_eq!(server.patch_as(&path, &root, roles(33)).await.status.as_u16(), 422);
    assert!(is_alive(&server, &server.tokens(NAME).await.0).await);
}

#[tokio::test]
async fn the_owner_is_told_once_that_the_account_was_deleted() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    for (number, email) in [NAME, "eve@test.org"].into_iter().enumerate() {
        server.account(email).await;
        let (access, _) = server.tokens(email).await;
        if number == 0 {
            server.delete_as("/v1/me", &access, json!({"password": PASSWORD})).await;
        } else {
            let path = path_of(&server, &access).await;
            send(server.request(Method::DELETE, &path).bearer_auth(&root)).await;
        }
        let mail = server.mail(email, "was deleted").await;
        assert_eq!(mail.letter.link, None);
        assert_eq!(server.mail_count("was deleted"), number + 1);
        assert_eq!(server.log_in(email, PASSWORD).await.problem(), (401, "invalid_credentials"));
    }
}
