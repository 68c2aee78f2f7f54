//! `portcullis bench storm` as a command on somebody's machine: it leaves nothing behind, however it ends, and meets neither
//! another one nor the server of this machine.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::process::{BINARY, Ran, run};
use crate::support::wait_until;

/// The directory that an earlier version used for every storm of the usual seed.
const EARLIER: &str = "portcullis-storm-b0f4";

/// Returns a storm as small as it gets, with temporary directories in `tmp`.
fn storm(tmp: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["bench", "storm", "--seconds", "1", "--users", "2", "--rate", "30", "--background", "2"]);
    command.args(["--threads", "1", "--memory-kib", "64"]);
    command.env("TMPDIR", tmp).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns the directories of storms in `tmp` whose server has begun to fill them.
fn begun(tmp: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(tmp).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.join("IDENTITY").exists()).collect()
}

/// Says whether a process has `part` in its command line.
fn is_running(part: &Path) -> bool {
    let part = part.to_str().unwrap();
    let lines =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).any(|line| line.contains(part))
}

fn end(child: &Child, signal: &str) {
    let asked = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
}

/// Kind: a throw-away server that outlives the command, in a directory that the next one meets.
#[tokio::test]
async fn storms_at_once_and_killed_ones_leave_neither_a_process_nor_a_directory() {
    let tmp = tempfile::tempdir().unwrap();
    let tmp = tmp.path();
    let signals = ["-TERM", "-INT", "-KILL"];
    let mut storms: Vec<Child> = signals.iter().map(|_| storm(tmp).spawn().unwrap()).collect();
    wait_until("every storm has its directory", async || begun(tmp).len() == signals.len()).await;
    for dir in begun(tmp) {
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700, "{}", dir.display());
        assert!(is_running(&dir), "{}", dir.display());
    }
    for (child, signal) in storms.iter_mut().zip(signals) {
        end(child, signal);
        assert_eq!(child.wait().unwrap().code(), None, "{signal}");
    }
    wait_until("their directories are gone", async || fs::read_dir(tmp).unwrap().count() == 0).await;
    wait_until("their servers are gone", async || !is_running(tmp)).await;
}

/// Kind: figures that are read from a metric by a name that it does not have. And: a closed output, foreign settings, and a
/// trap of another user in the place of the directory.
#[test]
fn a_storm_counts_hashes_and_leaves_the_places_of_others_alone() {
    let root = tempfile::tempdir().unwrap();
    let (tmp, theirs) = (root.path().join("tmp"), root.path().join("theirs"));
    fs::create_dir(&tmp).unwrap();
    fs::create_dir(&theirs).unwrap();
    symlink(&theirs, tmp.join(EARLIER)).unwrap();
    let mut first = storm(&tmp);
    first
        .arg("--json")
        .env("PORTCULLIS__KEYS__DIR", &theirs)
        .env("PORTCULLIS__HTTP__LISTEN", "203.0.113.1:1");
    let output = first.output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert!(said["hashed_per_second"].as_f64().unwrap() > 1.0, "{said}");
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
    let mut second = storm(&tmp).spawn().unwrap();
    drop(second.stdout.take());
    let mut said = String::new();
    second.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(141), "{said}");
    let left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [EARLIER]);
    assert!(!is_running(&tmp));
}

#[test]
fn a_server_to_throw_away_takes_no_directory_that_is_used_and_a_storm_names_a_dead_target() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("notes"), "mine").unwrap();
    run(&["serve", "--throw-away"], root.path()).exits(2).says("is not empty");
    assert!(root.path().join("notes").exists());
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = format!("http://{dead}");
    let mut command = Command::new(BINARY);
    command.args(["bench", "storm", "--memory-kib", "64", "--target", &target]);
    Ran::of(&mut command).exits(3).says(&format!("no server answers at {dead}"));
}
