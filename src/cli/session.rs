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
        /// E-mail address or id of the account, or external: and its external id.
        user: String,
    },
    /// End all sessions of an account, or one session; their tokens are refused from then on.
    ///
    /// The password of the account still works: `user reset-password --revoke-password` ends that too.
    Revoke {
        /// E-mail address or id of the account, external: and its external id, or the id of one session, as `session list`
        /// shows it.
        #[arg(value_name = "USER_OR_SESSION")]
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
                operate_and_say(cli, Operation::SessionRevoke { user: user.clone() }, revoked)
            }
        }
    }
}

fn revoked(result: &Value) -> Vec<String> {
    let ended = match result["session"].as_str() {
        Some(session) => format!("the session {}", value(session)),
        None => counted(result["sessions_ended"].as_u64().unwrap_or(0), "session", "sessions"),
    };
    vec![
        format!("ended {ended} of {}; its access tokens are refused too", named(result)),
        format!(
            "The password still works. If somebody else knows it: portcullis user reset-password --revoke-password {}",
            text(&result["id"])
        ),
    ]
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
