//! The frozen form of a family. A change of it is a `FamilyV2` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::system::clock::Timestamp;
use crate::token::opaque::SealedSuccessor;
use crate::value::id::{AccountId, FamilyId};

/// Why a family was ended. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Cause {
    /// The user logged out.
    LogOut,
    /// A spent token came back.
    Reuse,
    /// An administrator ended it, or the owner of the account did from the list of sessions.
    Revoked,
}

/// A refresh-token family as it is stored: no token, only digests of what the client holds.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct FamilyV1 {
    /// Its id, in the slot of its account.
    pub id: FamilyId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// The account's epoch at log-in. The family is invalid once the account has another one.
    pub auth_epoch: u64,
    /// The global epoch at log-in.
    pub global_epoch: u64,
    /// When the user logged in, in milliseconds since 1970.
    pub opened_ms: u64,
    /// When the live token was minted.
    pub rotated_ms: u64,
    /// When the live token expires unless it is used.
    pub idle_end_ms: u64,
    /// When the family expires, however much it is used.
    pub absolute_end_ms: u64,
    /// The number of the live token, from 0.
    pub generation: u32,
    /// SHA-256 of the live token's secret.
    pub digest: [u8; 32],
    /// The token that was spent last, and its successor; `None` before the first rotation.
    pub spent: Option<Box<SpentV1>>,
    /// Why the family was ended; `None` while it was not.
    pub ended: Option<Cause>,
    /// For the list of sessions: the network of the log-in, a space, and the client's `User-Agent`, truncated.
    pub client: Box<str>,
}

/// The token of a family that was spent last.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct SpentV1 {
    /// SHA-256 of its secret.
    pub digest: [u8; 32],
    /// The live token's secret, sealed under a key from the spent token's secret.
    pub successor: SealedSuccessor,
}

impl Stored for FamilyV1 {
    const TABLE: u16 = 5;
    const SCHEMA: u16 = 1;
}

impl Record for FamilyV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id.to_bytes()
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

impl FamilyV1 {
    /// Says whether some version may have written this record, which was read back: its ids lie in one slot, and its
    /// times are in order.
    pub fn is_sound(&self) -> bool {
        self.id.slot() == self.account.slot()
            && self.opened_ms <= self.rotated_ms
            && self.rotated_ms <= self.idle_end_ms
            && self.idle_end_ms <= self.absolute_end_ms
            && (self.generation == 0) == self.spent.is_none()
    }

    /// Returns the network of the log-in.
    pub fn network(&self) -> &str {
        self.client.split_once(' ').map_or(&*self.client, |(network, _)| network)
    }

    /// Returns the client's `User-Agent`.
    pub fn user_agent(&self) -> &str {
        self.client.split_once(' ').map_or("", |(_, user_agent)| user_agent)
    }

    /// Says whether the live token, and with it the family, is expired at `now`.
    pub const fn is_expired(&self, now: Timestamp) -> bool {
        now.as_millis() >= self.idle_end_ms
    }
}
