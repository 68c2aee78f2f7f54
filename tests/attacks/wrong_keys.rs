//! Wrong keys: I exchange the directory of the keys for that of another installation, or flip one bit of a key, so that the
//! server knows nobody any more: the name of a victim is free to sign up, and no lockout counts.
//!
//! Bound: no server starts with a key that its data was not written with, or without one of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::support::earlier::forget_files;
use crate::support::process::{Process, Ran, log_in, run, sign_up};
use crate::support::{PASSWORD, TestServer};

const NAME: &str = "ada@test.org";
const KINDS: [&str; 5] = ["directory", "device", "csrf", "edge", "outbox"];

/// Returns a stopped directory in which Ada has an account.
async fn with_ada(root: &Path) -> PathBuf {
    let data = root.join("data");
    let mut process = Process::start(&data);
    sign_up(&reqwest::Client::new(), &process.url, NAME).await.unwrap();
    assert_eq!(process.stop(), Some(0));
    data
}

/// Another key in the form of earlier versions, without a checksum.
fn another_key(seed: u8) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(&[seed; 32])
}

/// Starts on `data`, as every command for operators does, and stops again.
fn start(data: &Path) -> Ran {
    run(&["user", "list"], data)
}

/// Returns the number of segments: each start begins one.
fn segments(data: &Path) -> usize {
    let names = std::fs::read_dir(data.join("journal")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".log")).count()
}

#[track_caller]
fn refused(data: &Path, file: &str, why: &str) {
    let before = segments(data);
    start(data).exits(1).says(file).says(why);
    run(&["serve"], data).exits(1).says(file).says(why).says("put the keys of this installation back");
    run(&["data", "verify"], data).exits(1).says(file).says(why);
    run(&["doctor"], data).exits(1).says(file).says(why);
    assert_eq!(segments(data), before, "nothing may be written before the keys are known to belong");
}

#[tokio::test]
async fn a_key_of_another_installation_is_refused_and_the_right_one_starts_again() {
    let root = tempfile::tempdir().unwrap();
    let data = with_ada(root.path()).await;
    run(&["data", "verify"], &data).exits(0).says("5 keys with which the data was written");
    for kind in KINDS {
        let file = format!("{kind}-1.key");
        let path = data.join("keys").join(&file);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, another_key(7)).unwrap();
        refused(&data, &file, "is not the key that this data was written with");
        // One bit, in the form of earlier versions: the lower case letter of an upper case one is Base64 too.
        let at = whole.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        let mut flipped = whole.lines().next().unwrap().as_bytes().to_vec();
        flipped[at] ^= 0x20;
        std::fs::write(&path, &flipped).unwrap();
        refused(&data, &file, "is not the key that this data was written with");
        std::fs::write(&path, &whole).unwrap();
    }
    // All keys of another installation at once.
    let other = root.path().join("other");
    Process::start(&other).stop();
    let (keys, aside) = (data.join("keys"), root.path().join("aside"));
    std::fs::rename(&keys, &aside).unwrap();
    std::fs::rename(other.join("keys"), &keys).unwrap();
    refused(&data, "directory-1.key", "no account and no lockout is found");
    std::fs::remove_dir_all(&keys).unwrap();
    std::fs::rename(&aside, &keys).unwrap();

    let process = Process::start(&data);
    let http = reqwest::Client::new();
    assert_eq!(log_in(&http, &process.url, NAME, PASSWORD).await, 200);
}

#[tokio::test]
async fn a_damaged_key_file_is_named_and_not_taken_for_another_key() {
    let root = tempfile::tempdir().unwrap();
    let data = with_ada(root.path()).await;
    for name in KINDS.map(|kind| format!("{kind}-1.key")).into_iter().chain(["signing-00000001.key".into()]) {
        let path = data.join("keys").join(&name);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let at = whole.iter().position(u8::is_ascii_alphabetic).unwrap();
        flipped[at] ^= 0x20;
        std::fs::write(&path, flipped).unwrap();
        start(&data).exits(1).says(&name).says("its checksum differs");
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        start(&data).exits(1).says(&name);
        std::fs::write(&path, &whole).unwrap();
    }
    // Half of the time from which a key is used is a number too, of 1970.
    for name in ["device-1.from", "signing-00000001.from"] {
        let path = data.join("keys").join(name);
        let whole = std::fs::read(&path).unwrap();
        for length in 1..10 {
            std::fs::write(&path, &whole[..length]).unwrap();
            start(&data).exits(1).says(name).says("cut short");
        }
        // Files of earlier versions have no second line.
        std::fs::write(&path, &whole[..10]).unwrap();
        start(&data).exits(0);
        std::fs::write(&path, &whole).unwrap();
    }
    start(&data).exits(0).says(NAME);
}

#[tokio::test]
async fn a_missing_key_is_refused_until_a_new_history_goes_on_without_it() {
    let root = tempfile::tempdir().unwrap();
    let data = with_ada(root.path()).await;
    run(&["key", "rotate", "device"], &data).exits(0).says("device-2");
    let first = data.join("keys/device-1.key");
    let key = std::fs::read(&first).unwrap();
    std::fs::remove_file(&first).unwrap();
    refused(&data, "device-1.key", "is missing");
    // The key that a rotation made a moment ago is remembered as well.
    std::fs::write(&first, &key).unwrap();
    std::fs::write(data.join("keys/device-2.key"), another_key(8)).unwrap();
    refused(&data, "device-2.key", "is not the key");

    let salvaged = root.path().join("salvaged");
    let salvage = || run(&["data", "salvage", data.to_str().unwrap()], &salvaged);
    salvage().exits(1).says("device-2.key: is not the key");
    std::fs::remove_file(data.join("keys/device-2.key")).unwrap();
    salvage().exits(0).says("lost: device-2.key is missing");
    start(&salvaged).exits(0).says(NAME);
    // The new history has a key of its own.
    run(&["data", "verify"], &salvaged).exits(0).says("6 keys");
    std::fs::write(salvaged.join("keys/device-1.key"), another_key(9)).unwrap();
    refused(&salvaged, "device-1.key", "is not the key");
}

#[tokio::test]
async fn a_restore_with_other_keys_is_refused_and_so_is_a_start_after_it() {
    let root = tempfile::tempdir().unwrap();
    let data = with_ada(root.path()).await;
    let [backup, restored, other] = ["backup", "restored", "other"].map(|name| root.path().join(name));
    run(&["data", "backup", backup.to_str().unwrap(), "--with-keys"], &data).exits(0);
    run(&["data", "verify"], &backup).exits(0).says("5 keys");
    Process::start(&other).stop();
    let wrong = other.join("keys");
    let args = ["data", "restore", backup.to_str().unwrap(), "--keys", wrong.to_str().unwrap()];
    run(&args, &restored).exits(1).says("directory-1.key: is not the key that this data was written with");
    assert!(!restored.join("IDENTITY").exists());
    run(&args[..3], &restored).exits(0);
    std::fs::copy(wrong.join("edge-1.key"), restored.join("keys/edge-1.key")).unwrap();
    refused(&restored, "edge-1.key", "is not the key");
    std::fs::copy(backup.join("keys/edge-1.key"), restored.join("keys/edge-1.key")).unwrap();
    let process = Process::start(&restored);
    assert_eq!(log_in(&reqwest::Client::new(), &process.url, NAME, PASSWORD).await, 200);
}

#[tokio::test]
async fn a_directory_of_an_earlier_version_starts_and_its_keys_are_remembered_from_then_on() {
    let root = tempfile::tempdir().unwrap();
    let data = with_ada(root.path()).await;
    forget_files(&data);
    run(&["data", "verify"], &data).exits(0).says("the first that remembers them");
    start(&data).exits(0).says(NAME);
    std::fs::write(data.join("keys/directory-1.key"), another_key(7)).unwrap();
    refused(&data, "directory-1.key", "no account and no lockout is found");
}

/// Waits up to ten seconds of real time, in which the server looks after its keys, until `file` is there or gone.
async fn wait_until(file: &Path, is_there: bool) {
    for _ in 0..400 {
        if file.exists() == is_there {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{} is there: {}", file.display(), !is_there);
}

#[tokio::test]
async fn a_key_whose_time_is_over_is_forgotten_with_its_file() {
    let server = TestServer::start();
    let rotated = server.operate(json!({"operation": "key_rotate", "kind": "device"})).await;
    assert_eq!(rotated["ok"]["kid"], "device-2", "{rotated}");
    let old = server.data_dir().join("keys/device-1.key");
    server.clock.advance(Duration::from_hours(24 * 367));
    wait_until(&old, false).await;
    // Without its file the next start would be refused, if the key were still remembered.
    let server = server.restart();
    server.get("/readyz").await;
    server.restart_after(|dir| {
        run(&["data", "verify"], dir).exits(0).says("5 keys with which the data was written");
    });
}

#[tokio::test]
async fn the_running_server_finds_that_a_key_file_has_changed() {
    let server = TestServer::start();
    let findings = async || server.operate(json!({"operation": "findings"})).await["ok"]["items"].clone();
    assert_eq!(findings().await, json!([]));
    std::fs::write(server.data_dir().join("keys/csrf-1.key"), another_key(7)).unwrap();
    let found = findings().await;
    assert_eq!(found[0]["key"], "keys.dir", "{found}");
    assert!(found[0]["why"].as_str().unwrap().contains("csrf-1.key is not the key"), "{found}");
}
