//! `portcullis session`.

use clap::Subcommand;
use portcullis::server::operator::operation::Operation;
use serde_json::Value;

use super::operate::operate_and_say;
use super::printable::value;
use super::table::{table_of, text};
use super::user::named;
use super::{Cli, Failure, counted};

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
        match self {
            Self::List { user } => {
                operate_and_say(cli, Operation::SessionList { user: user.clone() }, listed)
            }
            Self::Revoke { user } => {
                operate_and_say(cli, Operation::SessionRevoke { user: user.clone() }, |result| {
                    let ended = result["sessions_ended"].as_u64().unwrap_or(0);
                    vec![format!(
                        "ended {} of {}; its access tokens are refused too",
                        counted(ended, "session", "sessions"),
                        named(result)
                    )]
                })
            }
        }
    }
}

fn listed(result: &Value) -> Vec<String> {
    let items = result["items"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return vec![format!("{} has no open sessions", named(&result["user"]))];
    }
    let columns = [
        ("ID", "id"),
        ("KIND", "kind"),
        ("CREATED", "created_at"),
        ("NETWORK", "network"),
        ("PROGRAM", "user_agent"),
    ];
    let mut lines = table_of(items, &columns);
    let user = &result["user"];
    let of = value(&text(&user["email"]));
    lines.push(format!("{} of {of}", counted(items.len() as u64, "open session", "open sessions")));
    lines
}
