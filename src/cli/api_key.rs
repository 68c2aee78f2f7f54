//! `portcullis api-key`.

use clap::Subcommand;
use portcullis::server::operator::operation::Operation;
use serde_json::Value;

use super::operate::{carry_out, operate_and_say};
use super::printable::{printable, value};
use super::table::{table_of, text};
use super::{Cli, Failure, try_write_out};

/// The subcommands for API keys.
#[derive(Clone, Debug, Subcommand)]
pub enum ApiKeyCommand {
    /// Create an API key and print it. It is shown this once.
    Create {
        /// Name of the service that uses it.
        name: String,
        /// Scopes of the key, separated by commas: introspect, revocations, metrics, admin:read, admin:write, events:read.
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
            Self::List => return operate_and_say(cli, Operation::ApiKeyList, listed),
            Self::Delete { id } => {
                let delete = Operation::ApiKeyDelete { id: id.clone() };
                return operate_and_say(cli, delete, |result| {
                    vec![format!("deleted the API key {}: it is refused from now on", text(&result["id"]))]
                });
            }
        };
        create(cli, operation)
    }
}

/// Tells what was made. The key stands on a line of its own, so that it can be copied.
fn made(key: &Value) -> Vec<String> {
    let scopes = key["scopes"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    vec![
        format!("created the API key {} ({}) for {scopes}", value(&text(&key["name"])), text(&key["id"])),
        format!("It expires at {}, and is shown this once:", text(&key["expires_at"])),
        text(&key["key"]),
    ]
}

/// Creates an API key and prints it. A key that could not be printed is deleted again: nobody has seen it, or it stands in
/// a file that is not complete.
fn create(cli: &Cli, operation: Operation) -> Result<(), Failure> {
    let created = carry_out(cli.load()?, operation)?;
    let text = if cli.json { created.to_string() } else { made(&created).join("\n") };
    let Err(error) = try_write_out(format!("{}\n", printable(&text)).as_bytes()) else { return Ok(()) };
    let id = created.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let became = match carry_out(cli.load()?, Operation::ApiKeyDelete { id: id.clone() }) {
        Ok(_) => String::from("it was deleted again"),
        Err(Failure(_, why)) => {
            format!("it could not be deleted again ({why}): run portcullis api-key delete {id}")
        }
    };
    Err(Failure::fault(format!("the API key could not be printed: {error}; {became}")))
}

fn listed(result: &Value) -> Vec<String> {
    let items = result["items"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return vec![String::from("there are no API keys")];
    }
    let columns = [
        ("ID", "id"),
        ("NAME", "name"),
        ("SCOPES", "scopes"),
        ("CREATED", "created_at"),
        ("BY", "created_by"),
        ("EXPIRES", "expires_at"),
        ("LAST USE", "last_used_at"),
    ];
    table_of(items, &columns)
}
