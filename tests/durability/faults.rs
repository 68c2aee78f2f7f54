//! Faults of the real disk under the real binary. A test whose fault this machine cannot make says so and is skipped.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::PASSWORD;
use crate::support::process::{BINARY, Process, log_in, post, serve, sign_up, skipped};
use crate::support::wait_until;

/// Makes the system call `call` fail with EIO from now on in the process `pid`, by strace, which writes to the file
/// `log`. Returns `None` where strace is missing or not allowed.
fn inject(call: &str, pid: u32, log: &Path) -> Option<Child> {
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
        // A background thread of the server may have written already, and met the fault.
        if std::fs::read_to_string(log).is_ok_and(|text| text.contains("EIO")) {
            return Some(child);
        }
        if child.try_wait().ok()?.is_some() {
            return None;
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let tracer = status.lines().find(|line| line.starts_with("TracerPid:"))?;
        if !tracer.ends_with("\t0") {
            // strace attaches to the other threads right after the first.
            std::thread::sleep(Duration::from_millis(300));
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    None
}

/// Asserts that a request after the fault got no answer, or only that the server is stopping.
fn assert_unanswered(answer: Option<(u16, Value)>) {
    if let Some((status, body)) = answer {
        assert_eq!(status, 503, "an answer after the fault: {body}");
    }
}

/// Prints how long after the fault the process ended, if strace has seen both.
fn report_delay(name: &str, log: &Path) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let at = |line: &str| line.split_whitespace().nth(1).and_then(|time| time.parse::<f64>().ok());
    let failed = text.lines().find(|line| line.contains("EIO")).and_then(at);
    let ended = text.lines().find(|line| line.contains("exited with 70")).and_then(at);
    if let (Some(failed), Some(ended)) = (failed, ended) {
        eprintln!("{name}: the process ended {:.1} ms after the fault", (ended - failed) * 1000.0);
    }
}

/// After `call` has failed, no client gets another answer, the process ends with code 70, and the next start knows what
/// was acknowledged before.
async fn a_failed_call_ends_the_process(call: &str, write_mode: &str) {
    let name = format!("EIO from {call}, write mode {write_mode}");
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let log = root.path().join("strace");
    let http = reqwest::Client::new();
    let mut command = serve(&data);
    command.env("PORTCULLIS__JOURNAL__WRITE_MODE", write_mode);
    let mut process = Process::spawn(command);
    assert_eq!(sign_up(&http, &process.url, "ada@test.org").await.unwrap().0, 201);
    let Some(mut strace) = inject(call, process.child.id(), &log) else {
        return skipped(&name, "strace is missing or may not attach to a process");
    };
    assert_unanswered(sign_up(&http, &process.url, "bob@test.org").await);
    assert_eq!(process.child.wait().unwrap().code(), Some(70));
    let _ = strace.wait();
    report_delay(&name, &log);

    let process = Process::start(&data);
    assert_eq!(log_in(&http, &process.url, "ada@test.org", PASSWORD).await, 200);
    process.kill();
}

#[tokio::test]
async fn a_failed_sync_ends_the_process_without_another_answer() {
    a_failed_call_ends_the_process("fdatasync", "fdatasync").await;
}

#[tokio::test]
async fn a_failed_write_ends_the_process_without_another_answer() {
    for write_mode in ["auto", "dsync", "fdatasync"] {
        a_failed_call_ends_the_process("pwrite64", write_mode).await;
    }
}

/// Fills a pipe until not one more byte goes in, so that the next write to it blocks.
fn fill(pipe: &mut std::io::PipeWriter) {
    let flags = rustix::fs::fcntl_getfl(&*pipe).unwrap();
    rustix::fs::fcntl_setfl(&*pipe, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while pipe.write(&[b'.'; 512]).is_ok() {}
    while pipe.write(b".").is_ok() {}
    rustix::fs::fcntl_setfl(&*pipe, flags).unwrap();
}

#[tokio::test]
async fn a_fault_ends_the_process_even_if_its_last_line_cannot_be_written() {
    use std::os::unix::process::ExitStatusExt;
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let log = root.path().join("strace");
    let http = reqwest::Client::new();
    let (reader, mut pipe) = std::io::pipe().unwrap();
    let mut command = serve(&data);
    command.env("RUST_LOG", "off");
    let mut process = Process::spawn_with(command, Stdio::from(pipe.try_clone().unwrap()));
    fill(&mut pipe);
    let Some(mut strace) = inject("pwrite64", process.child.id(), &log) else {
        return skipped("a last line that nobody reads", "strace is missing or may not attach to a process");
    };
    assert_unanswered(sign_up(&http, &process.url, "bob@test.org").await);
    assert_eq!(process.child.wait().unwrap().signal(), Some(6));
    let _ = strace.wait();
    drop(reader);
    Process::start(&data).kill();
}

/// Starts a server on a file system of its own that holds `mib` MiB; `None` where that is not allowed.
fn on_a_small_disk(dir: &Path, mib: u32, snapshot_bytes: &str) -> Option<Process> {
    let mount = format!("mount -t tmpfs -o size={mib}m small {}", dir.display());
    let able = Command::new("unshare").args(["-rm", "sh", "-c", &mount]).stderr(Stdio::null()).status();
    if !able.is_ok_and(|status| status.success()) {
        return None;
    }
    let script = format!("{mount} && exec {BINARY} serve --data-dir {}", dir.display());
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).env("PORTCULLIS__JOURNAL__SNAPSHOT_BYTES", snapshot_bytes);
    command.env("PORTCULLIS__JOURNAL__SEGMENT_BYTES", "16777216");
    // The file system is looked at through /proc.
    command.env("PORTCULLIS_TRACEABLE", "1");
    Some(Process::spawn(command))
}

/// Returns the path at which the file system that `process` has mounted over `dir` can be seen from here.
fn inside(process: &Process, dir: &Path) -> String {
    format!("/proc/{}/root{}", process.child.id(), dir.display())
}

/// Returns the text of all files in a directory.
fn read_all(dir: &str) -> String {
    let files = std::fs::read_dir(dir).into_iter().flatten();
    files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok()).collect()
}

/// Signs up until one is refused, and returns its number, the status and the body.
async fn sign_up_until_refused(http: &reqwest::Client, url: &str) -> (usize, u16, Value) {
    for number in 0..200 {
        let (status, body) = sign_up(http, url, &format!("more{number}@test.org")).await.unwrap();
        if status != 201 {
            return (number, status, body);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the disk never filled up");
}

#[tokio::test]
async fn a_full_disk_refuses_before_any_change_and_recovers_without_a_restart() {
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
    let filler = format!("{}/filler", inside(&process, root.path()));
    {
        let mut file = std::fs::File::create(&filler).unwrap();
        let block = vec![1; 1 << 20];
        while file.write_all(&block).is_ok() {}
    }
    let (refused, status, body) = sign_up_until_refused(&http, &url).await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(body["code"], json!("storage_full"), "{body}");

    // Reads and refusals go on. A log-out is written into the space that was kept back.
    let access = opened[0]["access_token"].as_str().unwrap();
    let me = http.get(format!("{url}/v1/me")).bearer_auth(access).send().await.unwrap();
    assert_eq!(me.status().as_u16(), 200);
    assert_eq!(log_in(&http, &url, "user0@test.org", "not the password").await, 401);
    let body = json!({"refresh_token": opened[1]["refresh_token"]});
    assert_eq!(post(&http, &url, "/v1/logout", body.clone()).await.unwrap().0, 204);
    assert_eq!(post(&http, &url, "/v1/refresh", body).await.unwrap().0, 401);

    // So is a changed password, with all that belongs to it: it is answered, and told.
    let asked = json!({"current_password": PASSWORD, "new_password": "an entirely different phrase"});
    let change = http.post(format!("{url}/v1/password/change")).bearer_auth(access).json(&asked);
    assert_eq!(change.send().await.unwrap().status().as_u16(), 200);
    assert_eq!(log_in(&http, &url, "user0@test.org", PASSWORD).await, 401);

    // Once there is space, the same process goes on, and the name that was refused is free.
    std::fs::remove_file(&filler).unwrap();
    let again = format!("more{refused}@test.org");
    let mut status = 0;
    for _ in 0..200 {
        status = sign_up(&http, &url, &again).await.unwrap().0;
        if status == 201 {
            break;
        }
        assert_eq!(status, 503);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status, 201);
    let audit = format!("{}/audit", inside(&process, root.path()));
    wait_until("the change is in the log", async || read_all(&audit).contains("password.changed")).await;
    assert_eq!(log_in(&http, &url, "user0@test.org", "an entirely different phrase").await, 200);
    assert!(process.child.try_wait().unwrap().is_none(), "the process must go on");
    process.kill();
}

/// Refreshes a token of a new account until `over`, and returns how many refreshes were refused for want of space.
async fn refresh_until(http: reqwest::Client, url: String, email: String, over: Arc<AtomicBool>) -> u32 {
    let (_, body) = sign_up(&http, &url, &email).await.unwrap();
    let mut token = body["refresh_token"].clone();
    let mut refused = 0;
    while !over.load(Ordering::Relaxed) {
        let body = json!({"refresh_token": token});
        let (status, next) = post(&http, &url, "/v1/refresh", body).await.unwrap();
        if status == 200 {
            token = next["refresh_token"].clone();
        } else {
            assert_eq!(status, 503, "{next}");
            assert_eq!(next["code"], json!("storage_full"), "{next}");
            refused += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    refused
}

/// Waits until the newest segment in the directory `journal` is number `wanted`, for a minute at most. Returns its number.
async fn wait_for_segment(journal: &str, wanted: u64) -> u64 {
    let newest_segment = || {
        let names = std::fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().file_name());
        let logs = names.filter_map(|name| name.to_str()?.strip_suffix(".log").map(ToOwned::to_owned));
        logs.filter_map(|number| u64::from_str_radix(&number, 16).ok()).max().unwrap()
    };
    for _ in 0..1200 {
        if newest_segment() >= wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    newest_segment()
}

/// Lets `clients` refresh the tokens of new accounts until the newest segment of the data directory `dir` is number `wanted`.
/// Returns the number that was reached, and how many refreshes were refused for want of space.
async fn refresh_until_segment(process: &Process, dir: &Path, clients: u32, wanted: u64) -> (u64, u32) {
    let http = reqwest::Client::new();
    let over = Arc::new(AtomicBool::new(false));
    let mut refreshing = tokio::task::JoinSet::new();
    for number in 0..clients {
        let email = format!("user{number}@test.org");
        refreshing.spawn(refresh_until(http.clone(), process.url.clone(), email, Arc::clone(&over)));
    }
    let journal = format!("{}/journal", inside(process, dir));
    let reached = wait_for_segment(&journal, wanted).await;
    over.store(true, Ordering::Relaxed);
    (reached, refreshing.join_all().await.into_iter().sum())
}

/// The disk cannot hold the journal that is written until a snapshot is due. Segments are deleted only after a
/// snapshot, so one is taken early, in the space that was kept for it.
#[tokio::test]
async fn a_disk_too_small_for_the_journal_between_two_snapshots_gets_free_again() {
    let root = tempfile::tempdir().unwrap();
    let Some(process) = on_a_small_disk(root.path(), 28, "1099511627776") else {
        return skipped("a disk too small", "no user namespace with a tmpfs of its own");
    };
    // Ten segments of 4 MiB must pass through a disk of 28 MiB.
    let (reached, refused) = refresh_until_segment(&process, root.path(), 3, 10).await;
    assert!(reached >= 10, "stopped in segment {reached}, {refused} refused");
    process.kill();
}

/// The files of the journal have the size of a large disk by their settings. On a small one they are smaller, and snapshots
/// come so early that nobody is refused for want of space while the journal goes round.
#[tokio::test]
async fn the_journal_goes_round_on_a_small_disk_and_nobody_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let Some(process) = on_a_small_disk(root.path(), 64, "67108864") else {
        return skipped("a small disk", "no user namespace with a tmpfs of its own");
    };
    let (newest, refused) = refresh_until_segment(&process, root.path(), 4, 6).await;
    assert!(newest >= 6, "stopped in segment {newest}");
    assert_eq!(refused, 0);
    process.kill();
}

/// A panic in the thread or actor `place` ends the process with code 70 and says where. Only a debug build can be asked
/// for such a panic.
#[cfg(debug_assertions)]
fn a_panic_ends_the_process(place: &str) {
    let root = tempfile::tempdir().unwrap();
    let output = serve(root.path())
        .env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0")
        .env("PORTCULLIS_PANIC_IN", place)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(70), "{text}");
    let last = text.lines().last().unwrap_or_default();
    let expected = format!("portcullis: fault, the process ends: {place} panicked: planned by a test");
    assert_eq!(last, expected, "{text}");
    Process::start(root.path()).kill();
}

#[cfg(debug_assertions)]
#[test]
fn a_panic_in_an_actor_ends_the_process_with_a_last_line() {
    a_panic_ends_the_process("refresh");
}

#[cfg(debug_assertions)]
#[test]
fn a_panic_in_the_writer_ends_the_process_with_a_last_line() {
    a_panic_ends_the_process("the journal's writer");
}
