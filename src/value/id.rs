//! Slots, ids that hold the slot their record lives in, and the keyed digests that names are looked up by.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Number of slots. Fixed for ever, because a slot is part of every id.
pub const SLOTS: u16 = 16_384;

/// One of the [`SLOTS`] partitions of all records. An account and everything that belongs to it share a slot.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(u16);

impl Slot {
    /// The slot of number 0.
    pub const FIRST: Self = Self(0);
    /// All of them: what a server with one partition holds.
    pub const ALL: RangeInclusive<Self> = Self(0)..=Self(SLOTS - 1);

    /// Returns the slot of number `number`, or `None` if `number` is [`SLOTS`] or more.
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// Returns the slot of the account name `name`. It depends on the installation's `directory_key`, so that an
    /// attacker cannot choose names that all fall into one slot.
    pub fn of_name(directory_key: &[u8; 32], name: &str) -> Self {
        let [high, low, ..] = keyed_digest(directory_key, &[b"slot", name.as_bytes()]);
        Self(u16::from_be_bytes([high, low]) % SLOTS)
    }

    /// Returns the number of the slot.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Returns the number as the first two bytes of a journal key.
    pub const fn to_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

/// Returns `bytes` in lower-case hexadecimal, as ids and digests are shown.
pub fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Returns the HMAC-SHA-256 of `parts` under `key`. Each part is preceded by its length, so that two different lists of
/// parts never give the same input.
pub fn keyed_digest(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Returns the first 8 bytes of [`keyed_digest`].
pub fn short_digest(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 8] {
    keyed_digest(key, parts).first_chunk().copied().unwrap_or_default()
}

/// Returns an HMAC-SHA-256 under a key of 32 bytes.
pub(crate) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC pads a short key with zeros to its block of 64 bytes. A key of the block's length cannot be refused.
    let mut block = [0_u8; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::<Sha256>::new(&block.into())
}

/// Implements the text form of an id of 16 bytes: 32 hexadecimal digits.
macro_rules! id_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
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
                // The lower-case decoder takes no sign and no capitals, so that an id has one spelling.
                let mut bytes = [0; 16];
                match base16ct::lower::decode(text, &mut bytes) {
                    Ok(decoded) if decoded.len() == 16 => Self::from_bytes(bytes).ok_or(IdError),
                    _ => Err(IdError),
                }
            }
        }
    };
}

macro_rules! slotted_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Bytes, and not a number of 16: an alignment of 16 would make every record that holds an id larger.
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Makes an id in `slot` from 14 random bytes.
            pub const fn mint(slot: Slot, random: [u8; 14]) -> Self {
                let [a, b] = slot.to_bytes();
                let [c, d, e, f, g, h, i, j, k, l, m, n, o, p] = random;
                Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
            }

            /// Reads the 16 bytes that [`Self::to_bytes`] returns. `None` if their slot does not exist.
            pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
                let id = Self(bytes);
                Slot::new(id.slot().number()).map(|_| id)
            }

            /// Returns the slot followed by the 14 random bytes. This is also the record's key in the journal.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0
            }

            /// Returns the slot in which the record lives.
            pub const fn slot(self) -> Slot {
                let [high, low, ..] = self.0;
                Slot(u16::from_be_bytes([high, low]))
            }
        }

        id_text!($name);
    };
}

slotted_id! {
    /// The id of an account. Safe to log.
    AccountId
}
slotted_id! {
    /// The id of a refresh-token family. Safe to log.
    FamilyId
}
slotted_id! {
    /// The id of a browser session. Safe to log.
    SessionId
}
slotted_id! {
    /// The id of the record of a mailed token. Safe to log.
    MailedId
}

/// The slot of the records that belong to the server itself, not to an account. No account has it.
const OWN_SLOT: [u8; 2] = [0xFF; 2];

/// The id of an API key. Safe to log.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ApiKeyId([u8; 16]);

impl ApiKeyId {
    /// Makes an id from 14 random bytes.
    pub fn mint(random: [u8; 14]) -> Self {
        let mut bytes = [0xFF; 16];
        for (to, from) in bytes.iter_mut().skip(OWN_SLOT.len()).zip(random) {
            *to = from;
        }
        Self(bytes)
    }

    /// Reads the 16 bytes that [`Self::to_bytes`] returns. `None` if they are of another slot.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes.first_chunk() == Some(&OWN_SLOT)).then_some(Self(bytes))
    }

    /// Returns the slot followed by the 14 random bytes. This is also the record's key in the journal.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

id_text!(ApiKeyId);

/// The text is not an id. An id has 32 lower-case hexadecimal digits, of which the first four name a slot.
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
        let text = id.to_string();
        for wrong in [
            text.to_uppercase(),
            format!("+{}", &text[1..]),
            text[2..].to_owned(),
            format!("{text}00"),
            String::new(),
            "f".repeat(32),
        ] {
            assert_eq!(wrong.parse::<AccountId>(), Err(IdError), "{wrong}");
        }
    }

    #[test]
    fn an_api_key_lies_in_the_slot_of_the_server_and_no_account_does() {
        let id = ApiKeyId::mint([7; 14]);
        assert_eq!(id.to_string(), format!("ffff{}", "07".repeat(14)));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ApiKeyId::from_bytes(id.to_bytes()), Some(id));
        assert_eq!(AccountId::from_bytes(id.to_bytes()), None);
        assert_eq!(ApiKeyId::from_bytes([7; 16]), None);
        assert_eq!("F".repeat(32).parse::<ApiKeyId>(), Err(IdError));
    }

    #[test]
    fn hexadecimal_is_lower_case_and_keeps_leading_zeros() {
        assert_eq!(hex(&[0, 0x0f, 0xa0, 0xff]), "000fa0ff");
        assert_eq!(hex(&[]), "");
    }

    #[test]
    fn a_keyed_digest_depends_on_where_its_parts_end() {
        let key = [7; 32];
        assert_ne!(keyed_digest(&key, &[b"ab", b"c"]), keyed_digest(&key, &[b"a", b"bc"]));
    }

    #[test]
    fn hmac_agrees_with_rfc_4231_case_1_with_a_padded_key() {
        // Case 1 has a key of 20 bytes 0x0b. HMAC pads with zeros, so the key of 32 bytes that ends in zeros is equal.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mut mac = keyed(&key);
        mac.update(b"Hi There");
        let got: [u8; 32] = mac.finalize().into_bytes().into();
        assert_eq!(got[..4], [0xb0, 0x34, 0x4c, 0x61]);
        assert_eq!(got[28..], [0x2e, 0x32, 0xcf, 0xf7]);
    }
}
