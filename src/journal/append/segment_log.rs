//! The open segment: frames are written to its end, one at a time, until the journal switches to the next segment.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::journal::context::{JournalContext, salt_tag};
use crate::journal::format::frame::{self, FrameHeader, Kind};
use crate::journal::format::header::{FileKind, HEADER_BYTES, Header};
use crate::journal::format::identity_file::{IdentityFile, State};
use crate::journal::format::layout::{JOURNAL_DIR, SegmentFields, Sizes, numbers, segment_path};
use crate::storage::{File, Storage};
use crate::system::clock::Timestamp;
use crate::system::lock::Mutex;
use crate::system::seeded_bug::{Bug, seeded};

/// A failed write or sync, with the file and the offset that the last log line names.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path} at byte {offset}")]
pub struct Fault {
    doing: &'static str,
    path: String,
    offset: u64,
    #[source]
    source: io::Error,
}

impl Fault {
    fn new(doing: &'static str, path: &str, offset: u64) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { doing, path, offset, source }
    }
}

/// The position in the chain of frames: what the next frame continues.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Chain {
    /// Number of the next frame.
    pub next_batch: u64,
    /// Sequence of the next entry.
    pub next_seq: u64,
    /// `header_crc` of the last frame; 0 before the first.
    pub last_crc: u32,
    /// Time of the last frame, in milliseconds since 1970. Never falls.
    pub wall_ms: u64,
}

/// Bytes of a spare segment that are synced at once while none is urgent: a commit waits for no more than these.
pub(in crate::journal) const PIECE: u64 = 128 << 10;
/// Bytes of a spare segment that are synced at once while one is urgent: fewer syncs, since each may be slow.
pub(in crate::journal) const PIECE_HURRIED: u64 = 4 << 20;

/// The spare segments. The preparer makes them and the writer takes them.
#[derive(Default)]
pub(in crate::journal) struct Spares {
    ready: Mutex<VecDeque<(String, Arc<dyn File>)>>,
    made: Mutex<u64>,
}

impl Spares {
    pub(in crate::journal) fn len(&self) -> usize {
        self.ready.lock().len()
    }

    pub(in crate::journal) fn take(&self) -> Option<(String, Arc<dyn File>)> {
        self.ready.lock().pop_front()
    }

    /// Makes one spare: of full length, filled with zeros, synced piece by piece.
    ///
    /// `piece` returns how many bytes the next piece may have. It may wait before it returns, and its error gives the
    /// spare up.
    pub(in crate::journal) fn prepare(
        &self,
        storage: &dyn Storage,
        sizes: Sizes,
        piece: impl Fn() -> io::Result<u64>,
    ) -> io::Result<()> {
        let number = {
            let mut made = self.made.lock();
            *made += 1;
            *made
        };
        let path = format!("{JOURNAL_DIR}/spare-{number}.tmp");
        fill_whole(storage, &path, sizes.segment, piece)?;
        match storage.open_log(&path) {
            Ok(file) => {
                self.ready.lock().push_back((path, file));
                Ok(())
            }
            Err(error) => {
                let _ = storage.unlink(&path);
                Err(error)
            }
        }
    }
}

/// Makes a file of `length` zeros, synced piece by piece, or none. `piece` is as in [`Spares::prepare`].
pub(in crate::journal) fn fill_whole(
    storage: &dyn Storage,
    path: &str,
    length: u64,
    piece: impl Fn() -> io::Result<u64>,
) -> io::Result<()> {
    let made = storage.create_new(path).and_then(|file| {
        let mut at = 0;
        while at < length {
            let end = length.min(at + piece()?);
            fill(&*file, at, end)?;
            file.sync_data()?;
            at = end;
        }
        Ok(())
    });
    made.inspect_err(|_| {
        // Half of it is useless, and a full disk needs its bytes back.
        let _ = storage.unlink(path);
    })
}

/// Writes zeros from `begin` to `end`, so that no later write needs new blocks.
pub(in crate::journal) fn fill(file: &dyn File, begin: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; end.saturating_sub(begin).min(1 << 18) as usize];
    let mut at = begin;
    while at < end {
        let part = zeros.get(..(end - at).min(zeros.len() as u64) as usize).unwrap_or_default();
        file.write_at(part, at)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// The open end of the journal. Each frame is synced before the next one is written.
pub(in crate::journal) struct Log {
    context: JournalContext,
    identity: IdentityFile,
    spares: Arc<Spares>,
    file: Arc<dyn File>,
    path: String,
    segno: u64,
    salt_tag: [u8; 8],
    /// Offset of the next frame. Everything below it is durable.
    offset: u64,
    chain: Chain,
    buffer: Vec<u8>,
}

/// The first segment of a run, made by recovery, with the position after its first frames.
pub(in crate::journal) struct FirstSegment {
    pub(in crate::journal) file: Arc<dyn File>,
    pub(in crate::journal) segno: u64,
    pub(in crate::journal) salt_tag: [u8; 8],
    pub(in crate::journal) offset: u64,
    pub(in crate::journal) chain: Chain,
}

impl Log {
    pub(in crate::journal) fn new(
        context: JournalContext,
        identity: IdentityFile,
        spares: Arc<Spares>,
        first: FirstSegment,
    ) -> Self {
        let FirstSegment { file, segno, salt_tag, offset, chain } = first;
        let path = segment_path(segno);
        Self { context, identity, spares, file, path, segno, salt_tag, offset, chain, buffer: Vec::new() }
    }

    /// Returns how many bytes frames can still take in this segment, less what the switch to the next one can waste.
    pub(in crate::journal) fn room_here(&self) -> u64 {
        self.context.sizes.segment.saturating_sub(self.offset + self.context.sizes.frame_max())
    }

    /// Returns the fault of a write that was not tried, because an earlier one failed.
    pub(in crate::journal) fn fault_before(&self) -> Fault {
        let before = io::Error::other("an earlier write or sync failed");
        Fault::new("nothing more is written to", &self.path, self.offset)(before)
    }

    pub(in crate::journal) const fn spares(&self) -> &Arc<Spares> {
        &self.spares
    }

    /// Returns whether a frame without entries fits into room that no entry has been promised.
    pub(in crate::journal) fn has_room_for_a_mark(&self) -> bool {
        self.offset + self.context.sizes.align as u64 + self.context.sizes.frame_max()
            <= self.context.sizes.segment
    }

    pub(in crate::journal) const fn durable_seq(&self) -> u64 {
        self.chain.next_seq - 1
    }

    /// Writes a frame and syncs it. Returns how many bytes it took.
    pub(in crate::journal) fn write(&mut self, kind: Kind, count: u32, body: &[u8]) -> Result<u64, Fault> {
        let align = self.context.sizes.align;
        let len = frame::padded(body.len(), align) as u64;
        if self.offset + len > self.context.sizes.segment {
            self.switch()?;
        }
        let header = FrameHeader {
            salt_tag: self.salt_tag,
            batch_no: self.chain.next_batch,
            first_seq: self.chain.next_seq,
            count,
            durable_off: self.offset,
            durable_seq: self.durable_seq(),
            wall_ms: self.chain.wall_ms.max(self.context.clock.now().as_millis()),
            epoch: self.context.epoch,
            prev_crc: self.chain.last_crc,
            kind,
        };
        self.buffer.clear();
        let composed = frame::write(&header, body, align, &mut self.buffer);
        let crc = composed.map_err(io::Error::other).map_err(Fault::new(
            "cannot frame for",
            &self.path,
            self.offset,
        ))?;
        self.file.write_at(&self.buffer, self.offset).map_err(Fault::new(
            "cannot write to",
            &self.path,
            self.offset,
        ))?;
        self.sync().map_err(Fault::new("cannot sync", &self.path, self.offset))?;
        // The time in a durable frame is past for ever: if the system's clock is set back, ours goes on from here.
        self.context.clock.raise_floor(Timestamp(header.wall_ms));
        self.offset += len;
        self.chain = Chain {
            next_batch: self.chain.next_batch + 1,
            next_seq: self.chain.next_seq + u64::from(count),
            last_crc: crc,
            wall_ms: header.wall_ms,
        };
        Ok(len)
    }

    /// Makes the frame durable. A failed sync is never tried again: the kernel calls the page clean after it, and a
    /// second sync would succeed without writing.
    fn sync(&self) -> io::Result<()> {
        if !self.is_synced() {
            return Ok(());
        }
        self.file
            .sync_data()
            .or_else(|error| if seeded(Bug::SyncTriedAgain) { self.file.sync_data() } else { Err(error) })
    }

    /// Returns whether the last frame was synced: always, except for one seeded mistake.
    pub(in crate::journal) fn is_synced(&self) -> bool {
        !seeded(Bug::TwoFramesInFlight) || self.chain.next_batch.is_multiple_of(2)
    }

    /// Switches to the next spare segment. Everything written before is durable.
    fn switch(&mut self) -> Result<(), Fault> {
        let none = || io::Error::other("no spare segment, although room was promised");
        let (spare, file) = self.spares.take().ok_or_else(none).map_err(Fault::new(
            "cannot go on after",
            &self.path,
            self.offset,
        ))?;
        let segno = self.segno + 1;
        let fields = SegmentFields {
            segno,
            segment_len: self.context.sizes.segment,
            first_seq: self.chain.next_seq,
            first_batch: self.chain.next_batch,
            prev_segno: self.segno,
            prev_valid_len: self.offset,
            prev_last_crc: self.chain.last_crc,
            align: self.context.sizes.align as u32,
            born_len: HEADER_BYTES as u64,
        };
        let path = segment_path(segno);
        let storage = &self.context.storage;
        let header = self.context.header(FileKind::Segment, &fields.to_bytes()).map_err(Fault::new(
            "cannot draw a salt for",
            &path,
            0,
        ))?;
        file.write_at(&header.to_bytes(), 0)
            .and_then(|()| if seeded(Bug::RenameBeforeSync) { Ok(()) } else { file.sync_data() })
            .and_then(|()| storage.rename(&spare, &path))
            .and_then(|()| if seeded(Bug::NoDirectorySync) { Ok(()) } else { storage.sync_dir(JOURNAL_DIR) })
            .map_err(Fault::new("cannot begin", &path, 0))?;
        if !seeded(Bug::SwitchWithoutIdentity) {
            let written = self.identity.write(self.context.epoch, segno, self.durable_seq(), State::Live);
            written.map_err(Fault::new("cannot write IDENTITY for", &path, 0))?;
        }
        self.salt_tag = salt_tag(&header);
        self.file = file;
        self.path = path;
        self.segno = segno;
        self.offset = HEADER_BYTES as u64;
        Ok(())
    }

    /// Raises the lower bound in `IDENTITY` to the current segment and the last durable sequence.
    pub(crate) fn persist_low_bound(&mut self, state: State) -> Result<(), Fault> {
        self.identity.write(self.context.epoch, self.segno, self.durable_seq(), state).map_err(Fault::new(
            "cannot write IDENTITY for",
            &self.path,
            self.offset,
        ))
    }
}

/// Returns how many bytes frames can surely take in one whole segment.
pub(in crate::journal) const fn usable(sizes: Sizes) -> u64 {
    sizes.segment.saturating_sub(HEADER_BYTES as u64 + sizes.frame_max())
}

/// Deletes, oldest first, the segments that hold no entry after `needed_from`. A segment ends where the next one
/// begins, so the last one always stays.
pub fn drop_segments(storage: &dyn Storage, needed_from: u64) -> io::Result<()> {
    let segments = numbers(storage, JOURNAL_DIR, ".log")?;
    let mut dropped = false;
    for (segno, next) in segments.iter().zip(segments.iter().skip(1)) {
        let mut block = [0; HEADER_BYTES];
        storage.open(&segment_path(*next))?.read_at(&mut block, 0)?;
        let header = Header::read(FileKind::Segment, &block).map_err(io::Error::other)?;
        let first_seq = SegmentFields::read(&header.by_kind).map_or(0, |fields| fields.first_seq);
        let needed = if seeded(Bug::SegmentsDroppedEarly) { needed_from + 9 } else { needed_from + 1 };
        if first_seq > needed || first_seq == 0 {
            break;
        }
        storage.unlink(&segment_path(*segno))?;
        dropped = true;
    }
    if dropped { storage.sync_dir(JOURNAL_DIR) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::simulation::golden::{disk_of, frozen};
    use crate::storage::simulated::SimStorage;
    use std::cell::RefCell;

    #[test]
    fn a_spare_goes_to_the_disk_piece_by_piece() {
        let disk = SimStorage::new();
        disk.create_dir(JOURNAL_DIR).unwrap();
        disk.sync_dir("").unwrap();
        let sizes = Sizes { segment: 2 * PIECE + 512, ..Sizes::PRODUCTION };
        let spares = Spares::default();
        let lengths = RefCell::new(Vec::new());
        let path = format!("{JOURNAL_DIR}/spare-1.tmp");
        let durable = || {
            disk.sync_dir(JOURNAL_DIR).unwrap();
            // A power cut would leave everything that was written, since each piece was synced.
            disk.after_crash(1).peek(&path).unwrap().len() as u64
        };
        let piece = || {
            lengths.borrow_mut().push(durable());
            Ok(PIECE)
        };
        spares.prepare(&disk, sizes, piece).unwrap();
        assert_eq!(lengths.take(), [0, PIECE, 2 * PIECE]);
        assert_eq!(durable(), sizes.segment);
        assert_eq!(disk.peek(&path).unwrap(), vec![0; sizes.segment as usize]);
        assert_eq!(spares.len(), 1);
        // A spare that is given up half way leaves nothing.
        let begun = std::cell::Cell::new(0);
        let piece = || {
            begun.set(begun.get() + 1);
            if begun.get() < 3 { Ok(PIECE) } else { Err(io::ErrorKind::Interrupted.into()) }
        };
        assert!(spares.prepare(&disk, sizes, piece).is_err());
        assert_eq!(spares.len(), 1);
        assert_eq!(disk.list(JOURNAL_DIR).unwrap().len(), 1);
    }

    #[test]
    fn a_segment_is_deleted_if_the_next_one_begins_in_time() {
        let first_seq = |disk: &SimStorage, segno| {
            let block = disk.peek(&segment_path(segno)).unwrap()[..HEADER_BYTES].try_into().unwrap();
            SegmentFields::read(&Header::read(FileKind::Segment, &block).unwrap().by_kind).unwrap().first_seq
        };
        let left = |needed_from| {
            let disk = disk_of(&frozen("clean"));
            drop_segments(&disk, needed_from).unwrap();
            numbers(&disk, JOURNAL_DIR, ".log").unwrap()
        };
        let disk = disk_of(&frozen("clean"));
        let second = first_seq(&disk, 2);
        let third = first_seq(&disk, 3);
        assert!(1 < second && second < third);
        assert_eq!(left(0), [1, 2, 3]);
        assert_eq!(left(second - 2), [1, 2, 3]);
        assert_eq!(left(second - 1), [2, 3]);
        assert_eq!(left(third - 2), [2, 3]);
        assert_eq!(left(third - 1), [3]);
        assert_eq!(left(u64::MAX - 9), [3]);
    }
}
