//! The bytes of the log: the header of a file, and its records. Frozen.

use crate::journal::format::bytes::Reader;

/// The directory of the log.
pub(super) const DIR: &str = "events";
/// How the name of a file ends.
pub(super) const EXTENSION: &str = ".log";
/// Length of a header.
pub(super) const HEADER_BYTES: usize = 64;
/// Length of a record without its content.
pub(super) const RECORD_BYTES: usize = 17;
/// The longest content: that of an entry.
pub(super) const CONTENT_BYTES_MAX: usize = crate::journal::format::entry::ENTRY_BYTES_MAX;

const MAGIC: [u8; 8] = *b"PCEVNT\r\n";
const VERSION: u16 = 1;

/// Returns the path of the file that follows the entry `covered`.
pub(super) fn path_of(covered: u64) -> String {
    format!("{DIR}/{covered:016x}{EXTENSION}")
}

/// The header of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FileHeader {
    /// The installation.
    pub(super) cluster: [u8; 16],
    /// Its timeline.
    pub(super) timeline: u32,
    /// The history of the log, drawn when it began.
    pub(super) history: u64,
    /// The events of all entries up to this one are in earlier files, or gone.
    pub(super) covered: u64,
    /// When the file was made, in milliseconds since 1970.
    pub(super) created_ms: u64,
}

impl FileHeader {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(HEADER_BYTES);
        body.extend_from_slice(&VERSION.to_le_bytes());
        body.extend_from_slice(&[0; 2]);
        body.extend_from_slice(&self.cluster);
        body.extend_from_slice(&self.timeline.to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&self.history.to_le_bytes());
        body.extend_from_slice(&self.covered.to_le_bytes());
        body.extend_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32c::crc32c(&body);
        [&MAGIC[..], &crc.to_le_bytes(), &body].concat()
    }

    /// Reads the header at the start of `bytes`; `None` if this version wrote no such header.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(12..HEADER_BYTES)?;
        let mut reader = Reader(bytes);
        if reader.array::<8>()? != MAGIC || reader.u32()? != crc32c::crc32c(body) {
            return None;
        }
        if reader.u16()? != VERSION || reader.u16()? != 0 {
            return None;
        }
        let (cluster, timeline) = (reader.array()?, reader.u32()?);
        if reader.u32()? != 0 {
            return None;
        }
        Some(Self {
            cluster,
            timeline,
            history: reader.u64()?,
            covered: reader.u64()?,
            created_ms: reader.u64()?,
        })
    }
}

/// One record of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Record<'a> {
    /// An event: its number, and the schema, key and value of the change.
    Event {
        /// The number of the event.
        seq: u64,
        /// The schema of the value.
        schema: u16,
        /// The key of the change.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// The events of all entries up to this one are in the log.
    Mark(u64),
    /// The events of the entries from `from` to `to` can be read nowhere any more.
    Gap {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
}

const EVENT: u8 = 1;
const MARK: u8 = 2;
const GAP: u8 = 3;

impl<'a> Record<'a> {
    /// Appends the record to `out`, as it stands in a file of this history.
    pub(super) fn write(&self, history: u64, out: &mut Vec<u8>) {
        let (kind, seq) = match *self {
            Self::Event { seq, .. } => (EVENT, seq),
            Self::Mark(seq) => (MARK, seq),
            Self::Gap { to, .. } => (GAP, to),
        };
        let begin = out.len();
        out.extend_from_slice(&[0; 8]);
        out.push(kind);
        out.extend_from_slice(&seq.to_le_bytes());
        match *self {
            Self::Event { schema, key, value, .. } => {
                out.extend_from_slice(&schema.to_le_bytes());
                out.extend_from_slice(&(key.len() as u16).to_le_bytes());
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Self::Mark(_) => {}
            Self::Gap { from, .. } => out.extend_from_slice(&from.to_le_bytes()),
        }
        let content = (out.len() - begin - RECORD_BYTES) as u32;
        let crc = checksum(history, content, out.get(begin + 8..).unwrap_or_default());
        if let Some(head) = out.get_mut(begin..begin + 8) {
            head.copy_from_slice(&[content.to_le_bytes(), crc.to_le_bytes()].concat());
        }
    }

    /// Reads the record at the start of `bytes`, and returns its length in the file. `None` if there is no whole and sound
    /// record of this history.
    pub(super) fn read(history: u64, bytes: &'a [u8]) -> Option<(Self, usize)> {
        let mut reader = Reader(bytes);
        let (content, crc) = (reader.u32()?, reader.u32()?);
        let len = content as usize;
        if len > CONTENT_BYTES_MAX {
            return None;
        }
        let body = reader.0.get(..RECORD_BYTES - 8 + len)?;
        if crc != checksum(history, content, body) {
            return None;
        }
        let mut reader = Reader(body);
        let (kind, seq) = (reader.u8()?, reader.u64()?);
        let record = match kind {
            EVENT => {
                let (schema, key) = (reader.u16()?, reader.u16()?);
                let key = reader.take(key.into())?;
                Self::Event { seq, schema, key, value: reader.0 }
            }
            MARK => Self::Mark(seq),
            GAP => Self::Gap { from: reader.u64()?, to: seq },
            _ => return None,
        };
        Some((record, RECORD_BYTES + len))
    }
}

/// Returns the checksum of a record: of its history too, so that no bytes of another file are taken for one.
fn checksum(history: u64, content: u32, body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&history.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &content.to_le_bytes()), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: FileHeader = FileHeader {
        cluster: [7; 16],
        timeline: 2,
        history: 0x0102,
        covered: 9,
        created_ms: 1_800_000_000_000,
    };

    #[test]
    fn a_file_has_the_bytes_of_the_format() {
        let mut bytes = HEADER.to_bytes();
        assert_eq!(bytes.len(), HEADER_BYTES);
        Record::Event { seq: 10 << 10, schema: 1, key: &[0, 7], value: &[5, 6] }.write(0x0102, &mut bytes);
        Record::Mark(11).write(0x0102, &mut bytes);
        Record::Gap { from: 12, to: 13 }.write(0x0102, &mut bytes);
        assert_eq!(crc32c::crc32c(&bytes), FROZEN_CRC, "{bytes:?}");
    }

    /// Of the bytes that the first version wrote.
    const FROZEN_CRC: u32 = 0x27E2_02DC;

    #[test]
    fn a_record_comes_back_and_no_flipped_bit_does() {
        let records = [
            Record::Event { seq: 7, schema: 3, key: &[1, 2, 3], value: &[] },
            Record::Mark(u64::MAX),
            Record::Gap { from: 1, to: 2 },
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.write(5, &mut bytes);
            assert_eq!(Record::read(5, &bytes), Some((record, bytes.len())));
            assert_eq!(Record::read(6, &bytes), None, "a record of another history");
            for cut in 0..bytes.len() {
                assert_eq!(Record::read(5, &bytes[..cut]), None);
            }
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Record::read(5, &flipped), None, "{bit}");
            }
        }
        let bytes = HEADER.to_bytes();
        assert_eq!(FileHeader::read(&bytes), Some(HEADER));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::read(&flipped), None, "{bit}");
        }
    }
}
