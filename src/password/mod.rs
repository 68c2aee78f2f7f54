#![doc = include_str!("README.md")]

pub mod argon2id;
pub mod cost;
pub mod job;
pub mod known_bad;
pub mod phc;
pub mod policy;
pub mod pool;
pub mod schedule;
pub mod stats;
mod thread;
mod threads;

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use cost::Cost;
pub use job::{QueueKey, Shed, Verified};
pub use known_bad::KnownBad;
pub use policy::{Advice, Weakness, advise, judge};
pub use pool::HashPool;
pub use schedule::Lane;

/// The most bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// A password as it was typed, in NFC and nothing else changed. Wiped when dropped; does not print.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

/// A password beyond [`PASSWORD_BYTES_MAX`], or none at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a password has 1 to {PASSWORD_BYTES_MAX} bytes")]
pub struct PasswordError;

impl Password {
    /// Reads a new password.
    pub fn parse(typed: &str) -> Result<Self, PasswordError> {
        if typed.is_empty() || typed.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError);
        }
        let normal: String = typed.nfc().collect();
        if normal.len() > PASSWORD_BYTES_MAX { Err(PasswordError) } else { Ok(Self(normal)) }
    }

    /// Reads a password that is to be checked: one that cannot be right is checked all the same, as one that is wrong.
    pub fn for_login(typed: &str) -> Self {
        Self::parse(typed).unwrap_or_else(|PasswordError| Self(String::new()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}
