//! Passwords: what is asked of new ones, and the one expensive thing, which is to check them.
//!
//! **The attack:** passwords are guessed, tried from other people's leaks, or read from a stolen copy of the data; or
//! so many are sent that nobody else gets in.
//!
//! **The rule:** argon2id, 19 MiB and two passes by default, on a fixed number of threads of low priority behind a bounded
//! queue; what could not be done in time is refused at once. Known devices go before quiet networks, and those before
//! networks with recent failures, by weight; within a lane networks take turns ([`schedule`]). A name that does not exist
//! is checked against a decoy of the same cost. The cost that stands in a stored string is bounded before it is obeyed.
//!
//! Source: RFC 9106; OWASP Password Storage Cheat Sheet; NIST SP 800-63B-4 §3.1.1.

pub mod kernel;
pub mod known_bad;
pub mod phc;
pub mod policy;
pub mod pool;
pub mod schedule;

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use known_bad::KnownBad;
pub use phc::Cost;
pub use policy::{Advice, Weakness, advise, judge};
pub use pool::{HashPool, Place, Shed, Verified};
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
