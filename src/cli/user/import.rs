//! `portcullis user import`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use parking_lot::Mutex;
use portcullis::flow::admin::import::report::{Outcome, Refused, Report};
use portcullis::server::operator::dumps::{Dump, Format, Options, Part, hash_config};
use portcullis::server::operator::operation::Operation;
use portcullis::system::bounded_file;
use portcullis::system::clock::Clock;
use serde_json::{Value, json};

use crate::cli::operate::converse;
use crate::cli::printable::value;
use crate::cli::{Cli, Failure, counted, say};

/// Reports that are shown. Those of users who are there from before are counted alone; `--report` has all.
const SHOWN_MAX: usize = 100;
/// The bytes that are sent at once.
const PART_BYTES: usize = 64 * 1024;
/// The most bytes of the parameters of Firebase.
const CONFIG_BYTES_MAX: usize = 64 * 1024;

/// Create the accounts of a file, a line each, or of the dump of another system.
#[derive(Debug, Args)]
pub struct Import {
    /// The file; - is standard input.
    file: PathBuf,
    /// The system that has written the file.
    #[arg(long, default_value = "portcullis", value_name = "SYSTEM", value_parser = PossibleValuesParser::new(
        Format::ALL.map(|(name, _)| name)
    ))]
    format: String,
    /// Judge every user, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Count addresses as proved where the file does not say, as that of Django.
    #[arg(long)]
    verified: bool,
    /// A second file with the passwords: the hashes that the support of Auth0 sends, or the table account of Better Auth.
    #[arg(long, value_name = "FILE")]
    passwords: Option<PathBuf>,
    /// A file with the hash parameters of the project, as the console of Firebase shows them.
    #[arg(long, value_name = "FILE")]
    hash_config: Option<PathBuf>,
    /// Write what became of every line that gave no account into this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Import {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let config = cli.load()?;
        let format = Format::ALL.into_iter().find(|(name, _)| *name == self.format).map(|(_, format)| format);
        let format = format.unwrap_or_default();
        let source = self.source(format)?;
        let report = self
            .report
            .as_deref()
            .map(|path| File::create(path).map(BufWriter::new).map_err(|error| Failure::at(path, &error)));
        let is_dump = matches!(source, Source::Dump(_));
        let told =
            Told { one: if is_dump { "user" } else { "line" }, file: report.transpose()?, ..Told::default() };
        let told = Arc::new(Mutex::new(told));
        let foreign_for = config.password.foreign_for;
        let operation = Operation::UserImport { dry_run: self.dry_run, verified: self.verified };
        let tell = Arc::clone(&told);
        let done = converse(config, move |stream| talk(stream, &operation, source, &tell))?;
        let mut told = told.lock();
        // Lines that this command refuses were noted before the reports of the server: sort both by their number.
        told.shown.sort_by_key(|report| report.get("line").and_then(Value::as_u64));
        if let (Some(file), Some(path)) = (&mut told.file, &self.report) {
            file.flush().map_err(|error| Failure::at(path, &error))?;
        }
        self.finish(cli, &done, &told, foreign_for)
    }

    /// Opens the file.
    fn source(&self, format: Format) -> Result<Source, Failure> {
        let is_stdin = self.file.as_os_str() == "-";
        let second = match (format, &self.passwords) {
            (Format::Auth0 | Format::BetterAuth, Some(path)) => Some(path.as_path()),
            (_, Some(_)) => {
                return Err(Failure::usage("--passwords goes with --format auth0 and better-auth alone"));
            }
            (Format::BetterAuth, None) if is_stdin => {
                return Err(Failure::usage(
                    "the tables of Better Auth are read twice: name the file, or give --passwords",
                ));
            }
            // One file with both tables.
            (Format::BetterAuth, None) => Some(self.file.as_path()),
            _ => None,
        };
        let firebase = match (&self.hash_config, format) {
            (Some(path), Format::Firebase) => {
                let bytes = bounded_file::read(path, CONFIG_BYTES_MAX)
                    .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
                let config = hash_config(&String::from_utf8_lossy(&bytes));
                Some(config.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?)
            }
            (Some(_), _) => return Err(Failure::usage("--hash-config goes with --format firebase alone")),
            (None, _) => None,
        };
        let read: Box<dyn Read + Send> =
            if is_stdin { Box::new(io::stdin()) } else { Box::new(open(&self.file)?) };
        if format == Format::Portcullis {
            let mut read = BufReader::with_capacity(PART_BYTES, read);
            // Wait for the first line before connecting: a program that writes into the pipe may begin late, and the server
            // bounds the time that it waits.
            let first = read.fill_buf().map(<[u8]>::len);
            first.map_err(|error| Failure::at(&self.file, &error))?;
            return Ok(Source::Lines(read));
        }
        let options = Options { now: Clock::system().system_now(), firebase };
        let dump = Dump::open(format, options, read, second);
        let dump = dump.map_err(|error| Failure::refused(format!("{}: {error}", self.file.display())))?;
        Ok(Source::Dump(Box::new(dump)))
    }

    /// Prints what became of the lines.
    fn finish(
        &self,
        cli: &Cli,
        done: &Value,
        told: &Told,
        foreign_for: Option<Duration>,
    ) -> Result<(), Failure> {
        let count = |name: &str| done.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (created, same, moved) = (count("created"), count("same"), count("moved"));
        let taken = count("duplicates").saturating_sub(same + moved);
        let refused = count("refused") + told.refused_here;
        let (shown, not_shown) = (&told.shown, told.not_shown);
        if cli.json {
            let mut answer = json!({
                "dry_run": self.dry_run, "created": created, "duplicates": same + moved + taken, "same": same,
                "moved": moved, "refused": refused, "skipped": told.skipped,
                "reports": shown, "not_shown": not_shown,
            });
            for name in ["log_in_kib", "log_in_ms", "log_ins_per_second"] {
                if let (Some(grown), Some(answer)) = (done.get(name), answer.as_object_mut()) {
                    answer.insert(name.to_owned(), grown.clone());
                }
            }
            say(&answer.to_string());
        } else {
            for report in shown {
                say(&in_words(told.one, report));
            }
            if not_shown > 0 {
                let more = counted(not_shown, "more is not shown", "more are not shown");
                say(&format!("{more}: --report FILE writes all"));
            }
            let verb = if self.dry_run { "would be created" } else { "created" };
            let mut parts = vec![format!("{} {verb}", counted(created, "account", "accounts"))];
            for (number, what) in [
                (same, "there from before"),
                (moved, "there with another address"),
                (taken, "taken by other accounts"),
                (refused, "refused"),
                (told.skipped, "no users"),
            ] {
                if number > 0 {
                    parts.push(format!("{number} {what}"));
                }
            }
            say(&parts.join(", "));
            if let Some(grown) = done.get("log_in_kib") {
                say(&dearer(grown, done, foreign_for, self.dry_run));
            }
        }
        let mut missing = Vec::new();
        for (number, one, many) in [
            (
                taken,
                "user has no account, since another one has the address or the id",
                "users have no account, since others have their addresses or ids",
            ),
            (moved, "user has another address here", "users have other addresses here"),
            (refused, "user was refused", "users were refused"),
        ] {
            if number > 0 {
                missing.push(counted(number, one, many));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::refused(format!("{}; the others are not affected", missing.join(", "))))
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

/// Describes a report for people.
fn in_words(one: &str, report: &Value) -> String {
    let text = |name: &str| value(report.get(name).and_then(Value::as_str).unwrap_or_default());
    let number = report.get("line").and_then(Value::as_u64).unwrap_or(0);
    let field = text("field");
    let field = if field.is_empty() { String::new() } else { format!(" {field}:") };
    let id = text("external_id");
    let id = if id.is_empty() { id } else { format!(" (id {id})") };
    let end = if report.get("moved").and_then(Value::as_bool) == Some(true) {
        format!("; if it is to have the new one: portcullis user set-email {} ADDRESS", text("account"))
    } else {
        String::new()
    };
    format!("{one} {number}{id}: {}:{field} {}{end}", text("result"), text("why"))
}

/// Says how much longer every log-in takes while the hashes of an import are stored, and what ends it.
fn dearer(grown: &Value, done: &Value, foreign_for: Option<Duration>, is_dry: bool) -> String {
    let kib = |name: &str| grown.get(name).and_then(Value::as_u64).unwrap_or(1).max(1);
    let (before, after) = (kib("before"), kib("after"));
    let verb = if is_dry { "would take" } else { "takes" };
    let tenths = after.saturating_mul(10) / before;
    let number = |name: &str| done.get(name).and_then(Value::as_f64);
    let time = match (number("log_in_ms"), number("log_ins_per_second")) {
        (Some(time), Some(rate)) => {
            format!(", up to {time:.0} ms on this machine, so at least {rate:.1} log-ins per second")
        }
        _ => String::new(),
    };
    let end = match foreign_for {
        Some(time) => {
            let days = counted(time.as_secs() / (24 * 60 * 60), "day", "days");
            format!("those that are left end after {days} (password.drop_foreign_after_days)")
        }
        None => String::from("[password] drop_foreign_after_days = 180 ends those that are left by then"),
    };
    format!(
        "every log-in {verb} about {}.{} times as long as before, until log-ins have replaced the dearest hashes{time}; {end}",
        tenths / 10,
        tenths % 10
    )
}

/// The input of an import.
enum Source {
    /// Lines, as they are.
    Lines(BufReader<Box<dyn Read + Send>>),
    /// Lines made of a dump.
    Dump(Box<Dump<Box<dyn Read + Send>>>),
}

/// Collects the reports of lines that created no account.
#[derive(Default)]
struct Told {
    /// The word for what the reports number: `line`, or `user` of a dump.
    one: &'static str,
    /// Reports of refused lines, and of duplicates that differ.
    shown: Vec<Value>,
    /// How many more of these there are.
    not_shown: u64,
    /// Users that were refused before they were sent.
    refused_here: u64,
    /// Parts of a dump that are no users.
    skipped: u64,
    file: Option<BufWriter<File>>,
}

impl Told {
    fn add(&mut self, report: Value) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            writeln!(file, "{report}")?;
        }
        // Skip users who are there from before: the summary has their number.
        if report.get("same").and_then(Value::as_bool) == Some(true) {
            return Ok(());
        }
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(report);
        } else {
            self.not_shown += 1;
        }
        Ok(())
    }
}

/// Sends the lines of `source` after `operation`, and reads the answers meanwhile. Returns the last one.
fn talk(
    mut stream: UnixStream,
    operation: &Operation,
    source: Source,
    told: &Arc<Mutex<Told>>,
) -> Result<Value, Failure> {
    let lost = |error: &dyn std::fmt::Display| {
        Failure::no_answer(format!(
            "the server does not answer: {error}; what was imported stays, and the same command goes on from there"
        ))
    };
    let request = serde_json::to_string(operation).map_err(Failure::fault)? + "\n";
    stream.write_all(request.as_bytes()).map_err(|error| lost(&error))?;
    let write = stream.try_clone().map_err(|error| lost(&error))?;
    let (tell, is_over) = (Arc::clone(told), Arc::new(AtomicBool::new(false)));
    let is_told = Arc::clone(&is_over);
    let sending = std::thread::Builder::new().name(String::from("send")).spawn(move || {
        let sent = send(&write, source, &tell);
        let _ = write.shutdown(Shutdown::Write);
        // A server that has answered reads no more.
        if is_told.load(Ordering::Relaxed) { Ok(()) } else { sent }
    });
    let sending = sending.map_err(Failure::fault)?;
    let has_terminal = io::stderr().is_terminal();
    let mut last = None;
    for line in BufReader::new(stream).lines() {
        let answer: Value = line
            .and_then(|line| serde_json::from_str(&line).map_err(io::Error::other))
            .map_err(|error| lost(&error))?;
        if let Some(report) = answer.get("report") {
            told.lock().add(report.clone()).map_err(Failure::refused)?;
        } else if let Some(progress) = answer.get("progress") {
            let created = progress.get("created").and_then(Value::as_u64).unwrap_or(0);
            if has_terminal {
                let _ = write!(io::stderr(), "\r{created} created ");
            }
        } else {
            last = Some(answer);
            break;
        }
    }
    if has_terminal {
        let _ = writeln!(io::stderr());
    }
    is_over.store(true, Ordering::Relaxed);
    let answer = last.ok_or_else(|| lost(&"it has stopped in the middle"))?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return Err(Failure::refused(error));
    }
    let sent = sending.join().unwrap_or_else(|_| Err(Failure::fault("the sender has panicked")));
    sent.map(|()| answer.get("ok").cloned().unwrap_or(Value::Null))
}

/// Sends lines. What is no line is an empty one, so that the numbers of the server are those of the file.
fn send(mut write: &UnixStream, source: Source, told: &Mutex<Told>) -> Result<(), Failure> {
    let mut dump = match source {
        Source::Lines(mut read) => {
            io::copy(&mut read, &mut write).map_err(Failure::refused)?;
            return Ok(());
        }
        Source::Dump(dump) => dump,
    };
    let mut write = BufWriter::with_capacity(PART_BYTES, write);
    let mut number = 0;
    loop {
        number += 1;
        let line = match dump.next_part() {
            Ok(Some(Part::Line(line))) => line,
            Ok(Some(Part::Skipped)) => {
                told.lock().skipped += 1;
                String::new()
            }
            Ok(Some(Part::Refused { refused, external_id })) => {
                refuse(told, number, external_id, refused)?;
                String::new()
            }
            Ok(None) => break,
            Err(error) => {
                let why = format!("{error}; nothing behind it was read");
                refuse(told, number, None, Refused::at("", "unreadable", why))?;
                break;
            }
        };
        writeln!(write, "{line}").map_err(Failure::refused)?;
    }
    write.flush().map_err(Failure::refused)
}

fn refuse(
    told: &Mutex<Told>,
    line: u64,
    external_id: Option<String>,
    refused: Refused,
) -> Result<(), Failure> {
    let external_id = external_id.map(String::into_boxed_str);
    let report = Report { line, external_id, outcome: Outcome::Refused(refused) };
    let mut told = told.lock();
    told.refused_here += 1;
    told.add(report.json()).map_err(Failure::refused)
}
