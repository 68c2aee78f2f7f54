//! Figures of the pool for operators.

use std::time::Duration;

/// Figures of one lane since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LaneStats {
    /// Jobs in the queue now.
    pub queued: usize,
    /// Jobs that were queued.
    pub admitted: u64,
    /// Jobs that were handed to a thread.
    pub done: u64,
    /// Jobs refused because the lane was full.
    pub refused: u64,
    /// Jobs removed in favour of a network that held fewer places.
    pub displaced: u64,
    /// Jobs removed because they had waited for the whole budget.
    pub expired: u64,
    /// Jobs removed because their client hung up before they began.
    pub abandoned: u64,
    /// Total waiting time of the jobs that were handed to a thread.
    pub waited: Duration,
}

impl LaneStats {
    /// Returns the number of jobs that were not done because of overload: refused, displaced or expired.
    pub const fn shed(&self) -> u64 {
        self.refused + self.displaced + self.expired
    }
}

/// Figures of the pool.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Figures of each lane, in the order of [`Lane::ALL`](super::Lane::ALL).
    pub lanes: [LaneStats; 3],
    /// Figures of the passwords that were judged without a hash, in all lanes.
    pub checks: LaneStats,
    /// Jobs that a thread works on now.
    pub running: usize,
    /// Moving average of the time that one hash takes.
    pub hash_time: Duration,
    /// Moving average of the time that it takes to judge a password.
    pub check_time: Duration,
    /// KiB of memory that hashes have filled since the start, each pass counted.
    pub filled_kib: u64,
    /// Work of the hashes of other systems since the start, as the KiB that argon2id would fill in about the same time.
    pub foreign_kib: u64,
}

impl Stats {
    /// Returns the number of passwords that wait to be hashed.
    pub fn queued(&self) -> usize {
        self.lanes.iter().map(|lane| lane.queued).sum()
    }

    /// Returns the number of passwords that were queued to be hashed since the start.
    pub fn admitted(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.admitted).sum()
    }

    /// Returns the number of passwords that were shed instead of hashed since the start: refused, displaced or expired.
    pub fn shed(&self) -> u64 {
        self.lanes.iter().map(LaneStats::shed).sum()
    }
}
