//! Invitations: I want an account where none are given away, or one with roles; I guess links, use them twice, use one that
//! was withdrawn, and ask by wrong links who was invited. And sign-up rules: I want to learn whose addresses have accounts.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::process::{Process, mailed_token, post, run, serve};
use crate::support::values::files;
use crate::support::{Answer, PASSWORD, TestServer, wait_until};

const ROOT: &str = "root@test.org";
const GUEST: &str = "guest@elsewhere.test";
const SUBJECT: &str = "You are invited";
const WEEK: Duration = Duration::from_hours(7 * 24);

async fn invite(server: &TestServer, root: &str, email: &str, roles: &[&str]) -> Answer {
    server.post_as("/v1/admin/invitations", root, json!({"email": email, "roles": roles})).await
}

async fn accept(server: &TestServer, token: &str) -> Answer {
    server.post("/v1/invitations/accept", json!({"token": token, "password": PASSWORD})).await
}

/// Checks that `answer` is the one answer of every link that is not good.
fn is_dead(answer: &Answer, what: &str) {
    assert_eq!(answer.problem(), (400, "invalid_or_expired_token"), "{what}");
    let expected = "The link is wrong, used or expired; ask for a new one.";
    assert_eq!(answer.text("detail"), expected, "{what}");
}

#[tokio::test]
async fn an_invitation_makes_one_account_with_its_roles_and_a_proved_address() {
    let server = TestServer::with(&[("signup.invite_only", "true"), ("signup.allow_domains", "test.org")]);
    let root = server.operator_account(ROOT, &["admin"]).await;
    let body = json!({"email": GUEST, "name": "Guest", "roles": ["editor", "staff"], "locale": "de"});
    let invited = server.post_as("/v1/admin/invitations", &root, body).await;
    assert_eq!(invited.status, StatusCode::CREATED, "{}", invited.body);
    assert_eq!(invited.body["roles"], json!(["editor", "staff"]));
    let listed = server.get_as("/v1/admin/invitations", &root).await;
    assert_eq!(listed.array("items"), &vec![invited.body.clone()]);
    let token = server.mailed(GUEST, SUBJECT).await;
    // The secret is in no file: only its digest, and sealed in the mail while that waits.
    for file in files(server.data_dir()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{file:?}");
    }
    let weak = json!({"token": token, "password": "password"});
    let weak = server.post("/v1/invitations/accept", weak).await;
    assert_eq!(weak.problem(), (422, "weak_password"));
    assert_eq!(accept(&server, &token).await.status, StatusCode::NO_CONTENT);
    let access = server.tokens(GUEST).await.0;
    let me = server.get_as("/v1/me", &access).await;
    assert_eq!(me.text("id"), invited.text("id"));
    assert_eq!(me.body["email_verified"], json!(true));
    assert_eq!(me.body["roles"], json!(["editor", "staff"]));
    assert_eq!(me.body["name"], json!("Guest"));
    assert_eq!(me.body["locale"], json!("de"));
    let other = json!({"token": token, "password": "another rather good phrase"});
    is_dead(&server.post("/v1/invitations/accept", other).await, "used");
    assert!(server.get_as("/v1/admin/invitations", &root).await.array("items").is_empty());
    // An address that has an account: the administrator is told, and nobody else is asked.
    assert_eq!(invite(&server, &root, GUEST, &[]).await.problem(), (409, "email_taken"));
    let wanted = server.get_as("/v1/admin/audit?type=invitation", &root).await;
    let events: Vec<_> = wanted.array("items").iter().map(|line| line["event"].clone()).collect();
    assert_eq!(events.len(), 2, "{events:?}");
}

#[tokio::test]
async fn links_that_are_guessed_replayed_replaced_withdrawn_or_late_get_one_answer() {
    let server = TestServer::with(&[("throttle.reset.burst", "100")]);
    let root = server.operator_account(ROOT, &["admin"]).await;
    let first = invite(&server, &root, GUEST, &[]).await;
    let replaced = server.mailed(GUEST, SUBJECT).await;
    let second = invite(&server, &root, GUEST, &[]).await;
    assert_ne!(first.text("id"), second.text("id"));
    let token = server.mailed(GUEST, SUBJECT).await;
    is_dead(&accept(&server, &replaced).await, "replaced");
    // One character of the good link, and links of other kinds.
    let mut guessed = token.clone();
    let last = if guessed.ends_with('A') { "B" } else { "A" };
    guessed.replace_range(token.len() - 1.., last);
    server.account("ada@test.org").await;
    server.forgot("ada@test.org").await;
    let reset = server.mailed("ada@test.org", "Set a new password").await;
    for wrong in [&*guessed, "", "x", "pcm_", &reset, &root] {
        is_dead(&accept(&server, wrong).await, wrong);
    }
    // Nor does the link do what others are for.
    assert_eq!(server.reset(&token, "an entirely different phrase").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.verify(&token).await.status, StatusCode::BAD_REQUEST);
    let path = format!("/v1/admin/invitations/{}", second.text("id"));
    let gone = server.delete_as(&path, &root, json!({})).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    is_dead(&accept(&server, &token).await, "withdrawn");
    assert_eq!(server.delete_as(&path, &root, json!({})).await.problem(), (404, "not_found"));
    invite(&server, &root, GUEST, &[]).await;
    let late = server.mailed(GUEST, SUBJECT).await;
    server.clock.advance(WEEK);
    is_dead(&accept(&server, &late).await, "expired");
    let refused = server.log_in(GUEST, PASSWORD).await;
    assert_eq!(refused.problem(), (401, "invalid_credentials"));
}

/// The owner sends the same twice, also at once: a double click, a page in React's strict mode, an answer that was lost. It is
/// done once.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_again_is_done_for_ten_minutes_and_makes_no_second_account() {
    let server = Arc::new(TestServer::with(&[("throttle.reset.burst", "100")]));
    let root = server.operator_account(ROOT, &["admin"]).await;
    let mut last = String::new();
    for round in 0..4 {
        let email = format!("guest{round}@elsewhere.test");
        invite(&server, &root, &email, &["editor"]).await;
        last = server.mailed(&email, SUBJECT).await;
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let (server, token) = (Arc::clone(&server), last.clone());
            all.spawn(async move { accept(&server, &token).await });
        }
        for answer in all.join_all().await {
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
        }
        assert_eq!(server.log_in(&email, PASSWORD).await.status, StatusCode::OK);
    }
    assert_eq!(server.engine.upgrade().unwrap().links_in_use(), 0);
    let accepted = server.get_as("/v1/admin/audit?type=invitation.accepted", &root).await;
    assert_eq!(accepted.array("items").len(), 4, "{}", accepted.body);

    let engine = server.engine.upgrade().unwrap();
    server.clock.advance(Duration::from_secs(590));
    assert_eq!(accept(&server, &last).await.status, StatusCode::NO_CONTENT);
    server.clock.advance(Duration::from_secs(11));
    let hashes = engine.work().hashes;
    is_dead(&accept(&server, &last).await, "ten minutes later");
    assert_eq!(engine.work().hashes, hashes);
}

/// I find a used link in a history or a log: I take no account by it, and learn neither its password nor its name, for which
/// I have five guesses, and then not even the right one.
#[tokio::test]
async fn a_used_link_opens_and_tells_nothing_to_whom_it_was_not_mailed() {
    let server = TestServer::with(&[("throttle.reset.burst", "100")]);
    let root = server.operator_account(ROOT, &["admin"]).await;
    invite(&server, &root, GUEST, &[]).await;
    let token = server.mailed(GUEST, SUBJECT).await;
    let send = async |password: &str, name: Option<&str>, locale: Option<&str>| {
        let body = json!({"token": token, "password": password, "name": name, "locale": locale});
        server.post("/v1/invitations/accept", body).await
    };
    let owners = (PASSWORD, Some("Ada"), Some("de"));
    assert_eq!(send(owners.0, owners.1, owners.2).await.status, StatusCode::NO_CONTENT);
    // Another request with the right password is another request: nothing of it would be done.
    for (name, locale) in [(None, Some("de")), (Some("Eve"), Some("de")), (Some("Ada"), None), (None, None)] {
        is_dead(&send(PASSWORD, name, locale).await, "another name or language");
    }
    let engine = server.engine.upgrade().unwrap();
    for guess in 0..5 {
        is_dead(&send(&format!("a guess of the password {guess}"), owners.1, owners.2).await, "a guess");
    }
    let hashes = engine.work().hashes;
    is_dead(&send(owners.0, owners.1, owners.2).await, "the right one after five guesses");
    assert_eq!(engine.work().hashes, hashes);
    // I have locked the link, and not the owner.
    let ada = server.log_in(GUEST, PASSWORD).await;
    assert_eq!([&ada.body["user"]["name"], &ada.body["user"]["locale"]], [&json!("Ada"), &json!("de")]);
}

/// How the account of an invitation changes before the link is used again.
#[derive(Clone, Copy, Debug)]
enum Since {
    Deleted,
    NewPassword,
    Restart,
}

/// I have all that the owner sent. It makes no account that is gone, and does not tell that a password was changed to.
#[tokio::test]
async fn the_same_again_is_judged_by_how_the_account_stands_now() {
    for since in [Since::Deleted, Since::NewPassword, Since::Restart] {
        let mut server = TestServer::start();
        let root = server.operator_account(ROOT, &["admin"]).await;
        invite(&server, &root, GUEST, &[]).await;
        let token = server.mailed(GUEST, SUBJECT).await;
        assert_eq!(accept(&server, &token).await.status, StatusCode::NO_CONTENT);
        match since {
            Since::Deleted => {
                server.operated(json!({"operation": "user_delete", "user": GUEST})).await;
            }
            Since::NewPassword => {
                let (access, _) = server.tokens(GUEST).await;
                let changed = server.change_password(&access, PASSWORD, "an entirely different phrase").await;
                assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
            }
            Since::Restart => server = server.restart(),
        }
        is_dead(&accept(&server, &token).await, &format!("{since:?}"));
    }
}

/// Two use one link at once with passwords of their own: one makes the account, and the other learns nothing.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_that_use_a_link_at_once_makes_the_account() {
    let server = Arc::new(TestServer::start());
    let root = server.operator_account(ROOT, &["admin"]).await;
    for round in 0..4 {
        let email = format!("guest{round}@elsewhere.test");
        invite(&server, &root, &email, &["editor"]).await;
        let token = server.mailed(&email, SUBJECT).await;
        let mut both = tokio::task::JoinSet::new();
        for number in 0..2 {
            let (server, token) = (Arc::clone(&server), token.clone());
            let password = format!("a rather good phrase of number {number}");
            let body = json!({"token": token, "password": password});
            both.spawn(async move { server.post("/v1/invitations/accept", body).await });
        }
        let answers = both.join_all().await;
        let made = answers.iter().filter(|answer| answer.status == StatusCode::NO_CONTENT).count();
        assert_eq!(made, 1, "{answers:?}");
        is_dead(answers.iter().find(|answer| answer.status != StatusCode::NO_CONTENT).unwrap(), "raced");
    }
}

/// Who was an administrator and is none any more gives no roles by links of before.
#[tokio::test]
async fn the_roles_of_an_inviter_who_lost_the_role_are_void() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let eve = server.operator_account("eve@test.org", &["admin"]).await;
    invite(&server, &eve, GUEST, &["admin"]).await;
    let with_roles = server.mailed(GUEST, SUBJECT).await;
    invite(&server, &eve, "plain@elsewhere.test", &[]).await;
    let without = server.mailed("plain@elsewhere.test", SUBJECT).await;
    let id = server.operated(json!({"operation": "user_show", "user": "eve@test.org"})).await["id"].clone();
    let id = id.as_str().unwrap();
    let path = format!("/v1/admin/users/{id}");
    let taken = server.patch_as(&path, &root, json!({"roles": []})).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.body);
    is_dead(&accept(&server, &with_roles).await, "the inviter is no administrator");
    assert_eq!(accept(&server, &without).await.status, StatusCode::NO_CONTENT);
    // Given back, the same link is good again: nothing was spent.
    server.patch_as(&path, &root, json!({"roles": ["admin"]})).await;
    assert_eq!(accept(&server, &with_roles).await.status, StatusCode::NO_CONTENT);
    // The others are told of one more administrator.
    server.mail(ROOT, "administrator").await;
}

/// An API key, a user, and an administrator without a recent proof do not invite administrators.
#[tokio::test]
async fn only_a_person_with_a_recent_proof_invites_an_administrator() {
    let server = TestServer::start();
    server.operator_account(ROOT, &["admin"]).await;
    let (key, id) = server.api_key(&["admin:write"], None).await;
    assert_eq!(invite(&server, &key, GUEST, &["admin"]).await.problem(), (403, "insufficient_scope"));
    assert_eq!(invite(&server, &key, GUEST, &["editor"]).await.status, StatusCode::CREATED);
    let token = server.mailed(GUEST, SUBJECT).await;
    server.operated(json!({"operation": "api_key_delete", "id": id})).await;
    is_dead(&accept(&server, &token).await, "the key is gone");
    server.account("ada@test.org").await;
    let ada = server.tokens("ada@test.org").await.0;
    assert_eq!(invite(&server, &ada, GUEST, &[]).await.problem(), (403, "insufficient_role"));
    server.clock.advance(Duration::from_mins(16));
    let stale = server.admin_token(ROOT).await;
    server.clock.advance(Duration::from_mins(14));
    assert_eq!(invite(&server, &stale, GUEST, &["admin"]).await.status, StatusCode::CREATED);
}

/// A stolen administrator's session is no way to mail the world.
#[tokio::test]
async fn an_administrator_mails_a_hundred_invitations_in_an_hour_and_ten_to_one_address() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    for number in 0..10 {
        assert_eq!(invite(&server, &root, GUEST, &[]).await.status, StatusCode::CREATED, "{number}");
    }
    assert_eq!(invite(&server, &root, GUEST, &[]).await.problem(), (409, "mail_quota"));
    for number in 0..89 {
        let email = format!("guest{number}@elsewhere{number}.test");
        assert_eq!(invite(&server, &root, &email, &[]).await.status, StatusCode::CREATED, "{number}");
    }
    let more = invite(&server, &root, "more@elsewhere.test", &[]).await;
    assert_eq!(more.problem(), (409, "mail_quota"));
    // Another one goes on.
    let other = json!({"operation": "user_invite", "user": "more@elsewhere.test"});
    assert_eq!(server.operated(other).await["email"], json!("more@elsewhere.test"));
}

/// Whatever rule refuses me, my answer does not depend on whose address I typed.
#[tokio::test]
async fn a_refused_sign_up_tells_nothing_about_the_address() {
    for settings in [
        &[("signup.invite_only", "true")][..],
        &[("signup.allow_domains", "example.org, *.example.net")],
        &[("signup.invite_only", "true"), ("signup.allow_domains", "test.org")],
    ] {
        let server = TestServer::with(settings);
        server.operator_account("ada@test.org", &[]).await;
        let engine = server.engine.upgrade().unwrap();
        let mut told = Vec::new();
        for email in ["ada@test.org", "bob@test.org"] {
            let hashes = engine.work().hashes;
            let answer = server.post("/v1/signup", json!({"email": email, "password": PASSWORD})).await;
            assert_eq!(answer.problem(), (403, "signup_refused"), "{settings:?}");
            told.push((answer.text("detail"), engine.work().hashes - hashes));
        }
        assert_eq!(told[0], told[1], "{settings:?}");
        assert_eq!(told[0].1, 0, "{settings:?}");
    }
    let server = TestServer::with(&[("signup.allow_domains", "bücher.example, *.example.org")]);
    for (email, status) in [
        ("a@xn--bcher-kva.example", 202),
        ("a@BÜCHER.example", 202),
        ("a@sub.example.org", 202),
        ("a@example.org", 403),
        ("a@sub.bücher.example", 403),
    ] {
        let answer = server.post("/v1/signup", json!({"email": email, "password": PASSWORD})).await;
        assert_eq!(answer.status.as_u16(), status, "{email}: {}", answer.body);
    }
}

/// The server is killed again and again while links are used: an account has its roles and its password, or is not there.
#[tokio::test(flavor = "current_thread")]
async fn a_kill_leaves_no_half_of_an_account() {
    let dir = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let outbox = dir.path().join("outbox");
    let mut made = 0;
    for cycle in 0..6_u64 {
        let process = Process::spawn(serve(dir.path()));
        let email = format!("guest{cycle}@elsewhere.test");
        run(&["user", "invite", &email, "--role", "editor"], dir.path()).exits(0).says("invited");
        let token = mailed_token(&outbox, "invitation").await;
        for file in std::fs::read_dir(&outbox).unwrap() {
            let _ = std::fs::remove_file(file.unwrap().path());
        }
        let url = process.url.clone();
        let body = json!({"token": token, "password": PASSWORD});
        let accepting = {
            let (http, url, body) = (http.clone(), url.clone(), body.clone());
            tokio::spawn(async move { post(&http, &url, "/v1/invitations/accept", body).await })
        };
        // From before the link is read until after the account is made.
        tokio::time::sleep(Duration::from_millis(cycle * 60)).await;
        process.kill();
        let answered = accepting.await.unwrap();
        let process = Process::spawn(serve(dir.path()));
        let again = post(&http, &process.url, "/v1/invitations/accept", body).await.unwrap().0;
        let log_in = json!({"email": email, "password": PASSWORD});
        let (status, body) = post(&http, &process.url, "/v1/login", log_in).await.unwrap();
        let is_made = status == 200;
        if answered.as_ref().is_some_and(|(status, _)| *status == 204) {
            assert!(is_made, "cycle {cycle}: acknowledged and gone");
        }
        assert!(again != 204 || is_made, "cycle {cycle}");
        if is_made {
            made += 1;
            assert_eq!(body["user"]["roles"], json!(["editor"]), "cycle {cycle}: {body}");
        } else {
            // One more mail is what it costs.
            run(&["user", "invite", &email, "--role", "editor"], dir.path()).exits(0);
            mailed_token(&outbox, "invitation").await;
        }
        process.kill();
    }
    assert!(made > 0);
}

/// Two operators' views of the same: what the command line says of invitations.
#[tokio::test]
async fn operators_invite_list_and_withdraw_by_address() {
    let server = TestServer::start();
    let invite = json!({"operation": "user_invite", "user": GUEST, "roles": ["editor"]});
    let invited = server.operated(invite).await;
    assert_eq!(invited["roles"], json!(["editor"]));
    assert_eq!(invited["invited_by"], json!("operator"));
    let listed = server.operated(json!({"operation": "invitation_list"})).await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    let token = server.mailed(GUEST, SUBJECT).await;
    let withdraw = json!({"operation": "invitation_withdraw", "invitation": "Guest@Elsewhere.test"});
    let gone: Value = server.operated(withdraw.clone()).await;
    assert_eq!(gone["id"], invited["id"]);
    is_dead(&accept(&server, &token).await, "withdrawn");
    assert!(server.operate(withdraw).await.get("ok").is_none());
    // An account that waits for its first password is mailed its own link, as before.
    server.operated(json!({"operation": "user_add", "email": "ada@test.org", "roles": []})).await;
    server.operated(json!({"operation": "user_invite", "user": "ada@test.org"})).await;
    wait_until("both mails", async || server.mail_count("Your account at") == 2).await;
    let taken = json!({"operation": "user_invite", "user": "ada@test.org", "roles": ["editor"]});
    assert!(server.operate(taken).await.get("ok").is_none());
}

/// I sign up, and the operator closes the door before I have followed the link.
#[tokio::test]
async fn a_sign_up_that_waited_makes_no_account_that_the_rules_forbid_now() {
    for (key, closed, open, code) in [
        ("signup.invite_only", "true", "false", "signup_refused"),
        ("signup.allow_domains", "test.org", "test.org,elsewhere.test", "signup_refused"),
        ("signup.enabled", "false", "true", "signup_disabled"),
    ] {
        for with_half in [true, false] {
            let server = TestServer::start();
            let root = server.operator_account(ROOT, &["admin"]).await;
            let half = server.sign_up(GUEST, PASSWORD).await;
            let link = server.mailed(GUEST, "Confirm").await;
            // Who has an account already is not concerned.
            server.account("made@elsewhere.test").await;
            let follow = async |server: &TestServer| {
                if with_half { server.confirm(&link, &half).await } else { server.verify(&link).await }
            };
            let server = server.restart_with(&[(key, closed)]);
            for _ in 0..2 {
                assert_eq!(follow(&server).await.problem(), (403, code), "{key} {with_half}");
            }
            let found = server.get_as("/v1/admin/users?status=active", &root).await;
            assert!(!found.body.to_string().contains(GUEST), "{}", found.body);
            assert_eq!(server.log_in(GUEST, PASSWORD).await.status.as_u16(), 401);
            assert_eq!(server.log_in("made@elsewhere.test", PASSWORD).await.status.as_u16(), 200);
            // The operator thinks better of it: the link is as good as it was, and stays so once there is an account.
            let server = server.restart_with(&[(key, open)]);
            assert!(follow(&server).await.status.is_success(), "{key} {with_half}");
            let server = server.restart_with(&[(key, closed)]);
            assert!(follow(&server).await.status.is_success(), "{key} {with_half}");
        }
    }
}
