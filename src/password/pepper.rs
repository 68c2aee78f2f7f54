//! Peppers: secrets that go into each hash beside the password, and are not stored with it.
//!
//! **The attack:** the attacker has copied the stored hashes, and guesses passwords without asking the server.
//!
//! **The rule:** `password.pepper_file` holds one pepper a line, newest first: an id and a secret. A hash carries the id
//! of its pepper as the parameter `keyid` of its PHC string, and cannot be checked without it. Hashes of an older pepper,
//! or of none, are made anew at the next log-in. A hash whose pepper is not there matches no password, and is counted.
//!
//! Source: RFC 9106 §3.1 (secret value K); OWASP Password Storage Cheat Sheet.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use base64ct::{Base64Unpadded, Encoding};
use zeroize::Zeroizing;

/// Maximum length of an id in characters, as in the PHC string of argon2.
const ID_CHARS_MAX: usize = 8;
/// Minimum length of a secret in characters.
const SECRET_CHARS_MIN: usize = 32;
/// Maximum length of a secret in characters.
const SECRET_CHARS_MAX: usize = 1024;
/// Maximum number of peppers in a file.
const PEPPERS_MAX: usize = 64;

/// Why the peppers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// The file cannot be read.
    #[error("password.pepper_file {place} cannot be read: {source}")]
    Unreadable {
        /// The path, or the name of the credential.
        place: String,
        /// The reason.
        source: std::io::Error,
    },
    /// A line has another form.
    #[error(
        "password.pepper_file {place}, line {line}: expected an id of up to {ID_CHARS_MAX} letters and digits, a blank, and \
         a secret of at least {SECRET_CHARS_MIN} characters; make one with: echo \"p1 $(head -c 32 /dev/urandom | base64)\""
    )]
    Form {
        /// The path, or the name of the credential.
        place: String,
        /// The number of the line, from 1.
        line: usize,
    },
    /// A pepper that was in use is not in the file.
    #[error(
        "the pepper {id} was in use and is not in password.pepper_file: passwords that were hashed with it cannot be \
         checked. Put its line back. If no account needs it any more, as `portcullis data dump` shows, delete {marker} in \
         keys.dir"
    )]
    Missing {
        /// The id of the pepper.
        id: String,
        /// The file that remembers its use.
        marker: String,
    },
}

/// One pepper.
struct Pepper {
    id: String,
    /// The id as a PHC string holds it.
    key_id: String,
    secret: Zeroizing<Vec<u8>>,
}

/// The peppers of a server, newest first; perhaps none.
#[derive(Default)]
pub struct Peppers {
    peppers: Vec<Pepper>,
    /// Passwords that could not be checked since the start, because their pepper is not there.
    unknown: AtomicU64,
}

impl Peppers {
    /// Reads the text of a file. `place` is its name in messages.
    pub fn parse(text: &str, place: &str) -> Result<Self, PepperError> {
        let mut peppers: Vec<Pepper> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let wrong = || PepperError::Form { place: place.to_owned(), line: number + 1 };
            let (id, secret) = line.trim().split_once(' ').ok_or_else(wrong)?;
            let secret = secret.trim();
            let is_id =
                (1..=ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
            let is_secret = (SECRET_CHARS_MIN..=SECRET_CHARS_MAX).contains(&secret.len());
            let is_new = peppers.iter().all(|pepper| pepper.id != id);
            if !is_id || !is_secret || !is_new || peppers.len() >= PEPPERS_MAX {
                return Err(wrong());
            }
            peppers.push(Pepper {
                id: id.to_owned(),
                key_id: Base64Unpadded::encode_string(id.as_bytes()),
                secret: Zeroizing::new(secret.as_bytes().to_vec()),
            });
        }
        if peppers.is_empty() {
            return Err(PepperError::Form { place: place.to_owned(), line: 1 });
        }
        Ok(Self { peppers, unknown: AtomicU64::new(0) })
    }

    /// Returns the id of the pepper of new hashes.
    pub fn newest(&self) -> Option<&str> {
        self.peppers.first().map(|pepper| pepper.id.as_str())
    }

    /// Says whether the pepper `id` is there.
    pub fn has(&self, id: &str) -> bool {
        self.peppers.iter().any(|pepper| pepper.id == id)
    }

    /// Returns how many passwords could not be checked since the start, because their pepper is not there.
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Returns the `keyid` of new hashes.
    pub(super) fn newest_key_id(&self) -> Option<&str> {
        self.peppers.first().map(|pepper| pepper.key_id.as_str())
    }

    /// Returns the secret of a hash with this `keyid`: nothing for a hash without one. `None`, and counted, if the pepper
    /// is not there.
    pub(super) fn secret(&self, key_id: Option<&str>) -> Option<&[u8]> {
        let Some(key_id) = key_id else { return Some(&[]) };
        let found = self.peppers.iter().find(|pepper| pepper.key_id == key_id);
        if found.is_none() {
            self.unknown.fetch_add(1, Ordering::Relaxed);
        }
        found.map(|pepper| pepper.secret.as_slice())
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.peppers.iter().map(|pepper| &pepper.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn peppers_are_read_newest_first_and_do_not_print() {
        let peppers = Peppers::parse(&format!("p2 {SECRET}x\n\np1 {SECRET}\n"), "f").unwrap();
        assert_eq!(peppers.newest(), Some("p2"));
        assert!(peppers.has("p1"));
        assert!(!peppers.has("p3"));
        assert_eq!(format!("{peppers:?}"), "[\"p2\", \"p1\"]");
        assert_eq!(peppers.secret(None), Some(&[][..]));
        let p1 = Base64Unpadded::encode_string(b"p1");
        assert_eq!(peppers.secret(Some(&p1)), Some(SECRET.as_bytes()));
        assert_eq!(peppers.unknown(), 0);
        assert_eq!(peppers.secret(Some("eHg")), None);
        assert_eq!(peppers.unknown(), 1);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, line) in [
            (String::new(), 1),
            (String::from("p1"), 1),
            (String::from("p1 short"), 1),
            (format!("p1 {SECRET}\np1 {SECRET}x"), 2),
            (format!("p1 {SECRET}\np-2 {SECRET}"), 2),
            (format!("toolongid {SECRET}"), 1),
            (format!("p1 {}", &SECRET[1..]), 1),
            ((0..=PEPPERS_MAX).map(|n| format!("p{n} {SECRET}{n}\n")).collect(), PEPPERS_MAX + 1),
        ] {
            let error = Peppers::parse(&text, "f").err().unwrap().to_string();
            assert!(error.contains(&format!("line {line}:")), "{text}: {error}");
            assert!(!error.contains(SECRET), "{error}");
        }
    }
}
