//! SHA-256 crypt and SHA-512 crypt of Unix systems: `$5$` and `$6$`.
//!
//! Source: Ulrich Drepper, Unix crypt using SHA-256 and SHA-512.

use base64ct::{Base64ShaCrypt, Encoding};
use sha_crypt::Params;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::bounds::SHA_CRYPT_PASSWORD_BYTES_MAX;
use super::cost::ForeignCost;
use super::fault::ForeignFault;
use super::fields::{number, parts};

/// Rounds of a hash that names none.
const ROUNDS_DEFAULT: u32 = 5_000;
/// Most bytes of a salt.
const SALT_BYTES_MAX: usize = 16;

/// A hash of SHA-2 crypt.
#[derive(Clone)]
pub(super) struct ShaCrypt {
    is_512: bool,
    rounds: u32,
    salt: String,
    /// In the order of the digest, 32 or 64 bytes.
    hash: Vec<u8>,
    text: String,
}

fn head(text: &str) -> Option<(bool, u32, &str, &str)> {
    let (is_512, rest) = match text.strip_prefix("$6$") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("$5$")?),
    };
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => rest.split_once('$').map(|(rounds, rest)| Some((number(rounds)?, rest)))??,
        None => (ROUNDS_DEFAULT, rest),
    };
    let [salt, hash] = parts(rest)?;
    Some((is_512, rounds, salt, hash))
}

const fn cost(is_512: bool, rounds: u32, salt: &str) -> ForeignCost {
    let bytes = if salt.len() > SALT_BYTES_MAX { SALT_BYTES_MAX as u8 } else { salt.len() as u8 };
    if is_512 { ForeignCost::Sha512Crypt(rounds, bytes) } else { ForeignCost::Sha256Crypt(rounds, bytes) }
}

/// Returns the cost in a text, without reading the hash.
pub(super) fn cost_of(text: &str) -> Option<ForeignCost> {
    head(text).map(|(is_512, rounds, salt, _)| cost(is_512, rounds, salt))
}

impl ShaCrypt {
    /// Reads a hash.
    pub(super) fn parse(text: &str) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("SHA-2 crypt", what);
        let (is_512, rounds, salt, hash) =
            head(text).ok_or(wrong("expected $6$rounds=…$salt$hash, or $5$"))?;
        cost(is_512, rounds, salt).check()?;
        let is_salt = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX || !salt.bytes().all(is_salt) {
            return Err(wrong("the salt does not have 1 to 16 characters"));
        }
        let length = if is_512 { 64 } else { 32 };
        let hash = (hash.len() == length * 4_usize / 3 + 1)
            .then(|| format!("{hash:.<len$}", len = hash.len().div_ceil(4) * 4))
            .and_then(|whole| Base64ShaCrypt::decode_vec(&whole).ok())
            .ok_or(wrong("the hash is not 43 or 86 characters of its base64"))?;
        let mut in_order = vec![0; length];
        for (byte, at) in hash.iter().zip(order(is_512)) {
            if let Some(place) = in_order.get_mut(at) {
                *place = *byte;
            }
        }
        Ok(Self { is_512, rounds, salt: salt.to_owned(), hash: in_order, text: text.to_owned() })
    }

    pub(super) fn to_text(&self) -> String {
        self.text.clone()
    }

    pub(super) const fn cost(&self) -> ForeignCost {
        cost(self.is_512, self.rounds, self.salt.as_str())
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let hash = compute(self.is_512, self.rounds, password, self.salt.as_bytes());
        let is_equal: bool = hash.ct_eq(&self.hash).into();
        is_equal && password.len() <= SHA_CRYPT_PASSWORD_BYTES_MAX
    }
}

/// Returns the places of the digest that a text names one after the other: three thirds of it side by side, of which
/// another one comes first each time, and the rest.
fn order(is_512: bool) -> Vec<usize> {
    let (third, turn) = if is_512 { (21, 1) } else { (10, 2) };
    let mut order = Vec::with_capacity(3 * third + 2);
    for at in 0..third {
        let mut group = [at, at + third, at + 2 * third];
        group.rotate_left(at * turn % 3);
        // A group is a number, spelled from its low end.
        order.extend(group.iter().rev());
    }
    order.extend(if is_512 { &[63][..] } else { &[30, 31] });
    order
}

fn compute(is_512: bool, rounds: u32, password: &[u8], salt: &[u8]) -> Zeroizing<Vec<u8>> {
    let password = password.get(..SHA_CRYPT_PASSWORD_BYTES_MAX).unwrap_or(password);
    let Ok(params) = Params::new(rounds) else { return Zeroizing::default() };
    Zeroizing::new(if is_512 {
        sha_crypt::sha512_crypt(password, salt, params).to_vec()
    } else {
        sha_crypt::sha256_crypt(password, salt, params).to_vec()
    })
}

/// Hashes `password` with so many rounds and a salt of so many bytes, and drops the result. Fewer rounds than the scheme
/// knows are none.
pub(super) fn burn(is_512: bool, rounds: u32, salt_bytes: u8, password: &[u8]) {
    let salt = [b'.'; SALT_BYTES_MAX];
    let salt = salt.get(..usize::from(salt_bytes)).unwrap_or(&salt);
    std::hint::black_box(compute(is_512, rounds, password, salt));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_digest_has_one_place_in_the_text() {
        for (is_512, length) in [(false, 32), (true, 64)] {
            let mut places = order(is_512);
            assert_eq!(
                places.get(..6),
                Some(if is_512 { &[42, 21, 0, 1, 43, 22] } else { &[20, 10, 0, 11, 1, 21] }).map(|p| &p[..])
            );
            places.sort_unstable();
            assert_eq!(places, (0..length).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_long_password_costs_no_more_than_the_longest_that_is_read() {
        let salt = b"saltstring";
        let longest = [b'a'; SHA_CRYPT_PASSWORD_BYTES_MAX];
        let longer = [b'a'; SHA_CRYPT_PASSWORD_BYTES_MAX + 1];
        // The same computation; and yet no match.
        assert_eq!(*compute(true, 1_000, &longest, salt), *compute(true, 1_000, &longer, salt));
        let hash = ShaCrypt {
            is_512: true,
            rounds: 1_000,
            salt: String::from("saltstring"),
            hash: compute(true, 1_000, &longest, salt).to_vec(),
            text: String::new(),
        };
        assert!(hash.matches(&longest));
        assert!(!hash.matches(&longer));
    }
}
