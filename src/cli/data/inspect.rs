//! `portcullis data inspect`, `verify` and `dump`: they read and change nothing.

use std::path::Path;

use portcullis::config::Config;
use portcullis::journal::archive::{Records, inspect as archive};
use portcullis::journal::recovery::replay::replay_read_only;
use portcullis::registry::tables;
use portcullis::registry::tables::kept;
use portcullis::registry::throttle;
use portcullis::value::id::hex;
use serde_json::json;

use super::{SIZES, open};
use crate::cli::remembered::compare_keys;
use crate::cli::{Failure, counted, say};

/// Lists the files of the journal and of the throttle.
pub(super) fn inspect(data_dir: &Path) -> Result<(), Failure> {
    let storage = open(data_dir)?;
    for line in archive::inspect(&*storage).map_err(Failure::refused)? {
        say(&line);
    }
    if let Some(line) = throttle::file::inspect(&*storage) {
        say(&line);
    }
    Ok(())
}

/// Verifies the directory, that every way to its state leads to the same one, and that its keys belong to it.
pub(super) fn verify(config: &Config) -> Result<(), Failure> {
    let storage = open(&config.data_dir)?;
    let _lock = storage.lock_to_read().map_err(Failure::refused)?;
    let (report, proof) = archive::verify(&*storage, SIZES, &kept).map_err(Failure::refused)?;
    say(&format!(
        "sound: {} in the snapshot, {} after it, ends at sequence {}",
        counted(report.records, "record", "records"),
        counted(report.entries, "entry", "entries"),
        report.seq
    ));
    say(&format!(
        "a second path from {} leads to the same {}, digest {:032x}",
        counted(proof.paths as u64, "starting point", "starting points"),
        counted(proof.records, "record", "records"),
        proof.digest
    ));
    say(&compare_keys(config, &*storage)?);
    for warning in report.warnings {
        say(&format!("warning: {warning}"));
    }
    Ok(())
}

/// Prints every record as a line of JSON, without its secrets.
pub(super) fn dump(data_dir: &Path) -> Result<(), Failure> {
    let storage = open(data_dir)?;
    let _lock = storage.lock_to_read().map_err(Failure::refused)?;
    let mut records = Records::default();
    replay_read_only(&*storage, SIZES, &mut records).map_err(Failure::refused)?;
    for (table, schema, key, value) in records.iter() {
        let redacted = tables::redacted(table, schema, value).map_err(Failure::refused)?;
        let line = json!({
            "table": tables::name(table),
            "schema": schema,
            "key": hex(key),
            "bytes": value.len(),
            "value": redacted,
        });
        say(&line.to_string());
    }
    Ok(())
}
