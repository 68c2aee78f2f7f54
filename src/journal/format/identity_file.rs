//! `IDENTITY`: the file that says which installation a directory belongs to, and bounds its past from below.

use super::bytes::Reader;
use super::header::by_kind;
use super::header::{BY_KIND_BYTES, FileKind, HEADER_BYTES, Header, HeaderError};
use super::layout::IDENTITY;
use crate::storage::{File, Storage};
use crate::system::seeded_bug::{Bug, seeded};
use std::io;

/// The state of an installation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The first start has not finished: nothing has been acknowledged.
    Forming,
    /// The installation is in use.
    Live,
    /// The last run ended with a clean stop.
    Closed,
}

/// One slot of `IDENTITY`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The slot with the higher version counts.
    pub version: u64,
    /// The journal must hold this segment.
    pub head_segno: u64,
    /// The journal must reach this sequence.
    pub min_seq: u64,
    /// The state of the installation.
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
        let version = reader.u64()?;
        let head_segno = reader.u64()?;
        let min_seq = reader.u64()?;
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
    /// Makes the file of a new installation, in state *forming*. After a crash it is there whole or not at all.
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

    /// Opens the file for reading. Returns `Ok(None)` when there is none.
    ///
    /// Errors: the inner error is the header error of a slot, when neither slot can be read or a newer version wrote
    /// one.
    pub fn open(storage: &dyn Storage) -> io::Result<Option<Result<Self, HeaderError>>> {
        Self::read(storage.open(IDENTITY))
    }

    /// Opens the file for reading and writing, with the results of [`IdentityFile::open`].
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
                // A slot of a newer version must not be passed over for an older slot.
                (_, Err(newer @ HeaderError::Newer { .. })) => return Ok(Some(Err(newer))),
                (Err(_), read) => read,
                (best, Err(_)) => best,
            };
        }
        Ok(Some(best.map(|(header, newest)| Self { file, header, newest })))
    }

    /// Returns the valid slot with the higher version.
    pub const fn newest(&self) -> Identity {
        self.newest
    }

    /// Returns the installation, drawn at the first start.
    pub const fn cluster(&self) -> [u8; 16] {
        self.header.cluster
    }

    /// Returns the timeline, which each restore raises by one.
    pub const fn timeline(&self) -> u32 {
        self.header.timeline
    }

    /// Writes the older slot and syncs it.
    pub fn write(&mut self, epoch: u64, head_segno: u64, min_seq: u64, state: State) -> io::Result<()> {
        let next = Identity { version: self.newest.version + 1, head_segno, min_seq, state };
        self.header.epoch = epoch;
        self.header.by_kind = next.to_bytes();
        // Odd versions are in the first slot, even ones in the second.
        let slot = u64::from(next.version.is_multiple_of(2) && !seeded(Bug::IdentityInOneSlot));
        self.file.write_at(&self.header.to_bytes(), slot * HEADER_BYTES as u64)?;
        self.file.sync_data()?;
        self.newest = next;
        Ok(())
    }
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
    fn slots_are_written_in_turn_and_hold_every_field() {
        let disk = SimStorage::new();
        let mut identity = IdentityFile::form(&disk, [7; 16], 3, 1).unwrap();
        let read = || IdentityFile::open(&disk).unwrap().unwrap().unwrap();
        assert_eq!(read().newest().state, State::Forming);
        assert_eq!(read().cluster(), [7; 16]);
        assert_eq!(read().timeline(), 3);
        for (version, state) in (2..).zip([State::Live, State::Closed, State::Live]) {
            identity.write(version, 10 + version, 20 + version, state).unwrap();
            let written = Identity { version, head_segno: 10 + version, min_seq: 20 + version, state };
            assert_eq!(identity.newest(), written);
            assert_eq!(read().newest(), written);
            let bytes = disk.peek(IDENTITY).unwrap();
            let slot = if version % 2 == 1 { 0 } else { HEADER_BYTES };
            assert_eq!(bytes.len(), 2 * HEADER_BYTES);
            assert_eq!(bytes[slot + 96], version as u8);
        }
        // One slot is enough, even when the file ends after it.
        disk.damage(IDENTITY, |bytes| bytes.truncate(HEADER_BYTES));
        assert_eq!(read().newest().version, 3);
    }

    #[test]
    fn an_unreadable_identity_is_not_taken_for_none_or_an_older_slot() {
        let disk = SimStorage::new();
        let mut identity = IdentityFile::form(&disk, [7; 16], 1, 1).unwrap();
        identity.write(1, 1, 0, State::Live).unwrap();
        for kind in [Kind::Open, Kind::Read] {
            for later in 0..2 {
                let at = disk.operations() + 1 + later;
                let error = io::ErrorKind::PermissionDenied;
                disk.fail(Some(Failure { at, lasting: true, only: Some(kind), error }));
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
}
