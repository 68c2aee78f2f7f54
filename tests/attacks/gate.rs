//! Coming back after the door was shut: I ask for a credential, or use one that I hold, after its account was disabled,
//! deleted, or moved to another epoch.
//!
//! [`PATHS`] lists every path that gives or honours a credential. Each is tried against each way to shut the door.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::values::redacted;
use crate::support::{Answer, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";
const NEXT: &str = "an entirely different phrase";
const STRANGERS: &str = "the stranger's own phrase";

/// A way in.
#[derive(Clone, Copy, Debug)]
enum Path {
    LogIn,
    LogInWithCookie,
    Refresh,
    RefreshInGrace,
    AccessToken,
    Cookie,
    CsrfToken,
    IntrospectAccess,
    IntrospectRefresh,
    PasswordChange,
    ResetLink,
    VerifyLink,
    EmailLink,
}

const PATHS: [Path; 13] = [
    Path::LogIn,
    Path::LogInWithCookie,
    Path::Refresh,
    Path::RefreshInGrace,
    Path::AccessToken,
    Path::Cookie,
    Path::CsrfToken,
    Path::IntrospectAccess,
    Path::IntrospectRefresh,
    Path::PasswordChange,
    Path::ResetLink,
    Path::VerifyLink,
    Path::EmailLink,
];

/// A way to shut the door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shut {
    Disabled,
    Deleted,
    EpochMoved,
}

/// Credentials that were handed out before the door was shut.
struct Held {
    access: String,
    refresh: String,
    /// The predecessor of `refresh`, still within its grace.
    spent: String,
    cookie: String,
    reset: String,
    email: (String, String),
}

async fn hold(server: &TestServer) -> Held {
    let (_, spent) = server.tokens(NAME).await;
    let next = server.refresh(&spent).await;
    let access = next.text("access_token");
    let cookie = server.log_in_for_cookie(NAME).await.session_cookie();
    server.forgot(NAME).await;
    server.change_email(&access, "new@test.org").await;
    Held {
        access,
        refresh: next.text("refresh_token"),
        spent,
        cookie,
        reset: server.mailed(NAME, "new password").await,
        email: server.mailed_link("new@test.org", "Confirm your new").await,
    }
}

/// Says whether `path` lets the holder of `held` in. `root` is the access token of an administrator.
async fn lets_in(server: &TestServer, path: Path, held: &Held, root: &str) -> bool {
    let is_active = async |token: &str| {
        server.post_as("/v1/introspect", root, json!({"token": token})).await.body["active"] == json!(true)
    };
    let answer = match path {
        Path::LogIn => server.log_in(NAME, PASSWORD).await,
        Path::LogInWithCookie => server.log_in_for_cookie(NAME).await,
        Path::Refresh => server.refresh(&held.refresh).await,
        Path::RefreshInGrace => server.refresh(&held.spent).await,
        Path::AccessToken => server.get_as("/v1/me", &held.access).await,
        Path::Cookie => server.get_with_cookie("/v1/me", &held.cookie).await,
        Path::CsrfToken => server.get_with_cookie("/v1/csrf", &held.cookie).await,
        Path::IntrospectAccess => return is_active(&held.access).await,
        Path::IntrospectRefresh => return is_active(&held.refresh).await,
        Path::PasswordChange => server.change_password(&held.access, PASSWORD, NEXT).await,
        Path::ResetLink => server.reset(&held.reset, NEXT).await,
        Path::VerifyLink => server.verify(&held.reset).await,
        Path::EmailLink => server.follow("/v1/email/change/confirm", &held.email, Some(PASSWORD)).await,
    };
    answer.status.is_success()
}

/// Shuts the door on the account at the path `user`, as the administrator of the access token `root`.
async fn shut_door(server: &TestServer, shut: Shut, user: &str, root: &str) {
    let done = match shut {
        Shut::Disabled => server.patch_as(user, root, json!({"status": "disabled"})).await,
        Shut::Deleted => send(server.request(Method::DELETE, user).bearer_auth(root)).await,
        Shut::EpochMoved => server.post_as(&format!("{user}/revoke_sessions"), root, json!({})).await,
    };
    assert!(done.status.is_success(), "{shut:?}: {done:?}");
}

#[tokio::test]
async fn no_path_gives_or_honours_a_credential_once_the_door_is_shut() {
    for shut in [Shut::Disabled, Shut::Deleted, Shut::EpochMoved] {
        let mut server = TestServer::start();
        let root = server.operator_account("root@test.org", &["admin"]).await;
        server.account(NAME).await;
        let held = hold(&server).await;
        let user = format!("/v1/admin/users/{}", server.get_as("/v1/me", &held.access).await.text("id"));
        for path in [Path::AccessToken, Path::Cookie, Path::IntrospectAccess, Path::IntrospectRefresh] {
            assert!(lets_in(&server, path, &held, &root).await, "{path:?} was no way in to begin with");
        }
        shut_door(&server, shut, &user, &root).await;
        // Once at once, and once after a restart.
        for round in 0..2 {
            for path in PATHS {
                // A new log-in is allowed where only the epoch has moved.
                let is_log_in = matches!(path, Path::LogIn | Path::LogInWithCookie);
                let is_allowed = is_log_in && shut == Shut::EpochMoved;
                let is_let_in = lets_in(&server, path, &held, &root).await;
                assert_eq!(is_let_in, is_allowed, "{path:?} after {shut:?}, round {round}");
            }
            server = server.restart();
        }
    }
}

#[tokio::test]
async fn a_log_in_that_is_under_way_when_the_door_is_shut_opens_nothing() {
    let server = TestServer::with(&[("password.memory_kib", "65536"), ("password.passes", "3")]);
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let user = format!("/v1/admin/users/{}", server.get_as("/v1/me", &access).await.text("id"));
    let log_in = server.request(Method::POST, "/v1/login");
    let log_in = tokio::spawn(send(log_in.json(&json!({"email": NAME, "password": PASSWORD}))));
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    shut_door(&server, Shut::Disabled, &user, &root).await;
    let opened = log_in.await.unwrap();
    // Either the door was shut in time, or what the log-in has opened is dead.
    if opened.status == StatusCode::OK {
        assert_eq!(server.get_as("/v1/me", &opened.text("access_token")).await.status.as_u16(), 401);
        assert_eq!(server.refresh(&opened.text("refresh_token")).await.status.as_u16(), 401);
    }
}

/// An administrator makes an account for `email`, which its owner has not proved yet.
async fn make(server: &TestServer, root: &str, email: &str, role: &str) -> Value {
    let new = json!({"email": email, "password": PASSWORD, "roles": [role]});
    let made = server.post_as("/v1/admin/users", root, new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    made.body
}

async fn sign_up_as_stranger(server: &TestServer, email: &str) -> Answer {
    server.post("/v1/signup", json!({"email": email, "password": STRANGERS})).await
}

/// An administrator has made an account with roles for an address, which the owner has not proved yet. I sign up with
/// that address and a password of mine, and hope that the owner follows the link.
#[tokio::test]
async fn a_stranger_who_signs_up_with_a_reserved_address_gets_no_roles() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    make(&server, &root, NAME, "admin").await;
    let reserved = sign_up_as_stranger(&server, NAME).await;
    let free = sign_up_as_stranger(&server, "free@test.org").await;
    assert_eq!(reserved.status, free.status);
    assert_eq!(redacted(reserved.body, &["/signup_token"]), redacted(free.body, &["/signup_token"]));
    let proof = server.mailed(NAME, "Confirm").await;
    assert_eq!(server.verify(&proof).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.log_in(NAME, STRANGERS).await.problem(), (401, "invalid_credentials"));
    assert_eq!(server.log_in(NAME, PASSWORD).await.body["user"]["roles"], json!(["admin"]));
}

/// The other way round: I sign up first, and then an administrator makes an account with roles for the same address.
#[tokio::test]
async fn an_account_made_over_a_strangers_sign_up_does_not_take_its_password() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    sign_up_as_stranger(&server, NAME).await;
    let before = server.mailed(NAME, "Confirm").await;
    let made = make(&server, &root, NAME, "staff").await;
    assert_eq!(made["roles"], json!(["staff"]));
    assert_eq!(server.verify(&before).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.log_in(NAME, STRANGERS).await.problem(), (401, "invalid_credentials"));
}

/// An administrator has made an account for the address of a colleague to be. I ask to move my own account to that
/// address: neither the colleague's account nor the link that proves its address may suffer.
#[tokio::test]
async fn asking_for_a_reserved_address_takes_neither_the_account_nor_its_link() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    make(&server, &root, NAME, "staff").await;
    server.post("/v1/email/verify/resend", json!({"email": NAME})).await;
    let first = server.mailed(NAME, "Confirm").await;
    server.account("mallory@test.org").await;
    let (mallory, _) = server.tokens("mallory@test.org").await;
    for email in [NAME, "free@test.org"] {
        server.clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(server.change_email(&mallory, email).await.status, StatusCode::ACCEPTED);
    }
    server.mailed("free@test.org", "Confirm your new address").await;
    let told = server.mail(NAME, "asks for your address").await;
    assert!(told.letter.link.is_none());
    assert_eq!(server.verify(&first).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.log_in(NAME, PASSWORD).await.body["user"]["roles"], json!(["staff"]));
}
