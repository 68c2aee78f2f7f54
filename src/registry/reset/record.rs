//! The frozen forms of a mailed token. A change is a `MailedV3` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored, decode};
use crate::registry::record::{ReadError, Record};

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
    /// Sets the first password of an account that an administrator has made.
    Invitation,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 6] =
        [Self::Reset, Self::Verify, Self::Unlock, Self::EmailChange, Self::EmailUndo, Self::Invitation];

    /// Returns its name, for operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Verify => "verify",
            Self::Unlock => "unlock",
            Self::EmailChange => "email_change",
            Self::EmailUndo => "email_undo",
            Self::Invitation => "invitation",
        }
    }

    /// Says whether a token of this purpose can be redeemed for `wanted`. An invitation sets a password, as a reset does.
    pub fn serves(self, wanted: Self) -> bool {
        self == wanted || (self == Self::Invitation && wanted == Self::Reset)
    }
}

/// A mailed token as it was stored first. Only read.
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
    /// SHA-256 of its secret; [`MailedV2::NOBODYS`] for an unknown name.
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

/// A mailed token as it is stored: only its digest. A redeemed token is removed.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct MailedV2 {
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
    /// The key that its secret is derived from, so that the same token can be mailed again; [`Self::UNDERIVED`] for a
    /// secret that only its mail holds.
    pub kid: u8,
    /// The [`NameKey`](crate::value::account_name::NameKey) of the address together with which alone it is valid.
    pub bound_to: Option<[u8; 16]>,
}

impl Stored for MailedV2 {
    const TABLE: u16 = 6;
    const SCHEMA: u16 = 2;
}

impl Record for MailedV2 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }

    fn read(schema: u16, value: &[u8]) -> Result<Self, ReadError> {
        match schema {
            1 => Ok(decode::<MailedV1>(value)?.into()),
            Self::SCHEMA => Ok(decode(value)?),
            other => Err(ReadError::Schema(other)),
        }
    }
}

impl From<MailedV1> for MailedV2 {
    fn from(before: MailedV1) -> Self {
        Self {
            id: before.id,
            account: before.account,
            purpose: before.purpose,
            auth_epoch: before.auth_epoch,
            global_epoch: before.global_epoch,
            digest: before.digest,
            minted_ms: before.minted_ms,
            end_ms: before.end_ms,
            kid: Self::UNDERIVED,
            bound_to: None,
        }
    }
}

impl MailedV2 {
    /// Stands for the digest of a token for an unknown name: no secret has this digest.
    pub const NOBODYS: [u8; 32] = [0; 32];
    /// Stands for the key of a secret that was drawn at random.
    pub const UNDERIVED: u8 = 0;

    /// Says whether it is for an unknown name, and exists only so that as much is written as for a known one.
    pub fn is_nobodys(&self) -> bool {
        self.digest == Self::NOBODYS
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        self.id.first_chunk::<2>() == self.account.first_chunk::<2>() && self.minted_ms <= self.end_ms
    }
}
