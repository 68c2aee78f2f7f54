//! What the system hands over is bytes: variables, arguments, paths and files that are not UTF-8 work, or are mistakes
//! that are named.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::support::process::{BINARY, Process, Ran, serve};

/// "café" in Latin-1.
const CAFE: &[u8] = b"caf\xE9";

fn check(variable: &[u8], value: &[u8]) -> Ran {
    let mut command = Command::new(BINARY);
    Ran::of(command.args(["config", "show"]).env(OsStr::from_bytes(variable), OsStr::from_bytes(value)))
}

#[test]
fn variables_of_others_may_hold_any_bytes_and_ours_are_named() {
    check(b"ANY_OTHER", CAFE).exits(0);
    check(b"caf\xE9", b"x").exits(0);
    check(b"PORTCULLIS", CAFE).exits(0);
    check(b"RUST_LOG", CAFE).exits(0);
    // `config show` lists what is set, right or wrong; `config check` judges it.
    check(b"PORTCULLIS__AUDIT__DIR", b"/srv/caf\xE9").exits(0).says("audit.dir = \"/srv/caf\u{FFFD}\"");
    let judged = |variable: &[u8], value: &[u8]| {
        let mut command = Command::new(BINARY);
        Ran::of(command.args(["config", "check"]).env(OsStr::from_bytes(variable), OsStr::from_bytes(value)))
    };
    judged(b"PORTCULLIS__AUDIT__DIR", b"/srv/caf\xE9").exits(0);
    for (variable, value, said) in [
        (&b"PORTCULLIS__SERVICE_NAME"[..], &b"K\xF6nig"[..], "`service_name` must be UTF-8"),
        (b"PORTCULLIS__LOCKOUT__FAILURES", b"\xB2", "`lockout.failures` must be a whole number"),
        (b"PORTCULLIS__HTTP__TRUSTED_PROXIES", b"\xFF", "`http.trusted_proxies` must be"),
        (b"PORTCULLIS__MACHINE__DEDICATED", b"\xFF", "PORTCULLIS__MACHINE__DEDICATED: "),
        (b"PORTCULLIS__CAF\xC9", b"x", "the name of this variable is not UTF-8"),
    ] {
        judged(variable, value).exits(2).says(said);
    }
}

#[test]
fn a_configuration_that_is_not_utf8_is_one_mistake_with_its_line_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(OsStr::from_bytes(b"caf\xE9.toml"));
    let check = || Ran::of(Command::new(BINARY).args(["config", "check", "--config"]).arg(&file));
    fs::write(&file, b"[lockout]\nfailures = 3\n").unwrap();
    check().exits(0);
    fs::write(&file, b"[http]\n# K\xF6nig\nlisen = 1\n").unwrap();
    check().exits(2).says(".toml:2: byte 10 of the file (0xF6) is not UTF-8").says("has 1 mistake");
    // UTF-16, as an editor of another system may save it.
    fs::write(&file, b"\xFF\xFE[\0h\0").unwrap();
    check().exits(2).says(".toml:1: byte 0 of the file (0xFF)");
}

#[test]
fn an_argument_that_is_not_utf8_is_a_wrong_usage_or_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&OsStr]| Ran::of(Command::new(BINARY).args(args).current_dir(dir.path()));
    let cafe = OsStr::from_bytes(CAFE);
    run(&["user".as_ref(), "show".as_ref(), cafe]).exits(2).says("UTF-8");
    run(&["serve".as_ref(), cafe]).exits(2);
    run(&["init".as_ref(), cafe]).exits(0);
    assert!(dir.path().join(cafe).is_file());
}

/// A server whose directory has such a name is reached, backed up, restored and verified there, and not beside it.
#[test]
fn a_data_directory_may_have_any_name_and_strangers_in_it_too() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join(OsStr::from_bytes(CAFE));
    let strange = OsStr::from_bytes(b"\xFE\xFF.key");
    for sub in ["keys", "outbox", "journal", "snapshot", "audit"] {
        fs::create_dir_all(data.join(sub)).unwrap();
        fs::write(data.join(sub).join(strange), "of another program").unwrap();
    }
    let run = |args: &[OsString], dir: &Path| {
        Ran::of(Command::new(BINARY).args(args).arg("--data-dir").arg(dir).current_dir(root.path()))
    };
    let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    let mut server = Process::spawn(serve(&data));
    run(&words("user add ada@example.org --no-password"), &data).exits(0);
    let online = [OsString::from("data"), "backup".into(), OsStr::from_bytes(b"online\xE9").into()];
    run(&online, &data).exits(2).says("takes a path in UTF-8 alone");
    assert!(!root.path().join(&online[2]).exists());
    assert_eq!(server.stop(), Some(0));
    run(&words("user list"), &data).exits(0).says("ada@example.org");
    run(&words("data verify"), &data).exits(0).says("sound: ");
    let copy = root.path().join(OsStr::from_bytes(b"copy\xE9"));
    let mut back_up = words("data backup");
    back_up.extend([copy.clone().into(), "--with-keys".into()]);
    run(&back_up, &data).exits(0);
    let restored = root.path().join(OsStr::from_bytes(b"new\xE9"));
    let mut restore = words("data restore");
    restore.push(copy.into());
    run(&restore, &restored).exits(0);
    run(&words("user list"), &restored).exits(0).says("ada@example.org");
    let mut names: Vec<_> =
        fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected = [&b"caf\xE9"[..], b"copy\xE9", b"new\xE9"];
    assert_eq!(names, expected.map(OsStr::from_bytes));
    assert_eq!(fs::read_to_string(data.join("keys").join(strange)).unwrap(), "of another program");
}
