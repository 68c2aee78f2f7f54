//! The scan over the frames of one segment, judged by the table of [`verdict`](super::verdict).

use super::verdict::{Evidence, Reason, Verdict, What, Where, classify};
use crate::journal::append::segment_log::Chain;
use crate::journal::format::frame::{self, Frame, Kind, Seen};
use crate::journal::format::header::HEADER_BYTES;
use crate::journal::format::layout::Sizes;
use crate::storage::is_zero;
use crate::system::seeded_bug::{Bug, seeded};

/// The bytes of a segment, with what its header and its successor say of them.
pub(in crate::journal) struct SegmentScan<'a> {
    pub(in crate::journal) bytes: &'a [u8],
    pub(in crate::journal) sizes: Sizes,
    pub(in crate::journal) salt_tag: [u8; 8],
    pub(in crate::journal) epoch: u64,
    pub(in crate::journal) born_len: u64,
    /// The end that the next segment names; `None` for the last segment.
    pub(in crate::journal) named_end: Option<NamedEnd>,
}

/// The end of a segment, as its successor names it.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct NamedEnd {
    /// The offset at which its frames end.
    pub(in crate::journal) len: u64,
    /// `header_crc` of its last frame.
    pub(in crate::journal) last_crc: u32,
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::journal) struct Scanned {
    /// The offset at which the frames end.
    pub(in crate::journal) end: u64,
    /// What the next frame would continue.
    pub(in crate::journal) chain: Chain,
    /// The last frame, if there is one: its offset, and the chain before it.
    pub(in crate::journal) last: Option<(u64, Chain)>,
    /// Whether bytes after the end are to be cut off.
    pub(in crate::journal) torn: bool,
    /// Whether the last frame is that of a clean stop.
    pub(in crate::journal) closed: bool,
}

/// The reason why a scan cannot go on, with the offset.
#[derive(Debug)]
pub(in crate::journal) enum Broken {
    /// The table refuses the bytes.
    Judged(u64, Reason),
    /// An entry of a sound frame cannot be applied.
    Apply(u64, String),
}

impl SegmentScan<'_> {
    /// Gives every frame to `apply`, in order. `chain` is what the first frame must continue.
    pub(in crate::journal) fn run(
        &self,
        mut chain: Chain,
        mut apply: impl FnMut(&Frame<'_>) -> Result<(), String>,
    ) -> Result<Scanned, Broken> {
        let mut at = HEADER_BYTES as u64;
        let mut last = None;
        let mut closed = false;
        loop {
            let rest = self.bytes.get(at as usize..).unwrap_or_default();
            let seen = frame::read(rest, self.sizes.align);
            let (what, frame) = match &seen {
                Seen::End => (What::End, None),
                Seen::Frame(frame) if self.continues(chain, frame) => (What::Good, Some(frame)),
                Seen::Frame(_) => (What::Alien, None),
                Seen::Bad => (What::Bad, None),
            };
            let evidence = Evidence {
                past_named_end: self
                    .named_end
                    .zip(frame)
                    .is_some_and(|(end, frame)| at + frame.len as u64 > end.len),
                named_crc_agrees: self.named_end.is_some_and(|end| end.last_crc == chain.last_crc)
                    || seeded(Bug::ChainNotChecked),
                after_close: closed,
                witnessed: what == What::Bad && !seeded(Bug::StopAtFirstBadFrame) && self.is_witnessed(at),
                bytes_beyond_reach: what == What::Bad
                    && !seeded(Bug::StopAtFirstBadFrame)
                    && !is_zero(rest.get(self.sizes.frame_max() as usize..).unwrap_or_default()),
            };
            let scanned = |torn| Scanned { end: at, chain, last, torn, closed };
            match classify(self.place_of(at), what, evidence) {
                Verdict::Apply => {}
                Verdict::NextSegment | Verdict::End => return Ok(scanned(false)),
                Verdict::Torn => return Ok(scanned(true)),
                Verdict::Refuse(reason) => return Err(Broken::Judged(at, reason)),
            }
            let Some(frame) = frame else { return Err(Broken::Judged(at, Reason::Corrupt)) };
            apply(frame).map_err(|why| Broken::Apply(at, why))?;
            last = Some((at, chain));
            closed = frame.header.kind == Kind::Close;
            chain = Chain {
                next_batch: frame.header.batch_no + 1,
                next_seq: frame.header.first_seq + u64::from(frame.header.count),
                last_crc: frame.header_crc,
                wall_ms: frame.header.wall_ms,
            };
            at += frame.len as u64;
        }
    }

    fn place_of(&self, at: u64) -> Where {
        match self.named_end {
            Some(end) if at < end.len => Where::BeforeNamedEnd,
            Some(_) => Where::AtNamedEnd,
            None if at < self.born_len && !seeded(Bug::BornTakenForTorn) => Where::Born,
            None => Where::Tail,
        }
    }

    fn continues(&self, chain: Chain, frame: &Frame<'_>) -> bool {
        let header = &frame.header;
        header.salt_tag == self.salt_tag
            && header.epoch == self.epoch
            && header.batch_no == chain.next_batch
            && header.first_seq == chain.next_seq
            && (header.prev_crc == chain.last_crc || seeded(Bug::ChainNotChecked))
            && header.wall_ms >= chain.wall_ms
    }

    /// Returns whether a later frame header says that the bytes at `at` were durable.
    fn is_witnessed(&self, at: u64) -> bool {
        let first = at as usize + self.sizes.align;
        (first..self.bytes.len()).step_by(self.sizes.align).any(|later| {
            self.bytes
                .get(later..)
                .and_then(frame::read_header)
                .is_some_and(|header| header.salt_tag == self.salt_tag && header.durable_off > at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::frame::FrameHeader;
    use crate::simulation::golden::SIZES;

    const TAG: [u8; 8] = [7; 8];
    const BEGIN: Chain = Chain { next_batch: 1, next_seq: 1, last_crc: 0, wall_ms: 0 };

    /// A segment that is written frame by frame.
    struct Written {
        bytes: Vec<u8>,
        chain: Chain,
    }

    impl Written {
        fn new() -> Self {
            Self { bytes: vec![0; HEADER_BYTES], chain: BEGIN }
        }

        /// Adds a frame that says that everything below `durable_off` was durable. Returns its offset.
        fn frame(&mut self, salt_tag: [u8; 8], durable_off: u64) -> u64 {
            let header = FrameHeader {
                salt_tag,
                batch_no: self.chain.next_batch,
                first_seq: self.chain.next_seq,
                count: 1,
                durable_off,
                durable_seq: 0,
                wall_ms: 5,
                epoch: 1,
                prev_crc: self.chain.last_crc,
                kind: Kind::Data,
            };
            let at = self.bytes.len() as u64;
            let last_crc = frame::write(&header, &[1; 30], SIZES.align, &mut self.bytes).unwrap();
            self.chain = Chain {
                next_batch: self.chain.next_batch + 1,
                next_seq: self.chain.next_seq + 1,
                last_crc,
                wall_ms: 5,
            };
            at
        }

        /// Scans the segment. Returns how that ended and how many frames were applied.
        fn scan(&self, named_end: Option<NamedEnd>) -> (Result<Scanned, Broken>, usize) {
            let mut bytes = self.bytes.clone();
            bytes.resize(SIZES.segment as usize, 0);
            let born_len = HEADER_BYTES as u64;
            let scan =
                SegmentScan { bytes: &bytes, sizes: SIZES, salt_tag: TAG, epoch: 1, born_len, named_end };
            let mut applied = 0;
            let scanned = scan.run(BEGIN, |_| {
                applied += 1;
                Ok(())
            });
            (scanned, applied)
        }

        /// Damages the frame at an offset. Returns the offset at which the segment is cut as torn, or why it is
        /// refused.
        fn damaged_at(mut self, at: u64) -> Result<u64, Reason> {
            self.bytes[at as usize + 100] ^= 1;
            match self.scan(None).0 {
                Ok(scanned) => {
                    assert!(scanned.torn);
                    Ok(scanned.end)
                }
                Err(Broken::Judged(place, reason)) => {
                    assert_eq!(place, at);
                    Err(reason)
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_frame_may_end_at_the_named_end_and_not_after_it() {
        let mut written = Written::new();
        written.frame(TAG, 0);
        let last = written.frame(TAG, 0);
        let len = written.bytes.len() as u64;
        let last_crc = written.chain.last_crc;
        let (scanned, applied) = written.scan(Some(NamedEnd { len, last_crc }));
        let scanned = scanned.unwrap();
        assert_eq!(scanned.end, len);
        assert!(!scanned.torn);
        assert_eq!(applied, 2);
        assert_eq!(scanned.chain, written.chain);
        assert_eq!(scanned.last.map(|(at, _)| at), Some(last));

        let (scanned, applied) = written.scan(Some(NamedEnd { len: len - 1, last_crc }));
        assert!(
            matches!(scanned, Err(Broken::Judged(at, Reason::PastNamedEnd)) if at == last),
            "{scanned:?}"
        );
        assert_eq!(applied, 1);

        let (scanned, _) = written.scan(Some(NamedEnd { len, last_crc: last_crc ^ 1 }));
        assert!(matches!(scanned, Err(Broken::Judged(at, Reason::BrokenChain)) if at == len), "{scanned:?}");
    }

    #[test]
    fn only_a_header_of_this_segment_that_attests_them_is_a_witness() {
        let damaged_before = |tag, attests: fn(u64) -> u64| {
            let mut written = Written::new();
            written.frame(TAG, 0);
            let at = written.frame(TAG, 0);
            written.frame(tag, attests(at));
            written.damaged_at(at)
        };
        let at = HEADER_BYTES as u64 + SIZES.align as u64;
        assert_eq!(damaged_before(TAG, |at| at + 1), Err(Reason::Corrupt));
        assert_eq!(damaged_before(TAG, |at| at), Ok(at));
        assert_eq!(damaged_before([8; 8], |at| at + 1), Ok(at));
        assert_eq!(damaged_before([8; 8], |_| 0), Ok(at));
    }

    #[test]
    fn bytes_beyond_the_reach_of_a_frame_are_no_torn_frame() {
        let reach = SIZES.frame_max() as usize;
        let with_byte_at = |place: usize| {
            let mut written = Written::new();
            let at = written.frame(TAG, 0);
            written.bytes.resize(at as usize + place, 0);
            written.bytes.push(1);
            written.damaged_at(at)
        };
        assert_eq!(with_byte_at(reach - 1), Ok(HEADER_BYTES as u64));
        assert_eq!(with_byte_at(reach), Err(Reason::Corrupt));
        // After a sound frame they are no evidence.
        let mut written = Written::new();
        let at = written.frame(TAG, 0);
        written.bytes.resize(at as usize + reach, 0);
        written.bytes.push(1);
        let (scanned, applied) = written.scan(None);
        assert!(scanned.unwrap().torn);
        assert_eq!(applied, 1);
    }
}
