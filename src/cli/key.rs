//! `portcullis key`.

use clap::{ArgAction, Subcommand};
use portcullis::server::operator::operation::Operation;
use serde_json::{Value, json};

use super::operate::operate_and_say;
use super::table::{table_of, text};
use super::{Cli, Failure};

/// The subcommands for the server's keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// List the published signing keys, newest first, and say which of them signs; then the other keys.
    List,
    /// Create a new key. Older keys of its kind verify until nothing lives that they made.
    ///
    /// A signing key is published now and signs after token.publish_ahead_secs, when others have fetched it. Another key
    /// is used at once. The server changes its signing key by itself every token.key_days.
    Rotate {
        /// signing, edge, device, csrf or outbox. The directory and audit keys cannot change.
        #[arg(default_value = "signing")]
        kind: String,
    },
    /// Withdraw a signing key at once: every token that it has signed becomes invalid.
    // An id may begin with a hyphen, also with `-h`.
    #[command(disable_help_flag = true)]
    Retire {
        /// Id of the key, as `key list` shows it.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Print help
        #[arg(long, action = ArgAction::Help)]
        help: Option<bool>,
    },
}

impl KeyCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::List => operate_and_say(cli, Operation::KeyList { all: true }, listed),
            Self::Rotate { kind } => {
                operate_and_say(cli, Operation::KeyRotate { kind: Some(kind.clone()) }, |result| {
                    let (kid, from) = (text(&result["kid"]), text(&result["signs_from"]));
                    vec![format!(
                        "made the {kind} key {kid}, which is used from {from} on; older ones still verify"
                    )]
                })
            }
            Self::Retire { kid, .. } => {
                operate_and_say(cli, Operation::KeyRetire { kid: kid.clone() }, |result| {
                    vec![format!(
                        "retired the signing key {}: every token that it has signed is refused",
                        text(&result["kid"])
                    )]
                })
            }
        }
    }
}

/// Tells signing keys and others alike: which are in use, and since when.
fn listed(result: &Value) -> Vec<String> {
    let row = |item: &Value| match &item["kind"] {
        Value::Null => json!({
            "kid": item["kid"],
            "kind": "signing",
            "algorithm": item["alg"],
            "in_use": item["signs"],
            "from": item["signs_from"],
        }),
        kind => json!({
            "kid": item["kid"],
            "kind": kind,
            "in_use": item["newest"],
            "from": item["used_from"],
            "until": item["verifies_until"],
        }),
    };
    let rows: Vec<Value> = result["items"].as_array().into_iter().flatten().map(row).collect();
    let columns = [
        ("ID", "kid"),
        ("KIND", "kind"),
        ("IN USE", "in_use"),
        ("FROM", "from"),
        ("VERIFIES UNTIL", "until"),
        ("ALGORITHM", "algorithm"),
    ];
    table_of(&rows, &columns)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: KeyCommand,
    }

    #[test]
    fn an_id_may_begin_with_a_hyphen() {
        for id in ["-Jx3", "--Jx", "-hx3", "-", "x"] {
            let parsed = Line::try_parse_from(["key", "retire", id]).unwrap();
            assert!(matches!(parsed.command, KeyCommand::Retire { kid, .. } if kid == id), "{id}");
        }
        let help = Line::try_parse_from(["key", "retire", "--help"]).unwrap_err();
        assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp);
    }
}
