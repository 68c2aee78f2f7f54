//! The first segment of a run: it begins with a fence, and carries over the entries of the unproven frame.

use std::io;

use super::replay::End;
use crate::journal::append::segment_log::{Chain, FirstSegment, fill};
use crate::journal::context::{JournalContext, salt_tag};
use crate::journal::format::frame::{self, FrameHeader, Kind};
use crate::journal::format::header::{FileKind, HEADER_BYTES};
use crate::journal::format::layout::{JOURNAL_DIR, SegmentFields, segment_path};
use crate::system::clock::Timestamp;

/// Makes the segment after `end`. Fence and carry are in the file and durable before it gets its name, so that one
/// rename replaces the old tail: a crash before it changes nothing. `floor` is the latest time that the journal has
/// seen.
pub(super) fn begin_segment(
    context: &JournalContext,
    end: &End,
    floor: Timestamp,
) -> io::Result<FirstSegment> {
    let segno = end.segno + 1;
    let align = context.sizes.align;
    let carry_len = end.carry.as_ref().map_or(0, |carry| frame::padded(carry.body.len(), align));
    let born_len = (HEADER_BYTES + frame::padded(0, align) + carry_len) as u64;
    let fields = SegmentFields {
        segno,
        segment_len: context.sizes.segment,
        first_seq: end.chain.next_seq,
        first_batch: end.chain.next_batch,
        prev_segno: end.segno,
        prev_valid_len: end.valid_len,
        prev_last_crc: end.chain.last_crc,
        align: align as u32,
        born_len,
    };
    let header = context.header(FileKind::Segment, &fields.to_bytes())?;
    let mut first_frames = FirstFrames {
        salt_tag: salt_tag(&header),
        epoch: context.epoch,
        align,
        chain: Chain { wall_ms: floor.max(context.clock.now()).as_millis(), ..end.chain },
        bytes: header.to_bytes(),
    };
    first_frames.add(Kind::Fence, 0, &[])?;
    if let Some(carry) = &end.carry {
        first_frames.add(Kind::Carry, carry.count, &carry.body)?;
    }
    let FirstFrames { salt_tag, chain, bytes, .. } = first_frames;

    let path = segment_path(segno);
    let temporary = format!("{path}.tmp");
    let file = context.storage.create_new(&temporary)?;
    file.write_at(&bytes, 0)?;
    fill(&*file, born_len, context.sizes.segment)?;
    file.sync_data()?;
    let file = context.storage.open_log(&temporary)?;
    context.storage.rename(&temporary, &path)?;
    context.storage.sync_dir(JOURNAL_DIR)?;
    Ok(FirstSegment { file, segno, salt_tag, offset: born_len, chain })
}

/// Header block and first frames of a segment that has no name yet.
struct FirstFrames {
    salt_tag: [u8; 8],
    epoch: u64,
    align: usize,
    /// What the next frame continues.
    chain: Chain,
    bytes: Vec<u8>,
}

impl FirstFrames {
    fn add(&mut self, kind: Kind, count: u32, body: &[u8]) -> io::Result<()> {
        let chain = &mut self.chain;
        let header = FrameHeader {
            salt_tag: self.salt_tag,
            batch_no: chain.next_batch,
            first_seq: chain.next_seq,
            count,
            durable_off: HEADER_BYTES as u64,
            durable_seq: chain.next_seq - 1,
            wall_ms: chain.wall_ms,
            epoch: self.epoch,
            prev_crc: chain.last_crc,
            kind,
        };
        chain.last_crc =
            frame::write(&header, body, self.align, &mut self.bytes).map_err(io::Error::other)?;
        chain.next_batch += 1;
        chain.next_seq += u64::from(count);
        Ok(())
    }
}
