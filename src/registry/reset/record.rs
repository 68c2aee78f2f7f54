//! The frozen form of a mailed token. A change of it is a `MailedV2` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;

/// The one purpose of a mailed token. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Hash, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Purpose {
    /// Sets a new password.
    Reset,
    /// Proves that mail reaches the address of an account.
    Verify,
    /// Lifts a lockout.
    Unlock,
    /// Proves a new address of an account.
    EmailChange,
    /// Goes back to the address that an account had before.
    EmailUndo,
}

/// A mailed token as it is stored: only its digest. A redeemed token is removed.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct MailedV1 {
    /// Its [`MailedId`](crate::value::id::MailedId).
    pub id: [u8; 16],
    /// The [`AccountId`](crate::value::id::AccountId) of its account, in the same slot; for an unknown name, an id that
    /// no account has.
    pub account: [u8; 16],
    /// Its purpose.
    pub purpose: Purpose,
    /// The account's epoch when it was minted.
    pub auth_epoch: u64,
    /// The global epoch when it was minted.
    pub global_epoch: u64,
    /// SHA-256 of its secret; [`Self::NOBODYS`] for an unknown name.
    pub digest: [u8; 32],
    /// When the token was minted, in milliseconds since 1970.
    pub minted_ms: u64,
    /// When it expires.
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
    /// Stands for the digest of a token for an unknown name: no secret has this digest.
    pub const NOBODYS: [u8; 32] = [0; 32];

    /// Says whether it is for an unknown name, and exists only so that as much is written as for a known one.
    pub fn is_nobodys(&self) -> bool {
        self.digest == Self::NOBODYS
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        self.id.first_chunk::<2>() == self.account.first_chunk::<2>() && self.minted_ms <= self.end_ms
    }
}
