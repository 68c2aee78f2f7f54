//! What the registry of accounts is asked to do, and its answers.

use std::sync::Arc;

use super::extra::ExtraChange;
use super::record::{AccountExtraV1, AccountV4, Status};
use crate::password::Cost;
use crate::password::foreign::TooDear;
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;

/// Signs up for an account with an address.
#[derive(Clone, Debug)]
pub struct SignUp {
    /// The id of the new account, minted in the slot of the address.
    pub id: AccountId,
    /// The key of the address.
    pub name_key: NameKey,
    /// The address in its canonical form.
    pub email: Box<str>,
    /// The name that the owner wants to be called by.
    pub name: Option<Box<str>>,
    /// The PHC string of the password.
    pub phc: Option<Box<str>>,
    /// Roles, sorted, each once.
    pub roles: Vec<Box<str>>,
    /// Whether the address counts as proved.
    pub verified: bool,
    /// Who vouches for it.
    pub origin: Origin,
    /// What else it carries.
    pub extra: Option<Arc<AccountExtraV1>>,
}

impl SignUp {
    /// Returns the account that it makes at `now`, where there was none before.
    pub fn into_account(self, now: Timestamp) -> AccountV4 {
        AccountV4 {
            id: self.id,
            name_key: self.name_key.0,
            email: self.email,
            email_verified: self.verified,
            name: self.name,
            phc: self.phc,
            roles: self.roles,
            status: Status::Active,
            auth_epoch: 0,
            created_ms: now.as_millis(),
            device_epoch: 0,
            tokens_from_secs: 0,
            former: None,
            mutes_new_device: false,
            is_vouched: self.origin == Origin::Administrator,
            replaced: Box::default(),
            extra: self.extra,
        }
    }
}

/// Who vouches for a new account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// An administrator.
    Administrator,
    /// The mailbox of the address, by a link.
    Mailbox,
    /// Nobody: addresses need no proof here.
    Nobody,
}

/// The result of a sign-up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignedUp {
    /// The account was created. By a proof of the address it replaces an account that an earlier version made of a mere
    /// sign-up and that nobody has proved: its password goes, and its epoch rises.
    Created(AccountV4),
    /// This account has the address.
    Taken(AccountV4),
    /// The address is kept for an account that can undo the change to another one.
    Kept,
    /// Another account has the external id.
    ExternalIdTaken,
}

/// The account that has an address, or for which it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// The account.
    pub account: AccountV4,
    /// Whether the address is the former one of the account, kept as long as its change can be undone.
    pub is_former: bool,
}

impl Holder {
    /// Says whether nobody else can have the address.
    pub fn holds(&self) -> bool {
        self.is_former || self.account.holds_its_address()
    }
}

/// A change of an account. A field that is `None` or false changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The PHC string of a new password. Raises the epoch.
    pub phc: Option<Box<str>>,
    /// Refuse a new hash that would make every log-in take too long, if it comes from another system: the cost of our own.
    pub foreign_beside: Option<Cost>,
    /// Refuse the change unless the epoch is still this one.
    pub if_epoch: Option<u64>,
    /// Mark the address as proved.
    pub verified: bool,
    /// Mark the address as not proved.
    pub unproved: bool,
    /// Note that an administrator vouches for the account.
    pub vouched: bool,
    /// Raise the epoch, which invalidates every credential of the present one.
    pub raise_epoch: bool,
    /// Let the known devices stay known although the epoch is raised.
    pub keep_devices: bool,
    /// The new roles, in any order.
    pub roles: Option<Vec<Box<str>>>,
    /// If a role is taken away: access tokens issued before this second since 1970 are invalid.
    pub tokens_from_secs: u64,
    /// Refuse the change if it takes the last administrator who can log in.
    pub spares_last_admin: bool,
    /// The new status. A value other than the present one raises the epoch.
    pub status: Option<Status>,
    /// The new name; an empty one takes the name away.
    pub name: Option<Box<str>>,
    /// A new address, with its key. Raises the epoch.
    pub email: Option<(Box<str>, NameKey)>,
    /// Remove the password, so that it must be set by mail. Raises the epoch.
    pub clear_phc: bool,
    /// Raise the device epoch, which makes every known device a stranger. Whatever raises the epoch, but for the status,
    /// does that too.
    pub end_devices: bool,
    /// Switch the mail about a log-in from a new device off or on.
    pub mutes_new_device: Option<bool>,
    /// What becomes of the memory of the address before.
    pub former: Option<FormerChange>,
    /// The change of what else it carries. It raises no epoch.
    pub extra: ExtraChange,
}

/// What a change does to the memory of the address that the account had before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FormerChange {
    /// The present address becomes the former one: the change can be undone until a time, in milliseconds since 1970.
    Keep {
        /// When it can be undone no longer.
        undo_end_ms: u64,
    },
    /// A password was set by a mail to the present address, so that undoing the change takes the former password too.
    Settle,
    /// The change was undone.
    Forget,
}

/// Changes the account `id`.
#[derive(Clone, Debug)]
pub struct Alter {
    /// The account.
    pub id: AccountId,
    /// The change.
    pub change: Change,
}

/// Changes an account like [`Alter`], and says what it was before.
#[derive(Clone, Debug)]
pub struct Administer(pub Alter);

/// An account before and after a change.
#[derive(Clone, Debug)]
pub struct Altered {
    /// Before.
    pub before: AccountV4,
    /// After.
    pub after: AccountV4,
}

/// Replaces the PHC string that was just checked by one of today's cost.
#[derive(Clone, Debug)]
pub struct Rehash {
    /// The account.
    pub id: AccountId,
    /// The PHC string that was checked.
    pub checked: Box<str>,
    /// The PHC string that replaces it.
    pub phc: Box<str>,
}

/// Takes an address from an account that never proved it, for an account that does.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseUnprovenAddress {
    /// The address.
    pub name: NameKey,
    /// The account that is to have it.
    pub owner: AccountId,
}

/// Why an account was not changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No account has this id.
    #[error("no such account")]
    Unknown,
    /// The epoch is not the expected one.
    #[error("the account has changed meanwhile")]
    Outdated,
    /// Another account has the address.
    #[error("another account has this address")]
    Taken,
    /// Another account has the external id.
    #[error("another account has this external id")]
    ExternalIdTaken,
    /// No administrator who can log in would be left.
    #[error("this is the last administrator")]
    LastAdmin,
    /// The hash would make every log-in take too long.
    #[error(transparent)]
    TooDear(#[from] TooDear),
}
