//! The three days in which a change of address can be undone: I have somebody or something else take them from the first
//! owner.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::backup::restored;
use crate::support::links::BoundLink;
use crate::support::{PASSWORD, TestServer};

const OWNERS: &str = "ada@test.org";
const MINE: &str = "thief@evil.test";
const NEXT: &str = "an entirely different phrase";
const CONFIRM: &str = "/v1/email/change/confirm";
const UNDO: &str = "/v1/email/change/undo";

/// Moves the account `from` to `to`. Returns the link that undoes it.
async fn moved(server: &TestServer, from: &str, to: &str) -> BoundLink {
    let (access, _) = server.tokens(from).await;
    assert_eq!(server.change_email(&access, to).await.status, StatusCode::ACCEPTED);
    let link = server.mailed_link(to, "Confirm your new address").await;
    assert_eq!(server.follow_as(&access, CONFIRM, &link).await.status, StatusCode::OK);
    server.mailed_link(from, "Your address at").await
}

/// Returns the path at which an administrator finds the account of `email`.
async fn user(server: &TestServer, email: &str) -> String {
    let id = server.log_in(email, PASSWORD).await.body["user"]["id"].as_str().unwrap().to_owned();
    format!("/v1/admin/users/{id}")
}

/// I have moved the account to my address, and then talk an administrator into giving "my" account another one of mine.
#[tokio::test]
async fn an_administrators_change_of_address_leaves_the_first_owner_the_link_that_undoes_mine() {
    for verified in [true, false] {
        let server = TestServer::start();
        let root = server.operator_account("root@test.org", &["admin"]).await;
        server.account(OWNERS).await;
        let undo = moved(&server, OWNERS, MINE).await;
        let user = user(&server, MINE).await;
        let mend = json!({"email": "thief@other.test", "email_verified": verified});
        let mended = server.patch_as(&user, &root, mend).await;
        assert_eq!(mended.status, StatusCode::OK, "{}", mended.body);
        assert!(mended.body["address_change_undoable_until"].is_string(), "{}", mended.body);
        // The address of before is kept, and I can neither delete the account nor move it on.
        let taken = json!({"email": OWNERS, "verified": true});
        assert_eq!(server.post_as("/v1/admin/users", &root, taken).await.problem(), (409, "email_taken"));
        if verified {
            let (mine, _) = server.tokens("thief@other.test").await;
            let deleted = server.delete_as("/v1/me", &mine, json!({"password": PASSWORD})).await;
            assert_eq!(deleted.problem(), (409, "email_changed_lately"));
            let refused = server.change_email(&mine, "thief@third.test").await;
            assert_eq!(refused.problem(), (409, "email_changed_lately"));
        }
        let undone = server.follow(UNDO, &undo, None).await;
        assert_eq!(undone.status, StatusCode::NO_CONTENT, "{}", undone.body);
        let reset = server.mailed(OWNERS, "new password").await;
        assert_eq!(server.reset(&reset, NEXT).await.status, StatusCode::NO_CONTENT);
        assert_eq!(server.log_in(OWNERS, NEXT).await.status, StatusCode::OK);
        assert_eq!(server.log_in("thief@other.test", PASSWORD).await.problem(), (401, "invalid_credentials"));
    }
}

/// An administrator gives the account back to the address that I took it from: nothing is left to undo.
#[tokio::test]
async fn an_administrator_who_gives_the_account_back_ends_what_could_be_undone() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.account(OWNERS).await;
    let undo = moved(&server, OWNERS, MINE).await;
    let user = user(&server, MINE).await;
    let mended = server.patch_as(&user, &root, json!({"email": OWNERS, "email_verified": true})).await;
    assert_eq!(mended.body["address_change_undoable_until"], Value::Null, "{}", mended.body);
    assert_eq!(server.follow(UNDO, &undo, None).await.problem(), (400, "invalid_or_expired_token"));
    // I may have an account at my address.
    server.mails.lock().clear();
    server.account(MINE).await;
}

/// I have moved the account to my address. Then the server is restored from a backup of after that, and every link that was
/// mailed before is dead. Its owner tries to log in, has forgotten nothing, and asks for a new password, or signs up anew.
#[tokio::test]
async fn after_a_restore_the_first_owner_gets_the_link_that_undoes_the_change_again() {
    for signs_up in [false, true] {
        let server = TestServer::start();
        server.account(OWNERS).await;
        let dead = moved(&server, OWNERS, MINE).await;
        let server = restored(server);
        assert_eq!(server.follow(UNDO, &dead, None).await.problem(), (400, "invalid_or_expired_token"));
        // What was open before is dead, and is not listed.
        let shown = server.operated(json!({"operation": "user_show", "user": MINE})).await;
        assert_eq!(shown["sessions"], json!({"cookie": 0, "token": 0}));
        // Nor do I get rid of the owner meanwhile, by another change of address.
        let (mine, _) = server.tokens(MINE).await;
        let on = server.change_email(&mine, "thief@other.test").await;
        assert_eq!(on.problem(), (409, "email_changed_lately"));
        let asked = if signs_up {
            server.post("/v1/signup", json!({"email": OWNERS, "password": NEXT})).await
        } else {
            server.forgot(OWNERS).await
        };
        assert_eq!(asked.status, StatusCode::ACCEPTED);
        let undo = server.mailed_link(OWNERS, "is kept for your account").await;
        let undone = server.follow(UNDO, &undo, None).await;
        assert_eq!(undone.status, StatusCode::NO_CONTENT, "{}", undone.body);
        server.mailed(OWNERS, "new password").await;
    }
}

/// I ask for a new password at the address that I took the account from, as often as I can: its owner gets the same link
/// again, the first one stays good, and neither lives longer than the change can be undone.
#[tokio::test]
async fn asking_at_the_former_address_replaces_no_link_and_lengthens_no_life() {
    let server = TestServer::start();
    server.account(OWNERS).await;
    let first = moved(&server, OWNERS, MINE).await;
    server.clock.advance(std::time::Duration::from_hours(48));
    for _ in 0..6 {
        server.forgot(OWNERS).await;
    }
    let again = server.mailed_link(OWNERS, "is kept for your account").await;
    assert_eq!(first, again);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!((1..=3).contains(&server.mail_count("is kept for your account")));
    // Whoever reads only the mailbox of the present address gets none of it.
    assert!(
        server.mails.lock().iter().all(|mail| mail.to != MINE || !mail.letter.text.contains("email-undo"))
    );
    server.clock.advance(std::time::Duration::from_hours(24));
    assert_eq!(server.follow(UNDO, &again, None).await.problem(), (400, "invalid_or_expired_token"));
}

/// Links that I have used are answered for some minutes as if they had just done their work. By then the account is
/// somewhere else.
#[tokio::test]
async fn a_used_link_is_not_answered_as_done_once_the_address_has_moved_on() {
    let server = TestServer::start();
    server.account(OWNERS).await;
    let (access, _) = server.tokens(OWNERS).await;
    assert_eq!(server.change_email(&access, MINE).await.status, StatusCode::ACCEPTED);
    let confirm = server.mailed_link(MINE, "Confirm your new address").await;
    for _ in 0..2 {
        let confirmed = server.follow(CONFIRM, &confirm, Some(PASSWORD)).await;
        assert_eq!(confirmed.status, StatusCode::NO_CONTENT, "{}", confirmed.body);
    }
    let undo = server.mailed_link(OWNERS, "Your address at").await;
    for _ in 0..2 {
        assert_eq!(server.follow(UNDO, &undo, None).await.status, StatusCode::NO_CONTENT);
    }
    let reset = server.mailed(OWNERS, "new password").await;
    assert_eq!(server.reset(&reset, PASSWORD).await.status, StatusCode::NO_CONTENT);
    let late = server.follow(CONFIRM, &confirm, Some(PASSWORD)).await;
    assert_eq!(late.problem(), (400, "invalid_or_expired_token"));
    server.mails.lock().clear();
    moved(&server, OWNERS, "ada@other.test").await;
    assert_eq!(server.follow(UNDO, &undo, None).await.problem(), (400, "invalid_or_expired_token"));
}

/// I have moved the account, and it was disabled for what I did. Its owner undoes the move, and it is enabled again.
#[tokio::test]
async fn the_owner_of_an_account_that_was_disabled_gets_a_link_once_it_is_enabled() {
    for forgets in [false, true] {
        let server = TestServer::start();
        let root = server.operator_account("root@test.org", &["admin"]).await;
        server.account(OWNERS).await;
        let undo = moved(&server, OWNERS, MINE).await;
        let user = user(&server, MINE).await;
        let status = async |status: &str| {
            let set = server.patch_as(&user, &root, json!({"status": status})).await;
            assert_eq!(set.status, StatusCode::OK, "{}", set.body);
        };
        status("disabled").await;
        assert_eq!(server.follow(UNDO, &undo, None).await.status, StatusCode::NO_CONTENT);
        status("active").await;
        if forgets {
            assert_eq!(server.forgot(OWNERS).await.status, StatusCode::ACCEPTED);
        } else {
            assert_eq!(server.follow(UNDO, &undo, None).await.status, StatusCode::NO_CONTENT);
        }
        let reset = server.mailed(OWNERS, "new password").await;
        assert_eq!(server.reset(&reset, NEXT).await.status, StatusCode::NO_CONTENT);
        assert_eq!(server.log_in(OWNERS, NEXT).await.status, StatusCode::OK);
    }
}
