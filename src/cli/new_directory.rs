//! How `data restore` and `data salvage` create a data directory: built in a subdirectory of an empty place, then moved
//! there as a whole. Files that are not their own are never touched.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::config::Config;
use portcullis::engine::StartError;
use portcullis::engine::partition::master;
use portcullis::journal::archive::staging::{self, Leftover};
use portcullis::journal::archive::{SUMS, UNFINISHED};
use portcullis::journal::format::entry::Change;
use portcullis::journal::format::layout::{BUILDING, IDENTITY};
use portcullis::registry::file_check::FileChecks;
use portcullis::registry::file_check::actor::Remember;
use portcullis::registry::record::Write;
use portcullis::storage::local::LocalStorage;
use portcullis::storage::{Storage, write_whole};
use portcullis::system::clock::{Clock, Timestamp};
use portcullis::system::file_error;
use portcullis::system::random::Random;
use portcullis::token::{KeyCheck, KeyFiles, Keys, Master};
use serde_json::json;

use super::doctor::ownership::refuse_another_owner;
use super::{Cli, Failure, shown};

/// Creates the data directory of `config` and prints the report that `build` returns.
///
/// `build` is given the directory to fill, and changes to write into its journal after its records. The server's keys
/// come from `keys`, or from `keys` in `from`. If an earlier run had built a whole directory and failed to move it, that
/// one is moved now, and `build` is not called.
pub(super) fn create(
    cli: &Cli,
    config: &Config,
    from: &Path,
    keys: Option<&Path>,
    build: impl FnOnce(Arc<dyn Storage>, Clock, Arc<Random>, &[Change]) -> Result<Vec<String>, Failure>,
) -> Result<(), Failure> {
    let dir = &config.data_dir;
    let in_dir = |error: io::Error| Failure::at(dir, &error);
    let leftover = leftover_in(config)?;
    let keys = &*keys_of(from, keys);
    if !matches!(leftover, Leftover::Whole(_)) {
        refuse_used(config)?;
        if !keys.join("directory-1.key").is_file() {
            return Err(Failure::refused(format!(
                "no keys in {}: without them no account can be found by its name; name their directory with --keys",
                keys.display()
            )));
        }
    }
    // Before anything is written: keys that do not open make no directory that works.
    let random = Arc::new(Random::system());
    if !matches!(leftover, Leftover::Whole(_)) {
        Keys::check(&source_keys(config, keys)?).map_err(StartError::from)?;
    }
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(dir).map_err(in_dir)?);
    let _lock = storage.lock().map_err(in_dir)?;
    // Another restore may have begun before the lock was taken; none can begin after.
    if leftover_in(config)? != leftover {
        return Err(Failure::refused(format!(
            "another restore into {} was running; look at its result first",
            dir.display()
        )));
    }
    if let Leftover::Whole(report) = leftover {
        commit(config, &*storage)?;
        let first = format!(
            "nothing was read of {}: an earlier restore into {} had built a whole directory, which is in its place now",
            from.display(),
            dir.display()
        );
        answer(cli, config, &format!("{first}\n{report}"));
        return Ok(());
    }
    refuse_used(config)?;
    let building = staging::begin(&storage).map_err(in_dir)?;
    let new_keys = building.keys();
    new_keys.create_dir("").map_err(in_dir)?;
    copy_keys(keys, &new_keys, false)?;
    // Adds the one key that was not copied: a new signing key.
    let new_keys = KeyFiles::new(Arc::new(new_keys), key_master(config)?, random);
    new_keys.seal_all().map_err(Failure::refused)?;
    let now = Clock::system().now();
    Keys::form(&new_keys, config.token.algorithm, now).map_err(Failure::refused)?;
    // And one that the journal remembers, so that no start takes the keys of before, with their signing keys.
    let own = Keys::begin_history(&new_keys, now).map_err(Failure::refused)?;
    let signing = Keys::signing_check_values(&new_keys).map_err(Failure::refused)?;
    let added = remembered(own, signing.into_iter().map(|(_, check)| check).collect(), now)?;
    let building = Arc::new(building);
    let mut report = build(building, Clock::system(), Arc::new(Random::system()), &added)?;
    report.insert(0, format!("created {} from {}", shown(dir), from.display()));
    report.push(format!(
        "keys: in {}; the server starts with these alone, so keep a copy of them in place of the one from before, and set \
         keys.dir to no other directory",
        shown(&config.keys.dir)
    ));
    report.push(if from.join("audit").is_dir() {
        format!("log of security events: a new one begins; that of before is in {}/audit", from.display())
    } else {
        String::from("log of security events: a new one begins")
    });
    let report = report.join("\n");
    staging::mark_whole(&*storage, &report).map_err(in_dir)?;
    commit(config, &*storage)?;
    answer(cli, config, &report);
    Ok(())
}

/// Returns the changes by which a journal remembers a key of a ring and its signing keys.
fn remembered(key: KeyCheck, signing: Vec<KeyCheck>, now: Timestamp) -> Result<Vec<Change>, Failure> {
    let remember = Remember { keys: vec![key], signing: Some(signing), audit_end: None };
    let writes = FileChecks::default().remember(&remember, now).writes;
    writes.iter().map(Write::to_change).collect::<Result<_, _>>().map_err(Failure::fault)
}

/// Prints the lines of `report`.
fn answer(cli: &Cli, config: &Config, report: &str) {
    let lines: Vec<&str> = report.lines().collect();
    let value =
        json!({"data_dir": shown(&config.data_dir), "keys_dir": shown(&config.keys.dir), "report": lines});
    cli.answer(report, &value);
}

/// Returns the directory of the keys for a new directory: `keys`, or `keys` in `from`.
pub(super) fn keys_of(from: &Path, keys: Option<&Path>) -> PathBuf {
    keys.map_or_else(|| from.join("keys"), Path::to_owned)
}

/// Opens the key files in `dir`.
pub(super) fn source_keys(config: &Config, dir: &Path) -> Result<KeyFiles, Failure> {
    let source = LocalStorage::open_existing(dir).map_err(|error| Failure::at(dir, &error))?;
    Ok(KeyFiles::new(Arc::new(source), key_master(config)?, Arc::new(Random::system())))
}

/// Moves the directory that was built into its place, and its keys into `keys.dir`.
fn commit(config: &Config, storage: &dyn Storage) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::refused(format!(
            "{}: {error}; the new directory is built but not in its place: mend this, and run the same command again",
            config.data_dir.display()
        ))
    };
    let keys = LocalStorage::open(&config.keys.dir).map_err(failed)?;
    staging::commit(storage, &keys).map_err(failed)
}

/// Returns what an earlier restore left in the data directory.
///
/// Errors: a server uses the directory, or it belongs to another user.
fn leftover_in(config: &Config) -> Result<Leftover, Failure> {
    let dir = &config.data_dir;
    let in_dir = |error: io::Error| Failure::at(dir, &error);
    let storage = match LocalStorage::open_existing(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Leftover::Nothing),
        storage => storage.map_err(in_dir)?,
    };
    refuse_another_owner(config)?;
    if dir.join(IDENTITY).try_exists().map_err(in_dir)? {
        return Err(Failure::refused(format!(
            "{} is in use; give an empty --data-dir, or stop its server and move the directory away, and {} too if that is elsewhere",
            dir.display(),
            config.keys.dir.display()
        )));
    }
    staging::find_leftover(&storage).map_err(in_dir)
}

/// Refuses a data directory or `keys.dir` that holds anything of another installation: journal, keys and events belong
/// together. Allowed are the entries that a file system creates in its root, the leftovers of a restore, and empty
/// directories.
fn refuse_used(config: &Config) -> Result<(), Failure> {
    let dir = &config.data_dir;
    let in_dir = |error: io::Error| Failure::at(dir, &error);
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries.map_err(in_dir)?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.map_err(in_dir)?;
        let name = entry.file_name();
        let is_expected = ["LOCK", BUILDING].iter().any(|expected| name == **expected);
        if !(is_expected || is_of_volume(&entry)?) {
            return Err(Failure::refused(format!(
                "{} is not empty: {} is in it; give an empty --data-dir",
                dir.display(),
                name.display()
            )));
        }
    }
    match LocalStorage::open_existing(&config.keys.dir) {
        Ok(keys) if has_keys(&keys) => Err(Failure::refused(format!(
            "{keys} holds keys already, and a new data directory gets keys of its own: move the old ones away as well (mv \
             {keys} {keys}.old), or set keys.dir to an empty directory",
            keys = config.keys.dir.display()
        ))),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::at(&config.keys.dir, &error)),
        _ => Ok(()),
    }
}

/// Directories that file systems and storage devices keep in the root of a volume, whatever is in them.
const OF_VOLUMES: [&str; 4] = ["lost+found", ".snapshot", ".snapshots", "@eaDir"];

/// Says whether `entry` is one that a fresh volume may hold: a directory of the file system, or an empty one.
fn is_of_volume(entry: &fs::DirEntry) -> Result<bool, Failure> {
    let path = entry.path();
    if !entry.file_type().map_err(|error| Failure::at(&path, &error))?.is_dir() {
        return Ok(false);
    }
    let name = entry.file_name();
    if OF_VOLUMES.iter().any(|known| name == **known) {
        return Ok(true);
    }
    Ok(path.read_dir().map_err(|error| Failure::at(&path, &error))?.next().is_none())
}

/// Returns the names in `dir` that no fresh volume holds; none if it does not exist.
pub(super) fn names_in_use(dir: &Path) -> Result<Vec<OsString>, Failure> {
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Failure::at(dir, &error))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Failure::at(dir, &error))?;
        if !is_of_volume(&entry)? {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

/// Refuses to use a backup like a data directory: what a server changes in it, a restore does not take any more.
pub(super) fn refuse_backup(dir: &Path) -> Result<(), Failure> {
    let holds = |name: &str| dir.join(name).try_exists().unwrap_or(false);
    let Some(mark) = [UNFINISHED, SUMS].into_iter().find(|mark| holds(mark)) else { return Ok(()) };
    let dir = dir.display();
    Err(Failure::refused(if mark == UNFINISHED {
        format!("{dir} holds a backup that was not finished ({mark} is in it): take another one")
    } else {
        format!(
            "{dir} is a backup ({mark} is in it), and using it would spoil it: make a data directory of it with portcullis \
             --data-dir NEW data restore {dir}, and use that one"
        )
    }))
}

/// Says whether a directory holds key files.
fn has_keys(storage: &LocalStorage) -> bool {
    KeyFiles::new(Arc::new(storage.clone()), None, Arc::new(Random::system())).exist()
}

/// Reads the master key, if `keys.master_file` names one.
fn key_master(config: &Config) -> Result<Option<Master>, Failure> {
    master(config).map_err(|error| StartError::from(error).into())
}

/// Copies key files and returns how many. Signing keys are copied only if `with_signing_keys`: a backup keeps them,
/// while a restored directory signs with a new one. Sealed files stay sealed.
pub(super) fn copy_keys(from: &Path, to: &dyn Storage, with_signing_keys: bool) -> Result<usize, Failure> {
    let mut copied = 0;
    for entry in from.read_dir().map_err(|error| Failure::at(from, &error))? {
        // Keys have names that are UTF-8.
        let name = entry.map_err(|error| Failure::at(from, &error))?.file_name().into_string();
        let Ok(name) = name else { continue };
        if staging::is_of_keys(&name) && (with_signing_keys || !name.starts_with("signing-")) {
            let path = from.join(&name);
            let bytes = fs::read(&path).map_err(file_error::at(&path)).map_err(Failure::refused)?;
            write_whole(to, "", &name, &bytes).map_err(Failure::refused)?;
            copied += 1;
        }
    }
    Ok(copied)
}
