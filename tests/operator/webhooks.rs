//! Programs that are called with events: in order, signed, until they have taken them, and nowhere that is not permitted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use portcullis::server::outbound::signature::signature;
use serde_json::{Value, json};

use crate::support::{TestServer, wait_until};

const SECRET: &str = "a secret for the webhook";

/// A call: the header that signs it, and its body.
struct Call {
    signature: String,
    body: String,
}

/// Listens as a program that answers one call with each of `statuses` in turn. Returns its URL and the calls.
fn receiver(statuses: &'static [&'static str]) -> (String, mpsc::Receiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let (calls, received) = mpsc::channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut signature, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    if line.trim_end().is_empty() {
                        break;
                    }
                    continue;
                };
                match name.to_lowercase().as_str() {
                    "portcullis-signature" => value.clone_into(&mut signature),
                    "content-length" => length = value.parse().unwrap(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let head = "location: /elsewhere\r\ncontent-length: 0\r\nconnection: close";
            write!(stream, "HTTP/1.1 {status}\r\n{head}\r\n\r\n").unwrap();
            let body = String::from_utf8(body).unwrap();
            let _ = calls.send(Call { signature, body });
        }
    });
    (url, received)
}

/// Starts a server that calls `url` with events of accounts.
fn calling(dir: &Path, url: &str, allow: &str) -> TestServer {
    let secret = dir.join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let toml = format!(
        "[outbound]\nallow = [{allow}]\n[[webhook]]\nurl = \"{url}\"\nsecret_file = \"{}\"\nevents = [\"account.*\"]\n",
        secret.display()
    );
    TestServer::with(&[("toml", &toml)])
}

async fn next(calls: mpsc::Receiver<Call>) -> (Call, mpsc::Receiver<Call>) {
    let waiting = tokio::task::spawn_blocking(move || {
        let call = calls.recv_timeout(Duration::from_secs(40)).unwrap();
        (call, calls)
    });
    waiting.await.unwrap()
}

async fn status(server: &TestServer) -> Value {
    server.operated(json!({"operation": "webhook_list"})).await["items"][0].clone()
}

#[tokio::test]
async fn events_are_signed_and_sent_again_until_they_are_taken_and_a_redirect_is_not_followed() {
    let (url, calls) = receiver(&["500 Oops", "302 Found", "204 No Content", "200 OK"]);
    let dir = tempfile::tempdir().unwrap();
    let server = calling(dir.path(), &url, "\"127.0.0.1\"");
    server.account("ada@test.org").await;
    let (first, calls) = next(calls).await;
    let (time, given) = first.signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert_eq!(given, signature(SECRET.as_bytes(), time.parse().unwrap(), first.body.as_bytes()));
    let (second, calls) = next(calls).await;
    let (third, calls) = next(calls).await;
    let body = |call: &Call| serde_json::from_str::<Value>(&call.body).unwrap();
    let kinds = |call: &Call| {
        let body = body(call);
        body["events"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect::<Vec<_>>()
    };
    for again in [&second, &third] {
        assert_eq!(body(again)["events"][0], body(&first)["events"][0]);
    }
    assert_eq!(kinds(&third), ["account.created", "account.verified"]);
    assert!(body(&third)["next"].is_string() && body(&third).get("gap").is_none());
    server.operated(json!({"operation": "user_disable", "user": "ada@test.org"})).await;
    let (fourth, _) = next(calls).await;
    assert_eq!(kinds(&fourth), ["account.disabled"], "what was taken is not sent again");
    wait_until("it is active again", async || status(&server).await["status"] == "active").await;
    assert_eq!(status(&server).await["failed"], 2);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_called_again_when_an_operator_says_so_and_goes_on_where_it_was() {
    let (url, calls) = receiver(&["410 Gone", "204 No Content"]);
    let dir = tempfile::tempdir().unwrap();
    let server = calling(dir.path(), &url, "\"127.0.0.1\"");
    server.account("ada@test.org").await;
    let (refused, calls) = next(calls).await;
    wait_until("it is disabled", async || status(&server).await["status"] == "disabled").await;
    let findings = server.operated(json!({"operation": "findings"})).await;
    assert!(findings.to_string().contains("is not called any more: it answered 410"), "{findings}");
    let tail = json!({"operation": "audit_tail", "limit": 5, "event": "webhook.disabled", "account": null});
    let lines = server.operated(tail).await;
    assert_eq!(lines["items"].as_array().unwrap().len(), 1, "{lines}");
    server.account("bob@test.org").await;
    // It stays so over a restart.
    let server = server.restart();
    wait_until("it is still disabled", async || status(&server).await["status"] == "disabled").await;
    let resumed = server.operated(json!({"operation": "webhook_resume"})).await;
    assert_eq!(resumed["resumed"].as_array().unwrap().len(), 1, "{resumed}");
    let (taken, _) = next(calls).await;
    let body = |call: &Call| serde_json::from_str::<Value>(&call.body).unwrap();
    assert_eq!(body(&taken)["events"][0], body(&refused)["events"][0]);
    assert!(taken.body.contains("bob@test.org"), "{}", taken.body);
    let nothing = server.operated(json!({"operation": "webhook_resume"})).await;
    assert_eq!(nothing["resumed"], json!([]));
}

/// The file of a webhook's position, below the data directory.
fn position(data: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(data.join("events")).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("webhook-")).unwrap()
}

#[tokio::test]
async fn a_position_that_cannot_be_read_is_waited_for_and_a_damaged_one_repeats_what_is_kept() {
    let (url, calls) = receiver(&["204 No Content", "204 No Content", "204 No Content"]);
    let dir = tempfile::tempdir().unwrap();
    let server = calling(dir.path(), &url, "\"127.0.0.1\"");
    server.account("ada@test.org").await;
    let (_, calls) = next(calls).await;
    let aside = dir.path().join("position");
    let server = server.restart_after(|data| {
        let file = position(data);
        std::fs::rename(&file, &aside).unwrap();
        // A link to itself: opening it is an error other than that there is none.
        std::os::unix::fs::symlink(&file, &file).unwrap();
    });
    server.operated(json!({"operation": "user_disable", "user": "ada@test.org"})).await;
    std::fs::rename(&aside, position(server.data_dir())).unwrap();
    let (second, calls) = next(calls).await;
    assert!(second.body.contains("account.disabled"), "{}", second.body);
    assert!(!second.body.contains("account.created"), "{}", second.body);
    wait_until("the event is taken", async || status(&server).await["waiting_since"].is_null()).await;
    let _server = server.restart_after(|data| std::fs::write(position(data), "{\"cursor\":").unwrap());
    let (third, _) = next(calls).await;
    for kind in ["account.created", "account.verified", "account.disabled"] {
        assert!(third.body.contains(kind), "{}", third.body);
    }
}

/// The name of the receiver leads to this machine, which nobody has listed.
#[tokio::test]
async fn a_receiver_inside_is_not_reached_by_a_name_that_leads_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = calling(dir.path(), &format!("https://localhost:{port}/x"), "");
    server.account("ada@test.org").await;
    wait_until("it fails", async || status(&server).await["status"] == "failing").await;
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(status(&server).await["why"].is_string());
}

/// It takes calls and never answers.
#[tokio::test]
async fn a_slow_receiver_slows_nobody_and_holds_up_no_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let (taken, has_taken) = mpsc::channel();
    let is_let_go = Arc::new(AtomicBool::new(false));
    let let_go = Arc::clone(&is_let_go);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().take(3) {
            held.push(stream);
            let _ = taken.send(());
        }
        std::thread::sleep(Duration::from_mins(1));
        let_go.store(true, Ordering::Relaxed);
        drop(held);
    });
    let dir = tempfile::tempdir().unwrap();
    let server = calling(dir.path(), &url, "\"127.0.0.1\"");
    server.account("ada@test.org").await;
    tokio::task::spawn_blocking(move || has_taken.recv_timeout(Duration::from_secs(20)).unwrap())
        .await
        .unwrap();
    for _ in 0..20 {
        server.tokens("ada@test.org").await;
    }
    drop(server);
    assert!(!is_let_go.load(Ordering::Relaxed), "somebody has waited for the receiver");
}
