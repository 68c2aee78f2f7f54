//! Where a restore may build, what it must leave alone there, and who may read a data directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::{BINARY, Process, Ran, skipped};

/// The user id of `nobody`.
const NOBODY: u32 = 65_534;

/// Runs the binary in the working directory `dir`, so that `data_dir` may be relative.
fn run_in(dir: &Path, data_dir: &str, args: &[&str]) -> Ran {
    Ran::of(Command::new(BINARY).args(["--data-dir", data_dir]).args(args).current_dir(dir))
}

/// Starts a server once in `of`, and backs it up with its keys. Returns its directory and the backup.
fn backup(root: &Path) -> (PathBuf, PathBuf) {
    let data = root.join("of");
    Process::start(&data).kill();
    run_in(root, "of", &["data", "backup", "copy", "--with-keys"]).exits(0);
    (data, root.join("copy"))
}

/// Returns every path below `dir`, with the content of the files.
fn all(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths.push((path.clone(), Vec::new()));
            paths.extend(all(&path));
        } else if path.is_file() {
            paths.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    paths.sort();
    paths
}

#[test]
fn a_restore_deletes_no_foreign_file_however_the_directory_is_spelled() {
    let root = tempfile::tempdir().unwrap();
    let (damaged, copy) = backup(root.path());
    let srv = root.path().join("srv");
    let deep = srv.join("x");
    fs::create_dir_all(srv.join("x/y")).unwrap();
    fs::write(srv.join("notes.txt"), "mine").unwrap();
    fs::write(srv.join("x/y/z"), "mine").unwrap();
    symlink(&srv, root.path().join("link")).unwrap();
    let before = all(&srv);
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
            let Ran { code, text } = run_in(cwd, data_dir, &["data", what, from.to_str().unwrap()]);
            assert_eq!(code, 1, "{what} into {data_dir}: {text}");
            let refused = text.contains("is not empty: ") || text.to_lowercase().contains("not a directory");
            assert!(refused, "{what} into {data_dir}: {text}");
            assert_eq!(all(&srv), before, "{what} into {data_dir}");
        }
    }
}

/// Lets `prepare` fill a new working directory below `root`, restores `copy` into `data_dir` there, and checks the
/// result. Returns the working directory.
fn restore_into(root: &Path, copy: &Path, data_dir: &str, prepare: impl Fn(&Path)) -> PathBuf {
    let cwd = tempfile::tempdir_in(root).unwrap().keep();
    prepare(&cwd);
    run_in(&cwd, data_dir, &["data", "restore", copy.to_str().unwrap()]).exits(0);
    run_in(&cwd, data_dir, &["data", "verify"]).exits(0);
    assert!(!cwd.join(data_dir).join("restoring.tmp").exists(), "{data_dir}");
    assert!(cwd.join(data_dir).join("keys/signing-00000001.key").exists(), "{data_dir}");
    cwd
}

#[test]
fn a_restore_builds_inside_the_directory_that_it_was_given() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    restore_into(root.path(), &copy, ".", |_| ());
    restore_into(root.path(), &copy, "new", |_| ());
    restore_into(root.path(), &copy, "a/b/c", |_| ());
    restore_into(root.path(), &copy, "x/..", |cwd| fs::create_dir(cwd.join("x")).unwrap());
    restore_into(root.path(), &copy, "link", |cwd| {
        fs::create_dir(cwd.join("target")).unwrap();
        symlink("target", cwd.join("link")).unwrap();
    });
    // Files that a file system keeps in its root, and those that an earlier command has left, are not in the way.
    restore_into(root.path(), &copy, "disk", |cwd| {
        fs::create_dir_all(cwd.join("disk/lost+found")).unwrap();
        fs::create_dir_all(cwd.join("disk/keys")).unwrap();
        fs::write(cwd.join("disk/LOCK"), "").unwrap();
    });
}

/// Kind: a message that names no place.
#[test]
fn a_start_without_keys_names_the_directory_that_they_belong_into() {
    let root = tempfile::tempdir().unwrap();
    let (data, _) = backup(root.path());
    let keys = data.join("keys");
    fs::rename(&keys, root.path().join("aside")).unwrap();
    for args in [&["serve"][..], &["data", "verify"], &["doctor"]] {
        let ran = run_in(root.path(), data.to_str().unwrap(), args).exits(1);
        ran.says(keys.to_str().unwrap()).says("move the keys of this installation there");
    }
}

/// Earlier versions built in a sibling directory, by a name in which these two would have been the same.
#[test]
fn a_restore_leaves_a_sibling_directory_of_a_similar_name_alone() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let cwd = restore_into(root.path(), &copy, "auth.prod", |cwd| {
        fs::create_dir(cwd.join("auth.restoring")).unwrap();
        fs::write(cwd.join("auth.restoring/notes.txt"), "mine").unwrap();
    });
    assert_eq!(fs::read(cwd.join("auth.restoring/notes.txt")).unwrap(), b"mine");
    Process::start(&cwd.join("auth.prod")).kill();
}

#[test]
fn a_restore_does_not_mix_its_keys_with_those_in_a_directory_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let keys = root.path().join("elsewhere/keys");
    let restore = |place: &str| {
        let mut command = Command::new(BINARY);
        command.env("PORTCULLIS__KEYS__DIR", &keys).current_dir(root.path());
        Ran::of(command.args(["--data-dir", place, "data", "restore", copy.to_str().unwrap()]))
    };
    restore("first").exits(0);
    assert!(keys.join("signing-00000001.key").exists());
    assert!(!root.path().join("first/keys").exists());
    restore("second").exits(1).says("elsewhere/keys holds keys").says("move the old ones away as well (mv ");
    assert!(!root.path().join("second").exists());
}

#[test]
fn a_half_built_restore_is_not_served_and_a_new_restore_replaces_it() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let building = root.path().join("new/restoring.tmp");
    fs::create_dir_all(building.join("journal")).unwrap();
    fs::write(building.join("BEGUN"), "").unwrap();
    fs::write(building.join("journal/0000000000000001.log"), "half").unwrap();
    run_in(root.path(), "new", &["serve"]).exits(1).says("restoring.tmp: a restore or salvage");
    run_in(root.path(), "new", &["data", "restore", copy.to_str().unwrap()]).exits(0).says("timeline 2");
    run_in(root.path(), "new", &["data", "verify"]).exits(0);
}

#[test]
fn a_restore_cut_off_before_its_last_step_is_not_served_and_is_finished() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let new = root.path().join("new");
    let building = new.join("restoring.tmp");
    let restore = || run_in(root.path(), "new", &["data", "restore", copy.to_str().unwrap()]);
    restore().exits(0);
    // As it was before its last step: whole, and without its `IDENTITY` in place.
    fs::create_dir(&building).unwrap();
    fs::write(building.join("BEGUN"), "").unwrap();
    fs::write(building.join("WHOLE"), "what the first one had to tell").unwrap();
    fs::rename(new.join("IDENTITY"), building.join("IDENTITY")).unwrap();
    run_in(root.path(), "new", &["serve"]).exits(1).says("restoring.tmp: a restore or salvage");
    run_in(root.path(), "new", &["data", "verify"]).exits(1);
    restore().exits(0).says("nothing was read of").says("what the first one");
    assert!(!building.exists());
    run_in(root.path(), "new", &["data", "verify"]).exits(0);
    restore().exits(1).says("is in use");
}

#[test]
fn a_directory_that_only_has_the_name_of_a_restore_is_not_deleted() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let other = root.path().join("other/restoring.tmp");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("notes.txt"), "mine").unwrap();
    let restore = ["data", "restore", copy.to_str().unwrap()];
    run_in(root.path(), "other", &restore).exits(1).says("nothing was deleted");
    assert_eq!(fs::read(other.join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_restore_does_not_touch_a_directory_that_another_process_has_locked() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let held = root.path().join("held");
    fs::create_dir(&held).unwrap();
    let lock = fs::File::create(held.join("LOCK")).unwrap();
    lock.try_lock().unwrap();
    let restore = ["data", "restore", copy.to_str().unwrap()];
    run_in(root.path(), "held", &restore).exits(1).says("another process owns this directory");
    assert!(!held.join("restoring.tmp").exists());
}

#[test]
fn no_second_process_gets_a_directory_whose_lock_file_was_removed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    let owner = Process::start(&dir);
    fs::remove_file(dir.join("LOCK")).unwrap();
    for command in [&["data", "verify"][..], &["data", "dump"], &["serve"]] {
        run_in(root.path(), "data", command).exits(1).says("another process owns this directory");
    }
    owner.kill();
    run_in(root.path(), "data", &["data", "verify"]).exits(0);
}

/// A mount point can be restored into although it cannot be renamed, and a read-only directory can be read by every
/// command that only reads.
#[test]
fn a_mount_point_is_filled_and_a_read_only_directory_is_read() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let volume = root.path().join("volume");
    fs::create_dir(&volume).unwrap();
    // In the scripts $1 is the binary, $2 the backup, $3 the volume, $4 a new directory.
    let script = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-ec", script, "sh", BINARY]);
        command.args([&copy, &volume, &root.path().join("new")]);
        Ran::of(&mut command)
    };
    if script("mount -t tmpfs volume \"$3\"").code != 0 {
        return skipped("mount points", "no user namespace with mounts of its own");
    }
    script(
        "mount -t tmpfs volume \"$3\"; \"$1\" --data-dir \"$3\" data restore \"$2\"; \"$1\" --data-dir \"$3\" data verify; \
         test ! -e \"$3/restoring.tmp\"",
    )
    .exits(0)
    .says("sound: ");
    // `touch` must fail, or the mount was not read-only.
    let read_only = "mount --bind \"$2\" \"$2\"; mount -o remount,ro,bind \"$2\"; ! touch \"$2/x\" 2>&1; ";
    for (arguments, expected) in [
        ("--data-dir \"$4\" data restore \"$2\"", "timeline 2"),
        ("--data-dir \"$2\" data inspect", "IDENTITY: cluster "),
        ("--data-dir \"$2\" data verify", "sound: "),
        ("--data-dir \"$2\" data dump", ""),
        ("--data-dir \"$2\" data backup \"$3/copy\"", "restored for a test"),
        ("--data-dir \"$3/saved\" data salvage \"$2\"", "timeline 2"),
    ] {
        script(&format!("{read_only} \"$1\" {arguments}")).exits(0).says("Read-only").says(expected);
    }
}

/// Kind: a copy that is spoiled by looking at it.
#[test]
fn no_command_changes_a_backup_and_those_that_would_say_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let (_, copy) = backup(root.path());
    let backup = copy.to_str().unwrap();
    let before = all(&copy);
    for args in [
        &["serve"][..],
        &["user", "list"],
        &["user", "show", "ada@example.org"],
        &["session", "list", "ada@example.org"],
        &["key", "list"],
        &["key", "rotate"],
        &["api-key", "list"],
        &["mail", "test", "ada@example.org"],
        &["audit", "acknowledge"],
        &["audit", "tail", "--account", "ada@example.org"],
    ] {
        run_in(root.path(), backup, args).exits(1).says("is a backup").says("data restore");
        assert_eq!(all(&copy), before, "{args:?}");
    }
    for args in [
        &["data", "inspect"][..],
        &["data", "verify"],
        &["data", "dump"],
        &["data", "backup", "second"],
        &["audit", "verify"],
        &["audit", "tail"],
        &["doctor"],
        &["data", "restore", backup],
        &["data", "salvage", backup],
    ] {
        let ran = run_in(root.path(), backup, args);
        assert!(ran.code <= 1, "{args:?}: {}", ran.text);
        assert_eq!(all(&copy), before, "{args:?}: {}", ran.text);
    }
    run_in(root.path(), "new", &["data", "restore", backup]).exits(0);
    fs::write(copy.join("UNFINISHED"), "").unwrap();
    run_in(root.path(), backup, &["user", "list"]).exits(1).says("was not finished").says("another one");
}

fn is_root(path: &Path) -> bool {
    fs::metadata(path).unwrap().uid() == 0
}

#[test]
fn root_is_told_to_become_the_owner_of_a_directory_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy) = backup(root.path());
    if !is_root(root.path()) {
        return skipped("a directory of another user", "only root can give a directory to another user");
    }
    chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    let before = all(&data);
    for args in [
        &["serve"][..],
        &["serve", "--production"],
        &["user", "list"],
        &["key", "rotate"],
        &["mail", "test", "ada@example.org"],
        &["audit", "acknowledge"],
    ] {
        let ran = run_in(root.path(), "of", args).exits(1).says("belongs to user 65534");
        ran.says("runuser -u nobody -- portcullis");
        assert_eq!(all(&data), before, "{args:?}");
    }
    // One directory of another user is enough, wherever it is.
    let keys = root.path().join("keys");
    fs::create_dir(&keys).unwrap();
    chown(&keys, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["--data-dir", "new", "serve"]).env("PORTCULLIS__KEYS__DIR", &keys).current_dir(root.path());
    Ran::of(&mut command).exits(1).says(&format!("{} belongs to user 65534", keys.display()));
    assert!(!root.path().join("new").exists());

    let place = root.path().join("place");
    fs::create_dir(&place).unwrap();
    chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
    let restore = ["data", "restore", copy.to_str().unwrap()];
    run_in(root.path(), "place", &restore).exits(1).says("belongs to user 65534");
    assert_eq!(all(&place), []);
    // Commands that only read may be run by root, since they leave no file that is not the owner's.
    run_in(root.path(), "of", &["data", "verify"]).exits(0);
}

#[test]
fn a_user_who_may_not_read_a_directory_is_refused_for_that_reason() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy) = backup(root.path());
    if !is_root(root.path()) {
        return skipped("a user without permission", "only root can become another user");
    }
    // The build directory may be closed to other users, so they get a copy of the binary.
    let binary = root.path().join("portcullis");
    fs::copy(BINARY, &binary).unwrap();
    for (path, mode) in [(&binary, 0o755), (&root.path().to_owned(), 0o755), (&data, 0o700)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for args in [&["user", "list"][..], &["data", "verify"], &["data", "restore", copy.to_str().unwrap()]] {
        let mut command = Command::new(&binary);
        command.arg("--data-dir").arg(&data).args(args).uid(NOBODY).gid(NOBODY).current_dir(root.path());
        Ran::of(&mut command).exits(1).says("ermission denied").does_not_say("holds nothing yet");
    }
    run_in(root.path(), "nothing", &["user", "list"]).exits(3).says("holds nothing yet");
}
