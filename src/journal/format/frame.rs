//! A frame: one batch of entries in a segment, at a multiple of the alignment.
//!
//! The layout is little-endian; the numbers are offsets:
//!
//! ```text
//!  0 magic `PCF1`     4 header_crc of 8..96    8 salt_tag (8)     16 batch_no       24 first_seq
//! 32 count           36 body_len              40 durable_off     48 durable_seq    56 wall_ms
//! 64 epoch           72 prev_crc              76 body_crc        80 kind (2)       82 flags (2), zeros to 96
//! 96 body, then zeros up to the alignment
//! ```
//!
//! No length is believed before `header_crc` was checked. `prev_crc` is the `header_crc` of the frame before, so that
//! frames form a chain. `salt_tag` is the beginning of the segment's salt, so that text in a body can never pass for a
//! frame.

use crate::storage::is_zero;
use crate::system::seeded_bug::{Bug, seeded};

/// Length of a frame's header.
pub const FRAME_HEADER: usize = 96;
/// The most bytes of a body.
pub const BODY_BYTES_MAX: usize = 1_048_576;

const MAGIC: [u8; 4] = *b"PCF1";

/// The kind of a frame. Its number is part of the format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Entries.
    Data,
    /// No entries: attests that the frames before are durable.
    Attest,
    /// No entries: the first frame of a run.
    Fence,
    /// Entries of the last frame of the previous run, written again by recovery.
    Carry,
    /// No entries: the last frame of a clean stop.
    Close,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::Data => 1,
            Self::Attest => 2,
            Self::Fence => 3,
            Self::Carry => 4,
            Self::Close => 5,
        }
    }

    const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Data,
            2 => Self::Attest,
            3 => Self::Fence,
            4 => Self::Carry,
            5 => Self::Close,
            _ => return None,
        })
    }

    const fn has_entries(self) -> bool {
        matches!(self, Self::Data | Self::Carry)
    }
}

/// The header of a frame, without its checksums.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrameHeader {
    /// The first 8 bytes of the segment's salt.
    pub salt_tag: [u8; 8],
    /// Number of the frame: one more than that of the frame before, across segments.
    pub batch_no: u64,
    /// Sequence of the first entry; entry `i` has `first_seq + i`.
    pub first_seq: u64,
    /// Number of entries in the body.
    pub count: u32,
    /// Offset in this segment below which every byte was durable when the frame was composed.
    pub durable_off: u64,
    /// The highest sequence that was durable when the frame was composed.
    pub durable_seq: u64,
    /// Time of the frame in milliseconds since 1970; never falls.
    pub wall_ms: u64,
    /// Epoch of the segment.
    pub epoch: u64,
    /// `header_crc` of the frame before, across segments; 0 in the first frame of an installation.
    pub prev_crc: u32,
    /// Kind of the frame.
    pub kind: Kind,
}

/// A frame that was read and whose checksums are right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    /// The checksum of the header, which the next frame names.
    pub header_crc: u32,
    /// The entries, without padding.
    pub body: &'a [u8],
    /// Bytes that the frame takes in the segment, padding included.
    pub len: usize,
}

/// The bytes at an offset of a segment, judged without their neighbours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen<'a> {
    /// Zeros to the end of the segment.
    End,
    /// A frame whose checksums are right and whose padding is zero. It need not continue the chain.
    Frame(Frame<'a>),
    /// Anything else.
    Bad,
}

/// The reason why a frame cannot be composed: a mistake of the writer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// The body is longer than [`BODY_BYTES_MAX`].
    #[error("frame body of {0} bytes")]
    Length(usize),
    /// A frame of a kind with entries has none, or the other way round.
    #[error("frame of kind {kind:?} with {count} entries in {body_len} bytes")]
    Count {
        /// The kind of the frame.
        kind: Kind,
        /// The number of entries that was given.
        count: u32,
        /// The length of the body.
        body_len: usize,
    },
}

/// Appends the frame to `out`, padded to `align`, and returns its `header_crc`.
pub fn write(header: &FrameHeader, body: &[u8], align: usize, out: &mut Vec<u8>) -> Result<u32, FrameError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(FrameError::Length(body.len()));
    }
    if !counts_agree(header.kind, header.count, body.len()) {
        return Err(FrameError::Count { kind: header.kind, count: header.count, body_len: body.len() });
    }
    let mut checked = Vec::with_capacity(FRAME_HEADER - 8);
    checked.extend_from_slice(&header.salt_tag);
    checked.extend_from_slice(&header.batch_no.to_le_bytes());
    checked.extend_from_slice(&header.first_seq.to_le_bytes());
    checked.extend_from_slice(&header.count.to_le_bytes());
    checked.extend_from_slice(&(body.len() as u32).to_le_bytes());
    checked.extend_from_slice(&header.durable_off.to_le_bytes());
    checked.extend_from_slice(&header.durable_seq.to_le_bytes());
    checked.extend_from_slice(&header.wall_ms.to_le_bytes());
    checked.extend_from_slice(&header.epoch.to_le_bytes());
    checked.extend_from_slice(&header.prev_crc.to_le_bytes());
    checked.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    checked.extend_from_slice(&header.kind.number().to_le_bytes());
    checked.resize(FRAME_HEADER - 8, 0);

    let header_crc = crc32c::crc32c(&checked);
    let len = padded(body.len(), align);
    let begin = out.len();
    out.reserve(len);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&header_crc.to_le_bytes());
    out.extend_from_slice(&checked);
    out.extend_from_slice(body);
    out.resize(begin + len, 0);
    Ok(header_crc)
}

/// Returns how many bytes a frame with a body of `body_len` bytes takes.
pub const fn padded(body_len: usize, align: usize) -> usize {
    (FRAME_HEADER + body_len).next_multiple_of(align)
}

/// Reads the frame at the start of `rest`, the bytes from an offset to the end of the segment.
pub fn read(rest: &[u8], align: usize) -> Seen<'_> {
    if is_zero(rest) {
        return Seen::End;
    }
    read_frame(rest, align).map_or(Seen::Bad, Seen::Frame)
}

/// Reads the header at the start of `rest`, if its checksum is right. The body may be damaged: the header alone can
/// attest that earlier bytes were durable.
pub fn read_header(rest: &[u8]) -> Option<FrameHeader> {
    Checked::read(rest).map(|checked| checked.header)
}

fn read_frame(rest: &[u8], align: usize) -> Option<Frame<'_>> {
    let Checked { header, header_crc, body_len, body_crc } = Checked::read(rest)?;
    let len = padded(body_len, align);
    let body_and_padding = rest.get(FRAME_HEADER..len)?;
    let (body, padding) = body_and_padding.split_at_checked(body_len)?;
    let body_agrees = crc32c::crc32c(body) == body_crc || seeded(Bug::BodyNotChecked);
    let sound = body_agrees && is_zero(padding);
    sound.then_some(Frame { header, header_crc, body, len })
}

const fn counts_agree(kind: Kind, count: u32, body_len: usize) -> bool {
    // The shortest entry has a header of 8, one write of 12 and a key of 2 bytes.
    if kind.has_entries() {
        count > 0 && body_len >= count as usize * 22
    } else {
        count == 0 && body_len == 0
    }
}

/// A header whose checksum was right, with the fields that are needed only to read the body.
struct Checked {
    header: FrameHeader,
    header_crc: u32,
    body_len: usize,
    body_crc: u32,
}

impl Checked {
    fn read(rest: &[u8]) -> Option<Self> {
        let bytes = rest.first_chunk::<FRAME_HEADER>()?;
        let header_crc = u32_at(bytes, 4)?;
        let checked = bytes.get(8..)?;
        if bytes.first_chunk::<4>()? != &MAGIC || crc32c::crc32c(checked) != header_crc {
            return None;
        }
        let body_len = u32_at(bytes, 36)? as usize;
        let [kind_low, kind_high, flags_and_zeros @ ..] = bytes.last_chunk::<16>()?;
        let header = FrameHeader {
            salt_tag: array_at(bytes, 8)?,
            batch_no: u64_at(bytes, 16)?,
            first_seq: u64_at(bytes, 24)?,
            count: u32_at(bytes, 32)?,
            durable_off: u64_at(bytes, 40)?,
            durable_seq: u64_at(bytes, 48)?,
            wall_ms: u64_at(bytes, 56)?,
            epoch: u64_at(bytes, 64)?,
            prev_crc: u32_at(bytes, 72)?,
            kind: Kind::from_number(u16::from_le_bytes([*kind_low, *kind_high]))?,
        };
        let sound = body_len <= BODY_BYTES_MAX
            && counts_agree(header.kind, header.count, body_len)
            && flags_and_zeros.iter().all(|byte| *byte == 0);
        sound.then_some(Self { header, header_crc, body_len, body_crc: u32_at(bytes, 76)? })
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIGN: usize = 512;

    fn header(kind: Kind, count: u32) -> FrameHeader {
        FrameHeader {
            salt_tag: *b"saltsalt",
            batch_no: 0x0102_0304_0506_0708,
            first_seq: 11,
            count,
            durable_off: 4096,
            durable_seq: 10,
            wall_ms: 1_800_000_000_000,
            epoch: 3,
            prev_crc: 0xDEAD_BEEF,
            kind,
        }
    }

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        write(&header(Kind::Data, 2), &[5; 700], ALIGN, &mut out).unwrap();
        out
    }

    #[test]
    fn a_frame_comes_back_and_its_fields_are_where_the_format_says() {
        let mut bytes = sample();
        assert_eq!(bytes.len(), 1024);
        assert_eq!(bytes[0..4], *b"PCF1");
        assert_eq!(bytes[16..24], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[36..40], 700_u32.to_le_bytes());
        assert_eq!(bytes[72..76], [0xEF, 0xBE, 0xAD, 0xDE]);
        assert_eq!(bytes[80..82], [1, 0]);
        bytes.extend_from_slice(&[0; 2048]);
        let Seen::Frame(frame) = read(&bytes, ALIGN) else { panic!("not read") };
        assert_eq!((&frame.header, frame.body, frame.len), (&header(Kind::Data, 2), &[5; 700][..], 1024));
        assert_eq!(read_header(&bytes).unwrap(), frame.header);
        assert_eq!(read(&bytes[1024..], ALIGN), Seen::End);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let whole = sample();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes, ALIGN), Seen::Bad, "bit {bit}");
        }
        for cut in 1..whole.len() {
            assert_eq!(read(&whole[..cut], ALIGN), Seen::Bad, "cut at {cut}");
        }
    }

    #[test]
    fn a_right_checksum_does_not_excuse_a_wrong_field() {
        for (at, value) in [(80, 6), (82, 1), (95, 1), (38, 0x11), (32, 0), (32, 40)] {
            let mut bytes = sample();
            bytes[at] = value;
            let crc = crc32c::crc32c(&bytes[8..96]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(read(&bytes, ALIGN), Seen::Bad, "byte {at} = {value}");
        }
    }

    #[test]
    fn a_frame_that_could_not_be_read_back_is_not_written() {
        let mut out = Vec::new();
        for (kind, count, body_len) in
            [(Kind::Data, 0, 0), (Kind::Fence, 1, 22), (Kind::Carry, 2, 43), (Kind::Close, 0, 1)]
        {
            let refused = write(&header(kind, count), &vec![1; body_len], ALIGN, &mut out);
            assert!(matches!(refused, Err(FrameError::Count { .. })));
        }
        let long = write(&header(Kind::Data, 1), &vec![1; BODY_BYTES_MAX + 1], ALIGN, &mut out);
        assert!(matches!(long, Err(FrameError::Length(_))));
        let mut longest = Vec::new();
        write(&header(Kind::Data, 1), &vec![1; BODY_BYTES_MAX], ALIGN, &mut longest).unwrap();
        assert!(matches!(read(&longest, ALIGN), Seen::Frame(frame) if frame.body.len() == BODY_BYTES_MAX));
        assert!(out.is_empty());
        write(&header(Kind::Attest, 0), &[], ALIGN, &mut out).unwrap();
        assert!(matches!(read(&out, ALIGN), Seen::Frame(_)));
    }
}
