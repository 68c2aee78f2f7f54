//! Names of things, each of which carries the slot it lives in.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How many slots there are. Fixed for ever: a slot is part of every id.
pub const SLOTS: u16 = 16_384;

/// One of the [`SLOTS`] places in which an account and all that is its own lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(u16);

impl Slot {
    /// The first one.
    pub const FIRST: Self = Self(0);
    /// All of them: what a server with one partition holds.
    pub const ALL: RangeInclusive<Self> = Self(0)..=Self(SLOTS - 1);

    /// The slot of number `number`; `None` past the last one.
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// Where `name` lives under the directory key of an installation.
    pub fn of_name(directory_key: &[u8; 32], name: &str) -> Self {
        let [high, low, ..] = keyed_digest(directory_key, &[b"slot", name.as_bytes()]);
        Self(u16::from_be_bytes([high, low]) % SLOTS)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its number as the first two bytes of a journal key.
    pub const fn to_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

/// Bytes in hexadecimal, as ids and digests are shown.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(if half < 10 { b'0' + half } else { b'a' - 10 + half });
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// HMAC-SHA-256 over `parts`, each with its length before it, so that no two lists of parts are alike.
pub fn keyed_digest(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The first 8 bytes of [`keyed_digest`].
pub fn short_digest(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 8] {
    keyed_digest(key, parts).first_chunk().copied().unwrap_or_default()
}

/// An HMAC-SHA-256 under a key of 32 bytes.
pub(crate) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // A key of the block's own length needs no hashing first and so cannot be refused.
    let mut block = [0_u8; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::<Sha256>::new(&block.into())
}

macro_rules! slotted_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(u128);

        impl $name {
            /// Mints one in `slot` from 14 random bytes.
            pub const fn mint(slot: Slot, random: [u8; 14]) -> Self {
                let [a, b] = slot.to_bytes();
                let [c, d, e, f, g, h, i, j, k, l, m, n, o, p] = random;
                Self(u128::from_be_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]))
            }

            /// Reads the 16 bytes of [`Self::to_bytes`]; `None` when their slot does not exist.
            pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
                let id = Self(u128::from_be_bytes(bytes));
                Slot::new((id.0 >> 112) as u16).map(|_| id)
            }

            /// Slot first, then 14 random bytes: also the key in the journal.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The slot in which it lives.
            pub const fn slot(self) -> Slot {
                Slot((self.0 >> 112) as u16)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                // `from_str_radix` would take a sign and capitals: one id, one spelling.
                if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(IdError);
                }
                let number = u128::from_str_radix(text, 16).map_err(|_| IdError)?;
                Self::from_bytes(number.to_be_bytes()).ok_or(IdError)
            }
        }
    };
}

slotted_id! {
    /// Names an account. Safe to log.
    AccountId
}
slotted_id! {
    /// Names a refresh-token family. Safe to log.
    FamilyId
}
slotted_id! {
    /// Names a browser session. Safe to log.
    SessionId
}
slotted_id! {
    /// Names a mailed token's record. Safe to log.
    MailedId
}

/// Text that is not an id: 32 lower-case hexadecimal digits, of which the first four name a slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an id: expected 32 lower-case hexadecimal digits")]
pub struct IdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_slot_and_has_one_spelling() {
        let slot = Slot::new(16_383).unwrap();
        let id = AccountId::mint(slot, [0xAB; 14]);
        assert_eq!(id.slot(), slot);
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in [id.to_string().to_uppercase(), format!("+{}", &id.to_string()[1..]), "f".repeat(32)] {
            assert_eq!(wrong.parse::<AccountId>(), Err(IdError), "{wrong}");
        }
    }

    #[test]
    fn a_keyed_digest_tells_where_its_parts_end() {
        let key = [7; 32];
        assert_ne!(keyed_digest(&key, &[b"ab", b"c"]), keyed_digest(&key, &[b"a", b"bc"]));
    }

    #[test]
    fn hmac_agrees_with_rfc_4231_case_1_with_a_padded_key() {
        // Case 1 has a key of 20 bytes 0x0b; HMAC pads with zeros, so 32 bytes with zeros behind are the same key.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mut mac = keyed(&key);
        mac.update(b"Hi There");
        let got: [u8; 32] = mac.finalize().into_bytes().into();
        assert_eq!(got[..4], [0xb0, 0x34, 0x4c, 0x61]);
        assert_eq!(got[28..], [0x2e, 0x32, 0xcf, 0xf7]);
    }
}
