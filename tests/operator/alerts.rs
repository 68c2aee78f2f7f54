//! What an alert tells: whom, whence, and what there is to do.

use std::process::Command;

use portcullis::server::background::{alert, webhook};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::operators::receiver;
use crate::support::process::{BINARY, Ran};
use crate::support::{PASSWORD, TestServer, wait_until};

const SECRET: &str = "a secret for the hook";
/// A name that nobody has.
const NOBODY: &str = "nobody@unknown.test";

/// Kind of fault: an alert that leaves the operator to find out who is attacked, from where, and what helps.
#[tokio::test]
async fn an_alert_names_the_accounts_the_networks_and_a_command_and_never_a_name_of_nobody() {
    let (url, calls) = receiver(&["204 No Content"]);
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let server = TestServer::behind_proxy_with(&[
        ("alert.webhook", url.as_str()),
        ("alert.secret_file", secret.to_str().unwrap()),
        ("alert.threshold.login_failed", "11"),
        ("alert.threshold.lockout_started", "0"),
        ("lockout.failures", "5"),
    ]);
    for name in ["ada@test.org", "bob@test.org"] {
        server.account(name).await;
    }
    // Guesses until a name is locked are judged, and no more of them: five at each.
    for (name, network, tries) in
        [("ada@test.org", "203.0.113", 8), ("bob@test.org", "198.51.100", 3), (NOBODY, "192.0.2", 4)]
    {
        for number in 0..tries {
            let wrong = format!("a wrong password {number}");
            server.log_in_from(&format!("{network}.{number}"), name, &wrong, None).await;
        }
    }
    let call = tokio::task::spawn_blocking(move || calls.recv_timeout(std::time::Duration::from_secs(30)));
    let call = call.await.unwrap().unwrap();
    let (time, given) = call.signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert_eq!(given, webhook::signature(SECRET.as_bytes(), time.parse().unwrap(), &call.body));
    assert!(!call.body.contains("nobody"), "{}", call.body);
    assert!(!call.body.contains("ada@test.org"), "the address is not masked: {}", call.body);
    let told: Value = serde_json::from_str(&call.body).unwrap();
    // The fields that an earlier receiver knows are as they were.
    assert_eq!(told["alert"], json!("login.failed"));
    assert_eq!(told["count"], json!(12));
    assert_eq!(told["threshold"], json!(11));
    assert_eq!(told["window_secs"], json!(600));
    let accounts: Vec<_> = told["accounts"].as_array().unwrap().iter().collect();
    let named = |account: &Value| (account["email"].clone(), account["count"].clone());
    assert_eq!(accounts.len(), 2, "{accounts:?}");
    assert_eq!(named(accounts[0]), (json!("a***@test.org"), json!(5)));
    assert_eq!(named(accounts[1]), (json!("b***@test.org"), json!(3)));
    let shown = server.operated(json!({"operation": "user_show", "user": "ada@test.org"})).await;
    assert_eq!(accounts[0]["id"], shown["id"]);
    assert_eq!(
        told["networks"],
        json!([
            {"network": "203.0.113.0/24", "count": 5, "share_percent": 41},
            {"network": "192.0.2.0/24", "count": 4, "share_percent": 33},
            {"network": "198.51.100.0/24", "count": 3, "share_percent": 25},
        ])
    );
    assert_eq!(told["advice"], json!(alert::advice("login.failed")));
}

/// Kind of fault: advice to run what there is not.
#[test]
fn the_command_that_an_alert_advises_exists() {
    let events = [
        "stuffing.suspected",
        "login.failed",
        "login.locked",
        "lockout.started",
        "device.demoted",
        "login.shed",
        "refresh.reused",
        "token.rejected",
        "csrf.rejected",
        "request.throttled",
        "email.change_undone",
        "key.retired",
    ];
    for event in events {
        for advice in std::iter::once(alert::advice(event)).chain(alert::advice_without_networks(event)) {
            let command = advice.split('`').nth(1).unwrap_or_else(|| panic!("{event} advises no command"));
            let mut words = command.split(' ');
            assert_eq!(words.next(), Some("portcullis"), "{event}");
            let words: Vec<&str> = words.collect();
            Ran::of(Command::new(BINARY).args(&words).arg("--help")).exits(0);
        }
    }
}

/// Kind of fault: an event at an account that does not name it.
#[tokio::test]
async fn a_locked_name_is_logged_with_its_account_if_there_is_one_and_its_network() {
    let server = TestServer::behind_proxy_with(&[("lockout.failures", "3")]);
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.account("ada@test.org").await;
    for name in ["ada@test.org", NOBODY] {
        for number in 0..3 {
            server.log_in_from("203.0.113.7", name, &format!("a wrong password {number}"), None).await;
        }
        let locked = server.log_in_from("203.0.113.9", name, PASSWORD, None).await;
        assert_eq!(locked.status, StatusCode::TOO_MANY_REQUESTS);
    }
    let locked = async || {
        let found = server.get_as("/v1/admin/audit?type=login.locked", &root).await;
        found.array("items").clone()
    };
    wait_until("both are in the log", async || locked().await.len() == 2).await;
    let lines = locked().await;
    let shown = server.operated(json!({"operation": "user_show", "user": "ada@test.org"})).await;
    let of_ada = lines.iter().find(|line| line["subject"] == shown["id"]).unwrap();
    assert_eq!(of_ada["email"], json!("a***@test.org"));
    let of_nobody = lines.iter().find(|line| line["subject"] != shown["id"]).unwrap();
    for line in [of_ada, of_nobody] {
        assert_eq!(line["network"], json!("203.0.113.9/32"));
    }
    assert!(!of_nobody.to_string().contains("nobody"), "{of_nobody}");
}
