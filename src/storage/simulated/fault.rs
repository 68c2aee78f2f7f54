//! Chance and faults of the simulated disk.

use std::io;

/// Numbers from a seed: splitmix64 (Steele, Lea, Flood 2014), the same for ever.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when `end` is.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % if end == 0 { 1 } else { end }
    }

    /// True once in `of` times.
    pub const fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// What an operation does.
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
    /// Whether a disk that is mounted to be read refuses it.
    pub(super) const fn changes(self) -> bool {
        matches!(self, Self::OpenToWrite | Self::Create | Self::Names | Self::Write | Self::Length)
    }
}

/// Operations that fail.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// The first of them, counted from the first operation of the disk.
    pub at: u64,
    /// All later ones fail as well.
    pub lasting: bool,
    /// Only those of this kind.
    pub only: Option<Kind>,
    /// With this error.
    pub error: io::ErrorKind,
}
