//! The log of security events: a JSON line each, chained and sealed, a file for each day.
//!
//! Each line holds the SHA-256 of the line before and ends with an HMAC of itself, so that no byte of it can be changed,
//! and no line taken out of the middle, without [`verify`](super::verify::verify) finding it; the last line too, which no
//! later one vouches for. The key is drawn from the server's own.
//!
//! A thread of its own writes behind a bounded queue. What happens all the time (log-ins, refreshes) is in the file
//! within [`PAUSE`] and on the disk within [`SYNC_EVERY`]: no request waits for it, and a power loss may take the last
//! second of it. What changes who may do what (passwords, sessions, locks lifted, accounts, keys, addresses) is waited
//! for: [`Log::written`] holds the answer back until its line is on the disk. The fact itself is journalled before, so
//! that a crash between the two leaves a fact that nobody was told of; the line that marks the next start says up to
//! which sequence of the journal the lines before had seen, and so where to look. What does not fit into the queue is
//! counted, and the next line says how many are missing.

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

/// Events that wait for the disk at most.
const QUEUE: usize = 8192;
/// How long a line waits for others before it is written.
pub const PAUSE: Duration = Duration::from_millis(20);
/// How long a written line that nobody waits for may stay off the disk.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// After a write that failed the next is tried.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Bytes that wait for a disk that fails, beyond which lines are lost and counted.
const BACKLOG_BYTES_MAX: usize = 4 << 20;
/// Where events go.
#[derive(Debug, Default)]
pub struct Log {
    state: Mutex<State>,
    shared: Arc<Mutex<Written>>,
}

#[derive(Debug, Default)]
struct State {
    /// Of events noted in this life.
    noted: u64,
    lost: u64,
    writer: Option<SyncSender<Message>>,
}

/// How far the thread is.
#[derive(Debug, Default)]
struct Written {
    /// The disk refuses: events are noted, but not kept.
    failing: bool,
    /// Events lost since the start.
    lost: u64,
}

#[derive(Debug)]
enum Message {
    Line(Box<Line>),
    /// Answered once all before it is on the disk, or as soon as it is known that it is not going there.
    Sync(oneshot::Sender<()>),
}

impl Log {
    /// Opens the directory, mends a torn last line, and starts the thread that writes. Ends when [`Log::end`] is called.
    pub fn start(
        &self,
        dir: &Path,
        key: [u8; 32],
        clock: &Clock,
        journal: u64,
    ) -> io::Result<JoinHandle<()>> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut writer = Writer::new(dir, key);
        let mended = writer.mend()?;
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

    /// Lets the thread write what waits and end.
    pub fn end(&self) {
        self.state.lock().writer = None;
    }

    /// Takes down an event.
    pub fn note(&self, mut line: Line) {
        let mut state = self.state.lock();
        state.noted += 1;
        line.lost = state.lost;
        let lost = state.writer.as_ref().is_some_and(|writer| {
            matches!(writer.try_send(Message::Line(Box::new(line))), Err(TrySendError::Full(_)))
        });
        state.lost = if lost { state.lost + 1 } else { 0 };
        drop(state);
        if lost {
            self.shared.lock().lost += 1;
        }
    }

    /// Waits until every event noted before is on the disk; or, where the disk refuses, until that is known: the fact is
    /// journalled, and a log that cannot be written must not keep anybody from revoking something.
    pub async fn written(&self) {
        let (done, wait) = oneshot::channel();
        let Some(writer) = self.state.lock().writer.clone() else { return };
        if writer.try_send(Message::Sync(done)).is_ok() {
            // An error says that the thread is gone, and everything with it.
            let _ = wait.await;
        }
    }

    /// Whether the disk refuses lines, and how many were lost since the start.
    pub fn trouble(&self) -> (bool, u64) {
        let written = self.shared.lock();
        (written.failing, written.lost)
    }
}

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
        // What came meanwhile goes along.
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
            (synced, is_dirty) = (clock.steady(), false);
        }
        let mut written = shared.lock();
        if let Err(error) = &done
            && !written.failing
        {
            tracing::error!(%error, "the log of security events cannot be written; it is tried again");
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
            // Whoever hung up has no use for the answer.
            let _ = one.send(());
        }
    }
}

/// The files of a directory, and where their chain is.
struct Writer {
    dir: PathBuf,
    key: [u8; 32],
    prev: String,
    seq: u64,
    /// The last sequence of the journal that a line had seen.
    seen: u64,
    lost: u64,
    open: Option<(String, std::fs::File)>,
    /// Whole lines that are not written yet, all of one day.
    text: Vec<u8>,
    day: String,
    pending: u64,
    /// Of the chain before `text`, to go back to.
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

    /// Cuts what a crash left of an unfinished line, and says so; then goes on behind the last whole line.
    fn mend(&mut self) -> io::Result<Option<String>> {
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
                // A line that cannot be read is for `verify` to tell of; counting goes on somehow.
                let read: Line = serde_json::from_str(&last).unwrap_or_default();
                (self.seq, self.seen) = (read.seq, read.journal);
                break;
            }
        }
        Ok(mended)
    }

    fn add(&mut self, mut line: Line) {
        let day = line.time.rfc3339().get(..10).unwrap_or("0000-00-00").to_owned();
        if day != self.day && self.write().is_err() {
            // The day before cannot be written: its lines keep their place, and this one joins them.
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
            let whole = file.metadata()?.len();
            if let Err(error) = file.write_all(&self.text) {
                // Nothing half written stays: the same lines are tried again.
                file.set_len(whole)?;
                return Err(error);
            }
        }
        self.text.clear();
        self.pending = 0;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |(_, file)| file.sync_data())
    }

    /// Drops what waits; the next line says how many are missing.
    fn give_up(&mut self) -> u64 {
        let lost = std::mem::take(&mut self.pending);
        (self.prev, self.seq) = std::mem::take(&mut self.before);
        self.text.clear();
        self.lost += lost;
        lost
    }
}
