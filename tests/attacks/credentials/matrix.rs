//! Every credential against every change: I hold one of each kind, the owner, an administrator or the holder of a mailed
//! link changes something, and I go on using what I have.
//!
//! One row for each change names the credentials that live on; `none` is one that cannot be had in that state. The server
//! has seen every credential before the change, so that cached verdicts count, too.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{NAME, NEXT, ROOT, is_alive, path_of};
use crate::support::backup::restored;
use crate::support::links::BoundLink;
use crate::support::{Browser, PASSWORD, TestServer, send};

const OLD_NAME: &str = "old@test.org";
const NEW_NAME: &str = "new@test.org";
const CONFIRM: &str = "/v1/email/change/confirm";
const UNDO: &str = "/v1/email/change/undo";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    LogOut,
    LogOutOfOthers,
    LogOutEverywhere,
    DevicesEnded,
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
    Restored,
}

/// What is alive after each change: the stream, the access token, the refresh token spent last, the live one, the cookie,
/// the device; the links that set a password, change the address, lift a lockout and undo the last change of the address;
/// and an API key that the account has made as an administrator. A key belongs to a service and not to its maker, so it
/// outlives the maker; only a restore ends it, since a key that was deleted after the backup would come back.
const TABLE: [(Change, &str); 15] = [
    (Change::LogOut, "- - - - cookie device reset address unlock none key"),
    (Change::LogOutOfOthers, "- - - - - device reset address unlock none key"),
    (Change::LogOutEverywhere, "- - - - - - - - - none key"),
    (Change::DevicesEnded, "stream access spent refresh cookie - reset address unlock none key"),
    (Change::Password, "- - - - - - - - - none key"),
    (Change::Reset, "- - - - - - - - - none key"),
    (Change::Address, "- - - - - - - - - none key"),
    (Change::Unlock, "stream access spent refresh cookie device reset address - none key"),
    (Change::FewerRoles, "- - spent refresh cookie device reset address unlock none key"),
    (Change::Disabled, "- - - - - - - - - none key"),
    (Change::DisabledAndEnabled, "- - - - - device - - - none key"),
    (Change::Deleted, "- - - - - - - - - none key"),
    (Change::SessionEnded, "- - - - cookie device reset address unlock none key"),
    (Change::SessionsRevoked, "- - - - - - - - - none key"),
    (Change::Restored, "- - - - - - - - - none -"),
];

/// The same of an account whose address was changed lately. It cannot be changed again, and the first owner can undo the
/// change whatever became of the account, as long as it exists.
const TABLE_OF_MOVED: [(Change, &str); 15] = [
    (Change::LogOut, "- - - - cookie device reset none unlock undo key"),
    (Change::LogOutOfOthers, "- - - - - device reset none unlock undo key"),
    (Change::LogOutEverywhere, "- - - - - - - none - undo key"),
    (Change::DevicesEnded, "stream access spent refresh cookie - reset none unlock undo key"),
    (Change::Password, "- - - - - - - none - undo key"),
    (Change::Reset, "- - - - - - - none - undo key"),
    (Change::Undo, "- - - - - - - none - - key"),
    (Change::Unlock, "stream access spent refresh cookie device reset none - undo key"),
    (Change::FewerRoles, "- - spent refresh cookie device reset none unlock undo key"),
    (Change::Disabled, "- - - - - - - none - undo key"),
    (Change::DisabledAndEnabled, "- - - - - device - none - undo key"),
    (Change::Deleted, "- - - - - - - none - - key"),
    (Change::SessionEnded, "- - - - cookie device reset none unlock undo key"),
    (Change::SessionsRevoked, "- - - - - - - none - undo key"),
    (Change::Restored, "- - - - - - - none - - -"),
];

/// One credential of each kind, all of the same account.
struct Held {
    access: String,
    session_id: String,
    spent: String,
    refresh: String,
    browser: Browser,
    device: String,
    reset: String,
    address: Option<BoundLink>,
    unlock: String,
    undo: Option<BoundLink>,
    key: String,
    stream: reqwest::Response,
}

/// Takes one of each kind of the account [`NAME`], which `undo` moves back if its address was changed lately.
async fn hold(server: &TestServer, undo: Option<BoundLink>) -> Held {
    for number in 0..5 {
        server.log_in(NAME, &format!("a wrong one {number}")).await;
    }
    let unlock = server.mailed(NAME, "locked").await;
    // The lock is over before its link.
    server.clock.advance(Duration::from_mins(1));

    let opened = server.log_in(NAME, PASSWORD).await;
    let (spent, device) = (opened.text("refresh_token"), opened.header("x-device-token").to_owned());
    let next = server.refresh(&spent).await;
    let access = next.text("access_token");
    let browser = Browser::log_in(server, NAME).await;
    assert!(is_alive(server, &access).await);
    let me = browser.ask(server, Method::GET, "/v1/me", Value::Null).await;
    assert_eq!(me.status, StatusCode::OK);
    server.forgot(NAME).await;
    let reset = server.mailed(NAME, "new password").await;
    let asked = server.change_email(&access, NEW_NAME).await;
    let address = if undo.is_none() {
        assert_eq!(asked.status, StatusCode::ACCEPTED);
        Some(server.mailed_link(NEW_NAME, "Confirm your new").await)
    } else {
        assert_eq!(asked.problem(), (409, "email_changed_lately"));
        None
    };
    let admin = server.admin_token(NAME).await;
    let new = json!({"name": "metrics", "scopes": ["metrics"]});
    let key = server.post_as("/v1/admin/api_keys", &admin, new).await.text("key");
    assert_eq!(server.get_as("/metrics", &key).await.status, StatusCode::OK);
    let request = server.request(Method::GET, "/v1/revocations").bearer_auth(&access);
    let mut stream = request.header("accept", "text/event-stream").send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    let (session_id, refresh) = (next.text("session_id"), next.text("refresh_token"));
    Held { access, session_id, spent, refresh, browser, device, reset, address, unlock, undo, key, stream }
}

/// Makes a change with another session of the account, as the administrator `root`, or by a mailed link.
async fn make(server: TestServer, change: Change, held: &Held, root: &str) -> TestServer {
    let user = path_of(&server, &held.access).await;
    let status = async |to: &str| server.patch_as(&user, root, json!({"status": to})).await.status;
    let another = async || server.tokens(NAME).await.0;
    let done = match change {
        Change::LogOut => server.post_as("/v1/logout", &held.access, json!({})).await.status,
        Change::LogOutOfOthers | Change::LogOutEverywhere => {
            let scope = if change == Change::LogOutOfOthers { "others" } else { "global" };
            server.post_as("/v1/logout", &another().await, json!({"scope": scope})).await.status
        }
        Change::DevicesEnded => server.delete_as("/v1/devices", &another().await, Value::Null).await.status,
        Change::Password => server.change_password(&another().await, PASSWORD, NEXT).await.status,
        Change::Reset => server.reset(&held.reset, NEXT).await.status,
        Change::Address => {
            server.follow(CONFIRM, held.address.as_ref().unwrap(), Some(PASSWORD)).await.status
        }
        Change::Undo => server.follow(UNDO, held.undo.as_ref().unwrap(), None).await.status,
        Change::Unlock => server.post("/v1/unlock", json!({"token": held.unlock})).await.status,
        Change::FewerRoles => server.patch_as(&user, root, json!({"roles": []})).await.status,
        Change::Disabled => status("disabled").await,
        Change::DisabledAndEnabled => {
            assert_eq!(status("disabled").await, StatusCode::OK);
            status("active").await
        }
        Change::Deleted => send(server.request(Method::DELETE, &user).bearer_auth(root)).await.status,
        Change::SessionEnded => {
            let path = format!("/v1/sessions/{}", held.session_id);
            send(server.request(Method::DELETE, &path).bearer_auth(another().await)).await.status
        }
        Change::SessionsRevoked => {
            server.post_as(&format!("{user}/revoke_sessions"), root, json!({})).await.status
        }
        Change::Restored => return restored(server),
    };
    assert!(done.is_success(), "{change:?}: {done}");
    server
}

/// Says whether the device is known: it gets in with the right password while strangers have locked the name.
async fn is_known(server: &TestServer, change: Change, device: &str) -> bool {
    let name = match change {
        Change::Address => NEW_NAME,
        Change::Undo => OLD_NAME,
        _ => NAME,
    };
    let password = if matches!(change, Change::Password | Change::Reset) { NEXT } else { PASSWORD };
    for number in 0..6 {
        server.log_in(name, &format!("another wrong one {number}")).await;
    }
    assert_eq!(server.log_in(name, password).await.problem(), (429, "too_many_attempts"), "{change:?}");
    let is_known = server.log_in_on(name, password, device).await.status == StatusCode::OK;
    // The lock is over, and longer-lived links than it are not.
    server.clock.advance(Duration::from_hours(1));
    is_known
}

/// Says which credentials are alive after `change`, in the form of [`TABLE`]. Those whose use ends others are used last.
async fn alive(server: &TestServer, change: Change, mut held: Held) -> String {
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
    let key = server.get_as("/metrics", &held.key).await.status == StatusCode::OK;
    // A password that is too weak does not cost the token.
    let reset = server.reset(&held.reset, "short").await.status == StatusCode::UNPROCESSABLE_ENTITY;
    let unlock = server.post("/v1/unlock", json!({"token": held.unlock})).await.status.is_success();
    // The same use again is answered alike for a while, and lifts no lock: `api::repeats`.
    let unlock = unlock && change != Change::Unlock;
    let device = is_known(server, change, &held.device).await;
    let follow = async |path: &str, link: &Option<BoundLink>, name| match link {
        Some(link) => named(server.follow(path, link, Some(PASSWORD)).await.status.is_success(), name),
        None => "none",
    };
    let address = follow(CONFIRM, &held.address, "address").await;
    let undo = follow(UNDO, &held.undo, "undo").await;
    [
        named(!has_ended, "stream"),
        named(access, "access"),
        named(spent.status == StatusCode::OK, "spent"),
        named(refresh, "refresh"),
        named(cookie, "cookie"),
        named(device, "device"),
        named(reset, "reset"),
        address,
        named(unlock, "unlock"),
        undo,
        named(key, "key"),
    ]
    .join(" ")
}

/// Starts a server with the administrator [`ROOT`] and an account of `email`, which is an administrator of services.
async fn start(email: &str) -> (TestServer, String) {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    server.operator_account(email, &["admin", "introspect"]).await;
    (server, root)
}

/// Asserts that what is alive after each change is what `tables` says. All rows that are wrong are named at once.
fn assert_rows(found: &[(Change, String)], table: &[(Change, &str)]) {
    let wrong: Vec<_> = found
        .iter()
        .zip(table)
        .filter(|((_, found), (_, expected))| found != expected)
        .map(|((change, found), (_, expected))| {
            format!("{change:?}\n  found    {found}\n  expected {expected}")
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_credential_lives_or_dies_as_the_table_says() {
    let mut found = Vec::new();
    for (change, _) in TABLE {
        let (server, root) = start(NAME).await;
        let held = hold(&server, None).await;
        let server = make(server, change, &held, &root).await;
        found.push((change, alive(&server, change, held).await));
    }
    assert_rows(&found, &TABLE);
}

#[tokio::test]
async fn every_credential_of_an_account_that_moved_lives_or_dies_as_the_table_says() {
    let mut found = Vec::new();
    for (change, _) in TABLE_OF_MOVED {
        let (server, root) = start(OLD_NAME).await;
        let (access, _) = server.tokens(OLD_NAME).await;
        assert_eq!(server.change_email(&access, NAME).await.status, StatusCode::ACCEPTED);
        let link = server.mailed_link(NAME, "Confirm your new").await;
        assert_eq!(server.follow(CONFIRM, &link, Some(PASSWORD)).await.status, StatusCode::NO_CONTENT);
        let undo = server.mailed_link(OLD_NAME, "was changed").await;
        let held = hold(&server, Some(undo)).await;
        let server = make(server, change, &held, &root).await;
        found.push((change, alive(&server, change, held).await));
    }
    assert_rows(&found, &TABLE_OF_MOVED);
}
