//! How far snapshots have come.

/// What the next snapshot makes superfluous.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tail {
    /// Bytes of frames that had to be replayed.
    pub replayed: u64,
    /// Bytes of segments that hold nothing older. Each start begins one, also where nothing is written.
    pub segments: u64,
}
