//! The frozen form of an account. A change of it is an `AccountV2` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;

/// Whether an account may log in. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Status {
    /// It may log in.
    Active,
    /// An administrator has closed it.
    Disabled,
}

/// An account as it is stored.
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

impl Record for AccountV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id.to_bytes()
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

impl AccountV1 {
    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        AccountName::parse(&self.email).is_ok()
    }

    /// Says whether nobody else can sign up with its address: either the address was proved, or an administrator has
    /// given the account roles, which must not go to a client that merely types the address.
    pub fn holds_its_address(&self) -> bool {
        self.email_verified || !self.roles.is_empty()
    }

    /// Returns its id.
    pub const fn account_id(&self) -> AccountId {
        self.id
    }
}
