//! One run of taking a snapshot: from the first bucket to the deletion of what the snapshot makes superfluous.
//!
//! The driver asks the owners for their buckets between the steps of a run: a thread in production, the seed in the
//! simulator.

use std::io;

use super::format::CHUNK_BYTES_MAX;
use super::proof::{Disproof, KeptRecord, prove};
use super::read::Unreadable;
use super::retention::keep_two;
use super::writer::{Records, SnapshotWriter, UnnamedSnapshot, abandon};
use crate::journal::append::handle::Handle;
use crate::journal::append::segment_log::drop_segments;
use crate::journal::context::JournalContext;
use crate::journal::format::buckets::BUCKETS;
use crate::system::seeded_bug::{Bug, seeded};

/// A run that is under way.
pub struct SnapshotRun {
    context: JournalContext,
    journal: Handle,
    /// Called between two steps of long work, so that the thread can pause.
    step: Box<dyn Fn()>,
    /// `None` only until the first chunk, and only with the seeded bug `StartReadLate`.
    writer: Option<SnapshotWriter>,
    /// Records that wait until they fill a chunk.
    gathered: Records,
    /// The first bucket of the gathered records.
    begin: usize,
}

impl SnapshotRun {
    /// Begins a run. The caller asks no owner for a bucket before, so every entry assigned so far is applied by the time
    /// the first bucket is read.
    pub fn begin(context: &JournalContext, journal: &Handle) -> io::Result<Self> {
        let writer = if seeded(Bug::StartReadLate) {
            None
        } else {
            Some(SnapshotWriter::begin(context, journal.assigned())?)
        };
        Ok(Self {
            context: context.clone(),
            journal: journal.clone(),
            step: Box::new(|| ()),
            writer,
            gathered: Records::default(),
            begin: 0,
        })
    }

    /// Has `step` called between two steps of long work.
    #[must_use]
    pub fn paced(self, step: impl Fn() + 'static) -> Self {
        Self { step: Box::new(step), ..self }
    }

    fn writer(&mut self) -> io::Result<&mut SnapshotWriter> {
        if self.writer.is_none() {
            self.writer = Some(SnapshotWriter::begin(&self.context, self.journal.assigned())?);
        }
        self.writer.as_mut().ok_or_else(|| io::Error::other("no snapshot was begun"))
    }

    /// Takes the records that an owner has read from the buckets `from..next` of its table; `table` is the table's number
    /// and newest schema. Ranges come in ascending order, one table after the other.
    pub fn add(&mut self, table: (u16, u16), from: usize, records: Records, next: usize) -> io::Result<()> {
        let (table, schema) = table;
        if !self.gathered.is_empty() && self.gathered.len() + records.len() > CHUNK_BYTES_MAX {
            self.write_gathered(table, schema, from)?;
            self.begin = from;
        }
        (self.step)();
        self.gathered.join(records);
        if next >= BUCKETS {
            self.write_gathered(table, schema, BUCKETS)?;
            self.begin = 0;
        }
        Ok(())
    }

    /// Writes the gathered records, which are those of the buckets from `self.begin` to `end`, as a chunk.
    fn write_gathered(&mut self, table: u16, schema: u16, end: usize) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let begin = self.begin;
        self.writer()?.chunk(table, schema, begin, end, &gathered)
    }

    /// Ends the snapshot after the last bucket, and reads it back.
    pub fn finish(mut self) -> Result<Finished, Unreadable> {
        let end_seq = self.journal.assigned();
        self.writer()?;
        let writer = self.writer.take().ok_or_else(|| io::Error::other("no snapshot was begun"))?;
        let max_wall_ms = self.context.clock.now().as_millis();
        let unnamed = writer.finish_paced(end_seq, max_wall_ms, &self.step)?;
        Ok(Finished { unnamed, context: self.context, journal: self.journal, step: self.step })
    }

    /// Deletes the file that a failed run has left.
    pub fn abandon(context: &JournalContext) {
        abandon(&*context.storage);
    }
}

/// Why a snapshot gets no name.
#[derive(Debug, thiserror::Error)]
pub enum Unnamed {
    /// It or an older one cannot be read, or the disk reports an error.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It disagrees with the older ones and the journal after them. Nothing is deleted until an operator has found out
    /// which of them is wrong.
    #[error(
        "the new snapshot disagrees with the older ones or the journal: {0}; it was moved to quarantine/ and nothing was \
         deleted; stop the server and run `portcullis data verify`"
    )]
    Disproved(#[from] Disproof),
}

impl From<io::Error> for Unnamed {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

/// A snapshot that is complete and waits for its end to be durable.
#[must_use = "without its name a snapshot is swept at the next start"]
pub struct Finished {
    unnamed: UnnamedSnapshot,
    context: JournalContext,
    journal: Handle,
    step: Box<dyn Fn()>,
}

impl Finished {
    /// Returns the sequence that must be durable before [`Finished::name`].
    pub const fn end_seq(&self) -> u64 {
        self.unnamed.end_seq()
    }

    /// Proves the snapshot, gives it its name, makes `IDENTITY` demand the journal that it rests on, and deletes the files
    /// that no kept snapshot needs. Returns its length in bytes.
    ///
    /// Errors: if it disagrees with the older snapshots and the journal, it is moved to quarantine and nothing is deleted.
    pub fn name(self, kept: &KeptRecord<'_>) -> Result<u64, Unnamed> {
        let Self { unnamed, context, journal, step } = self;
        let storage = &*context.storage;
        let bytes = unnamed.bytes();
        let proved = prove(storage, Some(unnamed.path()), Some(unnamed.end_seq()), kept, &step);
        if let Err(disproof) = proved {
            unnamed.set_aside()?;
            return Err(disproof.into());
        }
        unnamed.name(journal.durable())?;
        journal.persist_low_bound(bytes);
        let needed = keep_two(storage, context.cluster)?;
        drop_segments(storage, needed)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::journal::snapshot::read;
    use crate::simulation::golden::Run as Golden;
    use crate::storage::Storage;
    use crate::storage::simulated::SimStorage;

    const TEMPORARY: &str = "snapshot/taking.tmp";

    /// Runs over one table with `records` records of `len` bytes in each bucket, bucket by bucket. Returns the file and
    /// how many steps were counted.
    fn taken(disk: &SimStorage, records: usize, len: usize) -> (Vec<u8>, u32) {
        let golden = Golden::begin(disk).unwrap();
        let context = golden.journal.context().clone();
        let handle = golden.journal.handle.clone();
        let steps = Rc::new(Cell::new(0));
        let counted = Rc::clone(&steps);
        let mut run =
            SnapshotRun::begin(&context, &handle).unwrap().paced(move || counted.set(counted.get() + 1));
        for bucket in 0..BUCKETS {
            let mut found = Records::default();
            for _ in 0..records {
                found.add(1, &(bucket as u64).to_be_bytes(), &vec![7; len]);
            }
            run.add((9, 1), bucket, found, bucket + 1).unwrap();
        }
        drop(run.finish().unwrap());
        (disk.peek(TEMPORARY).unwrap(), steps.get())
    }

    /// Returns the body length of each chunk.
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
        // One chunk full to the last byte, and two that the next bucket does not fit into.
        let (bytes, _) = taken(&disk, 1, 48);
        assert_eq!(chunks(&bytes), [CHUNK_BYTES_MAX]);
        let (bytes, _) = taken(&disk, 1, 112);
        assert_eq!(chunks(&bytes), [CHUNK_BYTES_MAX; 2]);
        let (bytes, _) = taken(&disk, 1, 113);
        let lens = chunks(&bytes);
        assert_eq!(lens.len(), 3);
        assert!(lens.iter().all(|len| *len <= CHUNK_BYTES_MAX && len.is_multiple_of(129)), "{lens:?}");
        // An empty table is one chunk without a record.
        assert_eq!(chunks(&taken(&disk, 0, 0).0), [0]);
        // The file has no name yet, but it is complete.
        let file = disk.open(TEMPORARY);
        assert!(read(&*file.unwrap(), None, &mut |_, _, _, _| Ok(())).is_ok());
        abandon(&disk);
        assert!(disk.open(TEMPORARY).is_err());
    }

    #[test]
    fn the_file_of_a_failed_run_is_deleted() {
        let disk = SimStorage::new();
        let golden = Golden::begin(&disk).unwrap();
        let context = golden.journal.context().clone();
        drop(SnapshotRun::begin(&context, &golden.journal.handle).unwrap());
        assert!(disk.open(TEMPORARY).is_ok());
        SnapshotRun::abandon(&context);
        assert!(disk.open(TEMPORARY).is_err());
    }
}
