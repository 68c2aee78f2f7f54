//! The names of files and directories, the sizes of the format, and the header fields of a segment.
//!
//! ```text
//! LOCK  IDENTITY  journal/<segno:016x>.log  snapshot/<end_seq:016x>.snap  quarantine/
//! ```

use std::io;

use super::bytes::Reader;
use super::header::{BY_KIND_BYTES, HEADER_BYTES};
use crate::journal::format::header::by_kind;
use crate::storage::Storage;

/// The file that keeps the room of one segment for a start on a full disk, which removes it.
pub const START_ROOM: &str = "journal/start.tmp";
/// The directory of segments.
pub const JOURNAL_DIR: &str = "journal";
/// The directory of snapshots.
pub const SNAPSHOT_DIR: &str = "snapshot";
/// The directory of bytes that recovery cut off.
pub const QUARANTINE_DIR: &str = "quarantine";
/// The directory in which a restore builds a new past before it moves it to its place. A server never moves it.
pub const BUILDING: &str = "restoring.tmp";
/// The file that bounds the past from below.
pub const IDENTITY: &str = "IDENTITY";

/// Sizes of the format: fixed in production, small in the simulator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sizes {
    /// Length of a segment. It is allocated at once and never changes.
    pub segment: u64,
    /// The most bytes of a frame's body.
    pub body: usize,
    /// Alignment of frames: each begins at a multiple of it.
    pub align: usize,
    /// The most bytes that may wait for a sync.
    pub window: u64,
}

impl Sizes {
    /// The sizes of a server.
    pub const PRODUCTION: Self =
        Self { segment: 16 << 20, body: super::frame::BODY_BYTES_MAX, align: 4096, window: 8 << 20 };

    /// Returns the most bytes that one frame takes, the tag of an encrypted one included.
    pub const fn frame_max(self) -> u64 {
        ((super::frame::FRAME_HEADER + self.body + 16).next_multiple_of(self.align)) as u64
    }
}

/// Returns the path of a segment.
pub fn segment_path(segno: u64) -> String {
    format!("{JOURNAL_DIR}/{segno:016x}.log")
}

/// Returns the path of a snapshot.
pub fn snapshot_path(end_seq: u64) -> String {
    format!("{SNAPSHOT_DIR}/{end_seq:016x}.snap")
}

/// Returns the number in a file name of exactly the form `<16 lower-case hex digits><extension>`.
pub fn number_in(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}

/// Returns the numbers in the names of one directory, ascending.
pub fn numbers(storage: &dyn Storage, dir: &str, extension: &str) -> io::Result<Vec<u64>> {
    let names = storage.list(dir)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_in(name, extension)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The header fields of a segment: its place in the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SegmentFields {
    /// Number of the segment, one more than that of the segment before.
    pub segno: u64,
    /// Length of the segment, which never changes.
    pub segment_len: u64,
    /// Sequence of its first entry.
    pub first_seq: u64,
    /// Number of its first frame.
    pub first_batch: u64,
    /// Number of the segment before; 0 when there is none.
    pub prev_segno: u64,
    /// Offset at which the frames of the segment before end.
    pub prev_valid_len: u64,
    /// `header_crc` of the last frame of the segment before.
    pub prev_last_crc: u32,
    /// Alignment of its frames.
    pub align: u32,
    /// Bytes that were in the file, durable, before it got its name.
    pub born_len: u64,
}

impl SegmentFields {
    /// Returns the fields as bytes of the header block.
    pub fn to_bytes(self) -> [u8; BY_KIND_BYTES] {
        by_kind(&[
            &self.segno.to_le_bytes(),
            &self.segment_len.to_le_bytes(),
            &self.first_seq.to_le_bytes(),
            &self.first_batch.to_le_bytes(),
            &self.prev_segno.to_le_bytes(),
            &self.prev_valid_len.to_le_bytes(),
            &self.prev_last_crc.to_le_bytes(),
            &self.align.to_le_bytes(),
            &self.born_len.to_le_bytes(),
        ])
    }

    /// Reads a segment's own fields from the header block. Returns `None` if no version of this format wrote such values.
    pub fn read(bytes: &[u8; BY_KIND_BYTES]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let fields = Self {
            segno: reader.u64()?,
            segment_len: reader.u64()?,
            first_seq: reader.u64()?,
            first_batch: reader.u64()?,
            prev_segno: reader.u64()?,
            prev_valid_len: reader.u64()?,
            prev_last_crc: reader.u32()?,
            align: reader.u32()?,
            born_len: reader.u64()?,
        };
        let align = u64::from(fields.align);
        let aligned = |len: u64| align.is_power_of_two() && len.is_multiple_of(align);
        let sound = reader.rest_is_zero()
            // This also refuses number 0.
            && fields.prev_segno < fields.segno
            && HEADER_BYTES as u64 <= fields.born_len
            && fields.born_len <= fields.segment_len
            && aligned(fields.born_len)
            && aligned(fields.prev_valid_len);
        sound.then_some(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_segment_that_no_version_wrote_are_refused() {
        let sound = SegmentFields {
            segno: 2,
            segment_len: 8_192,
            first_seq: 5,
            first_batch: 6,
            prev_segno: 1,
            prev_valid_len: 4_608,
            prev_last_crc: 9,
            align: 512,
            born_len: 4_096,
        };
        let read = |fields: SegmentFields| SegmentFields::read(&fields.to_bytes());
        let first = SegmentFields { segno: 1, prev_segno: 0, prev_valid_len: 0, ..sound };
        let filled = SegmentFields { born_len: 8_192, ..sound };
        for fields in [sound, first, filled] {
            assert_eq!(read(fields), Some(fields));
        }
        let wrong = [
            SegmentFields { segno: 0, prev_segno: 0, ..sound },
            SegmentFields { prev_segno: 2, ..sound },
            SegmentFields { prev_segno: 3, ..sound },
            SegmentFields { born_len: 3_584, ..sound },
            SegmentFields { born_len: 8_704, ..sound },
            SegmentFields { born_len: 4_097, ..sound },
            SegmentFields { prev_valid_len: 4_609, ..sound },
            SegmentFields { align: 0, ..sound },
            SegmentFields { align: 768, born_len: 4_608, prev_valid_len: 4_608, ..sound },
        ];
        for fields in wrong {
            assert_eq!(read(fields), None, "{fields:?}");
        }
        let mut bytes = sound.to_bytes();
        bytes[BY_KIND_BYTES - 1] = 1;
        assert_eq!(SegmentFields::read(&bytes), None);
    }

    #[test]
    fn a_server_uses_the_sizes_of_the_format() {
        let Sizes { segment, body, align, window } = Sizes::PRODUCTION;
        assert_eq!((segment, body, align, window), (16_777_216, 1_048_576, 4_096, 8_388_608));
        assert_eq!(Sizes::PRODUCTION.frame_max(), 1_048_576 + 4_096);
    }

    #[test]
    fn the_longest_frame_leaves_room_for_a_tag() {
        let sizes = Sizes { segment: 8_192, body: 1_024, align: 512, window: 1 };
        // Header, body and tag: 96 + 1,024 + 16.
        assert_eq!(sizes.frame_max(), 1_536);
        assert_eq!(Sizes { body: 512 - 112, ..sizes }.frame_max(), 512);
        assert_eq!(Sizes { body: 512 - 111, ..sizes }.frame_max(), 1_024);
    }

    #[test]
    fn only_names_of_the_one_form_count() {
        assert_eq!(number_in("000000000000001f.log", ".log"), Some(31));
        for name in ["1f.log", "000000000000001F.log", "000000000000001f.tmp", "+00000000000001f.log"] {
            assert_eq!(number_in(name, ".log"), None, "{name}");
        }
    }
}
