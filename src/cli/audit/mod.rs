//! `portcullis audit`.

mod tail;
mod top;

use std::sync::Arc;

use clap::Subcommand;
use portcullis::audit::ends::Record;
use portcullis::audit::verify::verify;
use portcullis::engine::StartError;
use portcullis::engine::partition::key_files;
use portcullis::server::operator::operation::Operation;
use portcullis::storage::local::LocalStorage;
use portcullis::system::random::Random;
use portcullis::token::Keys;
use serde_json::{Value, json};

use super::operate::carry_out;
use super::{Cli, Failure, counted, remembered};

/// The subcommands for security events.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Show the newest security events, and with --follow also those to come.
    ///
    /// Reads the files in audit.dir, so the server may be stopped. With --json each line is as it is stored.
    Tail(tail::TailArgs),
    /// Count the events in the files of audit.dir, by network, account or event.
    ///
    /// Sums count as what they stand for. They are written after their minute, so that a flood of the last minute is not in
    /// the counts yet, while /metrics has it. The row `-` counts events that name no network or account.
    Top(top::TopArgs),
    /// List the names of all events, each with its meaning.
    Events,
    /// Verify that no line of the log was changed or removed, at its beginning and its end neither. Needs the server's
    /// keys.
    ///
    /// Exits with 1 at the first line that does not follow from the one before, if the log is shorter than the server
    /// has written it, or if a start found it too short, unless somebody has run `audit acknowledge` since. It cannot find lines
    /// that are missing from the last second of a server that was killed.
    Verify,
    /// Write down that you know of each change of the log: lines that were changed, removed or cut off, or a changed record
    /// of its end.
    ///
    /// Reads the whole log. The event stays in it, and names each place with a digest of what is there: `verify` passes over
    /// that from then on, and finds any other change.
    Acknowledge,
}

impl AuditCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::Tail(tail) => tail.run(cli),
            Self::Top(top) => top.run(cli),
            Self::Events => {
                top::list_events(cli);
                Ok(())
            }
            Self::Verify => verify_log(cli),
            Self::Acknowledge => acknowledge(cli),
        }
    }
}

fn acknowledge(cli: &Cli) -> Result<(), Failure> {
    let done = carry_out(cli.load()?, Operation::AuditAcknowledge)?;
    let text = match done.get("event").and_then(Value::as_str) {
        Some(event) => {
            let found = done.get("found").and_then(Value::as_array).into_iter().flatten();
            let found: String = found.filter_map(Value::as_str).map(|place| format!("\n  {place}")).collect();
            format!("acknowledged: {event} is in the log{found}")
        }
        None => String::from(
            "nothing to acknowledge: the log is not changed, and no start has found it changed since; nothing was written",
        ),
    };
    cli.answer(&text, &done);
    Ok(())
}

fn verify_log(cli: &Cli) -> Result<(), Failure> {
    let config = cli.load()?;
    let no_keys =
        |error| Failure::refused(format!("cannot read the keys in {}: {error}", config.keys.dir.display()));
    LocalStorage::open_existing(&config.keys.dir).map_err(no_keys)?;
    let files = key_files(&config, &Arc::new(Random::system()))?;
    let key = Keys::load_audit(&files).map_err(StartError::from)?;
    let data = LocalStorage::open_existing(&config.data_dir).map_err(Failure::refused)?;
    // Read before the log: a running server may add lines meanwhile, and the log must reach at least as far.
    let record = Record::read(&data, &key).map_err(Failure::refused)?;
    let verified = verify(&config.audit.dir, &key, Some(&record)).map_err(Failure::refused)?;
    let verified = verified.map_err(Failure::refused)?;
    let lines = counted(verified.lines, "line", "lines");
    if let Some(what) = remembered::audit_end(&data).and_then(|known| record.compare(&known)) {
        return Err(Failure::refused(format!("audit.end in {}: {what}", config.data_dir.display())));
    }
    if record == Record::Missing {
        return Err(Failure::refused(format!(
            "{} follow one from the other, but audit.end in {} is missing, which says where the log must end: an older \
             version or a restore made this directory and no server has started on it since, or the file was removed",
            lines,
            config.data_dir.display()
        )));
    }
    let known = match verified.acknowledged {
        0 => String::from("the log is unbroken"),
        cuts => {
            format!("the log is unbroken but for {}", counted(cuts, "acknowledged cut", "acknowledged cuts"))
        }
    };
    cli.answer(
        &format!("{known}: {lines}"),
        &json!({"lines": verified.lines, "acknowledged_cuts": verified.acknowledged}),
    );
    Ok(())
}
