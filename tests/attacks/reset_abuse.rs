//! Reset abuse: flood a mailbox, use a token twice, late, or for something else, keep a session over a reset.

use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, PASSWORD, TestServer};

#[tokio::test]
async fn a_mailbox_gets_three_mails_an_hour_and_only_the_newest_link_works() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    for _ in 0..6 {
        assert_eq!(
            server.post("/v1/password/forgot", json!({"email": "ada@test.org"})).await.status.as_u16(),
            202
        );
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let links: Vec<String> = server
        .mails
        .lock()
        .iter()
        .filter(|mail| mail.letter.subject.contains("new password"))
        .map(|mail| mail.letter.link.clone().unwrap().split("token=").nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(links.len(), 3);
    let reset = |token: String| {
        server.post(
            "/v1/password/reset",
            json!({"token": token, "new_password": "an entirely different phrase"}),
        )
    };
    // All three were written in one moment, so they left in any order; one of them was minted last.
    let mut worked = 0;
    for link in links {
        worked += u32::from(reset(link).await.status.as_u16() == 204);
    }
    assert_eq!(worked, 1);
}

#[tokio::test]
async fn a_link_dies_with_time_and_is_good_for_its_purpose_alone() {
    let server = TestServer::start();
    server.post("/v1/signup", json!({"email": "ada@test.org", "password": PASSWORD})).await;
    let verify = server.mailed("ada@test.org", "Confirm").await;
    let as_reset = json!({"token": verify, "new_password": "an entirely different phrase"});
    assert_eq!(
        server.post("/v1/password/reset", as_reset).await.problem(),
        (400, "invalid_or_expired_token")
    );
    assert_eq!(
        server.post("/v1/unlock", json!({"token": verify})).await.problem(),
        (400, "invalid_or_expired_token")
    );
    assert_eq!(server.post("/v1/email/verify", json!({"token": verify})).await.status.as_u16(), 204);
    server.post("/v1/password/forgot", json!({"email": "ada@test.org"})).await;
    let reset = server.mailed("ada@test.org", "new password").await;
    server.clock.advance(Duration::from_mins(30));
    let late = json!({"token": reset, "new_password": "an entirely different phrase"});
    assert_eq!(server.post("/v1/password/reset", late).await.problem(), (400, "invalid_or_expired_token"));
}

#[tokio::test]
async fn sign_up_with_a_taken_address_answers_the_same_and_mails_the_owner() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let again = server
        .post("/v1/signup", json!({"email": "ada@test.org", "password": "the attacker's own phrase"}))
        .await;
    let fresh = server
        .post("/v1/signup", json!({"email": "new@test.org", "password": "the attacker's own phrase"}))
        .await;
    assert_eq!((again.status, &again.bytes), (fresh.status, &fresh.bytes));
    server.mail("ada@test.org", "already have").await;
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_forged_host_header_does_not_steer_the_link_of_a_mail() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    for (name, value) in [
        ("host", "evil.test"),
        ("x-forwarded-host", "evil.test"),
        ("forwarded", "host=evil.test;proto=http"),
        ("x-original-url", "https://evil.test/"),
        ("origin", "http://evil.test"),
    ] {
        server.mails.lock().clear();
        let request = server.request(reqwest::Method::POST, "/v1/password/forgot").header(name, value);
        let body = json!({"email": "ada@test.org"});
        assert!(request.json(&body).send().await.unwrap().status().is_success(), "{name}");
        let mail = server.mail("ada@test.org", "new password").await;
        let link = mail.letter.link.clone().unwrap();
        assert!(link.starts_with("http://login.test/reset#token="), "{name}: {link}");
        assert!(!format!("{mail:?}").contains("evil"), "{name}");
        server.clock.advance(Duration::from_hours(1));
    }
}

#[tokio::test]
async fn scanners_that_open_every_link_change_nothing() {
    use reqwest::Method;
    let server = TestServer::start();
    server.post("/v1/signup", json!({"email": "ada@test.org", "password": PASSWORD})).await;
    let verify = server.mailed("ada@test.org", "Confirm").await;
    let open = |token: String| {
        let server = &server;
        async move {
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                for path in ["/verify", "/reset", "/v1/email/verify", "/v1/password/reset", "/v1/unlock"] {
                    let path = format!("{path}?token={token}");
                    let opened = server.request(method.clone(), &path).send().await.unwrap();
                    assert!(!opened.status().is_success(), "{method} {path}");
                }
            }
        }
    };
    open(verify.clone()).await;
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.problem(), (403, "email_not_verified"));
    assert_eq!(server.post("/v1/email/verify", json!({"token": verify})).await.status.as_u16(), 204);
    server.post("/v1/password/forgot", json!({"email": "ada@test.org"})).await;
    let reset = server.mailed("ada@test.org", "new password").await;
    open(reset.clone()).await;
    let set = json!({"token": reset, "new_password": "an entirely different phrase"});
    assert_eq!(server.post("/v1/password/reset", set).await.status.as_u16(), 204);
}

#[tokio::test]
async fn one_network_cannot_flood_many_mailboxes_and_nobody_else_is_held_back() {
    use reqwest::Method;
    let server = TestServer::with(&[("http.trusted_proxies", "127.0.0.0/8")]);
    for number in 0..14 {
        server.account(&format!("user{number}@test.org")).await;
    }
    let forgot = |from: &'static str, number: u32| {
        let body = json!({"email": format!("user{number}@test.org")});
        let request = server.request(Method::POST, "/v1/password/forgot").header("x-forwarded-for", from);
        async move { Answer::of(request.json(&body).send().await.unwrap()).await }
    };
    for number in 0..14 {
        let answer = forgot("203.0.113.9", number).await;
        // In silence, or the answer would tell which mails went out.
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (202, &json!("reset_sent")));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = |server: &TestServer| {
        server.mails.lock().iter().filter(|mail| mail.letter.subject.contains("new password")).count()
    };
    assert_eq!(sent(&server), 10);
    forgot("198.51.100.1", 13).await;
    server.mail("user13@test.org", "new password").await;
}

#[tokio::test]
async fn no_order_of_requests_sets_a_password_without_redeeming_a_token_for_it() {
    // Every request that could, with every token of another purpose, in every order of two.
    let server = TestServer::start();
    server.account("ada@test.org").await;
    server.post("/v1/signup", json!({"email": "eve@test.org", "password": PASSWORD})).await;
    let verify = server.mailed("eve@test.org", "Confirm").await;
    for guess in 0..5 {
        server.log_in("ada@test.org", &format!("guess {guess}")).await;
    }
    let unlock = server.mailed("ada@test.org", "locked").await;
    let (_, refresh) = {
        assert_eq!(server.post("/v1/unlock", json!({"token": unlock})).await.status.as_u16(), 204);
        server.tokens("ada@test.org").await
    };
    let tokens = [verify.as_str(), unlock.as_str(), refresh.as_str(), "", "pcm_", "null"];
    for first in tokens {
        for second in tokens {
            for token in [first, second] {
                let set = json!({"token": token, "new_password": "the attacker's own phrase"});
                let answer = server.post("/v1/password/reset", set).await;
                assert_eq!(answer.problem(), (400, "invalid_or_expired_token"), "{token}");
            }
        }
    }
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.status.as_u16(), 200);
    assert_eq!(server.log_in("ada@test.org", "the attacker's own phrase").await.status.as_u16(), 401);
}
