//! The other variants of argon2: argon2i, argon2d, and argon2id of version 1.0 (RFC 9106).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::bounds::{ARGON2_SALT_BYTES_MAX, ARGON2_SALT_BYTES_MIN, HASH_BYTES_MAX, HASH_BYTES_MIN};
use super::cost::ForeignCost;
use super::fault::ForeignFault;
use super::fields::{decode, encode, parameters, parts};
use crate::password::argon2id::{Addressing, Implementation, Variant};
use crate::password::cost::Cost;

/// A hash of another variant of argon2.
#[derive(Clone)]
pub(super) struct Argon2 {
    variant: Variant,
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// Reads variant and cost, and what follows them. Strings of before version 1.3 name no version.
fn head(text: &str) -> Option<(Variant, Cost, &str)> {
    let (name, rest) = text.strip_prefix('$')?.split_once('$')?;
    let addressing = match name {
        "argon2d" => Addressing::D,
        "argon2i" => Addressing::I,
        "argon2id" => Addressing::Id,
        _ => return None,
    };
    let (is_old, rest) = match rest.strip_prefix("v=") {
        Some(rest) => match rest.split_once('$')? {
            ("16", rest) => (true, rest),
            ("19", rest) => (false, rest),
            _ => return None,
        },
        None => (true, rest),
    };
    let (numbers, rest) = rest.split_once('$')?;
    let [memory_kib, passes, lanes] = parameters(numbers, ["m", "t", "p"])?;
    Some((Variant { addressing, is_old }, Cost { memory_kib, passes, lanes }, rest))
}

/// Returns the cost in a text, without reading salt and hash.
pub(super) fn cost_of(text: &str) -> Option<ForeignCost> {
    head(text).map(|(variant, cost, _)| ForeignCost::Argon2(variant, cost))
}

impl Argon2 {
    /// Reads a PHC string of any variant.
    pub(super) fn parse(text: &str) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("argon2", what);
        let (variant, cost, rest) =
            head(text).ok_or(wrong("expected $argon2id$v=19$m=…,t=…,p=…$salt$hash, version 16 or 19"))?;
        ForeignCost::Argon2(variant, cost).check()?;
        let [salt, hash] = parts(rest).ok_or(wrong("expected salt and hash behind the cost"))?;
        let salt = decode(salt, ARGON2_SALT_BYTES_MIN..=ARGON2_SALT_BYTES_MAX);
        let hash = decode(hash, HASH_BYTES_MIN..=HASH_BYTES_MAX);
        Ok(Self {
            variant,
            cost,
            salt: salt.ok_or(wrong("the salt is not 8 to 48 bytes in base64"))?,
            hash: hash.ok_or(wrong("the hash is not 16 to 64 bytes in base64"))?,
        })
    }

    pub(super) fn to_text(&self) -> String {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let (salt, hash) = (encode(&self.salt), encode(&self.hash));
        let variant = self.variant.to_string().replace(' ', "$");
        format!("${variant}$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
    }

    pub(super) const fn cost(&self) -> ForeignCost {
        ForeignCost::Argon2(self.variant, self.cost)
    }

    pub(super) fn matches(&self, password: &[u8], implementation: &mut Implementation) -> bool {
        let mut hash = Zeroizing::new(vec![0; self.hash.len()]);
        let input = [password, &self.salt, &[]];
        let filled = implementation.fill_variant(self.variant, self.cost, input, &mut hash);
        filled.is_ok() && hash.ct_eq(&self.hash).into()
    }
}

/// Hashes `password` at a cost, and drops the result.
pub(super) fn burn(variant: Variant, cost: Cost, password: &[u8], implementation: &mut Implementation) {
    let mut hash = Zeroizing::new([0; 32]);
    let _ = implementation.fill_variant(variant, cost, [password, &[0; 16], &[]], &mut *hash);
    std::hint::black_box(&hash);
}
