//! The log as owners, snapshots and readers hold it, and the queue before its writer.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::event::{Event, Page, Stats, entry_of, number};
use super::files::{Files, Source, page};
use super::format::DIR;
use crate::journal::append::handle::Handle;
use crate::journal::format::entry::Change;
use crate::storage::{Storage, join, write_whole};
use crate::system::lock::{Condvar, Mutex};

/// Bytes of events that wait for the journal at most, and how many. Those beyond are read back from the segments.
const QUEUE_BYTES: usize = 4 << 20;
const QUEUE_EVENTS: usize = 16_384;
/// Bytes that an event in the queue takes beside its value.
pub(super) const EVENT_BYTES: usize = 96;

/// The event log as owners, snapshots and readers hold it. Clones share one log.
#[derive(Clone)]
pub struct EventLog {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What log and writer share.
pub(super) struct Shared {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) journal: Handle,
    /// The last entry that was durable when this run began.
    pub(super) began: u64,
    /// The table of the events.
    pub(super) table: u16,
    pub(super) queue: Mutex<Queue>,
    /// Wakes the writer.
    pub(super) work: Condvar,
    /// `None` until the writer has opened the log.
    pub(super) files: Mutex<Option<Files>>,
    /// The entry up to which all events can be read.
    pub(super) readable: watch::Sender<u64>,
    /// The entry up to which all events are durable in the log.
    pub(super) durable: watch::Sender<u64>,
    pub(super) written: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) failing: AtomicU64,
    /// Whether the writer has ended.
    pub(super) ended: AtomicBool,
}

/// Events that wait for the writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The first and the last entry whose events must be read back from the segments before those of the queue are written.
    pub(super) missing: Option<(u64, u64)>,
    pub(super) events: VecDeque<Event>,
    pub(super) bytes: usize,
    /// The first and the last entry whose events had no room in the queue. They come after those in it.
    pub(super) overflow: Option<(u64, u64)>,
    /// The entry up to which the log is to be made durable.
    pub(super) settle: u64,
    pub(super) stopping: bool,
    pub(super) abandoned: bool,
}

impl Shared {
    /// Creates what a log and its writer share. `table` is that of the events.
    pub(super) fn new(storage: Arc<dyn Storage>, journal: Handle, table: u16) -> Self {
        Self {
            storage,
            began: journal.durable(),
            journal,
            table,
            queue: Mutex::new(Queue::default()),
            work: Condvar::new(),
            files: Mutex::new(None),
            readable: watch::Sender::new(0),
            durable: watch::Sender::new(0),
            written: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }
}

impl EventLog {
    /// Takes the events of an entry that was just appended. Called under the lock of the journal, so that the entry cannot
    /// become durable before.
    pub fn push(&self, entry: u64, events: Vec<Change>) {
        let mut queue = self.shared.queue.lock();
        let queue = &mut *queue;
        let bytes = events.iter().map(|event| EVENT_BYTES + event.value.as_ref().map_or(0, Vec::len));
        let bytes: usize = bytes.sum();
        let is_full = queue.bytes + bytes > QUEUE_BYTES || queue.events.len() >= QUEUE_EVENTS;
        match &mut queue.overflow {
            // What comes later must not overtake what had no room.
            Some((_, to)) => *to = entry,
            None if is_full => {
                queue.overflow = Some((entry, entry));
            }
            None => {
                queue.bytes += bytes;
                queue.events.extend(events.into_iter().enumerate().map(|(place, event)| Event {
                    seq: number(entry, place),
                    schema: event.schema,
                    key: event.key.into(),
                    value: event.value.unwrap_or_default().into(),
                }));
            }
        }
        self.shared.work.notify_one();
    }

    /// Reads the events after the number `after`, or the oldest ones: at most `limit`, and about `bytes_max` bytes. Blocks
    /// for as long as files take.
    pub fn page(&self, after: Option<u64>, limit: usize, bytes_max: usize) -> io::Result<Page> {
        page(&*self.shared, &*self.shared.storage, after, limit, bytes_max)
    }

    /// Returns the history of the log; `None` while it is not open yet.
    pub fn history(&self) -> Option<u64> {
        self.shared.with(|files| files.history)
    }

    /// Returns a watch on the entry up to which all events can be read.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.readable.subscribe()
    }

    /// Returns the entry up to which all events can be read.
    pub fn readable(&self) -> u64 {
        *self.shared.readable.borrow()
    }

    /// Returns the last entry that was durable when this run began.
    pub fn began(&self) -> u64 {
        self.shared.began
    }

    /// Says whether the writer has ended: nothing more becomes readable.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Says whether the journal has assigned the entry of a number: a cursor beyond is of another past.
    pub fn may_know(&self, seq: u64) -> bool {
        entry_of(seq) <= self.shared.journal.assigned()
    }

    /// Waits until the events of all entries up to `entry`, which is durable, are durable in the log, for `within` at most.
    /// Returns whether they are.
    pub async fn settle(&self, entry: u64, within: Duration) -> bool {
        let mut durable = self.shared.durable.subscribe();
        {
            let mut queue = self.shared.queue.lock();
            queue.settle = queue.settle.max(entry);
        }
        self.shared.work.notify_one();
        tokio::time::timeout(within, durable.wait_for(|durable| *durable >= entry)).await.is_ok()
    }

    /// Returns the figures for operators.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let of_files = shared.with(|files| {
            (files.bytes(), files.list.front().map_or(0, |file| file.header.created_ms), files.covered)
        });
        let (bytes, oldest_ms, covered) = of_files.unwrap_or_default();
        Stats {
            written: shared.written.load(Ordering::Relaxed),
            bytes,
            oldest_ms,
            gaps: shared.gaps.load(Ordering::Relaxed),
            failing: shared.failing.load(Ordering::Relaxed) > 0,
            covered,
        }
    }

    /// Reads a small file beside the log; `None` if there is none.
    pub fn read_beside(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.shared.storage.open(&join(DIR, name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file?.read_all().map(Some),
        }
    }

    /// Writes a small file beside the log, so that it exists completely or not at all.
    pub fn write_beside(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        write_whole(&*self.shared.storage, DIR, name, bytes)
    }
}

impl Shared {
    /// Notes that the writer has ended, and wakes whoever waits for it.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.readable.send_modify(|_| ());
    }
}

impl Source for Shared {
    fn with<T>(&self, look: impl FnOnce(&mut Files) -> T) -> Option<T> {
        self.files.lock().as_mut().map(look)
    }
}
