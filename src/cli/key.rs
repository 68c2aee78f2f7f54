//! `portcullis key`.

use clap::Subcommand;
use portcullis::server::operator::operation::Operation;

use super::operate::operate;
use super::{Cli, Failure};

/// The subcommands for signing keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// List the published signing keys, newest first, and say which of them signs.
    List,
    /// Create a new signing key. Older keys still verify.
    ///
    /// It is published now and signs after token.publish_ahead_secs, when others have fetched it.
    Rotate,
    /// Withdraw a signing key at once: every token that it has signed becomes invalid.
    Retire {
        /// Id of the key, as `key list` shows it.
        kid: String,
    },
}

impl KeyCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let operation = match self {
            Self::List => Operation::KeyList,
            Self::Rotate => Operation::KeyRotate,
            Self::Retire { kid } => Operation::KeyRetire { kid: kid.clone() },
        };
        operate(cli, operation)
    }
}
