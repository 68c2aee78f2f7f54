//! The frozen forms of an account. A change is an `AccountV5` and an upcast.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::format::codec::{Decode, Encode, Stored, decode};
use crate::registry::record::{ReadError, Record};
use crate::system::clock::Timestamp;
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;
use crate::value::{external_id, json_object, locale};

/// The most replaced passwords that an account remembers. The oldest ones stay: a thief who changes the password again and
/// again pushes that of the owner out no more than that.
pub const REPLACED_MAX: usize = 4;
/// How long a replaced password is remembered. One that was in force within this time before a change of address undoes
/// the change.
pub const REPLACED_FOR: Duration = Duration::from_hours(72);

/// Whether an account may log in. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Status {
    /// It may log in.
    Active,
    /// An administrator has closed it.
    Disabled,
}

/// An account as it was stored first. Only read.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct AccountV1 {
    /// Its id, in the slot of the address it was created with. A later address may belong to another slot.
    pub id: AccountId,
    /// The [`NameKey`](crate::value::account_name::NameKey) of the address.
    pub name_key: [u8; 16],
    /// The address in its canonical form.
    pub email: Box<str>,
    /// Whether the owner has proved that mail to the address reaches them.
    pub email_verified: bool,
    /// The name that the owner wants to be called by.
    pub name: Option<Box<str>>,
    /// The PHC string of the password; `None` while it must be set by mail first.
    pub phc: Option<Box<str>>,
    /// Roles, sorted, each once.
    pub roles: Vec<Box<str>>,
    /// Whether it may log in.
    pub status: Status,
    /// The epoch. A credential of another epoch is invalid.
    pub auth_epoch: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
}

impl Stored for AccountV1 {
    const TABLE: u16 = 1;
    const SCHEMA: u16 = 1;
}

/// An account as it was stored second. Only read.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct AccountV2 {
    /// Its id, in the slot of the address it was created with. A later address may belong to another slot.
    pub id: AccountId,
    /// The [`NameKey`](crate::value::account_name::NameKey) of the address.
    pub name_key: [u8; 16],
    /// The address in its canonical form.
    pub email: Box<str>,
    /// Whether the owner has proved that mail to the address reaches them.
    pub email_verified: bool,
    /// The name that the owner wants to be called by.
    pub name: Option<Box<str>>,
    /// The PHC string of the password; `None` while it must be set by mail first.
    pub phc: Option<Box<str>>,
    /// Roles, sorted, each once.
    pub roles: Vec<Box<str>>,
    /// Whether it may log in.
    pub status: Status,
    /// The epoch. A credential of another epoch is invalid.
    pub auth_epoch: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// The device epoch. A device cookie of another epoch is that of a stranger.
    pub device_epoch: u32,
    /// Access tokens issued before this second since 1970 are invalid: the roles in them have shrunk since. Zero if
    /// that never happened.
    pub tokens_from_secs: u64,
    /// The address that the account had before, as long as the change can be undone.
    pub former: Option<Box<FormerAddressV1>>,
    /// Whether the owner has switched off the mail about a log-in from a new device.
    pub mutes_new_device: bool,
    /// Whether an administrator made the account, so that its password is no stranger's although the address is not
    /// proved. False for accounts of earlier versions: there a sign-up may have made them.
    pub is_vouched: bool,
}

/// The address that an account had before its last change of address, as it was stored first. Only read.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct FormerAddressV1 {
    /// The PHC string of the password at the time of the change.
    pub phc: Option<Box<str>>,
    /// When the change can be undone no longer, in milliseconds since 1970.
    pub undo_end_ms: u64,
    /// Whether a password was set since by a mail to the present address. Undoing the change then also takes the former
    /// password.
    pub is_settled: bool,
}

impl Stored for AccountV2 {
    const TABLE: u16 = 1;
    const SCHEMA: u16 = 2;
}

/// An account as it was stored third. Only read.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct AccountV3 {
    /// Its id, in the slot of the address it was created with. A later address may belong to another slot.
    pub id: AccountId,
    /// The [`NameKey`](crate::value::account_name::NameKey) of the address.
    pub name_key: [u8; 16],
    /// The address in its canonical form.
    pub email: Box<str>,
    /// Whether the owner has proved that mail to the address reaches them.
    pub email_verified: bool,
    /// The name that the owner wants to be called by.
    pub name: Option<Box<str>>,
    /// The PHC string of the password; `None` while it must be set by mail first.
    pub phc: Option<Box<str>>,
    /// Roles, sorted, each once.
    pub roles: Vec<Box<str>>,
    /// Whether it may log in.
    pub status: Status,
    /// The epoch. A credential of another epoch is invalid.
    pub auth_epoch: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// The device epoch. A device cookie of another epoch is that of a stranger.
    pub device_epoch: u32,
    /// Access tokens issued before this second since 1970 are invalid: the roles in them have shrunk since. Zero if
    /// that never happened.
    pub tokens_from_secs: u64,
    /// The address that the account had before, as long as the change can be undone.
    pub former: Option<Box<FormerAddressV2>>,
    /// Whether the owner has switched off the mail about a log-in from a new device.
    pub mutes_new_device: bool,
    /// Whether an administrator made the account, so that its password is no stranger's although the address is not
    /// proved. False for accounts of earlier versions: there a sign-up may have made them.
    pub is_vouched: bool,
    /// The passwords that were replaced lately, the oldest first; [`REPLACED_MAX`] at most.
    pub replaced: Vec<ReplacedPasswordV1>,
}

/// An account as it is stored.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct AccountV4 {
    /// Its id, in the slot of the address it was created with. A later address may belong to another slot.
    pub id: AccountId,
    /// The [`NameKey`](crate::value::account_name::NameKey) of the address.
    pub name_key: [u8; 16],
    /// The address in its canonical form.
    pub email: Box<str>,
    /// Whether the owner has proved that mail to the address reaches them.
    pub email_verified: bool,
    /// The name that the owner wants to be called by.
    pub name: Option<Box<str>>,
    /// The PHC string of the password; `None` while it must be set by mail first.
    pub phc: Option<Box<str>>,
    /// Roles, sorted, each once.
    pub roles: Vec<Box<str>>,
    /// Whether it may log in.
    pub status: Status,
    /// The epoch. A credential of another epoch is invalid.
    pub auth_epoch: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// The device epoch. A device cookie of another epoch is that of a stranger.
    pub device_epoch: u32,
    /// Access tokens issued before this second since 1970 are invalid: the roles in them have shrunk since. Zero if
    /// that never happened.
    pub tokens_from_secs: u64,
    /// The address that the account had before, as long as the change can be undone.
    pub former: Option<Box<FormerAddressV2>>,
    /// Whether the owner has switched off the mail about a log-in from a new device.
    pub mutes_new_device: bool,
    /// Whether an administrator made the account, so that its password is no stranger's although the address is not
    /// proved. False for accounts of earlier versions: there a sign-up may have made them.
    pub is_vouched: bool,
    /// The passwords that were replaced lately, the oldest first; [`REPLACED_MAX`] at most.
    pub replaced: Box<[ReplacedPasswordV1]>,
    /// What only some accounts carry; `None` if all of it would be empty. Shared with the copies of the account that are
    /// handed out, which live no longer than a request or a place in a cache: the texts in it may be long.
    pub extra: Option<Arc<AccountExtraV1>>,
}

/// What only some accounts carry: fields that other programs keep here, and the origin of an account that was imported.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct AccountExtraV1 {
    /// The id that another program knows the account by. No other account has it.
    pub external_id: Option<Box<str>>,
    /// The language of the owner: a tag of BCP 47 in its canonical case.
    pub locale: Option<Box<str>>,
    /// A JSON object that the owner may change, as compact text.
    pub user_metadata: Option<Box<str>>,
    /// A JSON object that administrators alone may change, as compact text.
    pub app_metadata: Option<Box<str>>,
    /// When the account was imported, in milliseconds since 1970; 0 if it was made here.
    pub imported_ms: u64,
}

impl AccountExtraV1 {
    /// Says whether nothing is in it. An account has none then.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Says whether an administrator has put something into it.
    const fn is_of_administrator(&self) -> bool {
        self.external_id.is_some() || self.app_metadata.is_some() || self.imported_ms > 0
    }

    /// Says whether some version may have written it.
    fn is_sound(&self) -> bool {
        let is_object = |text: &Option<Box<str>>| text.as_deref().is_none_or(json_object::is_stored_form);
        !self.is_empty()
            && self.external_id.as_deref().is_none_or(external_id::is_stored_form)
            && self.locale.as_deref().is_none_or(locale::is_stored_form)
            && is_object(&self.user_metadata)
            && is_object(&self.app_metadata)
    }
}

/// The address that an account had before its last change of address, as long as the change can be undone.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct FormerAddressV2 {
    /// The [`NameKey`](crate::value::account_name::NameKey) of the address, which nobody else may have meanwhile; `None`
    /// if an earlier version made the change.
    pub name_key: Option<[u8; 16]>,
    /// The PHC strings of the passwords that were in force at the change or within [`REPLACED_FOR`] before it.
    pub phcs: Vec<Box<str>>,
    /// When the change can be undone no longer, in milliseconds since 1970.
    pub undo_end_ms: u64,
    /// Whether a password was set since by a mail to the present address. Undoing the change then also takes one of the
    /// former passwords.
    pub is_settled: bool,
}

impl FormerAddressV2 {
    /// Returns when the change can be undone no longer.
    pub const fn end(&self) -> Timestamp {
        Timestamp(self.undo_end_ms)
    }
}

/// A password that another one has replaced.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct ReplacedPasswordV1 {
    /// Its PHC string.
    pub phc: Box<str>,
    /// When it was replaced, in milliseconds since 1970.
    pub replaced_ms: u64,
}

impl ReplacedPasswordV1 {
    /// Returns when it is forgotten.
    pub fn end(&self) -> Timestamp {
        Timestamp(self.replaced_ms) + REPLACED_FOR
    }
}

impl Stored for AccountV3 {
    const TABLE: u16 = 1;
    const SCHEMA: u16 = 3;
}

impl Stored for AccountV4 {
    const TABLE: u16 = 1;
    const SCHEMA: u16 = 4;
}

impl Record for AccountV4 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id.to_bytes()
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }

    fn read(schema: u16, value: &[u8]) -> Result<Self, ReadError> {
        match schema {
            1 => Ok(decode::<AccountV1>(value)?.into()),
            2 => Ok(decode::<AccountV2>(value)?.into()),
            3 => Ok(decode::<AccountV3>(value)?.into()),
            Self::SCHEMA => Ok(decode(value)?),
            other => Err(ReadError::Schema(other)),
        }
    }
}

impl From<AccountV1> for AccountV2 {
    fn from(before: AccountV1) -> Self {
        Self {
            id: before.id,
            name_key: before.name_key,
            email: before.email,
            email_verified: before.email_verified,
            name: before.name,
            phc: before.phc,
            roles: before.roles,
            status: before.status,
            auth_epoch: before.auth_epoch,
            created_ms: before.created_ms,
            device_epoch: 0,
            tokens_from_secs: 0,
            former: None,
            mutes_new_device: false,
            is_vouched: false,
        }
    }
}

impl From<AccountV2> for AccountV3 {
    fn from(before: AccountV2) -> Self {
        let former = before.former.map(|former| {
            Box::new(FormerAddressV2 {
                name_key: None,
                phcs: former.phc.into_iter().collect(),
                undo_end_ms: former.undo_end_ms,
                is_settled: former.is_settled,
            })
        });
        Self {
            id: before.id,
            name_key: before.name_key,
            email: before.email,
            email_verified: before.email_verified,
            name: before.name,
            phc: before.phc,
            roles: before.roles,
            status: before.status,
            auth_epoch: before.auth_epoch,
            created_ms: before.created_ms,
            device_epoch: before.device_epoch,
            tokens_from_secs: before.tokens_from_secs,
            former,
            mutes_new_device: before.mutes_new_device,
            is_vouched: before.is_vouched,
            replaced: Vec::new(),
        }
    }
}

impl From<AccountV3> for AccountV4 {
    fn from(before: AccountV3) -> Self {
        Self {
            id: before.id,
            name_key: before.name_key,
            email: before.email,
            email_verified: before.email_verified,
            name: before.name,
            phc: before.phc,
            roles: before.roles,
            status: before.status,
            auth_epoch: before.auth_epoch,
            created_ms: before.created_ms,
            device_epoch: before.device_epoch,
            tokens_from_secs: before.tokens_from_secs,
            former: before.former,
            mutes_new_device: before.mutes_new_device,
            is_vouched: before.is_vouched,
            replaced: before.replaced.into(),
            extra: None,
        }
    }
}

impl From<AccountV2> for AccountV4 {
    fn from(before: AccountV2) -> Self {
        AccountV3::from(before).into()
    }
}

impl From<AccountV1> for AccountV4 {
    fn from(before: AccountV1) -> Self {
        AccountV2::from(before).into()
    }
}

impl AccountV4 {
    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        // Those of before a change, and the one in force at it.
        let phcs = self.former.as_ref().map_or(0, |former| former.phcs.len());
        AccountName::parse(&self.email).is_ok()
            && self.replaced.len() <= REPLACED_MAX
            && phcs <= REPLACED_MAX + 1
            && self.extra.as_ref().is_none_or(|extra| extra.is_sound())
    }

    /// Says whether nobody else can sign up with its address: the address was proved, or an administrator has made the
    /// account or given it roles or other things, which must not go to whoever reads mail to the address and has no account
    /// yet.
    pub fn holds_its_address(&self) -> bool {
        let is_given = self.extra.as_ref().is_some_and(|extra| extra.is_of_administrator());
        self.email_verified || self.is_vouched || !self.roles.is_empty() || is_given
    }

    /// Says whether a link that proves the address must not make the password usable: a stranger may have typed it.
    pub const fn has_doubtful_password(&self) -> bool {
        self.phc.is_some() && !self.email_verified && !self.is_vouched
    }

    /// Returns the id that another program knows it by.
    pub fn external_id(&self) -> Option<&str> {
        self.extra.as_ref()?.external_id.as_deref()
    }

    /// Returns the language of its owner.
    pub fn locale(&self) -> Option<&str> {
        self.extra.as_ref()?.locale.as_deref()
    }

    /// Returns the JSON object that its owner may change.
    pub fn user_metadata(&self) -> Option<&str> {
        self.extra.as_ref()?.user_metadata.as_deref()
    }

    /// Returns the JSON object that administrators alone may change.
    pub fn app_metadata(&self) -> Option<&str> {
        self.extra.as_ref()?.app_metadata.as_deref()
    }

    /// Returns its id.
    pub const fn account_id(&self) -> AccountId {
        self.id
    }
}
