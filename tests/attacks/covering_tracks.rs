//! Covering one's tracks: I edit, cut or reorder the log of security events, or do something and kill the server before
//! it is written down.
//!
//! Bound: every changed byte is noticed; every acknowledged change of who may do what is in the log. While the log cannot
//! be written, administrators change nothing.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::earlier::forget_files;
use crate::support::process::{Process, Ran, log_in, run, serve, sign_up, skipped};
use crate::support::{Answer, PASSWORD, TestServer, send, wait_until};

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

/// A stolen session, or the one of an administrator, does what it can. Whoever reads the log later learns from where.
#[tokio::test]
async fn every_act_of_a_client_names_its_network_and_its_request() {
    const USERS: &str = "/v1/admin/users";
    const ROOT: &str = "root@test.org";
    let server = TestServer::behind_proxy();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let refresh = server.tokens(ROOT).await.1;
    let (mine, _) = server.tokens(ROOT).await;
    let other = server.log_in(ROOT, PASSWORD).await.text("session_id");
    let mut number = 0;
    let mut act = async |access: &str, method: Method, path: &str, body: Value, event: &str| {
        number += 1;
        let from = format!("203.0.113.{number}");
        let request = server.request(method, path).header("x-forwarded-for", &from);
        let request = if access.is_empty() { request } else { request.bearer_auth(access) };
        let answer = send(if body.is_null() { request } else { request.json(&body) }).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
        let id = answer.header("x-request-id").to_owned();
        let lines = written(&server);
        let line = lines.iter().find(|line| line["event"] == event && line["request_id"] == id.as_str());
        let line = line.unwrap_or_else(|| panic!("{path}: no {event} of this request"));
        assert_eq!(line["network"], format!("{from}/32"), "{line}");
        answer
    };
    let new = json!({"email": NAME, "password": PASSWORD, "verified": true});
    let id = act(&root, Method::POST, USERS, new, "admin.account_created").await.text("id");
    let user = format!("{USERS}/{id}");
    let roles = json!({"roles": ["support"]});
    act(&root, Method::PATCH, &user, roles, "admin.account_changed").await;
    for (path, event) in [
        ("unlock", "lockout.cleared"),
        ("revoke_sessions", "session.revoked"),
        ("send_reset", "password.reset_requested"),
    ] {
        act(&root, Method::POST, &format!("{user}/{path}"), Value::Null, event).await;
    }
    act(&root, Method::DELETE, &user, Value::Null, "account.deleted").await;
    let key = json!({"name": "service", "scopes": ["introspect"]});
    let key = act(&root, Method::POST, "/v1/admin/api_keys", key, "api_key.made").await.text("id");
    act(&root, Method::DELETE, &format!("/v1/admin/api_keys/{key}"), Value::Null, "api_key.deleted").await;
    act(&root, Method::POST, "/v1/admin/keys/rotate", json!({}), "key.rotated").await;

    let silent = json!({"new_device_mail": false});
    act(&mine, Method::PATCH, "/v1/me", silent, "device.notices_set").await;
    act(&mine, Method::DELETE, &format!("/v1/sessions/{other}"), Value::Null, "session.revoked").await;
    act(&mine, Method::DELETE, "/v1/devices", Value::Null, "device.all_ended").await;
    let token = json!({"refresh_token": refresh});
    act("", Method::POST, "/v1/logout", token, "session.revoked").await;
    act(&mine, Method::POST, "/v1/logout", json!({"scope": "global"}), "session.revoked").await;
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

    // While the server is down: one that runs looks at its open file every second.
    let server = server.restart_after(|_| {
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
    });
    // A second stop in order, so that all events are written.
    let server = server.restart();
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

/// An administrator, and the account whose rights they change.
struct Insider {
    access: String,
    target: String,
}

impl Insider {
    async fn of(server: &TestServer) -> Self {
        let access = server.operator_account("root@test.org", &["admin"]).await;
        let found = server.get_as("/v1/admin/users?q=ada", &access).await;
        Self { access, target: found.body["items"][0]["id"].as_str().unwrap().to_owned() }
    }

    async fn set_roles(&self, server: &TestServer, roles: &[&str]) -> Answer {
        let path = format!("/v1/admin/users/{}", self.target);
        server.patch_as(&path, &self.access, json!({"roles": roles})).await
    }

    async fn roles(&self, server: &TestServer) -> Value {
        let path = format!("/v1/admin/users/{}", self.target);
        server.get_as(&path, &self.access).await.body["roles"].take()
    }
}

/// Says whether `/readyz` reports that the log cannot be written.
async fn is_reported(server: &TestServer) -> bool {
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "everybody but administrators is served");
    ready.array("reasons").contains(&json!("audit_unavailable"))
}

/// I have made the disk of the log fail. Now I change rights, to kill the server afterwards.
#[tokio::test]
async fn while_the_log_cannot_be_written_administrators_change_nothing() {
    let server = TestServer::start();
    server.account(NAME).await;
    let mut insider = Insider::of(&server).await;
    let (audit, elsewhere) = (server.data_dir().join("audit"), tempfile::tempdir().unwrap());
    let away = elsewhere.path().join("audit");
    std::fs::rename(&audit, &away).unwrap();
    std::fs::write(&audit, "a file, so that the file of the next day cannot be made").unwrap();
    server.clock.advance(Duration::from_hours(24));
    insider.access = server.admin_token("root@test.org").await;
    wait_until("the fault is reported", async || is_reported(&server).await).await;
    assert_eq!(server.figure(&insider.access, "audit_failing").await, Some(1));

    let refused = insider.set_roles(&server, &["boss"]).await;
    assert_eq!(refused.problem(), (503, "audit_unavailable"));
    let set_role = json!({"operation": "user_set_role", "user": NAME, "roles": ["boss"]});
    let refused = server.operate(set_role).await;
    assert!(refused["error"].as_str().unwrap().contains("nothing was changed"), "{refused}");
    assert_eq!(insider.roles(&server).await, json!([]));
    let key = json!({"name": "mine", "scopes": ["admin:write"]});
    let refused = server.post_as("/v1/admin/api_keys", &insider.access, key).await;
    assert_eq!(refused.problem(), (503, "audit_unavailable"));
    assert_eq!(server.get_as("/v1/admin/api_keys", &insider.access).await.body["items"], json!([]));
    let user = format!("/v1/admin/users/{}", insider.target);
    for path in [format!("{user}/revoke_sessions"), format!("{user}/send_reset"), format!("{user}/unlock")] {
        let refused = send(server.request(Method::POST, &path).bearer_auth(&insider.access)).await;
        assert_eq!(refused.problem(), (503, "audit_unavailable"), "{path}");
    }
    let refused = server.post_as("/v1/admin/keys/rotate", &insider.access, json!({})).await;
    assert_eq!(refused.problem(), (503, "audit_unavailable"));
    let refused = server.delete_as(&user, &insider.access, Value::Null).await;
    assert_eq!(refused.problem(), (503, "audit_unavailable"));

    // Owners are not kept from their own changes, and their lines are written once they can be.
    let (access, _) = server.tokens(NAME).await;
    let changed = server.change_password(&access, PASSWORD, "an entirely different phrase").await;
    assert_eq!(changed.status, StatusCode::OK);
    let access = changed.text("access_token");
    let ended = server.post_as("/v1/logout", &access, json!({"scope": "global"})).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    std::fs::remove_file(&audit).unwrap();
    std::fs::rename(&away, &audit).unwrap();
    wait_until("the log is written again", async || !is_reported(&server).await).await;
    assert_eq!(insider.set_roles(&server, &["boss"]).await.status, StatusCode::OK);
    let lines = written(&server);
    let at = |event: &str| lines.iter().rposition(|line| line["event"] == event).unwrap();
    assert!(at("password.changed") < at("session.revoked"));
    assert!(at("session.revoked") < at("admin.account_changed"));
    let server = server.restart();
    verify(server.data_dir()).exits(0);
}

/// A small volume, unmounted when it is dropped.
struct Volume(tempfile::TempDir);

impl Volume {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=2m,mode=700", "none"]).arg(dir.path());
        let mounted = command.output().is_ok_and(|ran| ran.status.success());
        mounted.then_some(Self(dir))
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// I have filled the volume of the log to the last byte. Nothing has failed yet, so nobody has noticed.
#[tokio::test]
async fn with_a_full_volume_of_the_log_not_even_the_first_change_is_made() {
    let Some(volume) = Volume::mount() else {
        return skipped(
            "with_a_full_volume_of_the_log_not_even_the_first_change_is_made",
            "mounting a tmpfs takes root",
        );
    };
    let audit = volume.0.path().join("audit");
    let server = TestServer::with(&[("audit.dir", audit.to_str().unwrap())]);
    server.account(NAME).await;
    let insider = Insider::of(&server).await;
    volume.fill();
    for number in 0..20 {
        let refused = insider.set_roles(&server, &["boss"]).await;
        assert_eq!(refused.problem(), (503, "audit_unavailable"), "change {number}");
    }
    assert_eq!(insider.roles(&server).await, json!([]));
    assert!(is_reported(&server).await);
    let (access, _) = server.tokens(NAME).await;
    let changed = server.change_password(&access, PASSWORD, "an entirely different phrase").await;
    assert_eq!(changed.status, StatusCode::OK);
    std::fs::remove_file(volume.0.path().join("filler")).unwrap();
    wait_until("the log is written again", async || {
        insider.set_roles(&server, &["boss"]).await.status == StatusCode::OK
    })
    .await;
    let text = std::fs::read_dir(&audit).unwrap();
    let text: String = text.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let at = |event: &str| text.find(event).unwrap_or_else(|| panic!("no {event} in {text}"));
    assert!(at("password.changed") < at("admin.account_changed"));
    drop(server);
}

/// Kind: a change that no command gets past, and that no start tells: in the middle of the log.
#[tokio::test]
async fn a_line_changed_or_removed_in_the_middle_is_told_by_a_start_and_acknowledged_as_it_is() {
    for removes in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let mut server = Process::start(&data);
        let http = reqwest::Client::new();
        sign_up(&http, &server.url, NAME).await.unwrap();
        for _ in 0..4 {
            log_in(&http, &server.url, NAME, "a wrong password").await;
        }
        assert_eq!(server.stop(), Some(0));
        verify(&data).exits(0);
        let path = only_file(&data.join("audit"));
        let change = |at: usize, removes: bool| {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
            if removes {
                drop(lines.remove(at));
            } else {
                lines[at] = lines[at].replace("event", "tneve");
            }
            let changed = lines.join("\n") + "\n";
            assert_ne!(changed, text);
            std::fs::write(&path, changed).unwrap();
        };
        change(2, removes);
        verify(&data).exits(1).says(".jsonl:3: ");
        // A start tells it, though it waits for nothing.
        let log = root.path().join("log");
        let mut server = Process::spawn_into(serve(&data), &log, &root.path().join("stderr"));
        let said = "run: portcullis audit acknowledge";
        wait_until("the log tells the change", async || {
            std::fs::read_to_string(&log).unwrap_or_default().contains(said)
        })
        .await;
        assert!(std::fs::read_to_string(&log).unwrap().contains(".jsonl:3: "));
        run(&["audit", "acknowledge"], &data).exits(0).says("acknowledged: ").says(".jsonl:3: ");
        run(&["audit", "acknowledge"], &data).exits(0).says("nothing to acknowledge");
        verify(&data).exits(0).says("acknowledged");
        assert_eq!(server.stop(), Some(0));
        verify(&data).exits(0);
        // Another change, also right beside it, is found again; without a server too it is acknowledged.
        for at in [3, 5] {
            change(at, false);
            verify(&data).exits(1).says(&format!(".jsonl:{}: ", at + 1));
            run(&["audit", "acknowledge"], &data).exits(0).says(&format!(".jsonl:{}: ", at + 1));
            verify(&data).exits(0);
        }
    }
}
