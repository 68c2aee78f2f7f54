//! The state of snapshots, for `/metrics`, `/readyz` and the decision when the next one is due.

use std::time::Duration;

use crate::system::clock::Timestamp;

/// The journal after a snapshot: the part that a start replays and that the next snapshot makes superfluous.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tail {
    /// Bytes of the frames that a start replayed.
    pub replayed: u64,
    /// Bytes of the segments that hold nothing older. Each start begins a segment, even if nothing is written to it.
    pub segments: u64,
}

/// The state of the snapshots that a server takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Saved {
    /// The newest snapshot with a final name, which was therefore read back and proved.
    pub(crate) newest: Option<Named>,
    /// Snapshots taken since the start.
    pub(crate) taken: u64,
    /// The duration of the last run.
    pub(crate) took: Duration,
    /// Whether the last run failed.
    pub(crate) failing: bool,
    /// The journal that recovery found after the newest snapshot, as long as no newer snapshot covers it.
    pub(crate) tail: Tail,
}

/// A snapshot that has its final name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Named {
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The time at which it was begun.
    pub begun: Timestamp,
}
