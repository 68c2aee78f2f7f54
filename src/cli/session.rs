//! `portcullis session`.

use clap::Subcommand;
use portcullis::server::operator::operation::Operation;

use super::operate::operate;
use super::{Cli, Failure};

/// The subcommands for sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List the browser sessions and token families of an account.
    List {
        /// E-mail address or id of the account.
        user: String,
    },
    /// End all sessions of an account; its tokens are refused from then on.
    Revoke {
        /// E-mail address or id of the account.
        user: String,
    },
}

impl SessionCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let operation = match self {
            Self::List { user } => Operation::SessionList { user: user.clone() },
            Self::Revoke { user } => Operation::SessionRevoke { user: user.clone() },
        };
        operate(cli, operation)
    }
}
