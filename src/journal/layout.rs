//! What the files are called, and what their header blocks say beyond what all have.
//!
//! ```text
//! LOCK  IDENTITY  journal/<segno:016x>.log  snapshot/<end_seq:016x>.snap  quarantine/
//! ```

use std::io;

use super::bytes::Reader;
use super::header::{BY_KIND_BYTES, FileKind, HEADER_BYTES, Header, HeaderError};
use crate::storage::{File, Storage};
use crate::system::seeded_bug::{Bug, seeded};

/// Where segments lie.
pub const JOURNAL_DIR: &str = "journal";
/// Where snapshots lie.
pub const SNAPSHOT_DIR: &str = "snapshot";
/// Where bytes are kept that recovery cut off.
pub const QUARANTINE_DIR: &str = "quarantine";
/// Where a restore builds a new past before it moves to its place; never moved away by a server.
pub const BUILDING: &str = "restoring.tmp";
/// The file that bounds the past from below.
pub const IDENTITY: &str = "IDENTITY";

/// Sizes of the format: fixed in production, small in the simulator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sizes {
    /// Bytes of a segment, from birth.
    pub segment: u64,
    /// The most bytes of a frame's body that is written.
    pub body: usize,
    /// Every frame begins at a multiple of it.
    pub align: usize,
    /// Bytes that may wait for a sync.
    pub window: u64,
}

impl Sizes {
    /// What a server uses.
    pub const PRODUCTION: Self =
        Self { segment: 16 << 20, body: super::frame::BODY_BYTES_MAX, align: 4096, window: 8 << 20 };

    /// The most bytes one frame takes, the tag of an encrypted one included.
    pub const fn frame_max(self) -> u64 {
        ((super::frame::FRAME_HEADER + self.body + 16).next_multiple_of(self.align)) as u64
    }
}

/// The path of a segment.
pub fn segment_path(segno: u64) -> String {
    format!("{JOURNAL_DIR}/{segno:016x}.log")
}

/// The path of a snapshot.
pub fn snapshot_path(end_seq: u64) -> String {
    format!("{SNAPSHOT_DIR}/{end_seq:016x}.snap")
}

/// The number in a file's name, for names of exactly that form.
pub fn number_in(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}

/// The numbers in the names of one directory, ascending.
pub fn numbers(storage: &dyn Storage, dir: &str, extension: &str) -> io::Result<Vec<u64>> {
    let mut found: Vec<u64> =
        storage.list(dir)?.iter().filter_map(|name| number_in(name, extension)).collect();
    found.sort_unstable();
    Ok(found)
}

/// What a segment's header says of its place in the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SegmentFields {
    /// One more than that of the segment before.
    pub segno: u64,
    /// Its length from birth.
    pub segment_len: u64,
    /// The sequence of its first entry.
    pub first_seq: u64,
    /// The number of its first frame.
    pub first_batch: u64,
    /// The segment before; 0 when there is none.
    pub prev_segno: u64,
    /// Where that one ends.
    pub prev_valid_len: u64,
    /// `header_crc` of that one's last frame.
    pub prev_last_crc: u32,
    /// The alignment of its frames.
    pub align: u32,
    /// Bytes that were in the file before it got its name.
    pub born_len: u64,
}

impl SegmentFields {
    /// The fields as they stand in the block.
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

    /// Reads them; `None` when no version wrote such values.
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
            // So none is number 0.
            && fields.prev_segno < fields.segno
            && HEADER_BYTES as u64 <= fields.born_len
            && fields.born_len <= fields.segment_len
            && aligned(fields.born_len)
            && aligned(fields.prev_valid_len);
        sound.then_some(fields)
    }
}

/// How far an installation has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The first start is not over: nothing has been acknowledged.
    Forming,
    /// In use.
    Live,
    /// Stopped cleanly.
    Closed,
}

/// One slot of `IDENTITY`: bounds the past from below.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The slot with the higher version counts.
    pub version: u64,
    /// The journal must hold this segment.
    pub head_segno: u64,
    /// The journal must reach this sequence.
    pub min_seq: u64,
    /// How far the installation has come.
    pub state: State,
}

impl Identity {
    fn to_bytes(self) -> [u8; BY_KIND_BYTES] {
        let state = match self.state {
            State::Forming => 1,
            State::Live => 2,
            State::Closed => 3,
        };
        by_kind(&[
            &self.version.to_le_bytes(),
            &self.head_segno.to_le_bytes(),
            &self.min_seq.to_le_bytes(),
            &[state, 1],
        ])
    }

    fn read(bytes: &[u8; BY_KIND_BYTES]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (version, head_segno, min_seq) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let state = match reader.u8()? {
            1 => State::Forming,
            2 => State::Live,
            3 => State::Closed,
            _ => return None,
        };
        let one_copy = reader.u8()? == 1;
        (one_copy && reader.rest_is_zero()).then_some(Self { version, head_segno, min_seq, state })
    }
}

/// The open `IDENTITY` file: two slots, written in turn, in place.
pub struct IdentityFile {
    file: std::sync::Arc<dyn File>,
    header: Header,
    newest: Identity,
}

impl IdentityFile {
    /// Makes the file of a new installation, *forming*. It is there whole or not at all.
    pub fn form(
        storage: &dyn Storage,
        cluster: [u8; 16],
        timeline: u32,
        created_ms: u64,
    ) -> io::Result<Self> {
        let newest = Identity { version: 1, head_segno: 0, min_seq: 0, state: State::Forming };
        let header = Header {
            kind: FileKind::Identity,
            cluster,
            timeline,
            epoch: 0,
            created_ms,
            salt: [0; 32],
            by_kind: newest.to_bytes(),
        };
        let mut bytes = header.to_bytes();
        bytes.resize(2 * HEADER_BYTES, 0);
        crate::storage::write_whole(storage, "", IDENTITY, &bytes)?;
        Ok(Self { file: storage.open_to_write(IDENTITY)?, header, newest })
    }

    /// Opens the file to read it; `Ok(None)` when there is none.
    ///
    /// Errors: the header error of the slot that should have been readable, when neither is.
    pub fn open(storage: &dyn Storage) -> io::Result<Option<Result<Self, HeaderError>>> {
        Self::read(storage.open(IDENTITY))
    }

    /// Likewise, for a life that goes on in it.
    pub fn open_to_write(storage: &dyn Storage) -> io::Result<Option<Result<Self, HeaderError>>> {
        Self::read(storage.open_to_write(IDENTITY))
    }

    fn read(opened: io::Result<std::sync::Arc<dyn File>>) -> io::Result<Option<Result<Self, HeaderError>>> {
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut best: Result<(Header, Identity), HeaderError> = Err(HeaderError::Checksum);
        for slot in 0..2 {
            let mut block = [0; HEADER_BYTES];
            match file.read_at(&mut block, slot * HEADER_BYTES as u64) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                read => read?,
            }
            let read = Header::read(FileKind::Identity, &block).and_then(|header| {
                let identity = Identity::read(&header.by_kind).ok_or(HeaderError::Field(96))?;
                Ok((header, identity))
            });
            best = match (best, read) {
                (Ok((_, before)), Ok((header, slot))) if slot.version > before.version => Ok((header, slot)),
                (Ok(before), Ok(_)) => Ok(before),
                // What a newer version wrote must not be passed over for an older slot.
                (_, Err(newer @ HeaderError::Newer { .. })) => return Ok(Some(Err(newer))),
                (Err(_), read) => read,
                (best, Err(_)) => best,
            };
        }
        Ok(Some(best.map(|(header, newest)| Self { file, header, newest })))
    }

    /// The slot that counts.
    pub const fn newest(&self) -> Identity {
        self.newest
    }

    /// Drawn at the first start.
    pub const fn cluster(&self) -> [u8; 16] {
        self.header.cluster
    }

    /// One more at each restore.
    pub const fn timeline(&self) -> u32 {
        self.header.timeline
    }

    /// Writes the older slot and syncs it.
    pub fn write(&mut self, epoch: u64, head_segno: u64, min_seq: u64, state: State) -> io::Result<()> {
        let next = Identity { version: self.newest.version + 1, head_segno, min_seq, state };
        self.header.epoch = epoch;
        self.header.by_kind = next.to_bytes();
        // Versions 1, 3, 5 … stand in the first slot, the others in the second.
        let slot = u64::from(next.version.is_multiple_of(2) && !seeded(Bug::IdentityInOneSlot));
        self.file.write_at(&self.header.to_bytes(), slot * HEADER_BYTES as u64)?;
        self.file.sync_data()?;
        self.newest = next;
        Ok(())
    }
}

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
    use crate::storage::simulated::{Failure, Kind, SimStorage};

    #[test]
    fn identity_counts_the_newer_slot_and_survives_the_loss_of_one() {
        let disk = SimStorage::new();
        let mut identity = IdentityFile::form(&disk, [7; 16], 1, 1).unwrap();
        identity.write(1, 1, 0, State::Live).unwrap();
        identity.write(1, 2, 40, State::Live).unwrap();
        let newest = identity.newest();
        let read = || IdentityFile::open(&disk).unwrap().unwrap();
        assert_eq!(read().unwrap().newest(), newest);
        disk.damage(IDENTITY, |bytes| bytes[100] ^= 1);
        assert_eq!(read().unwrap().newest().version, 2);
        disk.damage(IDENTITY, |bytes| bytes[5000] ^= 1);
        assert!(read().is_err());
        disk.lose(IDENTITY);
        assert!(IdentityFile::open(&disk).unwrap().is_none());
    }

    #[test]
    fn slots_are_written_in_turn_and_say_all_there_is_to_say() {
        let disk = SimStorage::new();
        let mut identity = IdentityFile::form(&disk, [7; 16], 3, 1).unwrap();
        let read = || IdentityFile::open(&disk).unwrap().unwrap().unwrap();
        assert_eq!(
            (read().newest().state, read().cluster(), read().timeline()),
            (State::Forming, [7; 16], 3)
        );
        for (version, state) in (2..).zip([State::Live, State::Closed, State::Live]) {
            identity.write(version, 10 + version, 20 + version, state).unwrap();
            let written = Identity { version, head_segno: 10 + version, min_seq: 20 + version, state };
            assert_eq!((identity.newest(), read().newest()), (written, written));
            let bytes = disk.peek(IDENTITY).unwrap();
            let slot = if version % 2 == 1 { 0 } else { HEADER_BYTES };
            assert_eq!((bytes.len(), bytes[slot + 96]), (2 * HEADER_BYTES, version as u8));
        }
        // Half of the file, as another system's editor may leave it.
        disk.damage(IDENTITY, |bytes| bytes.truncate(HEADER_BYTES));
        assert_eq!(read().newest().version, 3);
    }

    #[test]
    fn an_identity_that_cannot_be_read_is_not_taken_for_none_nor_for_its_older_slot() {
        let disk = SimStorage::new();
        let mut identity = IdentityFile::form(&disk, [7; 16], 1, 1).unwrap();
        identity.write(1, 1, 0, State::Live).unwrap();
        for kind in [Kind::Open, Kind::Read] {
            for later in 0..2 {
                let (at, lasting) = (disk.operations() + 1 + later, true);
                let error = io::ErrorKind::PermissionDenied;
                disk.fail(Some(Failure { at, lasting, only: Some(kind), error }));
                let read = IdentityFile::open(&disk).map(|_| ());
                // The first operation is the opening.
                let fails = kind == Kind::Read || later == 0;
                assert_eq!(read.map_err(|error| error.kind()), if fails { Err(error) } else { Ok(()) });
            }
        }
    }

    #[test]
    fn an_identity_that_no_version_wrote_is_refused() {
        let sound = Identity { version: 1, head_segno: 2, min_seq: 3, state: State::Live };
        assert_eq!(Identity::read(&sound.to_bytes()), Some(sound));
        for (at, byte) in [(24, 0), (24, 4), (25, 0), (25, 2), (26, 1), (BY_KIND_BYTES - 1, 1)] {
            let mut bytes = sound.to_bytes();
            bytes[at] = byte;
            assert_eq!(Identity::read(&bytes), None, "{byte} at {at}");
        }
    }

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
        assert_eq!((sizes.frame_max(), Sizes { body: 512 - 112, ..sizes }.frame_max()), (1_536, 512));
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
