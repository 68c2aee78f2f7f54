//! The verdict on the bytes at one offset of the journal: one total table.
//!
//! Only one frame is in flight, so a later frame exists only if the earlier one was durable. Damage before a later
//! frame that attests it (a witness) is therefore corruption of something acknowledged: recovery refuses. Without a
//! witness at most one frame, never acknowledged, can be torn: it is cut off.

/// The place of an offset in the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Where {
    /// In a segment with a successor, before the end that the successor names.
    BeforeNamedEnd,
    /// In a segment with a successor, at the end that the successor names.
    AtNamedEnd,
    /// In the last segment, among the bytes that were in the file before it got its name.
    Born,
    /// In the last segment, after those bytes.
    Tail,
}

/// The kind of the bytes at an offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// Zeros to the end of the file.
    End,
    /// A frame that continues the chain.
    Good,
    /// A frame whose checksums are right, but which does not continue the chain.
    Alien,
    /// Any other bytes.
    Bad,
}

/// The evidence around an offset. Each row of the table uses only some of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// The frame goes past the end that the next segment names.
    pub past_named_end: bool,
    /// The checksum of the last frame is the one that the next segment names.
    pub named_crc_agrees: bool,
    /// The frame before is that of a clean stop.
    pub after_close: bool,
    /// A later frame header of this segment attests that the bytes at the offset were durable.
    pub witnessed: bool,
    /// Some bytes are not zero beyond the reach of a frame that begins here.
    pub bytes_beyond_reach: bool,
}

/// The verdict.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Apply the frame and go on after it.
    Apply,
    /// Go on with the next segment.
    NextSegment,
    /// The journal ends here.
    End,
    /// A frame that was never acknowledged is incomplete: cut it off and keep its bytes in quarantine.
    Torn,
    /// Refuse to start.
    Refuse(Reason),
}

/// The reason why recovery refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Durable bytes are damaged.
    #[error("corrupt: these bytes were durable and are damaged")]
    Corrupt,
    /// A sound frame is at a place where it was never written.
    #[error("misplaced: a sound frame that does not continue the journal")]
    Misplaced,
    /// A frame goes past the end that the next segment names.
    #[error("the next segment names an earlier end")]
    PastNamedEnd,
    /// The next segment does not continue this one.
    #[error("the next segment names another last frame")]
    BrokenChain,
    /// A frame follows that of a clean stop, which must be the last of its segment.
    #[error("frames follow a clean stop")]
    AfterClose,
}

/// Returns the verdict on bytes of kind `what` at `place`. Every input has one.
pub const fn classify(place: Where, what: What, evidence: Evidence) -> Verdict {
    match (place, what) {
        (Where::AtNamedEnd, _) => {
            if evidence.named_crc_agrees {
                Verdict::NextSegment
            } else {
                Verdict::Refuse(Reason::BrokenChain)
            }
        }
        (Where::BeforeNamedEnd, What::Good) => {
            if evidence.past_named_end {
                Verdict::Refuse(Reason::PastNamedEnd)
            } else {
                Verdict::Apply
            }
        }
        (Where::Born, What::Good) => Verdict::Apply,
        (Where::BeforeNamedEnd | Where::Born, _) => Verdict::Refuse(Reason::Corrupt),
        (Where::Tail, What::Good) => {
            if evidence.after_close {
                Verdict::Refuse(Reason::AfterClose)
            } else {
                Verdict::Apply
            }
        }
        (Where::Tail, What::End) => Verdict::End,
        (Where::Tail, What::Alien) => Verdict::Refuse(Reason::Misplaced),
        (Where::Tail, What::Bad) => {
            if evidence.after_close || evidence.witnessed || evidence.bytes_beyond_reach {
                Verdict::Refuse(Reason::Corrupt)
            } else {
                Verdict::Torn
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product() -> impl Iterator<Item = (Where, What, Evidence)> {
        let places = [Where::BeforeNamedEnd, Where::AtNamedEnd, Where::Born, Where::Tail];
        let whats = [What::End, What::Good, What::Alien, What::Bad];
        places.into_iter().flat_map(move |place| {
            whats.into_iter().flat_map(move |what| {
                (0..32_u8).map(move |bits| {
                    let bit = |at: u8| bits & (1 << at) != 0;
                    let evidence = Evidence {
                        past_named_end: bit(0),
                        named_crc_agrees: bit(1),
                        after_close: bit(2),
                        witnessed: bit(3),
                        bytes_beyond_reach: bit(4),
                    };
                    (place, what, evidence)
                })
            })
        })
    }

    /// The promises of the table, each checked for every input, without regard to its rows.
    #[test]
    fn the_table_keeps_its_promises_for_every_input() {
        let mut seen = 0;
        for (place, what, evidence) in product() {
            let verdict = classify(place, what, evidence);
            let row = format!("{place:?} {what:?} {evidence:?} -> {verdict:?}");
            seen += 1;

            // Only a frame that continues the chain is ever applied.
            if verdict == Verdict::Apply {
                assert_eq!(what, What::Good, "{row}");
                assert_ne!(place, Where::AtNamedEnd, "{row}");
            }
            // Only the tail of the last segment may be cut off, and only without a sign that it was acknowledged.
            if verdict == Verdict::Torn {
                assert_eq!((place, what), (Where::Tail, What::Bad), "{row}");
                assert!(!evidence.after_close, "{row}");
                assert!(!evidence.witnessed, "{row}");
                assert!(!evidence.bytes_beyond_reach, "{row}");
            }
            // The journal ends only where nothing follows, and only in the last segment.
            if verdict == Verdict::End {
                assert_eq!((place, what), (Where::Tail, What::End), "{row}");
            }
            // The next segment is entered only at the end that it names, after the frame that it names.
            let enters = place == Where::AtNamedEnd && evidence.named_crc_agrees;
            assert_eq!(verdict == Verdict::NextSegment, enters, "{row}");
            // A crash alone never makes a start fail: it leaves a tail that ends, goes on, or is torn.
            let by_crash = place == Where::Tail
                && what != What::Alien
                && !evidence.after_close
                && (what != What::Bad || (!evidence.witnessed && !evidence.bytes_beyond_reach));
            if by_crash {
                assert!(!matches!(verdict, Verdict::Refuse(_)), "{row}");
            }
            // Damage to bytes that were durable is never passed over.
            if matches!(place, Where::BeforeNamedEnd | Where::Born) && what != What::Good {
                assert_eq!(verdict, Verdict::Refuse(Reason::Corrupt), "{row}");
            }
        }
        assert_eq!(seen, 4 * 4 * 32);
    }
}
