//! Coming back after the door was shut: a credential is asked for, or used, after its account was disabled, deleted, or
//! moved to another epoch.
//!
//! Every path that gives or honours a credential stands in [`PATHS`]; each is tried against each way to shut the door.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer};

const NAME: &str = "ada@test.org";

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

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shut {
    Disabled,
    Deleted,
    EpochMoved,
}

/// All that was handed out before the door was shut.
struct Held {
    access: String,
    refresh: String,
    spent: String,
    cookie: String,
    reset: String,
    email: String,
}

async fn hold(server: &TestServer) -> Held {
    let (_, spent) = server.tokens(NAME).await;
    let next = server.refresh(&spent).await;
    let body = json!({"email": NAME, "password": PASSWORD, "mode": "cookie"});
    let request = server.request(Method::POST, "/v1/login").header("origin", ORIGIN).json(&body);
    let opened = Answer::of(request.send().await.unwrap()).await;
    let mut cookies = opened.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    let cookie = cookies.find(|cookie| cookie.contains("session=")).unwrap();
    let (access, refresh) = (next.text("access_token"), next.text("refresh_token"));
    server.post("/v1/password/forgot", json!({"email": NAME})).await;
    let change = json!({"email": "new@test.org", "password": PASSWORD});
    server.post_as("/v1/email/change", &access, change).await;
    Held {
        access,
        refresh,
        spent,
        cookie: cookie.split(';').next().unwrap().to_owned(),
        reset: server.mailed(NAME, "new password").await,
        email: server.mailed("new@test.org", "Confirm your new").await,
    }
}

/// Whether a path lets its holder in.
async fn lets_in(server: &TestServer, path: Path, held: &Held, root: &str) -> bool {
    let with_cookie =
        |path: &'static str| server.request(Method::GET, path).header("cookie", &held.cookie).send();
    let introspected = |token: String| async move {
        server.post_as("/v1/introspect", root, json!({"token": token})).await.body["active"] == json!(true)
    };
    let status = match path {
        Path::LogIn => server.log_in(NAME, PASSWORD).await.status,
        Path::LogInWithCookie => {
            let body = json!({"email": NAME, "password": PASSWORD, "mode": "cookie"});
            let request = server.request(Method::POST, "/v1/login").header("origin", ORIGIN).json(&body);
            request.send().await.unwrap().status()
        }
        Path::Refresh => server.refresh(&held.refresh).await.status,
        Path::RefreshInGrace => server.refresh(&held.spent).await.status,
        Path::AccessToken => server.get_as("/v1/me", &held.access).await.status,
        Path::Cookie => with_cookie("/v1/me").await.unwrap().status(),
        Path::CsrfToken => with_cookie("/v1/csrf").await.unwrap().status(),
        Path::IntrospectAccess => return introspected(held.access.clone()).await,
        Path::IntrospectRefresh => return introspected(held.refresh.clone()).await,
        Path::PasswordChange => {
            let body = json!({"current_password": PASSWORD, "new_password": "an entirely different phrase"});
            server.post_as("/v1/password/change", &held.access, body).await.status
        }
        Path::ResetLink => {
            let body = json!({"token": held.reset, "new_password": "an entirely different phrase"});
            server.post("/v1/password/reset", body).await.status
        }
        Path::VerifyLink => server.post("/v1/email/verify", json!({"token": held.reset})).await.status,
        Path::EmailLink => {
            let (token, email) = held.email.split_once("&email=").unwrap();
            server.post("/v1/email/change/confirm", json!({"token": token, "email": email})).await.status
        }
    };
    status.is_success()
}

async fn administrator(server: &TestServer) -> String {
    use std::io::{BufRead, BufReader, Write};
    let socket = server.data_dir().join("admin.sock");
    let add =
        json!({"operation": "user_add", "email": "root@test.org", "password": PASSWORD, "roles": ["admin"]});
    tokio::task::spawn_blocking(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        writeln!(stream, "{add}").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
    })
    .await
    .unwrap();
    server.tokens("root@test.org").await.0
}

#[tokio::test]
async fn no_path_gives_or_honours_a_credential_once_the_door_is_shut() {
    for shut in [Shut::Disabled, Shut::Deleted, Shut::EpochMoved] {
        let server = TestServer::start();
        let root = administrator(&server).await;
        server.account(NAME).await;
        let held = hold(&server).await;
        let seen = server.get_as("/v1/me", &held.access).await;
        let user = format!("/v1/admin/users/{}", seen.text("id"));
        for path in [Path::AccessToken, Path::Cookie, Path::IntrospectAccess, Path::IntrospectRefresh] {
            assert!(lets_in(&server, path, &held, &root).await, "{path:?} was no way in to begin with");
        }
        let done = match shut {
            Shut::Disabled => {
                let patch = server.request(Method::PATCH, &user).json(&json!({"status": "disabled"}));
                patch.bearer_auth(&root).send().await.unwrap().status()
            }
            Shut::Deleted => {
                server.request(Method::DELETE, &user).bearer_auth(&root).send().await.unwrap().status()
            }
            Shut::EpochMoved => {
                server.post_as(&format!("{user}/revoke_sessions"), &root, json!({})).await.status
            }
        };
        assert!(done.is_success());
        let mut server = server;
        for round in 0..2 {
            for path in PATHS {
                // A new log-in is the way in again where only the epoch has moved.
                let is_anew = matches!(path, Path::LogIn | Path::LogInWithCookie) && shut == Shut::EpochMoved;
                let let_in = lets_in(&server, path, &held, &root).await;
                assert_eq!(let_in, is_anew, "{path:?} after {shut:?}, round {round}");
            }
            server = server.restart();
        }
    }
}

#[tokio::test]
async fn a_log_in_that_is_under_way_when_the_door_is_shut_opens_nothing() {
    let server = TestServer::with(&[("password.memory_kib", "65536"), ("password.passes", "3")]);
    let root = administrator(&server).await;
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let user = format!("/v1/admin/users/{}", server.get_as("/v1/me", &access).await.text("id"));
    let log_in =
        server.request(Method::POST, "/v1/login").json(&json!({"email": NAME, "password": PASSWORD}));
    let log_in = tokio::spawn(async { Answer::of(log_in.send().await.unwrap()).await });
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let patch = server.request(Method::PATCH, &user).bearer_auth(&root).json(&json!({"status": "disabled"}));
    assert!(patch.send().await.unwrap().status().is_success());
    let opened = log_in.await.unwrap();
    // Either the door was shut in time, or what it opened is dead.
    if opened.status == StatusCode::OK {
        assert_eq!(server.get_as("/v1/me", &opened.text("access_token")).await.status.as_u16(), 401);
        assert_eq!(server.refresh(&opened.text("refresh_token")).await.status.as_u16(), 401);
    }
}

#[tokio::test]
async fn a_stranger_who_signs_up_with_the_address_of_an_administrator_to_be_gets_none_of_its_roles() {
    let server = TestServer::start();
    let add = json!({
        "operation": "user_add", "email": "root@test.org", "password": PASSWORD, "roles": ["admin"],
    });
    assert!(server.operate(add).await.get("ok").is_some());
    let (root, _) = server.tokens("root@test.org").await;
    let new = json!({"email": NAME, "password": PASSWORD, "roles": ["admin"]});
    assert_eq!(server.post_as("/v1/admin/users", &root, new).await.status, StatusCode::CREATED);

    let strangers = "the stranger's own phrase";
    let sign_up =
        |email: &'static str| server.post("/v1/signup", json!({"email": email, "password": strangers}));
    let (taken, free) = (sign_up(NAME).await, sign_up("free@test.org").await);
    assert_eq!((taken.status, &taken.bytes), (free.status, &free.bytes));
    // The owner finds a link that proves the address, and uses it.
    let proof = server.mailed(NAME, "Confirm").await;
    assert_eq!(server.post("/v1/email/verify", json!({"token": proof})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.log_in(NAME, strangers).await.problem(), (401, "invalid_credentials"));
    assert_eq!(server.log_in(NAME, PASSWORD).await.body["user"]["roles"], json!(["admin"]));

    // The other way round: what an administrator makes over a sign-up has the roles it was given, and no other password.
    let made = json!({"email": "free@test.org", "password": PASSWORD, "roles": ["staff"]});
    let made = server.post_as("/v1/admin/users", &root, made).await;
    assert_eq!((made.status, &made.body["roles"]), (StatusCode::CREATED, &json!(["staff"])));
    let before = server.mailed("free@test.org", "Confirm").await;
    assert_eq!(
        server.post("/v1/email/verify", json!({"token": before})).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(server.log_in("free@test.org", strangers).await.problem(), (401, "invalid_credentials"));
}

#[tokio::test]
async fn to_ask_for_the_address_of_a_colleague_to_be_takes_away_neither_the_account_nor_the_link_that_proves_it()
 {
    let server = TestServer::start();
    let add = json!({
        "operation": "user_add", "email": "root@test.org", "password": PASSWORD, "roles": ["admin"],
    });
    assert!(server.operate(add).await.get("ok").is_some());
    let (root, _) = server.tokens("root@test.org").await;
    let new = json!({"email": NAME, "password": PASSWORD, "roles": ["staff"]});
    assert_eq!(server.post_as("/v1/admin/users", &root, new).await.status, StatusCode::CREATED);
    server.post("/v1/email/verify/resend", json!({"email": NAME})).await;
    let first = server.mailed(NAME, "Confirm").await;
    server.account("mallory@test.org").await;
    let (mallory, _) = server.tokens("mallory@test.org").await;
    for email in [NAME, "free@test.org"] {
        server.clock.advance(std::time::Duration::from_secs(1));
        let asked = json!({"email": email, "password": PASSWORD});
        let asked = server.post_as("/v1/email/change", &mallory, asked).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED);
    }
    // Behind this one in the outbox.
    server.mailed("free@test.org", "Confirm your new address").await;
    let newest = server.mailed(NAME, "Confirm").await;
    assert_ne!(first, newest);
    assert_eq!(
        server.post("/v1/email/verify", json!({"token": newest})).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(server.log_in(NAME, PASSWORD).await.body["user"]["roles"], json!(["staff"]));
}
