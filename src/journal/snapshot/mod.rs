//! Saved state: a header block, chunks of whole buckets, a footer. No footer, no snapshot.
//!
//! A snapshot is taken while the server serves. Its start is the highest sequence assigned before the first bucket was
//! read, its end the highest assigned after the last one was; it gets its name only once its end is durable. Replay of
//! everything behind the start then gives every key its right value.

pub mod proof;
mod read;
pub mod run;
pub mod schedule;
pub mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::context::{JournalContext, salt_tag};
use super::format::buckets::BUCKETS;
use super::format::bytes::Reader;
use super::format::header::by_kind;
use super::format::header::{FileKind, HEADER_BYTES, Header};
use super::format::layout::{QUARANTINE_DIR, SNAPSHOT_DIR, numbers, snapshot_path};
use crate::journal::snapshot::status::Named;
use crate::storage::{File, Storage, join, unlink_if_there};
use crate::system::clock::Timestamp;
use crate::system::seeded_bug::{Bug, seeded};
pub use read::{Apply, Summary, Unreadable, read, read_verified, verify};
use read::{Contents, read_record};

/// The most bytes of records in one chunk.
pub const CHUNK_BYTES_MAX: usize = 262_144;
const TEMPORARY: &str = "taking.tmp";
/// What a snapshot is called that says something else than journal and older snapshots.
const DISPROVED: &str = "disproved.snap";
const CHUNK_HEADER: usize = 48;
const FOOTER: usize = 4096;
/// Synced so often, so that the file system does not hold up the journal behind it.
const SYNC_EVERY: u64 = 2 << 20;

/// Records of consecutive buckets of one table, as they stand in a chunk.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    count: u32,
}

impl Records {
    /// Adds one; the lengths are those an entry was allowed.
    pub fn add(&mut self, schema: u16, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(&schema.to_le_bytes());
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.count += 1;
    }

    /// Puts `others` behind these.
    pub fn join(&mut self, others: Self) {
        self.bytes.extend_from_slice(&others.bytes);
        self.count += others.count;
    }

    /// Bytes they take.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A snapshot that is being written under a temporary name.
pub struct SnapshotWriter {
    life: JournalContext,
    file: Arc<dyn File>,
    temporary: String,
    salt_tag: [u8; 8],
    start_seq: u64,
    offset: u64,
    synced: u64,
    chunks: u64,
    digest: u128,
    tables: BTreeMap<u16, (u16, u64)>,
}

impl SnapshotWriter {
    /// Begins one. `start_seq` was read before any owner was asked for a bucket.
    pub fn begin(life: &JournalContext, start_seq: u64) -> io::Result<Self> {
        let temporary = join(SNAPSHOT_DIR, TEMPORARY);
        unlink_if_there(&*life.storage, &temporary)?;
        let fields = [
            &start_seq.to_le_bytes()[..],
            &(BUCKETS as u32).to_le_bytes(),
            &(CHUNK_BYTES_MAX as u32).to_le_bytes(),
        ];
        let header = life.header(FileKind::Snapshot, &by_kind(&fields))?;
        let file = life.storage.create_new(&temporary)?;
        file.write_at(&header.to_bytes(), 0)?;
        Ok(Self {
            life: life.clone(),
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

    /// Writes the records of buckets `from..to` of a table; `schema` is the newest of the table. Ranges come in
    /// ascending order and leave nothing out.
    pub fn chunk(
        &mut self,
        table: u16,
        schema: u16,
        from: usize,
        to: usize,
        records: &Records,
    ) -> io::Result<()> {
        let counted = self.tables.entry(table).or_insert((schema, 0));
        counted.1 += u64::from(records.count);
        // A bucket that is longer than a chunk goes into several; all but the last say that more of it follows.
        let mut rest = Reader(&records.bytes);
        let mut parts = vec![(0_u32, Vec::new())];
        while !rest.0.is_empty() {
            let before = rest.0;
            let (_, key, value) =
                read_record(&mut rest).ok_or_else(|| io::Error::other("record of no length"))?;
            self.digest = self.digest.wrapping_add(record_digest(&self.life.cluster, table, key, value));
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

    /// Writes the footer and reads the whole file back. It has no name yet: see [`UnnamedSnapshot::name`].
    pub fn finish(self, end_seq: u64, max_wall_ms: u64) -> Result<UnnamedSnapshot, Unreadable> {
        self.finish_paced(end_seq, max_wall_ms, &|| ())
    }

    /// Likewise; `step` is called between two steps of the reading.
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
        self.file.forget_cache()?;
        if !seeded(Bug::SnapshotNotReadBack) {
            read(&*self.file, Some(self.life.cluster), &mut |_, _, _, _| {
                step();
                Ok(())
            })?;
        }
        Ok(UnnamedSnapshot { life: self.life, temporary: self.temporary, end_seq, bytes: file_len })
    }
}

/// Takes the bytes of an unfinished snapshot off the disk, which may be full.
pub fn abandon(storage: &dyn Storage) {
    // What cannot be removed now is swept at the next start.
    let _ = storage.unlink(&join(SNAPSHOT_DIR, TEMPORARY));
}

/// A snapshot that is whole and verified, and waits for its end to be durable.
#[must_use = "without its name a snapshot is swept at the next start"]
pub struct UnnamedSnapshot {
    life: JournalContext,
    temporary: String,
    end_seq: u64,
    bytes: u64,
}

impl UnnamedSnapshot {
    /// What must be durable before [`UnnamedSnapshot::name`].
    pub const fn end_seq(&self) -> u64 {
        self.end_seq
    }

    /// Bytes of the file.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it lies until it has its name.
    pub fn path(&self) -> &str {
        &self.temporary
    }

    /// Keeps it for whoever looks for the mistake, where no start reads it; the first of several.
    pub fn set_aside(self) -> io::Result<()> {
        let storage = &*self.life.storage;
        storage.create_dir(QUARANTINE_DIR)?;
        if storage.list(QUARANTINE_DIR)?.iter().any(|name| name == DISPROVED) {
            return storage.unlink(&self.temporary);
        }
        storage.rename(&self.temporary, &join(QUARANTINE_DIR, DISPROVED))?;
        storage.sync_dir(QUARANTINE_DIR)
    }

    /// Gives the file its name; `durable` is the sequence that is durable by now.
    pub fn name(self, durable: u64) -> io::Result<()> {
        if durable < self.end_seq && !seeded(Bug::NamedBeforeEndIsDurable) {
            return Err(io::Error::other("a snapshot gets its name only once its end is durable"));
        }
        self.life.storage.rename(&self.temporary, &snapshot_path(self.end_seq))?;
        self.life.storage.sync_dir(SNAPSHOT_DIR)
    }
}

/// The newest one that has a name, if its header can be read.
pub fn newest(storage: &dyn Storage) -> Option<Named> {
    let number = numbers(storage, SNAPSHOT_DIR, ".snap").ok()?.pop()?;
    let file = storage.open(&snapshot_path(number)).ok()?;
    let mut block = [0; HEADER_BYTES];
    file.read_at(&mut block, 0).ok()?;
    let header = Header::read(FileKind::Snapshot, &block).ok()?;
    Some(Named { bytes: file.length().ok()?, begun: Timestamp(header.created_ms) })
}

/// Deletes all named snapshots but the newest two, and says where the older of the two begins: segments before that
/// are needed by nobody. Both have just been proved.
pub fn keep_two(storage: &dyn Storage, cluster: [u8; 16]) -> Result<u64, Unreadable> {
    let mut numbers = numbers(storage, SNAPSHOT_DIR, ".snap")?;
    numbers.reverse();
    let mut start = 0;
    if let Some(older) = numbers.get(1) {
        let file = storage.open(&snapshot_path(*older))?;
        start = Contents::read(&*file, Some(cluster))?.start_seq();
    }
    let kept = if seeded(Bug::OneSnapshotKept) { 1 } else { 2 };
    for number in numbers.iter().skip(kept).rev() {
        storage.unlink(&snapshot_path(*number))?;
    }
    storage.sync_dir(SNAPSHOT_DIR)?;
    Ok(start)
}

pub(super) fn record_digest(cluster: &[u8; 16], table: u16, key: &[u8], value: &[u8]) -> u128 {
    let mut digest = Sha256::new();
    digest.update(cluster);
    digest.update(table.to_le_bytes());
    digest.update((key.len() as u16).to_le_bytes());
    digest.update(key);
    digest.update(value);
    let bytes: [u8; 32] = digest.finalize().into();
    bytes.first_chunk::<16>().map_or(0, |first| u128::from_le_bytes(*first))
}
