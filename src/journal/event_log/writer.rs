//! The writer: the thread of the log. It opens it, appends to it, makes it durable when asked, and removes its oldest files.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::event::{Event, entry_of, number};
use super::files::{FileInfo, Files, Source};
use super::format::{DIR, EXTENSION, FileHeader, HEADER_BYTES, Record, path_of};
use super::found::{End, Found, find};
use super::log::{EVENT_BYTES, EventLog, Shared};
use crate::journal::append::handle::Handle;
use crate::journal::context::JournalContext;
use crate::journal::format::layout::numbers;
use crate::journal::snapshot::proof::{self, Disproof};
use crate::storage::{File, Storage, unlink_if_there};
use crate::system::clock::Timestamp;

/// How often the thread looks whether the events that it was handed are durable.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often it looks for files to remove, if nothing happens.
const IDLE: Duration = Duration::from_secs(1);
/// The delay after a failed step.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Failed steps between two lines in the log that say so.
const TELL_EVERY: u64 = 60;
/// The time after which a file that holds events is followed by another one, so that its events can be removed.
const FILE_LIFE: Duration = Duration::from_hours(24);
/// Bytes of zeros after the last record, so that a mark finds room on a full disk, and how many are written at once.
const ROOM_MIN: u64 = 1 << 10;
const ROOM: usize = 16 << 10;
/// Bytes of records that are written at once.
const WRITE_BYTES: usize = 1 << 20;

/// How much of the log is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keep {
    /// How long events are kept at least, if there is room.
    pub time: Duration,
    /// Bytes of all files together.
    pub bytes_max: u64,
    /// Bytes after which a file is followed by another one.
    pub file_bytes: u64,
}

impl Keep {
    /// Keeps events for `time`, and `bytes_max` bytes of them at most.
    pub fn new(time: Duration, bytes_max: u64) -> Self {
        Self { time, bytes_max, file_bytes: (bytes_max / 16).clamp(64 << 10, 4 << 20) }
    }
}

/// Writes the log. Runs on a thread in production; tests step it by hand.
pub struct EventWriter {
    shared: Arc<Shared>,
    context: JournalContext,
    keep: Keep,
    open: Option<Open>,
}

/// The newest file.
struct Open {
    file: Arc<dyn File>,
    header: FileHeader,
    /// The end of its last record.
    len: u64,
    /// The end of the zeros after it.
    room: u64,
    /// Whether it holds a record other than marks.
    is_used: bool,
    /// Whether bytes of it, or names in the directory, may not be durable.
    is_unsynced: bool,
    /// The number of the last event in the log.
    last: u64,
    /// The events of all entries up to this one are in the log.
    covered: u64,
    /// The entry up to which the records of the file say so.
    said: u64,
}

impl Open {
    /// Writes zeros after the last record, if few are left. On a full disk there are none, until there is room again.
    fn keep_room(&mut self) {
        if self.room < self.len + ROOM_MIN && self.file.write_at(&[0; ROOM], self.len).is_ok() {
            self.room = self.len + ROOM as u64;
        }
    }
}

/// Records that are about to be written.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Number and offset of each event.
    places: Vec<(u64, u64)>,
    gaps: u64,
}

impl EventWriter {
    /// Creates the log of a run of the journal, and its writer. `table` is that of the events. Nothing is read or written
    /// before the first step.
    pub fn new(context: &JournalContext, journal: &Handle, table: u16, keep: Keep) -> (EventLog, Self) {
        let shared = Arc::new(Shared::new(Arc::clone(&context.storage), journal.clone(), table));
        let log = EventLog { shared: Arc::clone(&shared) };
        (log, Self { shared, context: context.clone(), keep, open: None })
    }

    /// Writes the events of all entries that are durable, and does what else is due.
    ///
    /// Errors: the log cannot be read or written. What was handed over waits, and the next step begins with it.
    pub fn step(&mut self) -> io::Result<()> {
        let done = self.try_step();
        if matches!(&done, Err(error) if error.kind() == io::ErrorKind::StorageFull)
            && self.remove_oldest()?
        {
            return self.try_step();
        }
        done
    }

    fn try_step(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            self.open_log()?;
        }
        // Read before the queue: every entry that is durable by now was handed over before.
        let durable = self.shared.journal.durable();
        self.read_back(durable)?;
        self.write_queue(durable)?;
        let (is_whole, settle) = {
            let queue = self.shared.queue.lock();
            let is_written = queue.events.front().is_none_or(|first| entry_of(first.seq) > durable);
            (is_written && queue.missing.is_none() && queue.overflow.is_none(), queue.settle)
        };
        if is_whole {
            self.cover(durable);
        }
        self.rotate_if_due()?;
        self.remove_old()?;
        self.settle(settle)
    }

    /// Says that the events of all entries up to `entry` are in the log.
    fn cover(&mut self, entry: u64) {
        let Some(open) = &mut self.open else { return };
        if entry > open.covered {
            open.covered = entry;
            self.publish();
        }
    }

    /// Shows readers what was written.
    fn publish(&self) {
        let Some(open) = &self.open else { return };
        if let Some(files) = self.shared.files.lock().as_mut() {
            files.covered = open.covered;
            if let Some(newest) = files.list.back_mut() {
                newest.len = open.len;
            }
        }
        self.shared
            .readable
            .send_if_modified(|readable| std::mem::replace(readable, open.covered) != open.covered);
    }

    /// Writes what waits in the queue, up to the entry `durable`.
    fn write_queue(&mut self, durable: u64) -> io::Result<()> {
        loop {
            let events: Vec<Event> = {
                let queue = self.shared.queue.lock();
                if queue.missing.is_some() {
                    return Ok(());
                }
                let mut bytes = 0;
                let ready = queue.events.iter().take_while(|event| entry_of(event.seq) <= durable);
                let ready = ready.take_while(|event| {
                    bytes += event.value.len() + EVENT_BYTES;
                    bytes <= WRITE_BYTES
                });
                ready.cloned().collect()
            };
            let Some(last) = events.last() else { return Ok(()) };
            let last = last.seq;
            let mut batch = Batch::default();
            for event in &events {
                self.add(&mut batch, event.seq, event.schema, &event.key, &event.value);
            }
            self.write(&batch)?;
            let mut queue = self.shared.queue.lock();
            while queue.events.front().is_some_and(|event| event.seq <= last) {
                let bytes = queue.events.pop_front().map_or(0, |event| event.value.len() + EVENT_BYTES);
                queue.bytes = queue.bytes.saturating_sub(bytes);
            }
            let next = queue.events.front().map(|event| entry_of(event.seq));
            drop(queue);
            // An entry may be cut here; then it is covered after the next batch.
            let whole = if next == Some(entry_of(last)) { entry_of(last) - 1 } else { entry_of(last) };
            self.cover(whole);
            self.rotate_if_due()?;
        }
    }

    /// Adds an event to a batch, unless the log has it.
    fn add(&self, batch: &mut Batch, seq: u64, schema: u16, key: &[u8], value: &[u8]) {
        let Some(open) = &self.open else { return };
        let last = batch.places.last().map_or(open.last, |(last, _)| *last);
        if seq > last {
            batch.places.push((seq, open.len + batch.bytes.len() as u64));
            Record::Event { seq, schema, key, value }.write(open.header.history, &mut batch.bytes);
        }
    }

    /// Writes records at the end of the newest file. After an error the next ones are written over them.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if batch.bytes.is_empty() {
            return Ok(());
        }
        open.is_unsynced = true;
        open.file.write_at(&batch.bytes, open.len)?;
        open.len += batch.bytes.len() as u64;
        open.keep_room();
        if let Some((last, _)) = batch.places.last() {
            open.last = *last;
            open.is_used = true;
        }
        open.is_used |= batch.gaps > 0;
        self.shared.written.fetch_add(batch.places.len() as u64, Ordering::Relaxed);
        self.shared.gaps.fetch_add(batch.gaps, Ordering::Relaxed);
        if let Some(newest) = self.shared.files.lock().as_mut().and_then(|files| files.list.back_mut()) {
            for (seq, at) in &batch.places {
                newest.note(*seq, *at);
            }
        }
        self.publish();
        Ok(())
    }

    /// Reads from the segments what the queue had no room for, and what an earlier run has not written, once all of it is
    /// durable.
    fn read_back(&mut self, durable: u64) -> io::Result<()> {
        let (from, upto) = {
            let mut queue = self.shared.queue.lock();
            if queue.missing.is_none() && queue.events.is_empty() {
                queue.missing = queue.overflow.take();
            }
            match queue.missing {
                Some((from, upto)) if upto <= durable => (from, upto),
                _ => return Ok(()),
            }
        };
        let storage = Arc::clone(&self.shared.storage);
        let first = proof::first_entry(&*storage).map_err(disproved)?;
        if first > from {
            let to = (first - 1).min(upto);
            tracing::error!(
                from,
                to,
                "events are lost: the log of events could not be written before the journal had to give way"
            );
            let mut batch = Batch { gaps: 1, ..Batch::default() };
            if let Some(open) = &self.open {
                Record::Gap { from, to }.write(open.header.history, &mut batch.bytes);
            }
            self.write(&batch)?;
            self.cover(to);
        }
        let mut batch = Batch::default();
        let mut failed = None;
        let (mut entry, mut place) = (0, 0);
        let table = self.shared.table;
        proof::writes_between(&*storage, from, upto, &mut |seq, form, key, value| {
            if form.table != table || failed.is_some() {
                return;
            }
            if seq != entry {
                if batch.bytes.len() >= WRITE_BYTES {
                    let full = std::mem::take(&mut batch);
                    failed = self.write(&full).err();
                    self.cover(seq - 1);
                    let rotated = if failed.is_none() { self.rotate_if_due() } else { Ok(()) };
                    failed = failed.take().or_else(|| rotated.err());
                }
                (entry, place) = (seq, 0);
            }
            self.add(&mut batch, number(seq, place), form.schema, key, value.unwrap_or_default());
            place += 1;
        })
        .map_err(disproved)?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.write(&batch)?;
        self.cover(upto);
        self.shared.queue.lock().missing = None;
        Ok(())
    }

    /// Goes on in another file, if the newest one is full or old.
    fn rotate_if_due(&mut self) -> io::Result<()> {
        let now = self.context.clock.now();
        let is_due = self.open.as_ref().is_some_and(|open| {
            let is_old = now.since(Timestamp(open.header.created_ms)) >= FILE_LIFE;
            // An entry that was written in part is not cut between files.
            let is_whole = entry_of(open.last) <= open.covered;
            is_whole && open.is_used && (open.len >= self.keep.file_bytes || is_old)
        });
        if !is_due {
            return Ok(());
        }
        // Readers rely on earlier files to be whole.
        self.sync()?;
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.set_len(open.len)?;
        open.room = open.len;
        open.file.sync_data()?;
        let (covered, history, last) = (open.covered, open.header.history, open.last);
        self.begin_file(covered, history, last)
    }

    /// Begins a file after the entry `covered`.
    fn begin_file(&mut self, covered: u64, history: u64, last: u64) -> io::Result<()> {
        let header = FileHeader {
            cluster: self.context.cluster,
            timeline: self.context.timeline,
            history,
            covered,
            created_ms: self.context.clock.now().as_millis(),
        };
        let storage = &*self.shared.storage;
        let path = path_of(covered);
        unlink_if_there(storage, &path)?;
        let file = storage.create_new(&path)?;
        file.write_at(&header.to_bytes(), 0)?;
        let len = HEADER_BYTES as u64;
        let info = FileInfo::new(path, header, len);
        let mut files = self.shared.files.lock();
        let files = files.get_or_insert_with(|| Files { history, list: VecDeque::new(), covered });
        files.list.push_back(info);
        let (is_used, is_unsynced, said) = (false, true, covered);
        let mut open = Open { file, header, len, room: len, is_used, is_unsynced, last, covered, said };
        open.keep_room();
        self.open = Some(open);
        Ok(())
    }

    /// Makes the newest file and its name durable.
    fn sync(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.covered > open.said {
            let mut bytes = Vec::new();
            Record::Mark(open.covered).write(open.header.history, &mut bytes);
            open.is_unsynced = true;
            open.file.write_at(&bytes, open.len)?;
            open.len += bytes.len() as u64;
            open.keep_room();
            open.said = open.covered;
        }
        if open.is_unsynced {
            open.file.sync_data()?;
            self.shared.storage.sync_dir(DIR)?;
            open.is_unsynced = false;
        }
        let covered = open.covered;
        self.publish();
        self.shared.durable.send_if_modified(|durable| std::mem::replace(durable, covered) != covered);
        Ok(())
    }

    /// Makes the log durable if that was asked for and it has come as far.
    fn settle(&mut self, entry: u64) -> io::Result<()> {
        let is_asked = *self.shared.durable.borrow() < entry;
        if is_asked && self.open.as_ref().is_some_and(|open| open.covered >= entry) {
            self.sync()?;
        }
        Ok(())
    }

    /// Removes the files that are too old or too many, and all but the newest while space is low.
    fn remove_old(&mut self) -> io::Result<()> {
        loop {
            let now = self.context.clock.now();
            let is_low = self.shared.journal.stats().low;
            let keep = self.keep;
            let is_due = self.shared.with(|files| {
                let next = files.list.get(1).map(|next| Timestamp(next.header.created_ms));
                // A file has nothing that is younger than the file after it.
                next.is_some_and(|next| {
                    is_low || now.since(next) >= keep.time || files.bytes() > keep.bytes_max
                })
            });
            if is_due != Some(true) || !self.remove_oldest()? {
                return Ok(());
            }
        }
    }

    /// Removes the oldest file, unless it is the newest. Returns whether it did.
    fn remove_oldest(&self) -> io::Result<bool> {
        let oldest = {
            let mut files = self.shared.files.lock();
            let list = files.as_mut().map(|files| &mut files.list);
            list.filter(|list| list.len() > 1).and_then(VecDeque::pop_front)
        };
        let Some(oldest) = oldest else { return Ok(false) };
        unlink_if_there(&*self.shared.storage, &oldest.path)?;
        Ok(true)
    }

    /// Opens the log: cuts off a torn tail, and notes what is to be read back. Begins a new one where there is none that
    /// belongs to this journal.
    fn open_log(&mut self) -> io::Result<()> {
        let storage = Arc::clone(&self.shared.storage);
        storage.create_dir(DIR)?;
        storage.sync_dir("")?;
        let durable = self.shared.journal.durable();
        let found = find(&*storage, &self.context)?;
        let Some(Found { mut list, end, file }) = found.filter(|found| found.end.covered <= durable) else {
            return self.begin_log(&*storage, durable);
        };
        let Some(newest) = list.back_mut() else { return self.begin_log(&*storage, durable) };
        if file.length()? > newest.len {
            file.set_len(newest.len)?;
        }
        let (header, len) = (newest.header, newest.len);
        let files = Files { history: header.history, list, covered: end.covered };
        *self.shared.files.lock() = Some(files);
        let End { last, covered, said, is_used } = end;
        let mut open = Open { file, header, len, room: len, is_used, is_unsynced: true, last, covered, said };
        open.keep_room();
        self.open = Some(open);
        self.miss(covered + 1, durable);
        self.publish();
        Ok(())
    }

    /// Begins a new log with a history of its own: what the segments hold is read into it.
    fn begin_log(&mut self, storage: &dyn Storage, durable: u64) -> io::Result<()> {
        for number in numbers(storage, DIR, EXTENSION)? {
            unlink_if_there(storage, &path_of(number))?;
        }
        let covered = proof::first_entry(storage).map_err(disproved)?.saturating_sub(1).min(durable);
        let history: [u8; 8] = self.context.random.bytes().map_err(io::Error::other)?;
        self.begin_file(covered, u64::from_le_bytes(history), 0)?;
        self.miss(covered + 1, durable);
        self.publish();
        Ok(())
    }

    /// Notes that the entries from `from` to `to` are to be read back before those of the queue. Those that are in both are
    /// written once.
    fn miss(&self, from: u64, to: u64) {
        self.shared.queue.lock().missing = (from <= to).then_some((from, to));
    }

    /// Writes and syncs everything, after the journal was closed. Nothing is handed over any more.
    pub fn close(&mut self) -> io::Result<()> {
        self.step()?;
        self.sync()
    }

    /// Starts the thread, which runs until [`RunningWriter::close`].
    pub fn run(self) -> io::Result<RunningWriter> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(String::from("events")).spawn(move || self.work())?;
        Ok(RunningWriter { shared, thread: Some(thread) })
    }

    fn work(mut self) {
        let _ended = EndedWhenDropped(Arc::clone(&self.shared));
        let mut failed = 0;
        loop {
            let (stopping, abandoned) = {
                let mut queue = self.shared.queue.lock();
                if !queue.stopping && !queue.abandoned {
                    let is_asked = queue.settle > *self.shared.durable.borrow();
                    let is_behind = queue.missing.is_some() || queue.overflow.is_some() || is_asked;
                    let is_waiting = !queue.events.is_empty() || is_behind || self.open.is_none();
                    let pause = match (failed > 0, is_waiting) {
                        (true, _) => RETRY_DELAY,
                        (false, true) => LOOK_EVERY,
                        (false, false) => IDLE,
                    };
                    if is_waiting {
                        drop(queue);
                        thread::sleep(pause);
                        queue = self.shared.queue.lock();
                    } else {
                        queue = self.shared.work.wait_for(queue, pause);
                    }
                }
                (queue.stopping, queue.abandoned)
            };
            if abandoned {
                return;
            }
            let done = if stopping { self.close() } else { self.step() };
            match done {
                Ok(()) => failed = 0,
                Err(error) => {
                    if failed % TELL_EVERY == 0 {
                        tracing::error!(%error, "cannot write the log of events, retrying; nothing is lost yet");
                    }
                    failed += 1;
                }
            }
            self.shared.failing.store(failed, Ordering::Relaxed);
            if stopping {
                return;
            }
        }
    }
}

fn disproved(error: Disproof) -> io::Error {
    io::Error::other(error)
}

/// Notes the end of the thread, by a panic too.
struct EndedWhenDropped(Arc<Shared>);

impl Drop for EndedWhenDropped {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failing.store(1, Ordering::Relaxed);
        }
        self.0.end();
    }
}

/// The running thread of the writer.
pub struct RunningWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl RunningWriter {
    /// Writes and syncs everything, and waits for the end of the thread. Called once the journal is closed.
    pub fn close(mut self) {
        self.shared.queue.lock().stopping = true;
        self.end();
    }

    /// Ends the thread as it is: the next start reads back what it has not written.
    pub fn abandon(mut self) {
        self.shared.queue.lock().abandoned = true;
        self.end();
    }

    fn end(&mut self) {
        self.shared.work.notify_all();
        if let Some(thread) = self.thread.take() {
            // After a panic of the thread the next start reads back what it has not written.
            let _ = thread.join();
        }
    }
}
