//! A password as a user typed it.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Maximum length of a password in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// A password as it is compared: blanks of other scripts are U+0020, and the text is in Unicode normal form NFC. Wiped
/// when dropped; `Debug` does not print it.
///
/// Source: the OpaqueString profile, RFC 8265 §4.2. A phone may type a no-break space where a desktop types a plain one.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password {
    text: String,
    /// The text with its blanks as they were typed, if it is to be checked and has foreign ones. Earlier versions
    /// stored passwords in this form.
    as_typed: Option<String>,
    /// What was typed, to the byte, if it is to be checked and is neither of the above. Other systems hashed passwords in
    /// this form.
    exact: Option<String>,
}

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
        let plain = |c| if is_foreign_blank(c) { ' ' } else { c };
        let password = Self { text: nfc(typed, typed.chars().map(plain)), as_typed: None, exact: None };
        if password.text.len() > PASSWORD_BYTES_MAX { Err(PasswordError) } else { Ok(password) }
    }

    /// Parses a password that is to be checked. One that [`Self::parse`] refuses becomes the empty password, which no
    /// account has: it is checked like any wrong one, so that both take the same time.
    pub fn for_login(typed: &str) -> Self {
        let Ok(mut password) = Self::parse(typed) else {
            return Self { text: String::new(), as_typed: None, exact: None };
        };
        if typed.contains(is_foreign_blank) {
            password.as_typed = Some(nfc(typed, typed.chars()));
        }
        if typed != password.text && password.as_typed.as_deref() != Some(typed) {
            password.exact = Some(typed.to_owned());
        }
        password
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Returns the forms in which the password may have been stored, the present one first; with what was typed if
    /// `has_exact`. How many there are depends on what was typed alone, so trying them reveals nothing about an account.
    pub(super) fn forms(&self, has_exact: bool) -> impl Iterator<Item = &[u8]> {
        let exact = self.exact.as_deref().filter(|_| has_exact);
        [Some(&*self.text), self.as_typed.as_deref(), exact].into_iter().flatten().map(str::as_bytes)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Returns `chars`, which are those of `typed` or blanks in place of them, in normal form NFC.
fn nfc(typed: &str, chars: impl Iterator<Item = char>) -> String {
    // Three times as long at most (UAX #15, table 7). Text that grows leaves a copy behind, which nobody wipes.
    let mut text = String::with_capacity(if typed.is_ascii() { typed.len() } else { typed.len() * 3 });
    text.extend(chars.nfc());
    text
}

/// Says whether `c` is a blank (general category Zs) other than U+0020.
const fn is_foreign_blank(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
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

    #[test]
    fn blanks_of_other_scripts_are_plain_ones_and_both_forms_are_known_at_log_in() {
        for blank in
            ['\u{a0}', '\u{1680}', '\u{2000}', '\u{2007}', '\u{200a}', '\u{202f}', '\u{205f}', '\u{3000}']
        {
            let typed = format!("e\u{301}{blank}b");
            assert_eq!(Password::parse(&typed).unwrap().as_str(), "\u{e9} b");
            assert_eq!(Password::parse(&typed).unwrap().as_typed, None);
            let to_check = Password::for_login(&typed);
            assert_eq!(to_check.as_str(), "\u{e9} b");
            let stored_before: String = typed.nfc().collect();
            assert_eq!(to_check.as_typed.as_ref(), Some(&stored_before));
            let forms: Vec<&[u8]> = to_check.forms(false).collect();
            assert_eq!(forms, ["\u{e9} b".as_bytes(), stored_before.as_bytes()]);
            // Another system has hashed the letter and its accent apart.
            let forms: Vec<&[u8]> = to_check.forms(true).collect();
            assert_eq!(forms, ["\u{e9} b".as_bytes(), stored_before.as_bytes(), typed.as_bytes()]);
        }
        // Neither a tab nor a zero-width space is a blank.
        for other in ["a b", "a\tb", "a\u{200b}b", "a\u{feff}b"] {
            assert_eq!(Password::for_login(other).as_str(), other);
            assert_eq!(Password::for_login(other).forms(true).count(), 1);
        }
    }
}
