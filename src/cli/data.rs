//! `portcullis data …`: look at a data directory, copy it, and make a new one of a copy.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use portcullis::admin_socket;
use portcullis::clock::{Clock, Timestamp};
use portcullis::config::Config;
use portcullis::dump;
use portcullis::expiry::may_be_gone;
use portcullis::flow::operate::Operation;
use portcullis::journal::archive::{Records, Restored, back_up, check_sums, restore, salvage};
use portcullis::journal::inspect::{inspect, verify};
use portcullis::journal::layout::Sizes;
use portcullis::journal::past::{Until, look};
use portcullis::journal::storage::Storage;
use portcullis::journal::storage_local::LocalStorage;
use portcullis::secret::Chance;
use serde_json::json;

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
                let until = Until { seq: *to_seq, time: time.transpose()? };
                let source = open(from)?;
                check_sums(&*source).map_err(Failure::refused)?;
                let restored = anew(&config, from, keys.as_deref(), |to, clock, chance| {
                    restore(&*source, to, SIZES, until, clock, chance).map_err(Failure::refused)
                })?;
                tell(&restored);
                Ok(())
            }
            Self::Salvage { from, keys } => {
                let source = open(from)?;
                let _lock = source.lock().map_err(Failure::refused)?;
                let salvaged = anew(&config, from, keys.as_deref(), |to, clock, chance| {
                    salvage(&*source, to, SIZES, clock, chance).map_err(Failure::refused)
                })?;
                for line in &salvaged.passed_over {
                    say(&format!("passed over: {line}"));
                }
                for (first, last) in &salvaged.lost {
                    say(&format!("lost: sequences {first} to {last}"));
                }
                tell(&salvaged.restored);
                Ok(())
            }
            Self::Backup { to, with_keys } => backup(&config, to, *with_keys),
            Self::Inspect => {
                let storage = open(&config.data_dir)?;
                for line in inspect(&*storage).map_err(Failure::refused)? {
                    say(&line);
                }
                if let Some(line) = portcullis::throttle::file::inspect(&*storage) {
                    say(&line);
                }
                Ok(())
            }
            Self::Verify => {
                let storage = open(&config.data_dir)?;
                let _lock = storage.lock().map_err(Failure::refused)?;
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
                let _lock = storage.lock().map_err(Failure::refused)?;
                let mut records = Records::default();
                look(&*storage, SIZES, &mut records).map_err(Failure::refused)?;
                for (table, schema, key, value) in records.iter() {
                    let key = portcullis::id::hex(key);
                    let said = dump::redacted(table, schema, value).map_err(Failure::refused)?;
                    let table = dump::table(table);
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
    if !dir.is_dir() {
        return Err(Failure::refused(format!("{} is no directory", dir.display())));
    }
    Ok(Arc::new(LocalStorage::open(dir).map_err(Failure::refused)?))
}

fn tell(restored: &Restored) {
    say(&format!(
        "{} records up to sequence {}; timeline {}: every session, refresh token and mailed token of before is dead; a \
         new signing key will be made, so access tokens of before are refused; {} waiting mails were dropped",
        restored.records, restored.seq, restored.timeline, restored.mails
    ));
}

fn backup(config: &Config, to: &Path, with_keys: bool) -> Result<(), Failure> {
    if to.read_dir().is_ok_and(|mut inside| inside.next().is_some()) {
        return Err(Failure::refused(format!("{} is not empty", to.display())));
    }
    std::fs::create_dir_all(to).map_err(Failure::refused)?;
    // A running server has another working directory.
    let to = to.canonicalize().map_err(Failure::refused)?;
    if let Ok(stream) = UnixStream::connect(admin_socket::path(&config.data_dir)) {
        let answer = super::user::ask(stream, &Operation::Backup { to: to.clone() })?;
        if let Some(error) = answer.get("error").and_then(serde_json::Value::as_str) {
            return Err(Failure::refused(error));
        }
    } else {
        let from = open(&config.data_dir)?;
        let _lock = from.lock().map_err(Failure::refused)?;
        back_up(&*from, &*open(&to)?, SIZES).map_err(Failure::refused)?;
    }
    if with_keys {
        copy_keys(&config.keys_dir, &to.join("keys"), true)?;
    }
    // The proof: what was copied becomes a data directory again.
    let proof = to.join("proof");
    let source = open(&to)?;
    check_sums(&*source).map_err(Failure::refused)?;
    let into = Arc::new(LocalStorage::open(&proof).map_err(Failure::refused)?);
    let proved =
        restore(&*source, into, SIZES, Until::default(), Clock::system(), Arc::new(Chance::system()));
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

/// Copies key files; signing keys only for a backup, since a new past signs with new ones.
fn copy_keys(from: &Path, to: &Path, signing: bool) -> Result<usize, Failure> {
    let target = LocalStorage::open(to).map_err(Failure::refused)?;
    let mut copied = 0;
    for entry in from.read_dir().map_err(|error| Failure::refused(format!("{}: {error}", from.display())))? {
        let name = entry.map_err(Failure::refused)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".key") && (signing || !name.starts_with("signing-")) {
            let bytes = std::fs::read(from.join(&name)).map_err(Failure::refused)?;
            portcullis::journal::storage::write_whole(&target, "", &name, &bytes)
                .map_err(Failure::refused)?;
            copied += 1;
        }
    }
    Ok(copied)
}

/// Builds a data directory beside its place, and moves it there when it is whole.
fn anew<T>(
    config: &Config,
    from: &Path,
    keys: Option<&Path>,
    build: impl FnOnce(Arc<dyn Storage>, Clock, Arc<Chance>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let place = &config.data_dir;
    // The default directory of a checkout holds a README, which is no past.
    let used = ["IDENTITY", "journal", "snapshot", "keys"].iter().any(|name| place.join(name).exists());
    if used || config.keys_dir.exists() {
        return Err(Failure::refused(format!(
            "{} or {} is in use; give an empty --data-dir",
            place.display(),
            config.keys_dir.display()
        )));
    }
    let own = from.join("keys");
    let keys = keys.unwrap_or(&own);
    if !keys.join("directory-1.key").is_file() {
        return Err(Failure::refused(format!(
            "no keys in {}: without them no name is found again; name their directory with --keys",
            keys.display()
        )));
    }
    let building = place.with_extension("restoring");
    if building.exists() {
        std::fs::remove_dir_all(&building).map_err(Failure::refused)?;
    }
    let storage = Arc::new(LocalStorage::open(&building).map_err(Failure::refused)?);
    let built = build(storage, Clock::system(), Arc::new(Chance::system()))?;
    let keys_in_place = config.keys_dir.strip_prefix(place).map(|inside| building.join(inside));
    let keys_in_place = keys_in_place.unwrap_or_else(|_| config.keys_dir.clone());
    copy_keys(keys, &keys_in_place, false)?;
    let key_storage = LocalStorage::open(&keys_in_place).map_err(Failure::refused)?;
    // Only the signing key is missing.
    portcullis::token::Keys::form(&key_storage, &Chance::system(), config.scheme)
        .map_err(Failure::refused)?;
    if place.exists() {
        // Only what does not make a directory used can be in it.
        for entry in building.read_dir().map_err(Failure::refused)? {
            let entry = entry.map_err(Failure::refused)?;
            // Last, since it makes the directory one in use.
            if entry.file_name() != "IDENTITY" {
                std::fs::rename(entry.path(), place.join(entry.file_name())).map_err(Failure::refused)?;
            }
        }
        std::fs::rename(building.join("IDENTITY"), place.join("IDENTITY")).map_err(Failure::refused)?;
        std::fs::remove_dir(&building).map_err(Failure::refused)?;
    } else {
        std::fs::rename(&building, place).map_err(Failure::refused)?;
    }
    Ok(built)
}
