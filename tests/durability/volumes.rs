//! Volumes as operators mount them: of another user, read-only, without inodes, with a file where a directory belongs.
//! Each refusal names the path, who runs, whom the path belongs to and what to do.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::{BINARY, Process, Ran, run, serve, skipped};

/// Users that the system has no entry for, as in a container.
const US: u32 = 1654;
const OTHERS: u32 = 1655;

/// A directory that everybody reaches, with a copy of the binary: the build directory may be closed to other users.
/// `None` where this is not root.
fn open_to_all(name: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    let root = tempfile::tempdir().unwrap();
    if fs::metadata(root.path()).unwrap().uid() != 0 {
        skipped(name, "only root can become another user");
        return None;
    }
    let binary = root.path().join("portcullis");
    fs::copy(BINARY, &binary).unwrap();
    for path in [root.path(), &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Some((root, binary))
}

/// Returns the command `serve` over `data` as the user `user`, who has no home.
fn serve_as(user: u32, binary: &Path, data: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(["serve", "--data-dir"]).arg(data).uid(user).gid(user).env_remove("HOME").current_dir("/");
    command
}

#[test]
fn a_volume_of_root_is_refused_with_its_path_its_owner_and_the_remedy() {
    let Some((root, binary)) = open_to_all("a volume of root") else { return };
    let fresh = root.path().join("fresh");
    fs::create_dir(&fresh).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    let shown = fresh.display();
    Ran::of(&mut serve_as(US, &binary, &fresh))
        .exits(1)
        .says(&format!("{shown} belongs to user 0, group 0, with mode 0755"))
        .says("this process runs as user 1654, group 1654")
        .says(&format!("as root: chown 1654:1654 {shown}"))
        .does_not_say("run it as user 0");
    assert_eq!(fs::read_dir(&fresh).unwrap().count(), 0);
    // With the remedy it runs, though the system knows no such user.
    chown(&fresh, Some(US), Some(US)).unwrap();
    let mut server = Process::spawn(serve_as(US, &binary, &fresh));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn data_of_another_user_are_not_called_in_use_or_without_keys() {
    let Some((root, binary)) = open_to_all("data of another user") else { return };
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(OTHERS), Some(OTHERS)).unwrap();
    let mut server = Process::spawn(serve_as(OTHERS, &binary, &data));
    assert_eq!(server.stop(), Some(0));
    // Seen, but not to be read; then not even seen; then all but the lock.
    for (mode, part) in [(0o755, "data/keys"), (0o700, "data")] {
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).unwrap();
        Ran::of(&mut serve_as(US, &binary, &data))
            .exits(1)
            .says(&format!("{part} belongs to user 1655, group 1655"))
            .says("run it as user 1655")
            .does_not_say("chown")
            .does_not_say("other process")
            .does_not_say("another process")
            .does_not_say("if it is a backup");
    }
    for dir in ["", "keys", "journal", "snapshot", "audit", "outbox"] {
        let dir = data.join(dir);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
    }
    Ran::of(&mut serve_as(US, &binary, &data))
        .exits(1)
        .says("belongs to user 1655, group 1655")
        .does_not_say("another process");
}

/// Kind: advice that changes directories of the system. The remedy is tried: it makes the command run, and nothing but the
/// new directory changes its owner.
#[test]
fn the_remedy_for_a_place_that_cannot_be_made_leaves_the_directory_around_it_alone() {
    let Some((root, binary)) = open_to_all("a place in a directory of root") else { return };
    let system = root.path().join("system");
    fs::create_dir(&system).unwrap();
    fs::set_permissions(&system, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(system.join("hosts"), "of others").unwrap();
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(US), Some(US)).unwrap();
    let mut server = Process::spawn(serve_as(US, &binary, &data));
    assert_eq!(server.stop(), Some(0));
    let as_us = |args: &[&str], data: &Path| {
        let mut command = Command::new(&binary);
        command.args(args).arg("--data-dir").arg(data).uid(US).gid(US).env_remove("HOME").current_dir("/");
        Ran::of(&mut command)
    };
    let path = |name: &str| system.join(name).display().to_string();
    let advice = |ran: &Ran| {
        assert!(!ran.text.contains("chown") && !ran.text.contains("-R"), "{}", ran.text);
        let (_, advice) = ran.text.split_once("as root: ").unwrap_or_else(|| panic!("{}", ran.text));
        advice.trim_end().to_owned()
    };
    let refused = as_us(&["data", "backup", &path("backup")], &data).exits(1);
    let install = format!("install -d -o {US} -g {US} -m 0700 {}", path("backup"));
    assert_eq!(advice(&refused), install);
    assert!(Command::new("sh").args(["-ec", &install]).status().unwrap().success());
    as_us(&["data", "backup", &path("backup"), "--with-keys"], &data).exits(0);
    let refused = as_us(&["data", "restore", &path("backup")], &system.join("new")).exits(1);
    assert_eq!(advice(&refused), format!("install -d -o {US} -g {US} -m 0700 {}", path("new")));
    let mut command = serve_as(US, &binary, &data);
    let refused = Ran::of(command.env("PORTCULLIS__LOG__FILE", path("portcullis.log"))).exits(1);
    assert_eq!(advice(&refused), format!("install -d -o {US} -g {US} -m 0700 {}", path("portcullis")));
    let refused = as_us(&["serve"], &system).exits(1);
    refused.says("for it alone").does_not_say("chown").does_not_say("as root");
    // Nothing that is made in a closed directory can be reached.
    fs::set_permissions(&system, fs::Permissions::from_mode(0o700)).unwrap();
    let refused = as_us(&["data", "backup", &path("backup")], &data).exits(1);
    refused.says("name another place").does_not_say("chown").does_not_say("install");
    assert_eq!(fs::metadata(&system).unwrap().uid(), 0);
}

/// Kind: a command that works in two processes of different users: the backup of a cron job of root.
#[test]
fn a_backup_by_root_names_the_user_that_writes_it_and_belongs_to_that_one() {
    let Some((root, binary)) = open_to_all("a backup by root") else { return };
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(US), Some(US)).unwrap();
    let mut server = Process::spawn(serve_as(US, &binary, &data));
    let to = root.path().join("backup");
    let place = to.display().to_string();
    let install = format!("install -d -o {US} -g {US} -m 0700 {place}");
    run(&["data", "backup", &place], &data)
        .exits(1)
        .says("as user 1654")
        .says(&install)
        .does_not_say("chown");
    assert!(!to.exists());
    assert!(Command::new("sh").args(["-ec", &install]).status().unwrap().success());
    run(&["data", "backup", &place, "--with-keys"], &data).exits(0);
    assert_eq!(server.stop(), Some(0));
    let mut restore = Command::new(&binary);
    let new = data.join("restored");
    restore.args(["data", "restore", &place]).arg("--data-dir").arg(&new).uid(US).gid(US).current_dir("/");
    Ran::of(&mut restore).exits(0);
}

/// Kind: a command of root in the directory of a service, which leaves files that the service cannot use.
#[test]
fn a_start_by_root_is_refused_and_files_that_root_has_made_there_are_all_named() {
    let Some((root, binary)) = open_to_all("a start by root") else { return };
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(US), Some(US)).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let mut server = Process::spawn(serve_as(US, &binary, &data));
    assert_eq!(server.stop(), Some(0));
    run(&["doctor"], &data).exits(0);
    run(&["serve"], &data).exits(1).says("belongs to user 1654").says("run it as that user");
    // An earlier version let root start, and whatever that one made, these two are root's now.
    for name in ["keys/directory-1.key", "audit.end"] {
        chown(data.join(name), Some(0), Some(0)).unwrap();
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let refused = Ran::of(&mut serve_as(US, &binary, &data)).exits(1);
    let (_, advice) = refused.text.split_once("as root: ").unwrap_or_else(|| panic!("{}", refused.text));
    for name in ["keys/directory-1.key", "audit.end"] {
        assert!(advice.contains(name), "{advice}");
    }
    run(&["doctor"], &data).exits(1).says(advice.trim_end());
    assert!(Command::new("sh").args(["-ec", advice]).status().unwrap().success());
    run(&["doctor"], &data).exits(0);
    let mut server = Process::spawn(serve_as(US, &binary, &data));
    assert_eq!(server.stop(), Some(0));
}

/// Kind: a check that looks at modes, and passes what the server cannot open.
#[test]
fn the_checklist_tries_what_the_server_will_do() {
    let Some((root, binary)) = open_to_all("the checklist of another user") else { return };
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(OTHERS), Some(OTHERS)).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let mut server = Process::spawn(serve_as(OTHERS, &binary, &data));
    run(&["doctor"], &data).exits(0).says("pass  running server, ready");
    assert_eq!(server.stop(), Some(0));
    let doctor_as = |user: u32, data: &Path| {
        let mut command = Command::new(&binary);
        command.args(["doctor", "--data-dir"]).arg(data).uid(user).gid(user).current_dir("/");
        Ran::of(&mut command)
    };
    doctor_as(OTHERS, &data).exits(0).says("by user 1655");
    doctor_as(US, &data).exits(1).says("by user 1654").says("run it as user 1655");
    let missing = root.path().join("missing");
    doctor_as(US, &missing).exits(1).says(&format!("-m 0700 {}", missing.display()));
    for (mount, said) in [
        ("ro", "mounted read-only"),
        ("size=1m", "make room on its disk: at least 64 MiB"),
        ("nr_inodes=9", "with more inodes"),
    ] {
        let script = format!("mount -t tmpfs -o {mount} volume \"$2\"; ! \"$1\" --data-dir \"$2\" doctor");
        let Some(ran) = in_namespace("volumes for the checklist", &script) else { return };
        ran.exits(0).says(said);
    }
}

#[test]
fn a_file_where_a_directory_belongs_is_named() {
    for name in ["outbox", "audit", "keys", "journal"] {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(name), "").unwrap();
        let said = run(&["serve"], root.path()).exits(1);
        said.says(&format!("{name} is a file where a directory belongs: move it away"));
    }
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    fs::write(&data, "").unwrap();
    run(&["serve"], &data).exits(1).says("data is a file where a directory belongs");
    fs::remove_file(&data).unwrap();
    Process::start(&data).kill();
    for path in ["audit.end", "LOCK"] {
        let path = data.join(path);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let said =
            run(&["serve"], &data).exits(1).says("it is a directory where a file belongs: move it away");
        said.says(&path.display().to_string());
        fs::remove_dir(&path).unwrap();
    }
    let socket = data.join("admin.sock");
    let _ = fs::remove_file(&socket);
    fs::create_dir(&socket).unwrap();
    run(&["serve"], &data).exits(1).says("admin.sock: ").says("it is a directory where a file belongs");
}

/// Kind: a call that takes shorter paths (`sun_path`, 108 bytes) than directories have.
#[test]
fn a_data_directory_may_have_a_longer_path_than_a_socket() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("a".repeat(60)).join("b".repeat(200));
    let mut server = Process::start(&data);
    run(&["user", "list"], &data).exits(0).says("none found");
    run(&["data", "backup", root.path().join("copy").to_str().unwrap()], &data).exits(0);
    assert_eq!(server.stop(), Some(0));
    assert!(!data.join("admin.sock").exists());
}

#[test]
fn where_a_long_path_cannot_have_a_socket_nothing_is_made() {
    let script = "mount -t tmpfs none /proc; data=\"$2/$(printf %0120d 0)/data\"; ! \"$1\" --data-dir \"$data\" serve; \
                  ! test -e \"$2/$(printf %0120d 0)\"";
    let Some(ran) = in_namespace("a long path without /proc", script) else { return };
    ran.exits(0).says("/proc/self/fd the path of a socket may have 107").says("shorter path, or mount /proc");
}

/// Runs `script` in namespaces of its own, where `$1` is the binary and `$2` an empty directory. `None` where that is not
/// allowed.
fn in_namespace(name: &str, script: &str) -> Option<Ran> {
    let root = tempfile::tempdir().unwrap();
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "--pid", "--fork", "--kill-child", "sh", "-ec", script, "sh", BINARY]);
        Ran::of(command.arg(root.path()))
    };
    if in_namespace("mount -t tmpfs probe \"$2\"").code != 0 {
        skipped(name, "no user namespace with mounts of its own");
        return None;
    }
    Some(in_namespace(script))
}

#[test]
fn a_read_only_or_inodeless_file_system_is_called_by_its_name() {
    let Some(ran) = in_namespace(
        "a read-only file system",
        "mount -t tmpfs -o ro volume \"$2\"; ! \"$1\" --data-dir \"$2\" serve",
    ) else {
        return;
    };
    ran.exits(0).says("mounted read-only: mount it writable").does_not_say("another process");
    let ran = in_namespace(
        "a file system without inodes",
        "mount -t tmpfs -o nr_inodes=9 volume \"$2\"; ! \"$1\" --data-dir \"$2\" serve",
    );
    ran.unwrap().exits(0).says("has no free inodes: remove files");
    let ran = in_namespace(
        "a file system without room",
        "mount -t tmpfs -o size=64k volume \"$2\"; ! \"$1\" --data-dir \"$2\" serve",
    );
    ran.unwrap().exits(0).says("room");
}

/// What the server likes to read of the system, and can do without: its processes, a home, programs on the volume.
#[test]
fn a_server_needs_neither_proc_nor_a_volume_that_runs_programs() {
    let script = "mount -t tmpfs -o noexec,nosuid,nodev volume \"$2\"; mount -t tmpfs none /proc; \
                  \"$1\" --data-dir \"$2/data\" serve > \"$2/out\" 2>&1 & pid=$!; \
                  for i in $(seq 600); do grep -q 'ready on' \"$2/out\" && break; sleep 0.1; done; \
                  \"$1\" --data-dir \"$2/data\" user list; kill $pid; wait $pid";
    let Some(ran) = in_namespace("a system without /proc", script) else { return };
    ran.exits(0);
}

#[test]
fn a_socket_that_was_removed_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let mut server = Process::spawn(serve(root.path()));
    let socket = root.path().join("admin.sock");
    fs::remove_file(&socket).unwrap();
    for looks in 0.. {
        if socket.exists() {
            break;
        }
        assert!(looks < 600, "no socket");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    run(&["user", "list"], root.path()).exits(0);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.stop(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_hopeless_limit_of_open_files_is_refused_with_the_remedy() {
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 100 && exec \"$0\" \"$@\"", BINARY, "serve", "--data-dir"])
        .arg(root.path());
    Ran::of(&mut command).exits(1).says("the limit of open files is 100").says("ulimit -Hn");
}
