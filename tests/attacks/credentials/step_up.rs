//! An old session: I have copied a session long after its log-in, or found a browser that was left open, and do what only
//! the owner may do.
//!
//! Bound: writes of administrators, ending other sessions, and deletion need a proof of the user from the last 15
//! minutes.
//!
//! Source: RFC 9470; OWASP ASVS 5.0, 7.5.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{NAME, ROOT, is_alive, path_of, reauthenticate};
use crate::support::{Answer, Browser, ORIGIN, PASSWORD, TestServer, send};

const STEP_UP: (u16, &str) = (401, "step_up_required");
const FRESH: Duration = Duration::from_mins(15);

/// Tries every write that an administrator can do: to new accounts, the account at the path `user`, the server's keys, and
/// the API key of the id `api_key`.
async fn administrators_writes(server: &TestServer, root: &str, user: &str, api_key: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    let new = json!({"email": "eve@test.org", "password": PASSWORD});
    answers.push(server.post_as("/v1/admin/users", root, new).await);
    answers.push(server.patch_as(user, root, json!({"name": "Eve"})).await);
    for act in ["unlock", "revoke_sessions", "send_reset"] {
        answers.push(server.post_as(&format!("{user}/{act}"), root, json!({})).await);
    }
    let kid = server.get("/.well-known/jwks.json").await.body["keys"][0]["kid"].clone();
    let retire = format!("/v1/admin/keys/{}/retire", kid.as_str().unwrap());
    answers.push(server.post_as(&retire, root, json!({})).await);
    answers.push(server.post_as("/v1/admin/keys/rotate", root, json!({})).await);
    let key = json!({"name": "metrics", "scopes": ["metrics"]});
    answers.push(server.post_as("/v1/admin/api_keys", root, key).await);
    let path = format!("/v1/admin/api_keys/{api_key}");
    answers.push(send(server.request(Method::DELETE, &path).bearer_auth(root)).await);
    answers.push(send(server.request(Method::DELETE, user).bearer_auth(root)).await);
    answers
}

#[tokio::test]
async fn an_administrators_old_session_reads_and_writes_nothing_until_the_password_is_given() {
    let server = TestServer::with(&[("token.access_ttl_secs", "3600")]);
    let root = server.operator_account(ROOT, &["admin"]).await;
    server.account(NAME).await;
    let user = path_of(&server, &server.tokens(NAME).await.0).await;
    let (_, key) = server.api_key(&["metrics"], None).await;
    server.clock.advance(FRESH);
    assert_eq!(server.get_as("/v1/admin/users", &root).await.status, StatusCode::OK);
    for answer in administrators_writes(&server, &root, &user, &key).await {
        assert_eq!(answer.problem(), STEP_UP);
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("Bearer error=\"insufficient_user_authentication\""), "{challenge}");
        assert!(challenge.ends_with("max_age=\"900\""), "{challenge}");
    }
    let wrong = server.post_as("/v1/reauthenticate", &root, json!({"password": "a wrong one"})).await;
    assert_eq!(wrong.problem(), (401, "invalid_credentials"));
    let renewed = reauthenticate(&server, &root).await;
    assert_eq!(renewed.status, StatusCode::OK);
    let root = renewed.text("access_token");
    server.clock.advance(FRESH.saturating_sub(Duration::from_secs(1)));
    // The proof is good for one second more. The other writes would delete the user, or retire the key of this token.
    let named = server.patch_as(&user, &root, json!({"name": "Eve"})).await;
    assert_eq!(named.status, StatusCode::OK);
    // A refresh is no proof.
    server.clock.advance(Duration::from_secs(1));
    let (_, refresh) = server.tokens(ROOT).await;
    server.clock.advance(FRESH);
    let old = server.refresh(&refresh).await.text("access_token");
    let others = server.post_as("/v1/logout", &old, json!({"scope": "others"})).await;
    assert_eq!(others.problem(), STEP_UP);
    for answer in administrators_writes(&server, &root, &user, &key).await {
        assert_eq!(answer.problem(), STEP_UP);
    }
}

#[tokio::test]
async fn a_thief_of_an_old_session_cannot_throw_out_its_owner_or_delete_the_account() {
    let server = TestServer::with(&[("token.access_ttl_secs", "3600")]);
    server.account(NAME).await;
    let (stolen, _) = server.tokens(NAME).await;
    let id = server.get_as("/v1/session", &stolen).await.body["session"]["id"].clone();
    server.clock.advance(FRESH);
    let (owner, _) = server.tokens(NAME).await;
    let owners = server.get_as("/v1/session", &owner).await.body["session"]["id"].clone();
    let end = async |token: &str, id: &serde_json::Value| {
        let path = format!("/v1/sessions/{}", id.as_str().unwrap());
        send(server.request(Method::DELETE, &path).bearer_auth(token)).await
    };
    assert_eq!(end(&stolen, &owners).await.problem(), STEP_UP);
    let others = server.post_as("/v1/logout", &stolen, json!({"scope": "others"})).await;
    assert_eq!(others.problem(), STEP_UP);
    // The password alone does not do, so that a further factor can be asked for in one place.
    let deleted = server.delete_as("/v1/me", &stolen, json!({"password": PASSWORD})).await;
    assert_eq!(deleted.problem(), STEP_UP);
    assert!(is_alive(&server, &owner).await);
    // The owner, who has just logged in, ends the thief's session; and an old session may end itself.
    assert_eq!(end(&owner, &id).await.status, StatusCode::NO_CONTENT);
    assert!(!is_alive(&server, &stolen).await);
    server.clock.advance(FRESH);
    assert_eq!(end(&owner, &owners).await.status, StatusCode::NO_CONTENT);
    // Ending everything, oneself included, is for emergencies and needs no password.
    let (hurried, _) = server.tokens(NAME).await;
    server.clock.advance(FRESH);
    let global = server.post_as("/v1/logout", &hurried, json!({"scope": "global"})).await;
    assert_eq!(global.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_copied_cookie_does_not_become_fresh_with_the_owners() {
    let server = TestServer::start();
    server.operator_account(ROOT, &["admin"]).await;
    let old = Browser::log_in(&server, ROOT).await;
    server.clock.advance(FRESH);
    let new = json!({"email": NAME, "password": PASSWORD});
    let refused = old.ask(&server, Method::POST, "/v1/admin/users", new.clone()).await;
    assert_eq!(refused.problem(), STEP_UP);
    let forged = server.request(Method::POST, "/v1/reauthenticate").header("cookie", &old.cookie);
    let forged = send(forged.json(&json!({"password": PASSWORD}))).await;
    assert_eq!(forged.problem(), (403, "csrf_rejected"));
    let body = json!({"password": PASSWORD});
    let renewed = old.ask(&server, Method::POST, "/v1/reauthenticate", body).await;
    assert_eq!(renewed.status, StatusCode::NO_CONTENT);
    let renewed = Browser::of(&renewed);
    assert_ne!(renewed.cookie, old.cookie);
    let copied = old.ask(&server, Method::POST, "/v1/admin/users", new.clone()).await;
    assert_eq!(copied.problem(), (401, "unauthenticated"));
    let made = renewed.ask(&server, Method::POST, "/v1/admin/users", new).await;
    assert_eq!(made.status, StatusCode::CREATED);
}

/// I have copied a session long after its log-in. I make strangers of the owner's devices, so that guesses at the name lock
/// the owner out, and switch off the mail that would tell of me.
#[tokio::test]
async fn a_thief_of_an_old_session_makes_no_stranger_of_the_owners_devices() {
    let server = TestServer::with(&[("token.access_ttl_secs", "3600")]);
    server.account(NAME).await;
    let logged_in = server.log_in(NAME, PASSWORD).await;
    let device = logged_in.header("x-device-token").to_owned();
    let stolen = logged_in.text("access_token");
    server.clock.advance(FRESH);
    let devices = send(server.request(Method::DELETE, "/v1/devices").bearer_auth(&stolen)).await;
    assert_eq!(devices.problem(), STEP_UP);
    let silent = server.patch_as("/v1/me", &stolen, json!({"new_device_mail": false})).await;
    assert_eq!(silent.problem(), STEP_UP);
    let loud = server.patch_as("/v1/me", &stolen, json!({"new_device_mail": true})).await;
    assert_eq!(loud.status, StatusCode::OK);
    // Whoever is in a hurry may end all sessions, but the devices stay known.
    let everywhere = server.post_as("/v1/logout", &stolen, json!({"scope": "global"})).await;
    assert_eq!(everywhere.status, StatusCode::NO_CONTENT);
    assert!(!is_alive(&server, &stolen).await);
    for number in 0..6 {
        server.log_in(NAME, &format!("guess {number}")).await;
    }
    assert_eq!(server.log_in(NAME, PASSWORD).await.problem(), (429, "too_many_attempts"));
    let owner = server.log_in_on(NAME, PASSWORD, &device).await;
    assert_eq!(owner.status, StatusCode::OK);
    // With a fresh proof a log-out everywhere ends the devices, too.
    let everywhere =
        server.post_as("/v1/logout", &owner.text("access_token"), json!({"scope": "global"})).await;
    assert_eq!(everywhere.status, StatusCode::NO_CONTENT);
    let stranger = server.log_in_on(NAME, PASSWORD, &device).await;
    assert_eq!(stranger.problem(), (429, "too_many_attempts"));
}

/// I have copied an access token, and wait until its owner gives the password again.
#[tokio::test]
async fn a_copied_access_token_does_not_become_fresh_with_the_owners() {
    let server = TestServer::with(&[("token.access_ttl_secs", "3600")]);
    let stolen = server.operator_account(ROOT, &["admin"]).await;
    server.account(NAME).await;
    let user = path_of(&server, &server.tokens(NAME).await.0).await;
    server.clock.advance(FRESH);
    let owners = reauthenticate(&server, &stolen).await.text("access_token");
    let write = json!({"name": "Eve"});
    assert_eq!(server.patch_as(&user, &stolen, write.clone()).await.problem(), STEP_UP);
    assert_eq!(server.patch_as(&user, &owners, write).await.status, StatusCode::OK);
}

/// I have copied a refresh token, and wait until its owner gives the password again. A refresh is no proof, whoever asks
/// for it.
#[tokio::test]
async fn a_copied_refresh_token_does_not_become_fresh_with_the_owners() {
    let server = TestServer::start();
    server.operator_account(ROOT, &["admin"]).await;
    server.account(NAME).await;
    let user = path_of(&server, &server.tokens(NAME).await.0).await;
    let body = json!({"email": ROOT, "password": PASSWORD, "audience": "admin"});
    let stolen = server.post("/v1/login", body).await.text("refresh_token");
    server.clock.advance(FRESH);
    let owners = server.refresh(&stolen).await;
    let proved = reauthenticate(&server, &owners.text("access_token")).await.text("access_token");
    // I am in the owner's network, and within the grace.
    let mine = server.refresh(&stolen).await;
    assert_eq!(mine.status, StatusCode::OK);
    let next = server.refresh(&owners.text("refresh_token")).await;
    let write = json!({"name": "Eve"});
    for access in [&mine, &next].map(|answer| answer.text("access_token")) {
        assert_eq!(server.patch_as(&user, &access, write.clone()).await.problem(), STEP_UP);
        let others = server.post_as("/v1/logout", &access, json!({"scope": "others"})).await;
        assert_eq!(others.problem(), STEP_UP);
    }
    assert_eq!(server.patch_as(&user, &proved, write.clone()).await.status, StatusCode::OK);
    // A restart recovers no more than that.
    let server = server.restart();
    let later = server.refresh(&next.text("refresh_token")).await.text("access_token");
    assert_eq!(server.patch_as(&user, &later, write.clone()).await.problem(), STEP_UP);
    assert_eq!(server.patch_as(&user, &proved, write).await.status, StatusCode::OK);
}

/// I hold an old session and read the owner's mail. Without the password I make a fresh session of both.
#[tokio::test]
async fn a_link_and_an_old_session_make_no_fresh_one() {
    let server = TestServer::with(&[("token.access_ttl_secs", "3600")]);
    for (number, with_cookie) in [false, true].into_iter().enumerate() {
        let (old, new) = (format!("ada{number}@test.org"), format!("lovelace{number}@test.org"));
        server.account(&old).await;
        let (access, _) = server.tokens(&old).await;
        let browser = Browser::log_in(&server, &old).await;
        assert_eq!(server.change_email(&access, &new).await.status, StatusCode::ACCEPTED);
        let link = server.mailed_link(&new, "address").await;
        server.clock.advance(FRESH);
        let delete = json!({"password": PASSWORD});
        let deleted = if with_cookie {
            let body = json!({"token": link.0, "email": link.1});
            let confirmed = browser.ask(&server, Method::POST, "/v1/email/change/confirm", body).await;
            assert!(confirmed.status.is_success(), "{confirmed:?}");
            let renewed = Browser::of(&confirmed);
            renewed.ask(&server, Method::DELETE, "/v1/me", delete).await
        } else {
            let confirmed = server.follow_as(&access, "/v1/email/change/confirm", &link).await;
            assert_eq!(confirmed.status, StatusCode::OK);
            // Nor by a refresh of it.
            let again = server.refresh(&confirmed.text("refresh_token")).await.text("access_token");
            let again = server.delete_as("/v1/me", &again, delete.clone()).await;
            assert_eq!(again.problem(), STEP_UP);
            server.delete_as("/v1/me", &confirmed.text("access_token"), delete).await
        };
        assert_eq!(deleted.problem(), STEP_UP);
    }
}

/// I hold a cookie and the password, and ask for six sessions at once in place of one.
#[tokio::test]
async fn six_proofs_with_one_cookie_leave_one_session() {
    let server = TestServer::with(&[("password.memory_kib", "32768"), ("password.passes", "4")]);
    server.account(NAME).await;
    let browser = Browser::log_in(&server, NAME).await;
    let mut proofs = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let request = server.request(Method::POST, "/v1/reauthenticate").header("origin", ORIGIN);
        let request = request.header("cookie", &browser.cookie).header("x-csrf-token", &browser.csrf);
        let request = request.header("user-agent", browser.agent);
        proofs.spawn(send(request.json(&json!({"password": PASSWORD}))));
    }
    let answers = proofs.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::NO_CONTENT);
    assert_eq!((won.len(), lost.len()), (1, 5), "{answers:?}");
    for answer in lost {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    let alive = Browser::of(won[0]);
    let open = alive.ask(&server, Method::GET, "/v1/sessions", json!(null)).await;
    assert_eq!(open.body["items"].as_array().map(Vec::len), Some(1), "{}", open.body);
    let old = browser.ask(&server, Method::GET, "/v1/session", json!(null)).await;
    assert_eq!(old.problem(), (401, "unauthenticated"));
}
