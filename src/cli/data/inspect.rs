//! `portcullis data inspect`, `verify` and `dump`: they read and change nothing.

use std::path::Path;

use portcullis::config::Config;
use portcullis::journal::archive::inspect::Verified;
use portcullis::journal::archive::{Records, inspect as archive};
use portcullis::journal::recovery::replay::replay_read_only;
use portcullis::registry::tables;
use portcullis::registry::tables::kept;
use portcullis::registry::throttle;
use portcullis::value::id::hex;
use serde_json::{Value, json};

use super::{SIZES, lock_to_read, open};
use crate::cli::remembered::compare_keys;
use crate::cli::{Cli, Failure, counted, say, shown};

/// Lists the files of the journal and of the throttle.
pub(super) fn inspect(cli: &Cli, data_dir: &Path) -> Result<(), Failure> {
    let storage = open(data_dir)?;
    let mut lines = archive::inspect(&*storage).map_err(Failure::refused)?;
    lines.extend(throttle::file::inspect(&*storage));
    cli.answer(&lines.join("\n"), &json!({"data_dir": shown(data_dir), "items": items(&lines)}));
    Ok(())
}

/// Returns for each line the file, the offset in it if the line is of a frame, and what is there.
fn items(lines: &[String]) -> Vec<Value> {
    let mut path = "";
    let mut items = Vec::new();
    for line in lines {
        let Some((place, what)) = line.split_once(": ") else { continue };
        let offset: Option<u64> = place.strip_prefix("  ").and_then(|offset| offset.parse().ok());
        if offset.is_none() {
            path = place;
        }
        items.push(json!({"path": path, "offset": offset, "what": what}));
    }
    items
}

/// Verifies the directory, that every way to its state leads to the same one, and that its keys belong to it.
pub(super) fn verify(cli: &Cli, config: &Config) -> Result<(), Failure> {
    let storage = open(&config.data_dir)?;
    let _lock = lock_to_read(&*storage)?;
    let Verified { report, proof, records } =
        archive::verify(&*storage, SIZES, &kept).map_err(Failure::refused)?;
    let keys = compare_keys(config, &*storage)?;
    let mut lines = vec![
        format!(
            "sound: {} up to sequence {}; {} in the snapshot, {} after it",
            counted(records, "record", "records"),
            report.seq,
            report.records,
            counted(report.entries, "entry", "entries"),
        ),
        format!(
            "a second path from {} leads to the same {} that have not expired, digest {:032x}",
            counted(proof.paths as u64, "starting point", "starting points"),
            counted(proof.records, "record", "records"),
            proof.digest
        ),
        keys.clone(),
    ];
    lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    let value = json!({
        "data_dir": shown(&config.data_dir),
        "records": records,
        "sequence": report.seq,
        "unexpired": proof.records,
        "digest": format!("{:032x}", proof.digest),
        "keys": keys.strip_prefix("keys: "),
        "warnings": report.warnings,
    });
    cli.answer(&lines.join("\n"), &value);
    Ok(())
}

/// Prints every record as a line of JSON, without its secrets.
pub(super) fn dump(data_dir: &Path) -> Result<(), Failure> {
    let storage = open(data_dir)?;
    let _lock = lock_to_read(&*storage)?;
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
