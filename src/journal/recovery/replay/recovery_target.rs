//! The recovery target: the point up to which a directory is replayed.

use crate::system::clock::Timestamp;

/// The last sequence and the latest time to replay, for a restore to a point in time. Both bounds hold; the default has
/// neither.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveryTarget {
    /// The last sequence to replay.
    pub seq: Option<u64>,
    /// The latest time to replay.
    pub time: Option<Timestamp>,
}

impl RecoveryTarget {
    /// Returns whether an entry with this sequence and time is to be replayed.
    pub(super) fn includes(self, seq: u64, wall_ms: u64) -> bool {
        self.seq.is_none_or(|last| seq <= last) && self.time.is_none_or(|last| wall_ms <= last.as_millis())
    }

    /// Returns whether everything is to be replayed.
    pub(in crate::journal) const fn is_the_end(self) -> bool {
        self.seq.is_none() && self.time.is_none()
    }
}
