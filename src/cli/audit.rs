//! `portcullis audit`.

use std::sync::Arc;

use clap::Subcommand;
use portcullis::audit::ends::Record;
use portcullis::audit::verify::{Unbroken, verify};
use portcullis::engine::StartError;
use portcullis::engine::partition::key_files;
use portcullis::server::operator::operation::Operation;
use portcullis::storage::local::LocalStorage;
use portcullis::system::random::Random;
use portcullis::token::Keys;

use super::operate::operate;
use super::{Cli, Failure, counted, remembered, say};

/// The subcommands for security events.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Show the newest security events.
    Tail {
        /// How many events to show.
        #[arg(default_value_t = 20)]
        limit: usize,
        /// Only events of this name; a name that ends with a dot selects all that begin with it: `login.`
        #[arg(long = "type", value_name = "NAME")]
        event: Option<String>,
        /// Only events of this account or session, by id.
        #[arg(long, value_name = "ID")]
        account: Option<String>,
    },
    /// Verify that no line of the log was changed or removed, at its beginning and its end neither. Needs the server's
    /// keys.
    ///
    /// Exits with 1 at the first line that does not follow from the one before, if the log is shorter than the server
    /// has written it, or if a start found it too short and nobody has run `audit acknowledge` since. It cannot find lines
    /// that are missing from the last second of a server that was killed.
    Verify,
    /// Write down that you know what a start has found: lines that were cut off, or a changed record of the log's end.
    ///
    /// The event stays in the log, and `verify` passes over it from then on.
    Acknowledge,
}

impl AuditCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::Tail { limit, event, account } => {
                let operation =
                    Operation::AuditTail { limit: *limit, event: event.clone(), account: account.clone() };
                operate(cli, operation)
            }
            Self::Verify => verify_log(cli),
            Self::Acknowledge => operate(cli, Operation::AuditAcknowledge),
        }
    }
}

fn verify_log(cli: &Cli) -> Result<(), Failure> {
    let config = cli.load()?;
    let no_keys =
        |error| Failure::refused(format!("cannot read the keys in {}: {error}", config.keys.dir.display()));
    LocalStorage::open_existing(&config.keys.dir).map_err(no_keys)?;
    let files = key_files(&config, &Arc::new(Random::system()))?;
    let key = Keys::load_audit(&files).map_err(StartError::from)?;
    let data = LocalStorage::open_existing(&config.data_dir).map_err(Failure::refused)?;
    // Read before the log: a running server may add lines meanwhile, and the log must reach at least as far.
    let record = Record::read(&data, &key).map_err(Failure::refused)?;
    let verified = verify(&config.audit.dir, &key, Some(&record)).map_err(Failure::refused)?;
    let Unbroken { lines, acknowledged } = verified.map_err(Failure::refused)?;
    let lines = counted(lines, "line", "lines");
    if let Some(what) = remembered::audit_end(&data).and_then(|known| record.compare(&known)) {
        return Err(Failure::refused(format!("audit.end in {}: {what}", config.data_dir.display())));
    }
    if record == Record::Missing {
        return Err(Failure::refused(format!(
            "{} follow one from the other, but audit.end in {} is missing, which says where the log must end: an older \
             version or a restore made this directory and no server has started on it since, or the file was removed",
            lines,
            config.data_dir.display()
        )));
    }
    let known = match acknowledged {
        0 => String::from("the log is unbroken"),
        cuts => {
            format!("the log is unbroken but for {}", counted(cuts, "acknowledged cut", "acknowledged cuts"))
        }
    };
    say(&format!("{known}: {lines}"));
    Ok(())
}
