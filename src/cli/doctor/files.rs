//! Checks of directories and files for `portcullis doctor`: who can read them, and whether secrets are there.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use portcullis::config::{Config, SecretFile};
use portcullis::password::KnownBad;
use portcullis::system::file_error::FileError;
use portcullis::system::volume;

use super::{Line, ownership};
use crate::cli::counted;
use crate::cli::new_directory::refuse_backup;

/// How many segments of the journal must fit on the disk.
const SEGMENTS_FREE: u64 = 4;
/// How many files must be possible on it.
const INODES_FREE: u64 = 64;

/// Checks the directories and files of `config`.
pub(super) fn checks(config: &Config) -> Vec<Line> {
    let mut lines: Vec<Line> = [&config.data_dir, &config.keys.dir, &config.audit.dir]
        .into_iter()
        .map(|dir| {
            let why =
                "a user who can read it can forge tokens, guess passwords offline, or learn who logs in from where";
            let what = format!("permissions of {}", dir.display());
            Line::new(is_closed(dir), "fail", what, why, format!("chmod 0700 {}", dir.display()))
        })
        .collect();
    lines.extend(use_of_parts(config));
    lines.extend([&config.data_dir, &config.audit.dir].into_iter().filter_map(|dir| space(dir, config)));
    lines.extend(config.secret_lines().into_iter().map(|(key, file)| with_first_line(key, file)));
    for (key, file) in [
        ("keys.master_file", &config.keys.master_file),
        ("password.pepper_file", &config.password.pepper_file),
    ] {
        lines.extend(file.as_ref().map(|file| secret(key, file)));
    }
    let list = KnownBad::load(config.password.list_file.as_deref());
    let fix = list.as_ref().err().map_or_else(String::new, |error| format!("make it readable: {error}"));
    lines.push(Line::new(
        list.is_ok(),
        "fail",
        "list of known passwords",
        "password.list_file cannot be read, so the server will not start",
        fix,
    ));
    lines
}

/// Checks that a server that runs as this user can use each directory and file, by trying, and that all belong to one user.
fn use_of_parts(config: &Config) -> Vec<Line> {
    let user = rustix::process::geteuid();
    let dir = config.data_dir.display();
    if refuse_backup(&config.data_dir).is_err() {
        return vec![Line::new(true, "fail", format!("{dir} is a backup, and is not changed"), "", "")];
    }
    let why = "the server cannot write it, so it does not start, or stops";
    let mut lines: Vec<Line> = ownership::unusable(config)
        .into_iter()
        .map(|error| {
            let (path, fix) = match FileError::within(&error) {
                Some(error) => (error.path().display().to_string(), error.what()),
                None => (dir.to_string(), error.to_string()),
            };
            Line::new(false, "fail", format!("use of {path} by user {user}"), why, fix)
        })
        .collect();
    if lines.is_empty() {
        lines.push(Line::new(true, "fail", format!("use of {dir} by user {user}"), "", ""));
    }
    if let Some(((owner, group), files)) = ownership::foreign(config)
        && !files.is_empty()
    {
        let count = counted(files.len() as u64, "file", "files");
        let what = format!("{count} of another user than {owner}, to whom {dir} belongs");
        let why = "the server of that user cannot use them, so it does not start";
        lines.push(Line::new(false, "fail", what, why, ownership::remedy(&files, owner, group)));
    }
    lines
}

/// Checks that the volume of `dir` has room for what a server writes next. `None` if it cannot be asked.
fn space(dir: &Path, config: &Config) -> Option<Line> {
    let existing = std::path::absolute(dir).ok()?;
    let existing = existing.ancestors().find(|dir| dir.exists())?;
    let space = volume::space(existing).ok()?;
    let inodes = volume::inodes_free(existing).ok()?;
    // A file system that says nothing of its size cannot be full.
    let needed = config.journal.segment_bytes.saturating_mul(SEGMENTS_FREE);
    let has_room = space.total == 0 || space.free >= needed;
    let has_inodes = inodes.is_none_or(|free| free >= INODES_FREE);
    let inodes = inodes.map_or_else(String::new, |free| format!(" and {free} inodes"));
    let what = format!("space for {}, {} MiB{inodes} free", dir.display(), space.free >> 20);
    let why =
        "without room the server answers 503 to whatever changes something, and writes no security events";
    let fix = if has_room {
        String::from("remove files from its disk, or make a file system with more inodes")
    } else {
        format!("make room on its disk: at least {} MiB", needed >> 20)
    };
    Some(Line::new(has_room && has_inodes, "fail", what, why, fix))
}

/// Checks a file whose first line is a secret for mails or alerts.
fn with_first_line(key: &str, file: &SecretFile) -> Line {
    let Ok(path) = file.resolved() else { return secret(key, file) };
    let what = format!("secret in {file}");
    let why =
        "it is missing, or other users can read it: mails or alerts cannot be sent, or others can send them";
    let fix = format!("write the secret into its first line, and {}", close(&path));
    Line::new(file.read_line().is_ok() && is_secret(&path), "fail", what, why, fix)
}

/// Checks the file of a secret that keys or passwords depend on.
fn secret(key: &str, file: &SecretFile) -> Line {
    let what = format!("secret in {file}");
    let path = match file.resolved() {
        Ok(path) => path,
        Err(error) => {
            let why = "not checked: systemd gives it to the unit of the server alone";
            let fix = format!(
                "{error}; to check it too, run: systemd-run --pipe --property=LoadCredential={} portcullis doctor",
                file.to_string().replacen("credential:", "", 1) + ":PATH"
            );
            return Line::new(false, "warn", what, why, fix);
        }
    };
    if let Err(error) = std::fs::File::open(&path) {
        let why = "it cannot be read, so the server will not start";
        return Line::new(
            false,
            "fail",
            what,
            why,
            format!("set {key} to a file that this user can read: {error}"),
        );
    }
    let why = "other users can read it, and open a stolen copy of the keys or guess passwords with it";
    Line::new(is_secret(&path), "fail", what, why, close(&path))
}

/// Says how to close a file to other users.
fn close(file: &Path) -> String {
    let file = file.display();
    format!("chmod 0600 {file}, or give it to the server by LoadCredential= of systemd")
}

/// Says whether only its owner can read the directory `path`. One that does not exist yet will be created that way.
fn is_closed(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |metadata| metadata.permissions().mode().trailing_zeros() >= 6)
}

/// Says whether only the server and the owner of the file can read it. A file that does not exist is checked elsewhere.
fn is_secret(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    std::fs::metadata(path)
        .map_or(true, |metadata: Metadata| is_secret_of(metadata.mode(), metadata.uid() == own))
}

/// Says whether a file of this mode is secret. A file of root that the server's group may read is: systemd gives
/// credentials in that way, and so do packages that keep the server from changing its secrets.
fn is_secret_of(mode: u32, is_own: bool) -> bool {
    mode.trailing_zeros() >= if is_own { 6 } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_by_the_server_alone_whoever_owns_the_file() {
        for (mode, is_own, is_secret) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o400, false, true),
            (0o440, false, true),
            (0o640, false, true),
            (0o640, true, false),
            (0o604, true, false),
            (0o444, false, false),
            (0o644, true, false),
            (0o602, true, false),
        ] {
            assert_eq!(is_secret_of(0o100_000 | mode, is_own), is_secret, "{mode:o} {is_own}");
        }
    }
}
