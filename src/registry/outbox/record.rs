//! The frozen form of a mail that waits. A change of it is a `MailV2` and an upcast.

use std::time::Duration;

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::system::clock::Timestamp;

/// How long a mail to nobody is kept if no thread sends mails.
const NOBODYS_FOR: Duration = Duration::from_hours(1);

/// The subject of a mail. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Kind {
    /// Prove this address.
    Verify,
    /// A sign-up named an address that has an account.
    AlreadyRegistered,
    /// Set a new password.
    Reset,
    /// The password was set with a mailed token.
    ResetDone,
    /// The password was changed.
    PasswordChanged,
    /// The account is locked for unknown devices. Holds a link that lifts the lock.
    Lockout,
    /// A spent refresh token came back.
    RefreshReused,
    /// Wrong passwords come from many networks.
    Targeted,
    /// Prove a new address of an account.
    EmailChange,
    /// The address was changed. Goes to the former address, with a link that undoes it.
    EmailUndo,
    /// The account was deleted.
    AccountDeleted,
    /// A device that was not known has logged in.
    NewDevice,
    /// A known device, or a session, has entered wrong passwords and is trusted no longer.
    DeviceDemoted,
}

/// A mail that waits to be sent. Its text is composed when it is sent; a token in it is encrypted under the outbox key.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct MailV1 {
    /// The slot, then random bytes. Also the Message-ID.
    pub id: [u8; 16],
    /// The address it goes to. A mail to nobody has one that begins with `@`.
    pub to: Box<str>,
    /// Its subject.
    pub kind: Kind,
    /// The token of its link, sealed under the outbox key.
    pub token: Option<Vec<u8>>,
    /// When it was written, in milliseconds since 1970.
    pub written_ms: u64,
    /// When to try next, in milliseconds since 1970.
    pub next_ms: u64,
    /// The number of failed tries.
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
    /// Returns the address of nobody with the length `len` of the address that was typed. It begins with `@`, as no
    /// address does.
    pub fn to_nobody(len: usize) -> Box<str> {
        let mut to = String::from("@");
        to.extend(std::iter::repeat_n('-', len.saturating_sub(1)));
        to.into()
    }

    /// Says whether a sweep at or before `at` may have removed it: only a mail to nobody, if no thread sends mails.
    pub fn may_be_forgotten(&self, at: Timestamp) -> bool {
        self.is_to_nobody() && at.since(Timestamp(self.written_ms)) >= NOBODYS_FOR
    }

    /// Says whether it waits only so that as much work is done for a name without an account. It is never sent.
    pub fn is_to_nobody(&self) -> bool {
        self.to.starts_with('@')
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        self.to.contains('@') && self.written_ms <= self.next_ms
    }
}
