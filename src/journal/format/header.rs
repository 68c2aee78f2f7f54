//! The header block, the first block of every file: the kind of the file, its installation and the epoch of its writer.
//!
//! Integers are little-endian; bytes without a name are zero and checked to be zero. Bytes 0 to 15 never change their
//! meaning, so that an old binary can say "written by a newer version".
//!
//! ```text
//!  0 magic (8)   8 crc of 12..4096   12 format (2)   14 min_reader (2)   16 cluster (16)   32 timeline (4)
//! 36 partition   40 epoch (8)        48 created_ms   56 salt (32)        88 key_id (4)     92 flags (4)
//! 96 by kind of file (1952)        2048 bitmap of slots (2048)
//! ```

/// Length of the block.
pub const HEADER_BYTES: usize = 4096;
/// Length of the part whose layout depends on the kind of file.
pub const BY_KIND_BYTES: usize = 1952;
/// The format that this program writes, and the newest that it reads.
const FORMAT: u16 = 1;

const SLOT_BYTES: usize = 2048;

/// The kind of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileKind {
    /// A segment of the journal.
    Segment,
    /// A snapshot.
    Snapshot,
    /// `IDENTITY`, which bounds the past from below.
    Identity,
    /// The cells of the throttle.
    Throttle,
}

impl FileKind {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Segment => *b"PCJRNL\r\n",
            Self::Snapshot => *b"PCSNAP\r\n",
            Self::Identity => *b"PCIDNT\r\n",
            Self::Throttle => *b"PCTHRT\r\n",
        }
    }
}

/// The contents of the block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The kind of the file.
    pub kind: FileKind,
    /// The installation: random, drawn at its first start.
    pub cluster: [u8; 16],
    /// The timeline: raised by one at each restore from a backup.
    pub timeline: u32,
    /// The epoch of the run that wrote the file.
    pub epoch: u64,
    /// Time when the file was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// The salt: random per file, zero in `IDENTITY`.
    pub salt: [u8; 32],
    /// The fields of this kind of file, in the layout of that kind.
    pub by_kind: [u8; BY_KIND_BYTES],
}

/// The reason why a block is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// A file of another kind, or of another program.
    #[error("not a file of kind {0:?}")]
    Magic(FileKind),
    /// The block is damaged.
    #[error("header block is damaged: its checksum differs")]
    Checksum,
    /// A later version wrote it in a form that this one cannot read.
    #[error(
        "written by a newer version of Portcullis: it needs a reader of format {min_reader}, this one reads {FORMAT}"
    )]
    Newer {
        /// The oldest format that a reader must know.
        min_reader: u16,
    },
    /// The checksum is right, but a field has a value that this version never writes.
    #[error("header field at byte {0} has a value that no version wrote")]
    Field(usize),
}

impl Header {
    /// Returns the bytes of the block.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut checked = Vec::with_capacity(HEADER_BYTES - 12);
        checked.extend_from_slice(&FORMAT.to_le_bytes());
        checked.extend_from_slice(&FORMAT.to_le_bytes());
        checked.extend_from_slice(&self.cluster);
        checked.extend_from_slice(&self.timeline.to_le_bytes());
        checked.extend_from_slice(&[0; 4]);
        checked.extend_from_slice(&self.epoch.to_le_bytes());
        checked.extend_from_slice(&self.created_ms.to_le_bytes());
        checked.extend_from_slice(&self.salt);
        checked.extend_from_slice(&[0; 8]);
        checked.extend_from_slice(&self.by_kind);
        // One partition owns every slot.
        checked.resize(HEADER_BYTES - 12, 0xFF);

        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&self.kind.magic());
        out.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
        out.extend_from_slice(&checked);
        out
    }

    /// Reads the block of a file that should be of `kind`.
    ///
    /// Errors: checked in the order magic, checksum, version, fields, so that nothing is believed before what vouches
    /// for it.
    pub fn read(kind: FileKind, bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.array()? != kind.magic() {
            return Err(HeaderError::Magic(kind));
        }
        let crc = u32::from_le_bytes(reader.array()?);
        if bytes.get(reader.at..).map(crc32c::crc32c) != Some(crc) {
            return Err(HeaderError::Checksum);
        }
        let format = u16::from_le_bytes(reader.array()?);
        let min_reader = u16::from_le_bytes(reader.array()?);
        if min_reader > FORMAT {
            return Err(HeaderError::Newer { min_reader });
        }
        if min_reader == 0 || format < min_reader {
            return Err(HeaderError::Field(12));
        }
        let cluster = reader.array()?;
        let timeline = u32::from_le_bytes(reader.array()?);
        reader.expect::<4>(0)?; // partition
        let epoch = u64::from_le_bytes(reader.array()?);
        let created_ms = u64::from_le_bytes(reader.array()?);
        let salt = reader.array()?;
        reader.expect::<8>(0)?; // key_id and flags: no encryption in this version
        let by_kind = reader.array()?;
        reader.expect::<SLOT_BYTES>(0xFF)?;
        Ok(Self { kind, cluster, timeline, epoch, created_ms, salt, by_kind })
    }
}

struct Reader<'a> {
    bytes: &'a [u8; HEADER_BYTES],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = rest.first_chunk::<N>().ok_or(HeaderError::Field(self.at))?;
        self.at += N;
        Ok(*array)
    }

    fn expect<const N: usize>(&mut self, value: u8) -> Result<(), HeaderError> {
        let begin = self.at;
        let agrees = self.array::<N>()? == [value; N];
        if agrees { Ok(()) } else { Err(HeaderError::Field(begin)) }
    }
}

/// Lays fields out one after the other, with zeros after the last.
pub(crate) fn by_kind(fields: &[&[u8]]) -> [u8; BY_KIND_BYTES] {
    let mut out = [0; BY_KIND_BYTES];
    let bytes = fields.iter().flat_map(|field| field.iter());
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let mut by_kind = [0; BY_KIND_BYTES];
        by_kind[..8].copy_from_slice(&7_u64.to_le_bytes());
        Header {
            kind: FileKind::Segment,
            cluster: [3; 16],
            timeline: 1,
            epoch: 5,
            created_ms: 1_800_000_000_000,
            salt: [9; 32],
            by_kind,
        }
    }

    fn block() -> [u8; HEADER_BYTES] {
        header().to_bytes().try_into().unwrap()
    }

    fn with_right_checksum(mut bytes: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
        let crc = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn a_block_comes_back_and_its_fields_are_where_the_format_says() {
        let bytes = block();
        assert_eq!(Header::read(FileKind::Segment, &bytes), Ok(header()));
        assert_eq!(bytes[..8], *b"PCJRNL\r\n");
        assert_eq!(bytes[40..48], 5_u64.to_le_bytes());
        assert_eq!(bytes[56..88], [9; 32]);
        assert_eq!(bytes[96..104], 7_u64.to_le_bytes());
        assert_eq!(bytes[2047..2049], [0, 0xFF]);
        assert_eq!(Header::read(FileKind::Snapshot, &bytes), Err(HeaderError::Magic(FileKind::Snapshot)));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = block();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::read(FileKind::Segment, &bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_named_and_an_unknown_field_refused() {
        for (at, value, expected) in [
            (14, 2, HeaderError::Newer { min_reader: 2 }),
            (14, 0, HeaderError::Field(12)),
            (36, 1, HeaderError::Field(36)),
            (88, 1, HeaderError::Field(88)),
            (92, 1, HeaderError::Field(88)),
            (4095, 0xFE, HeaderError::Field(2048)),
        ] {
            let mut bytes = block();
            bytes[at] = value;
            let read = Header::read(FileKind::Segment, &with_right_checksum(bytes));
            assert_eq!(read, Err(expected), "byte {at} = {value}");
        }
        let mut newer_but_readable = block();
        newer_but_readable[12] = 2;
        assert!(Header::read(FileKind::Segment, &with_right_checksum(newer_but_readable)).is_ok());
    }
}
