//! `portcullis webhook`: the programs that are called with events.

use clap::Subcommand;
use portcullis::server::operator::operation::Operation;
use serde_json::Value;

use crate::cli::operate::operate_and_say;
use crate::cli::printable::value;
use crate::cli::table::table_of;
use crate::cli::{Cli, Failure};

/// The subcommands for webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// List the webhooks of the running server, and how each stands.
    List,
    /// Call a webhook again that was disabled or fails. It goes on with the first event that it has not taken.
    Resume {
        /// Host and port, as `webhook list` shows them; left out: all of them.
        host: Option<String>,
    },
}

impl WebhookCommand {
    pub(in crate::cli) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::List => operate_and_say(cli, Operation::WebhookList, listed),
            Self::Resume { host } => {
                operate_and_say(cli, Operation::WebhookResume { host: host.clone() }, resumed)
            }
        }
    }
}

fn listed(result: &Value) -> Vec<String> {
    let items = result["items"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return vec![String::from("no webhook is called by a running server")];
    }
    table_of(
        items,
        &[("HOST", "host"), ("STATUS", "status"), ("WAITING SINCE", "waiting_since"), ("WHY", "why")],
    )
}

fn resumed(result: &Value) -> Vec<String> {
    let hosts = result["resumed"].as_array().map_or(&[][..], Vec::as_slice);
    if hosts.is_empty() {
        return vec![String::from("nothing to resume: every webhook is called already")];
    }
    hosts.iter().map(|host| format!("resumed: {}", value(host.as_str().unwrap_or_default()))).collect()
}
