//! Covering one's tracks: I edit, cut or reorder the log of security events, or do something and kill the server before
//! it is written down.
//!
//! Bound: every changed byte is noticed; every acknowledged change of who may do what is in the log.

use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::earlier::forget_files;
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

/// Makes some events and stops the server in order. Returns the directory of the log.
async fn stopped_with_events() -> (TestServer, std::path::PathBuf) {
    let server = TestServer::start();
    server.account(NAME).await;
    for _ in 0..3 {
        server.log_in(NAME, "a wrong password").await;
    }
    let (access, _) = server.tokens(NAME).await;
    server.post_as("/v1/logout", &access, json!({})).await;
    let server = server.restart();
    let audit = server.data_dir().join("audit");
    (server, audit)
}

fn only_file(audit: &Path) -> std::path::PathBuf {
    std::fs::read_dir(audit).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test]
async fn lines_cut_off_the_end_are_found_by_the_check_and_by_the_next_start() {
    let (server, audit) = stopped_with_events().await;
    let server = server.restart_after(|dir| {
        let path = only_file(&audit);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() >= 8, "{text}");
        verify(dir).exits(0);
        std::fs::write(&path, lines[..lines.len() - 4].join("\n") + "\n").unwrap();
        verify(dir).exits(1).says("4 lines are missing from the end");
    });
    // The server goes on, says so, and its new lines do not close the gap.
    let server = server.restart();
    let cut = first(&server, "audit.cut");
    assert!(cut["reason"].as_str().unwrap().contains("missing from the end"), "{cut}");
    verify(server.data_dir()).exits(1).says("lines are missing");
}

/// Has the server write down that an operator knows of the cut.
async fn acknowledge(server: &TestServer) {
    let answer = server.operate(json!({"operation": "audit_acknowledge"})).await;
    assert_eq!(answer["ok"]["event"], "audit.acknowledged", "{answer}");
}

/// Restarts after I have removed the record of the end and changed the log by `cut`. Checks that this is found, also by the
/// running server and after another start, until an operator acknowledges it; the gap, if any, stays visible.
async fn is_found_until_acknowledged(cut: impl FnOnce(&Path)) {
    let (server, audit) = stopped_with_events().await;
    let server = server.restart_after(|dir| {
        verify(dir).exits(0);
        cut(&audit);
        std::fs::remove_file(dir.join("audit.end")).unwrap();
        verify(dir).exits(1).says("audit.end");
    });
    let reason = "the record of the log's end was removed";
    // A change of rights is on disk, and with it every line before.
    server.operator_account("root@test.org", &["admin"]).await;
    verify(server.data_dir()).exits(1).says("nobody has acknowledged").says(reason);
    let server = server.restart_after(|dir| drop(verify(dir).exits(1).says(reason)));
    let cut = first(&server, "audit.cut");
    assert!(cut["reason"].as_str().unwrap().contains(reason), "{cut}");
    acknowledge(&server).await;
    verify(server.data_dir()).exits(0).says("unbroken but for 1 acknowledged cut");
    let server = server.restart_after(|dir| drop(verify(dir).exits(0)));
    first(&server, "audit.acknowledged");
    // A line more is missing than the start has found: I use the acknowledged gap.
    server.restart_after(|dir| {
        let path = only_file(&audit);
        let text = std::fs::read_to_string(&path).unwrap();
        let before = cut["seq"].as_u64().unwrap() - cut["missing"].as_u64().unwrap_or(0) - 1;
        let is_before = |line: &&str| serde_json::from_str::<Value>(line).unwrap()["seq"] == before;
        let without: Vec<&str> = text.lines().filter(|line| !is_before(line)).collect();
        let is_there = without.len() < text.lines().count();
        std::fs::write(&path, without.join("\n") + "\n").unwrap();
        assert_eq!(verify(dir).code, i32::from(is_there));
    });
}

#[tokio::test]
async fn lines_cut_off_the_end_with_its_record_are_found_until_acknowledged() {
    is_found_until_acknowledged(|audit| {
        let path = only_file(audit);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_log_that_is_removed_with_its_record_is_found_until_acknowledged() {
    is_found_until_acknowledged(|audit| std::fs::remove_dir_all(audit).unwrap()).await;
}

#[tokio::test]
async fn a_log_that_is_put_back_with_its_older_record_is_found() {
    let (server, audit) = stopped_with_events().await;
    let mut older = Vec::new();
    let server = server.restart_after(|dir| {
        older = vec![(only_file(&audit), Vec::new()), (dir.join("audit.end"), Vec::new())];
        for (path, bytes) in &mut older {
            *bytes = std::fs::read(path).unwrap();
        }
    });
    server.operator_account("root@test.org", &["admin"]).await;
    // The start after it remembers how far the log has come.
    let server = server.restart().restart_after(|dir| {
        verify(dir).exits(0);
        for (path, bytes) in &older {
            std::fs::write(path, bytes).unwrap();
        }
        verify(dir).exits(1).says("is an older one");
    });
    let server = server.restart();
    let cut = first(&server, "audit.cut");
    assert!(cut["reason"].as_str().unwrap().contains("missing from the end"), "{cut}");
    verify(server.data_dir()).exits(1).says("nobody has acknowledged");
}

#[tokio::test]
async fn a_directory_of_a_version_without_the_record_is_no_cut_log() {
    let (server, audit) = stopped_with_events().await;
    let server = server.restart_after(|dir| {
        forget_files(dir);
        std::fs::remove_file(dir.join("audit.end")).unwrap();
        verify(dir).exits(1).says("an older version");
    });
    let server = server.restart_after(|dir| drop(verify(dir).exits(0)));
    first(&server, "audit.unrecorded");
    // From then on the record cannot be removed unnoticed.
    let server = server.restart_after(|dir| {
        std::fs::remove_dir_all(&audit).unwrap();
        std::fs::remove_file(dir.join("audit.end")).unwrap();
    });
    let server = server.restart();
    first(&server, "audit.cut");
}

#[tokio::test]
async fn a_deleted_log_is_found_by_the_check_and_by_the_next_start() {
    let (server, audit) = stopped_with_events().await;
    let server = server.restart_after(|dir| {
        std::fs::remove_dir_all(&audit).unwrap();
        verify(dir).exits(1).says("missing from the end");
    });
    let server = server.restart_after(|dir| drop(verify(dir).exits(1).says("missing")));
    acknowledge(&server).await;
    verify(server.data_dir()).exits(0);
}

#[tokio::test]
async fn a_removed_beginning_is_found_by_the_check() {
    let (server, audit) = stopped_with_events().await;
    server.restart_after(|dir| {
        let path = only_file(&audit);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        verify(dir).exits(1).says("missing from the beginning");
    });
}

#[tokio::test]
async fn a_last_line_that_cannot_be_read_does_not_restart_the_numbers() {
    let (server, audit) = stopped_with_events().await;
    let mut last = 0;
    let server = server.restart_after(|_| {
        let path = only_file(&audit);
        let mut text = std::fs::read_to_string(&path).unwrap();
        last = text.lines().count() as u64;
        text.push_str("no line of mine\n");
        std::fs::write(&path, text).unwrap();
    });
    let server = server.restart();
    let text = std::fs::read_to_string(only_file(&audit)).unwrap();
    let read = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let numbers: Vec<u64> = read.map(|line| line["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(numbers.last().unwrap() > &last);
    verify(server.data_dir()).exits(1);
}
