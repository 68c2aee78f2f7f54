//! `portcullis api-key`.

use clap::Subcommand;
use portcullis::server::operator::operation::Operation;

use super::operate::operate;
use super::{Cli, Failure};

/// The subcommands for API keys.
#[derive(Clone, Debug, Subcommand)]
pub enum ApiKeyCommand {
    /// Create an API key and print it. It is shown this once.
    Create {
        /// Name of the service that uses it.
        name: String,
        /// Scopes of the key, separated by commas: introspect, revocations, metrics, admin:read, admin:write.
        #[arg(long, value_delimiter = ',', required = true, value_name = "SCOPES")]
        scopes: Vec<String>,
        /// When it expires, such as 2027-01-15T08:00:00Z: at most 400 days ahead. Default: in 365 days.
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// List the API keys, each with its last use.
    List,
    /// Delete an API key. It is dead at once.
    Delete {
        /// Id of the key, as `api-key list` shows it.
        id: String,
    },
}

impl ApiKeyCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let operation = match self {
            Self::Create { name, scopes, expires_at } => Operation::ApiKeyCreate {
                name: name.clone(),
                scopes: scopes.clone(),
                expires_at: expires_at.clone(),
            },
            Self::List => Operation::ApiKeyList,
            Self::Delete { id } => Operation::ApiKeyDelete { id: id.clone() },
        };
        operate(cli, operation)
    }
}
