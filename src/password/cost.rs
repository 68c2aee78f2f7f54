//! The cost of a hash.

/// What a hash costs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cost {
    /// KiB of memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// The least that is safe (OWASP Password Storage Cheat Sheet).
    pub const SAFE: Self = Self { memory_kib: 19_456, passes: 2, lanes: 1 };

    /// Whether it lies within what we are ready to spend on one password.
    pub fn is_bounded(self) -> bool {
        (8 * self.lanes.max(1)..=MEMORY_KIB_MAX).contains(&self.memory_kib)
            && (1..=PASSES_MAX).contains(&self.passes)
            && (1..=LANES_MAX).contains(&self.lanes)
    }
}

/// A string that is no argon2id PHC string within our bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an argon2id PHC string within the bounds of this server")]
pub struct PhcError;

/// Bounds of what a stored or imported string may make us spend.
const MEMORY_KIB_MAX: u32 = 256 * 1024;

const PASSES_MAX: u32 = 10;

const LANES_MAX: u32 = 4;
