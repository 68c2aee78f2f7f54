//! Reset abuse: I flood a mailbox, use a token twice, late or for another purpose, or keep a session over a reset.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::links::token_in;
use crate::support::values::redacted;
use crate::support::{PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";
const NEXT: &str = "an entirely different phrase";
const MINE: &str = "the attacker's own phrase";

#[tokio::test]
async fn a_network_has_two_mails_an_hour_sent_to_a_mailbox_and_their_link_works_once() {
    let server = TestServer::start();
    server.account(NAME).await;
    for _ in 0..6 {
        assert_eq!(server.forgot(NAME).await.status.as_u16(), 202);
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let links: Vec<String> = server
        .mails
        .lock()
        .iter()
        .filter(|mail| mail.letter.subject.contains("new password"))
        .map(|mail| token_in(mail.letter.link.as_ref().unwrap()))
        .collect();
    // The third of the hour is kept for another network.
    assert_eq!(links.len(), 2);
    assert_eq!(links[0], links[1]);
    let mut worked = 0;
    for (token, new) in links.into_iter().zip([NEXT, "a third phrase for the door"]) {
        worked += u32::from(server.reset(&token, new).await.status.as_u16() == 204);
    }
    assert_eq!(worked, 1);
}

#[tokio::test]
async fn a_link_is_good_for_its_purpose_alone() {
    let server = TestServer::start();
    let half = server.sign_up(NAME, PASSWORD).await;
    let token = server.mailed(NAME, "Confirm").await;
    assert_eq!(server.reset(&token, NEXT).await.problem(), (400, "invalid_or_expired_token"));
    let unlock = server.post("/v1/unlock", json!({"token": token})).await;
    assert_eq!(unlock.problem(), (400, "invalid_or_expired_token"));
    assert_eq!(server.confirm(&token, &half).await.status.as_u16(), 204);
}

#[tokio::test]
async fn a_link_that_resets_a_password_expires_after_half_an_hour() {
    let server = TestServer::start();
    server.account(NAME).await;
    server.forgot(NAME).await;
    let token = server.mailed(NAME, "new password").await;
    server.clock.advance(Duration::from_mins(30));
    assert_eq!(server.reset(&token, NEXT).await.problem(), (400, "invalid_or_expired_token"));
}

#[tokio::test]
async fn sign_up_with_a_taken_address_answers_the_same_and_mails_the_owner() {
    let server = TestServer::start();
    server.account(NAME).await;
    let taken = server.post("/v1/signup", json!({"email": NAME, "password": MINE})).await;
    let free = server.post("/v1/signup", json!({"email": "new@test.org", "password": MINE})).await;
    assert_eq!(taken.status, free.status);
    assert_eq!(taken.bytes.len(), free.bytes.len());
    assert_eq!(redacted(taken.body, &["/signup_token"]), redacted(free.body, &["/signup_token"]));
    server.mail(NAME, "already have").await;
    assert_eq!(server.log_in(NAME, PASSWORD).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_forged_host_header_does_not_steer_the_link_of_a_mail() {
    let server = TestServer::start();
    server.account(NAME).await;
    for (name, value) in [
        ("host", "evil.test"),
        ("x-forwarded-host", "evil.test"),
        ("forwarded", "host=evil.test;proto=http"),
        ("x-original-url", "https://evil.test/"),
        ("origin", "http://evil.test"),
    ] {
        server.mails.lock().clear();
        let request = server.request(Method::POST, "/v1/password/forgot").header(name, value);
        let answer = send(request.json(&json!({"email": NAME}))).await;
        assert!(answer.status.is_success(), "{name}");
        let mail = server.mail(NAME, "new password").await;
        let link = mail.letter.link.clone().unwrap();
        assert!(link.starts_with("http://login.test/reset#token="), "{name}: {link}");
        let letter = mail.letter;
        assert!(!format!("{}{}{}", letter.subject, letter.text, letter.html).contains("evil"), "{name}");
        server.clock.advance(Duration::from_hours(1));
    }
}

/// Opens every link as a mail scanner does, with the token where the server would see it.
async fn scan(server: &TestServer, token: &str) {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        for path in ["/verify", "/reset", "/v1/email/verify", "/v1/password/reset", "/v1/unlock"] {
            let url = format!("{path}?token={token}");
            let opened = server.request(method.clone(), &url).send().await.unwrap();
            assert!(!opened.status().is_success(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn scanners_that_open_every_link_change_nothing() {
    let server = TestServer::start();
    let half = server.sign_up(NAME, PASSWORD).await;
    let verify = server.mailed(NAME, "Confirm").await;
    scan(&server, &verify).await;
    assert_eq!(server.log_in(NAME, PASSWORD).await.problem(), (401, "invalid_credentials"));
    assert_eq!(server.confirm(&verify, &half).await.status.as_u16(), 204);
    server.forgot(NAME).await;
    let reset = server.mailed(NAME, "new password").await;
    scan(&server, &reset).await;
    assert_eq!(server.reset(&reset, NEXT).await.status.as_u16(), 204);
}

#[tokio::test]
async fn one_network_cannot_flood_many_mailboxes_nor_hold_others_back() {
    let server = TestServer::behind_proxy_with(&[("reset.mails_per_network", "10")]);
    for number in 0..14 {
        server.operator_account(&format!("user{number}@test.org"), &[]).await;
    }
    let forgot = async |from: &str, number: u32| {
        let request = server.request(Method::POST, "/v1/password/forgot").header("x-forwarded-for", from);
        send(request.json(&json!({"email": format!("user{number}@test.org")}))).await
    };
    for number in 0..14 {
        // Every answer is the same, or it would say which mails went out.
        let answer = forgot("203.0.113.9", number).await;
        assert_eq!(answer.status.as_u16(), 202);
        assert_eq!(answer.body["status"], json!("reset_sent"));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.mail_count("new password"), 10);
    forgot("198.51.100.1", 13).await;
    server.mail("user13@test.org", "new password").await;
}

/// I try to set a password with every token of another purpose, in every order of two.
#[tokio::test]
async fn no_order_of_requests_resets_a_password_without_a_token_for_it() {
    let server = TestServer::start();
    server.account(NAME).await;
    server.post("/v1/signup", json!({"email": "eve@test.org", "password": PASSWORD})).await;
    let verify = server.mailed("eve@test.org", "Confirm").await;
    for guess in 0..5 {
        server.log_in(NAME, &format!("guess {guess}")).await;
    }
    let unlock = server.mailed(NAME, "locked").await;
    assert_eq!(server.post("/v1/unlock", json!({"token": unlock})).await.status.as_u16(), 204);
    let (_, refresh) = server.tokens(NAME).await;
    let tokens = [verify.as_str(), unlock.as_str(), refresh.as_str(), "", "pcm_", "null"];
    for first in tokens {
        for second in tokens {
            for token in [first, second] {
                let answer = server.reset(token, MINE).await;
                assert_eq!(answer.problem(), (400, "invalid_or_expired_token"), "{token}");
            }
        }
    }
    assert_eq!(server.log_in(NAME, PASSWORD).await.status.as_u16(), 200);
    assert_eq!(server.log_in(NAME, MINE).await.status.as_u16(), 401);
}
