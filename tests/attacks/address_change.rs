//! Changes of address: I have a stranger confirm my own account for their address, take the account back later, or
//! learn which addresses have an account.

use std::process::Command;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::links::BoundLink;
use crate::support::process::BINARY;
use crate::support::{PASSWORD, TestServer, send, wait_until};

const MINE: &str = "mallory@test.org";
const VICTIM: &str = "victim@test.org";
const THIEFS: &str = "a phrase of somebody else";
const NEXT: &str = "an entirely different phrase";
const LAST: &str = "a phrase of nobody in particular";
const CONFIRM: &str = "/v1/email/change/confirm";
const UNDO: &str = "/v1/email/change/undo";

/// Asks to move the account `from` to `to`, and returns an access token of it and the link that was mailed.
async fn ask(server: &TestServer, from: &str, to: &str) -> (String, BoundLink) {
    let (access, _) = server.tokens(from).await;
    assert_eq!(server.change_email(&access, to).await.status, StatusCode::ACCEPTED);
    (access, server.mailed_link(to, "Confirm your new address").await)
}

/// Starts a server with the account ada@test.org, and returns an access token of it.
async fn signed_in() -> (TestServer, String) {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    (server, access)
}

/// Starts a server with the account ada@test.org, which has asked to move to ada@new.test. Returns an access token of it
/// and the link that was mailed.
async fn asked() -> (TestServer, String, BoundLink) {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, link) = ask(&server, "ada@test.org", "ada@new.test").await;
    (server, access, link)
}

/// The address of my account is what I want to say to others. I ask for their addresses, taken and free ones, so that the
/// service mails it to them.
#[tokio::test]
async fn the_service_does_not_mail_my_words_to_strangers() {
    const WORDS: &str = "visit@your-account-is-locked.evil.example";
    let server = TestServer::start();
    server.account(WORDS).await;
    server.account(VICTIM).await;
    let (mine, _) = server.tokens(WORDS).await;
    for (to, subject) in [(VICTIM, "asks for your address"), ("free@test.org", "Confirm your new address")] {
        assert_eq!(server.change_email(&mine, to).await.status, StatusCode::ACCEPTED);
        let letter = server.mail(to, subject).await.letter;
        assert!(letter.text.contains("The account v***@y*** "), "{}", letter.text);
        for part in [letter.subject, letter.text, letter.html] {
            assert!(!part.contains("evil") && !part.contains("locked"), "{part}");
        }
    }
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
    assert!(mail.letter.text.contains("m***@t***"), "{}", mail.letter.text);
    assert!(mail.letter.html.contains("m***@t***"), "{}", mail.letter.html);
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
    // And the link opens nothing, since the address is proved by another now.
    assert_eq!(server.follow_as(&mine, CONFIRM, &link).await.problem(), (409, "email_taken"));
}

#[tokio::test]
async fn the_owner_confirms_with_a_session_or_with_the_password() {
    let (server, access, link) = asked().await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    server.account("bob@test.org").await;
    let (_, link) = ask(&server, "bob@test.org", "bob@new.test").await;
    assert_eq!(server.follow(CONFIRM, &link, Some(PASSWORD)).await.status, StatusCode::NO_CONTENT);
    server.clock.advance(Duration::from_mins(11));
    assert_eq!(server.follow(CONFIRM, &link, Some(PASSWORD)).await.status, StatusCode::BAD_REQUEST);
    let told = server.mail("bob@test.org", "was changed").await;
    assert!(told.letter.text.contains("b***@test.org"), "{}", told.letter.text);
    assert!(told.letter.text.contains("b***@n***"), "{}", told.letter.text);
}

/// I guess the password with a link that I hold: the guesses count like those at log-in.
#[tokio::test]
async fn guesses_at_a_link_are_counted_like_guesses_at_log_in() {
    let (server, access, link) = asked().await;
    let mut answers = Vec::new();
    for guess in 0..8 {
        answers.push(server.follow(CONFIRM, &link, Some(&format!("guess {guess}"))).await.status.as_u16());
    }
    assert!(answers.contains(&429), "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
}

/// The owner follows the link on another device, where only the password proves that the account is theirs. I have locked
/// the name by guesses from anywhere: those beside the link are counted for the link, which I do not have.
#[tokio::test]
async fn guesses_at_the_name_do_not_lock_the_link_that_confirms() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (_, link) = ask(&server, "ada@test.org", "ada@new.test").await;
    lock(&server, "ada@test.org").await;
    assert_eq!(server.follow(CONFIRM, &link, Some(PASSWORD)).await.status, StatusCode::NO_CONTENT);
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
    let (server, access, link) = asked().await;
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
    // A restart forgives me nothing, and the right password comes too late for an hour.
    let server = server.restart();
    assert_eq!(server.follow(UNDO, &undo, Some(PASSWORD)).await.status, StatusCode::TOO_MANY_REQUESTS);
    // My guesses lock nobody out: they are counted for the link alone.
    assert_eq!(server.log_in("ada@new.test", NEXT).await.status, StatusCode::OK);
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
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
    // The former password was forgotten with the change, and by then the link, too.
    server.clock.advance(Duration::from_mins(11));
    assert_eq!(server.follow(UNDO, &undo, Some(PASSWORD)).await.status, StatusCode::BAD_REQUEST);
}

/// Locks a name by guesses, which takes neither a link nor a session.
async fn lock(server: &TestServer, email: &str) {
    for guess in 0.. {
        let status = server.log_in(email, &format!("a wrong phrase {guess}")).await.status;
        if status == StatusCode::TOO_MANY_REQUESTS {
            return;
        }
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
}

/// Moves `access`'s account of ada@test.org, whose password is `password`, to the thief's address. Then sets a password by
/// a mail to it, and returns the link that the owner got.
async fn steal(server: &TestServer, access: &str, password: &str) -> (String, String) {
    let body = json!({"email": "thief@test.org", "password": password});
    assert_eq!(server.post_as("/v1/email/change", access, body).await.status, StatusCode::ACCEPTED);
    let link = server.mailed_link("thief@test.org", "Confirm your new address").await;
    assert_eq!(server.follow_as(access, CONFIRM, &link).await.status, StatusCode::OK);
    reset_by_mail(server, "thief@test.org", LAST).await;
    server.mailed_link("ada@test.org", "was changed").await
}

/// I know the password once. I change it before I move the account, so that "the former password" is mine; and I change it
/// again and again, so that the owner's would be forgotten.
#[tokio::test]
async fn a_thief_who_changes_the_password_first_does_not_make_the_former_one_theirs() {
    for changes in [1, 7] {
        let server = TestServer::start();
        server.account("ada@test.org").await;
        let (mut access, _) = server.tokens("ada@test.org").await;
        let mut password = String::from(PASSWORD);
        for change in 0..changes {
            let mine = format!("long phrase with the number {change}");
            let changed = server.change_password(&access, &password, &mine).await;
            assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
            access = changed.text("access_token");
            password = mine;
        }
        let undo = steal(&server, &access, &password).await;
        // Neither what I have set by a mail to my address proves anything, nor what never was a password.
        for wrong in [LAST, "never a password of anybody"] {
            let answer = server.follow(UNDO, &undo, Some(wrong)).await;
            assert_eq!(answer.problem(), (401, "invalid_credentials"));
        }
        let server = server.restart();
        let answer = server.follow(UNDO, &undo, Some(PASSWORD)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{changes} changes: {}", answer.body);
        reset_by_mail(&server, "ada@test.org", NEXT).await;
        assert_eq!(server.log_in("ada@test.org", NEXT).await.status, StatusCode::OK);
    }
}

/// I have found a password that the owner gave up four days ago, and read the mailbox that they have left.
#[tokio::test]
async fn a_password_of_more_than_three_days_before_the_change_undoes_nothing() {
    let (server, access) = signed_in().await;
    assert_eq!(server.change_password(&access, PASSWORD, NEXT).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_hours(72));
    let access = server.log_in("ada@test.org", NEXT).await.text("access_token");
    let undo = steal(&server, &access, NEXT).await;
    let old = server.follow(UNDO, &undo, Some(PASSWORD)).await;
    assert_eq!(old.problem(), (401, "invalid_credentials"));
    assert_eq!(server.follow(UNDO, &undo, Some(NEXT)).await.status, StatusCode::NO_CONTENT);
}

/// I have stolen the account, and keep the old name locked: five wrong log-ins from anywhere, and one whenever the lock
/// ends.
#[tokio::test]
async fn guesses_at_the_old_name_do_not_lock_the_link_that_undoes() {
    let (server, access) = signed_in().await;
    let undo = steal(&server, &access, PASSWORD).await;
    for _ in 0..3 {
        lock(&server, "ada@test.org").await;
        lock(&server, "thief@test.org").await;
        let wrong = server.follow(UNDO, &undo, Some("a slip of the owner")).await;
        assert_eq!(wrong.problem(), (401, "invalid_credentials"));
        server.clock.advance(Duration::from_hours(1));
    }
    lock(&server, "ada@test.org").await;
    assert_eq!(server.follow(UNDO, &undo, Some(PASSWORD)).await.status, StatusCode::NO_CONTENT);
}

/// I have stolen the account, and sign up with the old address. Its owner, who cannot log in, would follow that mail, and
/// the account that it makes would keep mine from going back.
#[tokio::test]
async fn the_old_address_is_kept_for_its_account_while_the_change_can_be_undone() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    server.account(MINE).await;
    let admin = server.operator_account("root@test.org", &["admin"]).await;
    let (access, _) = server.tokens("ada@test.org").await;
    let undo = steal(&server, &access, PASSWORD).await;
    server.mails.lock().clear();
    // Sign-ups get the answer that they always get, and the mail tells the owner what to do.
    let server = server.restart();
    server.sign_up("ada@test.org", THIEFS).await;
    let told = server.mail("ada@test.org", "is kept for your account").await;
    assert!(told.letter.text.contains("undo it with this link"), "{}", told.letter.text);
    assert_eq!(server.mailed_link("ada@test.org", "is kept for your account").await, undo);
    // So do accounts that ask for it.
    server.mails.lock().clear();
    let (mine, _) = server.tokens(MINE).await;
    assert_eq!(server.change_email(&mine, "ada@test.org").await.status, StatusCode::ACCEPTED);
    let told = server.mail("ada@test.org", "is kept for your account").await;
    assert!(told.letter.link.is_none());
    assert!(told.letter.text.contains("m***@t***"), "{}", told.letter.text);
    let resend = server.post("/v1/email/verify/resend", json!({"email": "ada@test.org"})).await;
    assert_eq!(resend.status, StatusCode::ACCEPTED);
    // An administrator is told.
    let made = json!({"email": "ada@test.org", "password": PASSWORD});
    let refused = server.post_as("/v1/admin/users", &admin, made.clone()).await;
    assert_eq!(refused.problem(), (409, "email_taken"));
    assert_eq!(server.mail_count("Confirm your"), 0);
    assert_eq!(server.follow(UNDO, &undo, Some(PASSWORD)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.post_as("/v1/admin/users", &admin, made).await.problem(), (409, "email_taken"));
    // The address that was left by the undo is free at once: nobody can go back to it.
    server.account("thief@test.org").await;
}

#[tokio::test]
async fn the_old_address_is_free_once_the_change_cannot_be_undone() {
    let (server, access, link) = asked().await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    server.mails.lock().clear();
    server.clock.advance(Duration::from_hours(72));
    server.account("ada@test.org").await;
}

/// An account of mine stands where another wants to go. Being refused for that costs its owner the link as little as a
/// wrong password does.
#[tokio::test]
async fn a_link_that_was_refused_for_the_holder_of_its_address_is_good_once_that_is_gone() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let admin = server.operator_account("root@test.org", &["admin"]).await;
    let (access, link) = ask(&server, "ada@test.org", "ada@new.test").await;
    let made = json!({"email": "ada@new.test", "password": PASSWORD});
    let made = server.post_as("/v1/admin/users", &admin, made).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let refused = server.follow_as(&access, CONFIRM, &link).await;
    assert_eq!(refused.problem(), (409, "email_taken"));
    let gone = format!("/v1/admin/users/{}", made.text("id"));
    assert_eq!(server.delete_as(&gone, &admin, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
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
    let (server, access, link) = asked().await;
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
        // The last of three to an address is kept for another network. Mails that have left do not die with their link.
        let signed_up = usize::from(target == "taken@test.org");
        let sent = |to: &str| server.mails.lock().iter().filter(|mail| mail.to == to).count();
        wait_until("both mails to the address have left", async || sent(target) == signed_up + 2).await;
        change_from(&server, &access, "203.0.113.9", "own@test.org").await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        arrived.push((sent("own@test.org"), sent(target) - signed_up));
    }
    assert_eq!(arrived, [(0, 2); 2], "an ask that the address refuses counts like one that is mailed");
}

#[tokio::test]
async fn a_change_to_the_own_address_is_refused_and_mails_nothing() {
    let (server, access) = signed_in().await;
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
    assert!(told.letter.text.contains("m***@t***"), "{}", told.letter.text);
}

/// I have moved the account to my address. So that the owner cannot take it back, I delete it.
#[tokio::test]
async fn a_thief_does_not_delete_the_account_while_its_owner_can_undo_the_change() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (thief, link) = ask(&server, "ada@test.org", "thief@test.org").await;
    assert_eq!(server.follow_as(&thief, CONFIRM, &link).await.status, StatusCode::OK);
    let (thief, _) = server.tokens("thief@test.org").await;
    let refused = server.delete_as("/v1/me", &thief, json!({"password": PASSWORD})).await;
    assert_eq!(refused.problem(), (409, "email_changed_lately"));
    let until = (server.clock.now() + Duration::from_hours(72)).rfc3339();
    assert!(refused.text("detail").contains(until.get(..10).unwrap()), "{refused:?}");
    let undo = server.mailed_link("ada@test.org", "was changed").await;
    assert_eq!(server.follow(UNDO, &undo, None).await.status, StatusCode::NO_CONTENT);
    reset_by_mail(&server, "ada@test.org", NEXT).await;
    // The change is undone, and the account is its owner's to delete.
    let access = server.log_in("ada@test.org", NEXT).await.text("access_token");
    let deleted = server.delete_as("/v1/me", &access, json!({"password": NEXT})).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
}

/// I have moved the account to my address, and talk an administrator into deleting it. Its owner, of whose address nothing
/// is kept but a key, learns of it where they can undo the change, and nobody else does by a link that is not theirs.
#[tokio::test]
async fn the_owner_of_the_old_address_learns_that_an_administrator_has_deleted_the_account() {
    let (server, access, link) = asked().await;
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let user = format!("/v1/admin/users/{}", server.get_as("/v1/me", &access).await.text("id"));
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    let undo = server.mailed_link("ada@test.org", "was changed").await;
    assert_eq!(server.delete_as(&user, &root, Value::Null).await.status, StatusCode::NO_CONTENT);
    server.mail("ada@new.test", "was deleted").await;
    let told = server.follow(UNDO, &undo, None).await;
    assert_eq!(told.problem(), (410, "account_deleted"));
    assert!(told.text("detail").contains("operator"), "{}", told.body);
    let other = (undo.0.clone(), String::from("ada@new.test"));
    assert_eq!(server.follow(UNDO, &other, None).await.problem(), (400, "invalid_or_expired_token"));
    // The address is free again, and with its new account the link has nothing to do.
    server.mails.lock().clear();
    server.account("ada@test.org").await;
    assert_eq!(server.follow(UNDO, &undo, None).await.problem(), (410, "account_deleted"));
    let (access, _) = server.tokens("ada@test.org").await;
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_hours(72));
    assert_eq!(server.follow(UNDO, &undo, None).await.problem(), (400, "invalid_or_expired_token"));
}

#[tokio::test]
async fn an_owner_who_has_moved_deletes_the_account_after_three_days() {
    let (server, access, link) = asked().await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    for (hours, status) in [(71, StatusCode::CONFLICT), (1, StatusCode::NO_CONTENT)] {
        server.clock.advance(Duration::from_hours(hours));
        let (access, _) = server.tokens("ada@new.test").await;
        let answer = server.delete_as("/v1/me", &access, json!({"password": PASSWORD})).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

/// I am an administrator and have moved my account. Another one gives it to my successor, who sets a password by mail, and
/// names the address that I had. I still have the link that undoes my move, and my former password.
#[tokio::test]
async fn a_link_that_undoes_a_change_ends_when_an_administrator_who_names_the_former_address_ends_it() {
    let server = TestServer::start();
    server.operator_account("mal@test.org", &["admin"]).await;
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let (mine, link) = ask(&server, "mal@test.org", "mal@new.test").await;
    assert_eq!(server.follow_as(&mine, CONFIRM, &link).await.status, StatusCode::OK);
    let undo = server.mailed_link("mal@test.org", "was changed").await;
    let id = server.log_in("mal@new.test", PASSWORD).await.body["user"]["id"].as_str().unwrap().to_owned();
    let user = format!("/v1/admin/users/{id}");
    let mend =
        |end_undo: &str| json!({"email": "successor@test.org", "email_verified": true, "end_undo": end_undo});
    for other in ["eve@test.org", "mal@new.test", "no address"] {
        let refused = server.patch_as(&user, &root, mend(other)).await;
        assert_eq!(refused.body["errors"][0]["code"], json!("not_the_former_address"), "{}", refused.body);
    }
    let mended = server.patch_as(&user, &root, mend("mal@test.org")).await;
    assert_eq!(mended.status, StatusCode::OK, "{}", mended.body);
    assert_eq!(mended.body["email"], json!("successor@test.org"));
    assert_eq!(mended.body["address_change_undoable_until"], Value::Null);
    let told = server.mail("mal@test.org", "can no longer be undone").await.letter;
    assert!(told.text.contains("m***@test.org") && told.text.contains("s***@t***"), "{}", told.text);
    for password in [None, Some(PASSWORD)] {
        let undone = server.follow(UNDO, &undo, password).await;
        assert_eq!(undone.problem(), (400, "invalid_or_expired_token"));
    }
    reset_by_mail(&server, "successor@test.org", NEXT).await;
    assert_eq!(server.follow(UNDO, &undo, Some(PASSWORD)).await.problem(), (400, "invalid_or_expired_token"));
    assert_eq!(server.log_in("successor@test.org", NEXT).await.status, StatusCode::OK);
    // The address of before is free for others.
    server.account("mal@test.org").await;
}
