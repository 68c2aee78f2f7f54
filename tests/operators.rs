//! What operators are told: alerts by a signed webhook, and the checklist carried out.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestServer;

/// Answers each call with the next status, and passes on its signature and body.
fn sink(statuses: &'static [&'static str]) -> (String, std::sync::mpsc::Receiver<(String, String)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (calls, seen) = std::sync::mpsc::channel();
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
                    "x-portcullis-signature" => value.clone_into(&mut signature),
                    "content-length" => length = value.parse().unwrap(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            calls.send((signature, String::from_utf8(body).unwrap())).unwrap();
        }
    });
    (url, seen)
}

#[tokio::test]
async fn an_alert_reaches_the_webhook_signed_and_is_tried_again() {
    let (url, calls) = sink(&["500 Internal Server Error", "204 No Content"]);
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "a secret for the hook\n").unwrap();
    let server =
        TestServer::with(&[("alert.webhook", url.as_str()), ("alert.secret_file", secret.to_str().unwrap())]);
    let keys = server.operate(json!({"operation": "key_list"})).await;
    let kid = keys["ok"]["items"][0]["kid"].as_str().unwrap().to_owned();
    server.operate(json!({"operation": "key_retire", "kid": kid})).await;
    let clock = server.clock.clone();
    let seen = tokio::task::spawn_blocking(move || {
        let first = calls.recv_timeout(Duration::from_secs(20)).unwrap();
        clock.advance(Duration::from_secs(2));
        (first, calls.recv_timeout(Duration::from_secs(20)).unwrap())
    });
    let (first, second) = seen.await.unwrap();
    assert_eq!(first.1, second.1);
    for (signature, body) in [first, second] {
        let (time, shown) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let right = portcullis::server::background::alerts::signature(
            b"a secret for the hook",
            time.parse().unwrap(),
            &body,
        );
        assert_eq!(shown, right);
        let alert: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&alert["alert"], &alert["count"]), (&json!("key.retired"), &json!(1)));
    }
}

#[test]
fn the_checklist_says_why_and_how_to_mend_it_and_production_refuses_what_is_unsafe() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(args)
            .args(["--data-dir", dir.path().join("data").to_str().unwrap()])
            .env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, _) = run(&["doctor", "--json"]);
    assert_eq!(code, 0, "on loopback nothing is more than a warning: {said}");
    let items = serde_json::from_str::<Value>(&said).unwrap()["items"].as_array().unwrap().clone();
    assert!(items.len() >= 25, "{}", items.len());
    for item in &items {
        let filled = |field: &str| !item[field].as_str().unwrap().is_empty();
        assert!(filled("what") && (item["state"] == "pass" || (filled("why") && filled("fix"))), "{item}");
    }
    // Whoever only looked has made nothing that would keep a restore out.
    let (code, _, said) = run(&["audit", "verify"]);
    assert!(code == 1 && said.contains("keys"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let (code, _, said) = run(&["serve", "--production"]);
    assert_eq!(code, 2);
    for key in ["http.public_origin", "mail.transport", "mail.console", "mail.from"] {
        assert!(said.contains(key), "{said}");
    }
}

/// Where a directory is shared by two engines, mails go out twice and one ends the other.
#[test]
fn a_start_that_fails_late_leaves_nothing_running() {
    use portcullis::config::{Config, Reader};
    use portcullis::system::clock::Clock;
    use portcullis::system::fail_stop::FailStop;

    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_address = taken.local_addr().unwrap().to_string();
    let build = |more: &[(&str, &str)]| {
        let mut reader = Reader::new();
        let data_dir = dir.path().join("data").to_string_lossy().into_owned();
        let settings = [
            ("data_dir", data_dir.as_str()),
            ("http.listen", "127.0.0.1:0"),
            ("password.memory_kib", "64"),
            ("password.passes", "1"),
            ("throttle.cells", "10000"),
            ("journal.segment_bytes", "4194304"),
        ];
        for (key, value) in settings.iter().chain(more) {
            reader.plain(key, value, "test");
        }
        let config = Config::from_reader(reader).unwrap();
        actix_web::rt::System::new().block_on(async move {
            let fail_stop = FailStop::new(|why| panic!("{why}"));
            match portcullis::server::build(config, Clock::system(), false, None, &fail_stop) {
                Ok(server) => {
                    let clean = server.found().clean_stop;
                    server.stop().await;
                    Ok(clean)
                }
                Err(error) => Err(error.to_string()),
            }
        })
    };
    assert_eq!(build(&[]), Ok(false));
    let said = build(&[("admin.listen", &taken_address)]).unwrap_err();
    assert!(said.contains(&taken_address) && said.contains("for operators"), "{said}");
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(build(&[("audit.dir", file.to_str().unwrap())]).is_err());
    // In place of the socket a directory that is in use.
    let socket = dir.path().join("data/admin.sock");
    std::fs::create_dir_all(socket.join("sub")).unwrap();
    assert!(build(&[]).is_err());
    std::fs::remove_dir_all(&socket).unwrap();
    // The last of these had begun a life, and ended it in order.
    assert_eq!(build(&[]), Ok(true));
}
