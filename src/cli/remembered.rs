//! Reads the check values of keys and the end of the audit log out of the journal of a stopped directory, for commands that
//! start no server.

use std::io;
use std::sync::Arc;

use portcullis::audit::ends::Place;
use portcullis::config::Config;
use portcullis::engine::StartError;
use portcullis::engine::partition::{is_used, key_files, refuse_other_keys};
use portcullis::journal::archive::SUMS;
use portcullis::journal::format::layout::Sizes;
use portcullis::journal::recovery::replay::replay_read_only;
use portcullis::journal::recovery::report::{Refusal, ReplayTarget};
use portcullis::registry::file_check::FileChecks;
use portcullis::registry::{Registry, tables};
use portcullis::storage::Storage;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Timestamp;
use portcullis::system::random::Random;
use portcullis::token::{KeyCheck, KeyFiles, Keys};

use super::{Failure, counted};

/// Takes in what is remembered of files, and passes over every other record.
#[derive(Default)]
struct Target(FileChecks);

impl ReplayTarget for Target {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        if table == tables::FILE_CHECKS { self.0.restore(schema, key, value) } else { Ok(()) }
    }

    fn is_newer(&self, table: u16, schema: u16) -> bool {
        tables::is_newer(table, schema)
    }
}

/// Reads what the journal in `storage` remembers of files. The caller holds its lock.
pub(super) fn read(storage: &dyn Storage) -> Result<FileChecks, Refusal> {
    let mut target = Target::default();
    replay_read_only(storage, Sizes::PRODUCTION, &mut target)?;
    Ok(target.0)
}

/// Returns the line of the log of security events that `audit.end` is known to have reached. `None` if it is not known, or
/// a server runs, which has compared it at its start. A journal that cannot be read is for `data verify`.
pub(super) fn audit_end(storage: &dyn Storage) -> Option<Place> {
    let _lock = storage.lock_to_read().ok()?;
    read(storage).ok()?.audit_end().map(Place::of_bytes)
}

/// Returns the latest time that the journal in `storage` has seen. `None` if a server runs, which knows it, or if the journal
/// cannot be read.
pub(super) fn latest_time(storage: &dyn Storage) -> Option<Timestamp> {
    let _lock = storage.lock_to_read().ok()?;
    let report = replay_read_only(storage, Sizes::PRODUCTION, &mut Target::default()).ok()?;
    Some(Timestamp(report.wall_ms))
}

/// Compares the key files of `config` with what the journal in `storage` remembers of them. Returns the result for people,
/// also if there is no secret to open them, or none in a backup.
///
/// Errors: key files that are damaged, missing, or not those that the data was written with.
pub(super) fn compare_keys(config: &Config, storage: &dyn Storage) -> Result<String, Failure> {
    let random = Arc::new(Random::system());
    let dir = config.keys.dir.display();
    let here = match LocalStorage::open_existing(&config.keys.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        here => Some(here.map_err(Failure::refused)?),
    };
    if !here.is_some_and(|here| KeyFiles::new(Arc::new(here), None, Arc::clone(&random)).exist()) {
        let is_backup = storage.open(SUMS).is_ok();
        if !is_backup && is_used(storage).map_err(Failure::refused)? {
            return Err(Failure::refused(format!(
                "{dir}: there are no keys, although this directory is used, so the server will not start; move the keys of \
                 this installation there"
            )));
        }
        return Ok(format!("keys: not compared, since there are none in {dir}"));
    }
    let in_files = key_files(config, &random).and_then(|files| {
        Keys::check(&files)?;
        Ok((Keys::check_values(&files)?, Keys::signing_check_values(&files)?))
    });
    let (in_files, signing) = match in_files {
        Err(StartError::Master(error)) => return Ok(format!("keys: not compared: {error}")),
        in_files => in_files?,
    };
    let checks = read(storage).map_err(Failure::refused)?;
    let remembered = checks.keys();
    refuse_other_keys(config, storage, &remembered, &in_files).map_err(Failure::refused)?;
    if remembered.is_empty() {
        return Ok(String::from("keys: not compared, since the next start is the first that remembers them"));
    }
    let known = checks.signing();
    let is_other =
        |check: &KeyCheck| !known.is_empty() && known.iter().all(|known| known.value != check.value);
    let others = signing.iter().filter(|(_, check)| is_other(check)).map(|(file, _)| {
        format!(
            "; {file} was retired or is older than a restore, and the next start will not use it: delete it"
        )
    });
    let used = (remembered.len() - known.len()) as u64;
    let used = format!("keys: {} with which the data was written", counted(used, "key", "keys"));
    Ok(std::iter::once(used).chain(others).collect())
}
