//! The queue of the audit log and the thread that writes its files: one JSON line per event, a file or more per day.
//!
//! The key that seals the lines is derived from the server's directory key, for this use alone.
//!
//! The thread reads a bounded queue. Ordinary events (log-ins, refreshes) are in the file within [`PAUSE`] and synced
//! within [`SYNC_EVERY`]. No request waits for them, and a power loss may take the last second. For events that change
//! permissions or credentials (passwords, sessions, locks lifted, accounts, keys, addresses) [`Log::written`] waits
//! until the line is synced.
//!
//! The fact itself is journalled before its event. A crash between the two leaves a fact without a line, but then no
//! client got an answer either. The line that marks the next start says which sequence of the journal the lines before
//! it had seen, and so where to look. Events that do not fit into the queue are counted, and the next line says how
//! many are missing.
//!
//! While space is [low](Log::keep_free) ordinary events are only counted, long before the journal has no room. Once there
//! is space again, a line for each kind tells how many they were. So it is while the files cannot be written: then the
//! lines that wait are those of changes alone.
//!
//! Administrators change nothing while a line could not be written ([`Log::may_change`]): an insider who fills the volume
//! must not change rights and then kill the process, and the lines with it.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::ends::{Place, Record};
use super::event::Note;
use super::fold::Fold;
use super::verify::{Damage, examine};
use super::writer::{Found, Writer};
use crate::audit::event::Event;
use crate::audit::line::Line;
use crate::storage::Storage;
use crate::system::clock::Clock;
use crate::system::file_error::at_dir;
use crate::system::lock::Mutex;
use crate::system::scheduling::{self, BackgroundPolicy};
use crate::system::volume::{self, Space};

pub use super::writer::Options;

/// Maximum number of queued messages.
const QUEUE: usize = 8192;
/// How long the thread collects lines before it writes them, unless a request waits for one.
pub const PAUSE: Duration = Duration::from_millis(20);
/// Maximum time between two syncs while there are unsynced lines.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How long a request waits for the sync of its line. A log that takes longer stands still.
const SYNC_WAIT: Duration = Duration::from_secs(5);
/// Bytes that must be free for the lines of changes that are under way. Administrators change nothing with less.
const CHANGES_BYTES: u64 = 256 * 1024;
/// The delay after a failed write.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Maximum size of the lines that wait while the disk refuses writes. Beyond it they are dropped and counted.
const BACKLOG_BYTES_MAX: usize = 4 << 20;
/// Ordinary events are only counted while less than this share of the volume is free ...
const FREE_SHARE: u64 = 10;
/// ... or less than this, whichever is less.
const FREE_BYTES: u64 = 1 << 30;

/// The handle by which events are queued. [`Log::start`] opens the files.
#[derive(Debug)]
pub struct Log {
    state: Mutex<State>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct State {
    /// Events lost since the last one that was queued.
    lost: u64,
    /// The queue, while the thread runs.
    writer: Option<SyncSender<Message>>,
    /// The thread that reads the queue.
    thread: Option<std::thread::Thread>,
    /// The end of the log that was on record when the thread was started.
    end_at_start: Option<Place>,
    /// The line that says that a server starts, until it is written.
    start: Option<Line>,
    /// The places and the key that a check of the whole log reads; `None` before the log is started.
    checked: Option<Checked>,
}

/// Where the files are, where the record of their ends is, and the key of both.
#[derive(Clone)]
struct Checked {
    dir: PathBuf,
    key: [u8; 32],
    data: Arc<dyn Storage>,
}

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Checked {
    /// Reads the whole log. What seems changed is looked at twice: a file may be removed for its age meanwhile.
    fn damages(&self) -> io::Result<Vec<Damage>> {
        let examine = || {
            let record = Record::read(&*self.data, &self.key)?;
            examine(&self.dir, &self.key, Some(&record)).map(|examined| examined.damages)
        };
        match examine() {
            Ok(damages) if damages.is_empty() => Ok(damages),
            _ => examine(),
        }
    }
}

/// The state that the handle and the thread share.
#[derive(Debug)]
struct Shared {
    written: Mutex<Written>,
    fold: Mutex<Fold>,
    /// Events that were only counted and are in no sum yet, in the order of [`Event::ALL`].
    unsummed: [AtomicU64; Event::ALL.len()],
    /// Bytes that others need on this volume.
    keep_free: AtomicU64,
    is_low: AtomicBool,
    /// Whether less than [`CHANGES_BYTES`] are free.
    is_full: AtomicBool,
    /// Whether a request has waited in vain since the thread last came round.
    stands_still: AtomicBool,
}

/// The state of the thread, for operators.
#[derive(Debug, Default)]
struct Written {
    /// Whether the last write or sync failed.
    failing: bool,
    /// Events lost since the start of the process.
    lost: u64,
}

/// A line is not on disk, or could not be brought there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the log of security events cannot be written; see the disk of audit.dir")]
pub struct Unwritable;

#[derive(Debug)]
enum Message {
    Line(Box<Line>),
    /// Answered once all lines before it are synced, and dropped as soon as a write or sync of them has failed.
    Sync(oneshot::Sender<()>),
}

impl Log {
    /// Creates a log without files at `now`, by the steady clock.
    pub fn new(now: Instant) -> Self {
        let shared = Shared {
            written: Mutex::default(),
            fold: Mutex::new(Fold::new(now)),
            unsummed: std::array::from_fn(|_| AtomicU64::new(0)),
            keep_free: AtomicU64::new(0),
            is_low: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            stands_still: AtomicBool::new(false),
        };
        Self { state: Mutex::default(), shared: Arc::new(shared) }
    }

    /// Opens the files, cuts off a torn last line, compares the end with the record of it, and starts the thread that
    /// writes. The thread ends after [`Log::end`].
    pub fn start(&self, options: Options, clock: &Clock) -> io::Result<JoinHandle<()>> {
        self.start_with(options, clock, PAUSE)
    }

    /// Does the same, and collects lines for `pause`.
    fn start_with(&self, options: Options, clock: &Clock, pause: Duration) -> io::Result<JoinHandle<()>> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.dir);
        made.map_err(at_dir(&options.dir))?;
        let (dir, journal) = (options.dir.clone(), options.journal);
        let checked = Checked { dir: options.dir.clone(), key: options.key, data: Arc::clone(&options.data) };
        let mut writer = Writer::new(options);
        let found = writer.recover()?;
        // A full disk must not keep the server from starting. The thread records the end once there is space.
        let end = writer.begin_record().inspect_err(
            |error| tracing::error!(%error, "cannot write audit.end: check the disk of the data directory"),
        );
        let (sender, messages) = sync_channel(QUEUE);
        {
            let mut state = self.state.lock();
            state.writer = Some(sender);
            state.end_at_start = end.ok();
            state.checked = Some(checked);
        }
        let time = clock.now();
        for Found { event, reason, missing } in found {
            self.note(Line { time, event: event.into(), reason, journal, missing, ..Line::default() });
        }
        let reason = format!("lines before had seen the journal up to {}", writer.seen);
        self.state.lock().start =
            Some(Line { event: "server.started".into(), reason, journal, ..Line::default() });
        self.shared.look_at_volume(&dir);
        let mut thread = Thread {
            writer,
            shared: Arc::clone(&self.shared),
            clock: clock.clone(),
            dir,
            pause,
            waiting: Vec::new(),
            recorded: None,
            looked: clock.steady(),
        };
        let started =
            std::thread::Builder::new().name("audit".into()).spawn(move || thread.run(&messages))?;
        self.state.lock().thread = Some(started.thread().clone());
        Ok(started)
    }

    /// Writes that a server starts, which says where in the journal to look for facts without a line. A command that opens
    /// the directory of a stopped server does not call it.
    pub fn note_start(&self, clock: &Clock) {
        let start = self.state.lock().start.take();
        if let Some(start) = start {
            self.note(Line { time: clock.now(), ..start });
        }
    }

    /// Reads the whole log on a thread of its own, and warns if it was changed in the middle. A start does not wait for
    /// it: the log may have gigabytes.
    pub fn check_in_background(&self) {
        let Some(checked) = self.state.lock().checked.clone() else { return };
        let check = move || {
            let _ = scheduling::background(BackgroundPolicy::Nice);
            match checked.damages() {
                Ok(damages) => {
                    let Some(first) = damages.first() else { return };
                    tracing::error!(
                        changes = damages.len(),
                        "the log of security events was changed: {}. Keep a copy of audit.dir, and find out who could write to \
                         it; then run: portcullis audit acknowledge",
                        first.place
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot check the log of security events; see portcullis doctor");
                }
            }
        };
        let started = std::thread::Builder::new().name("audit-check".into()).spawn(check);
        if let Err(error) = started {
            tracing::warn!(%error, "cannot check the log of security events; see portcullis doctor");
        }
    }

    /// Reads the whole log, and returns each change in it that only an acknowledgement gets past. It blocks.
    pub fn damages(&self) -> io::Result<Vec<Damage>> {
        let checked = self.state.lock().checked.clone();
        checked.map_or_else(|| Ok(Vec::new()), |checked| checked.damages())
    }

    /// Makes the thread write what is queued and end.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.writer = None;
        if let Some(thread) = &state.thread {
            thread.unpark();
        }
    }

    /// Says whether the event of `note` gets a line at `now`, or is only counted. `is_change` says that it changes
    /// permissions or credentials.
    pub(super) fn admits(&self, note: &Note, is_change: bool, now: Instant) -> bool {
        self.shared.fold.lock().admits(note, is_change, now)
    }

    /// Adds an event without a line to the sum of its minute. Takes no lock: a flood of refusals must not wait for one.
    pub(super) fn add_to_sum(&self, event: Event) {
        if let Some(unsummed) = self.shared.unsummed.get(event as usize) {
            unsummed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Queues the line of an event. A full queue loses the line, and the next line says so.
    pub fn note(&self, mut line: Line) {
        let mut state = self.state.lock();
        line.lost = state.lost;
        let is_lost = state.writer.as_ref().is_some_and(|writer| {
            matches!(writer.try_send(Message::Line(Box::new(line))), Err(TrySendError::Full(_)))
        });
        state.lost = if is_lost { state.lost + 1 } else { 0 };
        drop(state);
        if is_lost {
            self.shared.written.lock().lost += 1;
        }
    }

    /// Waits until every event noted before is synced. While that cannot be, it does not wait.
    ///
    /// Errors: a write or the sync has failed, or takes longer than [`SYNC_WAIT`]. The lines are kept, and written once
    /// they can be.
    ///
    /// Security: the owner of an account ignores the error. The fact is journalled already, and a log that cannot be
    /// written must not stop anyone from revoking a session. Administrators are told.
    pub async fn written(&self) -> Result<(), Unwritable> {
        if self.is_failing() || self.shared.stands_still.load(Ordering::Relaxed) {
            return Err(Unwritable);
        }
        let (done, wait) = oneshot::channel();
        let is_queued = {
            let state = self.state.lock();
            let Some(writer) = &state.writer else { return Ok(()) };
            let is_queued = writer.try_send(Message::Sync(done)).is_ok();
            if let Some(thread) = &state.thread {
                thread.unpark();
            }
            is_queued
        };
        match tokio::time::timeout(SYNC_WAIT, wait).await {
            Ok(Ok(())) if is_queued => Ok(()),
            Ok(_) if is_queued => Err(Unwritable),
            // The thread clears it when it comes round.
            _ => {
                self.shared.stands_still.store(true, Ordering::Relaxed);
                Err(Unwritable)
            }
        }
    }

    /// Checks that the line of a change could be written now: everything noted before is synced, and there is space.
    ///
    /// Errors: it could not. An administrator must change nothing then.
    pub async fn may_change(&self) -> Result<(), Unwritable> {
        self.written().await?;
        if self.shared.is_full.load(Ordering::Relaxed) { Err(Unwritable) } else { Ok(()) }
    }

    /// Returns the end of the log that was on record when the files were opened; `None` if there is no record.
    pub fn end_at_start(&self) -> Option<Place> {
        self.state.lock().end_at_start.clone()
    }

    /// Says whether administrators are refused because lines cannot be written, and how many events were lost since the
    /// start.
    pub fn trouble(&self) -> (bool, u64) {
        let written = self.shared.written.lock();
        let [is_full, stands_still] =
            [&self.shared.is_full, &self.shared.stands_still].map(|flag| flag.load(Ordering::Relaxed));
        (written.failing || is_full || stands_still, written.lost)
    }

    fn is_failing(&self) -> bool {
        self.shared.written.lock().failing
    }

    /// Sets how many bytes others need on the volume of the files. Space is low while less than that is free, or less
    /// than a tenth of the volume, or less than 1 GiB if that is less.
    pub fn keep_free(&self, bytes: u64) {
        self.shared.keep_free.store(bytes, Ordering::Relaxed);
    }

    /// Says whether space is so low that ordinary events are only counted.
    pub fn is_low(&self) -> bool {
        self.shared.is_low.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Looks how much of the volume of `dir` is free.
    fn look_at_volume(&self, dir: &Path) {
        // A volume that cannot be asked will refuse the writes too, and that is noticed there.
        let Ok(space) = volume::space(dir) else { return };
        // A volume that says nothing of its size cannot be full.
        self.is_full.store(space.total > 0 && space.free < CHANGES_BYTES, Ordering::Relaxed);
        let bound = bound(space, self.keep_free.load(Ordering::Relaxed));
        let was_low = self.is_low.load(Ordering::Relaxed);
        // An eighth more ends it, so that it does not begin and end all the time.
        let is_low = space.free < if was_low { bound.saturating_add(bound / 8) } else { bound };
        if is_low == was_low {
            return;
        }
        self.is_low.store(is_low, Ordering::Relaxed);
        let is_failing = self.written.lock().failing;
        self.fold.lock().set_low(is_low || is_failing);
        if is_low {
            tracing::error!(
                free = space.free,
                "little space is left for audit.dir: log-ins, failures and refusals are only counted until there is more. \
                 Make room on its disk, or set audit.bytes_max lower"
            );
        } else {
            tracing::info!(free = space.free, "there is space for audit.dir again: every event is written");
        }
    }
}

/// Returns how many bytes of a volume must be free for ordinary events to be written. `keep_free` is what others need.
fn bound(space: Space, keep_free: u64) -> u64 {
    (space.total / FREE_SHARE).min(FREE_BYTES).max(keep_free)
}

/// The thread that writes.
struct Thread {
    writer: Writer,
    shared: Arc<Shared>,
    clock: Clock,
    dir: std::path::PathBuf,
    pause: Duration,
    /// Requests that wait until their lines are synced.
    waiting: Vec<oneshot::Sender<()>>,
    /// When the end of the log was last recorded.
    recorded: Option<Instant>,
    /// When sums and space were last looked at.
    looked: Instant,
}

impl Thread {
    /// Writes queued lines until the queue is closed.
    fn run(&mut self, messages: &Receiver<Message>) {
        let mut synced = self.clock.steady();
        let mut is_dirty = false;
        let mut is_over = false;
        while !is_over {
            match messages.recv_timeout(if is_dirty { self.pause.min(SYNC_EVERY) } else { SYNC_EVERY }) {
                Ok(message) => {
                    self.look_for_displaced();
                    self.take(message);
                }
                Err(RecvTimeoutError::Timeout) => self.look_for_displaced(),
                Err(RecvTimeoutError::Disconnected) => is_over = true,
            }
            self.take_all(messages);
            // More lines are collected for one write, until a request waits: that unparks the thread, and a line does not.
            if self.waiting.is_empty() && !is_over {
                std::thread::park_timeout(self.pause);
                self.take_all(messages);
            }
            self.look(is_over);
            let now = self.clock.steady();
            let must_sync = !self.waiting.is_empty() || is_over || now.duration_since(synced) >= SYNC_EVERY;
            is_dirty |= self.writer.is_dirty();
            let done = self.write(must_sync && is_dirty, is_over);
            if must_sync && done.is_ok() {
                synced = self.clock.steady();
                is_dirty = false;
            }
            self.report(&done);
            if !self.waiting.is_empty() {
                self.shared.look_at_volume(&self.dir);
            }
            if done.is_err() && !is_over {
                self.waiting.clear();
                std::thread::sleep(RETRY_AFTER);
            }
            for one in self.waiting.drain(..) {
                // An error means that the request was cancelled.
                let _ = one.send(());
            }
        }
    }

    fn take_all(&mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.try_recv() {
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => self.writer.add(*line),
            Message::Sync(done) => self.waiting.push(done),
        }
    }

    /// Checks whether another program has removed or cut the open file, and if so writes that as an event and as a warning.
    /// The event is written at once: it must be the first line behind the gap.
    fn look_for_displaced(&mut self) {
        let Ok(Some(found)) = self.writer.find_displaced() else { return };
        let Found { event, reason, missing } = found;
        tracing::error!(
            missing,
            "the log of security events was changed: {reason}. It goes on in a new file. If a program rotates it, take it out: \
             audit.keep_days and audit.bytes_max bound it. Put the file back, or keep a copy; then run: portcullis audit \
             acknowledge"
        );
        let time = self.clock.now();
        self.writer.add(Line { time, event: event.into(), reason, missing, ..Line::default() });
        // If it cannot be written, it waits like every line, and that is told too.
        let _ = self.writer.write();
    }

    /// Looks at the space that is left and adds the sums that are due, once a second.
    fn look(&mut self, is_over: bool) {
        let now = self.clock.steady();
        if !is_over && now.duration_since(self.looked) < SYNC_EVERY {
            return;
        }
        self.looked = now;
        self.shared.look_at_volume(&self.dir);
        let mut fold = self.shared.fold.lock();
        for (event, unsummed) in Event::ALL.into_iter().zip(&self.shared.unsummed) {
            fold.add_counted(event, unsummed.swap(0, Ordering::Relaxed));
        }
        let sums = fold.sum_up(now, is_over);
        drop(fold);
        let time = self.clock.now();
        for sum in sums {
            sum.announce();
            self.writer.add(Line { time, ..sum });
        }
    }

    /// Writes what waits, syncs it if it must be, and then records the end and removes old files.
    fn write(&mut self, must_sync: bool, is_over: bool) -> io::Result<()> {
        self.writer.write()?;
        let time = self.clock.now();
        let removed = self.writer.remove_old(time)?;
        if !removed.is_empty() {
            for reason in removed {
                let event = String::from("audit.removed");
                self.writer.add(Line { time, event, reason, ..Line::default() });
            }
            self.writer.write()?;
        }
        if !must_sync {
            return Ok(());
        }
        self.writer.sync()?;
        let now = self.clock.steady();
        if is_over || self.recorded.is_none_or(|at| now.duration_since(at) >= SYNC_EVERY) {
            self.writer.record_end()?;
            self.recorded = Some(now);
        }
        Ok(())
    }

    /// Tells the log and operators whether the files can be written. Drops what waits if it is too much.
    fn report(&mut self, done: &io::Result<()>) {
        let mut written = self.shared.written.lock();
        if let Err(error) = done
            && !written.failing
        {
            tracing::error!(%error, "cannot write the audit log, retrying every second: check the disk of audit.dir");
        }
        let was_failing = std::mem::replace(&mut written.failing, done.is_err());
        self.shared.stands_still.store(false, Ordering::Relaxed);
        if was_failing != written.failing {
            if was_failing {
                tracing::info!("the audit log can be written again");
            }
            let is_low = self.shared.is_low.load(Ordering::Relaxed);
            self.shared.fold.lock().set_low(is_low || written.failing);
        }
        if self.writer.waiting_bytes() > BACKLOG_BYTES_MAX {
            written.lost += self.writer.give_up();
        }
    }
}

#[cfg(test)]
mod tests;
