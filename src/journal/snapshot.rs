//! Saved state: a header block, chunks of whole buckets, a footer. No footer, no snapshot.
//!
//! A snapshot is taken while the server serves. Its start is the highest sequence assigned before the first bucket was
//! read, its end the highest assigned after the last one was; it gets its name only once its end is durable. Replay of
//! everything behind the start then gives every key its right value.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::buckets::BUCKETS;
use super::bugs::{Bug, seeded};
use super::bytes::Reader;
use super::header::{FileKind, HEADER_BYTES, Header};
use super::layout::{QUARANTINE_DIR, SNAPSHOT_DIR, by_kind, number_in, snapshot_path};
use super::segment::{Life, salt_tag};
use super::storage::{File, Storage, join, unlink_if_there};

/// The most bytes of records in one chunk.
pub const CHUNK_BYTES_MAX: usize = 262_144;
const TEMPORARY: &str = "taking.tmp";
/// What a snapshot is called that says something else than journal and older snapshots.
const DISPROVED: &str = "disproved.snap";
const CHUNK_HEADER: usize = 48;
const FOOTER: usize = 4096;
const TABLES_MAX: usize = 250;
/// Synced so often, so that the file system does not hold up the journal behind it.
const SYNC_EVERY: u64 = 2 << 20;

/// Records of consecutive buckets of one table, as they stand in a chunk.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    count: u32,
    digest: u128,
}

impl Records {
    /// Adds one; the lengths are those an entry was allowed.
    pub fn add(&mut self, cluster: &[u8; 16], table: u16, schema: u16, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(&schema.to_le_bytes());
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.count += 1;
        self.digest = self.digest.wrapping_add(record_digest(cluster, table, key, value));
    }

    /// Puts `others` behind these.
    pub fn join(&mut self, others: Self) {
        self.bytes.extend_from_slice(&others.bytes);
        self.count += others.count;
        self.digest = self.digest.wrapping_add(others.digest);
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
pub struct Taking {
    life: Life,
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

impl Taking {
    /// Begins one. `start_seq` was read before any owner was asked for a bucket.
    pub fn begin(life: &Life, start_seq: u64) -> io::Result<Self> {
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
        self.digest = self.digest.wrapping_add(records.digest);
        // A bucket that is longer than a chunk goes into several; all but the last say that more of it follows.
        let mut rest = Reader(&records.bytes);
        let mut parts = vec![(0_u32, Vec::new())];
        while !rest.0.is_empty() {
            let (record, after) =
                split_record(rest).ok_or_else(|| io::Error::other("record of no length"))?;
            rest = after;
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

    /// Writes the footer and reads the whole file back. It has no name yet: see [`Taken::name`].
    pub fn finish(self, end_seq: u64, max_wall_ms: u64) -> Result<Taken, Unreadable> {
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
            read(&*self.file, Some(self.life.cluster), &mut |_, _, _, _| Ok(()))?;
        }
        Ok(Taken { life: self.life, temporary: self.temporary, end_seq, bytes: file_len })
    }
}

/// Takes the bytes of an unfinished snapshot off the disk, which may be full.
pub fn abandon(storage: &dyn Storage) {
    // What cannot be removed now is swept at the next start.
    let _ = storage.unlink(&join(SNAPSHOT_DIR, TEMPORARY));
}

/// A snapshot that is whole and verified, and waits for its end to be durable.
#[must_use = "without its name a snapshot is swept at the next start"]
pub struct Taken {
    life: Life,
    temporary: String,
    end_seq: u64,
    bytes: u64,
}

impl Taken {
    /// What must be durable before [`Taken::name`].
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

/// What a snapshot says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Everything up to it is in the snapshot.
    pub start_seq: u64,
    /// Nothing behind it is.
    pub end_seq: u64,
    /// The latest time seen when it was taken.
    pub max_wall_ms: u64,
    /// Records in all tables.
    pub records: u64,
    /// Sum of the records' digests: free of order, comparable between files.
    pub digest: u128,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why a snapshot is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The header block.
    #[error(transparent)]
    Header(#[from] super::header::HeaderError),
    /// Another installation's.
    #[error("belongs to another installation")]
    Foreign,
    /// Damaged.
    #[error("damaged at byte {0}: {1}")]
    Damaged(u64, &'static str),
    /// A record is none that this version knows.
    #[error("record at byte {0}: {1}")]
    Record(u64, String),
    /// The file cannot be read.
    #[error("cannot read")]
    Io(#[from] io::Error),
}

/// What is called with table, schema, key and value of each record.
pub type Apply<'a> = dyn FnMut(u16, u16, &[u8], &[u8]) -> Result<(), String> + 'a;

/// Reads a whole snapshot, checking everything, and gives each record to `apply`. Whoever must not be told of records
/// of a file that turns out to be damaged later reads it twice.
pub fn read(
    file: &dyn File,
    cluster: Option<[u8; 16]>,
    apply: &mut Apply<'_>,
) -> Result<Summary, Unreadable> {
    let len = file.length()?;
    let damaged = |at, why| Unreadable::Damaged(at, why);
    let footer_at = len.checked_sub(FOOTER as u64).filter(|at| *at >= HEADER_BYTES as u64);
    let footer_at = footer_at.ok_or(damaged(len, "shorter than header and footer"))?;
    let mut block = [0; HEADER_BYTES];
    file.read_at(&mut block, 0)?;
    let header = Header::read(FileKind::Snapshot, &block)?;
    if cluster.is_some_and(|cluster| cluster != header.cluster) {
        return Err(Unreadable::Foreign);
    }
    let salt_tag = salt_tag(&header);
    let mut footer = [0; FOOTER];
    file.read_at(&mut footer, footer_at)?;
    let footer = Footer::read(&footer, salt_tag).ok_or(damaged(footer_at, "no footer"))?;
    let mut fields = Reader(&header.by_kind);
    let agrees = fields.u64() == Some(footer.start_seq)
        && fields.u32() == Some(BUCKETS as u32)
        && fields.u32() == Some(CHUNK_BYTES_MAX as u32)
        && footer.file_len == len
        && footer.start_seq <= footer.end_seq;
    if !agrees {
        return Err(damaged(footer_at, "footer and header disagree"));
    }

    let mut at = HEADER_BYTES as u64;
    let mut covered: BTreeMap<u16, (u16, bool, u64)> = BTreeMap::new();
    let mut digest = 0_u128;
    let mut body = Vec::new();
    for chunk_no in 0..footer.chunks {
        let mut head = [0; CHUNK_HEADER];
        if at + CHUNK_HEADER as u64 > footer_at {
            return Err(damaged(at, "chunk missing"));
        }
        file.read_at(&mut head, at)?;
        let chunk = Chunk::read(&head, salt_tag, chunk_no).ok_or(damaged(at, "chunk header"))?;
        if at + (CHUNK_HEADER + chunk.body_len) as u64 > footer_at {
            return Err(damaged(at, "chunk goes past the footer"));
        }
        body.resize(chunk.body_len, 0);
        file.read_at(&mut body, at + CHUNK_HEADER as u64)?;
        if crc32c::crc32c(&body) != chunk.body_crc {
            return Err(damaged(at, "chunk body"));
        }
        let (next, unfinished, records) = covered.entry(chunk.table).or_insert((0, false, 0));
        // Either the next buckets, or more of the same.
        if chunk.from != *next || chunk.to <= chunk.from {
            return Err(damaged(at, "buckets left out or repeated"));
        }
        *unfinished = chunk.more;
        if !chunk.more {
            *next = chunk.to;
        }
        *records += u64::from(chunk.records);
        let mut rest = Reader(&body);
        for _ in 0..chunk.records {
            let (schema, key, value) = read_record(&mut rest).ok_or(damaged(at, "record"))?;
            digest = digest.wrapping_add(record_digest(&header.cluster, chunk.table, key, value));
            apply(chunk.table, schema, key, value).map_err(|why| Unreadable::Record(at, why))?;
        }
        if !rest.0.is_empty() {
            return Err(damaged(at, "bytes behind the last record"));
        }
        at += (CHUNK_HEADER + chunk.body_len) as u64;
    }
    let whole = covered.values().all(|(next, unfinished, _)| *next == BUCKETS as u16 && !unfinished);
    let counted: Vec<_> = covered.iter().map(|(table, (_, _, records))| (*table, *records)).collect();
    if at != footer_at || !whole || counted != footer.tables || digest != footer.digest {
        return Err(damaged(footer_at, "footer does not agree with the chunks"));
    }
    Ok(Summary {
        start_seq: footer.start_seq,
        end_seq: footer.end_seq,
        max_wall_ms: footer.max_wall_ms,
        records: counted.iter().map(|(_, records)| records).sum(),
        digest,
        bytes: len,
    })
}

/// Deletes all named snapshots but the newest two, and says where the older of the two begins: segments before that
/// are needed by nobody.
pub fn keep_two(storage: &dyn Storage, cluster: [u8; 16]) -> Result<u64, Unreadable> {
    let mut numbers: Vec<u64> =
        storage.list(SNAPSHOT_DIR)?.iter().filter_map(|name| number_in(name, ".snap")).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let mut start = 0;
    if let Some(older) = numbers.get(1) {
        let file = storage.open(&snapshot_path(*older))?;
        start = read(&*file, Some(cluster), &mut |_, _, _, _| Ok(()))?.start_seq;
    }
    let kept = if seeded(Bug::OneSnapshotKept) { 1 } else { 2 };
    for number in numbers.iter().skip(kept).rev() {
        storage.unlink(&snapshot_path(*number))?;
    }
    storage.sync_dir(SNAPSHOT_DIR)?;
    Ok(start)
}

struct Chunk {
    table: u16,
    more: bool,
    from: u16,
    to: u16,
    records: u32,
    body_len: usize,
    body_crc: u32,
}

impl Chunk {
    fn read(head: &[u8; CHUNK_HEADER], salt_tag: [u8; 8], chunk_no: u64) -> Option<Self> {
        let mut reader = Reader(head);
        let magic = reader.array::<4>()?;
        let crc = reader.u32()?;
        if &magic != b"PCC1" || crc32c::crc32c(reader.0) != crc {
            return None;
        }
        let own = reader.array::<8>()? == salt_tag && reader.u64()? == chunk_no;
        let (table, flags) = (reader.u16()?, reader.u16()?);
        let (from, to, records) = (reader.u16()?, reader.u16()?, reader.u32()?);
        let (body_len, body_crc) = (reader.u32()? as usize, reader.u32()?);
        let sound = own
            && flags <= 1
            && usize::from(to) <= BUCKETS
            && body_len <= CHUNK_BYTES_MAX
            && reader.rest_is_zero();
        sound.then_some(Self { table, more: flags == 1, from, to, records, body_len, body_crc })
    }
}

struct Footer {
    start_seq: u64,
    end_seq: u64,
    max_wall_ms: u64,
    chunks: u64,
    file_len: u64,
    digest: u128,
    tables: Vec<(u16, u64)>,
}

impl Footer {
    fn read(bytes: &[u8; FOOTER], salt_tag: [u8; 8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let magic = reader.array::<4>()?;
        let crc = reader.u32()?;
        if &magic != b"PCE1" || crc32c::crc32c(reader.0) != crc || reader.array::<8>()? != salt_tag {
            return None;
        }
        let (start_seq, end_seq, max_wall_ms) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let (chunks, file_len) = (reader.u64()?, reader.u64()?);
        let digest = u128::from_le_bytes(reader.array()?);
        let tables = reader.u32()? as usize;
        if reader.u32()? != 0 || tables > TABLES_MAX {
            return None;
        }
        let tables = (0..tables)
            .map(|_| {
                let (table, _schema) = (reader.u16()?, reader.u16()?);
                let zero = reader.u32()? == 0;
                zero.then_some((table, reader.u64()?))
            })
            .collect::<Option<_>>()?;
        reader.rest_is_zero().then_some(Self {
            start_seq,
            end_seq,
            max_wall_ms,
            chunks,
            file_len,
            digest,
            tables,
        })
    }
}

fn split_record(reader: Reader<'_>) -> Option<(&[u8], Reader<'_>)> {
    let mut after = reader;
    read_record(&mut after)?;
    let len = reader.0.len() - after.0.len();
    Some((reader.0.get(..len)?, after))
}

fn read_record<'a>(reader: &mut Reader<'a>) -> Option<(u16, &'a [u8], &'a [u8])> {
    let schema = reader.u16()?;
    let (klen, vlen) = (usize::from(reader.u16()?), reader.u32()? as usize);
    Some((schema, reader.take(klen)?, reader.take(vlen)?))
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
