//! `portcullis data backup`.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::audit::copy;
use portcullis::audit::ends::Record;
use portcullis::audit::verify::verify;
use portcullis::config::Config;
use portcullis::engine::partition::key_files;
use portcullis::journal::archive::{
    Restored, SUMS, UNFINISHED, add_sums, admit_all, back_up, check_sums, restore,
};
use portcullis::journal::format::layout::{IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR};
use portcullis::journal::recovery::replay::RecoveryTarget;
use portcullis::server::operator::operation::Operation;
use portcullis::server::operator::socket;
use portcullis::storage::local::LocalStorage;
use portcullis::storage::{Storage, unlink_if_there};
use portcullis::system::clock::Clock;
use portcullis::system::file_error::{self, at_dir};
use portcullis::system::random::Random;
use portcullis::token::{KeyFiles, Keys, Sealing};
use serde_json::{Value, json};

use super::restore::Belonging;
use super::{SIZES, destination, lock_to_read, open};
use crate::cli::new_directory::{copy_keys, names_in_use};
use crate::cli::{Cli, Failure, counted, operate, shown};

/// The subdirectory of the keys.
const KEYS_DIR: &str = "keys";
/// The subdirectory in which the copy is restored for a test.
const PROOF_DIR: &str = "proof";

/// Copies the data directory of `config` to `to`, through the running server if there is one, and proves the copy.
pub(super) fn run(cli: &Cli, config: &Config, to: &Path, with_keys: bool) -> Result<(), Failure> {
    refuse_own_place(config, to)?;
    let used = names_in_use(to)?;
    let is_leftover = used.iter().any(|name| name == UNFINISHED);
    // Nothing but a backup makes is removed.
    if let Some(used) = used.iter().find(|name| !(is_leftover && is_of_backup(name))) {
        return Err(Failure::refused(format!(
            "{} is not empty: {} is in it; name an empty directory",
            to.display(),
            used.display()
        )));
    }
    let sealing = sealing(config)?;
    if with_keys && sealing == Sealing::NoKeys {
        let what = format!("there are no keys in {} to copy; set keys.dir", config.keys.dir.display());
        return Err(Failure::refused(what));
    }
    let server = server_user(config);
    refuse_place_of_another(to, server)?;
    let unfinished = Unfinished::begin(to)?;
    let to = unfinished.dir.clone();
    let has_keys = with_keys || sealing == Sealing::Sealed;
    copy_data(config, &to, has_keys)?;
    let log = copy_log(config, &to)?;
    if has_keys {
        let keys = LocalStorage::open(&to.join(KEYS_DIR)).map_err(Failure::refused)?;
        copy_keys(&config.keys.dir, &keys, true)?;
    }
    let restored = prove(config, &to, has_keys)?;
    if let Some((user, group)) = server.filter(|server| !is_own(*server)) {
        hand_over(&to, user, group).map_err(|error| Failure::at(&to, &error))?;
    }
    unfinished.finish()?;
    let made = Made { to, restored, log, sealing, has_keys, keys_dir: config.keys.dir.clone() };
    cli.answer(&made.text(), &made.json());
    Ok(())
}

/// Refuses the data directory as a place, and every place in a directory whose files the server reads.
fn refuse_own_place(config: &Config, to: &Path) -> Result<(), Failure> {
    let data = &config.data_dir;
    let is_data = to.canonicalize().is_ok_and(|to| data.canonicalize().is_ok_and(|data| to == data));
    let place = existing_part(to);
    let is_in = |dir: &Path| dir.canonicalize().is_ok_and(|dir| place.starts_with(dir));
    let parts = ["outbox", JOURNAL_DIR, SNAPSHOT_DIR].map(|name| data.join(name));
    let mut own = parts.iter().chain([&config.keys.dir, &config.audit.dir]);
    if is_data || own.any(|dir| is_in(dir)) {
        let what = "is a directory of the server itself; a backup belongs on another disk";
        return Err(Failure::refused(format!("{} {what}: name an empty directory there", to.display())));
    }
    Ok(())
}

/// Returns user and group of the running server, which writes its part of a backup itself; `None` if none runs.
fn server_user(config: &Config) -> Option<(u32, u32)> {
    socket::connect(&config.data_dir).ok()?;
    let found = fs::metadata(socket::path(&config.data_dir)).ok()?;
    Some((found.uid(), found.gid()))
}

fn is_own((user, _): (u32, u32)) -> bool {
    user == rustix::process::geteuid().as_raw()
}

/// Refuses the place `to` if the running server of another user cannot write there.
fn refuse_place_of_another(to: &Path, server: Option<(u32, u32)>) -> Result<(), Failure> {
    let Some((user, group)) = server.filter(|server| !is_own(*server)) else { return Ok(()) };
    if fs::metadata(to).is_ok_and(|found| found.uid() == user) {
        return Ok(());
    }
    let to = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
    let to = to.display();
    Err(Failure::refused(format!(
        "the running server writes the backup itself, as user {user}, group {group}, and {to} is not a directory of that \
         user: make it, as root: install -d -o {user} -g {group} -m 0700 {to}"
    )))
}

/// Gives the files of a backup in `dir` to the user of the server, who could not read those of this one.
fn hand_over(dir: &Path, user: u32, group: u32) -> io::Result<()> {
    for entry in dir.read_dir().map_err(at_dir(dir))? {
        let path = entry.map_err(at_dir(dir))?.path();
        lchown(&path, Some(user), Some(group)).map_err(file_error::at(&path))?;
        if fs::symlink_metadata(&path).map_err(file_error::at(&path))?.is_dir() {
            hand_over(&path, user, group)?;
        }
    }
    Ok(())
}

/// Returns the part of `path` that exists, without symbolic links.
fn existing_part(path: &Path) -> PathBuf {
    let here = Path::new(".");
    let mut parts = path.ancestors().map(|part| if part.as_os_str().is_empty() { here } else { part });
    parts.find_map(|part| part.canonicalize().ok()).unwrap_or_else(|| path.to_owned())
}

/// The subdirectories that a backup makes, and the files beside them.
const DIRS: [&str; 5] = [JOURNAL_DIR, SNAPSHOT_DIR, copy::DIR, KEYS_DIR, PROOF_DIR];
const FILES: [&str; 3] = [IDENTITY, SUMS, copy::RECORD];

/// Says whether a backup makes a file or a directory of this name.
fn is_of_backup(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let name = name.strip_suffix(".tmp").unwrap_or(&name);
    name == UNFINISHED || DIRS.contains(&name) || FILES.contains(&name)
}

/// A backup that is not finished: if it is dropped, nothing is left of it. If the process is killed, the next backup into the
/// directory takes it over.
struct Unfinished {
    dir: PathBuf,
    is_new: bool,
    is_finished: bool,
    /// Held locked, so that no other backup takes the directory over meanwhile.
    _mark: File,
}

impl Unfinished {
    /// Creates the directory `dir`, unless it is there, and marks it. What is left of a backup that was cut off is removed.
    ///
    /// Errors: a backup into it is at work.
    fn begin(dir: &Path) -> Result<Self, Failure> {
        let is_new = !dir.exists();
        let storage = LocalStorage::open(dir).map_err(|error| Failure::at(dir, &error))?;
        // The running server has another working directory.
        let dir = dir.canonicalize().map_err(|error| Failure::at(dir, &error))?;
        let path = dir.join(UNFINISHED);
        let mark = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mark = mark.map_err(|error| Failure::at(&path, &error))?;
        lock(&mark, &dir)?;
        // The server copies its part itself, and goes on after a command that was killed.
        let of_server = File::open(&dir).map_err(|error| Failure::at(&dir, &error))?;
        lock(&of_server, &dir)?;
        drop(of_server);
        let unfinished = Self { dir, is_new, is_finished: false, _mark: mark };
        unfinished.clear();
        fs::write(&path, "a backup at work, or one that was cut off\n")
            .and_then(|()| storage.sync_dir(""))
            .map_err(|error| Failure::at(&path, &error))?;
        Ok(unfinished)
    }

    /// Removes all that a backup makes but the mark.
    fn clear(&self) {
        for name in DIRS {
            let _ = fs::remove_dir_all(self.dir.join(name));
        }
        for name in FILES {
            let _ = fs::remove_file(self.dir.join(name));
            let _ = fs::remove_file(self.dir.join(format!("{name}.tmp")));
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        let storage = LocalStorage::open(&self.dir).map_err(|error| Failure::at(&self.dir, &error))?;
        let done = unlink_if_there(&storage, UNFINISHED).and_then(|()| storage.sync_dir(""));
        done.map_err(|error| Failure::at(&self.dir, &error))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // If something cannot be removed, the mark stays.
        self.clear();
        if names_in_use(&self.dir).is_ok_and(|names| names == [UNFINISHED]) {
            let _ = fs::remove_file(self.dir.join(UNFINISHED));
        }
        if self.is_new {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// Locks a file of the backup in `dir`, or the directory itself.
fn lock(file: &File, dir: &Path) -> Result<(), Failure> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Failure::refused(format!(
            "a backup into {} is at work, or the server finishes what an interrupted one has begun: wait for it, or name \
             another directory",
            dir.display()
        ))),
        // Some network file systems lock no directories.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Copies snapshots and journal.
fn copy_data(config: &Config, to: &Path, with_keys: bool) -> Result<(), Failure> {
    if let Ok(stream) = socket::connect(&config.data_dir) {
        if to.to_str().is_none() {
            // The question to the server is JSON.
            let what =
                "the running server takes a path in UTF-8 alone: name another directory, or stop it first";
            return Err(Failure::usage(format!("{}: {what}", to.display())));
        }
        let answer = operate::ask(stream, &Operation::Backup { to: to.to_owned(), with_keys })?;
        return match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(Failure::refused(error)),
            None => Ok(()),
        };
    }
    let from = open(&config.data_dir)?;
    let _lock = lock_to_read(&*from)?;
    back_up(&*from, &*open(to)?, SIZES).map(drop).map_err(Failure::refused)
}

/// The copy of the log of security events.
struct LogCopy {
    files: u64,
    /// The number of its lines, if they follow one from the other up to the recorded end, or why they do not. `None` if
    /// its key is not here.
    checked: Option<Result<u64, String>>,
}

impl LogCopy {
    fn text(&self) -> String {
        match &self.checked {
            None => {
                format!("{}, not verified, since its key is not here", counted(self.files, "file", "files"))
            }
            Some(Ok(lines)) => format!("{}, unbroken", counted(*lines, "line", "lines")),
            Some(Err(broken)) => format!("WARNING, it is not unbroken: {broken}"),
        }
    }
}

/// Copies the log of security events, with the record of its ends, and verifies the copy. A log that is not unbroken is
/// copied as it is: it is evidence.
fn copy_log(config: &Config, to: &Path) -> Result<LogCopy, Failure> {
    let storage = open(to)?;
    let copied = copy::copy(&config.audit.dir, &*open(&config.data_dir)?, &*storage);
    let copied = copied.map_err(|error| Failure::at(&config.audit.dir, &error))?;
    add_sums(&*storage, &copied.sums).map_err(|error| Failure::at(to, &error))?;
    let files =
        copied.sums.iter().filter(|(path, _)| path.starts_with(copy::DIR) && path != copy::RECORD).count();
    let has_keys = LocalStorage::open_existing(&config.keys.dir).is_ok();
    let files_of_keys = if has_keys { key_files(config, &Arc::new(Random::system())).ok() } else { None };
    let key = files_of_keys.and_then(|files| Keys::load_audit(&files).ok());
    let checked = key.map(|key| {
        let record = Record::read(&*storage, &key)?;
        let found = verify(&to.join(copy::DIR), &key, Some(&record))?;
        Ok(found.map(|log| log.lines).map_err(|broken| broken.to_string()))
    });
    let checked = checked.transpose().map_err(|error: io::Error| Failure::at(to, &error))?;
    Ok(LogCopy { files: files as u64, checked })
}

/// Says how the key files of `config` are stored.
fn sealing(config: &Config) -> Result<Sealing, Failure> {
    let dir = &config.keys.dir;
    let storage = match LocalStorage::open_existing(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sealing::NoKeys),
        storage => storage.map_err(|error| Failure::at(dir, &error))?,
    };
    KeyFiles::new(Arc::new(storage), None, Arc::new(Random::system()))
        .sealing()
        .map_err(|error| Failure::at(dir, &error))
}

/// Proves the copy in `backup`: restores it into a subdirectory, which is deleted afterwards. With its keys, if they are in
/// it and can be opened here.
fn prove(config: &Config, backup: &Path, has_keys: bool) -> Result<Restored, Failure> {
    let proof = backup.join(PROOF_DIR);
    let source = open(backup)?;
    check_sums(&*source).map_err(Failure::refused)?;
    let belonging = if has_keys { Some(Belonging::new(config, backup, None)?) } else { None };
    // Fails if the directory exists: it is deleted below, so it must be ours.
    fs::create_dir(&proof).map_err(Failure::refused)?;
    let target = Arc::new(LocalStorage::open(&proof).map_err(Failure::refused)?);
    let random = Arc::new(Random::system());
    let admit = |table, schema, key: &[u8], value: &[u8]| match &belonging {
        Some(belonging) => belonging.admit(table, schema, value),
        None => admit_all(table, schema, key, value),
    };
    let restored = restore(
        &*source,
        destination(target, Clock::system(), random, &admit, &[]),
        RecoveryTarget::default(),
    );
    fs::remove_dir_all(&proof).map_err(Failure::fault)?;
    restored.map_err(Failure::refused)
}

/// A backup that was made.
struct Made {
    to: PathBuf,
    restored: Restored,
    log: LogCopy,
    sealing: Sealing,
    has_keys: bool,
    keys_dir: PathBuf,
}

impl Made {
    /// Says what a restore needs besides the backup.
    fn needs(&self) -> String {
        match (self.has_keys, self.sealing) {
            (true, Sealing::Sealed) => String::from("the secret in keys.master_file"),
            (true, _) => String::from("nothing else"),
            (false, _) => {
                format!("--keys with a copy of the keys in {}: keep one elsewhere", self.keys_dir.display())
            }
        }
    }

    fn text(&self) -> String {
        let Restored { read, seq, left_out, .. } = &self.restored;
        let proved = if self.has_keys {
            "proved by a restore"
        } else {
            "its records were restored for a test, but nobody can use them without the keys"
        };
        let keys = match (self.has_keys, self.sealing) {
            (true, Sealing::Sealed) => "  keys       it holds the keys, sealed",
            (true, _) => "  keys       it holds the keys: guard it",
            (false, _) => "  keys       not in it",
        };
        format!(
            "{to}: {records} up to sequence {seq}, {proved}\n  records    {records}, {mails} of them\n  audit log  \
             {log}\n{keys}\n  not in it  the configuration, and the files that it names\n  a restore needs  {needs}\n  \
             to restore: portcullis --data-dir NEW data restore {to}{flag}",
            to = self.to.display(),
            records = counted(*read as u64, "record", "records"),
            mails = counted(*left_out as u64, "waiting mail", "waiting mails"),
            log = self.log.text(),
            needs = self.needs(),
            flag = if self.has_keys { "" } else { " --keys DIR" },
        )
    }

    fn json(&self) -> Value {
        let (lines, broken) = match &self.log.checked {
            None => (None, None),
            Some(Ok(lines)) => (Some(*lines), None),
            Some(Err(broken)) => (None, Some(broken)),
        };
        json!({
            "backup": shown(&self.to),
            "records": self.restored.read,
            "waiting_mails": self.restored.left_out,
            "sequence": self.restored.seq,
            "audit": {"files": self.log.files, "lines": lines, "broken": broken},
            "keys": match (self.has_keys, self.sealing) {
                (true, Sealing::Sealed) => "sealed",
                (true, _) => "open",
                (false, _) => "none",
            },
            "restore_needs": self.needs(),
        })
    }
}
