//! The frozen forms of a browser session. A change is a `SessionV3` and an upcast.

use std::time::Duration;

use crate::journal::format::codec::{Decode, Encode, Stored, decode};
use crate::registry::record::{AAL1, BY_PASSWORD, ReadError, Record};
use crate::system::clock::Timestamp;

/// A browser session as it was stored first. Only read.
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

/// A browser session as it is stored: only the digest of its token. A session that ended is removed.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct SessionV2 {
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
    /// The methods by which the user authenticated, as bits: 1 is the password.
    pub methods: u16,
    /// The level of the authentication: 1, 2 or 3 for AAL1 to AAL3 of NIST SP 800-63B.
    pub level: u8,
    /// When the user last proved who they are, in milliseconds since 1970.
    pub proved_ms: u64,
    /// The known device that it was opened on; zero for none.
    pub device: [u8; 8],
    /// The first session of this account in this browser: a session that replaces another one keeps its root.
    pub root: [u8; 16],
}

impl Stored for SessionV2 {
    const TABLE: u16 = 4;
    const SCHEMA: u16 = 2;
}

impl Record for SessionV2 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }

    fn read(schema: u16, value: &[u8]) -> Result<Self, ReadError> {
        match schema {
            1 => Ok(decode::<SessionV1>(value)?.into()),
            Self::SCHEMA => Ok(decode(value)?),
            other => Err(ReadError::Schema(other)),
        }
    }
}

impl From<SessionV1> for SessionV2 {
    fn from(before: SessionV1) -> Self {
        Self {
            id: before.id,
            account: before.account,
            auth_epoch: before.auth_epoch,
            global_epoch: before.global_epoch,
            digest: before.digest,
            opened_ms: before.opened_ms,
            used_ms: before.used_ms,
            idle_ms: before.idle_ms,
            absolute_end_ms: before.absolute_end_ms,
            remember: before.remember,
            network: before.network,
            user_agent: before.user_agent,
            methods: BY_PASSWORD,
            level: AAL1,
            proved_ms: before.opened_ms,
            device: [0; 8],
            root: before.id,
        }
    }
}

impl SessionV2 {
    /// Returns when it expires if it is not used again.
    pub fn end(&self) -> Timestamp {
        Timestamp(self.used_ms.saturating_add(self.idle_ms).min(self.absolute_end_ms))
    }

    /// Returns the time until which another use need not be journalled. A short-lived session has its uses journalled
    /// more often: it must not end while it is used.
    pub fn use_written_until(&self) -> Timestamp {
        let every = USE_WRITTEN_EVERY.min(Duration::from_millis(self.idle_ms / 4));
        Timestamp(self.used_ms) + every
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        self.id.first_chunk::<2>() == self.account.first_chunk::<2>() && self.opened_ms <= self.used_ms
    }
}

/// The most time between two journalled uses of a session that is in use.
const USE_WRITTEN_EVERY: Duration = Duration::from_mins(1);
