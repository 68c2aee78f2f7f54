//! The writer of a snapshot: a header block, chunks of whole buckets, a footer. A file without a footer is no snapshot.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::format::{CHUNK_BYTES_MAX, CHUNK_HEADER, FOOTER, read_record, record_digest};
use super::read::{Unreadable, read};
use crate::journal::context::{JournalContext, salt_tag};
use crate::journal::format::buckets::BUCKETS;
use crate::journal::format::bytes::Reader;
use crate::journal::format::header::{FileKind, HEADER_BYTES, by_kind};
use crate::journal::format::layout::{QUARANTINE_DIR, SNAPSHOT_DIR, snapshot_path};
use crate::storage::{File, Storage, join, unlink_if_there};
use crate::system::seeded_bug::{Bug, seeded};

/// The name of a snapshot that is being written.
const TEMPORARY: &str = "taking.tmp";
/// The name, in the quarantine directory, of a snapshot that disagrees with the journal and the older snapshots.
pub(super) const DISPROVED: &str = "disproved.snap";
/// The file is synced each time it has grown by this many bytes. One long sync at the end would make the file system hold
/// up the journal's own syncs.
pub(super) const SYNC_EVERY: u64 = 2 << 20;

/// Records of consecutive buckets of one table, encoded as in a chunk.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    pub(super) count: u32,
}

impl Records {
    /// Adds a record. Its lengths fit their fields, since an entry has carried it.
    pub fn add(&mut self, schema: u16, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(&schema.to_le_bytes());
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.count += 1;
    }

    /// Appends `others` to these.
    pub fn join(&mut self, others: Self) {
        self.bytes.extend_from_slice(&others.bytes);
        self.count += others.count;
    }

    /// Returns the length of the encoded records in bytes.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Says whether there is no record.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The writer of one snapshot, which has a temporary name meanwhile.
pub struct SnapshotWriter {
    context: JournalContext,
    file: Arc<dyn File>,
    temporary: String,
    salt_tag: [u8; 8],
    start_seq: u64,
    /// Bytes written so far.
    pub(super) offset: u64,
    /// Bytes synced so far.
    pub(super) synced: u64,
    /// Chunks written so far.
    pub(super) chunks: u64,
    /// The sum of the digests of all records so far.
    digest: u128,
    /// By table, its newest schema and the number of its records so far.
    tables: BTreeMap<u16, (u16, u64)>,
}

impl SnapshotWriter {
    /// Creates the file and writes its header. The caller has read `start_seq` before it asks any owner for a bucket.
    pub fn begin(context: &JournalContext, start_seq: u64) -> io::Result<Self> {
        let temporary = join(SNAPSHOT_DIR, TEMPORARY);
        unlink_if_there(&*context.storage, &temporary)?;
        let fields = [
            &start_seq.to_le_bytes()[..],
            &(BUCKETS as u32).to_le_bytes(),
            &(CHUNK_BYTES_MAX as u32).to_le_bytes(),
        ];
        let header = context.header(FileKind::Snapshot, &by_kind(&fields))?;
        let file = context.storage.create_new(&temporary)?;
        file.write_at(&header.to_bytes(), 0)?;
        Ok(Self {
            context: context.clone(),
            file,
            temporary,
            salt_tag: salt_tag(&header),
            start_seq,
            offset: HEADER_BYTES as u64,
            synced: 0,
            chunks: 0,
            digest: 0,
            tables: BTreeMap::new(),
        })
    }

    /// Writes the records of buckets `from..to` of a table, whose newest schema is `schema`. Ranges of one table come in
    /// ascending order and leave no bucket out.
    pub fn chunk(
        &mut self,
        table: u16,
        schema: u16,
        from: usize,
        to: usize,
        records: &Records,
    ) -> io::Result<()> {
        let (_, counted) = self.tables.entry(table).or_insert((schema, 0));
        *counted += u64::from(records.count);
        // Buckets that are longer than a chunk go into several; each but the last says that more of them follows.
        let mut rest = Reader(&records.bytes);
        let mut parts = vec![(0_u32, Vec::new())];
        while !rest.0.is_empty() {
            let before = rest.0;
            let (_, key, value) =
                read_record(&mut rest).ok_or_else(|| io::Error::other("record of no length"))?;
            self.digest = self.digest.wrapping_add(record_digest(&self.context.cluster, table, key, value));
            let record = before.get(..before.len() - rest.0.len()).unwrap_or_default();
            if parts.last().is_some_and(|(_, bytes)| bytes.len() + record.len() > CHUNK_BYTES_MAX) {
                parts.push((0, Vec::new()));
            }
            if let Some((count, bytes)) = parts.last_mut() {
                *count += 1;
                bytes.extend_from_slice(record);
            }
        }
        let last = parts.len() - 1;
        for (at, (count, body)) in parts.iter().enumerate() {
            self.write_chunk(table, u16::from(at != last), from, to, *count, body)?;
        }
        Ok(())
    }

    fn write_chunk(
        &mut self,
        table: u16,
        flags: u16,
        from: usize,
        to: usize,
        count: u32,
        body: &[u8],
    ) -> io::Result<()> {
        let mut checked = Vec::with_capacity(CHUNK_HEADER - 8);
        checked.extend_from_slice(&self.salt_tag);
        checked.extend_from_slice(&self.chunks.to_le_bytes());
        checked.extend_from_slice(&table.to_le_bytes());
        checked.extend_from_slice(&flags.to_le_bytes());
        checked.extend_from_slice(&(from as u16).to_le_bytes());
        checked.extend_from_slice(&(to as u16).to_le_bytes());
        checked.extend_from_slice(&count.to_le_bytes());
        checked.extend_from_slice(&(body.len() as u32).to_le_bytes());
        checked.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
        checked.extend_from_slice(&[0; 4]);
        let mut out = Vec::with_capacity(CHUNK_HEADER + body.len());
        out.extend_from_slice(b"PCC1");
        out.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
        out.extend_from_slice(&checked);
        out.extend_from_slice(body);
        self.file.write_at(&out, self.offset)?;
        self.offset += out.len() as u64;
        self.chunks += 1;
        if self.offset - self.synced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = self.offset;
        }
        Ok(())
    }

    /// Writes the footer, syncs the file and reads all of it back. It has no final name yet: see
    /// [`UnnamedSnapshot::name`].
    pub fn finish(self, end_seq: u64, max_wall_ms: u64) -> Result<UnnamedSnapshot, Unreadable> {
        self.finish_paced(end_seq, max_wall_ms, &|| ())
    }

    /// Does the same as [`SnapshotWriter::finish`], and calls `step` after each record that is read back.
    pub(super) fn finish_paced(
        self,
        end_seq: u64,
        max_wall_ms: u64,
        step: &dyn Fn(),
    ) -> Result<UnnamedSnapshot, Unreadable> {
        let file_len = self.offset + FOOTER as u64;
        let mut checked = Vec::with_capacity(FOOTER - 8);
        checked.extend_from_slice(&self.salt_tag);
        for field in [self.start_seq, end_seq, max_wall_ms, self.chunks, file_len] {
            checked.extend_from_slice(&field.to_le_bytes());
        }
        checked.extend_from_slice(&self.digest.to_le_bytes());
        checked.extend_from_slice(&(self.tables.len() as u32).to_le_bytes());
        checked.extend_from_slice(&[0; 4]);
        for (table, (schema, records)) in &self.tables {
            checked.extend_from_slice(&table.to_le_bytes());
            checked.extend_from_slice(&schema.to_le_bytes());
            checked.extend_from_slice(&[0; 4]);
            checked.extend_from_slice(&records.to_le_bytes());
        }
        checked.resize(FOOTER - 8, 0);
        let mut out = Vec::with_capacity(FOOTER);
        out.extend_from_slice(b"PCE1");
        out.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
        out.extend_from_slice(&checked);
        self.file.write_at(&out, self.offset)?;
        self.file.sync_data()?;
        // Otherwise the page cache would be read back and not the disk.
        self.file.forget_cache()?;
        if !seeded(Bug::SnapshotNotReadBack) {
            read(&*self.file, Some(self.context.cluster), &mut |_, _, _, _| {
                step();
                Ok(())
            })?;
        }
        Ok(UnnamedSnapshot { context: self.context, temporary: self.temporary, end_seq, bytes: file_len })
    }
}

/// Deletes an unfinished snapshot: the disk may be full.
pub fn abandon(storage: &dyn Storage) {
    // If that fails, the next start sweeps it.
    let _ = storage.unlink(&join(SNAPSHOT_DIR, TEMPORARY));
}

/// A snapshot that is complete and was read back, and waits for its end to be durable.
#[must_use = "without its name a snapshot is swept at the next start"]
pub struct UnnamedSnapshot {
    context: JournalContext,
    temporary: String,
    end_seq: u64,
    bytes: u64,
}

impl UnnamedSnapshot {
    /// Returns the sequence that must be durable before [`UnnamedSnapshot::name`].
    pub const fn end_seq(&self) -> u64 {
        self.end_seq
    }

    /// Returns the length of the file in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the path of the file, which has a temporary name until the snapshot is complete.
    pub fn path(&self) -> &str {
        &self.temporary
    }

    /// Moves the file to quarantine, where no start reads it, so that the mistake can be looked for. Only the first of
    /// several is kept; a later one is deleted.
    pub fn set_aside(self) -> io::Result<()> {
        let storage = &*self.context.storage;
        storage.create_dir(QUARANTINE_DIR)?;
        if storage.list(QUARANTINE_DIR)?.iter().any(|name| name == DISPROVED) {
            return storage.unlink(&self.temporary);
        }
        storage.rename(&self.temporary, &join(QUARANTINE_DIR, DISPROVED))?;
        storage.sync_dir(QUARANTINE_DIR)
    }

    /// Gives the file its final name. `durable` is the sequence up to which the journal is durable.
    ///
    /// Errors: `durable` is below the end. A start would take such a snapshot for proof that the journal lost entries.
    pub fn name(self, durable: u64) -> io::Result<()> {
        if durable < self.end_seq && !seeded(Bug::NamedBeforeEndIsDurable) {
            return Err(io::Error::other("a snapshot gets its name only once its end is durable"));
        }
        self.context.storage.rename(&self.temporary, &snapshot_path(self.end_seq))?;
        self.context.storage.sync_dir(SNAPSHOT_DIR)
    }
}
