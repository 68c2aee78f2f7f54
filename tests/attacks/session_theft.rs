//! Session hijacking and fixation: I plant a cookie before the log-in, copy one into another browser, keep one beyond
//! its end, or use one to take the account over.
//!
//! Bounds: no session survives the log-in that replaces it, its idle or absolute end, or a change to another kind of
//! browser; an address cannot be changed without the password, nor so that its first owner cannot undo it.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Browser, ORIGIN, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";
const MINE: &str = "somebody else's long phrase";
const CONFIRM: &str = "/v1/email/change/confirm";
const UNDO: &str = "/v1/email/change/undo";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";
const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36";

/// Logs `email` in by Firefox, which already has the cookie `before` if there is one.
async fn open(server: &TestServer, email: &str, before: Option<&str>, origin: &str) -> (Browser, Answer) {
    let body = json!({"email": email, "password": PASSWORD, "mode": "cookie"});
    let mut request = server.request(Method::POST, "/v1/login").header("origin", origin).json(&body);
    if let Some(before) = before {
        request = request.header("cookie", before);
    }
    let answer = send(request.header("user-agent", FIREFOX)).await;
    (Browser::of(&answer).named(FIREFOX), answer)
}

async fn me(server: &TestServer, browser: &Browser) -> StatusCode {
    browser.ask(server, Method::GET, "/v1/me", Value::Null).await.status
}

#[tokio::test]
async fn a_planted_cookie_is_dead_after_the_log_in_and_so_is_the_one_before() {
    let server = TestServer::start();
    server.account(NAME).await;
    server.account("mallory@test.org").await;
    // I plant a live session of my own in Ada's browser.
    let (planted, _) = open(&server, "mallory@test.org", None, ORIGIN).await;
    let (ada, _) = open(&server, NAME, Some(&planted.cookie), ORIGIN).await;
    assert_ne!(planted.cookie, ada.cookie);
    assert_eq!(me(&server, &planted).await, StatusCode::UNAUTHORIZED);
    assert_eq!(me(&server, &ada).await, StatusCode::OK);
    let (again, _) = open(&server, NAME, Some(&ada.cookie), ORIGIN).await;
    assert_eq!(me(&server, &ada).await, StatusCode::UNAUTHORIZED);
    assert_eq!(me(&server, &again).await, StatusCode::OK);
    // A value that I made up is neither taken over nor an obstacle.
    let (made_up, _) = open(&server, NAME, Some("portcullis_session=chosen-by-mallory"), ORIGIN).await;
    assert!(!made_up.cookie.contains("chosen-by-mallory"));
}

#[tokio::test]
async fn a_cookie_in_another_kind_of_browser_is_refused_and_lives_on_in_its_own() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (mut browser, _) = open(&server, NAME, None, ORIGIN).await;
    browser.agent = CHROME;
    assert_eq!(me(&server, &browser).await, StatusCode::UNAUTHORIZED);
    browser.agent = "curl/8.1";
    assert_eq!(me(&server, &browser).await, StatusCode::UNAUTHORIZED);
    // The owner's browser has been updated meanwhile.
    browser.agent = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0";
    assert_eq!(me(&server, &browser).await, StatusCode::OK);
}

#[tokio::test]
async fn a_session_ends_when_unused_and_at_its_absolute_end_however_it_is_used() {
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

/// The owner asked to stay logged in, on a browser that I have found since.
#[tokio::test]
async fn a_remembered_session_ends_after_two_weeks_unused_and_after_thirty_days() {
    const HOUR: Duration = Duration::from_hours(1);
    let server = TestServer::start();
    server.account(NAME).await;
    let remembered = async || {
        let body = json!({"email": NAME, "password": PASSWORD, "mode": "cookie", "remember": true});
        let request = server.request(Method::POST, "/v1/login").header("origin", ORIGIN).json(&body);
        let answer = send(request.header("user-agent", FIREFOX)).await;
        Browser { cookie: answer.session_cookie(), csrf: answer.text("csrf_token"), agent: FIREFOX }
    };
    let browser = remembered().await;
    server.clock.advance(HOUR * (14 * 24 - 1));
    assert_eq!(me(&server, &browser).await, StatusCode::OK);
    server.clock.advance(HOUR * 14 * 24);
    assert_eq!(me(&server, &browser).await, StatusCode::UNAUTHORIZED);
    let browser = remembered().await;
    let mut hours = 0;
    while me(&server, &browser).await == StatusCode::OK {
        server.clock.advance(HOUR * 12);
        hours += 12;
    }
    assert_eq!(hours, 30 * 24);
}

#[tokio::test]
async fn over_tls_cookies_are_bound_to_the_host_and_closed_to_scripts_and_http() {
    let server = TestServer::with(&[("http.public_origin", "https://login.test")]);
    server.account(NAME).await;
    let (_, answer) = open(&server, NAME, None, "https://login.test").await;
    let cookies = answer.set_cookies();
    assert_eq!(cookies.len(), 2);
    for cookie in cookies {
        assert!(cookie.starts_with("__Host-portcullis_"), "{cookie}");
        for attribute in ["; HttpOnly", "; Secure", "; SameSite=Lax", "; Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
    }
    assert_eq!(answer.header("strict-transport-security"), "max-age=63072000; includeSubDomains");
}

/// I run a script in a page of the site, and read what the answers to the browser show me.
#[tokio::test]
async fn no_script_reads_the_device_cookie_of_a_browser() {
    let server = TestServer::start();
    server.account(NAME).await;
    let opened = server.log_in_for_cookie(NAME).await;
    let browser = Browser::of(&opened);
    let renewed = json!({"current_password": PASSWORD, "new_password": MINE});
    let renewed = browser.ask(&server, Method::POST, "/v1/password/change", renewed).await;
    assert_eq!(renewed.status, StatusCode::NO_CONTENT);
    for answer in [&opened, &renewed] {
        assert_eq!(answer.header("x-device-token"), "");
        let cookies = answer.set_cookies();
        let device = cookies.iter().find(|cookie| cookie.starts_with("portcullis_device=")).unwrap();
        assert!(device.contains("; HttpOnly"), "{device}");
    }
    // A program that keeps its tokens itself needs the header.
    let opened = server.log_in(NAME, MINE).await;
    assert!(opened.header("x-device-token").starts_with("pcd_"), "{opened:?}");
}

#[tokio::test]
async fn a_cookie_with_the_csrf_token_of_another_session_changes_nothing() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (mut one, _) = open(&server, NAME, None, ORIGIN).await;
    let (other, _) = open(&server, NAME, None, ORIGIN).await;
    let own = std::mem::replace(&mut one.csrf, other.csrf.clone());
    let password = json!({"current_password": PASSWORD, "new_password": "an entirely different phrase"});
    let email = json!({"email": "eve@test.org", "password": PASSWORD});
    for (method, path, body) in [
        (Method::POST, "/v1/password/change", password),
        (Method::POST, "/v1/email/change", email),
        (Method::POST, "/v1/logout", json!({"scope": "global"})),
        (Method::DELETE, "/v1/me", json!({"password": PASSWORD})),
        (Method::DELETE, "/v1/sessions/00000000000000000000000000000000", Value::Null),
    ] {
        let answer = one.ask(&server, method, path, body).await;
        assert_eq!(answer.problem(), (403, "csrf_rejected"), "{path}");
    }
    one.csrf = own;
    assert_eq!(me(&server, &one).await, StatusCode::OK);
    assert_eq!(me(&server, &other).await, StatusCode::OK);
}

#[tokio::test]
async fn a_change_of_address_needs_the_password_and_tells_nobody_what_is_taken() {
    let server = TestServer::start();
    server.account(NAME).await;
    server.account("taken@test.org").await;
    let (access, _) = server.tokens(NAME).await;
    let wrong = json!({"email": "new@test.org", "password": "a wrong one"});
    let wrong = server.post_as("/v1/email/change", &access, wrong).await;
    assert_eq!(wrong.problem(), (401, "invalid_credentials"));
    let taken = server.change_email(&access, "taken@test.org").await;
    let free = server.change_email(&access, "new@test.org").await;
    assert_eq!(taken.status, free.status);
    assert_eq!(taken.bytes, free.bytes);
    server.mail("taken@test.org", "asks for your address").await;
}

#[tokio::test]
async fn an_address_changes_by_a_link_to_the_new_one_and_the_old_one_is_told() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    server.change_email(&access, "new@test.org").await;
    let link = server.mailed_link("new@test.org", "Confirm your new address").await;
    // The token is good only with its address, only for its purpose, and once.
    let other = (link.0.clone(), String::from("mallory@test.org"));
    assert_eq!(server.follow(CONFIRM, &other, Some(PASSWORD)).await.status.as_u16(), 400);
    assert_eq!(server.follow(UNDO, &link, Some(PASSWORD)).await.status.as_u16(), 400);
    assert_eq!(server.verify(&link.0).await.status.as_u16(), 400);
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_mins(11));
    assert_eq!(server.follow(CONFIRM, &link, Some(PASSWORD)).await.status.as_u16(), 400);
    server.mail(NAME, "was changed").await;
    let server = server.restart();
    assert_eq!(server.log_in(NAME, PASSWORD).await.status.as_u16(), 401);
    assert_eq!(server.log_in("new@test.org", PASSWORD).await.body["user"]["email"], "new@test.org");
    // The old address is free again once the change cannot be undone.
    server.clock.advance(Duration::from_hours(72));
    server.account(NAME).await;
    assert_eq!(server.log_in(NAME, PASSWORD).await.status.as_u16(), 200);
}

/// I have the owner's session and password, and change the address and then the password. The link in the mail to the
/// first owner takes all of it back.
#[tokio::test]
async fn a_thief_who_changes_address_and_password_loses_both_to_the_first_owner() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (thief, _) = server.tokens(NAME).await;
    server.change_email(&thief, "thief@test.org").await;
    let link = server.mailed_link("thief@test.org", "Confirm your new address").await;
    assert_eq!(server.follow_as(&thief, CONFIRM, &link).await.status, StatusCode::OK);
    // My session has ended, and I log in again.
    assert_eq!(server.get_as("/v1/me", &thief).await.status.as_u16(), 401);
    let (thief, refresh) = server.tokens("thief@test.org").await;
    // I change it again to push the first owner's link out, reset the password, and sign up with the old address.
    let again = server.change_email(&thief, "thief2@test.org").await;
    assert_eq!(again.problem(), (409, "email_changed_lately"));
    server.forgot("thief@test.org").await;
    let reset = server.mailed("thief@test.org", "new password").await;
    assert_eq!(server.reset(&reset, MINE).await.status.as_u16(), 204);
    server.post("/v1/signup", json!({"email": NAME, "password": MINE})).await;
    let opened = server.log_in("thief@test.org", MINE).await;
    assert_eq!(opened.status, StatusCode::OK);

    // Three days later the owner follows the link: no credential of mine is left.
    server.clock.advance(Duration::from_hours(71));
    let link = server.mailed_link(NAME, "was changed").await;
    assert_eq!(server.follow(UNDO, &link, Some(PASSWORD)).await.status.as_u16(), 204);
    for token in [&thief, &opened.text("access_token")] {
        assert_eq!(server.get_as("/v1/me", token).await.status.as_u16(), 401);
    }
    for token in [&refresh, &opened.text("refresh_token")] {
        assert_eq!(server.refresh(token).await.status.as_u16(), 401);
    }
    for name in [NAME, "thief@test.org"] {
        for password in [PASSWORD, MINE] {
            assert_eq!(server.log_in(name, password).await.status.as_u16(), 401, "{name}");
        }
    }
    // The owner sets a new password by the mail that came with it.
    let reset = server.mailed(NAME, "new password").await;
    assert_eq!(server.reset(&reset, "the owner's next phrase").await.status.as_u16(), 204);
    assert_eq!(server.log_in(NAME, "the owner's next phrase").await.status, StatusCode::OK);
}

/// I sign up with an address that I cannot read, to keep its owner from using it.
#[tokio::test]
async fn an_unproven_sign_up_does_not_keep_an_address_from_its_owner() {
    let server = TestServer::start();
    server.account(NAME).await;
    let squat = || server.post("/v1/signup", json!({"email": "new@test.org", "password": PASSWORD}));
    squat().await;
    let squatters = server.mailed("new@test.org", "Confirm your address").await;
    let (access, _) = server.tokens(NAME).await;
    let id = server.get_as("/v1/me", &access).await.body["id"].clone();
    assert_eq!(server.change_email(&access, "new@test.org").await.status, StatusCode::ACCEPTED);
    let link = server.mailed_link("new@test.org", "Confirm your new address").await;
    // Once more, before the owner follows the link.
    squat().await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    let opened = server.log_in("new@test.org", PASSWORD).await;
    assert_eq!(opened.body["user"]["id"], id);
    let late = server.mailed("new@test.org", "Confirm your address").await;
    for token in [squatters, late] {
        assert_eq!(server.verify(&token).await.problem(), (400, "invalid_or_expired_token"));
    }
}

#[tokio::test]
async fn asking_for_the_address_of_another_leaves_the_link_that_proves_it_alive() {
    let server = TestServer::start();
    server.account(NAME).await;
    let half = server.sign_up("eve@test.org", PASSWORD).await;
    let proof = server.mailed("eve@test.org", "Confirm your address").await;
    let (access, _) = server.tokens(NAME).await;
    assert_eq!(server.change_email(&access, "eve@test.org").await.status, StatusCode::ACCEPTED);
    let link = server.mailed_link("eve@test.org", "Confirm your new address").await;
    // The reader of that mailbox has both links. The first one to be used decides whose the address is.
    assert_eq!(server.confirm(&proof, &half).await.status.as_u16(), 204);
    let late = server.follow(CONFIRM, &link, Some(PASSWORD)).await;
    assert_eq!(late.problem(), (409, "email_taken"));
    assert_eq!(server.log_in("eve@test.org", PASSWORD).await.status, StatusCode::OK);
    assert_eq!(server.log_in(NAME, PASSWORD).await.status, StatusCode::OK);
}

/// I keep the link that undoes a change of address, delete the account, and use the link when another user has signed
/// up with the old address.
#[tokio::test]
async fn the_undo_link_of_a_deleted_account_does_not_touch_the_next_account() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    assert_eq!(server.change_email(&access, "new@test.org").await.status, StatusCode::ACCEPTED);
    let link = server.mailed_link("new@test.org", "Confirm your new address").await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    let undo = server.mailed_link(NAME, "was changed").await;
    // The owner cannot delete it while the change can be undone; the operator can.
    server.operated(json!({"operation": "user_delete", "user": "new@test.org"})).await;
    server.mails.lock().clear();
    let half = server.sign_up(NAME, PASSWORD).await;
    let proof = server.mailed(NAME, "Confirm your address").await;
    let undone = server.follow(UNDO, &undo, Some(PASSWORD)).await;
    assert_eq!(undone.problem(), (410, "account_deleted"));
    assert_eq!(server.confirm(&proof, &half).await.status.as_u16(), 204);
}
