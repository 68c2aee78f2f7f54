//! The frozen form of an account. A change of it is an `AccountV2` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;

/// Whether an account may log in. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Status {
    /// It may.
    Active,
    /// An administrator has said no.
    Disabled,
}

/// An account as it is stored.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct AccountV1 {
    /// Minted in the slot of the address that the account was made with.
    pub id: AccountId,
    /// [`NameKey`](crate::value::account_name::NameKey) of the address.
    pub name_key: [u8; 16],
    /// The address in its one form.
    pub email: Box<str>,
    /// Whether its owner has shown that mail reaches them.
    pub email_verified: bool,
    /// What the owner wants to be called.
    pub name: Option<Box<str>>,
    /// The password's PHC string; none when it must be set by mail first.
    pub phc: Option<Box<str>>,
    /// Sorted, each once.
    pub roles: Vec<Box<str>>,
    /// Whether it may log in.
    pub status: Status,
    /// What carries another one is dead.
    pub auth_epoch: u64,
    /// When it was made, in milliseconds since 1970.
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
    /// Whether what was read back can be an account.
    pub fn is_sound(&self) -> bool {
        AccountName::parse(&self.email).is_ok()
    }

    /// Whether its address is nobody else's to sign up with: it was proved, or an administrator has given the account
    /// roles, which must not go to whoever types the address.
    pub fn holds_its_address(&self) -> bool {
        self.email_verified || !self.roles.is_empty()
    }

    /// Its id.
    pub const fn account_id(&self) -> AccountId {
        self.id
    }
}
