//! The frozen forms of a sign-up. A change is a `SignUpV3` and an upcast.

use std::fmt;

use crate::journal::format::codec::{Decode, Encode, Stored, decode};
use crate::registry::record::{ReadError, Record};
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;

/// How far a sign-up has come. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum Stage {
    /// It waits for its halves.
    Waiting,
    /// The address has an account. The record exists only so that as much is written as for a free address.
    Nobodys,
    /// Both halves were shown. The password is kept until the account exists.
    Opening,
    /// The account exists, and its owner has a password.
    Opened,
    /// The address is proved, and its owner is to set a password.
    Proved,
}

/// A sign-up as it was stored first. Only read.
#[derive(Clone, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct SignUpV1 {
    /// The id that the account will have, in the slot of the address.
    pub id: AccountId,
    /// The [`NameKey`](crate::value::account_name::NameKey) of the address.
    pub name_key: [u8; 16],
    /// The address in its canonical form.
    pub email: Box<str>,
    /// The name that the owner wants to be called by.
    pub name: Option<Box<str>>,
    /// The PHC string of the password, while it waits.
    pub phc: Option<Box<str>>,
    /// SHA-256 of the secret of the half that the browser has; `None` if there is no such half.
    pub half: Option<[u8; 32]>,
    /// The global epoch of the sign-up. After a restore its halves are invalid.
    pub global_epoch: u64,
    /// When it began, in milliseconds since 1970.
    pub begun_ms: u64,
    /// When it is gone.
    pub end_ms: u64,
    /// How far it has come.
    pub stage: Stage,
}

impl Stored for SignUpV1 {
    const TABLE: u16 = 13;
    const SCHEMA: u16 = 1;
}

/// A sign-up, or an address that was proved within the last hour.
#[derive(Clone, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct SignUpV2 {
    /// The id that the account will have, in the slot of the address.
    pub id: AccountId,
    /// The [`NameKey`](crate::value::account_name::NameKey) of the address.
    pub name_key: [u8; 16],
    /// The address in its canonical form.
    pub email: Box<str>,
    /// The name that the owner wants to be called by.
    pub name: Option<Box<str>>,
    /// The PHC string of the password, while it waits.
    pub phc: Option<Box<str>>,
    /// SHA-256 of the secret of the half that the browser has; `None` if there is no such half.
    pub half: Option<[u8; 32]>,
    /// The global epoch of the sign-up. After a restore its halves are invalid.
    pub global_epoch: u64,
    /// When it began, in milliseconds since 1970.
    pub begun_ms: u64,
    /// When it is gone.
    pub end_ms: u64,
    /// How far it has come.
    pub stage: Stage,
    /// The language of the owner. For an address that has an account, text of the same length.
    pub locale: Option<Box<str>>,
}

impl Stored for SignUpV2 {
    const TABLE: u16 = 13;
    const SCHEMA: u16 = 2;
}

impl Record for SignUpV2 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.id.to_bytes()
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }

    fn read(schema: u16, value: &[u8]) -> Result<Self, ReadError> {
        match schema {
            1 => Ok(decode::<SignUpV1>(value)?.into()),
            Self::SCHEMA => Ok(decode(value)?),
            other => Err(ReadError::Schema(other)),
        }
    }
}

impl From<SignUpV1> for SignUpV2 {
    fn from(before: SignUpV1) -> Self {
        Self {
            id: before.id,
            name_key: before.name_key,
            email: before.email,
            name: before.name,
            phc: before.phc,
            half: before.half,
            global_epoch: before.global_epoch,
            begun_ms: before.begun_ms,
            end_ms: before.end_ms,
            stage: before.stage,
            locale: None,
        }
    }
}

impl SignUpV2 {
    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        self.begun_ms <= self.end_ms && AccountName::parse(&self.email).is_ok()
    }
}

/// Prints neither the password's hash nor what a stranger has typed.
impl fmt::Debug for SignUpV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignUpV1").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Prints neither the password's hash nor what a stranger has typed.
impl fmt::Debug for SignUpV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SignUpV2");
        shown.field("id", &self.id).field("stage", &self.stage).field("begun_ms", &self.begun_ms);
        shown.field("end_ms", &self.end_ms).finish_non_exhaustive()
    }
}
