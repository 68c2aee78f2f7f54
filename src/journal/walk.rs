//! The walk over the frames of one segment, judged by the table of [`verdict`](super::verdict).

use super::bugs::{Bug, seeded};
use super::bytes::is_zero;
use super::frame::{self, Frame, Kind, Seen};
use super::header::HEADER_BYTES;
use super::layout::Sizes;
use super::segment::Chain;
use super::verdict::{Evidence, Reason, Verdict, What, Where, classify};

/// A segment as it is read, and what is known of its neighbours.
pub(super) struct Walk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) sizes: Sizes,
    pub(super) salt_tag: [u8; 8],
    pub(super) epoch: u64,
    pub(super) born_len: u64,
    /// What the next segment says of this one's end and last frame.
    pub(super) named_end: Option<(u64, u32)>,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Walked {
    /// Where the frames end.
    pub(super) end: u64,
    /// What the next frame would continue.
    pub(super) chain: Chain,
    /// The last frame, if there is one: where it begins, and what came before it.
    pub(super) last: Option<(u64, Chain)>,
    /// Bytes behind the end are to be cut off.
    pub(super) torn: bool,
    /// The last frame is that of a clean stop.
    pub(super) closed: bool,
}

/// Why the walk cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    /// By the table.
    Judged(u64, Reason),
    /// An entry of a sound frame cannot be applied.
    Apply(u64, String),
}

impl Walk<'_> {
    /// Gives every frame to `apply` with the offset it begins at, in order.
    pub(super) fn run(
        &self,
        mut chain: Chain,
        mut apply: impl FnMut(&Frame<'_>) -> Result<(), String>,
    ) -> Result<Walked, Broken> {
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
            let walked = |torn| Walked { end: at, chain, last, torn, closed };
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
