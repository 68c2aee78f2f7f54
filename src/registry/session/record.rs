//! The frozen form of a browser session. A change of it is a `SessionV2` and an upcast.

use std::time::Duration;

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::system::clock::Timestamp;

/// A browser session as it is stored: only the digest of its token. A session that ended is removed.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct SessionV1 {
    /// Its [`SessionId`](crate::value::id::SessionId).
    pub id: [u8; 16],
    /// The [`AccountId`](crate::value::id::AccountId) of its account, in the same slot.
    pub account: [u8; 16],
    /// The account's epoch at log-in.
    pub auth_epoch: u64,
    /// The global epoch at log-in.
    pub global_epoch: u64,
    /// SHA-256 of the cookie's secret.
    pub digest: [u8; 32],
    /// When the user logged in, in milliseconds since 1970.
    pub opened_ms: u64,
    /// When it was last used, at most a minute late.
    pub used_ms: u64,
    /// How long it lives without use, in milliseconds.
    pub idle_ms: u64,
    /// When it expires, however much it is used.
    pub absolute_end_ms: u64,
    /// Whether the browser keeps the cookie after it is closed.
    pub remember: bool,
    /// The network of the log-in.
    pub network: Box<str>,
    /// The browser's `User-Agent`, truncated.
    pub user_agent: Box<str>,
}

impl Stored for SessionV1 {
    const TABLE: u16 = 4;
    const SCHEMA: u16 = 1;
}

impl Record for SessionV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

impl SessionV1 {
    /// Returns when it expires if it is not used again.
    pub fn end(&self) -> Timestamp {
        Timestamp(self.used_ms.saturating_add(self.idle_ms).min(self.absolute_end_ms))
    }

    /// Returns the time until which another use need not be journalled.
    pub fn use_written_until(&self) -> Timestamp {
        Timestamp(self.used_ms) + USE_WRITTEN_EVERY
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        self.id.first_chunk::<2>() == self.account.first_chunk::<2>() && self.opened_ms <= self.used_ms
    }
}

/// The least time between two journalled uses of a session.
pub(super) const USE_WRITTEN_EVERY: Duration = Duration::from_mins(1);
