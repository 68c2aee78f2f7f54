//! Changes of address: I have a stranger confirm my own account for their address, take the account back later, or
//! learn which addresses have an account.

use std::process::Command;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::links::BoundLink;
use crate::support::process::BINARY;
use crate::support::{PASSWORD, TestServer, send};

const MINE: &str = "mallory@test.org";
const VICTIM: &str = "victim@test.org";
const THIEFS: &str = "a phrase of somebody else";
const NEXT: &str = "an entirely different phrase";
const CONFIRM: &str = "/v1/email/change/confirm";
const UNDO: &str = "/v1/email/change/undo";

/// Asks to move the account `from` to `to`, and returns an access token of it and the link that was mailed.
async fn ask(server: &TestServer, from: &str, to: &str) -> (String, BoundLink) {
    let (access, _) = server.tokens(from).await;
    assert_eq!(server.change_email(&access, to).await.status, StatusCode::ACCEPTED);
    (access, server.mailed_link(to, "Confirm your new address").await)
}

/// I ask for the victim's address on my own account. The victim opens the mail and follows the link; a month later they
/// set a password by mail and use "their" account, which I then take back by the link in my old mailbox.
#[tokio::test]
async fn a_strangers_account_is_not_moved_by_a_click_of_the_mailboxs_reader() {
    let server = TestServer::start();
    server.account(MINE).await;
    server.account("bystander@test.org").await;
    let (mine, link) = ask(&server, MINE, VICTIM).await;
    let mail = server.mail(VICTIM, "Confirm your new address").await;
    assert!(mail.letter.text.contains("m***@test.org"), "{}", mail.letter.text);
    assert!(mail.letter.html.contains("m***@test.org"), "{}", mail.letter.html);
    // The click alone, and the click of somebody who is logged in to an account of their own.
    let clicked = server.follow(CONFIRM, &link, None).await;
    assert_eq!(clicked.problem(), (401, "proof_needed"));
    let (bystander, _) = server.tokens("bystander@test.org").await;
    let clicked = server.follow_as(&bystander, CONFIRM, &link).await;
    assert_eq!(clicked.problem(), (401, "proof_needed"));
    let guessed = server.follow(CONFIRM, &link, Some("the victim's own phrase")).await;
    assert_eq!(guessed.problem(), (401, "invalid_credentials"));
    // Nothing has moved: the victim signs up for an account of their own.
    server.mails.lock().clear();
    server.account(VICTIM).await;
    assert_eq!(server.get_as("/v1/me", &mine).await.body["email"], json!(MINE));
    // And the link is dead, since the address is proved by another now.
    assert_eq!(server.follow_as(&mine, CONFIRM, &link).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_owner_confirms_with_a_session_or_with_the_password() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, link) = ask(&server, "ada@test.org", "ada@new.test").await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    server.account("bob@test.org").await;
    let (_, link) = ask(&server, "bob@test.org", "bob@new.test").await;
    assert_eq!(server.follow(CONFIRM, &link, Some(PASSWORD)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.follow(CONFIRM, &link, Some(PASSWORD)).await.status, StatusCode::BAD_REQUEST);
    let told = server.mail("bob@test.org", "was changed").await;
    assert!(told.letter.text.contains("b***@test.org"), "{}", told.letter.text);
    assert!(told.letter.text.contains("b***@new.test"), "{}", told.letter.text);
}

/// I guess the password with a link that I hold: the guesses count like those at log-in.
#[tokio::test]
async fn guesses_at_a_link_are_counted_like_guesses_at_log_in() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, link) = ask(&server, "ada@test.org", "ada@new.test").await;
    let mut answers = Vec::new();
    for guess in 0..8 {
        answers.push(server.follow(CONFIRM, &link, Some(&format!("guess {guess}"))).await.status.as_u16());
    }
    assert!(answers.contains(&429), "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
}

/// I hold a session of the account in another browser: the change of the address must end it.
#[tokio::test]
async fn a_change_of_address_ends_the_other_sessions() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (stolen, stolen_refresh) = server.tokens("ada@test.org").await;
    let (access, link) = ask(&server, "ada@test.org", "ada@new.test").await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    assert_eq!(server.get_as("/v1/me", &stolen).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.refresh(&stolen_refresh).await.status, StatusCode::UNAUTHORIZED);
}

/// Sets a password by a mail to `email`.
async fn reset_by_mail(server: &TestServer, email: &str, password: &str) {
    server.forgot(email).await;
    let reset = server.mailed(email, "new password").await;
    assert_eq!(server.reset(&reset, password).await.status, StatusCode::NO_CONTENT);
}

/// I read the mailbox that the owner has just left, which is why they left it. They have set a new password by a mail
/// to the new one since.
#[tokio::test]
async fn a_reader_of_the_old_mailbox_does_not_get_the_account_back() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, link) = ask(&server, "ada@test.org", "ada@new.test").await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    reset_by_mail(&server, "ada@new.test", NEXT).await;
    let undo = server.mailed_link("ada@test.org", "was changed").await;
    let server = server.restart();
    assert_eq!(server.follow(UNDO, &undo, None).await.problem(), (401, "proof_needed"));
    let mut answers = Vec::new();
    for guess in 0..8 {
        answers.push(server.follow(UNDO, &undo, Some(&format!("guess {guess}"))).await.status.as_u16());
    }
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
    // The present password is not the former one, and my guesses lock nobody out of the present address.
    assert_eq!(server.log_in("ada@new.test", NEXT).await.status, StatusCode::OK);
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);
}

/// A thief who knew the password has moved the account and set another password by mail. The owner still knows the
/// former one, and has the link.
#[tokio::test]
async fn the_true_owner_takes_the_account_back_from_a_thief() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (thief, link) = ask(&server, "ada@test.org", "thief@test.org").await;
    assert_eq!(server.follow_as(&thief, CONFIRM, &link).await.status, StatusCode::OK);
    reset_by_mail(&server, "thief@test.org", THIEFS).await;
    server.clock.advance(Duration::from_hours(70));
    let undo = server.mailed_link("ada@test.org", "was changed").await;
    let wrong = server.follow(UNDO, &undo, Some(THIEFS)).await;
    assert_eq!(wrong.problem(), (401, "invalid_credentials"));
    assert_eq!(server.follow(UNDO, &undo, Some(PASSWORD)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.log_in("thief@test.org", THIEFS).await.status.as_u16(), 401);
    reset_by_mail(&server, "ada@test.org", NEXT).await;
    assert_eq!(server.log_in("ada@test.org", NEXT).await.status, StatusCode::OK);
    // The former password was forgotten with the change.
    assert_eq!(server.follow(UNDO, &undo, Some(PASSWORD)).await.status, StatusCode::BAD_REQUEST);
}

/// Returns the addresses of the accounts whose change can still be undone, by what the files of the server hold.
async fn undoable(server: TestServer) -> (TestServer, Vec<String>) {
    let mut found = Vec::new();
    let server = server.restart_after(|dir| {
        let dump = Command::new(BINARY).args(["data", "dump", "--data-dir"]).arg(dir).output().unwrap();
        assert!(dump.status.success(), "{dump:?}");
        let text = String::from_utf8(dump.stdout).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let undoable = records.filter(|record| record["value"]["undo_of_address_until"].is_string());
        found = undoable.map(|record| record["value"]["email"].as_str().unwrap().to_owned()).collect();
    });
    (server, found)
}

/// I have copied the files of the server long after a change of address. Nobody can undo it any more, so the former
/// password is worth nothing to its owner, and there is no hash of it for me.
#[tokio::test]
async fn after_three_days_nothing_is_left_of_the_former_password() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, link) = ask(&server, "ada@test.org", "ada@new.test").await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    reset_by_mail(&server, "ada@new.test", NEXT).await;
    let undo = server.mailed_link("ada@test.org", "was changed").await;
    server.clock.advance(Duration::from_hours(72) - Duration::from_mins(5));
    let (server, kept) = undoable(server).await;
    assert_eq!(kept, ["a***@new.test"]);
    let early = server.follow(UNDO, &undo, Some("a wrong one")).await;
    assert_eq!(early.problem(), (401, "invalid_credentials"));
    server.clock.advance(Duration::from_mins(5));
    for password in [None, Some(PASSWORD)] {
        let late = server.follow(UNDO, &undo, password).await;
        assert_eq!(late.problem(), (400, "invalid_or_expired_token"));
    }
    // The running server looks twice a second for what is over, from its start on.
    let mut server = server;
    for _ in 0..20 {
        let (next, kept) = undoable(server).await;
        server = next;
        if kept.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    panic!("the hash of the former password is still there");
}

/// The link lies in a mailbox that nobody has looked at for a day.
#[tokio::test]
async fn the_link_to_the_new_address_is_dead_after_a_day() {
    let server = TestServer::start();
    for (email, minutes, status) in [("ada@test.org", 24 * 60 - 1, 204), ("bob@test.org", 24 * 60, 400)] {
        server.account(email).await;
        let (_, link) = ask(&server, email, &format!("new.{email}")).await;
        server.clock.advance(Duration::from_mins(minutes));
        assert_eq!(server.follow(CONFIRM, &link, Some(PASSWORD)).await.status.as_u16(), status, "{email}");
    }
}

async fn change_from(server: &TestServer, access: &str, network: &str, email: &str) {
    let request = server.request(Method::POST, "/v1/email/change").bearer_auth(access);
    let request = request.header("x-forwarded-for", network);
    let body: Value = json!({"email": email, "password": PASSWORD});
    assert_eq!(send(request.json(&body)).await.status, StatusCode::ACCEPTED);
}

/// I ask for an address three times, and then for one that I can read: whether that mail arrives must not depend on
/// whether the first address has an account.
#[tokio::test]
async fn the_quota_of_the_asker_says_nothing_of_the_address() {
    let mut arrived = Vec::new();
    for target in ["taken@test.org", "free@test.org"] {
        let server = TestServer::behind_proxy();
        server.account("taken@test.org").await;
        server.account(MINE).await;
        let (access, _) = server.tokens(MINE).await;
        for _ in 0..3 {
            change_from(&server, &access, "203.0.113.9", target).await;
        }
        change_from(&server, &access, "203.0.113.9", "own@test.org").await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        let mails = server.mails.lock();
        let own = mails.iter().filter(|mail| mail.to == "own@test.org").count();
        let to_target = mails.iter().filter(|mail| mail.to == target).count();
        let signed_up = usize::from(target == "taken@test.org");
        arrived.push((own, to_target - signed_up));
    }
    assert_eq!(arrived[0], arrived[1]);
    assert!(arrived[0].1 >= 1);
}

#[tokio::test]
async fn a_change_to_the_own_address_is_refused_and_mails_nothing() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    server.mails.lock().clear();
    let answer = server.change_email(&access, "Ada@Test.org").await;
    assert_eq!(answer.problem().0, 422);
    assert_eq!(answer.body["errors"][0]["code"], json!("same_email"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(server.mails.lock().is_empty());
}

/// The holder of an address that another account asks for is told so, and not that they have signed up.
#[tokio::test]
async fn the_holder_of_an_address_learns_that_another_account_asks_for_it() {
    let server = TestServer::start();
    server.account(VICTIM).await;
    server.account(MINE).await;
    let (access, _) = server.tokens(MINE).await;
    assert_eq!(server.change_email(&access, VICTIM).await.status, StatusCode::ACCEPTED);
    let told = server.mail(VICTIM, "asks for your address").await;
    assert!(told.letter.link.is_none());
    assert!(told.letter.text.contains("m***@test.org"), "{}", told.letter.text);
}
