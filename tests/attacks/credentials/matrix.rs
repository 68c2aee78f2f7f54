//! Every credential against every change: I hold one of each kind, the owner, an administrator or somebody with a mailed
//! link changes something, and I go on using what I have.
//!
//! One row for each change says which credentials live on. The server has seen all of them before, so that kept verdicts
//! are in play.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{NAME, NEXT, ROOT, is_alive, path_of};
use crate::support::{Browser, PASSWORD, TestServer, send};

const NEW_NAME: &str = "new@test.org";

#[derive(Clone, Copy, Debug)]
enum Change {
    LogOut,
    LogOutOfOthers,
    LogOutEverywhere,
    Password,
    Reset,
    Address,
    Undo,
    Unlock,
    FewerRoles,
    Disabled,
    DisabledAndEnabled,
    Deleted,
    SessionEnded,
    SessionsRevoked,
}

/// What is alive after each change: the stream, the access token, the refresh token spent last, the live one, the cookie,
/// the link that sets a password, the link that changes the address.
const TABLE: [(Change, &str); 14] = [
    (Change::LogOut, "- - - - cookie reset address"),
    (Change::LogOutOfOthers, "- - - - - reset address"),
    (Change::LogOutEverywhere, "- - - - - - -"),
    (Change::Password, "- - - - - - -"),
    (Change::Reset, "- - - - - - -"),
    (Change::Address, "- - - - - - -"),
    (Change::Undo, "- - - - - - -"),
    (Change::Unlock, "stream access spent refresh cookie reset address"),
    (Change::FewerRoles, "- - spent refresh cookie reset address"),
    (Change::Disabled, "- - - - - - -"),
    (Change::DisabledAndEnabled, "- - - - - - -"),
    (Change::Deleted, "- - - - - - -"),
    (Change::SessionEnded, "- - - - cookie reset address"),
    (Change::SessionsRevoked, "- - - - - - -"),
];

/// One credential of each kind, all of the same account.
struct Held {
    email: &'static str,
    access: String,
    session_id: String,
    spent: String,
    refresh: String,
    browser: Browser,
    reset: String,
    address: Option<(String, String)>,
    stream: reqwest::Response,
}

/// Takes one of each kind. `email` is the present address of the account.
async fn hold(server: &TestServer, email: &'static str) -> Held {
    let (_, spent) = server.tokens(email).await;
    let next = server.refresh(&spent).await;
    let access = next.text("access_token");
    let browser = Browser::log_in(server, email).await;
    assert!(is_alive(server, &access).await);
    let me = browser.ask(server, Method::GET, "/v1/me", Value::Null).await;
    assert_eq!(me.status, StatusCode::OK);
    server.forgot(email).await;
    let reset = server.mailed(email, "new password").await;
    let asked = server.change_email(&access, NEW_NAME).await;
    let address = if asked.status == StatusCode::ACCEPTED {
        Some(server.mailed_link(NEW_NAME, "Confirm your new").await)
    } else {
        None
    };
    let request = server.request(Method::GET, "/v1/revocations").bearer_auth(&access);
    let mut stream = request.header("accept", "text/event-stream").send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    let session_id = next.text("session_id");
    Held {
        email,
        access,
        session_id,
        spent,
        refresh: next.text("refresh_token"),
        browser,
        reset,
        address,
        stream,
    }
}

/// Confirms a new address with the link and the password, whichever it is by now.
async fn confirm(server: &TestServer, (token, email): &(String, String)) -> StatusCode {
    let mut status = StatusCode::BAD_REQUEST;
    for password in [PASSWORD, NEXT] {
        let body = json!({"token": token, "email": email, "password": password});
        status = server.post("/v1/email/change/confirm", body).await.status;
        if status.is_success() {
            break;
        }
    }
    status
}

/// Makes a change with another session of the account, as the administrator `root`, or by a mailed link.
async fn make(server: &TestServer, change: Change, held: &Held, root: &str) {
    let user = path_of(server, &held.access).await;
    let status = async |to: &str| server.patch_as(&user, root, json!({"status": to})).await.status;
    let done = match change {
        Change::LogOut => server.post_as("/v1/logout", &held.access, json!({})).await.status,
        Change::LogOutOfOthers | Change::LogOutEverywhere => {
            let scope = if matches!(change, Change::LogOutOfOthers) { "others" } else { "global" };
            let (other, _) = server.tokens(held.email).await;
            server.post_as("/v1/logout", &other, json!({"scope": scope})).await.status
        }
        Change::Password => {
            let (other, _) = server.tokens(held.email).await;
            server.change_password(&other, PASSWORD, NEXT).await.status
        }
        Change::Reset => server.reset(&held.reset, NEXT).await.status,
        Change::Address => confirm(server, held.address.as_ref().unwrap()).await,
        Change::Undo => {
            let link = server.mailed_link(NAME, "was changed").await;
            server.follow("/v1/email/change/undo", &link, None).await.status
        }
        Change::Unlock => {
            for number in 0..5 {
                server.log_in(held.email, &format!("a wrong one {number}")).await;
            }
            let token = server.mailed(held.email, "locked").await;
            server.post("/v1/unlock", json!({"token": token})).await.status
        }
        Change::FewerRoles => server.patch_as(&user, root, json!({"roles": []})).await.status,
        Change::Disabled => status("disabled").await,
        Change::DisabledAndEnabled => {
            assert_eq!(status("disabled").await, StatusCode::OK);
            status("active").await
        }
        Change::Deleted => send(server.request(Method::DELETE, &user).bearer_auth(root)).await.status,
        Change::SessionEnded => {
            let (other, _) = server.tokens(held.email).await;
            let path = format!("/v1/sessions/{}", held.session_id);
            send(server.request(Method::DELETE, &path).bearer_auth(&other)).await.status
        }
        Change::SessionsRevoked => {
            server.post_as(&format!("{user}/revoke_sessions"), root, json!({})).await.status
        }
    };
    assert!(done.is_success(), "{change:?}: {done}");
}

/// Says which credentials are alive, in the form of [`TABLE`].
async fn alive(server: &TestServer, mut held: Held) -> String {
    let named = |is_alive: bool, name: &'static str| if is_alive { name } else { "-" };
    let rest = async { while let Ok(Some(_)) = held.stream.chunk().await {} };
    // It is looked at every second.
    let has_ended = tokio::time::timeout(Duration::from_secs(3), rest).await.is_ok();
    let access = is_alive(server, &held.access).await;
    let cookie = held.browser.ask(server, Method::GET, "/v1/me", Value::Null).await.status == StatusCode::OK;
    let spent = server.refresh(&held.spent).await;
    if spent.status == StatusCode::OK {
        // What it gives is valid at once.
        assert!(is_alive(server, &spent.text("access_token")).await);
    }
    let refresh = server.refresh(&held.refresh).await.status == StatusCode::OK;
    // A password that is too weak does not cost the token.
    let reset = server.reset(&held.reset, "short").await.status == StatusCode::UNPROCESSABLE_ENTITY;
    let address = match &held.address {
        Some(link) => confirm(server, link).await.is_success(),
        None => false,
    };
    [
        named(!has_ended, "stream"),
        named(access, "access"),
        named(spent.status == StatusCode::OK, "spent"),
        named(refresh, "refresh"),
        named(cookie, "cookie"),
        named(reset, "reset"),
        named(address, "address"),
    ]
    .join(" ")
}

#[tokio::test]
async fn every_credential_lives_or_dies_as_the_table_says() {
    for (change, expected) in TABLE {
        let server = TestServer::start();
        let root = server.operator_account(ROOT, &["admin"]).await;
        server.operator_account(NAME, &["introspect"]).await;
        let mut held = hold(&server, NAME).await;
        if matches!(change, Change::Undo) {
            let link = held.address.as_ref().unwrap();
            assert_eq!(confirm(&server, link).await, StatusCode::NO_CONTENT);
            held = hold(&server, NEW_NAME).await;
        }
        make(&server, change, &held, &root).await;
        assert_eq!(alive(&server, held).await, expected, "after {change:?}");
    }
}
