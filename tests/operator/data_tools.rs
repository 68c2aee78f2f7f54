//! What the commands around the data say and leave behind: what is in a backup, what a restore needs, and failures for
//! programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::PASSWORD;
use crate::support::backup::{Directories, back_up, restore};
use crate::support::process::{BINARY, Process, Ran, log_in, run, sign_up};

/// Returns a stopped directory in which Ada has an account, with the others beside it.
async fn with_ada() -> Directories {
    let directories = Directories::new();
    let mut process = Process::start(&directories.data);
    assert_eq!(sign_up(&reqwest::Client::new(), &process.url, "ada@test.org").await.unwrap().0, 201);
    assert_eq!(process.stop(), Some(0));
    directories
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn json(args: &[&str], data: &Path) -> Value {
    let ran = run(&[args, &["--json"]].concat(), data).exits(0);
    serde_json::from_str(&ran.text).unwrap_or_else(|error| panic!("{error}: {}", ran.text))
}

#[tokio::test]
async fn a_backup_holds_the_log_of_security_events_with_the_proof_that_it_is_unbroken() {
    let Directories { data, backup, restored, root } = with_ada().await;
    let log = std::fs::read_dir(data.join("audit")).unwrap().next().unwrap().unwrap().path();
    let name = log.file_name().unwrap().to_owned();
    for is_running in [false, true] {
        let to = root.path().join(format!("copy-{is_running}"));
        let _process = is_running.then(|| Process::start(&data));
        back_up(&data, &to).says("unbroken").says("it holds the keys: guard it");
        assert_eq!(
            entries(&to),
            ["IDENTITY", "SHA256SUMS", "audit", "audit.end", "journal", "keys", "snapshot"]
        );
        run(&["audit", "verify"], &to).exits(0).says("the log is unbroken");
        let lines = std::fs::read_to_string(to.join("audit").join(&name)).unwrap();
        assert!(lines.contains("account.signed_up"), "{lines}");
    }
    // A log that was changed is copied all the same, as evidence, and that is said.
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("server.started", "server.stopped", 1)).unwrap();
    back_up(&data, &backup).says("WARNING, it is not unbroken").says("its seal does not match");
    std::fs::write(&log, text).unwrap();
    // The list of sums names the log too.
    let whole = root.path().join("copy-false");
    std::fs::write(whole.join("audit").join(&name), "").unwrap();
    restore(&whole, &[], &restored).exits(1).says("its sum differs");
}

#[tokio::test]
async fn a_backup_says_what_a_restore_will_need_and_proves_nothing_without_it() {
    let Directories { data, backup, restored, root } = with_ada().await;
    run(&["data", "backup", backup.to_str().unwrap()], &data)
        .exits(0)
        .does_not_say("proved")
        .says("nobody can use them without the keys")
        .says("--keys")
        .says("not in it");
    restore(&backup, &[], &restored).exits(1).says("--keys");
    let keys = data.join("keys");
    restore(&backup, &["--keys", keys.to_str().unwrap()], &restored).exits(0);
    let with_keys = root.path().join("with-keys");
    let value = json(&["data", "backup", with_keys.to_str().unwrap(), "--with-keys"], &data);
    assert_eq!(value["keys"], "open");
    assert_eq!(value["restore_needs"], "nothing else");
    assert_eq!(value["audit"]["broken"], Value::Null);
    assert!(value["audit"]["lines"].as_u64().unwrap() > 1, "{value}");
}

/// Kind: a copy that failed halfway is taken for a backup when it is needed.
#[tokio::test]
async fn a_backup_that_fails_leaves_nothing_behind() {
    let Directories { data, backup, root, .. } = with_ada().await;
    let fails = |to: &Path, data: &Path, why: &str| {
        run(&["data", "backup", to.to_str().unwrap(), "--with-keys"], data).exits(1).says(why);
    };
    // No keys to copy.
    let elsewhere = root.path().join("elsewhere");
    std::fs::rename(data.join("keys"), &elsewhere).unwrap();
    fails(&backup, &data, "there are no keys");
    assert!(!backup.exists());
    // Keys of another installation.
    let other = root.path().join("other");
    assert_eq!(Process::start(&other).stop(), Some(0));
    std::fs::rename(other.join("keys"), data.join("keys")).unwrap();
    fails(&backup, &data, "is not the key that this data was written with");
    assert!(!backup.exists());
    std::fs::remove_dir_all(data.join("keys")).unwrap();
    std::fs::rename(&elsewhere, data.join("keys")).unwrap();
    // Damage in the journal. A directory that was there stays.
    let segment = data.join("journal").join(&entries(&data.join("journal"))[0]);
    let whole = std::fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[4096 + 50] ^= 1;
    std::fs::write(&segment, damaged).unwrap();
    std::fs::create_dir(&backup).unwrap();
    fails(&backup, &data, "data salvage");
    assert_eq!(entries(&backup), Vec::<String>::new());
    std::fs::write(&segment, whole).unwrap();
    back_up(&data, &backup);
    // One that was cut off is no backup, and the next one takes its place, unless something else lies there.
    std::fs::write(backup.join("UNFINISHED"), "").unwrap();
    restore(&backup, &[], &root.path().join("new")).exits(1).says("was not finished");
    std::fs::write(backup.join("notes"), "mine").unwrap();
    fails(&backup, &data, "notes is in it");
    std::fs::remove_file(backup.join("notes")).unwrap();
    std::fs::write(backup.join("journal/00000000000000ff.log"), "torn").unwrap();
    // One that is at work is left alone.
    let at_work = std::fs::File::open(backup.join("UNFINISHED")).unwrap();
    at_work.lock().unwrap();
    fails(&backup, &data, "is at work");
    assert!(backup.join("journal/00000000000000ff.log").exists());
    drop(at_work);
    back_up(&data, &backup);
    assert!(!backup.join("journal/00000000000000ff.log").exists());
    restore(&backup, &[], &root.path().join("new")).exits(0);
}

/// Kind: a copy of everything, made by somebody of whom nothing tells.
#[tokio::test]
async fn a_backup_of_a_running_server_is_an_event_with_the_operator_and_the_place() {
    let Directories { data, root, .. } = with_ada().await;
    let mut process = Process::start(&data);
    for (name, more) in [("with-keys", &["--with-keys"][..]), ("without", &[])] {
        let to = root.path().join(name);
        run(&[&["data", "backup", to.to_str().unwrap()], more].concat(), &data).exits(0);
        let keys = if more.is_empty() { "without the keys" } else { "with the keys" };
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&to).unwrap());
        run(&["audit", "tail", "--type", "data.backed_up", "-n", "1"], &data)
            .exits(0)
            .says(&format!("by operator(uid {uid}): to {}, {keys}", to.canonicalize().unwrap().display()));
    }
    assert_eq!(process.stop(), Some(0));
}

/// Kind: an empty place that is not empty, since the file system keeps something of its own there.
#[tokio::test]
async fn a_backup_goes_onto_a_fresh_volume_and_comes_back_from_it() {
    let Directories { data, root, .. } = with_ada().await;
    for (number, entry) in ["lost+found", ".snapshot", "@eaDir", "anything"].into_iter().enumerate() {
        let volume = root.path().join(number.to_string());
        let of_system = volume.join(entry);
        std::fs::create_dir_all(&of_system).unwrap();
        if entry != "anything" {
            std::fs::write(of_system.join("found"), "").unwrap();
        }
        // One that fails takes away what it has made, and no more.
        let keys = data.join("keys");
        let away = root.path().join("away");
        std::fs::rename(&keys, &away).unwrap();
        assert_eq!(Process::start(&root.path().join(format!("other-{number}"))).stop(), Some(0));
        std::fs::rename(root.path().join(format!("other-{number}/keys")), &keys).unwrap();
        let to = volume.to_str().unwrap();
        run(&["data", "backup", to, "--with-keys"], &data).exits(1);
        assert_eq!(entries(&volume), [entry]);
        std::fs::remove_dir_all(&keys).unwrap();
        std::fs::rename(&away, &keys).unwrap();
        run(&["data", "backup", to, "--with-keys"], &data).exits(0);
        assert!(of_system.exists());
        let restored = root.path().join(format!("restored-{number}"));
        restore(&volume, &[], &restored).exits(0);
        run(&["data", "backup", to], &data).exits(1).says(" is in it; name an empty directory");
    }
}

#[tokio::test]
async fn a_backup_into_a_directory_of_the_server_is_refused() {
    let Directories { data, root, .. } = with_ada().await;
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    let before = entries(&data);
    for own in [data.clone(), link, data.join("outbox"), data.join("journal/new"), data.join("keys/a/b")] {
        let said = run(&["data", "backup", own.to_str().unwrap()], &data).exits(1);
        said.says("is a directory of the server itself; a backup belongs on another disk");
    }
    assert_eq!(entries(&data), before);
}

#[tokio::test]
async fn verify_backup_and_restore_count_the_same_records() {
    let Directories { data, backup, restored, root: _root } = with_ada().await;
    let verified = json(&["data", "verify"], &data);
    let value = json(&["data", "backup", backup.to_str().unwrap(), "--with-keys"], &data);
    assert_eq!(value["records"], verified["records"]);
    assert_eq!(value["sequence"], verified["sequence"]);
    let (records, sequence) = (&value["records"], &value["sequence"]);
    let said = format!("{records} records up to sequence {sequence}");
    run(&["data", "verify"], &data).says(&said);
    restore(&backup, &[], &restored).exits(0).says(&said);
}

/// Starts with the keys in `keys`, as every command does.
fn start(data: &Path, keys: Option<&Path>, command: &[&str]) -> Ran {
    let mut ran = Command::new(BINARY);
    ran.args(command).arg("--data-dir").arg(data);
    if let Some(keys) = keys {
        ran.env("PORTCULLIS__KEYS__DIR", keys);
    }
    Ran::of(&mut ran)
}

/// Kind: what a restore has ended lives on with the keys of before.
#[tokio::test]
async fn a_restored_directory_starts_with_its_own_keys_and_not_with_those_of_before() {
    let Directories { data, backup, restored, root } = with_ada().await;
    back_up(&data, &backup);
    restore(&backup, &[], &restored)
        .exits(0)
        .says("starts with these alone")
        .says("in place of the one from before");
    let before: PathBuf = data.join("keys");
    for command in [&["serve"][..], &["user", "list"], &["data", "verify"], &["doctor"]] {
        start(&restored, Some(&before), command)
            .exits(1)
            .says("a restore made this directory")
            .says("those that the restore has made");
    }
    // Nor after the old installation has made another key under that number.
    run(&["key", "rotate", "edge"], &data).exits(0).says("edge-2");
    start(&restored, Some(&before), &["user", "list"]).exits(1).says("a restore made this directory");
    run(&["data", "verify"], &restored).exits(0);
    let process = Process::start(&restored);
    assert_eq!(log_in(&reqwest::Client::new(), &process.url, "ada@test.org", PASSWORD).await, 200);
    process.kill();
    // A restore of that one begins a history of its own again. The old installation starts as ever.
    let again = root.path().join("again");
    let second = root.path().join("second");
    back_up(&restored, &second);
    restore(&second, &[], &again).exits(0).says("timeline 3");
    start(&again, Some(&restored.join("keys")), &["user", "list"])
        .exits(1)
        .says("a restore made this directory");
    run(&["user", "list"], &again).exits(0).says("ada@test.org");
    run(&["user", "list"], &data).exits(0).says("ada@test.org");
}

/// Kind: what a restore has ended lives on with the keys of before, also if their files are copied over those of now.
#[tokio::test]
async fn a_restored_directory_does_not_use_signing_keys_of_before_that_are_copied_into_it() {
    let Directories { data, backup, restored, root: _root } = with_ada().await;
    back_up(&data, &backup);
    restore(&backup, &[], &restored).exits(0);
    let name = "signing-00000001.key";
    let old = std::fs::read(data.join("keys").join(name)).unwrap();
    let file = |name: &str| std::fs::read(restored.join("keys").join(name)).unwrap();
    assert_ne!(file(name), old);
    for name in [name, "signing-00000009.key"] {
        std::fs::write(restored.join("keys").join(name), &old).unwrap();
    }
    run(&["data", "verify"], &restored)
        .exits(0)
        .says(&format!("{name} was retired or is older than a restore"));
    let listed = run(&["--json", "key", "list"], &restored).exits(0).text;
    assert_eq!(listed.matches("\"use\":\"sig\"").count(), 1, "{listed}");
    assert_ne!(file(name), old);
    for name in [name, "signing-00000009.key"] {
        assert_eq!(file(&format!("{name}.set-aside")), old);
    }
    run(&["data", "verify"], &restored).exits(0).does_not_say("older than a restore");
}

/// Kind: two layers each add the same advice.
#[tokio::test]
async fn a_refusal_of_a_used_or_damaged_directory_says_each_thing_once_and_what_to_run() {
    let Directories { data, backup, root: _root, .. } = with_ada().await;
    back_up(&data, &backup);
    let process = Process::start(&data);
    let from = backup.to_str().unwrap();
    for (command, next) in [
        (&["serve"][..], "stop it first"),
        (&["data", "verify"], "stop it first"),
        (&["data", "dump"], "stop it first"),
        (&["data", "restore", from], "give an empty --data-dir"),
    ] {
        let ran = run(command, &data).exits(1).says(next);
        for once in ["stop", "another process", "another command", "--data-dir", "in use"] {
            assert!(ran.text.matches(once).count() <= 1, "{command:?}: {}", ran.text);
        }
    }
    process.kill();
    let Directories { data, root: _root, .. } = with_ada().await;
    let segment = data.join("journal").join(&entries(&data.join("journal"))[0]);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4096 + 50] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    // The server comes last: were the damage not found, it would run.
    for command in [&["data", "verify"][..], &["user", "list"], &["serve"]] {
        run(command, &data).exits(1).says("portcullis data inspect").says("portcullis data salvage");
    }
}

/// Kind: a refusal offers what is refused next.
#[tokio::test]
async fn a_kind_of_key_that_is_none_is_answered_with_those_that_can_rotate() {
    let Directories { data, root: _root, .. } = with_ada().await;
    let kinds = "signing, edge, device, csrf, outbox";
    run(&["key", "rotate", "foo"], &data)
        .exits(1)
        .says(kinds)
        .does_not_say("directory")
        .does_not_say("audit");
    for kind in kinds.split(", ") {
        run(&["key", "rotate", kind], &data).exits(0);
    }
}

/// Kind: a program cannot read a sentence.
#[tokio::test]
async fn every_failure_is_json_for_programs() {
    let Directories { data, backup, root, .. } = with_ada().await;
    back_up(&data, &backup);
    let nothing = root.path().join("nothing");
    for (args, dir, code) in [
        (&["user", "show", "eve@test.org"][..], &data, 1),
        (&["key", "rotate", "directory"], &data, 1),
        (&["data", "backup", backup.to_str().unwrap()], &data, 1),
        (&["data", "verify"], &nothing, 1),
        (&["user", "list"], &nothing, 3),
        (&["audit", "tail", "--since", "soon"], &data, 2),
        (&["audit", "tial"], &data, 2),
    ] {
        let output =
            Command::new(BINARY).args(args).args(["--json", "--data-dir"]).arg(dir).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let said: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(said["code"], code, "{args:?}");
        assert!(!said["error"].as_str().unwrap().is_empty(), "{args:?}");
    }
    for args in [&["data", "inspect"][..], &["data", "verify"], &["key", "list"], &["audit", "verify"]] {
        json(args, &data);
    }
    let inspected = json(&["data", "inspect"], &data);
    let items = inspected["items"].as_array().unwrap();
    assert_eq!(items[0]["path"], "IDENTITY");
    let frame = items.iter().find(|item| item["what"].as_str().unwrap().starts_with("Data batch")).unwrap();
    assert!(frame["path"].as_str().unwrap().starts_with("journal/"), "{frame}");
    assert!(frame["offset"].as_u64().unwrap() >= 4096, "{frame}");
}
