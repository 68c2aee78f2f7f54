//! The frozen forms of a mail that waits. A change is a `MailV3` and an upcast.

use std::time::Duration;

use crate::journal::format::codec::{Decode, Encode, Stored, decode};
use crate::registry::record::{ReadError, Record};
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
    /// Set the first password of an account that an administrator has made.
    Invitation,
    /// Another account asks for this address, which has an account.
    AddressWanted,
    /// A sign-up or another account asks for this address, which is kept for the account that had it: its change can be
    /// undone.
    AddressKept,
    /// An API key with the rights of an administrator was made. Goes to every administrator.
    AdminKeyMade,
    /// An administrator has changed the address of the account. Goes to the former address.
    EmailMended,
    /// An account has become an administrator. Goes to every other administrator.
    AdminMade,
    /// Somebody asks for something at an address which is kept for the account that had it: its change can be undone. Goes
    /// to the former address, with a link that undoes the change.
    UndoAgain,
    /// An administrator has ended the time in which a change of address could be undone. Goes to the former address.
    UndoEnded,
    /// The mails about log-ins from new devices were switched off.
    NoticesOff,
    /// Have an account at this address, to which an administrator invites.
    AccountInvitation,
}

impl Kind {
    /// Returns its name, for operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::AlreadyRegistered => "already_registered",
            Self::Reset => "reset",
            Self::ResetDone => "reset_done",
            Self::PasswordChanged => "password_changed",
            Self::Lockout => "lockout",
            Self::RefreshReused => "refresh_reused",
            Self::Targeted => "targeted",
            Self::EmailChange => "email_change",
            Self::EmailUndo => "email_undo",
            Self::AccountDeleted => "account_deleted",
            Self::NewDevice => "new_device",
            Self::DeviceDemoted => "device_demoted",
            Self::Invitation => "invitation",
            Self::AddressWanted => "address_wanted",
            Self::AddressKept => "address_kept",
            Self::AdminKeyMade => "admin_key_made",
            Self::EmailMended => "email_mended",
            Self::AdminMade => "admin_made",
            Self::UndoAgain => "undo_again",
            Self::UndoEnded => "undo_ended",
            Self::NoticesOff => "notices_off",
            Self::AccountInvitation => "account_invitation",
        }
    }

    /// Says whether a mail goes before those that are not: its reader waits for it in front of a closed door, or an attack
    /// is under way.
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Reset | Self::Lockout | Self::EmailUndo | Self::UndoAgain)
    }

    /// Says whether the text of a mail has a link. Others may hold a token so that they are as long.
    pub const fn has_link(self) -> bool {
        matches!(
            self,
            Self::Verify
                | Self::Reset
                | Self::Lockout
                | Self::EmailChange
                | Self::EmailUndo
                | Self::Invitation
                | Self::UndoAgain
                | Self::AccountInvitation
        )
    }

    /// Says whether a mail is still worth reading when the link in it is dead.
    pub const fn is_news_without_link(self) -> bool {
        !self.has_link() || matches!(self, Self::Lockout)
    }
}

/// A mail that waits to be sent, as it was stored first. Only read.
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

/// A mail that waits to be sent. Its text is composed when it is sent; a token in it is encrypted under the outbox key.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct MailV2 {
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
    /// The outbox key that the token is sealed under.
    pub kid: u8,
    /// A masked address that the text names.
    pub about: Option<Box<str>>,
}

impl Stored for MailV2 {
    const TABLE: u16 = 7;
    const SCHEMA: u16 = 2;
}

impl Record for MailV2 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }

    fn read(schema: u16, value: &[u8]) -> Result<Self, ReadError> {
        match schema {
            1 => Ok(decode::<MailV1>(value)?.into()),
            Self::SCHEMA => Ok(decode(value)?),
            other => Err(ReadError::Schema(other)),
        }
    }
}

impl From<MailV1> for MailV2 {
    fn from(before: MailV1) -> Self {
        Self {
            id: before.id,
            to: before.to,
            kind: before.kind,
            token: before.token,
            written_ms: before.written_ms,
            next_ms: before.next_ms,
            tries: before.tries,
            kid: super::KID,
            about: None,
        }
    }
}

impl MailV2 {
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

    /// Returns the domain that it goes to.
    pub fn domain(&self) -> &str {
        self.to.rsplit_once('@').map_or("", |(_, domain)| domain)
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
