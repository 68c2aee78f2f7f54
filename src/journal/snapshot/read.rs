//! The reader of snapshots. It checks the header, the footer and the headers of all chunks against each other first,
//! and reads the records then.

use std::collections::BTreeMap;
use std::io;

use super::format::{CHUNK_BYTES_MAX, CHUNK_HEADER, FOOTER, read_record, record_digest};
use crate::journal::context::salt_tag;
use crate::journal::format::buckets::BUCKETS;
use crate::journal::format::bytes::Reader;
use crate::journal::format::header::{FileKind, HEADER_BYTES, Header};
use crate::storage::File;

/// The footer has room for this many tables.
const TABLES_MAX: usize = 250;
/// From this length in bytes on, several threads check a file: below it, starting them costs more than they save.
const PARALLEL_FROM: u64 = 4 << 20;

/// The figures of a snapshot that was checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Every entry up to this sequence is in the snapshot.
    pub start_seq: u64,
    /// No entry after this sequence is in the snapshot.
    pub end_seq: u64,
    /// The wall-clock time at the end of the snapshot, in milliseconds since 1970.
    pub max_wall_ms: u64,
    /// The number of records in all tables.
    pub records: u64,
    /// The sum of the digests of all records. It does not depend on their order, so files can be compared.
    pub digest: u128,
    /// The length of the file in bytes.
    pub bytes: u64,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The header block is damaged or was written by a newer version.
    #[error(transparent)]
    Header(#[from] crate::journal::format::header::HeaderError),
    /// It was taken by another installation.
    #[error("belongs to another installation")]
    Foreign,
    /// Its bytes disagree with the format: the offset and the part.
    #[error("damaged at byte {0}: {1}")]
    Damaged(u64, &'static str),
    /// The owner of the state refused a record: the offset of its chunk and the reason.
    #[error("record at byte {0}: {1}")]
    Record(u64, String),
    /// The file cannot be read.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
}

/// A function that is called with the table, schema, key and value of each record.
pub type Apply<'a> = dyn FnMut(u16, u16, &[u8], &[u8]) -> Result<(), String> + 'a;

/// Reads a whole snapshot, checks everything, and gives each record to `apply`.
///
/// A damaged chunk shows only when it is reached. A caller that must not see records of a damaged file calls [`verify`]
/// first.
pub fn read(
    file: &dyn File,
    cluster: Option<[u8; 16]>,
    apply: &mut Apply<'_>,
) -> Result<Summary, Unreadable> {
    let contents = Contents::read(file, cluster)?;
    let mut digest = 0_u128;
    contents.records(&contents.chunks, &mut |table, schema, key, value| {
        digest = digest.wrapping_add(record_digest(&contents.cluster, table, key, value));
        apply(table, schema, key, value)
    })?;
    contents.summary(digest)
}

/// Checks everything, with one thread for each core if the file is long.
pub fn verify(file: &dyn File, cluster: Option<[u8; 16]>) -> Result<Summary, Unreadable> {
    let contents = Contents::read(file, cluster)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let parts = if contents.len > PARALLEL_FROM { cores } else { 1 };
    let mut parts = contents.chunks.chunks(contents.chunks.len().div_ceil(parts).max(1));
    let own = parts.next().unwrap_or_default();
    let digest = std::thread::scope(|scope| {
        let others: Vec<_> = parts.map(|part| scope.spawn(|| contents.digest(part))).collect();
        let own = contents.digest(own)?;
        others.into_iter().try_fold(own, |sum, other| {
            let part = other.join().map_err(|_| io::Error::other("a thread panicked"))??;
            Ok::<_, Unreadable>(sum.wrapping_add(part))
        })
    })?;
    contents.summary(digest)
}

/// Reads a snapshot that [`verify`] has just checked, and gives each record to `apply`. Checks each chunk again, but
/// does not compute the digest of the records a second time.
pub fn read_verified(
    file: &dyn File,
    cluster: Option<[u8; 16]>,
    apply: &mut Apply<'_>,
) -> Result<(), Unreadable> {
    let contents = Contents::read(file, cluster)?;
    contents.records(&contents.chunks, apply)
}

/// The header, the footer and the headers of all chunks of a snapshot, which agree with each other.
pub(super) struct Contents<'a> {
    file: &'a dyn File,
    len: u64,
    cluster: [u8; 16],
    footer: Footer,
    chunks: Vec<Chunk>,
}

impl<'a> Contents<'a> {
    pub(super) fn read(file: &'a dyn File, cluster: Option<[u8; 16]>) -> Result<Self, Unreadable> {
        let len = file.length()?;
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
        let mut chunks = Vec::new();
        let mut covered: BTreeMap<u16, (u16, u64)> = BTreeMap::new();
        for chunk_no in 0..footer.chunks {
            let mut head = [0; CHUNK_HEADER];
            if at + CHUNK_HEADER as u64 > footer_at {
                return Err(damaged(at, "chunk missing"));
            }
            file.read_at(&mut head, at)?;
            let chunk = Chunk::read(&head, salt_tag, chunk_no, at).ok_or(damaged(at, "chunk header"))?;
            let (next, records) = covered.entry(chunk.table).or_insert((0, 0));
            // A chunk continues with the next buckets, or has more records of the same ones.
            if chunk.from != *next || chunk.to <= chunk.from {
                return Err(damaged(at, "buckets left out or repeated"));
            }
            if !chunk.more {
                *next = chunk.to;
            }
            *records += u64::from(chunk.records);
            at += (CHUNK_HEADER + chunk.body_len) as u64;
            if at > footer_at {
                return Err(damaged(chunk.at, "chunk goes past the footer"));
            }
            chunks.push(chunk);
        }
        let whole = covered.values().all(|(next, _)| *next == BUCKETS as u16);
        let counted = covered.iter().map(|(table, (_, records))| (*table, *records));
        if at != footer_at || !whole || !counted.eq(footer.tables.iter().copied()) {
            return Err(damaged(footer_at, "footer does not agree with the chunks"));
        }
        Ok(Self { file, len, cluster: header.cluster, footer, chunks })
    }

    pub(super) const fn start_seq(&self) -> u64 {
        self.footer.start_seq
    }

    /// Gives each record of `chunks` to `apply`.
    fn records(&self, chunks: &[Chunk], apply: &mut Apply<'_>) -> Result<(), Unreadable> {
        let mut body = Vec::new();
        for chunk in chunks {
            body.resize(chunk.body_len, 0);
            self.file.read_at(&mut body, chunk.at + CHUNK_HEADER as u64)?;
            if crc32c::crc32c(&body) != chunk.body_crc {
                return Err(damaged(chunk.at, "chunk body"));
            }
            let mut rest = Reader(&body);
            for _ in 0..chunk.records {
                let (schema, key, value) = read_record(&mut rest).ok_or(damaged(chunk.at, "record"))?;
                apply(chunk.table, schema, key, value).map_err(|why| Unreadable::Record(chunk.at, why))?;
            }
            if !rest.0.is_empty() {
                return Err(damaged(chunk.at, "bytes after the last record"));
            }
        }
        Ok(())
    }

    /// Returns the sum of the digests of the records of `chunks`.
    fn digest(&self, chunks: &[Chunk]) -> Result<u128, Unreadable> {
        let mut digest = 0_u128;
        self.records(chunks, &mut |table, _, key, value| {
            digest = digest.wrapping_add(record_digest(&self.cluster, table, key, value));
            Ok(())
        })?;
        Ok(digest)
    }

    /// Returns the figures of the snapshot, if `digest` is the one that the footer names.
    fn summary(&self, digest: u128) -> Result<Summary, Unreadable> {
        let Footer { start_seq, end_seq, max_wall_ms, .. } = self.footer;
        if digest != self.footer.digest {
            return Err(damaged(self.len - FOOTER as u64, "footer does not agree with the chunks"));
        }
        let records = self.footer.tables.iter().map(|(_, records)| records).sum();
        Ok(Summary { start_seq, end_seq, max_wall_ms, records, digest, bytes: self.len })
    }
}

const fn damaged(at: u64, what: &'static str) -> Unreadable {
    Unreadable::Damaged(at, what)
}

/// The header of one chunk.
struct Chunk {
    /// The offset of the chunk in the file.
    at: u64,
    table: u16,
    /// Whether the next chunk has more records of the same buckets.
    more: bool,
    /// The first bucket.
    from: u16,
    /// The bucket after the last one.
    to: u16,
    records: u32,
    body_len: usize,
    body_crc: u32,
}

impl Chunk {
    /// Reads a chunk header; `None` if it is damaged or is not the header of chunk `chunk_no` of this file.
    fn read(head: &[u8; CHUNK_HEADER], salt_tag: [u8; 8], chunk_no: u64, at: u64) -> Option<Self> {
        let mut reader = Reader(head);
        let magic = reader.array::<4>()?;
        let crc = reader.u32()?;
        if &magic != b"PCC1" || crc32c::crc32c(reader.0) != crc {
            return None;
        }
        let own = reader.array::<8>()? == salt_tag && reader.u64()? == chunk_no;
        let table = reader.u16()?;
        let flags = reader.u16()?;
        let from = reader.u16()?;
        let to = reader.u16()?;
        let records = reader.u32()?;
        let body_len = reader.u32()? as usize;
        let body_crc = reader.u32()?;
        let sound = own
            && flags <= 1
            && usize::from(to) <= BUCKETS
            && body_len <= CHUNK_BYTES_MAX
            && reader.rest_is_zero();
        sound.then_some(Self { at, table, more: flags == 1, from, to, records, body_len, body_crc })
    }
}

/// The footer of a snapshot.
struct Footer {
    start_seq: u64,
    end_seq: u64,
    max_wall_ms: u64,
    chunks: u64,
    file_len: u64,
    digest: u128,
    /// The number and the record count of each table.
    tables: Vec<(u16, u64)>,
}

impl Footer {
    /// Reads a footer; `None` if it is damaged or belongs to another file.
    fn read(bytes: &[u8; FOOTER], salt_tag: [u8; 8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let magic = reader.array::<4>()?;
        let crc = reader.u32()?;
        if &magic != b"PCE1" || crc32c::crc32c(reader.0) != crc || reader.array::<8>()? != salt_tag {
            return None;
        }
        let start_seq = reader.u64()?;
        let end_seq = reader.u64()?;
        let max_wall_ms = reader.u64()?;
        let chunks = reader.u64()?;
        let file_len = reader.u64()?;
        let digest = u128::from_le_bytes(reader.array()?);
        let tables = reader.u32()? as usize;
        if reader.u32()? != 0 || tables > TABLES_MAX {
            return None;
        }
        let tables = (0..tables)
            .map(|_| {
                let table = reader.u16()?;
                let _schema = reader.u16()?;
                let is_zero = reader.u32()? == 0;
                is_zero.then_some((table, reader.u64()?))
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
