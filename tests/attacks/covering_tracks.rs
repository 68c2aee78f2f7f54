//! Covering one's tracks: an intruder edits, cuts or reorders the log of security events; or does something and kills the
//! server before it is written down.
//!
//! Bound: no changed byte goes unfound; what was acknowledged and changes who may do what stands in the log.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{PASSWORD, TestServer};

/// All events in the files, without asking the server.
fn written(server: &TestServer) -> Vec<Value> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(server.data_dir().join("audit")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    lines
}

#[tokio::test]
async fn what_changes_who_may_do_what_stands_on_disk_when_it_is_answered_with_who_where_and_why() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    let change = json!({"current_password": PASSWORD, "new_password": "an entirely different phrase"});
    let changed = server.post_as("/v1/password/change", &access, change).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
    let lines = written(&server);
    let line = lines.iter().find(|line| line["event"] == "password.changed").unwrap();
    assert_eq!(line["email"], "a***@test.org");
    assert_eq!(line["network"], "127.0.0.1/32");
    assert_eq!(line["request_id"], changed.header("x-request-id"));
    assert!(line["subject"].as_str().unwrap().len() == 32 && line["journal"].as_u64().unwrap() > 0);
    server.post_as("/v1/logout", &access, json!({"scope": "global"})).await;
    let lines = written(&server);
    let line = lines.iter().find(|line| line["event"] == "session.revoked").unwrap();
    assert_eq!(line["reason"], "log-out everywhere");
}

#[tokio::test]
async fn a_failure_names_its_reason_and_network_but_never_a_name_that_is_none() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    for email in ["ada@test.org", "nobody-of-ours@test.org"] {
        server.log_in(email, "a wrong password").await;
    }
    let server = server.restart();
    let lines = written(&server);
    let failed: Vec<_> = lines.iter().filter(|line| line["event"] == "login.failed").collect();
    assert_eq!((failed.len(), &failed[0]["email"]), (2, &json!("a***@test.org")));
    assert!(failed[1].get("email").is_none() && failed[1].get("subject").is_none(), "{}", failed[1]);
    assert!(!lines.iter().any(|line| line.to_string().contains("nobody-of-ours")));
}

#[tokio::test]
async fn a_changed_or_cut_log_is_found_by_the_command() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    server.post_as("/v1/logout", &access, json!({})).await;
    let dir = server.data_dir().to_owned();
    let verify = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["audit", "verify", "--data-dir", dir.to_str().unwrap()])
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(verify().0, 0);
    let path = std::fs::read_dir(dir.join("audit")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    let mut changed = whole.clone();
    let at = whole.len() / 2;
    changed[at] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let (code, said) = verify();
    assert!(code == 1 && said.contains(".jsonl:") && said.contains("seal"), "{said}");
    std::fs::write(&path, &whole).unwrap();
    // Cut short, as by a crash: the next start mends it, and says so.
    std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    assert!(verify().1.contains("cut short"));
    // Stopped once more, so that all it noted is written.
    let server = server.restart().restart();
    assert!(verify().0 == 0 && written(&server).iter().any(|line| line["event"] == "audit.mended"));
}
