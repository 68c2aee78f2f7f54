//! The frozen form of an invitation. A change of it is an `InvitationV2` and an upcast.

use std::fmt;

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::system::clock::Timestamp;
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;

/// Who has sent an invitation. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Hash, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Inviter {
    /// The operator of the server, or the program that embeds it.
    Operator,
    /// An administrator: the [`AccountId`].
    Account([u8; 16]),
    /// A service: the [`ApiKeyId`](crate::value::id::ApiKeyId).
    ApiKey([u8; 16]),
}

/// An open invitation.
#[derive(Clone, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct InvitationV1 {
    /// The id that the account will have, in the slot of the address.
    pub id: AccountId,
    /// The [`NameKey`](crate::value::account_name::NameKey) of the address.
    pub name_key: [u8; 16],
    /// The address in its canonical form.
    pub email: Box<str>,
    /// The name that the account will have, unless its owner gives another.
    pub name: Option<Box<str>>,
    /// The roles that the account will have, sorted, each once.
    pub roles: Vec<Box<str>>,
    /// The language of its owner.
    pub locale: Option<Box<str>>,
    /// Who has sent it.
    pub inviter: Inviter,
    /// SHA-256 of the secret of its link.
    pub digest: [u8; 32],
    /// The global epoch. After a restore from a backup it is invalid.
    pub global_epoch: u64,
    /// When it was sent, in milliseconds since 1970.
    pub sent_ms: u64,
    /// When it is gone.
    pub end_ms: u64,
}

impl Stored for InvitationV1 {
    const TABLE: u16 = 18;
    const SCHEMA: u16 = 1;
}

impl Record for InvitationV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id.to_bytes()
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

impl InvitationV1 {
    /// Returns when it is gone.
    pub const fn end(&self) -> Timestamp {
        Timestamp(self.end_ms)
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        self.sent_ms <= self.end_ms && AccountName::parse(&self.email).is_ok()
    }
}

/// Prints neither the digest nor the address.
impl fmt::Debug for InvitationV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("InvitationV1");
        shown.field("id", &self.id).field("roles", &self.roles).field("inviter", &self.inviter);
        shown.field("sent_ms", &self.sent_ms).field("end_ms", &self.end_ms).finish_non_exhaustive()
    }
}
