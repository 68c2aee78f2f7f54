//! Brute force against one account from networks without number, with patience, with a stolen device, and with lies in
//! place of device cookies.
//!
//! Bounds: 40 guesses in 24 hours and 100 ever without an act of the owner; an owner on a known device is never locked
//! out. Source: NIST SP 800-63B-4 §3.2.2; OWASP Authentication Cheat Sheet.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer};

const NAME: &str = "ada@test.org";

fn from_everywhere() -> TestServer {
    TestServer::with(&[("http.trusted_proxies", "127.0.0.0/8")])
}

/// A log-in from a network of its own.
async fn guess(server: &TestServer, number: u32, password: &str, device: Option<&str>) -> Answer {
    let address = format!("{}.{}.{}.7", 11 + number / 62_500, number / 250 % 250, number % 250);
    let mut request = server.request(Method::POST, "/v1/login").header("x-forwarded-for", address);
    if let Some(device) = device {
        request = request.header("x-device-token", device);
    }
    Answer::of(request.json(&json!({"email": NAME, "password": password})).send().await.unwrap()).await
}

#[tokio::test]
async fn a_day_of_guesses_from_everywhere_gets_forty_and_never_locks_out_the_owner() {
    let server = from_everywhere();
    server.account(NAME).await;
    let device = server.log_in(NAME, PASSWORD).await.header("x-device-token").to_owned();
    let (mut checked, mut number) = (0, 0);
    for minute in 0..24 * 60 {
        for _ in 0..2 {
            number += 1;
            let answer = guess(&server, number, &format!("guess {number}"), None).await;
            checked += u32::from(answer.status == StatusCode::UNAUTHORIZED);
        }
        if minute % 120 == 7 {
            assert_eq!(
                guess(&server, number, PASSWORD, Some(&device)).await.status,
                StatusCode::OK,
                "{minute}"
            );
        }
        server.clock.advance(Duration::from_mins(1));
    }
    assert!((20..=40).contains(&checked), "{checked}");
    let told = server.mails.lock().iter().filter(|mail| mail.letter.subject.contains("locked")).count();
    assert!((1..=3).contains(&told), "{told} mails");
}

#[tokio::test]
async fn a_month_of_patience_ends_at_a_hundred_until_the_owner_acts() {
    let server = from_everywhere();
    server.account(NAME).await;
    let mut checked = 0;
    for number in 0..24 * 30 {
        let answer = guess(&server, number, &format!("guess {number}"), None).await;
        checked += u32::from(answer.status == StatusCode::UNAUTHORIZED);
        // Two days of rest now and then, in which a ladder is forgotten.
        server.clock.advance(Duration::from_hours(if number % 40 == 39 { 49 } else { 1 }));
    }
    assert_eq!(checked, 100);
    assert_eq!(guess(&server, 0, PASSWORD, None).await.problem(), (429, "too_many_attempts"));
    // The owner's act: a reset. Whoever did it is known from then on.
    server.post("/v1/password/forgot", json!({"email": NAME})).await;
    let token = server.mailed(NAME, "new password").await;
    let reset = json!({"token": token, "new_password": "an entirely different phrase"});
    let done = server.post("/v1/password/reset", reset).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
    let device = done.header("x-device-token").to_owned();
    for number in 0..20 {
        guess(&server, number, &format!("guess again {number}"), None).await;
    }
    let owner = guess(&server, 1, "an entirely different phrase", Some(&device)).await;
    assert_eq!(owner.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stolen_device_gets_five_guesses_and_a_lie_in_its_place_none_beyond_a_strangers() {
    let server = from_everywhere();
    server.account(NAME).await;
    server.account("eve@test.org").await;
    let device = server.log_in(NAME, PASSWORD).await.header("x-device-token").to_owned();
    let others = server.log_in("eve@test.org", PASSWORD).await.header("x-device-token").to_owned();
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
        let answer = guess(&server, number as u32, &format!("guess {number}"), Some(lie)).await;
        checked += u32::from(answer.status == StatusCode::UNAUTHORIZED);
    }
    assert_eq!(checked, 5);
    let mut checked = 0;
    for number in 0..30 {
        let answer = guess(&server, number, &format!("stolen guess {number}"), Some(&device)).await;
        checked += u32::from(answer.status == StatusCode::UNAUTHORIZED);
        server.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(checked, 5);
}

#[tokio::test]
async fn strangers_cannot_keep_the_owner_from_changing_the_password_nor_a_thief_of_a_session_guess_on() {
    let server = from_everywhere();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    for number in 0..20 {
        guess(&server, number, &format!("guess {number}"), None).await;
    }
    let change = |current: String| {
        let body = json!({"current_password": current, "new_password": "an entirely different phrase"});
        server.post_as("/v1/password/change", &access, body)
    };
    let mut statuses: Vec<u16> = Vec::new();
    for number in 0..4 {
        statuses.push(change(format!("thief's guess {number}")).await.status.as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 401]);
    assert_eq!(change(PASSWORD.to_owned()).await.status, StatusCode::NO_CONTENT);
    for number in 0..9 {
        statuses.push(change(format!("thief's guess {number}")).await.status.as_u16());
    }
    assert_eq!(statuses[4..], [401, 401, 401, 401, 401, 429, 429, 429, 429]);
}

#[tokio::test]
async fn a_mail_client_that_repeats_an_old_password_does_not_lock_its_owner_out() {
    let server = from_everywhere();
    server.account(NAME).await;
    for number in 0..40 {
        assert_eq!(guess(&server, number, "the password before this one", None).await.status.as_u16(), 401);
    }
    assert_eq!(guess(&server, 1, PASSWORD, None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_link_in_the_lockout_mail_works_once_and_says_nothing_about_accounts() {
    let server = from_everywhere();
    server.account(NAME).await;
    for number in 0..6 {
        guess(&server, number, &format!("guess {number}"), None).await;
    }
    let token = server.mailed(NAME, "locked").await;
    // A scanner that opens the link changes nothing.
    for path in ["/unlock", "/v1/unlock"] {
        let opened = server.request(Method::GET, &format!("{path}?token={token}")).send().await.unwrap();
        assert!(opened.status().is_client_error());
    }
    assert_eq!(server.post("/v1/unlock", json!({"token": token})).await.status, StatusCode::NO_CONTENT);
    let again = server.post("/v1/unlock", json!({"token": token})).await;
    let garbage = server.post("/v1/unlock", json!({"token": "pcm_x"})).await;
    let same = |answer: &Answer| {
        let mut body = answer.body.clone();
        (body["instance"], body["request_id"]) = (Value::Null, Value::Null);
        (answer.status, body)
    };
    assert_eq!(same(&again), same(&garbage));
    assert_eq!(guess(&server, 1, PASSWORD, None).await.status, StatusCode::OK);
}

/// A browser, as far as cookies go: it keeps what it is given, and clears what it is told to clear.
#[derive(Default)]
struct Browser {
    cookies: std::collections::BTreeMap<String, String>,
}

impl Browser {
    async fn post(&mut self, server: &TestServer, path: &str, csrf: &str, body: Value) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = server.request(Method::POST, path).header("origin", ORIGIN).json(&body);
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; ")).header("x-csrf-token", csrf);
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        if answer.header("clear-site-data").contains("cookies") {
            self.cookies.clear();
        }
        for cookie in answer.headers.get_all("set-cookie") {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
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
    let server = from_everywhere();
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
