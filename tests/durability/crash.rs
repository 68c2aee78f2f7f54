//! `kill -9` of the real binary in the middle of traffic: every fact that was acknowledged holds in the next process.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::PASSWORD;
use crate::support::process::{BINARY, Process, Ran, log_in, mailed_token, post, run, serve, sign_up};

/// Kills in one run of the test, unless `PORTCULLIS_KILL_CYCLES` says otherwise.
const CYCLES: u64 = 20;
const CLIENTS: usize = 8;

/// Returns how often a test kills: `default`, unless `PORTCULLIS_KILL_CYCLES` says otherwise.
pub(super) fn cycles(default: u64) -> u64 {
    std::env::var("PORTCULLIS_KILL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a client knows of its account from the answers it has received.
#[derive(Clone, Debug)]
struct Known {
    email: String,
    refresh: String,
    is_logged_out: bool,
    is_locked: bool,
}

/// Opens accounts, rotates their tokens, logs some out and locks some, until the server is gone. Returns what was
/// acknowledged.
async fn client(
    http: reqwest::Client,
    url: String,
    cycle: u64,
    number: usize,
    over: Arc<AtomicBool>,
) -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        count += 1;
        let email = format!("user{cycle}.{number}.{count}@test.org");
        let Some((status, opened)) = sign_up(&http, &url, &email).await else { break };
        assert_eq!(status, 201, "{opened}");
        let refresh = opened["refresh_token"].as_str().unwrap().to_owned();
        known.push(Known { email: email.clone(), refresh, is_logged_out: false, is_locked: false });
        let last = known.len() - 1;
        for _ in 0..3 {
            let body = json!({"refresh_token": known[last].refresh});
            let Some((status, next)) = post(&http, &url, "/v1/refresh", body).await else { return known };
            assert_eq!(status, 200, "{next}");
            next["refresh_token"].as_str().unwrap().clone_into(&mut known[last].refresh);
        }
        if count % 3 == 0 {
            let body = json!({"refresh_token": known[last].refresh});
            match post(&http, &url, "/v1/logout", body).await {
                Some((status, _)) => assert_eq!(status, 204),
                // It is unknown whether the log-out happened, so this account proves nothing any more.
                None => {
                    known.pop();
                    return known;
                }
            }
            known[last].is_logged_out = true;
        }
        if count % 4 == 0 {
            for guess in 0..6 {
                let body = json!({"email": email, "password": format!("guess {guess}")});
                let Some((status, _)) = post(&http, &url, "/v1/login", body).await else { return known };
                known[last].is_locked = status == 429;
            }
            assert!(known[last].is_locked);
        }
    }
    known
}

/// Asks a fresh process whether it still knows what an earlier one has acknowledged about an account.
async fn check(http: &reqwest::Client, url: &str, account: &mut Known, cycle: u64) {
    let body = json!({"refresh_token": account.refresh});
    let (status, next) = post(http, url, "/v1/refresh", body).await.unwrap();
    if account.is_logged_out {
        assert_eq!(status, 401, "{account:?}");
        assert_eq!(next["code"], json!("session_expired"), "{account:?}");
    } else {
        assert_eq!(status, 200, "cycle {cycle}: {account:?} {next}");
        next["refresh_token"].as_str().unwrap().clone_into(&mut account.refresh);
    }
    if account.is_locked {
        let body = json!({"email": account.email, "password": PASSWORD});
        let (status, body) = post(http, url, "/v1/login", body).await.unwrap();
        assert_eq!(status, 429, "cycle {cycle}: {account:?} {body}");
        account.is_locked = false;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn kill_9_in_the_middle_of_traffic_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut known: Vec<Known> = Vec::new();
    // One client for all cycles: making one reads certificates, which takes longer than a cycle.
    let http = reqwest::Client::new();
    let cycles = cycles(CYCLES);
    let mut checked = 0;
    for cycle in 0..cycles {
        let process = Process::start(dir.path());
        let over = Arc::new(AtomicBool::new(false));
        // The newest accounts first: of these it is known best what was acknowledged.
        for account in known.iter_mut().rev().take(120) {
            checked += 1;
            check(&http, &process.url, account, cycle).await;
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

    // Recovery and an independent reader of the directory agree on its content.
    run(&["data", "verify"], dir.path()).exits(0).says("a second path from ");
    assert!(!dir.path().join("quarantine/disproved.snap").exists());

    // Every account is there: it logs in, or it is locked.
    let process = Process::start(dir.path());
    let http = reqwest::Client::new();
    for account in known.iter().rev().take(5000) {
        let status = log_in(&http, &process.url, &account.email, PASSWORD).await;
        assert!([200, 429].contains(&status), "{account:?} {status}");
    }
    eprintln!("{cycles} cycles, {} accounts acknowledged, {checked} checked again, 0 lost", known.len());
    process.kill();
}

#[tokio::test]
async fn a_reset_that_was_consumed_stays_consumed_over_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = dir.path().join("outbox");
    let http = reqwest::Client::new();
    let mut password = String::from(PASSWORD);
    let process = Process::start(dir.path());
    assert_eq!(sign_up(&http, &process.url, "ada@test.org").await.unwrap().0, 201);
    process.kill();
    for cycle in 0..3 {
        let process = Process::start(dir.path());
        let forgot = post(&http, &process.url, "/v1/password/forgot", json!({"email": "ada@test.org"})).await;
        assert_eq!(forgot.unwrap().0, 202);
        // The request was acknowledged, so the mail leaves, if need be from the next process.
        process.kill();

        let process = Process::start(dir.path());
        let token = mailed_token(&outbox, "reset").await;
        let next = format!("an entirely different phrase {cycle}");
        let reset = json!({"token": token, "new_password": next});
        assert_eq!(post(&http, &process.url, "/v1/password/reset", reset.clone()).await.unwrap().0, 204);
        process.kill();

        let process = Process::start(dir.path());
        assert_eq!(post(&http, &process.url, "/v1/password/reset", reset).await.unwrap().0, 400);
        assert_eq!(log_in(&http, &process.url, "ada@test.org", &password).await, 401);
        assert_eq!(log_in(&http, &process.url, "ada@test.org", &next).await, 200);
        process.kill();

        for mail in std::fs::read_dir(&outbox).unwrap() {
            std::fs::remove_file(mail.unwrap().path()).unwrap();
        }
        password = next;
    }
}

/// Starts a server that limits log-ins and requests for a reset of this machine, but no sign-ups.
fn start_with_tight_limits(dir: &Path) -> Process {
    let mut command = serve(dir);
    command.envs([
        ("PORTCULLIS__THROTTLE__EXEMPT_NETWORKS", "192.0.2.0/24"),
        ("PORTCULLIS__THROTTLE__LOGIN__BURST", "10"),
        ("PORTCULLIS__THROTTLE__LOGIN__PER_MINUTE", "1"),
        ("PORTCULLIS__THROTTLE__SIGNUP__BURST", "9999"),
        ("PORTCULLIS__THROTTLE__SIGNUP__PER_MINUTE", "9999"),
        ("PORTCULLIS__THROTTLE__FORGOT__BURST", "6"),
        ("PORTCULLIS__THROTTLE__FORGOT__PER_MINUTE", "1"),
    ]);
    Process::spawn(command)
}

#[tokio::test]
async fn a_network_that_was_refused_stays_refused_over_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let guess =
        async |process: &Process| log_in(&http, &process.url, "ada@test.org", "a leaked password").await;
    let process = start_with_tight_limits(dir.path());
    while guess(&process).await != 429 {}
    // The limiter is saved with each snapshot, so sign up until one is taken.
    let file = dir.path().join("throttle.bin");
    for number in 0.. {
        if file.exists() {
            break;
        }
        let email = format!("user{number}@test.org");
        assert_eq!(sign_up(&http, &process.url, &email).await.unwrap().0, 201);
        assert!(number < 20_000, "the limiter is not saved");
    }
    process.kill();

    let process = start_with_tight_limits(dir.path());
    assert_eq!(guess(&process).await, 429);
    // The file does not know what was spent after it was saved, so a network that it does not name begins half spent.
    let body = json!({"email": "grace@test.org"});
    let mut passed = 0;
    while post(&http, &process.url, "/v1/password/forgot", body.clone()).await.unwrap().0 == 202 {
        passed += 1;
    }
    assert_eq!(passed, 3);
    process.kill();
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = Process::start(dir.path());
    Ran::of(&mut serve(dir.path())).exits(1).says("another process owns this directory");
    let health = reqwest::get(format!("{}/readyz", first.url)).await.unwrap();
    assert_eq!(health.status().as_u16(), 200);
    first.kill();
}

#[test]
fn a_damaged_directory_is_refused_with_file_byte_and_next_command() {
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
    run(&["serve"], dir.path()).exits(1).says(".log at byte 4096: corrupt").says("data inspect");
    run(&["data", "verify"], dir.path()).exits(1);
}

#[test]
fn a_bad_configuration_is_refused_with_every_line_and_the_nearest_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.toml");
    std::fs::write(&file, "[http]\nlisen = 1\n[lockout]\nfailures = 0\n").unwrap();
    let mut check = Command::new(BINARY);
    check.args(["config", "check", "--config"]).arg(&file);
    Ran::of(&mut check)
        .exits(2)
        .says(":2: unknown key `http.lisen`; did you mean `http.listen`?")
        .says(":4:");
}

/// Each start begins a segment. Starts that write nothing must not let segments pile up.
#[tokio::test]
async fn starts_that_write_nothing_do_not_fill_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let segments = || {
        let names = std::fs::read_dir(data.join("journal")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".log")).count()
    };
    for _ in 0..9 {
        Process::start(&data).kill();
    }
    // A snapshot is due by now. Each of these processes may take one; the second one deletes segments, unless the kill
    // comes first.
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
