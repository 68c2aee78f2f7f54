//! The operator's hands on accounts: who is found, what is shown of one, and what a command says that it has done.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::process::run;
use crate::support::{Answer, PASSWORD, TestServer};

const ROOT: &str = "root@near.test";
const ADA: &str = "ada@near.test";
const NEW: &str = "lovelace@near.test";

/// Returns the addresses that an administrator finds with `query`.
async fn found(server: &TestServer, root: &str, query: &str) -> Vec<String> {
    let answer = server.get_as(&format!("/v1/admin/users?{query}"), root).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let items = answer.body["items"].as_array().unwrap().iter();
    items.map(|item| item["email"].as_str().unwrap().to_owned()).collect()
}

async fn made(server: &TestServer, root: &str, body: Value) -> String {
    let made = server.post_as("/v1/admin/users", root, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    made.text("id")
}

async fn patched(server: &TestServer, root: &str, id: &str, body: Value) -> Answer {
    server.patch_as(&format!("/v1/admin/users/{id}"), root, body).await
}

/// Returns the account as an administrator sees it.
async fn seen(server: &TestServer, root: &str, id: &str) -> Value {
    let answer = server.get_as(&format!("/v1/admin/users/{id}"), root).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

#[tokio::test]
async fn an_account_is_found_by_its_name_and_domain_as_people_write_them() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let id = made(&server, &root, json!({"email": ADA, "invite": false})).await;
    made(&server, &root, json!({"email": "bob@b\u{fc}cher.example", "invite": false})).await;
    let named = patched(&server, &root, &id, json!({"name": "Ada Love\u{301}lace"})).await;
    assert_eq!(named.status, StatusCode::OK);
    for (q, emails) in [
        ("ada", &[ADA][..]),
        ("LOV%C3%89LACE", &[ADA]),
        ("lov%C3%A9", &[ADA]),
        ("love", &[]),
        ("b%C3%BCcher", &["bob@xn--bcher-kva.example"]),
        ("B%C3%9CCHER.example", &["bob@xn--bcher-kva.example"]),
        ("xn--bcher", &["bob@xn--bcher-kva.example"]),
    ] {
        assert_eq!(found(&server, &root, &format!("q={q}")).await, emails, "{q}");
    }
    let of_operator = server.operated(json!({"operation": "user_list", "q": "ADA LOV\u{c9}"})).await;
    assert_eq!(of_operator["items"][0]["email"], json!(ADA));
}

#[tokio::test]
async fn a_name_is_set_by_its_owner_too_and_an_empty_one_takes_it_away() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let access = server.operator_account(ADA, &[]).await;
    let id = server.get_as("/v1/me", &access).await.text("id");
    for (sent, name) in [
        (json!({"name": "Ada"}), json!("Ada")),
        (json!({"status": "active"}), json!("Ada")),
        (json!({"name": null}), Value::Null),
        (json!({"name": "Ada"}), json!("Ada")),
        (json!({"name": "  "}), Value::Null),
    ] {
        let answer = patched(&server, &root, &id, sent.clone()).await;
        assert_eq!(answer.body["name"], name, "{sent}: {}", answer.body);
    }
    let access = server.tokens(ADA).await.0;
    for (sent, name, mail) in [
        (json!({"name": " Augusta "}), json!("Augusta"), true),
        (json!({"new_device_mail": false}), json!("Augusta"), false),
        (json!({"name": "", "new_device_mail": true}), Value::Null, true),
        (json!({}), Value::Null, true),
    ] {
        let answer = server.patch_as("/v1/me", &access, sent.clone()).await;
        assert_eq!([&answer.body["name"], &answer.body["new_device_mail"]], [&name, &json!(mail)], "{sent}");
        let me = server.get_as("/v1/me", &access).await.body;
        assert_eq!(me["name"], name, "{sent}");
        assert_eq!(me["new_device_mail"], json!(mail), "{sent}");
    }
    let long = server.patch_as("/v1/me", &access, json!({"name": "a".repeat(101)})).await;
    assert_eq!(long.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(long.body["errors"][0]["pointer"], json!("/name"));
}

/// A person says that they have signed up and cannot log in. They have not followed the link.
#[tokio::test]
async fn a_sign_up_that_is_not_confirmed_is_seen_as_such_until_its_link_is_over() {
    let server = TestServer::with(&[("signup.verify_ttl_secs", "600")]);
    let root = server.operator_account(ROOT, &["admin"]).await;
    made(&server, &root, json!({"email": "made@near.test", "invite": false})).await;
    server.sign_up(ADA, PASSWORD).await;
    assert_eq!(found(&server, &root, "").await.len(), 2, "a sign-up is no account");
    let mut unproved = found(&server, &root, "verified=false").await;
    unproved.sort();
    assert_eq!(unproved, [ADA, "made@near.test"]);
    for query in ["status=pending", "status=pending&q=ADA@", "verified=false&q=ada"] {
        assert_eq!(found(&server, &root, query).await, [ADA], "{query}");
    }
    for query in ["status=active&q=ada", "status=pending&verified=true", "status=pending&q=bob"] {
        assert_eq!(found(&server, &root, query).await, [""; 0], "{query}");
    }
    // Page by page, each is there once.
    let first = server.get_as("/v1/admin/users?verified=false&limit=1", &root).await.body;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second =
        server.get_as(&format!("/v1/admin/users?verified=false&limit=1&cursor={cursor}"), &root).await;
    let mut both = [&first, &second.body].map(|page| page["items"][0]["email"].as_str().unwrap().to_owned());
    both.sort();
    assert_eq!(both, [ADA, "made@near.test"]);
    assert!(second.body["next_cursor"].is_null());

    let item = server.get_as("/v1/admin/users?status=pending", &root).await.body["items"][0].clone();
    assert_eq!(item["status"], json!("pending"));
    assert_eq!(seen(&server, &root, item["id"].as_str().unwrap()).await, item);
    let dir = server.data_dir();
    run(&["user", "show", ADA], dir).exits(0).says("has not confirmed the address: no account yet");
    run(&["user", "list"], dir).exits(0).says("1 sign-up is not confirmed").does_not_say(ADA);
    run(&["user", "list", "--pending"], dir).exits(0).says(ADA).says("pending");
    run(&["user", "enable", ADA], dir).exits(1).says("there is no account yet");

    server.clock.advance(Duration::from_secs(601));
    assert_eq!(found(&server, &root, "verified=false").await, ["made@near.test"]);
    run(&["user", "show", ADA], dir).exits(1);
}

#[tokio::test]
async fn an_administrator_mends_an_address_and_the_former_one_is_told() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let access = server.operator_account(ADA, &["staff"]).await;
    let id = server.get_as("/v1/me", &access).await.text("id");
    let moved = patched(&server, &root, &id, json!({"email": "Lovelace@Near.test", "name": "Ada"})).await;
    assert_eq!(moved.status, StatusCode::OK, "{}", moved.body);
    assert_eq!(moved.body["email"], json!(NEW));
    assert_eq!(moved.body["email_verified"], json!(false));
    assert_eq!(moved.body["name"], json!("Ada"));
    let told = server.mail(ADA, "was changed by an administrator").await.letter;
    assert!(told.text.contains("the address l***@n***"), "{}", told.text);
    assert!(told.link.is_none());
    // Everything of before is dead.
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.log_in(ADA, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    // The new address is not proved, and nobody else can have it meanwhile.
    assert_eq!(server.log_in(NEW, PASSWORD).await.body["code"], json!("email_not_verified"));
    server.sign_up(NEW, "a phrase of somebody else").await;
    let link = server.mailed(NEW, "Confirm your address").await;
    assert_eq!(server.verify(&link).await.status, StatusCode::NO_CONTENT);
    let user = server.log_in(NEW, PASSWORD).await.body["user"].clone();
    assert_eq!((&user["id"], &user["roles"]), (&json!(id), &json!(["staff"])));
    let (changed, by) = ("email.changed", "by ");
    let line = server.operated(json!({"operation": "audit_tail", "limit": 1, "event": changed})).await;
    assert!(line["items"][0]["reason"].as_str().unwrap().starts_with(by), "{line}");
    assert_eq!(line["items"][0]["subject"], json!(id));
}

#[tokio::test]
async fn an_address_is_mended_only_where_it_is_free_and_its_owner_can_be_told() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    server.operator_account("taken@near.test", &[]).await;
    let id = made(&server, &root, json!({"email": ADA, "password": PASSWORD, "verified": true})).await;
    let root_id = server.get_as("/v1/me", &root).await.text("id");
    for (of, sent, status, code) in [
        (&id, json!({"email": "taken@near.test"}), 409, "email_taken"),
        (&id, json!({"email": "nobody"}), 422, "unprocessable"),
        (&id, json!({"email": NEW, "roles": ["No Role"]}), 422, "unprocessable"),
        // With an address that is not proved the last administrator could not log in.
        (&root_id, json!({"email": NEW}), 409, "last_administrator"),
        (&root_id, json!({"email_verified": false}), 409, "last_administrator"),
    ] {
        let answer = patched(&server, &root, of, sent.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{sent}: {}", answer.body);
        assert_eq!(answer.body["code"], json!(code), "{sent}");
    }
    assert_eq!(seen(&server, &root, &id).await["email"], json!(ADA));
    assert_eq!(seen(&server, &root, &root_id).await["email"], json!(ROOT));
    // An insider moves the account until nobody is told any more: then it moves no further.
    let mut moved = 0;
    let refused = loop {
        let to = format!("ada{moved}@near.test");
        let answer = patched(&server, &root, &id, json!({"email": to, "email_verified": true})).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        moved += 1;
        assert!(moved < 50, "no bound");
    };
    assert_eq!(refused.body["code"], json!("mail_quota"), "{}", refused.body);
    let left = format!("ada{}@near.test", moved - 1);
    assert_eq!(seen(&server, &root, &id).await["email"], json!(left));
    assert_eq!(server.log_in(&left, PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_invitation_is_mailed_unless_it_is_not_wanted_and_comes_again_by_a_command() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let both = json!({"email": ADA, "password": PASSWORD, "invite": true});
    let both = server.post_as("/v1/admin/users", &root, both).await;
    assert_eq!(both.body["errors"][0]["pointer"], json!("/invite"), "{}", both.body);
    made(&server, &root, json!({"email": ADA, "invite": false})).await;
    let dir = server.data_dir();
    run(&["user", "show", ADA], dir).exits(0).says("last mail      unknown").says("none yet");
    assert_eq!(server.mail_count("Your account at"), 0);
    run(&["user", "invite", ADA], dir).exits(0).says("invited ada@near.test (").says("mail: sent");
    let token = server.mailed(ADA, "Your account at").await;
    run(&["user", "show", ADA], dir).exits(0).says("invitation sent").says("invitation until");
    assert_eq!(server.reset(&token, PASSWORD).await.status, StatusCode::NO_CONTENT);
    run(&["user", "invite", ADA], dir).exits(1).says("user reset-password");
}

/// Kind: a link that is told to be live, and opens nothing.
#[tokio::test]
async fn a_link_that_was_used_is_not_live() {
    let server = TestServer::start();
    server.account(ADA).await;
    run(&["user", "show", ADA], server.data_dir()).exits(0).says("live links     none");
    let dir = server.data_dir();
    run(&["user", "delete", ADA], dir).exits(2).says("add --yes");
    run(&["user", "show", ADA], dir).exits(0);
    run(&["user", "add", "notmail", "--password-stdin"], dir).exits(2).says("notmail");
    run(&["api-key", "create", "shop", "--scopes", "introspect,admn:read"], dir)
        .exits(1)
        .says("\"admn:read\" is no scope");
    run(&["session", "revoke", ADA], dir).exits(0);
    run(&["audit", "tail", "--type", "session.revoked"], dir).exits(0).says("all sessions, 0 were open");
    run(&["user", "delete", ADA, "--yes"], dir).exits(0).says("deleted ada@near.test (");
}

/// At 3 in the morning somebody calls: they cannot log in.
#[tokio::test]
async fn an_account_shows_why_its_owner_cannot_log_in() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let id = made(&server, &root, json!({"email": ADA, "password": PASSWORD, "verified": true})).await;
    let fresh = seen(&server, &root, &id).await;
    assert_eq!(fresh["sessions"], json!({"cookie": 0, "token": 0}));
    assert_eq!(fresh["last_log_in_at"], Value::Null);
    server.tokens(ADA).await;
    server.log_in_for_cookie(ADA).await;
    for number in 0..5 {
        server.log_in(ADA, &format!("not the password {number}")).await;
    }
    server.forgot(ADA).await;
    server.mail(ADA, "Set a new password").await;
    let stands = seen(&server, &root, &id).await;
    let lock = &stands["lock"];
    assert_eq!(lock["failures"], json!(5));
    assert_eq!(lock["guesses_left"], json!(fresh["lock"]["guesses_left"].as_u64().unwrap() - 5));
    assert!(lock["locked_until"].is_string(), "{lock}");
    assert_eq!(stands["sessions"], json!({"cookie": 1, "token": 1}));
    assert_eq!(stands["devices"][0]["family"], json!("test"));
    assert_eq!(stands["devices"][0]["count"], json!(2));
    assert_eq!(stands["last_log_in_at"], stands["devices"][0]["newest"]);
    let purposes = stands["links"].as_array().unwrap().iter().map(|link| link["purpose"].clone());
    assert_eq!(purposes.collect::<Vec<_>>(), ["reset", "unlock"]);

    let dir = server.data_dir();
    run(&["user", "show", ADA], dir)
        .exits(0)
        .says("locked for unknown devices until")
        .says("5 failures")
        .says("1 browser session, 1 token family")
        .says("2 test (last ")
        .says("unlock until");
    run(&["user", "disable", ADA], dir).exits(0).says("disabled ada@near.test (").says("2 sessions ended");
    run(&["user", "unlock", ADA], dir)
        .exits(0)
        .says("it was locked until")
        .says("5 failures cleared")
        .says("portcullis user enable");
    assert_eq!(seen(&server, &root, &id).await["status"], json!("disabled"));
    run(&["user", "unlock", ADA], dir).exits(0).says("it was not locked");
    run(&["user", "enable", ADA], dir).exits(0).says("enabled ada@near.test (");
    assert_eq!(server.log_in(ADA, PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn commands_say_what_they_did_and_spare_the_last_administrator() {
    let server = TestServer::start();
    server.operator_account(ROOT, &["admin"]).await;
    let dir = server.data_dir();
    run(&["user", "add", ADA, "--no-password", "--role", "admins"], dir)
        .exits(1)
        .says("did you mean \"admin\"");
    run(&["user", "add", ADA, "--no-password", "--role", "admins", "--yes"], dir)
        .exits(0)
        .says("created ada@near.test (")
        .says("mail: sent");
    run(&["user", "set-role", ADA, "staff", "editor"], dir).exits(0).says("now has the roles editor, staff");
    run(&["user", "set-role", ADA], dir).exits(0).says("now has no roles");
    run(&["session", "list", ADA], dir).exits(0).says("has no open sessions");
    run(&["user", "set-email", ADA, NEW, "--verified"], dir)
        .exits(0)
        .says("ada@near.test is now lovelace@near.test (")
        .says("ada@near.test is told by mail. The new address counts as proved.");
    server.mail(ADA, "was changed by an administrator").await;
    run(&["user", "set-email", NEW, NEW], dir).exits(0).says("has this address already; it is proved");
    run(&["key", "list"], dir).exits(0).says("VERIFIES UNTIL").says("signing").says("edge-");
    run(&["api-key", "list"], dir).exits(0).says("there are no API keys");
    run(&["user", "list", "--limit", "1"], dir)
        .exits(0)
        .says("ADDRESS")
        .says("repeat the command with --after ");
    let page = run(&["user", "list", "--limit", "1", "--json"], dir).exits(0).text;
    let next = serde_json::from_str::<Value>(&page).unwrap()["next_cursor"].as_str().unwrap().to_owned();
    run(&["user", "list", "--limit", "1", "--after", &next], dir).exits(0).does_not_say("--after");
    run(&["user", "list", "--after", "x"], dir).exits(1).says("the last page named");

    for act in [&["set-role", ROOT][..], &["disable", ROOT], &["lock", ROOT], &["delete", ROOT, "--yes"]] {
        let act = [&["user"], act].concat();
        run(&act, dir).exits(1).says("no administrator would be left");
    }
    run(&["session", "list", ROOT], dir).exits(0).says("NETWORK").says("1 open session of root@near.test");
    run(&["session", "revoke", ROOT], dir).exits(0).says("ended 1 session of root@near.test (");
    run(&["user", "delete", ROOT, "--force", "--yes"], dir)
        .exits(0)
        .says("deleted root@near.test (")
        .says("0 sessions ended");
    run(&["user", "show", ROOT], dir).exits(1).says("is no account");
}
