//! A resource server that has lost the feed of revocations: I use a copied token after its owner has logged out, at a
//! service whose own credential has ended, or that never had one that works.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis::resource_server::ANSWER_BYTES_MAX;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::process::{BINARY, Process, post, sign_up, skipped};
use crate::support::resource_server::{hello, resource_server, until};

const NAME: &str = "ada@test.org";

/// Asks for two seconds, and returns every status that came.
async fn answers(server: &TestServer, address: SocketAddr, token: &str) -> Vec<StatusCode> {
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(hello(server, address, token).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    seen.dedup();
    seen
}

#[tokio::test]
async fn a_service_that_cannot_read_the_feed_believes_nobody_from_the_start() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    // It gets the keys, which are public, and 401 or 403 for the feed.
    for credential in ["", "pck_wrong", access.as_str()] {
        let address = resource_server(server.url.clone(), credential.to_owned(), server.clock.clone());
        let seen = answers(&server, address, &access).await;
        assert!(!seen.contains(&StatusCode::OK), "{credential}: {seen:?}");
    }
}

#[tokio::test]
async fn a_service_whose_credential_has_ended_believes_nobody_after_a_minute() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (key, id) = server.api_key(&["revocations"], None).await;
    let address = resource_server(server.url.clone(), key, server.clock.clone());
    let (stolen, refresh) = server.tokens(NAME).await;
    until(&server, address, &stolen, StatusCode::OK).await;
    server.operated(json!({"operation": "api_key_delete", "id": id})).await;
    // A long poll that was open when the key was deleted still brings its page.
    server.post("/v1/logout", json!({"refresh_token": refresh})).await;
    let (other, _) = server.tokens(NAME).await;
    server.clock.advance(Duration::from_secs(61));
    tokio::time::sleep(Duration::from_secs(2)).await;
    for token in [&stolen, &other] {
        let seen = answers(&server, address, token).await;
        assert!(!seen.contains(&StatusCode::OK), "{seen:?}");
    }
}

/// Runs the program of the documentation as it is printed there, against the real binary.
#[tokio::test]
async fn the_printed_sample_refuses_ended_sessions_and_a_silent_issuer() {
    let modules = Command::new("python3").args(["-c", "import jwt, requests, cryptography"]).output();
    if !modules.is_ok_and(|output| output.status.success()) {
        skipped(
            "the_printed_sample_refuses_ended_sessions_and_a_silent_issuer",
            "python3 has no pyjwt or requests",
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut process = Process::start(&data);
    let http = reqwest::Client::new();
    assert_eq!(sign_up(&http, &process.url, NAME).await.unwrap().0, 201);
    let create = ["api-key", "create", "shop", "--scopes", "revocations", "--json", "--data-dir"];
    let made = Command::new(BINARY).args(create).arg(&data).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    std::fs::write(dir.path().join("service.key"), made["key"].as_str().unwrap()).unwrap();
    // The sample becomes a program that reads tokens line by line and prints its verdict on each.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/resource_server/README.md"))
        .unwrap();
    let sample = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let sample = sample.replace("https://login.example.org", &process.url);
    let sample = sample.replace("MAX_SILENCE = 60", "MAX_SILENCE = 20");
    let asks = "\nfor line in sys.stdin:\n    try:\n        print(\"ok\", check(line.strip())[\"sub\"], flush=True)\n    \
                except (jwt.PyJWTError, requests.RequestException) as error:\n        print(\"refused\", error, flush=True)\n";
    let script = dir.path().join("service.py");
    std::fs::write(&script, sample + asks).unwrap();
    let mut python = Command::new("python3");
    python
        .arg(&script)
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = python.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |token: &str| {
        writeln!(stdin, "{token}").unwrap();
        lines.next().unwrap().unwrap()
    };
    let login = json!({"email": NAME, "password": crate::support::PASSWORD});
    let first = post(&http, &process.url, "/v1/login", login.clone()).await.unwrap().1;
    let second = post(&http, &process.url, "/v1/login", login).await.unwrap().1;
    let (stolen, other) = (first["access_token"].as_str().unwrap(), second["access_token"].as_str().unwrap());
    let mut until = async |token: &str, begins: &str, tries: usize| {
        let mut said = String::new();
        for _ in 0..tries {
            said = ask(token);
            if said.starts_with(begins) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never {begins}: {said}");
    };
    until(stolen, "ok", 100).await;
    let out = json!({"refresh_token": first["refresh_token"]});
    assert_eq!(post(&http, &process.url, "/v1/logout", out).await.unwrap().0, 204);
    until(stolen, "refused its session was ended", 30).await;
    until(other, "ok", 1).await;
    // The key of the service is deleted. It says so on standard error, and believes nobody soon after.
    let delete = ["api-key", "delete", made["id"].as_str().unwrap(), "--data-dir"];
    assert!(Command::new(BINARY).args(delete).arg(&data).output().unwrap().status.success());
    until(other, "refused nothing was heard", 600).await;
    process.stop();
    child.kill().unwrap();
    child.wait().unwrap();
}

/// I sit between a service and its issuer, and answer with what has no end: the memory of the service is not filled.
#[tokio::test]
async fn an_answer_of_the_issuer_without_an_end_is_cut_off() {
    const MANY: usize = 256 << 20;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (ended, taken) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            request.take_while(|line| !line.is_empty()).for_each(drop);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n");
            let mut count = 0;
            while count < MANY && stream.write_all(&[b' '; 16_384]).is_ok() {
                count += 16_384;
            }
            let _ = ended.send(count);
        }
    });
    let clock = portcullis::system::clock::Clock::system();
    resource_server(url, String::from("pck_any"), clock);
    let count = tokio::task::spawn_blocking(move || taken.recv_timeout(Duration::from_mins(1)));
    let count = count.await.unwrap().unwrap();
    assert!((ANSWER_BYTES_MAX..MANY / 2).contains(&count), "{count} bytes");
}
