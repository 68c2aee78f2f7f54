//! The frozen form of a mail that waits. A change of it is a `MailV2` and an upcast.

use std::time::Duration;

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::system::clock::Timestamp;

/// A mail to nobody is forgotten after so long where no thread sends any.
const NOBODYS_FOR: Duration = Duration::from_hours(1);

/// What a mail is about. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Kind {
    /// Prove this address.
    Verify,
    /// Somebody tried to sign up with an address that has an account.
    AlreadyRegistered,
    /// Set a new password.
    Reset,
    /// The password was set by a mailed token.
    ResetDone,
    /// The password was changed.
    PasswordChanged,
    /// The account is locked for unknown devices; with a link that lifts it.
    Lockout,
    /// A spent refresh token came back.
    RefreshReused,
    /// Wrong passwords come from many networks.
    Targeted,
    /// Prove another address of an account.
    EmailChange,
    /// The address was changed; with a link, to the one of before, that undoes it.
    EmailUndo,
}

/// A mail that waits to be sent. What it says is made when it is sent; a token in it is sealed.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct MailV1 {
    /// Slot first, then random; also its Message-ID.
    pub id: [u8; 16],
    /// To whom; one to nobody begins with `@`.
    pub to: Box<str>,
    /// What it is about.
    pub kind: Kind,
    /// The token of its link, sealed under the outbox key.
    pub token: Option<Vec<u8>>,
    /// When it was written, in milliseconds since 1970.
    pub written_ms: u64,
    /// When to try next.
    pub next_ms: u64,
    /// How often it was tried.
    pub tries: u32,
}

impl Stored for MailV1 {
    const TABLE: u16 = 7;
    const SCHEMA: u16 = 1;
}

impl Record for MailV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

impl MailV1 {
    /// The address of nobody, as long as the one that was typed: it begins with `@`, as none does.
    pub fn to_nobody(len: usize) -> Box<str> {
        let mut to = String::from("@");
        to.extend(std::iter::repeat_n('-', len.saturating_sub(1)));
        to.into()
    }

    /// Whether a sweep at or before `at` may have forgotten it: one to nobody, where no thread sends any.
    pub fn may_be_forgotten(&self, at: Timestamp) -> bool {
        self.is_to_nobody() && at.since(Timestamp(self.written_ms)) >= NOBODYS_FOR
    }

    /// Whether it only waits so that as much is done for a name without an account. It is never sent.
    pub fn is_to_nobody(&self) -> bool {
        self.to.starts_with('@')
    }

    /// Whether what was read back can be a mail.
    pub fn is_sound(&self) -> bool {
        self.to.contains('@') && self.written_ms <= self.next_ms
    }
}
