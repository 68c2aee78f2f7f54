//! `kill -9` of the real binary in the middle of an import, while users log in: nothing is half, and the same import again
//! completes it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::PASSWORD;
use crate::support::process::{Process, log_in, run, sign_up};

const LINES: usize = 15_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_is_completed_by_the_same_import_again() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let http = reqwest::Client::new();
    let email = "owner@test.org";
    assert!(sign_up(&http, &process.url, email).await.is_some());
    let url = process.url.clone();
    let logging_in = tokio::spawn(async move {
        let mut logged_in = 0;
        // A server that was killed answers nobody.
        while http.get(format!("{url}/healthz")).send().await.is_ok() {
            if log_in(&http, &url, email, PASSWORD).await == 200 {
                logged_in += 1;
            }
            if logged_in >= 3 {
                return logged_in;
            }
        }
        logged_in
    });
    let hash = "$2b$04$S9ilWY4dIWqV0CrXWNqO3OZatHQ/vPVHWbFsKubrrXIBorXpCkxM6";
    let line = |n: usize| {
        json!({"id": n, "email": format!("user{n}@test.org"), "password_hash": hash, "app_metadata": {"n": n}}).to_string()
    };
    let file = dir.path().join("users.ndjson");
    std::fs::write(&file, (0..LINES).map(|n| line(n) + "\n").collect::<String>()).unwrap();
    let mut stream = UnixStream::connect(dir.path().join("admin.sock")).unwrap();
    writeln!(stream, "{}", json!({"operation": "user_import"})).unwrap();
    let mut read = BufReader::new(stream.try_clone().unwrap());
    let sending = std::thread::spawn({
        let file = file.clone();
        move || {
            let text = std::fs::read(file).unwrap();
            // The server is killed meanwhile.
            let _ = stream.write_all(&text);
        }
    });
    let mut progress = String::new();
    while !progress.contains("progress") {
        progress.clear();
        read.read_line(&mut progress).unwrap();
    }
    let acknowledged: Value = serde_json::from_str(&progress).unwrap();
    let acknowledged = acknowledged["progress"]["created"].as_u64().unwrap();
    assert!(acknowledged > 0);
    // The import waits for its turn among log-ins, and they for nothing.
    let logged_in = tokio::time::timeout(Duration::from_mins(1), logging_in).await.unwrap().unwrap();
    assert!(logged_in > 0);
    process.kill();
    sending.join().unwrap();

    let there = run(&["user", "export", "--hashes"], dir.path()).exits(0).text;
    let there: Vec<Value> = there.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let imported: Vec<&Value> = there.iter().filter(|account| account["email"] != email).collect();
    assert!(imported.len() as u64 >= acknowledged, "{} of {acknowledged}", imported.len());
    for account in &imported {
        let number = account["app_metadata"]["n"].as_u64().unwrap();
        assert_eq!(account["external_id"], number.to_string());
        assert_eq!(account["email"], format!("user{number}@test.org"));
        assert_eq!(account["password_hash"], hash);
    }
    let created = LINES - imported.len();
    let says = format!("{created} accounts created, {} there from before", imported.len());
    let says = if imported.len() == LINES { "0 accounts created" } else { says.as_str() };
    run(&["user", "import", file.to_str().unwrap()], dir.path()).exits(0).says(says);
    let all = run(&["user", "export"], dir.path()).exits(0).text;
    assert_eq!(all.lines().count(), LINES + 1);
}
