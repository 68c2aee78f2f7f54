//! What an operator asks the log and the commands after a bad night: who did what, is the thief out, and what is this id.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::links::token_in;
use crate::support::process::run;
use crate::support::{PASSWORD, TestServer, wait_until};

const ROOT: &str = "root@near.test";
const ADA: &str = "ada@near.test";
const NEW_PASSWORD: &str = "an entirely different phrase";

/// Returns the reasons of the events that an administrator finds with `query`, oldest first.
async fn reasons(server: &TestServer, root: &str, query: &str) -> Vec<String> {
    let answer = server.get_as(&format!("/v1/admin/audit?{query}"), root).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let items = answer.body["items"].as_array().unwrap().iter();
    items.map(|item| item["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Returns the user id that this process has.
fn uid(server: &TestServer) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(server.data_dir()).unwrap().uid()
}

/// Kind: the log has a line for a change and the line does not say what changed.
#[tokio::test]
async fn the_line_of_a_change_says_what_changed_and_who_changed_it() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let root_id = server.get_as("/v1/me", &root).await.text("id");
    let made = server.post_as("/v1/admin/users", &root, json!({"email": ADA, "password": PASSWORD})).await;
    let id = made.text("id");
    for body in [
        json!({"roles": ["staff", "metrics"]}),
        json!({"roles": ["admin", "staff"], "status": "disabled"}),
        json!({"status": "active", "name": "Ada, by operator: roles +root"}),
        json!({"name": null}),
        json!({"email_verified": true}),
        json!({"status": "active"}),
    ] {
        let answer = server.patch_as(&format!("/v1/admin/users/{id}"), &root, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.body);
    }
    let operator = format!("by operator(uid {})", uid(&server));
    server.operated(json!({"operation": "user_set_role", "user": ADA, "roles": []})).await;
    let (key, key_id) = server.api_key(&["admin:write"], None).await;
    let named = json!({"name": "Augusta"});
    let by_key = server.patch_as(&format!("/v1/admin/users/{id}"), &key, named).await;
    assert_eq!(by_key.status, StatusCode::OK, "{}", by_key.body);

    let found = reasons(&server, &root, &format!("account={id}&type=admin")).await;
    let by_root = format!("by {root_id}: ");
    let expected = [
        format!("{by_root}no roles"),
        format!("{by_root}roles +metrics +staff"),
        format!("{by_root}roles +admin -metrics, status disabled"),
        format!("{by_root}status active, name"),
        format!("{by_root}name removed"),
        format!("{by_root}email_verified true"),
        format!("{by_root}nothing"),
        format!("{operator}: roles -admin -staff"),
        format!("by API key {key_id}: name"),
    ];
    assert_eq!(found, expected);

    // Who did what, whoever it was done to.
    assert_eq!(reasons(&server, &root, &format!("by={root_id}")).await.len(), 7);
    assert_eq!(
        reasons(&server, &root, &format!("by={key_id}")).await,
        [format!("by API key {key_id}: name")]
    );
    let of_operator = reasons(&server, &root, "by=operator").await;
    assert_eq!(
        of_operator,
        [format!("{operator}: roles +admin"), format!("{operator}: roles -admin -staff"), operator.clone()]
    );
    let dir = server.data_dir();
    run(&["audit", "tail", "--by", ROOT], dir).exits(0).says("status disabled").does_not_say("by operator");
    run(&["audit", "tail", "--by", "operator", "--json"], dir).exits(0).says("roles -admin -staff");
    run(&["audit", "tail", "--by", "c"], dir).exits(2).says("neither an address nor an id");
    let unknown = server.get_as("/v1/admin/audit?type=nosuch", &root).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
}

/// Kind: an insider makes a friend an administrator, and nobody who could object learns of it.
#[tokio::test]
async fn the_other_administrators_are_mailed_when_an_account_becomes_one() {
    const SUBJECT: &str = "There is another administrator";
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    server.operator_account(ADA, &["staff"]).await;
    let told = |server: &TestServer| {
        let mails = server.mails.lock();
        let told = mails.iter().filter(|mail| mail.letter.subject.contains(SUBJECT));
        told.map(|mail| (mail.to.clone(), mail.letter.text.contains("a***@n***"))).collect::<Vec<_>>()
    };
    assert_eq!(told(&server), [], "the first administrator has nobody to tell");
    let show = json!({"operation": "user_show", "user": ADA});
    let id = server.operated(show).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/admin/users/{id}");
    for (count, body) in [
        (1, json!({"roles": ["admin", "staff"]})),
        (1, json!({"roles": ["admin"]})),
        (1, json!({"status": "disabled"})),
        (2, json!({"status": "active"})),
        (2, json!({"roles": []})),
    ] {
        let answer = server.patch_as(&path, &root, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.body);
        wait_until("the mail has left", async || told(&server).len() >= count).await;
        assert_eq!(told(&server), vec![(ROOT.to_owned(), true); count], "{body}");
    }
    run(&["user", "set-role", ADA, "admin"], server.data_dir()).exits(0);
    wait_until("the mail has left", async || told(&server).len() == 3).await;
}

/// Kind: two commands report success, and the thief logs in again at once with the password that they know.
#[tokio::test]
async fn a_thief_who_knows_the_password_is_out_when_it_is_revoked_and_the_plain_reset_says_that_it_is_not() {
    let server = TestServer::start();
    server.account(ADA).await;
    let dir = server.data_dir();
    run(&["session", "revoke", ADA], dir).exits(0).says("The password still works").says("--revoke-password");
    let plain = run(&["user", "reset-password", ADA], dir).exits(0);
    plain.says("The old password still works until the link is used").says("--revoke-password");
    assert_eq!(server.log_in(ADA, PASSWORD).await.status, StatusCode::OK);

    let stolen = server.tokens(ADA).await.0;
    server.mails.lock().clear();
    let revoked = run(&["user", "reset-password", "--revoke-password", ADA], dir).exits(0);
    revoked.says("The old password is gone").says("mail: sent").does_not_say("still works");
    assert_eq!(server.log_in(ADA, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.get_as("/v1/me", &stolen).await.status, StatusCode::UNAUTHORIZED);
    let link = server.mail(ADA, "Set a new password").await.letter.link.unwrap();
    assert_eq!(server.reset(&token_in(&link), NEW_PASSWORD).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.log_in(ADA, NEW_PASSWORD).await.status, StatusCode::OK);
    run(&["audit", "tail", "--type", "admin"], dir).exits(0).says("password removed");
    run(&["user", "reset-password", "--help"], dir).exits(0).says("The old password works");

    // The last administrator would be shut out until the mail arrives.
    server.operator_account(ROOT, &["admin"]).await;
    run(&["user", "reset-password", "--revoke-password", ROOT], dir).exits(1).says("--force");
    assert_eq!(server.log_in(ROOT, PASSWORD).await.status, StatusCode::OK);
    run(&["user", "reset-password", "--revoke-password", "--force", ROOT], dir).exits(0);
    assert_eq!(server.log_in(ROOT, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
}

/// Kind: an id that one command shows is unknown to the next.
#[tokio::test]
async fn one_session_is_found_and_ended_by_the_id_that_the_list_shows() {
    let server = TestServer::start();
    server.account(ADA).await;
    let tokens = server.log_in(ADA, PASSWORD).await;
    let other = server.log_in(ADA, PASSWORD).await;
    let dir = server.data_dir();
    let list = || async {
        let listed = server.operated(json!({"operation": "session_list", "user": ADA})).await;
        let items = listed["items"].as_array().unwrap().iter();
        let of = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
        items.map(|item| (of(item, "kind"), of(item, "id"))).collect::<Vec<_>>()
    };
    let family = tokens.text("session_id");
    let open = list().await;
    let session = other.text("session_id");
    for (id, left) in [(&family, open.len() - 1), (&session, open.len() - 2)] {
        run(&["audit", "tail", "--account", id], dir).exits(0).says("login.succeeded").says("a***@near.test");
        run(&["session", "revoke", id], dir).exits(0).says(&format!("ended the session {id}")).says(ADA);
        let ended = run(&["audit", "tail", "--account", id], dir).exits(0);
        ended.says("session.revoked").says(&format!(": session {id}"));
        let now = list().await;
        assert_eq!(now.len(), left);
        assert!(now.iter().all(|(_, open)| open != id));
        run(&["session", "revoke", id], dir).exits(1).says(id).says("no account and no open session");
    }
    let refresh = json!({"refresh_token": tokens.text("refresh_token")});
    assert_eq!(server.post("/v1/refresh", refresh).await.status, StatusCode::UNAUTHORIZED);
}

/// Kind: "there is no such account, session or key", and the operator asks which of them was meant.
#[tokio::test]
async fn what_is_not_found_is_named_with_what_would_be() {
    let server = TestServer::start();
    let (_, id) = server.api_key(&["introspect"], None).await;
    let dir = server.data_dir();
    let unknown = "0".repeat(32);
    for (args, said) in [
        (&["user", "show", "123"][..], "\"123\" is no account"),
        (&["user", "show", "eve@near.test"], "\"eve@near.test\" is no account"),
        (&["user", "disable", &unknown], "is no account"),
        (&["session", "revoke", "123"], "no account and no open session"),
        (&["session", "list", "123"], "\"123\" is no account"),
        (&["key", "retire", "edge-1"], "edge-1 is a key of the kind edge: only signing keys retire"),
        (&["key", "retire", "nosuch"], "\"nosuch\" is no signing key"),
        (&["api-key", "delete", "service"], id.as_str()),
        (&["api-key", "delete", "nosuch"], "no id of an API key"),
    ] {
        run(args, dir).exits(1).says(said);
    }
    run(&["api-key", "delete", &id], dir).exits(0);
}
