//! A password as a user typed it.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Maximum length of a password in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// A password in Unicode normal form NFC, otherwise as it was typed. Wiped when dropped; `Debug` does not print it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

/// The password is empty or longer than [`PASSWORD_BYTES_MAX`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a password has 1 to {PASSWORD_BYTES_MAX} bytes")]
pub struct PasswordError;

impl Password {
    /// Parses a new password.
    pub fn parse(typed: &str) -> Result<Self, PasswordError> {
        if typed.is_empty() || typed.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError);
        }
        let normal: String = typed.nfc().collect();
        if normal.len() > PASSWORD_BYTES_MAX { Err(PasswordError) } else { Ok(Self(normal)) }
    }

    /// Parses a password that is to be checked. One that [`Self::parse`] refuses becomes the empty password, which no
    /// account has: it is checked like any wrong one, so that both take the same time.
    pub fn for_login(typed: &str) -> Self {
        Self::parse(typed).unwrap_or_else(|PasswordError| Self(String::new()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_normalised_and_bounded_and_does_not_print() {
        assert_eq!(Password::parse("e\u{301}").unwrap().as_str(), "\u{e9}");
        assert!(Password::parse(&"a".repeat(PASSWORD_BYTES_MAX)).is_ok());
        assert!(Password::parse(&"a".repeat(PASSWORD_BYTES_MAX + 1)).is_err());
        assert!(Password::parse("").is_err());
        assert_eq!(Password::for_login(&"a".repeat(PASSWORD_BYTES_MAX + 1)).as_str(), "");
        assert_eq!(format!("{:?}", Password::for_login("secret")), "Password(..)");
    }
}
