//! Whether this process, and the user of the server, can use each directory and file of the server.
//!
//! **The fault:** root runs the server once in the directory of the service. Each file that it makes is root's, and the next
//! start as the service fails at the first of them, then at the second. So root is refused there by `serve` and by every
//! command that writes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portcullis::config::Config;
use portcullis::system::file_error::{at, at_dir};
use rustix::fs::{Access, AtFlags, CWD};

use crate::cli::{Failure, counted};

/// A directory of the server and the files that it keeps there.
struct Part {
    dir: PathBuf,
    files: Vec<PathBuf>,
}

/// Returns each directory that is there, with its files. What others keep beside them is passed over.
fn parts(config: &Config) -> Vec<Part> {
    let data = &config.data_dir;
    let is_of_data = |name: &str| ["LOCK", "IDENTITY", "audit.end", "throttle.bin"].contains(&name);
    let ends_with =
        |ends: &'static [&'static str]| move |name: &str| ends.iter().any(|end| name.ends_with(end));
    vec![
        part(data, &is_of_data),
        part(&data.join("journal"), &ends_with(&[".log", ".tmp"])),
        part(&data.join("snapshot"), &ends_with(&[".snap"])),
        part(&data.join("events"), &ends_with(&[".log", ".json"])),
        part(&data.join("quarantine"), &|_| false),
        part(&data.join("outbox"), &|_| false),
        part(&config.keys.dir, &ends_with(&[".key", ".from", ".used"])),
        part(&config.audit.dir, &ends_with(&[".jsonl"])),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn part(dir: &Path, is_own: &dyn Fn(&str) -> bool) -> Option<Part> {
    if !dir.is_dir() {
        return None;
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let own = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_own));
    let mut files: Vec<PathBuf> = own.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Some(Part { dir: dir.to_owned(), files })
}

/// Tries to open each part for writing, and returns why it cannot be. Changes nothing.
pub(in crate::cli) fn unusable(config: &Config) -> Vec<io::Error> {
    let mut errors = Vec::new();
    for Part { dir, files } in parts(config) {
        if let Err(error) = check_dir(&dir) {
            errors.push(error);
            continue;
        }
        for path in files {
            let mut options = fs::OpenOptions::new();
            // Another process may have put a pipe there.
            options.read(true).write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
            errors.extend(options.open(&path).map_err(at(&path)).err());
        }
    }
    if !config.data_dir.exists() {
        // The first start makes it.
        let here = Path::new(".");
        let above =
            config.data_dir.ancestors().map(|dir| if dir.as_os_str().is_empty() { here } else { dir });
        let existing = above.into_iter().find(|dir| dir.exists()).unwrap_or(here);
        errors.extend(access(existing).map_err(at_dir(&config.data_dir)).err());
    }
    errors
}

fn check_dir(dir: &Path) -> io::Result<()> {
    access(dir).map_err(at_dir(dir))
}

fn access(dir: &Path) -> io::Result<()> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, dir, all, AtFlags::EACCESS).map_err(io::Error::from)
}

/// Returns user and group of the data directory, and each part of it that belongs to another user.
pub(in crate::cli) fn foreign(config: &Config) -> Option<((u32, u32), BTreeSet<PathBuf>)> {
    let found = fs::metadata(&config.data_dir).ok()?;
    let owner = found.uid();
    let paths = parts(config).into_iter().flat_map(|Part { dir, files }| std::iter::once(dir).chain(files));
    let is_foreign = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.uid() != owner);
    Some(((owner, found.gid()), paths.filter(is_foreign).collect()))
}

/// Refuses to start in a directory of this user with files that another user has made and this one cannot use: it names all
/// of them at once.
pub(in crate::cli) fn refuse_foreign_files(config: &Config) -> Result<(), Failure> {
    let Some(((owner, group), mut files)) = foreign(config) else { return Ok(()) };
    if owner != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let cannot_use = |path: &PathBuf| {
        if path.is_dir() {
            access(path).is_err()
        } else {
            fs::OpenOptions::new().read(true).write(true).open(path).is_err()
        }
    };
    files.retain(cannot_use);
    if files.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{} of another user in {}, which belongs to user {owner}, cannot be used: a command or a server ran there as that user; \
         {}",
        counted(files.len() as u64, "file", "files"),
        config.data_dir.display(),
        remedy(&files, owner, group)
    )))
}

/// Says how to give `files` to the user of the directory.
pub(in crate::cli) fn remedy(files: &BTreeSet<PathBuf>, owner: u32, group: u32) -> String {
    let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    format!("as root: chown {owner}:{group} {}", files.join(" "))
}

/// Refuses to write as root into a directory of another user. The server of that user could not use the files.
///
/// A directory that is not there yet is root's once it is made, and a service manager that starts the server as its own user
/// is not concerned.
pub(in crate::cli) fn refuse_root_among_others(config: &Config) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    [&config.data_dir, &config.keys.dir, &config.audit.dir].into_iter().try_for_each(|dir| refuse_other(dir))
}

/// Refuses to write as this user into a data directory of any other one, and as root into any other directory of others.
pub(in crate::cli) fn refuse_another_owner(config: &Config) -> Result<(), Failure> {
    refuse_other(&config.data_dir)?;
    refuse_root_among_others(config)
}

/// Refuses a directory that belongs to another user. Accepts one that does not exist.
fn refuse_other(dir: &Path) -> Result<(), Failure> {
    let found = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(at_dir(dir)).map_err(Failure::refused)?,
    };
    let (owner, own) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == own {
        return Ok(());
    }
    let instead = if rustix::process::geteuid().is_root() {
        format!(" (or, if no other server uses it, give it to root: chown 0 {})", dir.display())
    } else {
        String::new()
    };
    Err(Failure::refused(format!(
        "{} belongs to user {owner}, and this is user {own}, whose files that one could not use: run it as that user, with \
         {} portcullis …{instead}",
        dir.display(),
        run_as(owner, found.gid())
    )))
}

/// Returns how a command line begins that runs the rest of it as the user `uid`.
pub(in crate::cli) fn run_as(uid: u32, gid: u32) -> String {
    let name = name_of(uid);
    match (rustix::process::geteuid().is_root(), name) {
        (true, Some(name)) => format!("runuser -u {name} --"),
        (true, None) => format!("setpriv --reuid={uid} --regid={gid} --clear-groups --"),
        (false, Some(name)) => format!("sudo -u {name}"),
        (false, None) => format!("sudo -u '#{uid}'"),
    }
}

/// Returns the name of the user `uid`, as the system knows it, if that is a word for a command line.
fn name_of(uid: u32) -> Option<String> {
    let output =
        Command::new("id").args(["-nu", "--", &uid.to_string()]).stderr(Stdio::null()).output().ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (output.status.success() && !name.is_empty() && name.chars().all(is_word)).then_some(name)
}
