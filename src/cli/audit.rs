//! `portcullis audit`.

use std::sync::Arc;

use clap::Subcommand;
use portcullis::audit;
use portcullis::engine::StartError;
use portcullis::engine::partition::key_files;
use portcullis::server::operator::operation::Operation;
use portcullis::storage::local::LocalStorage;
use portcullis::system::random::Random;
use portcullis::token::Keys;

use super::operate::operate;
use super::{Cli, Failure, counted, say};

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
    /// Verify that no line of the log was changed or removed. Needs the server's keys.
    ///
    /// Exits with 1 at the first line that does not follow from the one before.
    Verify,
}

impl AuditCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::Tail { limit, event, account } => {
                let operation =
                    Operation::AuditTail { limit: *limit, event: event.clone(), account: account.clone() };
                operate(cli, operation)
            }
            Self::Verify => verify(cli),
        }
    }
}

fn verify(cli: &Cli) -> Result<(), Failure> {
    let config = cli.load()?;
    let no_keys =
        |error| Failure::refused(format!("cannot read the keys in {}: {error}", config.keys.dir.display()));
    LocalStorage::open_existing(&config.keys.dir).map_err(no_keys)?;
    let files = key_files(&config, &Arc::new(Random::system()))?;
    let key = Keys::load_audit(&files).map_err(StartError::from)?;
    let verified = audit::verify::verify(&config.audit.dir, &key).map_err(Failure::refused)?;
    let lines = verified.map_err(Failure::refused)?;
    say(&format!("the log is unbroken: {}", counted(lines, "line", "lines")));
    Ok(())
}
