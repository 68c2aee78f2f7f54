//! Random numbers and faults of the simulated disk.

use std::io;

/// A generator of numbers from a seed, the same for ever.
///
/// Source: splitmix64; Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Returns the generator of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % if end == 0 { 1 } else { end }
    }

    /// Returns true once in `of` times on average.
    pub const fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// The kind of an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the methods of the two traits")]
pub enum Kind {
    Open,
    OpenToWrite,
    Create,
    Names,
    SyncNames,
    List,
    Read,
    Write,
    Sync,
    Length,
    Other,
}

impl Kind {
    /// Says whether a read-only disk refuses it.
    pub(super) const fn changes(self) -> bool {
        matches!(self, Self::OpenToWrite | Self::Create | Self::Names | Self::Write | Self::Length)
    }
}

/// The choice of operations that fail.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// The first one that fails, counted from the first operation of the disk.
    pub at: u64,
    /// Whether all later ones fail as well.
    pub lasting: bool,
    /// The only kind that fails; `None` for every kind.
    pub only: Option<Kind>,
    /// The error that they return.
    pub error: io::ErrorKind,
}
