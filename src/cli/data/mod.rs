//! `portcullis data`: looks at a data directory, copies it, and creates a new one from a copy.

mod backup;
mod inspect;
mod restore;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use portcullis::journal::archive::{Admit, Destination};
use portcullis::journal::format::entry::Change;
use portcullis::journal::format::layout::Sizes;
use portcullis::registry::tables;
use portcullis::storage::Storage;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Clock;
use portcullis::system::random::Random;

use super::{Cli, Failure};

/// The subcommands for data directories.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// List the journal's files with their headers and frames.
    Inspect,
    /// Verify every checksum, chain and count of a stopped directory, and that its keys belong to it.
    ///
    /// Also proves, with a second reader, that each snapshot and the journal after it lead to the same state. Exits
    /// with 1 at the first thing that is wrong.
    Verify,
    /// Print every record of a stopped directory as a line of JSON, without its secrets.
    Dump,
    /// Copy snapshots, journal and the log of security events into a directory, and prove the copy by a restore.
    ///
    /// Works with a running server too, whose log of security events then names you and the place. Prints what is in the copy,
    /// what is not, and what a restore needs. A copy that fails leaves nothing behind, and what is left of one that was
    /// interrupted is replaced by the next one into the same directory.
    Backup {
        /// Directory to copy into. It must be empty, or not exist yet.
        to: PathBuf,
        /// Also copy keys that are not sealed. Guard such a copy like the server itself; without the flag, keep a copy
        /// of `keys.dir` elsewhere. Keys that are sealed under keys.master_file are always copied.
        #[arg(long)]
        with_keys: bool,
    },
    /// Create a new data directory from a backup.
    ///
    /// All users have to log in again, the signing key is new, and mails that waited are not sent. Needs the keys of
    /// the backed-up server, and an empty --data-dir. The new directory has keys of its own, and starts with no others. It
    /// begins a new log of security events; that of before stays in the backup.
    Restore {
        /// Directory of the backup.
        from: PathBuf,
        /// Stop after this sequence number, which must be one that the backup has.
        #[arg(long, value_name = "SEQUENCE")]
        to_seq: Option<u64>,
        /// Stop after this time, such as 2027-01-15T08:00:00Z, which must lie between the first and the last of the backup.
        #[arg(long, value_name = "TIME")]
        to_time: Option<String>,
        /// Directory of the keys, if they are not in the backup.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
    /// Create a new data directory from one whose clock was ahead, which begins at the time of the system.
    ///
    /// A journal that has seen a time far in the future keeps the server there: sessions, links and locks last longer
    /// until the system has caught up. What had expired by the wrong clock would be valid again by the right one, so all
    /// users have to log in again, the signing key is new, mails that waited are not sent, and locks of names end; the
    /// failures still count. Needs a stopped server, an empty --data-dir, and the clock right.
    ResetClockFloor {
        /// The directory of the stopped server. It is not changed.
        from: PathBuf,
        /// Directory of its keys, if they are not in its own `keys/`.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
    /// Create a new data directory from what is readable of a damaged one, and list what is lost.
    ///
    /// Needs an empty --data-dir.
    Salvage {
        /// The damaged directory. It is not changed.
        from: PathBuf,
        /// Directory of its keys, if they are not in its own `keys/`.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
}

const SIZES: Sizes = Sizes::PRODUCTION;

impl DataCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let config = cli.load()?;
        match self {
            Self::Inspect => inspect::inspect(cli, &config.data_dir),
            Self::Verify => inspect::verify(cli, &config),
            Self::Dump => inspect::dump(&config.data_dir),
            Self::Backup { to, with_keys } => backup::run(cli, &config, to, *with_keys),
            Self::Restore { from, to_seq, to_time, keys } => {
                let target = restore::target(*to_seq, to_time.as_deref())?;
                restore::restore(cli, &config, from, target, keys.as_deref())
            }
            Self::ResetClockFloor { from, keys } => {
                restore::reset_clock_floor(cli, &config, from, keys.as_deref())
            }
            Self::Salvage { from, keys } => restore::salvage(cli, &config, from, keys.as_deref()),
        }
    }
}

fn open(dir: &Path) -> Result<Arc<dyn Storage>, Failure> {
    let storage = LocalStorage::open_existing(dir);
    Ok(Arc::new(storage.map_err(Failure::refused)?))
}

/// Keeps a server from starting in `storage` while it is read.
///
/// Errors: one runs, or another command uses the directory.
fn lock_to_read(storage: &dyn Storage) -> Result<Box<dyn Send + Sync>, Failure> {
    storage.lock_to_read().map_err(|error| match error.kind() {
        ErrorKind::ResourceBusy => Failure::refused(format!("{error}; stop it first, or wait for it")),
        _ => Failure::refused(error),
    })
}

/// A directory to be made by a restore or a salvage. Mails that waited are left out: they may have been sent since.
fn destination<'a>(
    storage: Arc<dyn Storage>,
    clock: Clock,
    random: Arc<Random>,
    admit: &'a Admit<'a>,
    added: &'a [Change],
) -> Destination<'a> {
    Destination { storage, sizes: SIZES, clock, random, left_out: &[tables::OUTBOX], admit, added }
}
