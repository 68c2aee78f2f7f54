//! Segments that stand ready, so that the writer never waits for one.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::handle::Shared;
use super::segment_log::{PIECE, PIECE_HURRIED, Spares, usable};
use crate::journal::context::JournalContext;
use crate::system::pace::Pace;

/// Prepared segments that should stand ready; one of them is kept back.
pub(in crate::journal) const SPARES: usize = 2;

/// What stays free for the next snapshot, which may be longer than the last, and for the segments that go on meanwhile.
const fn kept_free(snapshot: u64, segment: u64) -> u64 {
    snapshot + snapshot * 3 / 10 + 2 * segment
}

/// Keeps segments ready. A thread of its own, since filling one takes long.
pub(in crate::journal) struct Preparer {
    pub(in crate::journal) context: JournalContext,
    pub(in crate::journal) spares: Arc<Spares>,
    pub(in crate::journal) shared: Arc<Shared>,
}

impl Preparer {
    /// Makes one segment if one is missing. A full disk is no fault: the room that is left is all there is.
    pub(in crate::journal) fn step(&self) -> io::Result<()> {
        // Only a snapshot lets segments go, so its room must not be written full.
        let free = self.context.storage.free_space()?;
        {
            let mut core = self.shared.core.lock();
            core.low = free < kept_free(core.snapshot_bytes, self.context.sizes.segment);
        }
        if self.spares.len() >= SPARES {
            return Ok(());
        }
        if free < self.context.sizes.segment {
            // It would take the last blocks from everybody else before it failed.
            return Err(io::ErrorKind::StorageFull.into());
        }
        let pace = Pace::new(self.context.clock.clone(), || false);
        self.spares.prepare(&*self.context.storage, self.context.sizes, || {
            if self.shared.core.lock().stopped {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "the journal has ended"));
            }
            if self.is_waited_for() {
                return Ok(PIECE_HURRIED);
            }
            pace.step();
            Ok(PIECE)
        })?;
        // Frames written since the room was last counted still stand in `charged`, so this promises nothing twice.
        self.shared.count_room(&mut self.shared.core.lock(), self.spares.len());
        Ok(())
    }

    /// Without a spare, or with little free, only what is essential is written; and half a segment is time enough to make one.
    fn is_waited_for(&self) -> bool {
        let core = self.shared.core.lock();
        core.low || self.spares.len() == 0 || core.room_here < usable(self.context.sizes) / 2
    }

    pub(in crate::journal) fn run(self) -> io::Result<()> {
        thread::Builder::new().name("segments".into()).spawn(move || {
            while !self.shared.core.lock().stopped {
                match self.step() {
                    Ok(()) => thread::sleep(Duration::from_millis(50)),
                    Err(_) if self.shared.core.lock().stopped => {}
                    Err(error) => {
                        tracing::warn!(%error, "cannot prepare a segment of the journal");
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
    use crate::simulation::golden::{Run, SIZES, values};
    use crate::storage::simulated::SimStorage;

    #[test]
    fn a_segment_is_made_at_leisure_until_the_one_in_use_is_half_full_or_no_other_is_left() {
        let disk = SimStorage::new();
        let mut run = Run::begin(&disk).unwrap();
        let waited_for = |run: &Run| run.journal.preparer.is_waited_for();
        assert!(!waited_for(&run));
        let half = usable(SIZES) / 2;
        while run.journal.handle.shared.core.lock().room_here >= half {
            assert!(!waited_for(&run));
            run.append(&[values()[0].clone()]);
            run.sync();
        }
        assert!(waited_for(&run));
        let run = Run::begin(&SimStorage::new()).unwrap();
        run.journal.preparer.spares.take();
        assert!(waited_for(&run));
        let run = Run::begin(&SimStorage::new()).unwrap();
        run.journal.handle.shared.core.lock().low = true;
        assert!(waited_for(&run));
    }

    #[test]
    fn room_for_a_snapshot_and_two_segments_is_kept_free_to_the_byte() {
        assert_eq!((kept_free(0, 8), kept_free(1_000, 16), kept_free(5, 1)), (16, 1_332, 8));
        let disk = SimStorage::new();
        let journal = Run::begin(&disk).unwrap().journal;
        let handle = journal.handle.clone();
        handle.persist_low_bound(1_000);
        let enough = kept_free(1_000, SIZES.segment);
        // Each spare that is made takes its room, so those come first.
        (0..SPARES).for_each(|_| journal.prepare().unwrap());
        for (free, low) in [(enough, false), (enough - 1, true), (enough, false)] {
            disk.set_free(free);
            journal.prepare().unwrap();
            assert_eq!(handle.stats().low, low, "{free}");
        }
    }
}
