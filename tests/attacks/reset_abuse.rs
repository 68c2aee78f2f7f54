//! Reset abuse: flood a mailbox, use a token twice, late, or for something else, keep a session over a reset.

use std::time::Duration;

use serde_json::json;

use crate::support::{PASSWORD, TestServer};

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
