//! The frozen form of a mailed token. A change of it is a `MailedV2` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;

/// What a mailed token is good for, and for nothing else. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Hash, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Purpose {
    /// To set a new password.
    Reset,
    /// To prove that mail reaches the address.
    Verify,
    /// To lift a lockout.
    Unlock,
    /// To prove another address of an account.
    EmailChange,
    /// To go back to the address of before.
    EmailUndo,
}

/// A mailed token as it is stored: only its digest. A redeemed one is gone.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct MailedV1 {
    /// [`MailedId`](crate::value::id::MailedId).
    pub id: [u8; 16],
    /// [`AccountId`](crate::value::id::AccountId), in the same slot; of nobody, an id that no account has.
    pub account: [u8; 16],
    /// What it is good for.
    pub purpose: Purpose,
    /// The account's epoch when it was minted.
    pub auth_epoch: u64,
    /// The global epoch when it was minted.
    pub global_epoch: u64,
    /// SHA-256 of its secret; zeros where it is nobody's.
    pub digest: [u8; 32],
    /// When it was minted, in milliseconds since 1970.
    pub minted_ms: u64,
    /// When it is out of time.
    pub end_ms: u64,
}

impl Stored for MailedV1 {
    const TABLE: u16 = 6;
    const SCHEMA: u16 = 1;
}

impl Record for MailedV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

impl MailedV1 {
    /// In place of a digest, where a token is nobody's: no secret has it.
    pub const NOBODYS: [u8; 32] = [0; 32];

    /// Whether it only stands here so that as much is written for a name without an account.
    pub fn is_nobodys(&self) -> bool {
        self.digest == Self::NOBODYS
    }

    /// Whether what was read back can be a mailed token.
    pub fn is_sound(&self) -> bool {
        self.id.first_chunk::<2>() == self.account.first_chunk::<2>() && self.minted_ms <= self.end_ms
    }
}
