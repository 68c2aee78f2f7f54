//! Where a restore may build, what it must not touch there, and who may look at what.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::crash::Process;

const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");
const NOBODY: u32 = 65_534;

fn skipped(name: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}

fn run_in(dir: &Path, data_dir: &str, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(BINARY);
    command.args(["--data-dir", data_dir]).args(args).current_dir(dir);
    said(&mut command)
}

fn said(command: &mut Command) -> (i32, String) {
    let output = command.env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

/// A backup of a server that has just been started, with its keys, and the directory itself.
fn backup(root: &Path) -> (PathBuf, PathBuf) {
    let (data, copy) = (root.join("of"), root.join("copy"));
    Process::start(&data).kill();
    let (code, told) = run_in(root, "of", &["data", "backup", "copy", "--with-keys"]);
    assert_eq!(code, 0, "{told}");
    (data, copy)
}

/// Every path below a directory, with what is in the files.
fn all(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(all(&path));
        } else if path.is_file() {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_restore_deletes_nothing_of_anybody_else_whatever_the_directory_is_called() {
    let root = tempfile::tempdir().unwrap();
    let (damaged, copy) = backup(root.path());
    let srv = root.path().join("srv");
    fs::create_dir_all(srv.join("x/y")).unwrap();
    fs::write(srv.join("notes.txt"), "mine").unwrap();
    fs::write(srv.join("x/y/z"), "mine").unwrap();
    symlink(&srv, root.path().join("link")).unwrap();
    let before = all(&srv);
    let deep = srv.join("x");
    for (cwd, data_dir) in [
        (srv.as_path(), "."),
        (&srv, "./"),
        (&srv, "x/.."),
        (&deep, ".."),
        (&deep, "../"),
        (&deep, "../."),
        (&srv, "x"),
        (root.path(), "link"),
        (root.path(), "srv"),
        (Path::new("/"), "/"),
        (&srv, "notes.txt"),
    ] {
        for (what, from) in [("restore", &copy), ("salvage", &damaged)] {
            let (code, told) = run_in(cwd, data_dir, &["data", what, from.to_str().unwrap()]);
            assert_eq!(code, 1, "{what} into {data_dir}: {told}");
            let refused = told.contains("is not empty: ") || told.to_lowercase().contains("not a directory");
            assert!(refused, "{what} into {data_dir}: {told}");
            assert_eq!(all(&srv), before, "{what} into {data_dir}");
        }
    }
}

#[test]
fn a_restore_builds_inside_its_place_and_leaves_what_is_beside_it_alone() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let copy = copy.to_str().unwrap();
    let mut number = 0;
    let mut restored = |data_dir: &str, prepare: &dyn Fn(&Path)| {
        number += 1;
        let cwd = root.path().join(format!("cwd{number}"));
        fs::create_dir(&cwd).unwrap();
        prepare(&cwd);
        let (code, told) = run_in(&cwd, data_dir, &["data", "restore", copy]);
        assert_eq!(code, 0, "{data_dir}: {told}");
        assert_eq!(run_in(&cwd, data_dir, &["data", "verify"]).0, 0, "{data_dir}");
        assert!(!cwd.join(data_dir).join("restoring.tmp").exists(), "{data_dir}");
        assert!(cwd.join(data_dir).join("keys/signing-00000001.key").exists(), "{data_dir}");
        cwd
    };
    restored(".", &|_| ());
    restored("new", &|_| ());
    restored("a/b/c", &|_| ());
    restored("x/..", &|cwd| fs::create_dir(cwd.join("x")).unwrap());
    restored("link", &|cwd| {
        fs::create_dir(cwd.join("target")).unwrap();
        symlink("target", cwd.join("link")).unwrap();
    });
    // What a file system puts into its root, and what an earlier look has left.
    restored("disk", &|cwd| {
        fs::create_dir_all(cwd.join("disk/lost+found")).unwrap();
        fs::create_dir_all(cwd.join("disk/keys")).unwrap();
        fs::write(cwd.join("disk/LOCK"), "").unwrap();
    });
    // Names that once were the same: both ended in `.restoring`.
    let cwd = restored("auth.prod", &|cwd| {
        fs::create_dir(cwd.join("auth.restoring")).unwrap();
        fs::write(cwd.join("auth.restoring/notes.txt"), "mine").unwrap();
    });
    assert_eq!(fs::read(cwd.join("auth.restoring/notes.txt")).unwrap(), b"mine");
    let server = Process::start(&cwd.join("auth.prod"));
    server.kill();

    // Keys elsewhere: those of another past are not mixed with these.
    let keys = root.path().join("elsewhere/keys");
    let to = |place: &str| {
        let mut command = Command::new(BINARY);
        command.env("PORTCULLIS__KEYS__DIR", &keys).current_dir(root.path());
        said(command.args(["--data-dir", place, "data", "restore", copy]))
    };
    let (code, told) = to("first");
    assert_eq!(code, 0, "{told}");
    assert!(keys.join("signing-00000001.key").exists() && !root.path().join("first/keys").exists());
    let (code, told) = to("second");
    assert!(code == 1 && told.contains("elsewhere/keys holds keys"), "{told}");
    assert!(!root.path().join("second").exists());
}

#[test]
fn what_a_crash_left_of_a_restore_is_served_by_nobody_and_gone_on_with() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let (copy, new) = (copy.to_str().unwrap(), root.path().join("new"));
    let building = new.join("restoring.tmp");
    let refuses_to_serve = || {
        let (code, told) = run_in(root.path(), "new", &["serve"]);
        assert!(code == 1 && told.contains("restoring.tmp: a restore or salvage"), "{code}: {told}");
    };
    // Half built.
    fs::create_dir_all(building.join("journal")).unwrap();
    fs::write(building.join("BEGUN"), "").unwrap();
    fs::write(building.join("journal/0000000000000001.log"), "half").unwrap();
    refuses_to_serve();
    let (code, told) = run_in(root.path(), "new", &["data", "restore", copy]);
    assert!(code == 0 && told.contains("timeline 2"), "{told}");
    assert_eq!(run_in(root.path(), "new", &["data", "verify"]).0, 0);

    // Whole, and cut off before its last step.
    fs::create_dir(&building).unwrap();
    fs::write(building.join("BEGUN"), "").unwrap();
    fs::write(building.join("WHOLE"), "what the first one had to tell").unwrap();
    fs::rename(new.join("IDENTITY"), building.join("IDENTITY")).unwrap();
    refuses_to_serve();
    assert_eq!(run_in(root.path(), "new", &["data", "verify"]).0, 1);
    let (code, told) = run_in(root.path(), "new", &["data", "restore", copy]);
    assert!(
        code == 0 && told.contains("nothing was read of") && told.contains("what the first one"),
        "{told}"
    );
    assert!(!building.exists());
    assert_eq!(run_in(root.path(), "new", &["data", "verify"]).0, 0);
    let (code, told) = run_in(root.path(), "new", &["data", "restore", copy]);
    assert!(code == 1 && told.contains("is in use"), "{told}");

    // What only has that name.
    let other = root.path().join("other/restoring.tmp");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("notes.txt"), "mine").unwrap();
    let (code, told) = run_in(root.path(), "other", &["data", "restore", copy]);
    assert!(code == 1 && told.contains("nothing was deleted"), "{told}");
    assert_eq!(fs::read(other.join("notes.txt")).unwrap(), b"mine");

    // A place that somebody holds.
    let held = root.path().join("held");
    fs::create_dir(&held).unwrap();
    let lock = fs::File::create(held.join("LOCK")).unwrap();
    lock.try_lock().unwrap();
    let (code, told) = run_in(root.path(), "held", &["data", "restore", copy]);
    assert!(code == 1 && told.contains("another process owns this directory"), "{told}");
    assert!(!held.join("restoring.tmp").exists());
}

#[test]
fn a_mount_point_is_filled_and_what_lies_on_a_disk_gone_read_only_is_read() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let volume = root.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let script = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-ec", script, "sh", BINARY]);
        command.args([&copy, &volume, &root.path().join("new")]);
        said(&mut command)
    };
    if script("mount -t tmpfs volume \"$3\"").0 != 0 {
        return skipped("mount points", "no user namespace with mounts of its own");
    }
    let (code, told) = script(
        "mount -t tmpfs volume \"$3\"; \"$1\" --data-dir \"$3\" data restore \"$2\"; \"$1\" --data-dir \"$3\" data verify; \
         test ! -e \"$3/restoring.tmp\"",
    );
    assert!(code == 0 && told.contains("sound: "), "{told}");
    let read_only = "mount --bind \"$2\" \"$2\"; mount -o remount,ro,bind \"$2\"; ! touch \"$2/x\" 2>&1; ";
    for (what, told_by_it) in [
        ("--data-dir \"$4\" data restore \"$2\"", "timeline 2"),
        ("--data-dir \"$2\" data inspect", "IDENTITY: cluster "),
        ("--data-dir \"$2\" data verify", "sound: "),
        ("--data-dir \"$2\" data dump", ""),
        ("--data-dir \"$2\" data backup \"$3/copy\"", "proved by a restore"),
        ("--data-dir \"$3/saved\" data salvage \"$2\"", "timeline 2"),
    ] {
        let (code, told) = script(&format!("{read_only} \"$1\" {what}"));
        assert!(code == 0 && told.contains("Read-only") && told.contains(told_by_it), "{what}: {told}");
    }
}

#[test]
fn whoever_does_not_own_a_directory_is_told_so_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy) = backup(root.path());
    let is_root = fs::metadata(root.path()).unwrap().uid() == 0;
    if !is_root {
        return skipped("owners", "only root can give a directory to another user");
    }
    // Run by root on the directory of the server's user.
    chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    let before = all(&data);
    let (code, told) = run_in(root.path(), "of", &["user", "list"]);
    assert!(code == 1 && told.contains("belongs to user 65534") && told.contains("sudo -u"), "{told}");
    assert_eq!(all(&data), before);
    let place = root.path().join("place");
    fs::create_dir(&place).unwrap();
    chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
    let (code, told) = run_in(root.path(), "place", &["data", "restore", copy.to_str().unwrap()]);
    assert!(code == 1 && told.contains("belongs to user 65534"), "{told}");
    assert_eq!(all(&place), []);
    // Whoever only looks may be anybody, and leaves no file that is not the owner's.
    assert_eq!(run_in(root.path(), "of", &["data", "verify"]).0, 0);

    // Run by somebody who may not even look. The binary lies where only its owner goes.
    chown(&data, Some(0), Some(0)).unwrap();
    let binary = root.path().join("portcullis");
    fs::copy(BINARY, &binary).unwrap();
    for (path, mode) in [(&binary, 0o755), (&root.path().to_owned(), 0o755), (&data, 0o700)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for args in [&["user", "list"][..], &["data", "verify"], &["data", "restore", copy.to_str().unwrap()]] {
        let mut command = Command::new(&binary);
        command.arg("--data-dir").arg(&data).args(args).uid(NOBODY).gid(NOBODY).current_dir(root.path());
        let (code, told) = said(&mut command);
        assert!(code == 1 && told.contains("ermission denied"), "{args:?}: {told}");
        assert!(!told.contains("holds nothing yet"), "{args:?}: {told}");
    }
    let (code, told) = run_in(root.path(), "nothing", &["user", "list"]);
    assert!(code == 3 && told.contains("holds nothing yet"), "{told}");
}
