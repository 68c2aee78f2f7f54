//! Reading a snapshot: header, footer and the headers of all chunks first, which must agree; then the records.

use std::collections::BTreeMap;
use std::io;

use super::{CHUNK_BYTES_MAX, CHUNK_HEADER, FOOTER, record_digest};
use crate::journal::context::salt_tag;
use crate::journal::format::buckets::BUCKETS;
use crate::journal::format::bytes::Reader;
use crate::journal::format::header::{FileKind, HEADER_BYTES, Header};
use crate::storage::File;

const TABLES_MAX: usize = 250;
/// From so many bytes on threads of their own are worth their while.
const PARALLEL_FROM: u64 = 4 << 20;

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
    Header(#[from] crate::journal::format::header::HeaderError),
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
/// of a file that turns out to be damaged later asks [`verify`] first.
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

/// Checks everything, a part of the file on each core.
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

/// Reads again what [`verify`] has just believed. The digest of its records is not worked out again; each chunk is checked.
pub fn read_verified(
    file: &dyn File,
    cluster: Option<[u8; 16]>,
    apply: &mut Apply<'_>,
) -> Result<(), Unreadable> {
    let contents = Contents::read(file, cluster)?;
    contents.records(&contents.chunks, apply)
}

/// Header, footer and the headers of all chunks, which agree with each other.
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
            // Either the next buckets, or more of the same.
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

    /// Gives each record of some chunks to `apply`.
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
                return Err(damaged(chunk.at, "bytes behind the last record"));
            }
        }
        Ok(())
    }

    fn digest(&self, chunks: &[Chunk]) -> Result<u128, Unreadable> {
        let mut digest = 0_u128;
        self.records(chunks, &mut |table, _, key, value| {
            digest = digest.wrapping_add(record_digest(&self.cluster, table, key, value));
            Ok(())
        })?;
        Ok(digest)
    }

    /// What it says of itself, if the digest of all records is the one it names.
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

struct Chunk {
    at: u64,
    table: u16,
    more: bool,
    from: u16,
    to: u16,
    records: u32,
    body_len: usize,
    body_crc: u32,
}

impl Chunk {
    fn read(head: &[u8; CHUNK_HEADER], salt_tag: [u8; 8], chunk_no: u64, at: u64) -> Option<Self> {
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
        sound.then_some(Self { at, table, more: flags == 1, from, to, records, body_len, body_crc })
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

pub(super) fn read_record<'a>(reader: &mut Reader<'a>) -> Option<(u16, &'a [u8], &'a [u8])> {
    let schema = reader.u16()?;
    let (klen, vlen) = (usize::from(reader.u16()?), reader.u32()? as usize);
    Some((schema, reader.take(klen)?, reader.take(vlen)?))
}
