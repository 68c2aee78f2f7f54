//! Reads segments and snapshots by the format alone, without the code by which recovery reads them: no table of
//! verdicts, no shared chain, other arithmetic.

use std::collections::BTreeMap;
use std::ops::Range;

use sha2::{Digest, Sha256};

use super::Disproof;
use crate::storage::{File, Storage};

const BLOCK: usize = 4096;
pub(super) const BUCKETS: u32 = 4096;
const CHUNK_HEAD: usize = 48;
/// No frame is longer.
const FRAME_MAX: u64 = 2 << 20;

/// Reads a field at its offset. Returns zero if the bytes end before, which no check below takes for a value.
fn u16_of(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|part| part.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_of(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_of(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Returns `len` bytes at `from`, or none if the bytes end before.
fn part(bytes: &[u8], from: usize, len: usize) -> &[u8] {
    bytes.get(from..from.saturating_add(len)).unwrap_or_default()
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Checks the fields that the header blocks of all files have in common.
fn block_is_sound(block: &[u8], magic: [u8; 8]) -> bool {
    block.len() == BLOCK
        && part(block, 0, 8) == magic
        && crc32c::crc32c(part(block, 12, BLOCK - 12)) == u32_of(block, 8)
        && u16_of(block, 12) >= u16_of(block, 14)
        && u16_of(block, 14) == 1
        && all_zero(part(block, 88, 8))
}

/// The fields of a segment's header that the reader needs.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub path: String,
    pub segno: u64,
    pub cluster: Vec<u8>,
    salt_tag: Vec<u8>,
    epoch: u64,
    pub first_seq: u64,
    first_batch: u64,
    prev_valid_len: usize,
    prev_last_crc: u32,
    align: usize,
    len: u64,
}

/// A table, and the schema of one of its records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Form {
    /// The number of the table.
    pub table: u16,
    /// The schema of the record.
    pub schema: u16,
}

/// A function that is called with each record of a snapshot: form, key, value and the digest of these.
pub(super) type VisitRecord<'a> = dyn FnMut(Form, &[u8], &[u8], u128) + 'a;

/// A function that is called with each write of an entry: sequence, form, key, value or `None` for a removal.
pub(super) type VisitWrite<'a> = dyn FnMut(u64, Form, &[u8], Option<&[u8]>) + 'a;

impl Segment {
    pub(super) fn open(storage: &dyn Storage, name: &str) -> Result<Self, Disproof> {
        let path = format!("journal/{name}");
        let file = storage.open(&path).map_err(Disproof::io(&path))?;
        let mut block = vec![0; BLOCK];
        file.read_at(&mut block, 0).map_err(Disproof::io(&path))?;
        let segment = Self {
            segno: u64_of(&block, 96),
            cluster: part(&block, 16, 16).to_vec(),
            salt_tag: part(&block, 56, 8).to_vec(),
            epoch: u64_of(&block, 40),
            first_seq: u64_of(&block, 112),
            first_batch: u64_of(&block, 120),
            prev_valid_len: u64_of(&block, 136) as usize,
            prev_last_crc: u32_of(&block, 144),
            align: u32_of(&block, 148) as usize,
            len: u64_of(&block, 104),
            path,
        };
        let len = file.length().map_err(Disproof::io(&segment.path))?;
        let sound = block_is_sound(&block, *b"PCJRNL\r\n")
            && name == format!("{:016x}.log", segment.segno)
            && segment.len == len
            && segment.align.is_power_of_two();
        if sound { Ok(segment) } else { Err(Disproof::damaged(&segment.path, 0, "damaged header block")) }
    }
}

/// The end of one frame, which the next one must continue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Link {
    batch: u64,
    seq: u64,
    crc: u32,
    wall_ms: u64,
}

/// One sound frame, found at its place whatever came before it.
struct FoundFrame<'a> {
    at: usize,
    end: usize,
    crc: u32,
    head: &'a [u8],
    body: &'a [u8],
}

/// Finds every sound frame of a segment, by looking at each place where one may begin.
fn frames<'a>(bytes: &'a [u8], segment: &Segment) -> Vec<FoundFrame<'a>> {
    let mut found = Vec::new();
    let mut at = BLOCK;
    while at + 96 <= bytes.len() {
        let head = part(bytes, at, 96);
        let body_len = u32_of(head, 36) as usize;
        let end = (at + 96 + body_len).next_multiple_of(segment.align);
        let body = part(bytes, at + 96, body_len);
        let kind = u16_of(head, 80);
        let sound = part(head, 0, 4) == b"PCF1"
            && crc32c::crc32c(part(head, 8, 88)) == u32_of(head, 4)
            && part(head, 8, 8) == segment.salt_tag
            && end <= bytes.len()
            && crc32c::crc32c(body) == u32_of(head, 76)
            && all_zero(part(bytes, at + 96 + body_len, end.saturating_sub(at + 96 + body_len)))
            && all_zero(part(head, 82, 14))
            && matches!(kind, 1 | 4) == (u32_of(head, 32) > 0)
            && (1..=5).contains(&kind);
        if sound {
            found.push(FoundFrame { at, end, crc: u32_of(head, 4), head, body });
        }
        at = if sound { end } else { at + segment.align };
    }
    found
}

/// Gives every write of the entries of `segments`, which follow each other, up to the sequence `upto` to `visit`.
/// Returns the last sequence that was read.
pub(super) fn entries(
    storage: &dyn Storage,
    segments: &[Segment],
    upto: u64,
    visit: &mut VisitWrite<'_>,
) -> Result<u64, Disproof> {
    let mut link: Option<Link> = None;
    let mut epoch = 0;
    for (number, segment) in segments.iter().enumerate() {
        let path = &segment.path;
        let file = storage.open(path).map_err(Disproof::io(path))?;
        let bytes = file.read_written(FRAME_MAX).map_err(Disproof::io(path))?;
        let next = segments.get(number + 1);
        let expected = Link {
            batch: segment.first_batch,
            seq: segment.first_seq,
            crc: segment.prev_last_crc,
            wall_ms: link.map_or(0, |link| link.wall_ms),
        };
        if link.is_some_and(|link| link != expected) || segment.epoch < epoch {
            return Err(Disproof::damaged(path, 0, "does not continue the segment before it"));
        }
        epoch = segment.epoch;
        let mut now = expected;
        let mut at = BLOCK;
        let mut closed = false;
        let end = next.map_or(usize::MAX, |next| next.prev_valid_len);
        for frame in frames(&bytes, segment).iter().take_while(|frame| frame.at < end) {
            if now.seq > upto {
                // Bytes after it may be in the middle of being written.
                return Ok(upto);
            }
            let head = frame.head;
            let continues = frame.at == at
                && !closed
                && u64_of(head, 16) == now.batch
                && u64_of(head, 24) == now.seq
                && u32_of(head, 72) == now.crc
                && u64_of(head, 56) >= now.wall_ms
                && u64_of(head, 64) == epoch;
            if !continues {
                return Err(Disproof::damaged(path, at, "no frame that continues the journal"));
            }
            let count = u64::from(u32_of(head, 32));
            let mut rest = frame.body;
            for seq in now.seq..now.seq + count {
                if seq > upto {
                    return Ok(upto);
                }
                rest =
                    entry(rest, seq, visit).ok_or(Disproof::damaged(path, frame.at, "unreadable entry"))?;
            }
            if !rest.is_empty() {
                return Err(Disproof::damaged(path, frame.at, "bytes after the last entry"));
            }
            now = Link {
                batch: now.batch + 1,
                seq: now.seq + count,
                crc: frame.crc,
                wall_ms: u64_of(head, 56),
            };
            at = frame.end;
            closed = u16_of(head, 80) == 5;
        }
        if next.is_some() && at != end {
            return Err(Disproof::damaged(path, at, "ends before the place that the next segment names"));
        }
        link = Some(now);
    }
    Ok(link.map_or(0, |link| link.seq - 1))
}

/// Gives each write of the first entry in `bytes` to `visit`, and returns the bytes after that entry.
fn entry<'a>(bytes: &'a [u8], seq: u64, visit: &mut VisitWrite<'_>) -> Option<&'a [u8]> {
    let len = u32_of(bytes, 0) as usize;
    let writes = bytes.get(8..len)?;
    let rest = bytes.get(len..)?;
    let mut at = 0;
    for _ in 0..u16_of(bytes, 4) {
        let head = writes.get(at..at + 12)?;
        let klen = usize::from(u16_of(head, 6));
        let vlen = u32_of(head, 8) as usize;
        let key = writes.get(at + 12..at + 12 + klen)?;
        let value = writes.get(at + 12 + klen..at + 12 + klen + vlen)?;
        let form = Form { table: u16_of(head, 0), schema: u16_of(head, 2) };
        match head.get(4)? {
            1 => visit(seq, form, key, Some(value)),
            2 => visit(seq, form, key, None),
            _ => return None,
        }
        at += 12 + klen + vlen;
    }
    (at == writes.len()).then_some(rest)
}

/// The header and footer of a snapshot, and the headers of its chunks.
pub(super) struct Snapshot {
    pub path: String,
    pub cluster: Vec<u8>,
    pub start_seq: u64,
    pub end_seq: u64,
    pub max_wall_ms: u64,
    salt_tag: Vec<u8>,
    footer: Vec<u8>,
    footer_at: usize,
    file: std::sync::Arc<dyn File>,
    chunks: Vec<Chunk>,
}

/// The header of a chunk.
struct Chunk {
    at: usize,
    body_len: usize,
    body_crc: u32,
    table: u16,
    buckets: Range<u16>,
    count: u32,
}

impl Snapshot {
    pub(super) fn open(storage: &dyn Storage, path: &str) -> Result<Self, Disproof> {
        let file = storage.open(path).map_err(Disproof::io(path))?;
        let len = file.length().map_err(Disproof::io(path))? as usize;
        let footer_at = len.saturating_sub(BLOCK);
        if footer_at < BLOCK {
            return Err(Disproof::damaged(path, len, "shorter than header and footer"));
        }
        let mut head = vec![0; BLOCK];
        let mut footer = vec![0; BLOCK];
        file.read_at(&mut head, 0).map_err(Disproof::io(path))?;
        file.read_at(&mut footer, footer_at as u64).map_err(Disproof::io(path))?;
        if !block_is_sound(&head, *b"PCSNAP\r\n") || u32_of(&head, 104) != BUCKETS {
            return Err(Disproof::damaged(path, 0, "damaged header block"));
        }
        let sound = part(&footer, 0, 4) == b"PCE1"
            && crc32c::crc32c(part(&footer, 8, BLOCK - 8)) == u32_of(&footer, 4)
            && part(&footer, 8, 8) == part(&head, 56, 8)
            && u64_of(&footer, 48) == len as u64
            && u64_of(&footer, 16) == u64_of(&head, 96);
        if !sound {
            return Err(Disproof::damaged(path, footer_at, "damaged footer"));
        }
        let mut snapshot = Self {
            path: path.to_owned(),
            cluster: part(&head, 16, 16).to_vec(),
            start_seq: u64_of(&footer, 16),
            end_seq: u64_of(&footer, 24),
            max_wall_ms: u64_of(&footer, 32),
            salt_tag: part(&head, 56, 8).to_vec(),
            footer,
            footer_at,
            file,
            chunks: Vec::new(),
        };
        snapshot.find_chunks()?;
        Ok(snapshot)
    }

    /// Reads the headers of the chunks, which must cover every bucket of each table once.
    fn find_chunks(&mut self) -> Result<(), Disproof> {
        let damaged = |at: usize, what| Disproof::damaged(&self.path, at, what);
        let mut at = BLOCK;
        let mut counts: BTreeMap<u16, (u64, u16)> = BTreeMap::new();
        let mut chunks = Vec::new();
        while at < self.footer_at {
            let mut head = [0; CHUNK_HEAD];
            self.file.read_at(&mut head, at as u64).map_err(Disproof::io(&self.path))?;
            let chunk = Chunk {
                at,
                body_len: u32_of(&head, 36) as usize,
                body_crc: u32_of(&head, 40),
                table: u16_of(&head, 24),
                buckets: u16_of(&head, 28)..u16_of(&head, 30),
                count: u32_of(&head, 32),
            };
            let sound = part(&head, 0, 4) == b"PCC1"
                && crc32c::crc32c(part(&head, 8, 40)) == u32_of(&head, 4)
                && part(&head, 8, 8) == self.salt_tag
                && u64_of(&head, 16) == chunks.len() as u64
                && at + CHUNK_HEAD + chunk.body_len <= self.footer_at;
            if !sound {
                return Err(damaged(at, "damaged chunk header"));
            }
            let (count, reached) = counts.entry(chunk.table).or_default();
            if chunk.buckets.start != *reached || chunk.buckets.is_empty() {
                return Err(damaged(at, "buckets left out or repeated"));
            }
            if u16_of(&head, 26) != 1 {
                *reached = chunk.buckets.end;
            }
            *count += u64::from(chunk.count);
            at += CHUNK_HEAD + chunk.body_len;
            chunks.push(chunk);
        }
        let tables = u32_of(&self.footer, 72) as usize;
        let agrees = counts.len() == tables
            && counts.iter().enumerate().all(|(place, (table, (count, reached)))| {
                let at = 80 + place * 16;
                u16_of(&self.footer, at) == *table
                    && u64_of(&self.footer, at + 8) == *count
                    && u32::from(*reached) == BUCKETS
            })
            && u64_of(&self.footer, 40) == chunks.len() as u64;
        if !agrees {
            return Err(damaged(self.footer_at, "footer and chunks disagree"));
        }
        self.chunks = chunks;
        Ok(())
    }

    /// Gives each record of `buckets` to `visit`, and returns the digest of all of them. Each must lie in a bucket that
    /// its chunk names.
    pub(super) fn records(
        &self,
        buckets: &Range<u32>,
        visit: &mut VisitRecord<'_>,
    ) -> Result<u128, Disproof> {
        let mut digest = 0_u128;
        for chunk in &self.chunks {
            let Range { start, end } = chunk.buckets;
            if u32::from(end) <= buckets.start || u32::from(start) >= buckets.end {
                continue;
            }
            let damaged = |what| Disproof::damaged(&self.path, chunk.at, what);
            let mut body = vec![0; chunk.body_len];
            self.file.read_at(&mut body, (chunk.at + CHUNK_HEAD) as u64).map_err(Disproof::io(&self.path))?;
            if crc32c::crc32c(&body) != chunk.body_crc {
                return Err(damaged("damaged chunk"));
            }
            let mut rest = &body[..];
            for _ in 0..chunk.count {
                let klen = usize::from(u16_of(rest, 2));
                let vlen = u32_of(rest, 4) as usize;
                let record = rest.get(8..8 + klen + vlen).ok_or(damaged("unreadable record"))?;
                let (key, value) = record.split_at(klen);
                let bucket = bucket_of(key);
                if !chunk.buckets.contains(&(bucket as u16)) {
                    return Err(damaged("a record in a bucket that is not its own"));
                }
                if buckets.contains(&bucket) {
                    let own = digest_of(&self.cluster, chunk.table, key, value);
                    digest = digest.wrapping_add(own);
                    visit(Form { table: chunk.table, schema: u16_of(rest, 0) }, key, value, own);
                }
                rest = part(rest, 8 + klen + vlen, rest.len() - (8 + klen + vlen));
            }
            if !rest.is_empty() {
                return Err(damaged("bytes after the last record"));
            }
        }
        Ok(digest)
    }

    /// Checks that the footer names `digest`, which is that of the records of all buckets.
    pub(super) fn check(&self, digest: u128) -> Result<(), Disproof> {
        let agrees = part(&self.footer, 56, 16) == digest.to_le_bytes();
        if agrees {
            Ok(())
        } else {
            Err(Disproof::damaged(
                &self.path,
                self.footer_at,
                "the footer names another digest than that of the records",
            ))
        }
    }
}

/// Returns the bucket of a key.
pub(super) fn bucket_of(key: &[u8]) -> u32 {
    crc32c::crc32c(key) % BUCKETS
}

/// Returns a record's share of a digest.
pub(super) fn digest_of(cluster: &[u8], table: u16, key: &[u8], value: &[u8]) -> u128 {
    let klen = (key.len() as u16).to_le_bytes();
    let parts = [cluster, &table.to_le_bytes()[..], &klen, key, value];
    let whole = parts.into_iter().fold(Sha256::new(), Digest::chain_update).finalize();
    whole.iter().take(16).rev().fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}
