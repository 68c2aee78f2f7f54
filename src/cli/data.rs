//! `portcullis data inspect|verify`: look at a stopped data directory without changing it.

use std::sync::Arc;

use clap::Subcommand;
use portcullis::journal::inspect::{inspect, verify};
use portcullis::journal::storage::Storage;
use portcullis::journal::storage_local::LocalStorage;

use super::{Cli, Failure, say};

/// What to look at.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum DataCommand {
    /// List files, headers and frames.
    Inspect,
    /// Check every checksum, chain and count.
    Verify,
}

impl DataCommand {
    pub(super) fn run(self, cli: &Cli) -> Result<(), Failure> {
        let config = cli.load()?;
        if !config.data_dir.is_dir() {
            return Err(Failure::refused(format!("{} is no directory", config.data_dir.display())));
        }
        let storage: Arc<dyn Storage> =
            Arc::new(LocalStorage::open(&config.data_dir).map_err(Failure::refused)?);
        match self {
            Self::Inspect => {
                for line in inspect(&*storage).map_err(Failure::refused)? {
                    say(&line);
                }
            }
            Self::Verify => {
                let _lock = storage.lock().map_err(Failure::refused)?;
                let found = verify(&storage).map_err(Failure::refused)?;
                say(&format!(
                    "sound: {} records in the snapshot, {} entries behind it, ends at sequence {}",
                    found.records, found.entries, found.seq
                ));
                for warning in found.warnings {
                    say(&format!("warning: {warning}"));
                }
            }
        }
        Ok(())
    }
}
