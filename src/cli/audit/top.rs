//! `portcullis audit top` and `portcullis audit events`.

use std::io;

use clap::{Args, ValueEnum};
use portcullis::audit::names::EVENTS;
use portcullis::audit::read::Wanted;
use portcullis::audit::top::{By, Counted, top};
use portcullis::system::clock::Clock;
use serde_json::{Value, json};

use super::tail::{event_name, since, write_out_queue};
use crate::cli::table::table_of;
use crate::cli::{Cli, Failure, counted, say};

/// What to count, and by what.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// What to count by.
    #[arg(long, value_enum, default_value_t = Key::Event)]
    by: Key,
    /// Only events from this time on: 2027-01-15T08:00:00Z, or an age such as 90s, 30m, 2h or 3d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events of this one name (login.failed), or of all that begin with it (login, 'login.*').
    #[arg(long = "type", value_name = "NAME", value_parser = event_name)]
    event: Option<String>,
    /// How many rows at most.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Key {
    Network,
    Account,
    Event,
}

impl TopArgs {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let config = cli.load()?;
        let since = self.since.as_deref().map(|text| since(text, Clock::system().now())).transpose()?;
        write_out_queue(&config);
        let (by, title) = match self.by {
            Key::Network => (By::Network, "NETWORK"),
            Key::Account => (By::Account, "ACCOUNT"),
            Key::Event => (By::Event, "EVENT"),
        };
        let dir = config.audit.dir;
        let wanted = Wanted { event: self.event.clone(), since, ..Wanted::default() };
        let rows = top(&dir, &wanted, by).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::refused(format!("{} holds no events yet", dir.display())),
            _ => Failure::refused(format!("{}: {error}", dir.display())),
        })?;
        let total: u64 = rows.iter().map(|row| row.count).sum();
        let items: Vec<Value> = rows.iter().take(self.limit).map(row_json).collect();
        if cli.json {
            say(&json!({"items": items, "total": total, "rows": rows.len()}).to_string());
            return Ok(());
        }
        if items.is_empty() {
            say("none found");
            return Ok(());
        }
        let all =
            [("COUNT", "count"), (title, "of"), ("ADDRESS", "email"), ("MOSTLY", "mostly"), ("LAST", "last")];
        let has = |field: &str| match field {
            "email" => by == By::Account,
            "mostly" => by != By::Event,
            _ => true,
        };
        let columns: Vec<(&str, &str)> = all.into_iter().filter(|(_, field)| has(field)).collect();
        for line in table_of(&items, &columns) {
            say(&line);
        }
        let left = rows.len().saturating_sub(items.len());
        let more = if left > 0 { format!("; {left} more with fewer: see --limit") } else { String::new() };
        say(&format!("{} in all{more}", counted(total, "event", "events")));
        Ok(())
    }
}

fn row_json(row: &Counted) -> Value {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "of": some(&row.of),
        "email": some(&row.email),
        "count": row.count,
        "mostly": row.mostly,
        "last": row.last.rfc3339(),
    })
}

/// Lists the names of all events with their meaning.
pub(super) fn list_events(cli: &Cli) {
    let items: Vec<Value> =
        EVENTS.iter().map(|(name, meaning)| json!({"event": name, "meaning": meaning})).collect();
    if cli.json {
        say(&json!({"items": items}).to_string());
        return;
    }
    for (name, meaning) in EVENTS {
        say(&format!("{name:<26}{meaning}"));
    }
}
