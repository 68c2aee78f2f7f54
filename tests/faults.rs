//! Faults of the real disk under the real binary. Where the machine cannot make them, a test says so aloud and is skipped.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::crash::{PASSWORD, Process, post};

/// Past the harness, which hides what a passing test prints.
fn skipped(name: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}

async fn sign_up(http: &reqwest::Client, url: &str, email: &str) -> Option<(u16, Value)> {
    post(http, url, "/v1/signup", json!({"email": email, "password": PASSWORD})).await
}

/// Lets a call of the system fail from now on in a running server; `None` where that is not allowed.
fn inject(call: &str, pid: u32, log: &Path) -> Option<std::process::Child> {
    let mut child = Command::new("strace")
        .args(["-f", "-ttt", "-e", &format!("trace={call}"), "-e", &format!("inject={call}:error=EIO")])
        .arg("-o")
        .arg(log)
        .args(["-p", &pid.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    for _ in 0..100 {
        // Somebody in the server may have written of itself, and met the fault already.
        if std::fs::read_to_string(log).is_ok_and(|text| text.contains("EIO")) {
            return Some(child);
        }
        if child.try_wait().ok()?.is_some() {
            return None;
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let tracer = status.lines().find(|line| line.starts_with("TracerPid:"))?;
        if !tracer.ends_with("\t0") {
            // The other threads are attached to right after the first.
            std::thread::sleep(Duration::from_millis(300));
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    None
}

async fn a_fault_of(call: &str, write_mode: &str) {
    let name = format!("EIO from {call}, write mode {write_mode}");
    let root = tempfile::tempdir().unwrap();
    let (data, log) = (root.path().join("data"), root.path().join("strace"));
    let http = reqwest::Client::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["serve", "--data-dir"]).arg(&data).env("PORTCULLIS__JOURNAL__WRITE_MODE", write_mode);
    let mut process = Process::spawn(command);
    assert_eq!(sign_up(&http, &process.url, "ada@test.org").await.unwrap().0, 201);
    let Some(mut strace) = inject(call, process.child.id(), &log) else {
        return skipped(&name, "strace is missing or may not attach to a process");
    };
    // Nobody is told anything any more, but perhaps that the server is stopping.
    let answer = sign_up(&http, &process.url, "bob@test.org").await;
    assert!(
        answer.as_ref().is_none_or(|(status, _)| *status == 503),
        "an answer after the fault: {answer:?}"
    );
    assert_eq!(process.child.wait().unwrap().code(), Some(70));
    let _ = strace.wait();
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let at = |line: &str| line.split_whitespace().nth(1).and_then(|time| time.parse::<f64>().ok());
    let failed = text.lines().find(|line| line.contains("EIO")).and_then(at);
    let ended = text.lines().find(|line| line.contains("exited with 70")).and_then(at);
    if let (Some(failed), Some(ended)) = (failed, ended) {
        eprintln!("{name}: the process ended {:.1} ms after the fault", (ended - failed) * 1000.0);
    }
    let process = Process::start(&data);
    let body = json!({"email": "ada@test.org", "password": PASSWORD});
    assert_eq!(post(&http, &process.url, "/v1/login", body).await.unwrap().0, 200);
    process.kill();
}

#[tokio::test]
async fn a_failed_sync_ends_the_process_without_another_answer() {
    a_fault_of("fdatasync", "fdatasync").await;
}

#[tokio::test]
async fn a_failed_write_ends_the_process_without_another_answer() {
    for write_mode in ["auto", "dsync", "fdatasync"] {
        a_fault_of("pwrite64", write_mode).await;
    }
}

#[tokio::test]
async fn a_fault_whose_last_line_nobody_reads_ends_the_process_all_the_same() {
    use std::os::unix::process::ExitStatusExt;
    let root = tempfile::tempdir().unwrap();
    let (data, log) = (root.path().join("data"), root.path().join("strace"));
    let http = reqwest::Client::new();
    let (reader, mut full) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["serve", "--data-dir"]).arg(&data).env("RUST_LOG", "off");
    let mut process = Process::spawn_with(command, Stdio::from(full.try_clone().unwrap()));
    // Not one more byte goes in, and whoever writes to it waits.
    let flags = rustix::fs::fcntl_getfl(&full).unwrap();
    rustix::fs::fcntl_setfl(&full, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while std::io::Write::write(&mut full, &[b'.'; 512]).is_ok() {}
    while std::io::Write::write(&mut full, b".").is_ok() {}
    rustix::fs::fcntl_setfl(&full, flags).unwrap();
    let Some(mut strace) = inject("pwrite64", process.child.id(), &log) else {
        return skipped("a last line that nobody reads", "strace is missing or may not attach to a process");
    };
    let answer = sign_up(&http, &process.url, "bob@test.org").await;
    assert!(
        answer.as_ref().is_none_or(|(status, _)| *status == 503),
        "an answer after the fault: {answer:?}"
    );
    assert_eq!(process.child.wait().unwrap().signal(), Some(6));
    let _ = strace.wait();
    drop(reader);
    Process::start(&data).kill();
}

/// A server on a file system of its own that holds so many MiB; `None` where that is not allowed.
fn on_a_small_disk(dir: &Path, mib: u32, snapshot_bytes: &str) -> Option<Process> {
    let able = Command::new("unshare")
        .args(["-rm", "sh", "-c", &format!("mount -t tmpfs -o size={mib}m small {}", dir.display())])
        .stderr(Stdio::null())
        .status();
    if !able.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    let binary = env!("CARGO_BIN_EXE_portcullis");
    let script = format!(
        "mount -t tmpfs -o size={mib}m small {0} && exec {binary} serve --data-dir {0}",
        dir.display()
    );
    command.args(["-rm", "sh", "-c", &script]).env("PORTCULLIS__JOURNAL__SNAPSHOT_BYTES", snapshot_bytes);
    Some(Process::spawn(command))
}

#[tokio::test]
async fn a_full_disk_refuses_before_anything_changes_and_comes_back_without_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let Some(mut process) = on_a_small_disk(root.path(), 48, "1048576") else {
        return skipped("a full disk", "no user namespace with a tmpfs of its own");
    };
    let url = process.url.clone();
    let mut opened = Vec::new();
    for number in 0..4 {
        let (status, body) = sign_up(&http, &url, &format!("user{number}@test.org")).await.unwrap();
        assert_eq!(status, 201, "{body}");
        opened.push(body);
    }
    // The file system is seen through the process that has mounted it.
    let inside = format!("/proc/{}/root{}", process.child.id(), root.path().display());
    let filler = format!("{inside}/filler");
    {
        let mut file = std::fs::File::create(&filler).unwrap();
        let block = vec![1; 1 << 20];
        while file.write_all(&block).is_ok() {}
    }
    let mut full = None;
    for number in 0..200 {
        let (status, body) = sign_up(&http, &url, &format!("more{number}@test.org")).await.unwrap();
        if status != 201 {
            full = Some((status, body, number));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, body, refused) = full.expect("the disk never filled up");
    assert_eq!((status, body["code"].as_str()), (503, Some("storage_full")), "{body}");
    // Readings and refusals go on; log-out and the end of a stolen family are written into what was kept back.
    let access = opened[0]["access_token"].as_str().unwrap();
    let me = http.get(format!("{url}/v1/me")).bearer_auth(access).send().await.unwrap();
    assert_eq!(me.status().as_u16(), 200);
    let body = json!({"email": "user0@test.org", "password": "not the password"});
    assert_eq!(post(&http, &url, "/v1/login", body).await.unwrap().0, 401);
    let body = json!({"refresh_token": opened[1]["refresh_token"]});
    assert_eq!(post(&http, &url, "/v1/logout", body.clone()).await.unwrap().0, 204);
    assert_eq!(post(&http, &url, "/v1/refresh", body).await.unwrap().0, 401);
    // Space returns: the same process goes on, and the name that was refused is free.
    std::fs::remove_file(&filler).unwrap();
    let again = format!("more{refused}@test.org");
    let mut back = 0;
    for _ in 0..200 {
        back = sign_up(&http, &url, &again).await.unwrap().0;
        if back == 201 {
            break;
        }
        assert_eq!(back, 503);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(back, 201);
    assert!(process.child.try_wait().unwrap().is_none(), "the process was to go on");
    process.kill();
}

/// Only a snapshot lets segments go: one is taken before it is due by what was written, in the room that was kept for it.
#[tokio::test]
async fn a_disk_too_small_for_the_journal_between_two_snapshots_is_not_full_for_good() {
    let root = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let Some(process) = on_a_small_disk(root.path(), 28, "1099511627776") else {
        return skipped("a disk too small", "no user namespace with a tmpfs of its own");
    };
    let journal = format!("/proc/{}/root{}/journal", process.child.id(), root.path().display());
    let newest = move || {
        let names = std::fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().file_name());
        let logs = names.filter_map(|name| name.to_str()?.strip_suffix(".log").map(ToOwned::to_owned));
        logs.filter_map(|number| u64::from_str_radix(&number, 16).ok()).max().unwrap()
    };
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..3 {
        let (http, url, over) = (http.clone(), process.url.clone(), std::sync::Arc::clone(&over));
        clients.spawn(async move {
            let (_, body) = sign_up(&http, &url, &format!("user{number}@test.org")).await.unwrap();
            let mut token = body["refresh_token"].clone();
            let mut refused = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let body = json!({"refresh_token": token});
                let (status, next) = post(&http, &url, "/v1/refresh", body).await.unwrap();
                if status == 200 {
                    token = next["refresh_token"].clone();
                } else {
                    assert_eq!((status, next["code"].as_str()), (503, Some("storage_full")), "{next}");
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            refused
        });
    }
    // Ten segments of 4 MiB went through a disk of 28.
    let mut reached = 0;
    for _ in 0..1200 {
        reached = newest();
        if reached >= 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let refused: u32 = clients.join_all().await.into_iter().sum();
    assert!(reached >= 10, "stopped in segment {reached}, {refused} refused");
    process.kill();
}

/// A release cannot be asked for one.
#[cfg(debug_assertions)]
async fn a_panic_in(who: &str) {
    let root = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["serve", "--data-dir"])
        .arg(root.path())
        .env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0")
        .env("PORTCULLIS_PANIC_IN", who)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let code = child.wait().unwrap().code();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(code, Some(70), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert_eq!(
        last,
        format!("portcullis: fault, the process ends: {who} panicked: planned by a test"),
        "{said}"
    );
    Process::start(root.path()).kill();
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_panic_in_an_actor_ends_the_process_with_a_last_line() {
    a_panic_in("refresh").await;
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_panic_in_the_writer_ends_the_process_with_a_last_line() {
    a_panic_in("the journal's writer").await;
}
