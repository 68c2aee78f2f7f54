//! One round of saving: a snapshot taken while the server serves, its name, and the end of what nobody needs any more.
//!
//! Whoever drives it asks the owners for their buckets between its steps: a thread in production, the seed in the
//! simulator.

use std::io;

use super::proof::{Disproof, MayBeGone, prove};
use super::{CHUNK_BYTES_MAX, Records, SnapshotWriter, UnnamedSnapshot, Unreadable, abandon, keep_two};
use crate::journal::append::handle::Handle;
use crate::journal::append::segment_log::drop_segments;
use crate::journal::context::JournalContext;
use crate::journal::format::buckets::BUCKETS;
use crate::system::seeded_bug::{Bug, seeded};

/// A round that is under way.
pub struct SnapshotRun {
    life: JournalContext,
    journal: Handle,
    step: Box<dyn Fn()>,
    taking: Option<SnapshotWriter>,
    gathered: Records,
    begin: usize,
}

impl SnapshotRun {
    /// Begins one, before any owner is asked for a bucket: every entry assigned so far is applied before that.
    pub fn begin(life: &JournalContext, journal: &Handle) -> io::Result<Self> {
        let taking = if seeded(Bug::StartReadLate) {
            None
        } else {
            Some(SnapshotWriter::begin(life, journal.assigned())?)
        };
        Ok(Self {
            life: life.clone(),
            journal: journal.clone(),
            step: Box::new(|| ()),
            taking,
            gathered: Records::default(),
            begin: 0,
        })
    }

    /// Calls `step` between two steps of whatever takes long.
    #[must_use]
    pub fn paced(self, step: impl Fn() + 'static) -> Self {
        Self { step: Box::new(step), ..self }
    }

    fn taking(&mut self) -> io::Result<&mut SnapshotWriter> {
        if self.taking.is_none() {
            self.taking = Some(SnapshotWriter::begin(&self.life, self.journal.assigned())?);
        }
        self.taking.as_mut().ok_or_else(|| io::Error::other("no snapshot was begun"))
    }

    /// Takes what an owner said of the buckets `from..next` of its table. They come in order, a table after the other.
    pub fn add(&mut self, table: (u16, u16), from: usize, records: Records, next: usize) -> io::Result<()> {
        let (table, schema) = table;
        if !self.gathered.is_empty() && self.gathered.len() + records.len() > CHUNK_BYTES_MAX {
            let (gathered, begin) = (std::mem::take(&mut self.gathered), self.begin);
            self.taking()?.chunk(table, schema, begin, from, &gathered)?;
            self.begin = from;
        }
        (self.step)();
        self.gathered.join(records);
        if next >= BUCKETS {
            let (gathered, begin) = (std::mem::take(&mut self.gathered), self.begin);
            self.taking()?.chunk(table, schema, begin, BUCKETS, &gathered)?;
            self.begin = 0;
        }
        Ok(())
    }

    /// Ends the snapshot behind the last bucket, and reads it back.
    pub fn finish(mut self) -> Result<Finished, Unreadable> {
        let end = self.journal.assigned();
        self.taking()?;
        let taking = self.taking.take().ok_or_else(|| io::Error::other("no snapshot was begun"))?;
        let taken = taking.finish_paced(end, self.life.clock.now().as_millis(), &self.step)?;
        Ok(Finished { taken, life: self.life, journal: self.journal, step: self.step })
    }

    /// Takes what a round that failed has left off the disk.
    pub fn abandon(life: &JournalContext) {
        abandon(&*life.storage);
    }
}

/// Why a snapshot gets no name.
#[derive(Debug, thiserror::Error)]
pub enum Unnamed {
    /// It, or an older one, cannot be read, or the disk says no.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It says something else than the older ones and the journal behind them. Nothing is deleted until somebody has
    /// found out which of them is wrong.
    #[error(
        "another way leads to another state: {0}; nothing is deleted, look at it with `portcullis data verify`"
    )]
    Disproved(#[from] Disproof),
}

impl From<io::Error> for Unnamed {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

/// A snapshot that is whole and waits for its end to be durable.
#[must_use = "without its name a snapshot is swept at the next start"]
pub struct Finished {
    taken: UnnamedSnapshot,
    life: JournalContext,
    journal: Handle,
    step: Box<dyn Fn()>,
}

impl Finished {
    /// What must be durable before [`Finished::name`].
    pub const fn end_seq(&self) -> u64 {
        self.taken.end_seq()
    }

    /// Gives it its name once a second path leads to the same state, lets `IDENTITY` demand what it rests on, and deletes
    /// what no kept snapshot needs. Says how many bytes it takes.
    ///
    /// Errors: where the paths differ nothing is deleted, and the snapshot is set aside instead of being believed.
    pub fn name(self, may_be_gone: &MayBeGone<'_>) -> Result<u64, Unnamed> {
        let Self { taken, life, journal, step } = self;
        let bytes = taken.bytes();
        let proved = prove(&*life.storage, Some(taken.path()), Some(taken.end_seq()), may_be_gone, &step);
        if let Err(disproof) = proved {
            taken.set_aside()?;
            return Err(disproof.into());
        }
        taken.name(journal.durable())?;
        journal.persist_low_bound(bytes);
        let needed = keep_two(&*life.storage, life.cluster)?;
        drop_segments(&*life.storage, needed)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::journal::snapshot::{abandon, read};
    use crate::simulation::golden::Run as Golden;
    use crate::storage::Storage;
    use crate::storage::simulated::SimStorage;

    const TEMPORARY: &str = "snapshot/taking.tmp";

    /// A round over one table of so many records of some length in each bucket, asked for bucket by bucket.
    fn taken(disk: &SimStorage, records: usize, len: usize) -> (Vec<u8>, u32) {
        let golden = Golden::begin(disk).unwrap();
        let (life, handle) = (golden.journal.context().clone(), golden.journal.handle.clone());
        let steps = Rc::new(Cell::new(0));
        let counted = Rc::clone(&steps);
        let mut round =
            SnapshotRun::begin(&life, &handle).unwrap().paced(move || counted.set(counted.get() + 1));
        for bucket in 0..BUCKETS {
            let mut found = Records::default();
            for _ in 0..records {
                found.add(1, &(bucket as u64).to_be_bytes(), &vec![7; len]);
            }
            round.add((9, 1), bucket, found, bucket + 1).unwrap();
        }
        drop(round.finish().unwrap());
        (disk.peek(TEMPORARY).unwrap(), steps.get())
    }

    fn chunks(bytes: &[u8]) -> Vec<usize> {
        let mut lens = Vec::new();
        let mut at = 4096;
        while bytes[at..at + 4] == *b"PCC1" {
            let len = u32::from_le_bytes(bytes[at + 36..at + 40].try_into().unwrap()) as usize;
            lens.push(len);
            at += 48 + len;
        }
        lens
    }

    #[test]
    fn buckets_share_a_chunk_until_it_is_full() {
        let disk = SimStorage::new();
        // 16 bytes of lengths and key, and 16 of value: 32 a bucket, half a chunk in all.
        let (bytes, steps) = taken(&disk, 1, 16);
        assert_eq!(chunks(&bytes), [BUCKETS * 32]);
        assert!(steps >= BUCKETS as u32 && steps < 3 * BUCKETS as u32, "{steps}");
        // A chunk to the last byte, and two that a bucket does not fit into.
        let (bytes, _) = taken(&disk, 1, 48);
        assert_eq!(chunks(&bytes), [CHUNK_BYTES_MAX]);
        let (bytes, _) = taken(&disk, 1, 112);
        assert_eq!(chunks(&bytes), [CHUNK_BYTES_MAX; 2]);
        let (bytes, _) = taken(&disk, 1, 113);
        let lens = chunks(&bytes);
        assert!(lens.len() == 3 && lens.iter().all(|len| *len <= CHUNK_BYTES_MAX && len.is_multiple_of(129)));
        // Nothing at all is one chunk without a record.
        assert_eq!(chunks(&taken(&disk, 0, 0).0), [0]);
        // It has no name, but is whole.
        let file = disk.open(TEMPORARY);
        assert!(read(&*file.unwrap(), None, &mut |_, _, _, _| Ok(())).is_ok());
        abandon(&disk);
        assert!(disk.open(TEMPORARY).is_err());
    }

    #[test]
    fn what_a_failed_round_leaves_is_taken_off_the_disk() {
        let disk = SimStorage::new();
        let golden = Golden::begin(&disk).unwrap();
        let life = golden.journal.context().clone();
        drop(SnapshotRun::begin(&life, &golden.journal.handle).unwrap());
        assert!(disk.open(TEMPORARY).is_ok());
        SnapshotRun::abandon(&life);
        assert!(disk.open(TEMPORARY).is_err());
    }
}
