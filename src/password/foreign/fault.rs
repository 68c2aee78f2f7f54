//! Why a hash of another system is not taken.

use std::fmt;

use zeroize::Zeroizing;

/// Why a digest without a salt is refused.
pub(super) const UNSALTED: &str =
    "a digest without a salt is looked up in a table; let its owner set a new password";
/// Why MD5, SHA-1 and the like are refused.
pub(super) const FAST: &str = "it is guessed billions of times a second; let its owner set a new password";
/// Why PBKDF2 with another hash function is refused.
pub(super) const OTHER_PBKDF2: &str = "PBKDF2 is taken with SHA-256 and SHA-512 only";

/// Why a hash cannot be stored. The message names the scheme and the fault, and nothing of the hash itself.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ForeignFault {
    /// No scheme that the server knows.
    #[error("{0} is no scheme of password hashes that this server checks")]
    Unknown(SchemeName),
    /// A scheme that is known and refused.
    #[error("{scheme} is refused: {why}")]
    Refused {
        /// The scheme.
        scheme: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// Another form than the scheme has.
    #[error("{scheme}: {what}")]
    Form {
        /// The scheme.
        scheme: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A parameter out of bounds.
    #[error("{scheme}: {parameter} must be {least} to {most}, and is {value}")]
    OutOfBounds {
        /// The scheme.
        scheme: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// Its value.
        value: u64,
        /// The least value.
        least: u64,
        /// The greatest value.
        most: u64,
    },
}

impl ForeignFault {
    /// Returns the fault of a text of `scheme` in another form.
    pub(super) const fn form(scheme: &'static str, what: &'static str) -> Self {
        Self::Form { scheme, what }
    }
}

/// Most characters of a name in a message.
const NAME_CHARS_MAX: usize = 24;

/// The name of a scheme as a text gives it, or that it gives none. Never a part of a hash. Wiped, since a password may look
/// like a hash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SchemeName(Zeroizing<String>);

impl SchemeName {
    /// Reads the name in front of a hash: `$name$…`, `{name}…` or `name$…`.
    pub(super) fn of(text: &str) -> Self {
        let (name, shown) = match text.chars().next() {
            Some('$') => (text.get(1..).and_then(|rest| rest.split_once('$')), "$"),
            Some('{') => (text.get(1..).and_then(|rest| rest.split_once('}')), "{"),
            _ => (text.split_once('$'), ""),
        };
        let is_name = |name: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
            (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_plain)
        };
        Self(Zeroizing::new(match name.map(|(name, _)| name).filter(|name| is_name(name)) {
            Some(name) if shown == "{" => format!("{{{name}}}"),
            Some(name) => format!("{shown}{name}$"),
            None => String::from("a text without a name"),
        }))
    }
}

impl fmt::Display for SchemeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a parameter against its bounds.
pub(super) fn bound(
    scheme: &'static str,
    parameter: &'static str,
    value: u64,
    (least, most): (u64, u64),
) -> Result<(), ForeignFault> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(ForeignFault::OutOfBounds { scheme, parameter, value, least, most })
    }
}
