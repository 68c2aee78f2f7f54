//! kill -9 of the real binary in the middle of traffic: every acknowledged fact holds in the next process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// Unless `PORTCULLIS_KILL_CYCLES` says how many.
const CYCLES: u64 = 20;
const CLIENTS: usize = 8;
pub const PASSWORD: &str = "correct horse battery staple";

/// A running server and where it answers.
pub struct Process {
    pub child: Child,
    pub url: String,
}

impl Process {
    pub fn start(dir: &std::path::Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["serve", "--data-dir"]).arg(dir);
        Self::spawn(command)
    }

    /// Starts what serves in the end, with cheap passwords and no limit for this machine.
    pub fn spawn(command: Command) -> Self {
        Self::spawn_with(command, Stdio::inherit())
    }

    pub fn spawn_with(mut command: Command, stderr: Stdio) -> Self {
        let settings = [
            ("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0"),
            ("PORTCULLIS__PASSWORD__MEMORY_KIB", "64"),
            ("PORTCULLIS__PASSWORD__PASSES", "1"),
            ("PORTCULLIS__SIGNUP__VERIFY_EMAIL", "off"),
            ("PORTCULLIS__THROTTLE__EXEMPT_NETWORKS", "127.0.0.0/8"),
            ("PORTCULLIS__THROTTLE__CELLS", "1000"),
            // A token whose answer was lost is presented again in the next cycle, however slow the machine.
            ("PORTCULLIS__REFRESH__GRACE_SECS", "300"),
            // A lock must not run out before its name is asked again, however slow the machine.
            ("PORTCULLIS__LOCKOUT__FIRST_LOCK_SECS", "3600"),
            ("PORTCULLIS__JOURNAL__SEGMENT_BYTES", "4194304"),
            ("PORTCULLIS__JOURNAL__SNAPSHOT_BYTES", "1048576"),
            ("RUST_LOG", "error"),
        ];
        for (name, value) in settings {
            if command.get_envs().all(|(set, _)| set != name) {
                command.env(name, value);
            }
        }
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let ready = stdout
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.trim().strip_prefix("ready on ").map(ToOwned::to_owned));
        Self { url: format!("http://{}", ready.expect("the server did not start")), child }
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A test that fails leaves no server behind.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client was told.
#[derive(Clone, Debug)]
struct Told {
    email: String,
    refresh: String,
    ended: bool,
    locked: bool,
}

pub async fn post(http: &reqwest::Client, url: &str, path: &str, body: Value) -> Option<(u16, Value)> {
    let response = http.post(format!("{url}{path}")).json(&body).send().await.ok()?;
    let status = response.status().as_u16();
    let bytes = response.bytes().await.ok()?;
    Some((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
}

/// Opens accounts, rotates their tokens, logs some out and locks some, until the server is gone.
async fn client(
    http: reqwest::Client,
    url: String,
    cycle: u64,
    number: usize,
    over: Arc<AtomicBool>,
) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        count += 1;
        let email = format!("user{cycle}.{number}.{count}@test.org");
        let body = json!({"email": email, "password": PASSWORD});
        let Some((status, opened)) = post(&http, &url, "/v1/signup", body).await else { break };
        assert_eq!(status, 201, "{opened}");
        let refresh = opened["refresh_token"].as_str().unwrap().to_owned();
        told.push(Told { email: email.clone(), refresh, ended: false, locked: false });
        let last = told.len() - 1;
        for _ in 0..3 {
            let body = json!({"refresh_token": told[last].refresh});
            let Some((status, next)) = post(&http, &url, "/v1/refresh", body).await else { return told };
            assert_eq!(status, 200, "{next}");
            next["refresh_token"].as_str().unwrap().clone_into(&mut told[last].refresh);
        }
        if count % 3 == 0 {
            let body = json!({"refresh_token": told[last].refresh});
            match post(&http, &url, "/v1/logout", body).await {
                Some((status, _)) => assert_eq!(status, 204),
                // Unknown whether it happened: no longer a witness of anything.
                None => {
                    told.pop();
                    return told;
                }
            }
            told[last].ended = true;
        }
        if count % 4 == 0 {
            for guess in 0..6 {
                let body = json!({"email": email, "password": format!("guess {guess}")});
                let Some((status, _)) = post(&http, &url, "/v1/login", body).await else { return told };
                told[last].locked = status == 429;
            }
            assert!(told[last].locked);
        }
    }
    told
}

#[tokio::test(flavor = "current_thread")]
async fn kill_9_in_the_middle_of_traffic_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut known: Vec<Told> = Vec::new();
    // One for all: making one reads certificates, which takes longer than a cycle.
    let http = reqwest::Client::new();
    let cycles =
        std::env::var("PORTCULLIS_KILL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(CYCLES);
    let mut checked = 0;
    for cycle in 0..cycles {
        let process = Process::start(dir.path());
        let over = Arc::new(AtomicBool::new(false));
        // What earlier processes acknowledged: the newest of it first, since a lock lasts a minute only.
        for told in known.iter_mut().rev().take(120) {
            checked += 1;
            let body = json!({"refresh_token": told.refresh});
            let (status, next) = post(&http, &process.url, "/v1/refresh", body).await.unwrap();
            if told.ended {
                assert_eq!((status, &next["code"]), (401, &json!("session_expired")), "{told:?}");
            } else {
                assert_eq!(status, 200, "cycle {cycle}: {told:?} {next}");
                next["refresh_token"].as_str().unwrap().clone_into(&mut told.refresh);
            }
            if told.locked {
                let body = json!({"email": told.email, "password": PASSWORD});
                let (status, body) = post(&http, &process.url, "/v1/login", body).await.unwrap();
                assert_eq!(status, 429, "cycle {cycle}: {told:?} {body}");
                told.locked = false;
            }
        }
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(client(http.clone(), process.url.clone(), cycle, number, Arc::clone(&over)));
        }
        tokio::time::sleep(Duration::from_millis(60 + cycle * 37 % 250)).await;
        process.kill();
        over.store(true, Ordering::Relaxed);
        known.extend(clients.join_all().await.into_iter().flatten());
    }
    assert!(known.len() > 100, "too little traffic: {}", known.len());
    // Recovery and a reader of its own agree on what there is.
    let verify = ["data", "verify", "--data-dir", dir.path().to_str().unwrap()];
    let verified = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(verify).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && said.contains("a second path from "), "{said} {verified:?}");
    assert!(!dir.path().join("quarantine/disproved.snap").exists());
    let process = Process::start(dir.path());
    let http = reqwest::Client::new();
    for told in known.iter().rev().take(5000) {
        let body = json!({"email": told.email, "password": PASSWORD});
        let (status, body) = post(&http, &process.url, "/v1/login", body).await.unwrap();
        assert!(status == 200 || status == 429, "{told:?} {body}");
    }
    eprintln!("{cycles} cycles, {} accounts told of, {checked} checked again, 0 lost", known.len());
    process.kill();
}

#[tokio::test]
async fn a_reset_that_was_consumed_stays_consumed_over_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let mut password = String::from(PASSWORD);
    let process = Process::start(dir.path());
    let body = json!({"email": "ada@test.org", "password": password});
    assert_eq!(post(&http, &process.url, "/v1/signup", body).await.unwrap().0, 201);
    process.kill();
    for cycle in 0..3 {
        let process = Process::start(dir.path());
        let forgot =
            post(&http, &process.url, "/v1/password/forgot", json!({"email": "ada@test.org"})).await.unwrap();
        assert_eq!(forgot.0, 202);
        // Acknowledged, so the mail leaves, if need be from the next process.
        process.kill();
        let process = Process::start(dir.path());
        let token = newest_token(&dir.path().join("outbox")).await;
        let next = format!("an entirely different phrase {cycle}");
        let reset = json!({"token": token, "new_password": next});
        assert_eq!(post(&http, &process.url, "/v1/password/reset", reset.clone()).await.unwrap().0, 204);
        process.kill();
        let process = Process::start(dir.path());
        assert_eq!(post(&http, &process.url, "/v1/password/reset", reset).await.unwrap().0, 400);
        for (typed, status) in [(&password, 401), (&next, 200)] {
            let body = json!({"email": "ada@test.org", "password": typed});
            assert_eq!(post(&http, &process.url, "/v1/login", body).await.unwrap().0, status);
        }
        process.kill();
        for mail in std::fs::read_dir(dir.path().join("outbox")).unwrap() {
            std::fs::remove_file(mail.unwrap().path()).unwrap();
        }
        password = next;
    }
}

#[tokio::test]
async fn a_network_that_was_refused_stays_refused_over_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["serve", "--data-dir"]).arg(dir.path());
        command.env("PORTCULLIS__THROTTLE__EXEMPT_NETWORKS", "192.0.2.0/24");
        command
            .env("PORTCULLIS__THROTTLE__LOGIN__BURST", "10")
            .env("PORTCULLIS__THROTTLE__LOGIN__PER_MINUTE", "1");
        command
            .env("PORTCULLIS__THROTTLE__SIGNUP__BURST", "9999")
            .env("PORTCULLIS__THROTTLE__SIGNUP__PER_MINUTE", "9999");
        command
            .env("PORTCULLIS__THROTTLE__FORGOT__BURST", "6")
            .env("PORTCULLIS__THROTTLE__FORGOT__PER_MINUTE", "1");
        Process::spawn(command)
    };
    let guess = async |process: &Process| {
        let body = json!({"email": "ada@test.org", "password": "a leaked password"});
        post(&http, &process.url, "/v1/login", body).await.unwrap().0
    };
    let process = start();
    while guess(&process).await != 429 {}
    // With each snapshot the limiter is saved as well.
    let file = dir.path().join("throttle.bin");
    for number in 0.. {
        if file.exists() {
            break;
        }
        let body = json!({"email": format!("user{number}@test.org"), "password": PASSWORD});
        assert_eq!(post(&http, &process.url, "/v1/signup", body).await.unwrap().0, 201);
        assert!(number < 20_000, "the limiter is not saved");
    }
    process.kill();
    let process = start();
    assert_eq!(guess(&process).await, 429);
    // What came after the file was saved is not known, so what it does not name begins half spent.
    let body = json!({"email": "grace@test.org"});
    let mut passed = 0;
    while post(&http, &process.url, "/v1/password/forgot", body.clone()).await.unwrap().0 == 202 {
        passed += 1;
    }
    assert_eq!(passed, 3);
    process.kill();
}

pub async fn newest_token(outbox: &std::path::Path) -> String {
    for _ in 0..200 {
        for mail in std::fs::read_dir(outbox).unwrap() {
            let text = std::fs::read_to_string(mail.unwrap().path()).unwrap_or_default();
            if let Some(at) = text.find("/reset#token=") {
                let token: String = text[at + 13..].chars().take_while(|c| !c.is_whitespace()).collect();
                return token;
            }
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no mail with a token in {}", outbox.display());
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_turned_away_and_the_first_unharmed() {
    let dir = tempfile::tempdir().unwrap();
    let first = Process::start(dir.path());
    let second = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["serve", "--data-dir"])
        .arg(dir.path())
        .env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another process owns this directory"), "{said}");
    let health = reqwest::get(format!("{}/readyz", first.url)).await.unwrap();
    assert_eq!(health.status().as_u16(), 200);
    first.kill();
}

#[test]
fn a_damaged_directory_and_a_bad_configuration_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    Process::start(dir.path()).kill();
    let segment = std::fs::read_dir(dir.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(args)
            .env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0")
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let path = dir.path().to_str().unwrap();
    let (code, said) = run(&["serve", "--data-dir", path]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(".log at byte 4096: corrupt") && said.contains("data inspect"), "{said}");
    assert_eq!(run(&["data", "verify", "--data-dir", path]).0, 1);
    let file = dir.path().join("wrong.toml");
    std::fs::write(&file, "[http]\nlisen = 1\n[lockout]\nfailures = 0\n").unwrap();
    let (code, said) = run(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(
        said.contains(":2: unknown key `http.lisen`; did you mean `http.listen`?") && said.contains(":4:"),
        "{said}"
    );
}

/// Each life begins a segment. That nothing is written in it must not let them pile up.
#[tokio::test]
async fn lives_that_write_nothing_do_not_fill_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let segments = || {
        let names = std::fs::read_dir(data.join("journal")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".log")).count()
    };
    for _ in 0..9 {
        Process::start(&data).kill();
    }
    // Snapshots are due by now. Each of these lives may take one; the one behind it makes room, unless the kill comes before.
    for _ in 0..12 {
        let process = Process::start(&data);
        for _ in 0..250 {
            if segments() < 8 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        process.kill();
        if segments() < 8 {
            break;
        }
    }
    assert!(segments() < 8, "{} segments", segments());
}
