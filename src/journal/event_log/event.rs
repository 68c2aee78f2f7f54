//! Events as the log gives them out, their numbers, and pages of them.

/// Bits of a number that are the event's place in its entry. An entry has at most 1,024 changes.
const PLACE_BITS: u32 = 10;
/// Returns the number of an event.
pub(super) const fn number(entry: u64, place: usize) -> u64 {
    entry << PLACE_BITS | place as u64
}

/// Returns the entry of a number.
pub const fn entry_of(seq: u64) -> u64 {
    seq >> PLACE_BITS
}

/// Returns the last number that an event of `entry` can have.
pub const fn end_of(entry: u64) -> u64 {
    entry << PLACE_BITS | ((1 << PLACE_BITS) - 1)
}

/// An event as it is kept: the change that an entry carried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// The schema of the value.
    pub schema: u16,
    /// The key of the change.
    pub key: Box<[u8]>,
    /// The value.
    pub value: Box<[u8]>,
}

/// A part of the events that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gap {
    /// Those up to this number were removed: they were older than they are kept, or there was no room.
    Expired {
        /// The number.
        kept_after: u64,
    },
    /// Those of some entries could not be kept.
    Lost {
        /// The first entry.
        from: u64,
        /// The last entry.
        to: u64,
    },
}

/// Events in their order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// The history of the log; `None` while the log is not open yet, and then there are no events.
    pub history: Option<u64>,
    /// The events.
    pub events: Vec<Event>,
    /// The number after which the next page begins.
    pub next: u64,
    /// A gap before these events.
    pub gap: Option<Gap>,
}

/// Figures for operators.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Events written since the start.
    pub written: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// When the oldest file was made, in milliseconds since 1970; 0 while the log is not open.
    pub oldest_ms: u64,
    /// Gaps written since the start: parts that can be read nowhere any more.
    pub gaps: u64,
    /// Whether the last try to write failed.
    pub failing: bool,
    /// The events of all entries up to this one are in the log.
    pub covered: u64,
}
