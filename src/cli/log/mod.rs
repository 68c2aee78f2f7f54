//! The log of the process. Its lines go through a bounded queue to a thread of its own, so that no thread that serves
//! requests waits for a disk or for a reader.
//!
//! A full queue loses lines, and a file that cannot be written does too; both are counted (`portcullis_log_lost`).
//! Warnings and errors of one kind are [summed up](fold) after a few in a minute. A stop waits a moment for the last
//! lines, and no longer.

mod fold;
mod rolling_file;

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use portcullis::config::{Config, LogFormat};
use portcullis::engine::services::LogFigures;
use portcullis::system::clock::Clock;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt};

use self::fold::LogFold;
use self::rolling_file::RollingFile;
use super::Failure;

/// Maximum number of lines that wait to be written.
const QUEUE: usize = 4096;
/// How often sums of folded lines are looked for.
const SUM_UP_EVERY: Duration = Duration::from_secs(10);
/// How long a stop waits for the last lines. Their reader may be gone for good.
const END_WITHIN: Duration = Duration::from_millis(1500);
/// The levels, unless `RUST_LOG` sets others. Lines about single requests are at `debug`.
const LEVELS: &str = "info,lettre=warn,actix_server=warn";

/// The target of the warnings of a start.
pub(super) const START: &str = "portcullis::start";

/// The running log.
pub(super) struct ProcessLog {
    /// Whether standard output is read by people, not by programs.
    is_for_people: bool,
    /// Standard output, which the log goes to unless it has a file.
    stdout: NonBlocking,
    /// The file of the log, if it has one, and whether people read it.
    file: Option<(NonBlocking, bool)>,
    /// Where the lines go.
    lines: ErrorCounter,
    /// Lines that could not be written to the file.
    failed: Arc<AtomicU64>,
    fold: LogFold,
    guards: Mutex<Vec<WorkerGuard>>,
}

impl ProcessLog {
    /// Starts the log. `RUST_LOG` sets the levels.
    ///
    /// Errors: a file that cannot be opened.
    pub(super) fn start(config: &Config, clock: &Clock) -> Result<Self, Failure> {
        let (stdout, guard) = queue(std::io::stdout());
        let mut guards = vec![guard];
        let failed = Arc::new(AtomicU64::new(0));
        let is_for_people = match config.log.format {
            LogFormat::Text => true,
            LogFormat::Json => false,
            LogFormat::Auto => std::io::stdout().is_terminal(),
        };
        // A file is read by programs, unless the format says otherwise.
        let is_text = is_for_people && (config.log.file.is_none() || config.log.format == LogFormat::Text);
        let lines = match &config.log.file {
            None => stdout.clone(),
            Some(file) => {
                let opened = RollingFile::open(file.clone(), Arc::clone(&failed))
                    .map_err(|error| Failure::refused(format!("cannot write to log.file {error}")))?;
                let (lines, guard) = queue(opened);
                guards.push(guard);
                lines
            }
        };
        let counter = lines.error_counter();
        let file = config.log.file.as_ref().map(|_| (lines.clone(), is_text));
        let fold = LogFold::new(clock.clone());
        let (filter, mistake) = levels(std::env::var_os(EnvFilter::DEFAULT_ENV).as_deref());
        let registry = tracing_subscriber::registry().with(filter);
        if is_text {
            let layer = fmt::layer().with_target(false).with_writer(lines);
            let layer = layer.with_ansi(config.log.file.is_none() && std::io::stdout().is_terminal());
            registry.with(layer.with_filter(fold.clone())).init();
        } else {
            let layer = fmt::layer().json().flatten_event(true).with_writer(lines);
            registry.with(layer.with_filter(fold.clone())).init();
        }
        // The standard hook writes to standard error. If the pipe behind it is full, the thread that panicked waits for
        // ever, and a fault does not end the process.
        std::panic::set_hook(Box::new(|panic| {
            let backtrace = std::backtrace::Backtrace::capture();
            tracing::error!(%panic, %backtrace, "a thread panicked");
        }));
        if let Some(mistake) = mistake {
            tracing::warn!(target: START, "{mistake}");
        }
        Ok(Self { is_for_people, stdout, file, lines: counter, failed, fold, guards: Mutex::new(guards) })
    }

    /// Says whether standard output is read by people, who get text where programs get JSON.
    pub(super) const fn is_for_people(&self) -> bool {
        self.is_for_people
    }

    /// Prints `text` and a line end on standard output, after the lines before it. Nobody waits for its reader.
    pub(super) fn say(&self, text: &str) {
        // A full queue loses it, like every line.
        let _ = self.stdout.clone().write_all(format!("{text}\n").as_bytes());
    }

    /// Writes a line into the file of the log, if it has one, whatever levels are set. `line` is told whether people read it.
    pub(super) fn say_in_file(&self, line: impl FnOnce(bool) -> String) {
        if let Some((file, is_text)) = &self.file {
            let _ = file.clone().write_all(format!("{}\n", line(*is_text)).as_bytes());
        }
    }

    /// Returns the figures of this log, for the metrics.
    pub(super) fn figures(&self) -> LogFigures {
        let (counter, failed, fold) = (self.lines.clone(), Arc::clone(&self.failed), self.fold.clone());
        LogFigures {
            lost: Box::new(move || counter.dropped_lines() as u64 + failed.load(Ordering::Relaxed)),
            folded: Box::new(move || fold.folded()),
        }
    }

    /// Writes the sums of folded lines from time to time, for as long as the runtime lives. Call it in an actix system.
    pub(super) fn keep_summing_up(&self) {
        let fold = self.fold.clone();
        actix_web::rt::spawn(async move {
            loop {
                tokio::time::sleep(SUM_UP_EVERY).await;
                fold.sum_up(false);
            }
        });
    }

    /// Writes what waits, if its reader takes it within [`END_WITHIN`]. A second call does nothing.
    pub(super) fn end(&self) {
        self.fold.sum_up(true);
        let (done, is_done) = mpsc::channel();
        let guards = std::mem::take(&mut *self.guards.lock());
        // A guard waits, and complains on standard error, which may have no reader either.
        let ending = std::thread::Builder::new().name("log-end".into()).spawn(move || {
            drop(guards);
            let _ = done.send(());
        });
        if ending.is_ok() {
            let _ = is_done.recv_timeout(END_WITHIN);
        }
    }
}

/// Returns the levels that `RUST_LOG` sets. If it is empty or makes no sense, the usual ones, and what is wrong with it: other
/// programs read that variable too, so a mistake in it stops nothing.
fn levels(set: Option<&OsStr>) -> (EnvFilter, Option<String>) {
    let usual = EnvFilter::new(LEVELS);
    let Some(set) = set.filter(|set| !set.is_empty()) else { return (usual, None) };
    let what = match set.to_str().map(EnvFilter::try_new) {
        Some(Ok(filter)) => return (filter, None),
        Some(Err(error)) => error.to_string(),
        None => String::from("not UTF-8"),
    };
    let set = set.to_string_lossy();
    (usual, Some(format!("RUST_LOG={set:?} is passed over, and {LEVELS} holds: {what}")))
}

/// Starts the thread that writes to `writer`, and returns its queue.
fn queue(writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).thread_name("log").finish(writer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    /// What is set outside and makes no sense is named, and changes nothing.
    #[test]
    fn levels_that_make_no_sense_are_named_and_passed_over() {
        let said = |set: &[u8]| {
            let (filter, mistake) = levels(Some(OsStr::from_bytes(set)));
            (filter.to_string(), mistake.is_some())
        };
        let usual = levels(None).0.to_string();
        assert_eq!(said(b""), (usual.clone(), false));
        assert_eq!(said(b"warn"), (String::from("warn"), false));
        for nonsense in [&b"portcullis=loud=very"[..], b"caf\xE9", b"a=b=c,,="] {
            assert_eq!(said(nonsense), (usual.clone(), true), "{nonsense:?}");
        }
    }
}
