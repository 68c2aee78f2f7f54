//! The frozen form of an event. A change is an `EventV2` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::journal::format::entry::STATELESS;
use crate::registry::record::Record;

/// The credential of a session. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Credential {
    /// A session cookie.
    Cookie,
    /// A refresh token and access tokens.
    Tokens,
}

impl Credential {
    /// Returns its name in an event.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Tokens => "tokens",
        }
    }
}

/// Why a session ended. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum EndReason {
    /// The user logged out.
    LogOut,
    /// A spent refresh token came back.
    Reuse,
    /// An administrator ended it, or the owner of the account did from the list of sessions.
    Revoked,
    /// The account opened so many others that it had to give way.
    GaveWay,
    /// Another session took its place.
    Replaced,
}

impl EndReason {
    /// Returns its name in an event.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LogOut => "log_out",
            Self::Reuse => "reuse",
            Self::Revoked => "revoked",
            Self::GaveWay => "gave_way",
            Self::Replaced => "replaced",
        }
    }
}

/// What of the further data of an account has changed, as bits.
#[derive(Clone, Copy, Debug, Decode, Default, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct Metadata(pub u8);

impl Metadata {
    /// The bits, and their names in an event. Append only.
    pub const NAMES: [(u8, &'static str); 4] =
        [(1, "user_metadata"), (2, "app_metadata"), (4, "locale"), (8, "external_id")];

    /// Returns the names of what has changed.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| name)
    }
}

/// What has happened. Append only.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum What {
    /// An account was made.
    Created {
        /// Its address.
        email: Box<str>,
        /// The name of its owner.
        name: Option<Box<str>>,
        /// Its roles.
        roles: Vec<Box<str>>,
    },
    /// Its address was proved.
    Verified,
    /// It has another address.
    EmailChanged {
        /// The address.
        email: Box<str>,
    },
    /// Its owner has another name.
    NameChanged {
        /// The name; `None` if it was removed.
        name: Option<Box<str>>,
    },
    /// It has other roles.
    RolesChanged {
        /// All of them.
        roles: Vec<Box<str>>,
    },
    /// It was disabled.
    Disabled,
    /// It was enabled.
    Enabled,
    /// It was deleted.
    Deleted,
    /// It has another password.
    PasswordChanged,
    /// Its further data changed.
    MetadataChanged(Metadata),
    /// A session was opened.
    SessionOpened {
        /// Its id.
        session: [u8; 16],
        /// Its credential.
        credential: Credential,
    },
    /// A session ended, before its time was over.
    SessionEnded {
        /// Its id.
        session: [u8; 16],
        /// Its credential.
        credential: Credential,
        /// Why, if that is known.
        reason: Option<EndReason>,
    },
    /// Failed log-ins have locked the account for unknown devices.
    LockoutStarted {
        /// When the lock ends, in milliseconds since 1970.
        until_ms: u64,
    },
    /// The same for a name that no account has. The log drops it.
    LockoutOfNobody {
        /// When the lock ends, in milliseconds since 1970.
        until_ms: u64,
    },
    /// A refresh token that was spent came back, and its session was ended.
    RefreshReused {
        /// The id of the session.
        session: [u8; 16],
    },
}

/// An event as it is stored, in the entry of what it tells of.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct EventV1 {
    /// The account that it is about.
    pub about: [u8; 16],
    /// When it happened, in milliseconds since 1970.
    pub at_ms: u64,
    /// What has happened.
    pub what: What,
}

impl Stored for EventV1 {
    /// The first of those without a state, and one more.
    const TABLE: u16 = STATELESS + 1;
    const SCHEMA: u16 = 1;
}

/// Events are written as records are, but no state holds them.
impl Record for EventV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.about
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}
