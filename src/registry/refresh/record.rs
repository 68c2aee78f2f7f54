//! The frozen forms of a family. A change is a `FamilyV4` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored, decode};
use crate::registry::record::{AAL1, BY_PASSWORD, ReadError, Record};
use crate::system::clock::Timestamp;
use crate::token::opaque::SealedSuccessor;
use crate::value::id::{AccountId, FamilyId};
use crate::value::network::{Network, Width};

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
    /// The account opened so many others that the one unused longest had to give way.
    GaveWay,
}

/// What the access tokens of a family are for. Append only.
#[derive(
    Clone,
    Copy,
    Debug,
    Decode,
    Default,
    Encode,
    Eq,
    PartialEq,
    serde::Deserialize,
    serde::Serialize,
    utoipa::ToSchema,
)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// The application's resource servers, and the account's own endpoints here.
    #[default]
    App,
    /// The administrators' endpoints here, and the account's own.
    Admin,
}

/// A refresh-token family as it was stored first. Only read.
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

/// The token of a family that was spent last, as it was stored first. Only read.
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

/// A refresh-token family as it was stored second. Only read.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct FamilyV2 {
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
    /// When the family expires, however much it is used. Of an ended one: when it is forgotten.
    pub absolute_end_ms: u64,
    /// The number of the live token, from 0.
    pub generation: u32,
    /// SHA-256 of the live token's secret; zero once the family has ended.
    pub digest: [u8; 32],
    /// The token that was spent last, and its successor; `None` before the first rotation and after the end.
    pub spent: Option<Box<SpentV2>>,
    /// Why the family was ended; `None` while it was not.
    pub ended: Option<Cause>,
    /// For the list of sessions: the network of the log-in, a space, and the client's `User-Agent`, truncated. Empty
    /// once the family has ended.
    pub client: Box<str>,
    /// The methods by which the user authenticated, as bits: 1 is the password.
    pub methods: u16,
    /// The level of the authentication: 1, 2 or 3 for AAL1 to AAL3 of NIST SP 800-63B.
    pub level: u8,
    /// When the user last proved who they are, in milliseconds since 1970.
    pub proved_ms: u64,
    /// The known device that it was opened on; zero for none.
    pub device: [u8; 8],
    /// What its access tokens are for.
    pub audience: Audience,
    /// Another network than that of the rotation which was given the same successor again; `None` if there was none.
    pub second_network: Option<Box<str>>,
}

/// A refresh-token family as it is stored: no token, only digests of what the client holds. Of one that ended, little
/// more is left than its id and the cause.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct FamilyV3 {
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
    /// When the family expires, however much it is used. Of an ended one: when it is forgotten.
    pub absolute_end_ms: u64,
    /// The number of the live token, from 0.
    pub generation: u32,
    /// SHA-256 of the live token's secret; zero once the family has ended.
    pub digest: [u8; 32],
    /// The token that was spent last, and its successor; `None` before the first rotation and after the end.
    pub spent: Option<Box<SpentV2>>,
    /// Why the family was ended; `None` while it was not.
    pub ended: Option<Cause>,
    /// For the list of sessions: the network of the log-in, a space, and the client's `User-Agent`, truncated. Empty
    /// once the family has ended.
    pub client: Box<str>,
    /// The methods by which the user authenticated, as bits: 1 is the password.
    pub methods: u16,
    /// The level of the authentication: 1, 2 or 3 for AAL1 to AAL3 of NIST SP 800-63B.
    pub level: u8,
    /// When the user proved who they are for the family to be opened, in milliseconds since 1970. A refresh is no proof,
    /// and a later one does not count for the family: a copy of its refresh token would become fresh with it.
    pub proved_ms: u64,
    /// The known device that it was opened on; zero for none.
    pub device: [u8; 8],
    /// What its access tokens are for.
    pub audience: Audience,
    /// Another network than that of the rotation which was given the same successor again; `None` if there was none.
    pub second_network: Option<Box<str>>,
    /// When an access token was last issued for a proof and not for a refresh.
    pub issued_ms: u64,
    /// Who ended it by a log-out; `None` if nobody did, or once a spent token has come back.
    pub log_out: Option<Box<LogOutV1>>,
}

/// A log-out that ended a family: enough to tell whether the owner did it when a spent token comes back.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct LogOutV1 {
    /// The client that logged out.
    pub by: SpentByV1,
    /// Who spent the token that was spent last; `None` if none was, or if it was not recorded.
    pub spent_by: Option<SpentByV1>,
}

/// The token of a family that was spent last.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct SpentV2 {
    /// SHA-256 of its secret.
    pub digest: [u8; 32],
    /// The live token's secret, sealed under a key from the spent token's secret.
    pub successor: SealedSuccessor,
    /// Who spent it; `None` if that was not recorded.
    pub by: Option<SpentByV1>,
}

/// Who spent a token: enough to tell whether another request comes from the same place or the same program.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct SpentByV1 {
    /// The upper 64 bits of an IPv6 address, or the 32 bits of an IPv4 address.
    pub network: u64,
    /// Whether it is an IPv6 address.
    pub is_v6: bool,
    /// A checksum of the family of its `User-Agent`; zero if there was none.
    pub agent: u32,
}

impl SpentByV1 {
    /// Describes a client on `network` whose `User-Agent` belongs to the family `agent`.
    pub fn new(network: Network, agent: &str) -> Self {
        let agent = if agent.is_empty() { 0 } else { crc32c::crc32c(agent.as_bytes()).max(1) };
        Self { network: network.bits, is_v6: network.width == Width::V6Link, agent }
    }

    /// Says whether both are on one network.
    pub const fn shares_network(self, other: Self) -> bool {
        self.network == other.network && self.is_v6 == other.is_v6
    }

    /// Says whether both are one kind of program. Programs that do not say what they are, are never the same.
    pub const fn shares_agent(self, other: Self) -> bool {
        self.agent == other.agent && self.agent != 0
    }

    /// Says whether both may be one client: in one place, or of one kind.
    pub const fn is_like(self, other: Self) -> bool {
        self.shares_network(other) || self.shares_agent(other)
    }

    /// Returns the network as text, for the list of sessions.
    pub fn network_text(self) -> Box<str> {
        let width = if self.is_v6 { Width::V6Link } else { Width::V4Host };
        Network { width, bits: self.network }.to_net().to_string().into()
    }
}

impl Stored for FamilyV2 {
    const TABLE: u16 = 5;
    const SCHEMA: u16 = 2;
}

impl Stored for FamilyV3 {
    const TABLE: u16 = 5;
    const SCHEMA: u16 = 3;
}

impl Record for FamilyV3 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id.to_bytes()
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }

    fn read(schema: u16, value: &[u8]) -> Result<Self, ReadError> {
        match schema {
            1 => Ok(decode::<FamilyV1>(value)?.into()),
            2 => Ok(decode::<FamilyV2>(value)?.into()),
            Self::SCHEMA => Ok(decode(value)?),
            other => Err(ReadError::Schema(other)),
        }
    }
}

impl From<FamilyV1> for FamilyV3 {
    fn from(before: FamilyV1) -> Self {
        let spent =
            before.spent.map(|spent| SpentV2 { digest: spent.digest, successor: spent.successor, by: None });
        let family = Self {
            id: before.id,
            account: before.account,
            auth_epoch: before.auth_epoch,
            global_epoch: before.global_epoch,
            opened_ms: before.opened_ms,
            rotated_ms: before.rotated_ms,
            idle_end_ms: before.idle_end_ms,
            absolute_end_ms: before.absolute_end_ms,
            generation: before.generation,
            digest: before.digest,
            spent: spent.map(Box::new),
            ended: None,
            client: before.client,
            methods: BY_PASSWORD,
            level: AAL1,
            proved_ms: before.opened_ms,
            device: [0; 8],
            audience: Audience::App,
            second_network: None,
            issued_ms: before.opened_ms,
            log_out: None,
        };
        match before.ended {
            None => family,
            // When it ended is not known, so what is left of it stays as long as it would have.
            Some(cause) => family.tombstone(cause, None, Timestamp(before.absolute_end_ms)),
        }
    }
}

impl From<FamilyV2> for FamilyV3 {
    fn from(before: FamilyV2) -> Self {
        Self {
            id: before.id,
            account: before.account,
            auth_epoch: before.auth_epoch,
            global_epoch: before.global_epoch,
            opened_ms: before.opened_ms,
            rotated_ms: before.rotated_ms,
            idle_end_ms: before.idle_end_ms,
            absolute_end_ms: before.absolute_end_ms,
            generation: before.generation,
            digest: before.digest,
            spent: before.spent,
            ended: before.ended,
            client: before.client,
            methods: before.methods,
            level: before.level,
            // A later proof counted for the whole family then, a copy of its refresh token included.
            proved_ms: before.opened_ms,
            device: before.device,
            audience: before.audience,
            second_network: before.second_network,
            issued_ms: before.proved_ms,
            log_out: None,
        }
    }
}

impl FamilyV3 {
    /// Says whether some version may have written this record, which was read back: its ids lie in one slot, and its
    /// times are in order.
    pub fn is_sound(&self) -> bool {
        self.id.slot() == self.account.slot()
            && self.opened_ms <= self.rotated_ms
            && self.rotated_ms <= self.idle_end_ms
            && self.idle_end_ms <= self.absolute_end_ms
            && (self.ended.is_some() || (self.generation == 0) == self.spent.is_none())
    }

    /// Returns what is left of the family once it has ended for `cause`, by a log-out of `by` if it is one, until `end`: nothing by which a token could be
    /// recognised, and of clients no more than tells them apart, if a log-out ended it.
    #[must_use]
    pub fn tombstone(&self, cause: Cause, by: Option<SpentByV1>, end: Timestamp) -> Self {
        let spent_by = self.spent.as_ref().and_then(|spent| spent.by);
        let end_ms = end.as_millis().max(self.rotated_ms);
        Self {
            idle_end_ms: end_ms,
            absolute_end_ms: end_ms,
            digest: [0; 32],
            spent: None,
            ended: Some(cause),
            client: Box::default(),
            device: [0; 8],
            second_network: None,
            log_out: by.map(|by| Box::new(LogOutV1 { by, spent_by })),
            ..*self
        }
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
