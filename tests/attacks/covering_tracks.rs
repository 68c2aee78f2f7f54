//! Covering one's tracks: I edit, cut or reorder the log of security events, or do something and kill the server before
//! it is written down.
//!
//! Bound: every changed byte is noticed; every acknowledged change of who may do what is in the log.

use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::process::{Ran, run};
use crate::support::{PASSWORD, TestServer};

const NAME: &str = "ada@test.org";

/// Reads all events from the files, without asking the server.
fn written(server: &TestServer) -> Vec<Value> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(server.data_dir().join("audit")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    lines
}

/// Returns the first written event of the kind `event`.
fn first(server: &TestServer, event: &str) -> Value {
    let event = |line: &Value| line["event"] == event;
    written(server).into_iter().find(event).unwrap()
}

#[tokio::test]
async fn an_acknowledged_change_is_on_disk_with_who_where_and_why() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let changed = server.change_password(&access, PASSWORD, "an entirely different phrase").await;
    assert_eq!(changed.status, StatusCode::OK);
    let line = first(&server, "password.changed");
    assert_eq!(line["email"], "a***@test.org");
    assert_eq!(line["network"], "127.0.0.1/32");
    assert_eq!(line["request_id"], changed.header("x-request-id"));
    assert_eq!(line["subject"].as_str().unwrap().len(), 32);
    assert!(line["journal"].as_u64().unwrap() > 0);
    let access = changed.text("access_token");
    server.post_as("/v1/logout", &access, json!({"scope": "global"})).await;
    assert_eq!(first(&server, "session.revoked")["reason"], "log-out everywhere");
}

#[tokio::test]
async fn a_failed_log_in_is_written_without_a_name_that_has_no_account() {
    let server = TestServer::start();
    server.account(NAME).await;
    for email in [NAME, "nobody-of-ours@test.org"] {
        server.log_in(email, "a wrong password").await;
    }
    let server = server.restart();
    let lines = written(&server);
    let failed: Vec<_> = lines.iter().filter(|line| line["event"] == "login.failed").collect();
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0]["email"], json!("a***@test.org"));
    assert_eq!(failed[1].get("email"), None);
    assert_eq!(failed[1].get("subject"), None);
    assert!(!lines.iter().any(|line| line.to_string().contains("nobody-of-ours")));
}

fn verify(dir: &Path) -> Ran {
    run(&["audit", "verify"], dir)
}

#[tokio::test]
async fn a_changed_log_is_found_and_a_log_cut_by_a_crash_is_mended() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    server.post_as("/v1/logout", &access, json!({})).await;
    let dir = server.data_dir().to_owned();
    verify(&dir).exits(0);

    // I flip one bit.
    let path = std::fs::read_dir(dir.join("audit")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    verify(&dir).exits(1).says(".jsonl:").says("seal");

    // I cut the last line short, as a crash would: the next start mends it, and says so in the log.
    std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    verify(&dir).says("cut short");
    // A second stop in order, so that all events are written.
    let server = server.restart().restart();
    verify(&dir).exits(0);
    first(&server, "audit.mended");
}
