//! `portcullis data backup`.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use portcullis::config::Config;
use portcullis::journal::archive::{Restored, admit_all, back_up, check_sums, restore};
use portcullis::journal::recovery::replay::RecoveryTarget;
use portcullis::server::operator::operation::Operation;
use portcullis::server::operator::socket;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Clock;
use portcullis::system::file_error::at_dir;
use portcullis::system::random::Random;
use portcullis::token::{KeyFiles, Sealing};
use serde_json::Value;

use super::{SIZES, destination, open};
use crate::cli::new_directory::{copy_keys, is_empty};
use crate::cli::{Failure, counted, operate, say};

/// Copies the data directory of `config` to `to`, through the running server if there is one, and proves the copy.
pub(super) fn run(config: &Config, to: &Path, with_keys: bool) -> Result<(), Failure> {
    if !is_empty(to)? {
        return Err(Failure::refused(format!("{} is not empty; name an empty directory", to.display())));
    }
    std::fs::create_dir_all(to).map_err(at_dir(to)).map_err(Failure::refused)?;
    // The running server has another working directory.
    let to = to.canonicalize().map_err(at_dir(to)).map_err(Failure::refused)?;
    if let Ok(stream) = UnixStream::connect(socket::path(&config.data_dir)) {
        if to.to_str().is_none() {
            // The question to the server is JSON.
            let what =
                "the running server takes a path in UTF-8 alone: name another directory, or stop it first";
            return Err(Failure::usage(format!("{}: {what}", to.display())));
        }
        let answer = operate::ask(stream, &Operation::Backup { to: to.clone() })?;
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            return Err(Failure::refused(error));
        }
    } else {
        let from = open(&config.data_dir)?;
        let _lock = from.lock_to_read().map_err(Failure::refused)?;
        back_up(&*from, &*open(&to)?, SIZES).map_err(Failure::refused)?;
    }
    let is_sealed = are_sealed(config)?;
    if with_keys || is_sealed {
        let keys = LocalStorage::open(&to.join("keys")).map_err(Failure::refused)?;
        copy_keys(&config.keys.dir, &keys, true)?;
    }
    let restored = prove(&to)?;
    say(&format!(
        "{}: {} up to sequence {}, proved by a restore{}",
        to.display(),
        counted(restored.records as u64, "record", "records"),
        restored.seq,
        match (is_sealed, with_keys) {
            (true, _) => "; it holds the keys, sealed: a restore needs the secret in keys.master_file",
            (false, true) => "; it holds the keys: guard it",
            (false, false) => "; the keys are not in it",
        }
    ));
    Ok(())
}

/// Says whether the key files of `config` are sealed, so that a copy of them forges nothing.
fn are_sealed(config: &Config) -> Result<bool, Failure> {
    let storage = LocalStorage::open_existing(&config.keys.dir).map_err(Failure::refused)?;
    let files = KeyFiles::new(Arc::new(storage), None, Arc::new(Random::system()));
    Ok(files.sealing().map_err(Failure::refused)? == Sealing::Sealed)
}

/// Proves the copy in `backup`: restores it into a subdirectory, which is deleted afterwards.
fn prove(backup: &Path) -> Result<Restored, Failure> {
    let proof = backup.join("proof");
    let source = open(backup)?;
    check_sums(&*source).map_err(Failure::refused)?;
    // Fails if the directory exists: it is deleted below, so it must be ours.
    std::fs::create_dir(&proof).map_err(at_dir(&proof)).map_err(Failure::refused)?;
    let target = Arc::new(LocalStorage::open(&proof).map_err(Failure::refused)?);
    let random = Arc::new(Random::system());
    let restored = restore(
        &*source,
        destination(target, Clock::system(), random, &admit_all),
        RecoveryTarget::default(),
    );
    std::fs::remove_dir_all(&proof).map_err(at_dir(&proof)).map_err(Failure::fault)?;
    restored.map_err(Failure::refused)
}
