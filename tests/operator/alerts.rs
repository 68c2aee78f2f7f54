//! What an alert tells: whom, whence, and what there is to do.

use std::process::Command;

use portcullis::server::background::alert;
use portcullis::server::outbound::signature::signature;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::operators::receiver;
use crate::support::process::{BINARY, Ran, run, skipped};
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
    assert_eq!(given, signature(SECRET.as_bytes(), time.parse().unwrap(), call.body.as_bytes()));
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
        "webhook.disabled",
        "hook.failed",
        "events.lost",
        "storage.full",
        "alert.test",
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

/// Kind of fault: advice to look where the thing is not. A password that fitted is found whatever devices its account had.
#[tokio::test]
async fn the_command_that_is_advised_against_stuffing_finds_each_log_in_by_a_password_that_fitted() {
    let server = TestServer::behind_proxy_with(&[]);
    for name in ["first@test.org", "known@test.org", "ended@test.org"] {
        server.account(name).await;
    }
    for name in ["known@test.org", "ended@test.org"] {
        server.log_in_from("198.51.100.7", name, PASSWORD, None).await;
    }
    // As after a restore: an account that has had devices knows none.
    let tokens = server.log_in_from("198.51.100.7", "ended@test.org", PASSWORD, None).await;
    let access = tokens.text("access_token");
    server.delete_as("/v1/devices", &access, Value::Null).await;
    for name in ["first@test.org", "known@test.org", "ended@test.org"] {
        let fitted = server.log_in_from("203.0.113.66", name, PASSWORD, None).await;
        assert_eq!(fitted.status, StatusCode::OK);
    }
    let stuffing = "stuffing.suspected";
    for advice in std::iter::once(alert::advice(stuffing)).chain(alert::advice_without_networks(stuffing)) {
        let command = advice.split('`').nth(1).unwrap();
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        for more in [&[][..], &["--network", "203.0.113.0/24"]] {
            let found = run(&[&words[..], more, &["--json"]].concat(), server.data_dir()).exits(0);
            let hits = found.text.lines().filter(|line| line.contains("203.0.113.66/32")).count();
            assert_eq!(hits, 3, "{command}: {}", found.text);
        }
    }
}

/// Kind of fault: alerts that nobody has ever seen arrive.
#[test]
fn a_test_alert_says_what_became_of_it_and_the_checklist_looks_for_the_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let data = dir.path().join("data");
    let with = |url: &str, args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(args).arg("--data-dir").arg(&data).env("PORTCULLIS__ALERT__WEBHOOK", url);
        for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        Ran::of(command.env("PORTCULLIS__ALERT__SECRET_FILE", &secret))
    };
    let (url, calls) = receiver(&["204 No Content", "500 Internal Server Error"]);
    let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    with(&url, &["alert", "test"]).exits(0).says(&format!("taken by {host}, which answered 204"));
    let call = calls.recv().unwrap();
    let told: Value = serde_json::from_str(&call.body).unwrap();
    assert_eq!(told["alert"], json!("alert.test"));
    check_as_the_readme_does(&call.signature, &call.body);
    with(&url, &["alert", "test"]).exits(1).says(&format!("{host} answered 500"));
    run(&["alert", "test"], &data).exits(2).says("alert.webhook is not set");
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let dead_url = format!("http://{dead}/hook");
    with(&dead_url, &["alert", "test"]).exits(1).says(&format!("{dead}: Connection refused"));
    with(&dead_url, &["doctor"])
        .exits(1)
        .says(&format!("fail  webhook of alerts at {dead}, Connection refused"));
    let alive = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let alive_url = format!("http://{}/hook", alive.local_addr().unwrap());
    with(&alive_url, &["doctor"]).says("pass  webhook of alerts at ");
    assert!(!data.exists());
}

/// Runs the check of the README, as a receiver copies it, on a call, and on one with another body.
fn check_as_the_readme_does(signature: &str, body: &str) {
    let page = include_str!("../../README.md");
    let mut codes = page.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next());
    let code = codes.find(|code| code.contains("def is_genuine")).unwrap();
    let last =
        "import sys; print([is_genuine(sys.argv[1], sys.argv[2], body.encode()) for body in sys.argv[3:]])";
    let mut python = Command::new("python3");
    let ran = python.args(["-c", &format!("{code}\n{last}"), SECRET, signature, body, "{}"]).output();
    match ran {
        Ok(ran) => {
            let said = String::from_utf8_lossy(&ran.stdout).into_owned();
            assert_eq!(said, "[True, False]\n", "{}", String::from_utf8_lossy(&ran.stderr));
        }
        Err(error) => skipped("the check of a webhook's signature", &format!("no python3: {error}")),
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
