//! Brute force against one account: I guess from countless networks, with patience, with a stolen device, or with lies
//! in place of device cookies. Or I only want to lock the owner out.
//!
//! Bounds: 20 guesses of strangers in 24 hours and 80 ever without an act of the owner; an owner on a known device is
//! never locked out.
//!
//! Source: NIST SP 800-63B-4 §3.2.2; OWASP Authentication Cheat Sheet.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::values::address;
use crate::support::{Answer, ORIGIN, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";
const NEXT: &str = "an entirely different phrase";

/// Logs in from network `number`, with the device token `device` if there is one.
async fn guess(server: &TestServer, number: u32, password: &str, device: Option<&str>) -> Answer {
    server.log_in_from(&address(number), NAME, password, device).await
}

/// Returns 1 if the password was checked, and 0 if the guess was refused before.
fn is_checked(answer: &Answer) -> u32 {
    u32::from(answer.status == StatusCode::UNAUTHORIZED)
}

/// Logs `email` in and returns the token by which the device is known from then on.
async fn device_of(server: &TestServer, email: &str) -> String {
    server.log_in(email, PASSWORD).await.header("x-device-token").to_owned()
}

#[tokio::test]
async fn a_day_of_guesses_gets_twenty_and_never_locks_out_the_owner() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let device = device_of(&server, NAME).await;
    let mut checked = 0;
    let mut number = 0;
    for minute in 0..24 * 60 {
        for _ in 0..2 {
            number += 1;
            checked += is_checked(&guess(&server, number, &format!("guess {number}"), None).await);
        }
        if minute % 120 == 7 {
            let owner = guess(&server, number, PASSWORD, Some(&device)).await;
            assert_eq!(owner.status, StatusCode::OK, "{minute}");
        }
        server.clock.advance(Duration::from_mins(1));
    }
    assert_eq!(checked, 20);
    let mails = server.mail_count("locked");
    assert!((1..=3).contains(&mails), "{mails} mails");
}

#[tokio::test]
async fn a_month_of_patience_ends_at_eighty_until_the_owner_acts() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let mut checked = 0;
    for number in 0..24 * 30 {
        checked += is_checked(&guess(&server, number, &format!("guess {number}"), None).await);
        // Now and then I rest for two days, after which the lockout starts anew.
        server.clock.advance(Duration::from_hours(if number % 40 == 39 { 49 } else { 1 }));
    }
    // The other twenty of the hundred are those of known devices.
    assert_eq!(checked, 80);
    assert_eq!(guess(&server, 0, PASSWORD, None).await.problem(), (429, "too_many_attempts"));
    // The owner acts: a reset. The device that did it is known from then on.
    server.forgot(NAME).await;
    let token = server.mailed(NAME, "new password").await;
    let done = server.reset(&token, NEXT).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
    let device = done.header("x-device-token").to_owned();
    for number in 0..20 {
        guess(&server, number, &format!("guess again {number}"), None).await;
    }
    assert_eq!(guess(&server, 1, NEXT, Some(&device)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_lie_in_place_of_a_device_gets_no_more_guesses_than_a_stranger() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    server.account("eve@test.org").await;
    let device = device_of(&server, NAME).await;
    let others = device_of(&server, "eve@test.org").await;
    let mut flipped = device.clone().into_bytes();
    flipped[20] = if flipped[20] == b'A' { b'B' } else { b'A' };
    let lies = [
        String::new(),
        String::from("pcd_"),
        device[..device.len() - 1].to_owned(),
        String::from_utf8(flipped).unwrap(),
        others,
        "A".repeat(9000),
        format!("{device}{device}"),
    ];
    let mut checked = 0;
    for (number, lie) in lies.iter().cycle().take(30).enumerate() {
        checked += is_checked(&guess(&server, number as u32, &format!("guess {number}"), Some(lie)).await);
    }
    assert_eq!(checked, 5);
    // The strangers' guesses are spent. Those of the device, which I have stolen as well, are counted apart.
    assert_eq!(guesses_with_stolen(&server, &device).await, 5);
}

/// Guesses 30 times with a stolen device, and returns how many guesses were checked.
async fn guesses_with_stolen(server: &TestServer, device: &str) -> u32 {
    let mut checked = 0;
    for number in 0..30 {
        let password = format!("stolen guess {number}");
        checked += is_checked(&guess(server, number, &password, Some(device)).await);
        server.clock.advance(Duration::from_secs(1));
    }
    checked
}

/// Strangers lock the name, which must not keep the owner from changing the password. I have stolen a session and guess
/// the password by that endpoint, which must not help me either.
#[tokio::test]
async fn a_lockout_neither_stops_a_password_change_nor_lets_a_thief_guess_by_it() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    for number in 0..20 {
        guess(&server, number, &format!("guess {number}"), None).await;
    }
    let thief_guesses = async |access: &str, count: u32| {
        let mut statuses = Vec::new();
        for number in 0..count {
            // A wrong password that is tried again tells me nothing, and is not counted.
            let guessed = format!("thief's guess {number} of {count}");
            statuses.push(server.change_password(access, &guessed, NEXT).await.status.as_u16());
        }
        statuses
    };
    assert_eq!(thief_guesses(&access, 4).await, [401, 401, 401, 401]);
    let changed = server.change_password(&access, PASSWORD, NEXT).await;
    assert_eq!(changed.status, StatusCode::OK);
    // I steal the owner's new session as well.
    let access = changed.text("access_token");
    assert_eq!(thief_guesses(&access, 9).await, [401, 401, 401, 401, 401, 429, 429, 429, 429]);
}

/// I guess with every session of the owner that I have stolen, until none has a guess left, while strangers keep the name
/// locked. The owner logs in on a known device and wants to change the password.
#[tokio::test]
async fn stolen_sessions_do_not_keep_the_owner_from_changing_the_password() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let device = server.log_in(NAME, PASSWORD).await.header("x-device-token").to_owned();
    let mut stolen = Vec::new();
    for _ in 0..6 {
        stolen.push(server.tokens(NAME).await.0);
    }
    for number in 0..20 {
        guess(&server, number, &format!("guess {number}"), None).await;
    }
    server.clock.advance(std::time::Duration::from_mins(1));
    let mut judged = 0;
    for access in stolen.iter().cycle().take(60) {
        let answer = server.change_password(access, &format!("thief's guess {judged}"), NEXT).await;
        judged += u32::from(answer.status == StatusCode::UNAUTHORIZED);
    }
    assert!(judged <= 20, "{judged}");
    server.clock.advance(std::time::Duration::from_mins(1));
    let owner = server.log_in_on(NAME, PASSWORD, &device).await;
    assert_eq!(owner.status, StatusCode::OK);
    let changed = server.change_password(&owner.text("access_token"), PASSWORD, NEXT).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
}

#[tokio::test]
async fn a_mail_client_that_repeats_an_old_password_does_not_lock_its_owner_out() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    for number in 0..40 {
        let answer = guess(&server, number, "the password before this one", None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(guess(&server, 1, PASSWORD, None).await.status, StatusCode::OK);
}

/// The owner has set a new password. A phone in a drawer goes on with the old one, four times an hour and from ever new
/// networks, while I guess at the name on the third day.
#[tokio::test]
async fn a_phone_with_an_old_password_does_not_lock_its_owner_out_in_a_week() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    for quarter in 0..7 * 24 * 4 {
        let answer = guess(&server, quarter, "the password before this one", None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{quarter}");
        if quarter / 96 == 2 && quarter % 24 == 0 {
            guess(&server, quarter, &format!("guess {quarter}"), None).await;
        }
        server.clock.advance(Duration::from_mins(15));
    }
    assert_eq!(guess(&server, 1, PASSWORD, None).await.status, StatusCode::OK);
    assert_eq!(server.mail_count("locked"), 0);
}

#[tokio::test]
async fn the_unlock_link_works_once_and_says_nothing_about_accounts() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    for number in 0..6 {
        guess(&server, number, &format!("guess {number}"), None).await;
    }
    let token = server.mailed(NAME, "locked").await;
    // A mail scanner that opens the link changes nothing.
    for path in ["/unlock", "/v1/unlock"] {
        let opened = server.request(Method::GET, &format!("{path}?token={token}")).send().await.unwrap();
        assert!(opened.status().is_client_error(), "{path}");
    }
    let unlock = async |token: &str| server.post("/v1/unlock", json!({"token": token})).await;
    assert_eq!(unlock(&token).await.status, StatusCode::NO_CONTENT);
    server.clock.advance(Duration::from_mins(11));
    let spent = unlock(&token).await;
    let garbage = unlock("pcm_x").await;
    let comparable = |answer: &Answer| {
        let mut body = answer.body.clone();
        body["instance"] = Value::Null;
        body["request_id"] = Value::Null;
        body
    };
    assert_eq!(spent.status, garbage.status);
    assert_eq!(comparable(&spent), comparable(&garbage));
    assert_eq!(guess(&server, 1, PASSWORD, None).await.status, StatusCode::OK);
}

/// The cookies of a browser: it keeps those it is given, and clears those it is told to clear.
#[derive(Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    async fn post(&mut self, server: &TestServer, path: &str, csrf: &str, body: Value) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = server.request(Method::POST, path).header("origin", ORIGIN).json(&body);
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; ")).header("x-csrf-token", csrf);
        }
        let answer = send(request).await;
        if answer.header("clear-site-data").contains("cookies") {
            self.cookies.clear();
        }
        for cookie in answer.set_cookies() {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }
}

#[tokio::test]
async fn an_owner_who_has_logged_out_cannot_be_locked_out_either() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let mut owner = Browser::default();
    let log_in = json!({"email": NAME, "password": PASSWORD, "mode": "cookie"});
    let csrf = owner.post(&server, "/v1/login", "", log_in.clone()).await.text("csrf_token");
    assert_eq!(owner.cookies.len(), 2);
    let out = owner.post(&server, "/v1/logout", &csrf, json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(owner.cookies.keys().collect::<Vec<_>>(), ["portcullis_device"]);
    for number in 0..20 {
        guess(&server, number, &format!("guess {number}"), None).await;
    }
    assert_eq!(guess(&server, 99, PASSWORD, None).await.problem(), (429, "too_many_attempts"));
    assert_eq!(owner.post(&server, "/v1/login", "", log_in).await.status, StatusCode::OK);
}

/// I lock names that have no account yet. An administrator makes one, or moves an account there.
#[tokio::test]
async fn an_account_does_not_begin_locked_by_guesses_at_its_name_from_before() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let lock = async |email: &str| {
        for number in 0..7 {
            server.log_in(email, &format!("a wrong guess {number}")).await;
        }
        assert_eq!(server.log_in(email, PASSWORD).await.problem(), (429, "too_many_attempts"));
    };
    lock("new@test.org").await;
    server.clock.advance(Duration::from_secs(20));
    let new = json!({"email": "new@test.org", "password": PASSWORD, "verified": true});
    let made = server.post_as("/v1/admin/users", &root, new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(server.log_in("new@test.org", PASSWORD).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_secs(40));
    lock("next@test.org").await;
    server.clock.advance(Duration::from_secs(40));
    let mend = json!({"email": "next@test.org", "email_verified": true});
    let root = server.admin_token("root@test.org").await;
    let mended = server.patch_as(&format!("/v1/admin/users/{}", made.text("id")), &root, mend).await;
    assert_eq!(mended.status, StatusCode::OK, "{}", mended.body);
    assert_eq!(server.log_in("next@test.org", PASSWORD).await.status, StatusCode::OK);
}
