//! bcrypt (Provos and Mazières, 1999): `$2a$`, `$2b$` and `$2y$`, and what WordPress and Django hash before it.
//!
//! bcrypt reads a password up to its first NUL, and 72 bytes at most. So does this: the same passwords match as in the
//! system that made the hash. The hash that replaces it at the log-in covers the whole password.

use base64ct::{Base64, Base64Bcrypt, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha384};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::cost::ForeignCost;
use super::fault::ForeignFault;
use super::fields::number;

/// Bytes of a password that bcrypt reads.
const KEY_BYTES: usize = 72;

/// What is hashed in the place of the password.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Prepared {
    /// The password itself.
    Plainly,
    /// WordPress from 6.8 on: HMAC-SHA-384 of the trimmed password, in base64.
    WordPress,
    /// Django's `bcrypt_sha256`: SHA-256 of the password, in hexadecimal.
    Sha256Hex,
}

/// Stands before a bcrypt hash of Django's `bcrypt_sha256`, in the place of its name there.
pub(super) const SHA256_HEX: &str = "$sha256hex";

/// A bcrypt hash.
#[derive(Clone)]
pub(super) struct Bcrypt {
    prepared: Prepared,
    log_rounds: u32,
    salt: [u8; 16],
    hash: [u8; 23],
    /// The hash in its own form, behind what was done before.
    text: String,
}

/// Parts a text into what was done before bcrypt, the logarithm of the rounds, and salt and hash in one.
fn head(text: &str) -> Option<(Prepared, &str, u32, &str)> {
    let (prepared, text) = if let Some(text) = text.strip_prefix("$wp") {
        (Prepared::WordPress, text)
    } else if let Some(text) = text.strip_prefix(SHA256_HEX) {
        (Prepared::Sha256Hex, text)
    } else {
        (Prepared::Plainly, text)
    };
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|name| text.strip_prefix(name))?;
    let (log_rounds, rest) = rest.split_once('$').filter(|(log_rounds, _)| log_rounds.len() == 2)?;
    Some((prepared, text, number(log_rounds)?, rest))
}

/// Returns the cost in a text, without reading salt and hash.
pub(super) fn cost_of(text: &str) -> Option<ForeignCost> {
    head(text).map(|(_, _, log_rounds, _)| ForeignCost::Bcrypt(log_rounds))
}

impl Bcrypt {
    /// Reads a hash.
    pub(super) fn parse(text: &str) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("bcrypt", what);
        let (prepared, text, log_rounds, rest) =
            head(text).ok_or(wrong("expected $2b$, two digits of cost, and 53 characters"))?;
        ForeignCost::Bcrypt(log_rounds).check()?;
        let (salt, hash) = rest
            .split_at_checked(22)
            .filter(|(_, hash)| hash.len() == 31)
            .ok_or(wrong("expected 22 characters of salt and 31 of hash behind the cost"))?;
        let bytes = |text: &str| {
            // Filled up to whole groups of four: spare bits of a last character mean nothing, and some programs draw
            // them at random.
            let whole = format!("{text:.<len$}", len = text.len().div_ceil(4) * 4);
            Base64Bcrypt::decode_vec(&whole).map_err(|_| wrong("salt and hash are not in its base64"))
        };
        let (salt, hash) = (bytes(salt)?, bytes(hash)?);
        let (salt, hash) = salt.first_chunk().zip(hash.first_chunk()).ok_or(wrong("too short"))?;
        Ok(Self { prepared, log_rounds, salt: *salt, hash: *hash, text: text.to_owned() })
    }

    /// Names SHA-256 as what was done before, as Django's `bcrypt_sha256` does.
    pub(super) fn of_sha256_hex(self) -> Result<Self, ForeignFault> {
        match self.prepared {
            Prepared::Plainly => Ok(Self { prepared: Prepared::Sha256Hex, ..self }),
            _ => Err(ForeignFault::form("bcrypt_sha256", "expected $2b$ behind the name")),
        }
    }

    pub(super) fn to_text(&self) -> String {
        let before = match self.prepared {
            Prepared::Plainly => "",
            Prepared::WordPress => "$wp",
            Prepared::Sha256Hex => SHA256_HEX,
        };
        format!("{before}{}", self.text)
    }

    pub(super) const fn cost(&self) -> ForeignCost {
        ForeignCost::Bcrypt(self.log_rounds)
    }

    /// Says whether bytes of `password` are left out.
    pub(super) fn cuts(&self, password: &[u8]) -> bool {
        matches!(self.prepared, Prepared::Plainly) && password.len() > KEY_BYTES
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let prepared = match self.prepared {
            Prepared::Plainly => Zeroizing::new(password.to_vec()),
            Prepared::WordPress => Zeroizing::new(word_press(password)),
            Prepared::Sha256Hex => {
                Zeroizing::new(base16ct::lower::encode_string(&Sha256::digest(password)).into())
            }
        };
        let hash = Zeroizing::new(bcrypt::bcrypt(self.log_rounds, self.salt, &key(&prepared)));
        hash.get(..23).is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }
}

/// Returns what bcrypt reads of a password: the bytes before its first NUL, with one behind them, 72 at most.
fn key(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let before_nul = password.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut key = Zeroizing::new(Vec::with_capacity(KEY_BYTES));
    key.extend(before_nul.iter().copied().chain([0]).take(KEY_BYTES));
    key
}

/// Returns what WordPress hashes: it trims the password like PHP does.
fn word_press(password: &[u8]) -> Vec<u8> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0 | 0x0B);
    let begin = password.iter().position(|byte| !is_blank(byte)).unwrap_or(password.len());
    let end = password.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |last| last + 1);
    let trimmed = password.get(begin..end).unwrap_or_default();
    // A key of any length is a key of HMAC.
    let Ok(mut mac) = Hmac::<Sha384>::new_from_slice(b"wp-sha384") else { return Vec::new() };
    mac.update(trimmed);
    Base64::encode_string(&mac.finalize().into_bytes()).into_bytes()
}

/// Hashes `password` at a cost, and drops the result.
pub(super) fn burn(log_rounds: u32, password: &[u8]) {
    std::hint::black_box(bcrypt::bcrypt(log_rounds.min(31), [0; 16], &key(password)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_at_the_first_nul_and_after_72_bytes() {
        assert_eq!(*key(b""), [0]);
        assert_eq!(*key(b"abc"), *b"abc\0");
        assert_eq!(*key(b"abc\0def"), *b"abc\0");
        assert_eq!(key(&[b'a'; 71]).len(), 72);
        assert_eq!(*key(&[b'a'; 72]), [b'a'; 72]);
        assert_eq!(*key(&[b'a'; 1024]), [b'a'; 72]);
    }

    #[test]
    fn word_press_trims_what_php_trims() {
        assert_eq!(word_press(b" \t\n\r\0\x0Ba b \0"), word_press(b"a b"));
        assert_ne!(word_press(b"a b"), word_press(b"ab"));
        assert_eq!(word_press(b"  "), word_press(b""));
        assert_eq!(word_press(b"a").len(), 64);
    }

    #[test]
    fn spare_bits_of_the_last_characters_mean_nothing() {
        let text = "$2b$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        let one = Bcrypt::parse(text).unwrap();
        // 'e' spells 100000 in the last character of the salt, of which two bits count.
        let other = Bcrypt::parse(&text.replacen("Mye", "Myf", 1)).unwrap();
        assert_eq!(one.salt, other.salt);
        assert_eq!(one.to_text(), text);
    }
}
