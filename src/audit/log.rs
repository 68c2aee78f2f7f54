//! The files of the audit log: one JSON line per event, one file per day, written by a thread of its own.
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

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::read::{files, last_line};
use crate::audit::line::{Line, digest, seal};
use crate::system::clock::Clock;
use crate::system::lock::Mutex;

/// Maximum number of queued messages.
const QUEUE: usize = 8192;
/// How long the thread collects lines before it writes them.
pub const PAUSE: Duration = Duration::from_millis(20);
/// Maximum time between two syncs while there are unsynced lines.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// The delay after a failed write.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Maximum size of the lines that wait while the disk refuses writes. Beyond it they are dropped and counted.
const BACKLOG_BYTES_MAX: usize = 4 << 20;

/// The handle by which events are queued. [`Log::start`] opens the files.
#[derive(Debug, Default)]
pub struct Log {
    state: Mutex<State>,
    shared: Arc<Mutex<Written>>,
}

#[derive(Debug, Default)]
struct State {
    /// Events lost since the last one that was queued.
    lost: u64,
    /// The queue, while the thread runs.
    writer: Option<SyncSender<Message>>,
}

/// The state of the thread, for operators.
#[derive(Debug, Default)]
struct Written {
    /// Whether the last write or sync failed.
    failing: bool,
    /// Events lost since the start of the process.
    lost: u64,
}

#[derive(Debug)]
enum Message {
    Line(Box<Line>),
    /// Answered once all lines before it are synced, or as soon as a write or sync of them has failed.
    Sync(oneshot::Sender<()>),
}

impl Log {
    /// Opens the files in `dir`, cuts off a torn last line, and starts the thread that writes. The thread ends after
    /// [`Log::end`]. `journal` is the last durable sequence of the journal.
    pub fn start(
        &self,
        dir: &Path,
        key: [u8; 32],
        clock: &Clock,
        journal: u64,
    ) -> io::Result<JoinHandle<()>> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut writer = Writer::new(dir, key);
        let mended = writer.recover()?;
        let (sender, messages) = sync_channel(QUEUE);
        self.state.lock().writer = Some(sender);
        let now = clock.now();
        if let Some(reason) = mended {
            self.note(Line { time: now, event: "audit.mended".into(), reason, journal, ..Line::default() });
        }
        let reason = format!("lines before had seen the journal up to {}", writer.seen);
        self.note(Line { time: now, event: "server.started".into(), reason, journal, ..Line::default() });
        let (shared, clock) = (Arc::clone(&self.shared), clock.clone());
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || run(&mut writer, &messages, &shared, &clock))
    }

    /// Makes the thread write what is queued and end.
    pub fn end(&self) {
        self.state.lock().writer = None;
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
            self.shared.lock().lost += 1;
        }
    }

    /// Waits until every event noted before is synced, or until the write or the sync has failed.
    ///
    /// Security: a failure does not refuse the request. The fact is journalled already, and a log that cannot be
    /// written must not stop anyone from revoking a session.
    pub async fn written(&self) {
        let (done, wait) = oneshot::channel();
        let Some(writer) = self.state.lock().writer.clone() else { return };
        if writer.try_send(Message::Sync(done)).is_ok() {
            // An error means that the thread has ended, with the process.
            let _ = wait.await;
        }
    }

    /// Says whether the last write failed, and how many events were lost since the start.
    pub fn trouble(&self) -> (bool, u64) {
        let written = self.shared.lock();
        (written.failing, written.lost)
    }
}

/// Writes queued lines until the queue is closed.
fn run(writer: &mut Writer, messages: &Receiver<Message>, shared: &Mutex<Written>, clock: &Clock) {
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    let mut synced = clock.steady();
    let mut is_dirty = false;
    let mut is_over = false;
    while !is_over {
        match messages.recv_timeout(if is_dirty { PAUSE } else { SYNC_EVERY }) {
            Ok(Message::Line(line)) => writer.add(*line),
            Ok(Message::Sync(done)) => waiting.push(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => is_over = true,
        }
        // Without a waiting request more lines are collected for one write.
        if waiting.is_empty() && !is_over {
            std::thread::sleep(PAUSE);
        }
        while let Ok(message) = messages.try_recv() {
            match message {
                Message::Line(line) => writer.add(*line),
                Message::Sync(done) => waiting.push(done),
            }
        }
        let must_sync = !waiting.is_empty() || is_over || clock.steady().duration_since(synced) >= SYNC_EVERY;
        is_dirty |= !writer.text.is_empty();
        let done = writer.write().and_then(|()| if must_sync && is_dirty { writer.sync() } else { Ok(()) });
        if must_sync && done.is_ok() {
            synced = clock.steady();
            is_dirty = false;
        }
        let mut written = shared.lock();
        if let Err(error) = &done
            && !written.failing
        {
            tracing::error!(%error, "cannot write the audit log, retrying every second: check the disk of audit.dir");
        }
        written.failing = done.is_err();
        if writer.text.len() > BACKLOG_BYTES_MAX {
            written.lost += writer.give_up();
        }
        drop(written);
        if done.is_err() && !is_over {
            waiting.clear();
            std::thread::sleep(RETRY_AFTER);
        }
        for one in waiting.drain(..) {
            // An error means that the request was cancelled.
            let _ = one.send(());
        }
    }
}

/// The open file and the end of the chain.
struct Writer {
    dir: PathBuf,
    key: [u8; 32],
    /// Hash of the last line.
    prev: String,
    /// Number of the last line.
    seq: u64,
    /// The last sequence of the journal that a line before this start had seen.
    seen: u64,
    /// Lines dropped since the last line that was added.
    lost: u64,
    /// The open file and its day.
    open: Option<(String, std::fs::File)>,
    /// Whole lines that are not written yet, all of one day.
    text: Vec<u8>,
    /// The day of `text`.
    day: String,
    /// Number of lines in `text`.
    pending: u64,
    /// Hash and number of the line before `text`, to return to when `text` is dropped.
    before: (String, u64),
}

impl Writer {
    fn new(dir: &Path, key: [u8; 32]) -> Self {
        Self {
            dir: dir.to_owned(),
            key,
            prev: digest(b""),
            seq: 0,
            seen: 0,
            lost: 0,
            open: None,
            text: Vec::new(),
            day: String::new(),
            pending: 0,
            before: (String::new(), 0),
        }
    }

    /// Cuts off an unfinished last line and finds the end of the chain. Returns a description of the cut, if there was
    /// one.
    fn recover(&mut self) -> io::Result<Option<String>> {
        let mut mended = None;
        for path in files(&self.dir)?.iter().rev() {
            let (last, whole, torn) = last_line(path)?;
            if torn > 0 {
                let file = std::fs::OpenOptions::new().write(true).open(path)?;
                file.set_len(whole)?;
                file.sync_data()?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                mended = Some(format!("{torn} bytes of an unfinished line cut off the end of {name}"));
            }
            if let Some(last) = last {
                self.prev = digest(last.as_bytes());
                // A line that cannot be parsed restarts the numbers here and is reported by `verify`.
                let read: Line = serde_json::from_str(&last).unwrap_or_default();
                self.seq = read.seq;
                self.seen = read.journal;
                break;
            }
        }
        Ok(mended)
    }

    /// Chains and seals a line and adds it to the text that waits.
    fn add(&mut self, mut line: Line) {
        let day = line.time.rfc3339().get(..10).unwrap_or("0000-00-00").to_owned();
        if day != self.day && self.write().is_err() {
            // The lines of the day before cannot be written yet. They keep their order, and this line goes to the same
            // file.
            self.day.clone_from(&day);
        }
        if self.text.is_empty() {
            self.before = (self.prev.clone(), self.seq);
            self.day = day;
        }
        self.seq += 1;
        line.seq = self.seq;
        line.lost += std::mem::take(&mut self.lost);
        line.prev.clone_from(&self.prev);
        let text = seal(&self.key, &line);
        self.prev = digest(text.as_bytes());
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(b'\n');
        self.pending += 1;
    }

    /// Appends the text that waits to the file of its day.
    fn write(&mut self) -> io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        if self.open.as_ref().is_none_or(|(of, _)| *of != self.day) {
            let file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(self.dir.join(format!("{}.jsonl", self.day)))?;
            if let Some((_, before)) = self.open.replace((self.day.clone(), file)) {
                before.sync_data()?;
            }
            std::fs::File::open(&self.dir)?.sync_all()?;
        }
        if let Some((_, file)) = &mut self.open {
            let length_before = file.metadata()?.len();
            if let Err(error) = file.write_all(&self.text) {
                // Remove a partial write, since the same lines are written again.
                file.set_len(length_before)?;
                return Err(error);
            }
        }
        self.text.clear();
        self.pending = 0;
        Ok(())
    }

    /// Syncs the open file.
    fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |(_, file)| file.sync_data())
    }

    /// Drops the text that waits and returns the number of its lines. The next line says how many are missing.
    fn give_up(&mut self) -> u64 {
        let lost = std::mem::take(&mut self.pending);
        let (prev, seq) = std::mem::take(&mut self.before);
        self.prev = prev;
        self.seq = seq;
        self.text.clear();
        self.lost += lost;
        lost
    }
}
