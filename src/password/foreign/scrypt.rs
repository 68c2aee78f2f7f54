//! scrypt (RFC 7914), and the form of it that Firebase stores.
//!
//! Firebase encrypts a signer key of the project with what scrypt returns, by AES-256 in counter mode, and stores that. So
//! the stored hash is the signer key plus a key stream, and the key stream alone is compared here: the signer key is needed
//! once, when an account is imported, and stands in no record.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use scrypt::Params;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::bounds::{HASH_BYTES_MAX, HASH_BYTES_MIN, SALT_BYTES_MAX};
use super::cost::{ForeignCost, ScryptCost};
use super::fault::ForeignFault;
use super::fields::{decode, encode, parameters, parts};

/// Stands before the hash of Firebase.
const FIREBASE: &str = "$firebase-scrypt$";
const PLAIN: &str = "$scrypt$";
/// Bytes of the key stream that are kept.
const STREAM_BYTES: usize = 32;

/// A hash of scrypt.
#[derive(Clone)]
pub(super) struct Scrypt {
    is_firebase: bool,
    cost: ScryptCost,
    salt: Vec<u8>,
    /// What scrypt returns; for Firebase, the key stream under it.
    hash: Vec<u8>,
}

fn head(text: &str) -> Option<(bool, ScryptCost, &str)> {
    let (is_firebase, rest) = match text.strip_prefix(FIREBASE) {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix(PLAIN)?),
    };
    let (numbers, rest) = rest.split_once('$')?;
    let [log_n, r, p] = parameters(numbers, ["ln", "r", "p"])?;
    Some((is_firebase, ScryptCost { log_n: u8::try_from(log_n).unwrap_or(u8::MAX), r, p }, rest))
}

/// Returns the cost in a text, without reading salt and hash.
pub(super) fn cost_of(text: &str) -> Option<ForeignCost> {
    head(text).map(|(_, cost, _)| ForeignCost::Scrypt(cost))
}

impl Scrypt {
    /// Reads a PHC string, or the text in which a hash of Firebase is stored.
    pub(super) fn parse(text: &str) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("scrypt", what);
        let (is_firebase, cost, rest) = head(text).ok_or(wrong("expected $scrypt$ln=…,r=…,p=…$salt$hash"))?;
        ForeignCost::Scrypt(cost).check()?;
        let [salt, hash] = parts(rest).ok_or(wrong("expected salt and hash behind the cost"))?;
        let salt =
            decode(salt, 1..=SALT_BYTES_MAX).ok_or(wrong("the salt is not 1 to 128 bytes in base64"))?;
        Self::of(cost, salt, hash).map(|hash| Self { is_firebase, ..hash })
    }

    /// Makes a hash of its parts, of which the hash is in base64.
    pub(super) fn of(cost: ScryptCost, salt: Vec<u8>, hash: &str) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("scrypt", what);
        ForeignCost::Scrypt(cost).check()?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(wrong("the salt does not have 1 to 128 bytes"));
        }
        let hash = decode(hash, HASH_BYTES_MIN..=HASH_BYTES_MAX);
        let hash = hash.ok_or(wrong("the hash is not 16 to 64 bytes in base64"))?;
        Ok(Self { is_firebase: false, cost, salt, hash })
    }

    /// Makes a hash of one that Firebase has made of its signer key.
    pub(super) fn of_firebase(
        cost: ScryptCost,
        salt: Vec<u8>,
        hash: &[u8],
        signer_key: &[u8],
    ) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("firebase", what);
        ForeignCost::Scrypt(cost).check()?;
        if hash.len() != signer_key.len() || hash.len() < STREAM_BYTES {
            return Err(wrong("the hash must be as long as the signer key, and at least 32 bytes"));
        }
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(wrong("salt and separator together must have 1 to 128 bytes"));
        }
        let stream = hash.iter().zip(signer_key).map(|(one, other)| one ^ other).take(STREAM_BYTES);
        Ok(Self { is_firebase: true, cost, salt, hash: stream.collect() })
    }

    pub(super) fn to_text(&self) -> String {
        let ScryptCost { log_n, r, p } = self.cost;
        let name = if self.is_firebase { FIREBASE } else { PLAIN };
        let (salt, hash) = (encode(&self.salt), encode(&self.hash));
        format!("{name}ln={log_n},r={r},p={p}${salt}${hash}")
    }

    pub(super) const fn cost(&self) -> ForeignCost {
        ForeignCost::Scrypt(self.cost)
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        if self.is_firebase {
            let mut key = Zeroizing::new([0; 32]);
            compute(self.cost, password, &self.salt, &mut *key)
                && key_stream(&key).is_some_and(|stream| stream.ct_eq(&self.hash).into())
        } else {
            let mut hash = Zeroizing::new(vec![0; self.hash.len()]);
            compute(self.cost, password, &self.salt, &mut hash) && hash.ct_eq(&self.hash).into()
        }
    }
}

/// Fills `out`, and says whether scrypt has taken the cost.
fn compute(cost: ScryptCost, password: &[u8], salt: &[u8], out: &mut [u8]) -> bool {
    let params = Params::new(cost.log_n, cost.r, cost.p);
    params.is_ok_and(|params| scrypt::scrypt(password, salt, &params, out).is_ok())
}

/// Returns the beginning of the key stream of AES-256 in counter mode, from a counter of zero.
fn key_stream(key: &[u8; 32]) -> Option<Zeroizing<[u8; STREAM_BYTES]>> {
    let key = EncryptingKey::ctr(UnboundCipherKey::new(&AES_256, key).ok()?).ok()?;
    let mut stream = Zeroizing::new([0; STREAM_BYTES]);
    let context = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    key.less_safe_encrypt(&mut *stream, context).ok()?;
    Some(stream)
}

/// Hashes `password` at a cost, and drops the result.
pub(super) fn burn(cost: ScryptCost, password: &[u8]) {
    let mut hash = Zeroizing::new([0; 32]);
    compute(cost, password, &[0; 16], &mut *hash);
    std::hint::black_box(&hash);
}
