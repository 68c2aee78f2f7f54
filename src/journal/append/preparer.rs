//! The preparer: keeps spare segments ready, so that the writer never waits for one.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::handle::Shared;
use super::segment_log::{PIECE, PIECE_HURRIED, Spares, fill_whole, usable};
use crate::journal::context::JournalContext;
use crate::journal::format::layout::{JOURNAL_DIR, START_ROOM};
use crate::system::pace::Pace;

/// Number of spare segments to keep ready. The room of one of them is kept back for essential entries.
pub(in crate::journal) const SPARES: usize = 2;

/// Returns how many bytes of the disk must stay free: 1.3 times the last snapshot, since the next one may be longer,
/// and two segments, since the journal goes on while it is taken.
const fn kept_free(snapshot: u64, segment: u64) -> u64 {
    snapshot + snapshot * 3 / 10 + 2 * segment
}

/// Keeps spare segments ready. Runs on a thread of its own, since filling a segment takes long.
pub(in crate::journal) struct Preparer {
    pub(in crate::journal) context: JournalContext,
    pub(in crate::journal) spares: Arc<Spares>,
    pub(in crate::journal) shared: Arc<Shared>,
}

impl Preparer {
    /// Makes one spare segment if one is missing, and notes whether free space is low.
    ///
    /// Errors: no segment could be made. A full disk is no fault of the journal: the room that is left is all there is.
    pub(in crate::journal) fn step(&self) -> io::Result<()> {
        // Segments are only deleted after a snapshot, so the space for a snapshot must stay free.
        let free = self.context.storage.free_space()?;
        {
            let mut core = self.shared.core.lock();
            core.stats.kept_free = kept_free(core.snapshot_bytes, self.context.sizes.segment);
            core.low = free < core.stats.kept_free;
        }
        if self.spares.len() >= SPARES {
            return Ok(());
        }
        if free < self.context.sizes.segment {
            // An attempt would take the last blocks from every other file before it failed.
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.spares.prepare(&*self.context.storage, self.context.sizes, self.piece())?;
        // Frames written since the room was last counted are still part of `charged`, so no room is promised twice.
        self.shared.count_room(&mut self.shared.core.lock(), self.spares.len());
        Ok(())
    }

    /// Keeps the room of one segment for the next start, in a file that a start removes if it finds the disk full. So a
    /// server that is killed while the disk is full starts again, once; it serves what needs no entry until there is space.
    ///
    /// The file stays until it is used. It is made once the spares are there and space is not low, also without it. Returns
    /// whether it is there.
    ///
    /// Errors: it could not be made.
    pub(in crate::journal) fn keep_room_for_start(&self) -> io::Result<bool> {
        let segment = self.context.sizes.segment;
        let storage = &*self.context.storage;
        match storage.open(START_ROOM).and_then(|file| file.length()) {
            Ok(length) if length == segment => return Ok(true),
            // A crash came while it was made, or the length of segments was another.
            Ok(_) => storage.unlink(START_ROOM)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let free = storage.free_space()?;
        if self.spares.len() < SPARES
            || free < self.shared.core.lock().stats.kept_free.saturating_add(segment)
        {
            return Ok(false);
        }
        fill_whole(storage, START_ROOM, segment, self.piece())?;
        // Without its name after a power loss, the room would be free for others.
        storage.sync_dir(JOURNAL_DIR)?;
        Ok(true)
    }

    /// Returns how many bytes a file may grow by at a time: it waits first unless it is urgent. Its error says that the
    /// journal has ended.
    fn piece(&self) -> impl Fn() -> io::Result<u64> {
        let pace = Pace::new(self.context.clock.clone(), || false);
        move || {
            if self.shared.core.lock().stopped {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "the journal has ended"));
            }
            if self.is_urgent() {
                return Ok(PIECE_HURRIED);
            }
            pace.step();
            Ok(PIECE)
        }
    }

    /// Returns whether a spare is urgent: without one, or with little free space, only essential entries are written.
    /// Until half of the current segment is used there is time enough to make one at leisure.
    fn is_urgent(&self) -> bool {
        let core = self.shared.core.lock();
        core.low || self.spares.len() == 0 || core.room_here < usable(self.context.sizes) / 2
    }

    /// Starts the thread. It ends when the journal stops.
    pub(in crate::journal) fn run(self) -> io::Result<()> {
        thread::Builder::new().name("segments".into()).spawn(move || {
            let mut has_start_room = false;
            while !self.shared.core.lock().stopped {
                let step = self.step().and_then(|()| {
                    has_start_room = has_start_room || self.keep_room_for_start()?;
                    Ok(())
                });
                match step {
                    Ok(()) => thread::sleep(Duration::from_millis(50)),
                    Err(_) if self.shared.core.lock().stopped => {}
                    Err(error) => {
                        tracing::warn!(%error, "cannot prepare the next journal segment");
                        thread::sleep(Duration::from_secs(1));
                    }
                }
            }
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::append::handle::Class;
    use crate::simulation::golden::{Run, SIZES, values};
    use crate::storage::simulated::SimStorage;

    #[test]
    fn a_spare_is_urgent_at_half_a_segment_without_one_and_on_a_low_disk() {
        let disk = SimStorage::new();
        let mut run = Run::begin(&disk).unwrap();
        let urgent = |run: &Run| run.journal.preparer.is_urgent();
        assert!(!urgent(&run));
        let half = usable(SIZES) / 2;
        while run.journal.handle.shared.core.lock().room_here >= half {
            assert!(!urgent(&run));
            run.append(&[values()[0].clone()]);
            run.sync();
        }
        assert!(urgent(&run));
        let run = Run::begin(&SimStorage::new()).unwrap();
        run.journal.preparer.spares.take();
        assert!(urgent(&run));
        let run = Run::begin(&SimStorage::new()).unwrap();
        run.journal.handle.shared.core.lock().low = true;
        assert!(urgent(&run));
    }

    /// The disk fills up, essential entries take the last spare, and the server is killed.
    #[test]
    fn a_start_on_a_full_disk_has_the_room_that_was_kept_for_it() {
        for keeps_room in [false, true] {
            let disk = SimStorage::new();
            let mut run = Run::begin(&disk).unwrap();
            assert!(!run.journal.preparer.keep_room_for_start().unwrap(), "the spares come first");
            (0..SPARES).for_each(|_| run.journal.prepare().unwrap());
            disk.set_free(run.journal.handle.stats().kept_free + SIZES.segment - 1);
            assert!(!run.journal.preparer.keep_room_for_start().unwrap(), "space would be low with it");
            disk.set_free(u64::MAX);
            assert_eq!(keeps_room && run.journal.preparer.keep_room_for_start().unwrap(), keeps_room);
            disk.set_free(0);
            let mut count = 0;
            while run.journal.preparer.spares.len() > 0 {
                run.append(&[values()[0].clone()]);
                run.sync();
                count += 1;
            }
            drop(run);
            let disk = disk.after_kill();
            disk.give_back_space();
            disk.set_free(0);
            match Run::begin(&disk) {
                Err(refused) => assert!(!keeps_room, "{refused}"),
                Ok(run) => {
                    assert!(keeps_room);
                    assert_eq!(run.journal.report.entries, count);
                    let essential = run.journal.handle.reserve(600, Class::Essential);
                    assert!(essential.is_ok(), "the new segment has room for it");
                    assert!(run.journal.handle.reserve(600, Class::Ordinary).is_err());
                    // The room is used, and made again once there is space.
                    assert!(!run.journal.preparer.keep_room_for_start().unwrap());
                    disk.set_free(u64::MAX);
                    (0..SPARES).for_each(|_| run.journal.prepare().unwrap());
                    assert!(run.journal.preparer.keep_room_for_start().unwrap());
                    drop(run);
                    // A start that needs no room leaves it, and half of one is made anew.
                    let disk = disk.after_kill();
                    let run = Run::begin(&disk).unwrap();
                    assert!(run.journal.preparer.keep_room_for_start().unwrap());
                    disk.damage(START_ROOM, |bytes| bytes.truncate(512));
                    assert!(!run.journal.preparer.keep_room_for_start().unwrap(), "the spares come first");
                    assert_eq!(disk.peek(START_ROOM), None);
                }
            }
        }
    }

    #[test]
    fn room_for_a_snapshot_and_two_segments_is_kept_free_to_the_byte() {
        assert_eq!(kept_free(0, 8), 16);
        assert_eq!(kept_free(1_000, 16), 1_332);
        assert_eq!(kept_free(5, 1), 8);
        let disk = SimStorage::new();
        let journal = Run::begin(&disk).unwrap().journal;
        let handle = journal.handle.clone();
        handle.persist_low_bound(1_000);
        let enough = kept_free(1_000, SIZES.segment);
        // Making a spare takes its space from the disk, so the spares come first.
        (0..SPARES).for_each(|_| journal.prepare().unwrap());
        for (free, low) in [(enough, false), (enough - 1, true), (enough, false)] {
            disk.set_free(free);
            journal.prepare().unwrap();
            assert_eq!(handle.stats().low, low, "{free}");
        }
    }
}
