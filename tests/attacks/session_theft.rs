//! Session hijacking and fixation: a cookie is planted before the log-in, copied to another browser, kept beyond its end,
//! or used to take the account over.
//!
//! Bounds: no session survives the log-in that replaces it, its idle or absolute end, or another family of browsers; an
//! address cannot be changed without the password, nor beyond what its first owner can undo.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer};

const NAME: &str = "ada@test.org";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";
const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36";

/// What a browser holds after a log-in.
struct Browser {
    cookie: String,
    csrf: String,
    agent: &'static str,
}

async fn open(server: &TestServer, email: &str, before: Option<&str>, origin: &str) -> (Browser, Answer) {
    let body = json!({"email": email, "password": PASSWORD, "mode": "cookie"});
    let mut request = server.request(Method::POST, "/v1/login").header("origin", origin).json(&body);
    if let Some(before) = before {
        request = request.header("cookie", before);
    }
    let answer = Answer::of(request.header("user-agent", FIREFOX).send().await.unwrap()).await;
    let mut cookies = answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    let cookie = cookies.find(|cookie| cookie.contains("session=")).unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    (Browser { cookie, csrf: answer.text("csrf_token"), agent: FIREFOX }, answer)
}

async fn ask(
    server: &TestServer,
    browser: &Browser,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Answer {
    let mut request = server
        .request(method, path)
        .header("cookie", &browser.cookie)
        .header("user-agent", browser.agent)
        .header("origin", ORIGIN)
        .header("x-csrf-token", &browser.csrf);
    if let Some(body) = body {
        request = request.json(&body);
    }
    Answer::of(request.send().await.unwrap()).await
}

async fn me(server: &TestServer, browser: &Browser) -> StatusCode {
    ask(server, browser, Method::GET, "/v1/me", None).await.status
}

#[tokio::test]
async fn a_planted_cookie_is_worth_nothing_after_the_log_in_and_the_one_before_is_dead() {
    let server = TestServer::start();
    server.account(NAME).await;
    server.account("mallory@test.org").await;
    // Mallory's own live session, planted in Ada's browser.
    let (planted, _) = open(&server, "mallory@test.org", None, ORIGIN).await;
    let (ada, _) = open(&server, NAME, Some(&planted.cookie), ORIGIN).await;
    assert_ne!(planted.cookie, ada.cookie);
    assert_eq!(me(&server, &planted).await, StatusCode::UNAUTHORIZED);
    assert_eq!(me(&server, &ada).await, StatusCode::OK);
    let (again, _) = open(&server, NAME, Some(&ada.cookie), ORIGIN).await;
    assert_eq!(
        (me(&server, &ada).await, me(&server, &again).await),
        (StatusCode::UNAUTHORIZED, StatusCode::OK)
    );
    // A made-up value is neither taken over nor in the way.
    let (made_up, _) = open(&server, NAME, Some("portcullis_session=chosen-by-mallory"), ORIGIN).await;
    assert!(!made_up.cookie.contains("chosen-by-mallory"));
}

#[tokio::test]
async fn a_cookie_in_another_browser_is_asked_for_the_password_and_goes_on_in_its_own() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (mut browser, _) = open(&server, NAME, None, ORIGIN).await;
    browser.agent = CHROME;
    assert_eq!(me(&server, &browser).await, StatusCode::UNAUTHORIZED);
    browser.agent = "curl/8.1";
    assert_eq!(me(&server, &browser).await, StatusCode::UNAUTHORIZED);
    browser.agent = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0";
    assert_eq!(me(&server, &browser).await, StatusCode::OK);
}

#[tokio::test]
async fn a_session_ends_unused_and_at_its_absolute_end_however_it_is_used() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (browser, _) = open(&server, NAME, None, ORIGIN).await;
    server.clock.advance(Duration::from_mins(29));
    assert_eq!(me(&server, &browser).await, StatusCode::OK);
    server.clock.advance(Duration::from_mins(30));
    assert_eq!(me(&server, &browser).await, StatusCode::UNAUTHORIZED);
    let (browser, _) = open(&server, NAME, None, ORIGIN).await;
    let mut minutes = 0;
    while me(&server, &browser).await == StatusCode::OK {
        server.clock.advance(Duration::from_mins(20));
        minutes += 20;
    }
    assert_eq!(minutes, 12 * 60);
}

#[tokio::test]
async fn behind_tls_the_cookie_is_bound_to_the_host_and_out_of_reach_of_scripts_and_plain_http() {
    let server = TestServer::with(&[("http.public_origin", "https://login.test")]);
    server.account(NAME).await;
    let (_, answer) = open(&server, NAME, None, "https://login.test").await;
    let mut seen = 0;
    for cookie in answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()) {
        seen += 1;
        assert!(cookie.starts_with("__Host-portcullis_"), "{cookie}");
        for attribute in ["; HttpOnly", "; Secure", "; SameSite=Lax", "; Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        assert!(!cookie.contains("Domain"));
    }
    assert_eq!(seen, 2);
    assert!(answer.headers.contains_key("strict-transport-security"));
}

#[tokio::test]
async fn another_sessions_csrf_token_is_refused_and_a_cookie_alone_changes_nothing() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (mut one, _) = open(&server, NAME, None, ORIGIN).await;
    let (other, _) = open(&server, NAME, None, ORIGIN).await;
    let change =
        || Some(json!({"current_password": PASSWORD, "new_password": "an entirely different phrase"}));
    let own = std::mem::replace(&mut one.csrf, other.csrf.clone());
    for (method, path, body) in [
        (Method::POST, "/v1/password/change", change()),
        (Method::POST, "/v1/email/change", Some(json!({"email": "eve@test.org", "password": PASSWORD}))),
        (Method::POST, "/v1/logout", Some(json!({"scope": "global"}))),
        (Method::DELETE, "/v1/me", Some(json!({"password": PASSWORD}))),
        (Method::DELETE, "/v1/sessions/00000000000000000000000000000000", None),
    ] {
        let answer = ask(&server, &one, method, path, body).await;
        assert_eq!(answer.problem(), (403, "csrf_rejected"), "{path}");
    }
    one.csrf = own;
    assert_eq!((me(&server, &one).await, me(&server, &other).await), (StatusCode::OK, StatusCode::OK));
}

/// Token and address of the link in the newest mail of that subject.
async fn link(server: &TestServer, to: &str, subject: &str) -> (String, String) {
    let link = server.mailed(to, subject).await;
    let (token, email) = link.split_once("&email=").unwrap();
    (token.to_owned(), email.to_owned())
}

async fn bound(server: &TestServer, path: &str, token: &str, email: &str) -> Answer {
    server.post(path, json!({"token": token, "email": email})).await
}

#[tokio::test]
async fn an_address_changes_with_the_password_by_a_link_to_the_new_one_and_tells_the_old() {
    let server = TestServer::start();
    server.account(NAME).await;
    server.account("taken@test.org").await;
    let (access, _) = server.tokens(NAME).await;
    let change = |email: &'static str, password: &'static str| {
        server.post_as("/v1/email/change", &access, json!({"email": email, "password": password}))
    };
    assert_eq!(change("new@test.org", "a wrong one").await.problem(), (401, "invalid_credentials"));
    let taken = change("taken@test.org", PASSWORD).await;
    let free = change("new@test.org", PASSWORD).await;
    assert_eq!((taken.status, &taken.bytes), (free.status, &free.bytes));
    server.mail("taken@test.org", "already have").await;
    let (token, email) = link(&server, "new@test.org", "Confirm your new address").await;
    // The token is good together with its address alone, and for nothing else.
    let confirm = "/v1/email/change/confirm";
    assert_eq!(bound(&server, confirm, &token, "mallory@test.org").await.status.as_u16(), 400);
    assert_eq!(bound(&server, "/v1/email/change/undo", &token, &email).await.status.as_u16(), 400);
    assert_eq!(server.post("/v1/email/verify", json!({"token": token})).await.status.as_u16(), 400);
    assert_eq!(bound(&server, confirm, &token, &email).await.status.as_u16(), 204);
    assert_eq!(bound(&server, confirm, &token, &email).await.status.as_u16(), 400);
    server.mail(NAME, "was changed").await;
    let server = server.restart();
    assert_eq!(server.log_in(NAME, PASSWORD).await.status.as_u16(), 401);
    assert_eq!(server.log_in("new@test.org", PASSWORD).await.body["user"]["email"], "new@test.org");
    // The old address is free again.
    server.account(NAME).await;
    assert_eq!(server.log_in(NAME, PASSWORD).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_thief_who_changes_address_and_password_loses_all_of_it_to_the_link_of_the_first_owner() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (thief, refresh) = server.tokens(NAME).await;
    let change = |email: &'static str, password: &'static str| {
        server.post_as("/v1/email/change", &thief, json!({"email": email, "password": password}))
    };
    change("thief@test.org", PASSWORD).await;
    let (token, email) = link(&server, "thief@test.org", "Confirm your new address").await;
    assert_eq!(bound(&server, "/v1/email/change/confirm", &token, &email).await.status.as_u16(), 204);
    // Once more, to push the first owner's link out; a new password by mail; the old address taken by a sign-up.
    assert_eq!(change("thief2@test.org", PASSWORD).await.problem(), (409, "email_changed_lately"));
    server.post("/v1/password/forgot", json!({"email": "thief@test.org"})).await;
    let reset = server.mailed("thief@test.org", "new password").await;
    let set = json!({"token": reset, "new_password": "somebody else's long phrase"});
    assert_eq!(server.post("/v1/password/reset", set).await.status.as_u16(), 204);
    server.post("/v1/signup", json!({"email": NAME, "password": "somebody else's long phrase"})).await;
    let opened = server.log_in("thief@test.org", "somebody else's long phrase").await;
    assert_eq!(opened.status, StatusCode::OK);

    server.clock.advance(Duration::from_hours(71));
    let (token, email) = link(&server, NAME, "was changed").await;
    assert_eq!(bound(&server, "/v1/email/change/undo", &token, &email).await.status.as_u16(), 204);
    for token in [&thief, &opened.text("access_token")] {
        assert_eq!(server.get_as("/v1/me", token).await.status.as_u16(), 401);
    }
    for token in [&refresh, &opened.text("refresh_token")] {
        assert_eq!(server.refresh(token).await.status.as_u16(), 401);
    }
    for name in [NAME, "thief@test.org"] {
        for password in [PASSWORD, "somebody else's long phrase"] {
            assert_eq!(server.log_in(name, password).await.status.as_u16(), 401, "{name}");
        }
    }
    let reset = server.mailed(NAME, "new password").await;
    let set = json!({"token": reset, "new_password": "the owner's next phrase"});
    assert_eq!(server.post("/v1/password/reset", set).await.status.as_u16(), 204);
    assert_eq!(server.log_in(NAME, "the owner's next phrase").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_sign_up_that_proved_nothing_keeps_an_address_from_nobody_who_proves_it() {
    let server = TestServer::start();
    server.account(NAME).await;
    let squat = || server.post("/v1/signup", json!({"email": "new@test.org", "password": PASSWORD}));
    squat().await;
    let squatters = server.mailed("new@test.org", "Confirm your address").await;
    let (access, _) = server.tokens(NAME).await;
    let body = json!({"email": "new@test.org", "password": PASSWORD});
    assert_eq!(server.post_as("/v1/email/change", &access, body).await.status, StatusCode::ACCEPTED);
    let (token, email) = link(&server, "new@test.org", "Confirm your new address").await;
    // Once more, before the link is used.
    squat().await;
    assert_eq!(bound(&server, "/v1/email/change/confirm", &token, &email).await.status.as_u16(), 204);
    let opened = server.log_in("new@test.org", PASSWORD).await;
    assert_eq!(opened.body["user"]["id"], server.get_as("/v1/me", &access).await.body["id"]);
    let late = server.mailed("new@test.org", "Confirm your address").await;
    for token in [squatters, late] {
        let proof = server.post("/v1/email/verify", json!({"token": token})).await;
        assert_eq!(proof.problem(), (400, "invalid_or_expired_token"));
    }
}

#[tokio::test]
async fn to_ask_for_somebodys_address_leaves_the_link_that_proves_it_alive() {
    let server = TestServer::start();
    server.account(NAME).await;
    server.post("/v1/signup", json!({"email": "eve@test.org", "password": PASSWORD})).await;
    let proof = server.mailed("eve@test.org", "Confirm your address").await;
    let (access, _) = server.tokens(NAME).await;
    let body = json!({"email": "eve@test.org", "password": PASSWORD});
    assert_eq!(server.post_as("/v1/email/change", &access, body).await.status, StatusCode::ACCEPTED);
    let (token, email) = link(&server, "eve@test.org", "Confirm your new address").await;
    // Whoever reads that mailbox has both links: the first that is used says whose the address is.
    assert_eq!(server.post("/v1/email/verify", json!({"token": proof})).await.status.as_u16(), 204);
    let late = bound(&server, "/v1/email/change/confirm", &token, &email).await;
    assert_eq!(late.problem(), (400, "invalid_or_expired_token"));
    assert_eq!(server.log_in("eve@test.org", PASSWORD).await.status, StatusCode::OK);
    assert_eq!(server.log_in(NAME, PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_link_of_an_account_that_is_gone_deletes_nobody() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let body = json!({"email": "new@test.org", "password": PASSWORD});
    assert_eq!(server.post_as("/v1/email/change", &access, body).await.status, StatusCode::ACCEPTED);
    let (token, email) = link(&server, "new@test.org", "Confirm your new address").await;
    assert_eq!(bound(&server, "/v1/email/change/confirm", &token, &email).await.status.as_u16(), 204);
    let (token, email) = link(&server, NAME, "was changed").await;
    let delete = server.request(Method::DELETE, "/v1/me").bearer_auth(&access);
    let deleted = delete.json(&json!({"password": PASSWORD})).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    // The next sign-up with the old address is not in its way: there is nothing to undo.
    server.mails.lock().clear();
    server.post("/v1/signup", json!({"email": NAME, "password": PASSWORD})).await;
    let proof = server.mailed(NAME, "Confirm your address").await;
    let undone = bound(&server, "/v1/email/change/undo", &token, &email).await;
    assert_eq!(undone.problem(), (400, "invalid_or_expired_token"));
    assert_eq!(server.post("/v1/email/verify", json!({"token": proof})).await.status.as_u16(), 204);
}
