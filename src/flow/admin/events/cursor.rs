//! A place in the order of events.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "outbound")]
use crate::journal::event_log::{EventLog, end_of};

/// A place in the order of events: all up to there were read. It outlives restarts, and is text for whoever keeps it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EventCursor {
    /// The history of the log of events.
    pub(super) history: u64,
    /// The number of the last event, or one above it.
    pub(super) seq: u64,
}

impl EventCursor {
    /// Returns the place after all events of before this run of the server; `None` before the log is open.
    #[cfg(feature = "outbound")]
    pub(crate) fn at_start(log: &EventLog) -> Option<Self> {
        Some(Self { history: log.history()?, seq: end_of(log.began()) })
    }
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.history, self.seq)
    }
}

impl FromStr for EventCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (history, seq) = text.split_once('-').ok_or(())?;
        let cursor = Self {
            history: u64::from_str_radix(history, 16).map_err(|_| ())?,
            seq: seq.parse().map_err(|_| ())?,
        };
        // Its one spelling: a cursor that was cut or edited is none.
        if cursor.to_string() == text { Ok(cursor) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text_and_no_other_text_is_one() {
        let cursor = EventCursor { history: 0xAB, seq: 10_240 };
        assert_eq!(cursor.to_string(), "00000000000000ab-10240");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for other in
            ["", "-", "ab-1", "00000000000000AB-1", "00000000000000ab-01", "00000000000000ab-+1", "1", "0"]
        {
            assert_eq!(other.parse::<EventCursor>(), Err(()), "{other}");
        }
    }
}
