//! The handle: the actors' side of the journal. Actors reserve, append and seal; requests open.
//!
//! Room is reserved before anything changes. An entry gets its sequence when it is appended. A verdict leaves only when
//! everything that it has seen is durable. Under the lock nothing happens but counting and copying.
//!
//! Waiting for an entry calls the writer, appending one does not: all entries that are appended until then share one
//! sync.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use super::segment_log::usable;
use crate::journal::format::entry::EncodedEntry;
use crate::journal::format::frame;
use crate::journal::format::layout::Sizes;
use crate::system::lock::{Condvar, Mutex};
use crate::system::seeded_bug::{Bug, seeded};

/// The class of an entry: how much of the room that is kept back it may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// None of the room kept back.
    Ordinary,
    /// Half of it: an attacker who guesses passwords must not drain what a revocation needs.
    Lockout,
    /// All of it: log-out, revocation, raising an account's epoch.
    Essential,
}

/// The reason why nothing can be journalled now. The state in memory is unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoRoom {
    /// No room is left in prepared segments.
    #[error("the disk is full")]
    StorageFull,
    /// Too many bytes wait for the disk already.
    #[error("too many bytes wait for the disk")]
    Busy,
    /// The journal has stopped; nothing is acknowledged any more.
    #[error("the journal has stopped")]
    Stopped,
}

/// Room that is reserved for one entry. Given back when dropped.
#[derive(Debug)]
pub struct Permit {
    charge: u64,
    shared: Arc<Shared>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.charge > 0 {
            self.shared.core.lock().charged -= self.charge;
        }
    }
}

/// A verdict that waits until everything that it has seen is durable. Only [`Handle::open`] yields the value.
#[derive(Debug)]
#[must_use = "a sealed verdict is no answer until it is opened"]
pub struct Sealed<T> {
    value: T,
    seq: u64,
}

impl<T> Sealed<T> {
    /// Seals the verdict of an owner that has appended or seen everything up to `seq`.
    pub const fn new(value: T, seq: u64) -> Self {
        Self { value, seq }
    }

    /// Joins two verdicts. The result waits for the later of the two.
    pub fn join<U>(self, other: Sealed<U>) -> Sealed<(T, U)> {
        Sealed { value: (self.value, other.value), seq: self.seq.max(other.seq) }
    }

    /// Asks for another verdict that depends on this one. Both wait for the later of the two.
    pub async fn then<U, E>(
        self,
        ask: impl AsyncFnOnce(&T) -> Result<Sealed<U>, E>,
    ) -> Result<Sealed<(T, U)>, E> {
        let other = ask(&self.value).await?;
        Ok(self.join(other))
    }

    /// Returns a sealed nothing that waits as long as this verdict.
    pub const fn when(&self) -> Sealed<()> {
        Sealed { value: (), seq: self.seq }
    }

    /// Replaces the value; the result still waits.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Sealed<U> {
        Sealed { value: change(self.value), seq: self.seq }
    }
}

impl<T> Sealed<Option<T>> {
    /// Returns the sealed value, if there is one. What led to none is forgotten, so nothing may be answered for it.
    pub fn transpose(self) -> Option<Sealed<T>> {
        let seq = self.seq;
        self.value.map(|value| Sealed { value, seq })
    }
}

/// Figures for operators.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// The highest sequence handed out.
    pub assigned: u64,
    /// The highest sequence that is durable.
    pub durable: u64,
    /// Bytes left in prepared segments.
    pub room: u64,
    /// Bytes reserved, or not durable yet.
    pub charged: u64,
    /// Frames written.
    pub frames: u64,
    /// Bytes of frames, padding included.
    pub frame_bytes: u64,
    /// Bytes of entries in them.
    pub body_bytes: u64,
    /// Whether free space is so low that only essential entries and the next snapshot are written.
    pub low: bool,
    /// How much space must be free for all entries to be written.
    pub kept_free: u64,
    /// Entries refused since the start with [`NoRoom::StorageFull`].
    pub refused: u64,
}

/// The journal as actors and requests hold it. Clones share one journal.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(in crate::journal) shared: Arc<Shared>,
}

/// The state that handles, writer and preparer share.
#[derive(Debug)]
pub(in crate::journal) struct Shared {
    pub(in crate::journal) core: Mutex<Core>,
    /// Wakes the writer.
    pub(in crate::journal) work: Condvar,
    /// The highest durable sequence.
    pub(in crate::journal) durable: AtomicU64,
    pub(in crate::journal) sizes: Sizes,
}

/// The part of the shared state that the lock protects.
#[derive(Debug, Default)]
pub(in crate::journal) struct Core {
    /// Entries that wait for the writer, back to back.
    pub(in crate::journal) bytes: Vec<u8>,
    /// For each of these entries, where it ends in `bytes`, and its charge.
    pub(in crate::journal) ends: Vec<(usize, u64)>,
    /// The sequence of the first of these entries.
    pub(in crate::journal) first_seq: u64,
    /// Whether the writer was called for one of these entries.
    pub(in crate::journal) called: bool,
    /// Senders that wake the requests which wait for a sequence.
    pub(in crate::journal) waiters: Vec<(u64, oneshot::Sender<()>)>,
    /// The charges of all permits and of all entries that are not durable yet.
    pub(in crate::journal) charged: u64,
    /// Bytes that can still be framed in the open segment.
    pub(in crate::journal) room_here: u64,
    /// Bytes that can still be framed in the open segment and all spare ones.
    pub(in crate::journal) room: u64,
    /// Bytes of that room which only an [`Class::Essential`] entry may use up.
    pub(in crate::journal) kept_back: u64,
    /// Whether free space is so low that only essential entries are accepted.
    pub(in crate::journal) low: bool,
    /// Bytes of the last snapshot.
    pub(in crate::journal) snapshot_bytes: u64,
    /// Whether the writer is to write what waits and stop.
    pub(in crate::journal) stopping: bool,
    /// Whether the stop leaves no mark of a clean stop: the engine has ended by a fault.
    pub(in crate::journal) abandoned: bool,
    /// Whether a snapshot got its name, so that the writer must raise the lower bound in `IDENTITY`.
    pub(in crate::journal) persist_low_bound: bool,
    /// Whether the journal has stopped: nothing is appended or acknowledged any more.
    pub(in crate::journal) stopped: bool,
    pub(in crate::journal) stats: Stats,
}

impl Core {
    /// Returns the highest sequence handed out.
    pub(in crate::journal) const fn assigned(&self) -> u64 {
        // Sequences begin at 1, so `first_seq` is never 0.
        self.first_seq + self.ends.len() as u64 - 1
    }

    /// Notes that a request waits for `seq`. Returns whether the writer must be woken for it.
    const fn call(&mut self, seq: u64) -> bool {
        let waits = seq >= self.first_seq;
        let is_new = waits && !self.called;
        self.called |= waits;
        is_new
    }
}

impl Handle {
    /// Builds the handle of a journal whose last durable sequence is `last_seq`. `snapshot_bytes` is the length of the
    /// newest snapshot.
    pub(in crate::journal) fn new(sizes: Sizes, last_seq: u64, snapshot_bytes: u64) -> Self {
        let core = Core { first_seq: last_seq + 1, snapshot_bytes, ..Core::default() };
        Self {
            shared: Arc::new(Shared {
                core: Mutex::new(core),
                work: Condvar::new(),
                durable: AtomicU64::new(last_seq),
                sizes,
            }),
        }
    }

    /// Reserves room for an entry of at most `bytes` bytes. Called before anything changes.
    ///
    /// Errors: there is no room for an entry of this class; nothing was changed.
    pub fn reserve(&self, bytes: usize, class: Class) -> Result<Permit, NoRoom> {
        let sizes = self.shared.sizes;
        let charge = frame::padded(bytes + 16, sizes.align) as u64;
        let mut core = self.shared.core.lock();
        if core.stopped {
            return Err(NoRoom::Stopped);
        }
        let untouchable = match class {
            Class::Ordinary if core.low => {
                core.stats.refused += 1;
                return Err(NoRoom::StorageFull);
            }
            Class::Ordinary if seeded(Bug::ReserveOpenToAll) => 0,
            Class::Ordinary => core.kept_back,
            Class::Lockout => core.kept_back / 2,
            Class::Essential => 0,
        };
        if core.charged + charge + untouchable > core.room {
            core.stats.refused += 1;
            return Err(NoRoom::StorageFull);
        }
        if core.charged + charge > sizes.window {
            let last = core.assigned();
            self.call(core, last);
            return Err(NoRoom::Busy);
        }
        core.charged += charge;
        drop(core);
        Ok(Permit { charge, shared: Arc::clone(&self.shared) })
    }

    /// Appends an entry and returns its sequence. The owner applies it at once, in the same handler. The entry is
    /// written when a request waits for it or for a later one, and a second later at the latest.
    ///
    /// # Panics
    /// The entry is longer than its permit allows: a mistake of the owner, which must then not go on.
    pub fn append(&self, permit: Permit, entry: &EncodedEntry) -> u64 {
        self.append_and(permit, entry, |_| ())
    }

    /// Does what [`Handle::append`] does, and calls `note` with the sequence before the entry can become durable. `note`
    /// runs under the lock of the journal, so it may only count and copy.
    ///
    /// # Panics
    /// As [`Handle::append`].
    pub fn append_and(&self, mut permit: Permit, entry: &EncodedEntry, note: impl FnOnce(u64)) -> u64 {
        let bytes = entry.as_bytes();
        let needed = frame::padded(bytes.len() + 16, self.shared.sizes.align) as u64;
        assert!(needed <= permit.charge, "an entry of {} bytes is longer than its permit", bytes.len());
        let mut core = self.shared.core.lock();
        core.bytes.extend_from_slice(bytes);
        let end = core.bytes.len();
        if seeded(Bug::RoomFreedEarly) {
            core.charged -= std::mem::take(&mut permit.charge);
        }
        core.ends.push((end, permit.charge));
        permit.charge = 0;
        let seq = core.assigned();
        note(seq);
        seq
    }

    /// Returns the highest sequence handed out.
    pub fn assigned(&self) -> u64 {
        self.shared.core.lock().assigned()
    }

    /// Returns the highest sequence that is durable.
    pub fn durable(&self) -> u64 {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// Waits until everything that the verdict has seen is durable, and returns the verdict.
    ///
    /// Errors: [`NoRoom::Stopped`] when the journal stopped before: whether the change is durable is then unknown.
    pub async fn open<T>(&self, sealed: Sealed<T>) -> Result<T, NoRoom> {
        self.wait(sealed.seq).await?;
        Ok(sealed.value)
    }

    /// Wakes the writer for everything that the verdict has seen. For callers with other work to do before they open
    /// it.
    pub fn begin<T>(&self, sealed: &Sealed<T>) {
        if self.durable() < sealed.seq {
            self.call(self.shared.core.lock(), sealed.seq);
        }
    }

    /// Wakes the writer, unless it was woken already or has taken the entry `seq`.
    fn call(&self, mut core: MutexGuard<'_, Core>, seq: u64) {
        let must_wake = core.call(seq);
        drop(core);
        if must_wake {
            self.shared.work.notify_one();
        }
    }

    /// Waits until `seq` is durable.
    ///
    /// Errors: [`NoRoom::Stopped`] when the journal stopped before.
    pub(crate) async fn wait(&self, seq: u64) -> Result<(), NoRoom> {
        if self.durable() >= seq || seeded(Bug::AnswerBeforeSync) {
            return Ok(());
        }
        let waiting = {
            let mut core = self.shared.core.lock();
            if self.durable() >= seq {
                return Ok(());
            }
            if core.stopped {
                return Err(NoRoom::Stopped);
            }
            let (wake, waiting) = oneshot::channel();
            core.waiters.push((seq, wake));
            self.call(core, seq);
            waiting
        };
        waiting.await.map_err(|_| NoRoom::Stopped)
    }

    /// Lets the writer raise the lower bound in `IDENTITY`, after a snapshot of `snapshot_bytes` bytes got its name.
    pub fn persist_low_bound(&self, snapshot_bytes: u64) {
        let mut core = self.shared.core.lock();
        core.persist_low_bound = true;
        core.snapshot_bytes = snapshot_bytes;
        drop(core);
        self.shared.work.notify_one();
    }

    /// Returns the figures for operators.
    pub fn stats(&self) -> Stats {
        let core = self.shared.core.lock();
        Stats {
            assigned: core.assigned(),
            durable: self.durable(),
            room: core.room,
            charged: core.charged,
            low: core.low,
            ..core.stats
        }
    }

    /// Says whether `bytes` more leave others a quarter of a segment beside what is kept back: for work that can wait, so
    /// that it takes nothing which a request needs now. Nothing is reserved, and nothing is counted as refused.
    pub fn has_ample_room(&self, bytes: usize) -> bool {
        let core = self.shared.core.lock();
        let wanted = core.charged + bytes as u64 + core.kept_back + core.kept_back / 4;
        !core.low && wanted <= core.room && core.charged + bytes as u64 <= self.shared.sizes.window / 2
    }

    /// The delay after which a refused client should try again.
    pub const RETRY_AFTER: Duration = Duration::from_secs(5);
}

impl Shared {
    /// Counts the bytes that can still be framed: in the open segment and in `spares` spare ones.
    pub(in crate::journal) fn count_room(&self, core: &mut Core, spares: usize) {
        core.kept_back = usable(self.sizes);
        core.room = core.room_here + spares as u64 * core.kept_back;
    }

    /// Stops the journal: every waiting request gets [`NoRoom::Stopped`].
    pub(in crate::journal) fn stop(&self) {
        let mut core = self.core.lock();
        core.stopped = true;
        core.waiters.clear();
        drop(core);
        self.work.notify_all();
    }

    /// Publishes that everything up to `seq` is durable, gives the charges of `released` bytes back, and wakes the
    /// requests that waited for no more.
    pub(in crate::journal) fn publish(&self, seq: u64, released: u64) {
        self.durable.store(seq, Ordering::Release);
        let mut core = self.core.lock();
        core.charged -= released;
        let seq = if seeded(Bug::WaiterLetOutEarly) { seq + 1 } else { seq };
        let ready: Vec<_> = core.waiters.extract_if(.., |(waiting, _)| *waiting <= seq).collect();
        drop(core);
        for (_, wake) in ready {
            // The request may have been cancelled; then nothing waits for the answer.
            let _ = wake.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::entry::{Change, Entry};

    const SIZES: Sizes = Sizes { segment: 8_192, body: 1_024, align: 512, window: 4 * 512 };

    fn entry(len: usize) -> EncodedEntry {
        let change = Change { table: 1, schema: 1, key: vec![0; 2], value: Some(vec![7; len - 22]) };
        Entry::encode(&[change]).unwrap()
    }

    /// A journal whose last sequence is 9.
    fn handle(room: u64, kept_back: u64) -> Handle {
        let handle = Handle::new(SIZES, 9, 0);
        let mut core = handle.shared.core.lock();
        core.room = room;
        core.kept_back = kept_back;
        drop(core);
        handle
    }

    fn charged(handle: &Handle) -> u64 {
        handle.stats().charged
    }

    #[test]
    fn room_is_reserved_to_the_last_byte_and_not_beyond() {
        // A frame with an entry of this length fills one block. A longer one, with the tag it may need, takes another.
        let fits = 512 - frame::FRAME_HEADER - 16;
        let of_one = handle(512, 0);
        let permit = of_one.reserve(fits, Class::Ordinary).unwrap();
        assert_eq!(charged(&of_one), 512);
        assert_eq!(of_one.reserve(fits, Class::Essential).err(), Some(NoRoom::StorageFull));
        drop(permit);
        assert_eq!(charged(&of_one), 0);
        assert_eq!(of_one.reserve(fits + 1, Class::Essential).err(), Some(NoRoom::StorageFull));
        drop(of_one.reserve(fits, Class::Essential).unwrap());
        // The window limits what waits, even with room enough.
        let wide = handle(1 << 20, 0);
        let held: Vec<_> = (0..4).map(|_| wide.reserve(fits, Class::Ordinary).unwrap()).collect();
        assert_eq!(charged(&wide), 4 * 512);
        assert_eq!(wide.reserve(fits, Class::Essential).err(), Some(NoRoom::Busy));
        drop(held);
        drop(wide.reserve(fits, Class::Ordinary).unwrap());
    }

    #[test]
    fn each_class_may_use_its_part_of_the_room_kept_back() {
        let journal = handle(4 * 512, 2 * 512);
        let refused = |class| journal.reserve(1, class).err();
        let first: Vec<_> = (0..2).map(|_| journal.reserve(1, Class::Ordinary).unwrap()).collect();
        assert_eq!(refused(Class::Ordinary), Some(NoRoom::StorageFull));
        let second = journal.reserve(1, Class::Lockout).unwrap();
        assert_eq!(refused(Class::Lockout), Some(NoRoom::StorageFull));
        let third = journal.reserve(1, Class::Essential).unwrap();
        assert_eq!(refused(Class::Essential), Some(NoRoom::StorageFull));
        drop((first, second, third));
        assert!(!journal.stats().low);
        journal.shared.core.lock().low = true;
        assert!(journal.stats().low);
        assert_eq!(refused(Class::Ordinary), Some(NoRoom::StorageFull));
        assert_eq!(refused(Class::Lockout), None);
        assert_eq!(refused(Class::Essential), None);
        journal.shared.core.lock().stopped = true;
        assert_eq!(refused(Class::Essential), Some(NoRoom::Stopped));
    }

    #[test]
    fn work_that_can_wait_waits_while_it_would_leave_requests_little_room() {
        let journal = handle(1_000 + 4_096 + 1_024, 4_096);
        assert!(journal.has_ample_room(1_000));
        assert!(!journal.has_ample_room(1_001));
        // Half of what may wait for the disk is for others.
        assert!(!handle(1 << 20, 0).has_ample_room(1_025));
        let held = journal.reserve(1, Class::Ordinary).unwrap();
        assert!(!journal.has_ample_room(1_000));
        drop(held);
        journal.shared.core.lock().low = true;
        assert!(!journal.has_ample_room(1));
        assert_eq!(journal.stats().refused, 0);
    }

    #[test]
    fn entries_get_their_sequences_in_order_and_keep_their_charge() {
        let journal = handle(1 << 20, 0);
        assert_eq!(journal.assigned(), 9);
        assert_eq!(journal.durable(), 9);
        let lens = [30, 300, 100];
        for (number, len) in lens.into_iter().enumerate() {
            let permit = journal.reserve(len, Class::Ordinary).unwrap();
            assert_eq!(journal.append(permit, &entry(len)), 10 + number as u64);
        }
        assert_eq!(journal.assigned(), 12);
        assert_eq!(journal.stats().assigned, 12);
        assert_eq!(journal.durable(), 9);
        assert_eq!(charged(&journal), 3 * 512);
        let core = journal.shared.core.lock();
        assert_eq!(core.ends, [(30, 512), (330, 512), (430, 512)]);
        assert_eq!(core.bytes.len(), 430);
    }

    #[test]
    #[should_panic(expected = "longer than its permit")]
    fn an_entry_longer_than_its_permit_is_not_appended() {
        let journal = handle(1 << 20, 0);
        // One byte too long, which matters only with the tag.
        let fits = 512 - frame::FRAME_HEADER - 16;
        let permit = journal.reserve(fits, Class::Ordinary).unwrap();
        journal.append(permit, &entry(fits + 1));
    }

    #[test]
    fn the_writer_is_called_once_for_what_it_has_not_taken() {
        let mut core = Core { first_seq: 10, ..Core::default() };
        assert!(!core.call(9));
        assert!(!core.called);
        assert!(core.call(10));
        assert!(core.called);
        for seq in [10, 11, 9] {
            assert!(!core.call(seq), "{seq}");
        }
        core.called = false;
        assert!(core.call(11));
        assert!(core.called);
    }

    #[test]
    fn two_verdicts_wait_for_the_later_one() {
        let journal = handle(1 << 20, 0);
        let opened = |sealed: Sealed<()>| {
            let mut waits = std::pin::pin!(journal.open(sealed));
            waits.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        assert!(opened(Sealed::new((), 9)));
        assert!(!opened(Sealed::new((), 10)));
        assert!(opened(Sealed::new((), 8).join(Sealed::new((), 9)).map(|_| ())));
        assert!(!opened(Sealed::new((), 10).join(Sealed::new((), 9)).map(|_| ())));
        assert!(!opened(Sealed::new((), 9).join(Sealed::new((), 10)).map(|_| ())));
        journal.shared.durable.store(10, Ordering::Release);
        assert!(opened(Sealed::new((), 10)));
        assert!(!opened(Sealed::new((), 11)));
        journal.persist_low_bound(77);
        let core = journal.shared.core.lock();
        assert!(core.persist_low_bound);
        assert_eq!(core.snapshot_bytes, 77);
    }
}
