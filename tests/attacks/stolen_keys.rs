//! Keys at rest and in memory: I have a copy of the data directory, or a shell as the server's own user.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use base64ct::{Base64, Encoding};

use crate::support::process::{BINARY, Process, log_in, serve, sign_up, skipped};
use crate::support::{PASSWORD, TestServer};

const SECRET: &str = "a secret that lies on another disk, 0123456789";

/// Writes a secret into a file beside the data directory.
fn secret(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn serve_with(data: &Path, master: Option<&Path>) -> Command {
    let mut command = serve(data);
    if let Some(master) = master {
        command.env("PORTCULLIS__KEYS__MASTER_FILE", master);
    }
    command
}

/// Returns the names of key files from which a thief reads a key.
fn readable_keys(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let is_key =
            Base64::decode_vec(text.lines().next().unwrap_or("")).is_ok_and(|bytes| bytes.len() >= 32);
        if is_key {
            found.push(name);
        }
    }
    found
}

fn all_files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap())
    };
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(entry).collect();
    files.sort();
    files
}

fn refused(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

/// I copy the directory of a server whose operator has set `keys.master_file`, before or after the first start.
#[test]
fn a_copy_of_sealed_keys_holds_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let master = secret(dir.path(), "master", SECRET);
    // From the first start on.
    let fresh = dir.path().join("fresh");
    Process::spawn(serve_with(&fresh, Some(&master))).stop();
    assert_eq!(readable_keys(&fresh.join("keys")), Vec::<String>::new());
    // Set later: the next start seals what is there, and it is the same keys.
    let old = dir.path().join("old");
    Process::spawn(serve_with(&old, None)).stop();
    assert!(readable_keys(&old.join("keys")).len() >= 6);
    let before = published(&old);
    Process::spawn(serve_with(&old, Some(&master))).stop();
    assert_eq!(readable_keys(&old.join("keys")), Vec::<String>::new());
    let mut list = Command::new(BINARY);
    list.args(["key", "list", "--json", "--data-dir"])
        .arg(&old)
        .env("PORTCULLIS__KEYS__MASTER_FILE", &master);
    assert_eq!(String::from_utf8_lossy(&list.output().unwrap().stdout), before);
}

/// Returns what `key list` says of a stopped directory whose keys are not sealed.
fn published(data: &Path) -> String {
    let output =
        Command::new(BINARY).args(["key", "list", "--json", "--data-dir"]).arg(data).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The operator has lost the secret, or mistypes its path. Nothing is made anew in its place, and nothing is written.
#[test]
fn a_start_without_the_right_master_is_refused_by_name_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let master = secret(dir.path(), "master", SECRET);
    let data = dir.path().join("data");
    Process::spawn(serve_with(&data, Some(&master))).stop();
    let before = all_files(&data.join("keys"));
    let identity = std::fs::read(data.join("IDENTITY")).unwrap();
    let other = secret(dir.path(), "other", &format!("{SECRET} and more"));
    let short = secret(dir.path(), "short", "too short");
    let missing = dir.path().join("missing");
    for (master, named) in [
        (None, "is sealed; set keys.master_file"),
        (Some(other.as_path()), "does not open with the secret in keys.master_file"),
        (Some(short.as_path()), "holds less than 32 bytes"),
        (Some(missing.as_path()), "cannot be read"),
        (Some(Path::new("credential:master")), "$CREDENTIALS_DIRECTORY is not set"),
    ] {
        let text = refused(&serve_with(&data, master).output().unwrap());
        assert!(text.contains(named), "{text}");
        assert_eq!(all_files(&data.join("keys")), before, "{named}");
        assert_eq!(std::fs::read(data.join("IDENTITY")).unwrap(), identity, "{named}");
    }
    let mut by_credential = serve_with(&data, Some(Path::new("credential:master")));
    by_credential.env("CREDENTIALS_DIRECTORY", dir.path());
    Process::spawn(by_credential).stop();
    // Commands say the same as the server.
    let mut verify = Command::new(BINARY);
    verify.args(["audit", "verify", "--data-dir"]).arg(&data);
    refused(&verify.output().unwrap());
    verify.env("PORTCULLIS__KEYS__MASTER_FILE", &master);
    assert!(verify.output().unwrap().status.success());
}

/// A backup of sealed keys holds them, and needs the secret again; of open keys it holds none unless asked.
#[test]
fn a_backup_holds_sealed_keys_and_restores_with_their_master_alone() {
    let dir = tempfile::tempdir().unwrap();
    let master = secret(dir.path(), "master", SECRET);
    let other = secret(dir.path(), "other", &format!("{SECRET} and more"));
    let data = dir.path().join("data");
    let run = |args: &[&str], data: &Path, last: &Path, master: Option<&Path>| {
        let mut command = Command::new(BINARY);
        command.arg("--data-dir").arg(data).args(args).arg(last);
        if let Some(master) = master {
            command.env("PORTCULLIS__KEYS__MASTER_FILE", master);
        }
        command.output().unwrap()
    };
    Process::spawn(serve_with(&data, None)).stop();
    let open = dir.path().join("open");
    assert!(run(&["data", "backup"], &data, &open, None).status.success());
    assert!(!open.join("keys").exists());
    Process::spawn(serve_with(&data, Some(&master))).stop();
    let backup = dir.path().join("backup");
    let made = run(&["data", "backup"], &data, &backup, Some(&master));
    assert!(String::from_utf8_lossy(&made.stdout).contains("it holds the keys, sealed"), "{made:?}");
    assert_eq!(readable_keys(&backup.join("keys")), Vec::<String>::new());
    let restored = dir.path().join("restored");
    for wrong in [None, Some(other.as_path())] {
        refused(&run(&["data", "restore"], &restored, &backup, wrong));
        assert!(!restored.exists(), "{wrong:?}");
    }
    let made = run(&["data", "restore"], &restored, &backup, Some(&master));
    assert!(made.status.success(), "{made:?}");
    assert_eq!(readable_keys(&restored.join("keys")), Vec::<String>::new());
    Process::spawn(serve_with(&restored, Some(&master))).stop();
}

/// I am the server's own user, without root, and want its memory: by a core file, or by `/proc/<pid>/mem`.
#[test]
fn the_server_writes_no_core_file_and_its_user_cannot_look_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let is_root = std::fs::metadata(dir.path()).unwrap().uid() == 0;
    let mut command = serve(&data);
    if is_root {
        // Root looks into every process, so the server runs as somebody else.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", BINARY, "serve", "--data-dir"])
            .arg(&data);
        let can_start = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", BINARY, "--version"])
            .output();
        if !can_start.is_ok_and(|output| output.status.success()) {
            skipped(
                "the_server_writes_no_core_file_and_its_user_cannot_look_into_it",
                "setpriv cannot start the binary as another user",
            );
            return;
        }
    }
    let process = Process::spawn(command);
    let proc = format!("/proc/{}", process.child.id());
    let limits = std::fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // The files of a process that can be traced belong to its user.
    assert_eq!(std::fs::metadata(format!("{proc}/environ")).unwrap().uid(), 0);
    if !is_root {
        assert!(std::fs::File::open(format!("{proc}/mem")).is_err());
    }
}

/// I have a copy of the stored hashes, and want to know what a guess costs me.
#[tokio::test]
async fn a_stolen_hash_has_the_cost_of_the_defaults() {
    let costs = ["password.memory_kib", "password.passes", "password.lanes"];
    let defaults = portcullis::config::keys::all().filter(|key| costs.contains(&key.name));
    let defaults: Vec<_> = defaults.map(|key| (key.name, key.default)).collect();
    let server = TestServer::with(&defaults);
    server.account("ada@test.org").await;
    let mut text = String::new();
    let _server = server.restart_after(|dir| {
        let dump = Command::new(BINARY).args(["data", "dump", "--data-dir"]).arg(dir).output().unwrap();
        text = String::from_utf8(dump.stdout).unwrap();
    });
    let account = text.lines().find(|line| line.contains("a***@test.org") && line.contains("argon2id"));
    assert!(account.is_some_and(|account| account.contains("m=19456,t=2,p=1")), "{text}");
}

/// I have a copy of the stored hashes, and guess: without the pepper no guess can be checked. The server refuses to start
/// without a pepper that was in use: every log-in would fail.
#[tokio::test]
async fn hashes_are_worthless_without_their_pepper_and_a_pepper_changes_by_log_ins() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let line = |id: &str| format!("{id} {id}-0123456789abcdef0123456789abcdef\n");
    let first = secret(dir.path(), "first", &line("p1"));
    let both = secret(dir.path(), "both", &(line("p2") + &line("p1")));
    let second = secret(dir.path(), "second", &line("p2"));
    let serve_with = |pepper: Option<&Path>| {
        let mut command = serve(&data);
        if let Some(pepper) = pepper {
            command.env("PORTCULLIS__PASSWORD__PEPPER_FILE", pepper);
        }
        command
    };
    let peppers_in_dump = || {
        let dump = Command::new(BINARY).args(["data", "dump", "--data-dir"]).arg(&data).output().unwrap();
        let text = String::from_utf8(dump.stdout).unwrap();
        let count = |id: &str| text.matches(&format!("pepper={id}")).count();
        (count("p1"), count("p2"))
    };
    let http = reqwest::Client::new();
    // A hash from before there was a pepper stays valid.
    let mut process = Process::spawn(serve_with(None));
    assert_eq!(sign_up(&http, &process.url, "ada@test.org").await.unwrap().0, 201);
    assert_eq!(sign_up(&http, &process.url, "bob@test.org").await.unwrap().0, 201);
    process.stop();
    assert_eq!(peppers_in_dump(), (0, 0));
    let mut process = Process::spawn(serve_with(Some(&first)));
    assert_eq!(log_in(&http, &process.url, "ada@test.org", PASSWORD).await, 200);
    process.stop();
    assert_eq!(peppers_in_dump(), (1, 0));
    for wrong in [None, Some(second.as_path())] {
        let text = refused(&serve_with(wrong).output().unwrap());
        assert!(text.contains("the pepper p1 was in use"), "{text}");
    }
    let mut process = Process::spawn(serve_with(Some(&both)));
    assert_eq!(log_in(&http, &process.url, "ada@test.org", PASSWORD).await, 200);
    assert_eq!(log_in(&http, &process.url, "bob@test.org", PASSWORD).await, 200);
    process.stop();
    assert_eq!(peppers_in_dump(), (0, 2));
    // The operator has deleted the markers of peppers that accounts still need. The server starts, and these accounts cannot
    // log in.
    std::fs::remove_file(data.join("keys/pepper-p1.used")).unwrap();
    std::fs::remove_file(data.join("keys/pepper-p2.used")).unwrap();
    let mut process = Process::spawn(serve_with(Some(&first)));
    assert_eq!(log_in(&http, &process.url, "ada@test.org", PASSWORD).await, 401);
    let mut doctor = Command::new(BINARY);
    doctor.args(["doctor", "--data-dir"]).arg(&data).env("PORTCULLIS__PASSWORD__PEPPER_FILE", &first);
    let text = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("fail  password.pepper_file")), "{text}");
    process.stop();
}
