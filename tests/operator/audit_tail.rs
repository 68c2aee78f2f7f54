//! `portcullis audit tail` and `audit acknowledge`, as an operator uses them at night: with a running server and a stopped
//! one, in a pipe, and for one account or network.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::support::PASSWORD;
use crate::support::process::{BINARY, Process, Ran, log_in, run, sign_up};

fn tail(args: &[&str], data: &Path) -> Ran {
    run(&[&["audit", "tail"], args].concat(), data).exits(0)
}

/// Returns the lines of the files of the log.
fn stored(data: &Path) -> Vec<String> {
    let mut paths: Vec<_> =
        std::fs::read_dir(data.join("audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>()).collect()
}

/// Runs a server in which Ada and Bob sign up, and Bob mistypes his password. It runs on.
async fn with_two_users(data: &Path) -> Process {
    let process = Process::start(data);
    let http = reqwest::Client::new();
    for name in ["ada@test.org", "bob@test.org"] {
        assert_eq!(sign_up(&http, &process.url, name).await.unwrap().0, 201);
    }
    assert_eq!(log_in(&http, &process.url, "bob@test.org", "a wrong password").await, 401);
    assert_eq!(log_in(&http, &process.url, "ada@test.org", PASSWORD).await, 200);
    process
}

#[tokio::test]
async fn events_are_chosen_by_account_network_time_and_name_while_the_server_runs_and_when_it_is_stopped() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let mut process = with_two_users(&data).await;
    for is_stopped in [false, true] {
        if is_stopped {
            assert_eq!(process.stop(), Some(0));
        }
        tail(&["--account", "bob@test.org"], &data)
            .says("login.failed")
            .says("b***@test.org")
            .does_not_say("a***@test.org")
            .does_not_say("\"prev\"");
        tail(&["--type", "login.", "--network", "127.0.0.1"], &data)
            .says("login.failed")
            .says("login.succeeded")
            .says("127.0.0.1/32")
            .does_not_say("account.signed_up");
        assert_eq!(tail(&["--network", "192.0.2.0/24"], &data).text, "none found\n");
        assert_eq!(tail(&["--since", "2099-01-01T00:00:00Z"], &data).text, "none found\n");
        assert_eq!(tail(&["--since", "2099-01-01T00:00:00Z", "--json"], &data).text, "");
        for typed in ["login", "LOGIN.", "login.*", "Login.S*"] {
            tail(&["--type", typed], &data).says("login.succeeded").does_not_say("account.signed_up");
        }
        tail(&["--since", "1h"], &data).says("server.started").does_not_say("--limit");
        let cut = tail(&["--limit", "2"], &data).says("these are the newest 2");
        assert_eq!(cut.text.lines().count(), 3, "{}", cut.text);
        // For programs, each line is as it is stored, so that its seal can be verified.
        let json = tail(&["--json", "--limit", "99999"], &data);
        let shown: Vec<&str> = json.text.lines().collect();
        assert_eq!(shown, stored(&data));
    }
    run(&["audit", "tail", "--account", "eve@test.org"], &data).exits(1);
    run(&["audit", "tail", "--since", "soon"], &data).exits(2).says("2h");
    run(&["audit", "tail", "--network", "here"], &data).exits(2);
    run(&["audit", "tail", "--type", "logn.failed"], &data).exits(2).says("the nearest are login.failed");
    run(&["audit", "tail", "--account", "c"], &data).exits(2).says("neither an address nor an id");
    run(&["audit", "events"], &data).exits(0).says("login.succeeded").says("A signing key was withdrawn");
    run(&["audit", "tail"], &root.path().join("nothing")).exits(1).says("holds no events yet");
}

/// Kind: a command that looks must not look like a start of the server in the log.
#[tokio::test]
async fn a_command_on_a_stopped_directory_writes_no_start_and_acknowledges_nothing_that_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    assert_eq!(with_two_users(&data).await.stop(), Some(0));
    let before = stored(&data);
    for args in [
        &["user", "list"][..],
        &["key", "list"],
        &["audit", "tail", "--account", "ada@test.org"],
        &["audit", "acknowledge"],
        &["audit", "verify"],
        &["doctor"],
    ] {
        run(args, &data).exits(0);
    }
    assert_eq!(stored(&data), before);
    run(&["audit", "acknowledge"], &data).exits(0).says("nothing to acknowledge");
    // A change has its line, and the next start of a server its own.
    run(&["user", "lock", "bob@test.org"], &data).exits(0);
    assert_eq!(Process::start(&data).stop(), Some(0));
    let events: Vec<String> = stored(&data)[before.len()..]
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(events, ["admin.account_changed", "server.started"]);
    run(&["audit", "verify"], &data).exits(0);
}

#[tokio::test]
async fn a_tail_that_follows_shows_what_a_running_server_writes_and_ends_with_its_reader() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let process = with_two_users(&data).await;
    let mut command = Command::new(BINARY);
    command.args(["audit", "tail", "-f", "-n", "1", "--type", "login.", "--data-dir"]).arg(&data);
    let mut following = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(following.stdout.take().unwrap());
    let (lines, read) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            lines.send(line).unwrap();
        }
        // The reader is dropped here, and the pipe closed.
    });
    let next = || read.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(next().contains("login.succeeded"));
    let http = reqwest::Client::new();
    assert_eq!(log_in(&http, &process.url, "ada@test.org", "a wrong password").await, 401);
    let line = next();
    assert!(line.contains("login.failed"), "{line}");
    assert!(line.contains("a***@test.org"), "{line}");
    reading.join().unwrap();
    // The next line finds nobody.
    assert_eq!(log_in(&http, &process.url, "ada@test.org", "another wrong one").await, 401);
    assert_eq!(following.wait().unwrap().code(), Some(141));
    let mut said = String::new();
    following.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!said.contains("panicked"), "{said}");
}

/// Kind: a reader that has seen enough closes the pipe; no command panics or complains then.
#[test]
fn a_closed_output_ends_every_command_quietly() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    assert_eq!(Process::start(&data).stop(), Some(0));
    let users = root.path().join("users.ndjson");
    std::fs::write(&users, "{\"email\":\"ada@test.org\"}\n").unwrap();
    run(&["user", "import", users.to_str().unwrap()], &data).exits(0);
    for args in [
        &["completions", "bash"][..],
        &["--help"],
        &["config", "show"],
        &["config", "check"],
        &["doctor"],
        &["data", "inspect"],
        &["data", "dump"],
        &["data", "verify", "--json"],
        &["key", "list"],
        &["user", "list"],
        &["user", "export"],
        &["audit", "tail"],
        &["audit", "verify"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(BINARY);
        command.args(args).arg("--data-dir").arg(&data).stdout(writer).stderr(Stdio::piped());
        let done = command.spawn().unwrap().wait_with_output().unwrap();
        let code = done.status.code();
        assert!(code == Some(0) || code == Some(141), "{args:?}: {code:?}");
        assert_eq!(String::from_utf8_lossy(&done.stderr), "", "{args:?}");
    }
}
