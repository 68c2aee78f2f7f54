//! The writer: the journal's own thread. The entries that were appended during one sync are the next batch.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::handle::{Core, Handle, Shared};
use super::segment_log::{Fault, Log};
use crate::journal::format::frame::Kind;
use crate::journal::format::identity_file::State;
use crate::system::fail_stop::FailStop;
use crate::system::scheduling::{self, Machine};
use crate::system::seeded_bug::{Bug, seeded};

/// Idle time after which a frame attests that the last one is durable.
const ATTEST_AFTER: Duration = Duration::from_millis(20);
/// The longest that an entry stays in memory if no request waits for it.
const UNASKED_AFTER: Duration = Duration::from_secs(1);

/// Turns appended entries into durable frames. Runs on a thread in production; the simulator steps it by hand.
pub struct Writer {
    shared: Arc<Shared>,
    log: Log,
    /// Whether the last frame holds entries and no later frame attests it.
    unattested: bool,
    failed: bool,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stepped {
    /// There was nothing to write.
    Idle,
    /// Entries became durable.
    Wrote,
}

impl Writer {
    pub(in crate::journal) fn new(handle: &Handle, log: Log) -> Self {
        let writer = Self { shared: Arc::clone(&handle.shared), log, unattested: false, failed: false };
        writer.count_room(&mut writer.shared.core.lock());
        writer
    }

    fn count_room(&self, core: &mut Core) {
        core.room_here = self.log.room_here();
        self.shared.count_room(core, self.log.spares().len());
    }

    /// Writes and syncs every entry that waits.
    ///
    /// Errors: nothing more may be written or acknowledged, and no sync may be tried again: the kernel calls a page
    /// clean after a failed sync, and a second sync would succeed without writing.
    pub fn step(&mut self) -> Result<Stepped, Fault> {
        self.unless_failed(Self::write_all)
    }

    /// Runs `act`, which touches the disk. After the first fault this writer never touches the disk again.
    fn unless_failed<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.failed {
            return Err(self.log.fault_before());
        }
        let done = act(self);
        if done.is_err() {
            self.failed = true;
            self.shared.stop();
        }
        done
    }

    fn write_all(&mut self) -> Result<Stepped, Fault> {
        let (bytes, ends) = {
            let mut core = self.shared.core.lock();
            if core.ends.is_empty() {
                return Ok(Stepped::Idle);
            }
            core.first_seq += core.ends.len() as u64;
            core.called = false;
            (std::mem::take(&mut core.bytes), std::mem::take(&mut core.ends))
        };
        let mut begin = 0;
        let mut rest = ends.as_slice();
        while !rest.is_empty() {
            let fitting = rest.iter().take_while(|(end, _)| end - begin <= self.shared.sizes.body).count();
            // An entry takes at most a sixteenth of a body, so one always fits.
            let (batch, after) = rest.split_at_checked(fitting.max(1)).unwrap_or((rest, &[]));
            let end = batch.last().map_or(begin, |(end, _)| *end);
            let end = if seeded(Bug::BatchCutInsideEntry) && !after.is_empty() { end - 1 } else { end };
            let body = bytes.get(begin..end).unwrap_or_default();
            let len = self.log.write(Kind::Data, batch.len() as u32, body)?;
            let released = batch.iter().map(|(_, charge)| charge).sum();
            {
                let mut core = self.shared.core.lock();
                self.count_room(&mut core);
                core.stats.frames += 1;
                core.stats.frame_bytes += len;
                core.stats.body_bytes += body.len() as u64;
            }
            if self.log.is_synced() {
                self.shared.publish(self.log.durable_seq(), released);
            }
            begin = end;
            rest = after;
        }
        self.unattested = true;
        Ok(Stepped::Wrote)
    }

    /// Attests in a frame of its own that the last frame is durable, so that recovery can tell damage to it from a torn
    /// tail.
    pub fn attest(&mut self) -> Result<(), Fault> {
        self.unless_failed(Self::write_attest)
    }

    fn write_attest(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.unattested) && self.log.has_room_for_a_mark() {
            self.log.write(Kind::Attest, 0, &[])?;
            self.count_room(&mut self.shared.core.lock());
        }
        Ok(())
    }

    /// Raises the lower bound in `IDENTITY`: called after a snapshot got its name.
    pub(crate) fn persist_low_bound(&mut self) -> Result<(), Fault> {
        self.unless_failed(|writer| writer.log.persist_low_bound(State::Live))
    }

    /// Writes what waits and the last frame of a clean stop. Nothing can be appended any more.
    pub fn close(mut self) -> Result<(), Fault> {
        self.shared.core.lock().stopped = true;
        self.step()?;
        self.unless_failed(|writer| {
            if writer.log.has_room_for_a_mark() {
                writer.log.write(Kind::Close, 0, &[])?;
            }
            writer.log.persist_low_bound(State::Closed)
        })?;
        self.shared.stop();
        Ok(())
    }

    /// Starts the thread, which runs until [`Running::close`]. Any fault ends the process.
    pub(in crate::journal) fn run(self, fail_stop: &FailStop, machine: Machine) -> std::io::Result<Running> {
        let shared = Arc::clone(&self.shared);
        let end = fail_stop.clone();
        let thread = thread::Builder::new().name("journal".into()).spawn(move || {
            scheduling::batch(machine);
            let stop = StopWhenDropped(Arc::clone(&self.shared));
            let stopped = end.clone().guard("the journal's writer", || self.work());
            if let Err(fault) = stopped {
                drop(stop);
                end.stop(&format!("{fault}: {}", source_of(&fault)));
            }
        })?;
        Ok(Running { shared, thread: Some(thread) })
    }

    fn work(mut self) -> Result<(), Fault> {
        loop {
            let (idle, stopping, abandoned, bound_asked) = {
                let mut core = self.shared.core.lock();
                if let Some(pause) = pause(&core, self.unattested) {
                    core = self.shared.work.wait_for(core, pause);
                }
                (
                    core.ends.is_empty(),
                    core.stopping,
                    core.abandoned,
                    std::mem::take(&mut core.persist_low_bound),
                )
            };
            if bound_asked {
                self.persist_low_bound()?;
            }
            if !idle {
                self.step()?;
            } else if abandoned {
                return Ok(());
            } else if stopping {
                return self.close();
            } else {
                self.attest()?;
            }
        }
    }

    /// Raises the lower bound in `IDENTITY` if a snapshot has asked for it. For the simulator.
    #[cfg(any(test, feature = "sim"))]
    pub fn persist_low_bound_if_asked(&mut self) -> Result<(), Fault> {
        let asked = std::mem::take(&mut self.shared.core.lock().persist_low_bound);
        if asked { self.persist_low_bound() } else { Ok(()) }
    }
}

/// Returns how long the thread may sleep until it is called, or `None` when it is waited for already.
const fn pause(core: &Core, unattested: bool) -> Option<Duration> {
    match (core.called || core.stopping || core.persist_low_bound, unattested) {
        (true, _) => None,
        (false, true) => Some(ATTEST_AFTER),
        (false, false) => Some(UNASKED_AFTER),
    }
}

/// Stops the journal when the thread ends, by a panic too, so that no request waits for it for ever.
struct StopWhenDropped(Arc<Shared>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn source_of(fault: &Fault) -> String {
    std::error::Error::source(fault).map_or_else(String::new, ToString::to_string)
}

/// The running writer thread.
pub(in crate::journal) struct Running {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    /// Lets the thread write what waits and mark a clean stop, and waits for its end.
    pub(in crate::journal) fn close(mut self) {
        self.end();
    }

    /// Writes what waits and ends the thread, without the mark of a clean stop.
    pub(in crate::journal) fn abandon(mut self) {
        self.shared.core.lock().abandoned = true;
        self.end();
    }

    fn end(&mut self) {
        self.shared.core.lock().stopping = true;
        self.shared.work.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has already ended the process, or in a test the engine.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::journal::append::handle::{Class, NoRoom, Sealed};
    use crate::journal::append::preparer::SPARES;
    use crate::journal::format::entry::Entry;
    use crate::journal::format::frame;
    use crate::journal::format::header::HEADER_BYTES;
    use crate::journal::format::identity_file::IdentityFile;
    use crate::journal::format::layout::{JOURNAL_DIR, segment_path};
    use crate::simulation::golden::{Run, SIZES, values};
    use crate::storage::Storage;
    use crate::storage::simulated::{Failure, SimStorage};
    use crate::system::clock::Timestamp;

    #[test]
    fn frames_and_their_bytes_are_counted_and_room_goes_with_them() {
        let mut run = Run::begin(&SimStorage::new()).unwrap();
        let handle = run.journal.handle.clone();
        let before = handle.stats();
        assert_eq!((before.frames, before.frame_bytes, before.body_bytes), (0, 0, 0));
        let mut last = before;
        for frames in 1..4 {
            run.append(&[values()[0].clone()]);
            run.append(&[values()[1].clone()]);
            let charged = handle.stats().charged;
            run.sync();
            let stats = handle.stats();
            assert_eq!((stats.frames, stats.charged), (frames, 0));
            assert!(charged > 0);
            assert_eq!(stats.durable, stats.assigned);
            // Two entries in one frame take no more than they were charged.
            let written = stats.frame_bytes - last.frame_bytes;
            assert!(written.is_multiple_of(512));
            assert!(written <= charged);
            assert!(stats.body_bytes - last.body_bytes + 96 <= written);
            assert!(
                stats.body_bytes > last.body_bytes && written < stats.body_bytes - last.body_bytes + 96 + 512
            );
            last = stats;
        }
        assert_eq!(run.journal.writer.step().unwrap(), Stepped::Idle);
    }

    #[test]
    fn a_frame_takes_as_many_entries_as_its_body_holds() {
        let mut run = Run::begin(&SimStorage::new()).unwrap();
        let handle = run.journal.handle.clone();
        let entry = Entry::encode(&[values()[0].clone()]).unwrap();
        let len = entry.as_bytes().len();
        let fitting = SIZES.body / len;
        assert!(fitting > 1);
        (0..SPARES).for_each(|_| drop(run.journal.prepare()));
        for _ in 0..=2 * fitting {
            handle.append(handle.reserve(len, Class::Essential).unwrap(), &entry);
        }
        let before = handle.stats();
        run.sync();
        let stats = handle.stats();
        assert_eq!(stats.frames - before.frames, 3);
        assert_eq!(stats.body_bytes - before.body_bytes, ((2 * fitting + 1) * len) as u64);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_time_before_that_of_a_frame() {
        let mut run = Run::begin(&SimStorage::new()).unwrap();
        let clock = run.journal.context().clock.clone();
        clock.advance(Duration::from_hours(2));
        let seen = clock.now();
        run.append(&[values()[0].clone()]);
        clock.set_system(Timestamp(0));
        assert_ne!(clock.now(), seen, "no frame holds it yet");
        clock.set_system(seen);
        run.sync();
        clock.set_system(Timestamp(0));
        assert_eq!(clock.now(), seen);
        // At half speed, until the system has caught up.
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.now(), seen + Duration::from_secs(1));
    }

    /// Waits until another thread has made `is_so` true.
    fn until(what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..500 {
            if is_so() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("never: {what}");
    }

    #[test]
    fn the_threads_write_attest_prepare_and_close() {
        let disk = SimStorage::new();
        let run = Run::begin(&disk).unwrap();
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        let (handle, journal, _) = run.journal.start(&fail_stop, Machine::Shared).unwrap();
        let change = values()[0].clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let entry = Entry::encode(&[change]).unwrap();
        let permit = handle.reserve(entry.as_bytes().len(), Class::Ordinary).unwrap();
        let seq = handle.append(permit, &entry);
        runtime.block_on(handle.open(Sealed::new((), seq))).unwrap();
        assert_eq!((seq, handle.durable()), (1, 1));
        let kinds = || {
            let bytes = disk.peek(&segment_path(1)).unwrap();
            let blocks = bytes.chunks(SIZES.align).skip(HEADER_BYTES / SIZES.align);
            blocks.filter_map(frame::read_header).map(|header| header.kind).collect::<Vec<_>>()
        };
        until("a frame says that the last one is durable", || kinds().last() == Some(&Kind::Attest));
        let spares =
            || disk.list(JOURNAL_DIR).unwrap().iter().filter(|name| name.starts_with("spare-")).count();
        until("two spare segments are ready", || spares() == SPARES);
        let identity = || IdentityFile::open(&disk).unwrap().unwrap().unwrap().newest();
        assert_eq!((identity().min_seq, identity().state), (0, State::Live));
        handle.persist_low_bound(1);
        until("IDENTITY demands the end of the snapshot", || identity().min_seq == 1);
        journal.close();
        assert_eq!(kinds().last(), Some(&Kind::Close));
        assert_eq!(identity().state, State::Closed);
        assert_eq!(handle.reserve(1, Class::Essential).err(), Some(NoRoom::Stopped));
        // One attest frame is enough, however long the writer is idle.
        assert!(!kinds().windows(2).any(|pair| pair == [Kind::Attest; 2]));
    }

    #[test]
    fn the_thread_does_not_sleep_while_it_is_waited_for() {
        let handle = Run::begin(&SimStorage::new()).unwrap().journal.handle.clone();
        let mut core = handle.shared.core.lock();
        assert_eq!([pause(&core, true), pause(&core, false)], [Some(ATTEST_AFTER), Some(UNASKED_AFTER)]);
        let asked: [fn(&mut Core) -> &mut bool; 3] =
            [|core| &mut core.called, |core| &mut core.stopping, |core| &mut core.persist_low_bound];
        for asked in asked {
            *asked(&mut core) = true;
            assert_eq!([pause(&core, true), pause(&core, false)], [None; 2]);
            *asked(&mut core) = false;
        }
    }

    #[test]
    fn the_end_of_the_thread_ends_every_wait_and_a_fault_names_its_source() {
        let disk = SimStorage::new();
        let mut journal = Run::begin(&disk).unwrap().journal;
        let handle = journal.handle.clone();
        let mut waiting = pin!(handle.open(Sealed::new((), append(&handle))));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drop(StopWhenDropped(Arc::clone(&handle.shared)));
        assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Ready(Err(_))));
        disk.fail(Some(Failure {
            at: 0,
            lasting: true,
            only: None,
            error: std::io::ErrorKind::PermissionDenied,
        }));
        let fault = journal.writer.step().unwrap_err();
        assert_eq!(source_of(&fault), "permission denied");
    }

    fn append(handle: &Handle) -> u64 {
        let entry = Entry::encode(&[values()[0].clone()]).unwrap();
        handle.append(handle.reserve(entry.as_bytes().len(), Class::Ordinary).unwrap(), &entry)
    }

    #[test]
    fn a_waiter_calls_the_writer_and_all_entries_until_then_share_a_sync() {
        let mut journal = Run::begin(&SimStorage::new()).unwrap().journal;
        let handle = journal.handle.clone();
        let is_called = || handle.shared.core.lock().called;
        let first = append(&handle);
        let last = append(&handle);
        assert!(!is_called());
        handle.begin(&Sealed::new((), first));
        assert!(is_called());
        let mut waiting = pin!(handle.open(Sealed::new((), last)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        let frames = handle.stats().frames;
        assert_eq!(journal.writer.step().unwrap(), Stepped::Wrote);
        assert_eq!(handle.stats().frames, frames + 1);
        assert!(!is_called());
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(Ok(())));
        // A durable entry needs no call; one that the writer has not taken does.
        handle.begin(&Sealed::new((), last));
        assert!(!is_called());
        let mut waiting = pin!(handle.open(Sealed::new((), append(&handle))));
        assert!(waiting.as_mut().poll(&mut context).is_pending() && is_called());
    }

    #[test]
    fn an_entry_without_a_waiter_is_written_all_the_same() {
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        let (handle, journal, _) =
            Run::begin(&SimStorage::new()).unwrap().journal.start(&fail_stop, Machine::Shared).unwrap();
        let last = append(&handle);
        let is_durable = (0..3000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            handle.durable() >= last
        });
        assert!(is_durable);
        let last = append(&handle);
        journal.close();
        assert_eq!(handle.durable(), last);
    }
}
