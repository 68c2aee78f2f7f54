//! The cost of a hash, and its bounds.

/// Maximum cost that a stored or imported string may demand.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 10;
const LANES_MAX: u32 = 4;

/// The cost parameters of argon2id (RFC 9106 §3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cost {
    /// Memory in KiB (`m`).
    pub memory_kib: u32,
    /// Number of passes over the memory (`t`).
    pub passes: u32,
    /// Degree of parallelism (`p`).
    pub lanes: u32,
}

impl Cost {
    /// The lowest cost that is safe (OWASP Password Storage Cheat Sheet).
    pub const SAFE: Self = Self { memory_kib: 19_456, passes: 2, lanes: 1 };

    /// Says whether the cost lies within what the server spends on one password.
    pub fn is_bounded(self) -> bool {
        (8 * self.lanes.max(1)..=MEMORY_KIB_MAX).contains(&self.memory_kib)
            && (1..=PASSES_MAX).contains(&self.passes)
            && (1..=LANES_MAX).contains(&self.lanes)
    }
}

/// The string is not an argon2id PHC string, or its cost is out of bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an argon2id PHC string within the bounds of this server")]
pub struct PhcError;
