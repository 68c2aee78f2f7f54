//! How far snapshots have come.

use std::time::Duration;

use crate::system::clock::Timestamp;

/// What the next snapshot makes superfluous.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tail {
    /// Bytes of frames that had to be replayed.
    pub replayed: u64,
    /// Bytes of segments that hold nothing older. Each start begins one, also where nothing is written.
    pub segments: u64,
}

/// How the taking of snapshots goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Saved {
    /// The newest snapshot that has its name, and so was read back and proved.
    pub(crate) newest: Option<Named>,
    /// Taken since the start.
    pub(crate) taken: u64,
    /// What the last one took.
    pub(crate) took: Duration,
    /// The last one that was due could not be taken.
    pub(crate) failing: bool,
    /// What recovery found behind the newest, and no snapshot has taken up since.
    pub(crate) tail: Tail,
}

/// A snapshot that has its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Named {
    /// Bytes of the file.
    pub bytes: u64,
    /// When it was begun.
    pub begun: Timestamp,
}
