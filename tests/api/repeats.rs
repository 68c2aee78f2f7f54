//! The kind: a person clicks twice, a page posts twice, a client repeats what was not answered. The second request finds
//! its work done, and is told so.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Browser, ORIGIN, PASSWORD, TestServer, send};

const ADA: &str = "ada@test.org";
const BOB: &str = "bob@test.org";
const NEW: &str = "another rather good phrase";

/// Locks the name of an account, and returns the token of the link that its owner is mailed.
async fn lock(server: &TestServer, email: &str) -> String {
    for guess in 0..6 {
        server.log_in(email, &format!("a wrong password {guess}")).await;
    }
    server.mailed(email, "locked").await
}

#[tokio::test]
async fn a_reset_that_is_sent_again_is_done_and_sets_no_other_password() {
    let server = TestServer::start();
    server.account(ADA).await;
    server.forgot(ADA).await;
    let token = server.mailed(ADA, "new password").await;
    assert_eq!(server.reset(&token, NEW).await.status, StatusCode::NO_CONTENT);
    let mails = server.mails.lock().len();
    let again = server.reset(&token, NEW).await;
    assert_eq!((again.status, again.header("set-cookie")), (StatusCode::NO_CONTENT, ""));
    assert_eq!(server.mails.lock().len(), mails);
    // I have found the link in a history: I set no password by it, and learn none: five guesses, then not even the right one.
    for guess in 0..6 {
        let guessed = server.reset(&token, &format!("a guess of the password {guess}")).await;
        assert_eq!(guessed.problem(), (400, "invalid_or_expired_token"));
    }
    assert_eq!(server.reset(&token, NEW).await.problem(), (400, "invalid_or_expired_token"));
    assert_eq!(server.log_in(ADA, NEW).await.status, StatusCode::OK);
    assert_eq!(server.log_in(ADA, PASSWORD).await.problem(), (401, "invalid_credentials"));
}

#[tokio::test]
async fn a_link_is_done_for_ten_minutes_and_unknown_after_them_and_after_a_restart() {
    let server = TestServer::start();
    server.account(ADA).await;
    server.forgot(ADA).await;
    let token = server.mailed(ADA, "new password").await;
    assert_eq!(server.reset(&token, NEW).await.status, StatusCode::NO_CONTENT);
    server.clock.advance(Duration::from_secs(599));
    assert_eq!(server.reset(&token, NEW).await.status, StatusCode::NO_CONTENT);
    server.clock.advance(Duration::from_secs(2));
    assert_eq!(server.reset(&token, NEW).await.problem(), (400, "invalid_or_expired_token"));

    server.mails.lock().clear();
    server.forgot(ADA).await;
    let token = server.mailed(ADA, "new password").await;
    assert_eq!(server.reset(&token, PASSWORD).await.status, StatusCode::NO_CONTENT);
    let server = server.restart();
    assert_eq!(server.reset(&token, PASSWORD).await.problem(), (400, "invalid_or_expired_token"));
}

#[tokio::test]
async fn an_unlocked_name_and_a_moved_address_stay_so() {
    let server = TestServer::start();
    server.account(ADA).await;
    let token = lock(&server, ADA).await;
    let unlock = || server.post("/v1/unlock", json!({"token": token}));
    assert_eq!(unlock().await.status, StatusCode::NO_CONTENT);
    assert_eq!(unlock().await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.post("/v1/unlock", json!({"token": "pcm_x"})).await.status, StatusCode::BAD_REQUEST);
    // Once the name is locked again, it is not done: nobody is told that a lock was lifted which is there.
    server.account(BOB).await;
    let of_bob = lock(&server, BOB).await;
    assert_eq!(server.post("/v1/unlock", json!({"token": of_bob})).await.status, StatusCode::NO_CONTENT);
    for guess in 0..6 {
        server.log_in(BOB, &format!("another wrong password {guess}")).await;
    }
    assert_eq!(server.log_in(BOB, PASSWORD).await.problem(), (429, "too_many_attempts"));
    assert_eq!(server.post("/v1/unlock", json!({"token": of_bob})).await.status, StatusCode::BAD_REQUEST);

    let (access, _) = server.tokens(ADA).await;
    assert_eq!(server.change_email(&access, "ada@new.test").await.status, StatusCode::ACCEPTED);
    let link = server.mailed_link("ada@new.test", "Confirm your new address").await;
    let confirm = "/v1/email/change/confirm";
    assert_eq!(server.follow(confirm, &link, Some(PASSWORD)).await.status, StatusCode::NO_CONTENT);
    let again = server.follow(confirm, &link, Some(PASSWORD)).await;
    assert_eq!((again.status, again.header("set-cookie")), (StatusCode::NO_CONTENT, ""));
    assert_eq!(server.follow(confirm, &link, Some("wrong")).await.problem(), (401, "invalid_credentials"));
    assert_eq!(server.follow(confirm, &link, None).await.problem(), (401, "proof_needed"));

    let link = server.mailed_link(ADA, "Your address at").await;
    let undo = "/v1/email/change/undo";
    for _ in 0..2 {
        assert_eq!(server.follow(undo, &link, None).await.status, StatusCode::NO_CONTENT);
    }
    server.mail(ADA, "new password").await;
    let (mut unlocks, mut resets) = (0, 0);
    for mail in server.mails.lock().iter().filter(|mail| mail.to != BOB) {
        unlocks += usize::from(mail.letter.text.contains("/unlock#"));
        resets += usize::from(mail.letter.text.contains("/reset#"));
    }
    assert_eq!((unlocks, resets), (1, 1));
}

/// A page of React in its strict mode posts all it posts on load twice, at the same moment.
#[tokio::test]
async fn a_link_that_is_posted_twice_at_once_is_used_once_and_both_are_told_so() {
    let server = TestServer::start();
    server.account(ADA).await;
    server.forgot(ADA).await;
    let token = server.mailed(ADA, "new password").await;
    let reset = || server.reset(&token, NEW);
    let (a, b, c) = tokio::join!(reset(), reset(), reset());
    assert_eq!(
        [a.status, b.status, c.status],
        [StatusCode::NO_CONTENT; 3],
        "{} {} {}",
        a.body,
        b.body,
        c.body
    );
    let devices = [&a, &b, &c].iter().filter(|answer| !answer.header("set-cookie").is_empty()).count();
    assert_eq!(devices, 1);

    server.account(BOB).await;
    let token = lock(&server, BOB).await;
    let unlock = || server.post("/v1/unlock", json!({"token": token}));
    let (a, b, c) = tokio::join!(unlock(), unlock(), unlock());
    assert_eq!([a.status, b.status, c.status], [StatusCode::NO_CONTENT; 3]);

    let access = server.log_in(ADA, NEW).await.text("access_token");
    let asked = json!({"email": "ada@new.test", "password": NEW});
    assert_eq!(server.post_as("/v1/email/change", &access, asked).await.status, StatusCode::ACCEPTED);
    let link = server.mailed_link("ada@new.test", "Confirm your new address").await;
    let confirm = || server.follow("/v1/email/change/confirm", &link, Some(NEW));
    let (a, b, c) = tokio::join!(confirm(), confirm(), confirm());
    assert_eq!(
        [a.status, b.status, c.status],
        [StatusCode::NO_CONTENT; 3],
        "{} {} {}",
        a.body,
        b.body,
        c.body
    );
    let link = server.mailed_link(ADA, "Your address at").await;
    let undo = || server.follow("/v1/email/change/undo", &link, None);
    let (a, b, c) = tokio::join!(undo(), undo(), undo());
    assert_eq!([a.status, b.status, c.status], [StatusCode::NO_CONTENT; 3]);
    let engine = server.engine.upgrade().unwrap();
    assert_eq!(engine.links_in_use(), 0);
}

/// The kind: an answer takes from the browser more than the request has ended.
#[tokio::test]
async fn a_log_out_of_the_others_leaves_the_cookie_of_this_browser() {
    let server = TestServer::start();
    server.account(ADA).await;
    let opened = server.log_in_for_cookie(ADA).await;
    let other = server.log_in_for_cookie(ADA).await.session_cookie();
    let (cookie, csrf, id) = (opened.session_cookie(), opened.text("csrf_token"), opened.text("session_id"));
    let ask = async |method: Method, path: &str, body: Value| {
        let request = server.request(method, path).header("cookie", &cookie).header("origin", ORIGIN);
        send(request.header("x-csrf-token", &csrf).json(&body)).await
    };
    let others = ask(Method::POST, "/v1/logout", json!({"scope": "others"})).await;
    assert_eq!((others.status, others.header("set-cookie")), (StatusCode::NO_CONTENT, ""));
    assert_eq!(server.get_with_cookie("/v1/me", &other).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.get_with_cookie("/v1/me", &cookie).await.status, StatusCode::OK);
    // To delete the account is one, and to end this session by its id.
    server.account(BOB).await;
    let bob = Browser::log_in(&server, BOB).await;
    let body = json!({"password": PASSWORD});
    let deleted = bob.ask(&server, Method::DELETE, "/v1/me", body.clone()).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.body);
    assert!(deleted.header("set-cookie").starts_with("portcullis_session=;"), "{deleted:?}");
    // A second click finds nobody logged in.
    let again = bob.ask(&server, Method::DELETE, "/v1/me", body).await;
    assert_eq!(again.problem(), (401, "unauthenticated"));
    let own = ask(Method::DELETE, &format!("/v1/sessions/{id}"), json!({})).await;
    assert!(own.header("set-cookie").contains("portcullis_session=;"), "{}", own.header("set-cookie"));
}
