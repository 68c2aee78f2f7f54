//! The frozen form of an API key. A change of it is an `ApiKeyV2` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::system::clock::Timestamp;
use crate::value::id::ApiKeyId;

/// What an API key may do. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Scope {
    /// Ask whether a token is valid.
    Introspect,
    /// Read the feed of revocations.
    Revocations,
    /// Read the metrics.
    Metrics,
    /// Read accounts and events, as an administrator.
    AdminRead,
    /// Change accounts and keys, as an administrator.
    AdminWrite,
    /// Read events of accounts and sessions.
    EventsRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] = [
        Self::Introspect,
        Self::Revocations,
        Self::Metrics,
        Self::AdminRead,
        Self::AdminWrite,
        Self::EventsRead,
    ];

    /// Returns the name of the scope in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Introspect => "introspect",
            Self::Revocations => "revocations",
            Self::Metrics => "metrics",
            Self::AdminRead => "admin:read",
            Self::AdminWrite => "admin:write",
            Self::EventsRead => "events:read",
        }
    }

    /// Returns the scope of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// An API key as it is stored: only the digest of its secret.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct ApiKeyV1 {
    /// Its [`ApiKeyId`].
    pub id: [u8; 16],
    /// The name that its maker gave it.
    pub name: Box<str>,
    /// SHA-256 of its secret.
    pub digest: [u8; 32],
    /// What it may do, sorted, each once.
    pub scopes: Vec<Scope>,
    /// The global epoch at its making. It is dead once the server has another one.
    pub global_epoch: u64,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: u64,
    /// When it expires.
    pub end_ms: u64,
    /// When it was last used, at most an hour late; zero if it never was.
    pub used_ms: u64,
    /// Who made it: the id of an administrator, or `operator`.
    pub made_by: Box<str>,
}

impl Stored for ApiKeyV1 {
    const TABLE: u16 = 14;
    const SCHEMA: u16 = 1;
}

impl Record for ApiKeyV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

impl ApiKeyV1 {
    /// Returns when it expires.
    pub const fn end(&self) -> Timestamp {
        Timestamp(self.end_ms)
    }

    /// Says whether it may do what `scope` stands for.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        ApiKeyId::from_bytes(self.id).is_some() && self.made_ms <= self.end_ms && !self.scopes.is_empty()
    }
}
