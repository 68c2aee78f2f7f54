//! What recovery does with the bytes at one offset of the journal: one total table.
//!
//! One frame is written per sync and one is in flight, so a later frame exists only if the earlier one was durable.
//! Damage before a later frame that attests it is therefore corruption of something acknowledged: recovery refuses.
//! Without such a witness at most one frame, never acknowledged, can be torn: it is cut.

/// Where the walk stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Where {
    /// In a segment that has a successor, before the end which that successor names.
    BeforeNamedEnd,
    /// In such a segment, at that end.
    AtNamedEnd,
    /// In the last segment, below what was in the file before it got its name.
    Born,
    /// In the last segment, behind that.
    Tail,
}

/// What the bytes are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// Zeros to the end of the file.
    End,
    /// A frame that continues the chain.
    Good,
    /// A frame whose checksums are right, but which does not continue the chain.
    Alien,
    /// Anything else.
    Bad,
}

/// What else is known. Each row of the table uses only what it names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// The frame ends behind the end that the next segment names.
    pub past_named_end: bool,
    /// The last frame's checksum is the one that the next segment names.
    pub named_crc_agrees: bool,
    /// A close frame came before.
    pub after_close: bool,
    /// Somewhere later stands a frame header of this segment that attests the offset.
    pub witnessed: bool,
    /// There are bytes other than zero where no frame begun here could reach.
    pub bytes_beyond_reach: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Apply the frame and go on behind it.
    Apply,
    /// Go on with the next segment.
    NextSegment,
    /// The journal ends here.
    End,
    /// A frame that was never acknowledged was cut short: cut it off and keep its bytes in quarantine.
    Torn,
    /// Refuse to start.
    Refuse(Reason),
}

/// Why recovery refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Acknowledged bytes are not what they were.
    #[error("corrupt: these bytes were durable and are damaged")]
    Corrupt,
    /// A sound frame in a place where it was never written.
    #[error("misplaced: a sound frame that does not continue the journal")]
    Misplaced,
    /// A frame goes past the end that the next segment names.
    #[error("the next segment names an earlier end")]
    PastNamedEnd,
    /// The next segment continues another journal than this one.
    #[error("the next segment names another last frame")]
    BrokenChain,
    /// A clean stop is the last thing a segment holds.
    #[error("frames follow a clean stop")]
    AfterClose,
}

/// The table. Total: every input has a verdict.
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

    /// The promises, told apart from the rows: each is checked over the whole product.
    #[test]
    fn the_table_keeps_its_promises_for_every_input() {
        let mut seen = 0;
        for (place, what, evidence) in product() {
            let verdict = classify(place, what, evidence);
            let told = format!("{place:?} {what:?} {evidence:?} -> {verdict:?}");
            seen += 1;

            // Only a frame that continues the chain is ever applied.
            if verdict == Verdict::Apply {
                assert_eq!(what, What::Good, "{told}");
                assert_ne!(place, Where::AtNamedEnd, "{told}");
            }
            // Only the tail of the last segment may be cut, and only without any sign that it was acknowledged.
            if verdict == Verdict::Torn {
                assert_eq!((place, what), (Where::Tail, What::Bad), "{told}");
                assert!(
                    !evidence.after_close && !evidence.witnessed && !evidence.bytes_beyond_reach,
                    "{told}"
                );
            }
            // The journal ends only where nothing follows, and only in the last segment.
            if verdict == Verdict::End {
                assert_eq!((place, what), (Where::Tail, What::End), "{told}");
            }
            // Another segment is entered only at the end that it names, by the frame that it names.
            let enters = place == Where::AtNamedEnd && evidence.named_crc_agrees;
            assert_eq!(verdict == Verdict::NextSegment, enters, "{told}");
            // A crash alone never makes a start fail: what a crash can leave is a tail that ends, goes on, or is torn.
            let by_crash = place == Where::Tail
                && what != What::Alien
                && !evidence.after_close
                && (what != What::Bad || (!evidence.witnessed && !evidence.bytes_beyond_reach));
            if by_crash {
                assert!(!matches!(verdict, Verdict::Refuse(_)), "{told}");
            }
            // Damage below a point that was durable is never passed over.
            if matches!(place, Where::BeforeNamedEnd | Where::Born) && what != What::Good {
                assert_eq!(verdict, Verdict::Refuse(Reason::Corrupt), "{told}");
            }
        }
        assert_eq!(seen, 4 * 4 * 32);
    }
}
