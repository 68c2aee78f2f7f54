//! The walk over the frames of one segment, judged by the table of [`verdict`](super::verdict).

use super::verdict::{Evidence, Reason, Verdict, What, Where, classify};
use crate::journal::append::segment_log::Chain;
use crate::journal::format::frame::{self, Frame, Kind, Seen};
use crate::journal::format::header::HEADER_BYTES;
use crate::journal::format::layout::Sizes;
use crate::storage::is_zero;
use crate::system::seeded_bug::{Bug, seeded};

/// A segment as it is read, and what is known of its neighbours.
pub(in crate::journal) struct SegmentScan<'a> {
    pub(in crate::journal) bytes: &'a [u8],
    pub(in crate::journal) sizes: Sizes,
    pub(in crate::journal) salt_tag: [u8; 8],
    pub(in crate::journal) epoch: u64,
    pub(in crate::journal) born_len: u64,
    /// What the next segment says of this one's end and last frame.
    pub(in crate::journal) named_end: Option<(u64, u32)>,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::journal) struct Scanned {
    /// Where the frames end.
    pub(in crate::journal) end: u64,
    /// What the next frame would continue.
    pub(in crate::journal) chain: Chain,
    /// The last frame, if there is one: where it begins, and what came before it.
    pub(in crate::journal) last: Option<(u64, Chain)>,
    /// Bytes behind the end are to be cut off.
    pub(in crate::journal) torn: bool,
    /// The last frame is that of a clean stop.
    pub(in crate::journal) closed: bool,
}

/// Why the walk cannot go on.
#[derive(Debug)]
pub(in crate::journal) enum Broken {
    /// By the table.
    Judged(u64, Reason),
    /// An entry of a sound frame cannot be applied.
    Apply(u64, String),
}

impl SegmentScan<'_> {
    /// Gives every frame to `apply` with the offset it begins at, in order.
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
            let place = match self.named_end {
                Some((end, _)) if at < end => Where::BeforeNamedEnd,
                Some(_) => Where::AtNamedEnd,
                None if at < self.born_len && !seeded(Bug::BornTakenForTorn) => Where::Born,
                None => Where::Tail,
            };
            let evidence = Evidence {
                past_named_end: self
                    .named_end
                    .zip(frame)
                    .is_some_and(|((end, _), frame)| at + frame.len as u64 > end),
                named_crc_agrees: self.named_end.is_some_and(|(_, crc)| crc == chain.last_crc)
                    || seeded(Bug::ChainNotChecked),
                after_close: closed,
                witnessed: what == What::Bad && !seeded(Bug::StopAtFirstBadFrame) && self.is_witnessed(at),
                bytes_beyond_reach: what == What::Bad
                    && !seeded(Bug::StopAtFirstBadFrame)
                    && !is_zero(rest.get(self.sizes.frame_max() as usize..).unwrap_or_default()),
            };
            let walked = |torn| Scanned { end: at, chain, last, torn, closed };
            match classify(place, what, evidence) {
                Verdict::Apply => {}
                Verdict::NextSegment | Verdict::End => return Ok(walked(false)),
                Verdict::Torn => return Ok(walked(true)),
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

    fn continues(&self, chain: Chain, frame: &Frame<'_>) -> bool {
        let header = &frame.header;
        header.salt_tag == self.salt_tag
            && header.epoch == self.epoch
            && header.batch_no == chain.next_batch
            && header.first_seq == chain.next_seq
            && (header.prev_crc == chain.last_crc || seeded(Bug::ChainNotChecked))
            && header.wall_ms >= chain.wall_ms
    }

    /// Whether a header somewhere behind `at` says that the bytes at `at` were durable.
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

        /// A frame that says what was durable, with another tag if need be; gives its offset.
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
            let (next_batch, next_seq) = (self.chain.next_batch + 1, self.chain.next_seq + 1);
            self.chain = Chain { next_batch, next_seq, last_crc, wall_ms: 5 };
            at
        }

        fn walk(&self, named_end: Option<(u64, u32)>) -> (Result<Scanned, Broken>, usize) {
            let mut bytes = self.bytes.clone();
            bytes.resize(SIZES.segment as usize, 0);
            let born_len = HEADER_BYTES as u64;
            let walk =
                SegmentScan { bytes: &bytes, sizes: SIZES, salt_tag: TAG, epoch: 1, born_len, named_end };
            let mut applied = 0;
            let walked = walk.run(BEGIN, |_| {
                applied += 1;
                Ok(())
            });
            (walked, applied)
        }

        /// Damages the frame at an offset, and says where the walk ends there, torn, or why it refuses.
        fn damaged_at(mut self, at: u64) -> Result<u64, Reason> {
            self.bytes[at as usize + 100] ^= 1;
            match self.walk(None).0 {
                Ok(walked) => {
                    assert!(walked.torn);
                    Ok(walked.end)
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
    fn a_frame_may_end_at_the_end_that_is_named_and_not_behind_it() {
        let mut written = Written::new();
        written.frame(TAG, 0);
        let last = written.frame(TAG, 0);
        let end = written.bytes.len() as u64;
        let crc = written.chain.last_crc;
        let (walked, applied) = written.walk(Some((end, crc)));
        let walked = walked.unwrap();
        assert_eq!((walked.end, walked.torn, applied), (end, false, 2));
        assert_eq!((walked.chain, walked.last.map(|(at, _)| at)), (written.chain, Some(last)));
        let (walked, applied) = written.walk(Some((end - 1, crc)));
        assert!(matches!(walked, Err(Broken::Judged(at, Reason::PastNamedEnd)) if at == last), "{walked:?}");
        assert_eq!(applied, 1);
        let (walked, _) = written.walk(Some((end, crc ^ 1)));
        assert!(matches!(walked, Err(Broken::Judged(at, Reason::BrokenChain)) if at == end), "{walked:?}");
    }

    #[test]
    fn only_a_header_of_this_segment_that_attests_the_bytes_is_a_witness() {
        let behind = |tag, attests: fn(u64) -> u64| {
            let mut written = Written::new();
            written.frame(TAG, 0);
            let at = written.frame(TAG, 0);
            written.frame(tag, attests(at));
            written.damaged_at(at)
        };
        let at = HEADER_BYTES as u64 + SIZES.align as u64;
        assert_eq!(behind(TAG, |at| at + 1), Err(Reason::Corrupt));
        assert_eq!(behind(TAG, |at| at), Ok(at));
        assert_eq!(behind([8; 8], |at| at + 1), Ok(at));
        assert_eq!(behind([8; 8], |_| 0), Ok(at));
    }

    #[test]
    fn bytes_where_no_frame_reaches_are_no_torn_frame() {
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
        // Behind a sound frame that is no question.
        let mut written = Written::new();
        let at = written.frame(TAG, 0);
        written.bytes.resize(at as usize + reach, 0);
        written.bytes.push(1);
        let (walked, applied) = written.walk(None);
        assert_eq!((walked.unwrap().torn, applied), (true, 1));
    }
}
