//! What the pool tells operators.

use std::time::Duration;

/// Figures of one lane since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LaneStats {
    /// Jobs that wait now.
    pub queued: usize,
    /// Jobs that were given a place.
    pub admitted: u64,
    /// Jobs done.
    pub done: u64,
    /// Jobs refused when they came.
    pub refused: u64,
    /// Jobs that gave way to a network which held less.
    pub displaced: u64,
    /// Jobs that had waited for the whole budget.
    pub expired: u64,
    /// Jobs whose client hung up before they began.
    pub abandoned: u64,
    /// How long those that were done had waited, in all.
    pub waited: Duration,
}

/// Figures for operators.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// By lane, in the order of [`Lane::ALL`](super::Lane::ALL).
    pub lanes: [LaneStats; 3],
    /// Jobs that are being done.
    pub running: usize,
    /// What a hash takes, as measured.
    pub hash_time: Duration,
}

impl Stats {
    /// Jobs that wait.
    pub fn queued(&self) -> usize {
        self.lanes.iter().map(|lane| lane.queued).sum()
    }

    /// Jobs that were given a place.
    pub fn passes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.admitted).sum()
    }

    /// Jobs refused, whenever they were.
    pub fn shed(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.refused + lane.displaced + lane.expired).sum()
    }
}
