//! `portcullis data …`: look at a data directory, copy it, and make a new one of a copy.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use portcullis::config::Config;
use portcullis::journal::archive::inspect::{inspect, verify};
use portcullis::journal::archive::{Records, Restored, Salvaged, back_up, check_sums, restore, salvage};
use portcullis::journal::format::layout::Sizes;
use portcullis::journal::recovery::replay::{RecoveryTarget, replay_read_only};
use portcullis::registry::tables::dump;
use portcullis::registry::tables::expiry::may_be_gone;
use portcullis::server::operator::operation::Operation;
use portcullis::server::operator::socket;
use portcullis::storage::Storage;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::{Clock, Timestamp};
use portcullis::system::random::Random;
use serde_json::json;

use super::place::{anew, copy_keys, is_empty};
use super::{Cli, Failure, say};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// List files, headers and frames.
    Inspect,
    /// Check every checksum, chain and count of a stopped directory, and that each snapshot and the journal behind it lead
    /// to the same state by a second reader.
    Verify,
    /// Show every record of a stopped directory as a line of JSON, without its secrets.
    Dump,
    /// Copy snapshots and journal into a directory, also of a running server, and prove the copy by a restore.
    Backup {
        /// Where to.
        to: PathBuf,
        /// Also copy the keys: guard such a copy like the server itself. Without them keep `keys.dir` elsewhere.
        #[arg(long)]
        with_keys: bool,
    },
    /// Make a new data directory of a backup. Everybody has to log in again; signing keys are new; mails that waited are
    /// not sent.
    Restore {
        /// The backup.
        from: PathBuf,
        /// Not behind this sequence.
        #[arg(long)]
        to_seq: Option<u64>,
        /// Not behind this time, as in 2027-01-15T08:00:00Z.
        #[arg(long)]
        to_time: Option<String>,
        /// Where the keys are, if they are not in the backup.
        #[arg(long)]
        keys: Option<PathBuf>,
    },
    /// Make a new data directory of what can still be read of a damaged one, and list what is lost.
    Salvage {
        /// The damaged directory. It is not changed.
        from: PathBuf,
        /// Where its keys are, if not in its own `keys/`.
        #[arg(long)]
        keys: Option<PathBuf>,
    },
}

const SIZES: Sizes = Sizes::PRODUCTION;

impl DataCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let config = cli.load()?;
        match self {
            Self::Restore { from, to_seq, to_time, keys } => {
                let time = to_time.as_ref().map(|text| {
                    let wrong = || Failure::usage(format!("{text} is no time like 2027-01-15T08:00:00Z"));
                    Timestamp::parse_rfc3339(text).ok_or_else(wrong)
                });
                let until = RecoveryTarget { seq: *to_seq, time: time.transpose()? };
                let source = open(from)?;
                check_sums(&*source).map_err(Failure::refused)?;
                anew(&config, from, keys.as_deref(), |to, clock, random| {
                    let restored = restore(&*source, to, SIZES, until, clock, random);
                    Ok(vec![told(&restored.map_err(Failure::refused)?)])
                })
            }
            Self::Salvage { from, keys } => {
                let source = open(from)?;
                let _lock = source.lock_to_read().map_err(Failure::refused)?;
                anew(&config, from, keys.as_deref(), |to, clock, random| {
                    let salvaged = salvage(&*source, to, SIZES, clock, random).map_err(Failure::refused)?;
                    Ok(losses(&salvaged).chain([told(&salvaged.restored)]).collect())
                })
            }
            Self::Backup { to, with_keys } => backup(&config, to, *with_keys),
            Self::Inspect => {
                let storage = open(&config.data_dir)?;
                for line in inspect(&*storage).map_err(Failure::refused)? {
                    say(&line);
                }
                if let Some(line) = portcullis::registry::throttle::file::inspect(&*storage) {
                    say(&line);
                }
                Ok(())
            }
            Self::Verify => {
                let storage = open(&config.data_dir)?;
                let _lock = storage.lock_to_read().map_err(Failure::refused)?;
                let (found, proof) = verify(&*storage, SIZES, &may_be_gone).map_err(Failure::refused)?;
                say(&format!(
                    "sound: {} records in the snapshot, {} entries behind it, ends at sequence {}",
                    found.records, found.entries, found.seq
                ));
                say(&format!(
                    "a second path from {} beginnings leads to the same {} records, digest {:032x}",
                    proof.paths, proof.records, proof.digest
                ));
                for warning in found.warnings {
                    say(&format!("warning: {warning}"));
                }
                Ok(())
            }
            Self::Dump => {
                let storage = open(&config.data_dir)?;
                let _lock = storage.lock_to_read().map_err(Failure::refused)?;
                let mut records = Records::default();
                replay_read_only(&*storage, SIZES, &mut records).map_err(Failure::refused)?;
                for (table, schema, key, value) in records.iter() {
                    let key = portcullis::value::id::hex(key);
                    let said = dump::redacted(table, schema, value).map_err(Failure::refused)?;
                    let table = dump::name(table);
                    let line = json!({
                        "table": table, "schema": schema, "key": key, "bytes": value.len(), "value": said
                    });
                    say(&line.to_string());
                }
                Ok(())
            }
        }
    }
}

fn open(dir: &Path) -> Result<Arc<dyn Storage>, Failure> {
    let storage = LocalStorage::open_existing(dir);
    Ok(Arc::new(storage.map_err(|error| Failure::refused(format!("{}: {error}", dir.display())))?))
}

fn told(restored: &Restored) -> String {
    format!(
        "{} records up to sequence {}; timeline {}: every session, refresh token and mailed token of before is dead; a \
         new signing key was made, so access tokens of before are refused; {} waiting mails were dropped",
        restored.records, restored.seq, restored.timeline, restored.mails
    )
}

fn losses(salvaged: &Salvaged) -> impl Iterator<Item = String> {
    let passed_over = salvaged.passed_over.iter().map(|line| format!("passed over: {line}"));
    let lost = salvaged.lost.iter().map(|(first, last)| format!("lost: sequences {first} to {last}"));
    let known = salvaged.lost.last().map_or(0, |(_, last)| *last).max(salvaged.restored.seq);
    let open_end = salvaged.open_end.then(|| {
        format!("lost: whatever came behind sequence {known}, if anything did: the journal's end is damaged or missing")
    });
    passed_over.chain(lost).chain(open_end)
}

fn backup(config: &Config, to: &Path, with_keys: bool) -> Result<(), Failure> {
    if !is_empty(to)? {
        return Err(Failure::refused(format!("{} is not empty", to.display())));
    }
    std::fs::create_dir_all(to).map_err(Failure::refused)?;
    // A running server has another working directory.
    let to = to.canonicalize().map_err(Failure::refused)?;
    if let Ok(stream) = UnixStream::connect(socket::path(&config.data_dir)) {
        let answer = super::user::ask(stream, &Operation::Backup { to: to.clone() })?;
        if let Some(error) = answer.get("error").and_then(serde_json::Value::as_str) {
            return Err(Failure::refused(error));
        }
    } else {
        let from = open(&config.data_dir)?;
        let _lock = from.lock_to_read().map_err(Failure::refused)?;
        back_up(&*from, &*open(&to)?, SIZES).map_err(Failure::refused)?;
    }
    if with_keys {
        let keys = LocalStorage::open(&to.join("keys")).map_err(Failure::refused)?;
        copy_keys(&config.keys.dir, &keys, true)?;
    }
    // The proof: what was copied becomes a data directory again.
    let proof = to.join("proof");
    let source = open(&to)?;
    check_sums(&*source).map_err(Failure::refused)?;
    // What is deleted at the end was not there before.
    std::fs::create_dir(&proof).map_err(Failure::refused)?;
    let into = Arc::new(LocalStorage::open(&proof).map_err(Failure::refused)?);
    let proved = restore(
        &*source,
        into,
        SIZES,
        RecoveryTarget::default(),
        Clock::system(),
        Arc::new(Random::system()),
    );
    std::fs::remove_dir_all(&proof).map_err(Failure::fault)?;
    let proved = proved.map_err(Failure::refused)?;
    say(&format!(
        "{}: {} records up to sequence {}, proved by a restore{}",
        to.display(),
        proved.records,
        proved.seq,
        if with_keys { "; it holds the keys: guard it" } else { "; the keys are not in it" }
    ));
    Ok(())
}
