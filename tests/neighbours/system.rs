//! Odd machines: a clock that is set, a root that cannot be written to, a user without a name, and a process without an
//! init before it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis::system::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};

use super::install::{FAKETIME, NAMESPACES, ROOT, installed};
use super::server::Server;
use super::support::process::BINARY;
use super::tokens::part;

const NAME: &str = "ada@near.test";
/// How far in the future a token may be issued.
const LEEWAY: Duration = Duration::from_secs(30);

/// Returns the library that changes the clock of a process, which `faketime` preloads.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut files = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists()).expect("libfaketime is not where Debian has it")
}

/// A clock is wrong by an hour for a while, as before the first answer of a time server.
#[test]
fn no_token_is_issued_in_the_future_once_the_clock_is_right_again() {
    if !installed(&[FAKETIME]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let offset = dir.path().join("offset");
    // A whole file at once: it is read at every look at the clock.
    let set = |text: &str| {
        std::fs::write(dir.path().join("new"), text).unwrap();
        std::fs::rename(dir.path().join("new"), &offset).unwrap();
    };
    set("+0");
    let [library, file] = [faketime(), offset.clone()].map(|path| path.to_string_lossy().into_owned());
    let server = Server::with(&[
        ("LD_PRELOAD", &library),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    server.sign_up(NAME).is(201);
    // Seconds by which a new token is ahead of the right time.
    let ahead = |server: &Server| {
        let issued = part(&server.log_in(NAME).text("access_token"), 1)["iat"].as_u64().unwrap();
        issued.saturating_sub(Clock::system().now().as_secs())
    };
    assert!(ahead(&server) <= LEEWAY.as_secs());
    set("+3600");
    assert!(ahead(&server) > 3500, "the clock of the server was not set");
    set("+0");
    assert!(ahead(&server) <= LEEWAY.as_secs(), "{} s ahead", ahead(&server));
    let server = server.restart();
    assert!(ahead(&server) <= LEEWAY.as_secs(), "{} s ahead after a restart", ahead(&server));
}

/// Signs up, logs in and asks for figures of the operator.
fn serves(server: &Server) {
    server.sign_up(NAME).is(201);
    server.log_in(NAME);
    server.get("/readyz").is(200);
    let jwks = server.get("/.well-known/jwks.json").is(200);
    assert!(jwks.json()["keys"][0]["kid"].is_string());
}

#[test]
fn a_root_that_cannot_be_written_to_is_enough() {
    if !installed(&[ROOT, NAMESPACES]) {
        return;
    }
    let script = "mount --bind \"$DATA\" \"$DATA\"; mount -o remount,ro,bind /; mount -o remount,ro,bind /tmp || true; \
                  touch /portcullis-test \"$DATA/../x\" || true; exec \"$@\"";
    let mut server = Server::run_by(&["unshare", "--mount", "sh", "-ec", script, "sh"], &[]);
    serves(&server);
    server.stop();
    assert!(!Path::new("/portcullis-test").exists());
    assert!(!server.dir().join("x").exists());
    assert!(server.log().contains("Read-only file system"), "{}", server.log());
}

#[test]
fn a_user_without_a_name_or_a_home_can_run_the_server_and_its_commands() {
    if !installed(&[ROOT]) {
        return;
    }
    // A number that no system gives to anybody.
    let id = "54321";
    let run = ["setpriv", "--reuid", id, "--regid", id, "--clear-groups", "env", "-u", "HOME", "-u", "USER"];
    let own = "chown \"$0\" \"$DATA\"; exec \"$@\"";
    let launcher = [&["sh", "-ec", own, id][..], &run].concat();
    let mut server = Server::run_by(&launcher, &[]);
    serves(&server);
    for command in [&["user", "list"][..], &["audit", "verify"]] {
        let mut asked = Command::new(run[0]);
        asked.args(&run[1..]).arg(BINARY).args(command).arg("--data-dir").arg(server.data());
        super::program::output(&mut asked);
    }
    server.stop();
}

#[test]
fn the_first_process_of_a_container_stops_in_order_at_sigterm() {
    if !installed(&[ROOT, NAMESPACES]) {
        return;
    }
    let mut server = Server::run_by(&["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"], &[]);
    serves(&server);
    let outer = server.pid();
    let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
    let inner = children.trim().parse().unwrap_or_else(|_| panic!("one child: {children:?}"));
    kill_process(Pid::from_raw(inner).unwrap(), Signal::TERM).unwrap();
    assert_eq!(server.ends(), Some(0), "{}", server.log());
    let server = server.restart();
    server.log_in(NAME);
}
