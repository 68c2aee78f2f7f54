//! The frozen form of the count against a name. A change of it is a `CountV2` and an upcast.

use std::time::Duration;

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::system::clock::Timestamp;

/// The count against one account name, whether or not an account has it.
#[derive(Clone, Debug, Default, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct CountV1 {
    /// The [`NameKey`](crate::value::account_name::NameKey) of the name.
    pub name: [u8; 16],
    /// Failures from unknown devices, each charged when its attempt was admitted. Determines the length of a lock.
    pub failures: u32,
    /// Failures since the owner last logged in from anywhere.
    pub consecutive: u32,
    /// When the last of them was admitted, in milliseconds since 1970.
    pub last_ms: u64,
    /// When the lock for unknown devices ends.
    pub locked_until_ms: u64,
    /// How many times the counters were cleared. An attempt is settled only in the era it was charged in.
    pub era: u32,
    /// Whether an attempt has found an account of this name.
    pub known: bool,
    /// Known devices with failures.
    pub devices: Vec<DeviceV1>,
    /// When the first of the last day's lockout mails was sent, in milliseconds since 1970.
    pub mail_day_ms: u64,
    /// Lockout mails sent since then, including the first.
    pub mails: u8,
}

/// The count against one known device.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct DeviceV1 {
    /// A digest of the device cookie's nonce.
    pub nonce: [u8; 8],
    /// Failures since its last success.
    pub failures: u8,
}

impl Stored for CountV1 {
    const TABLE: u16 = 3;
    const SCHEMA: u16 = 1;
}

impl Record for CountV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.name
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

impl CountV1 {
    /// Says whether a sweep at or before `at` may have removed it, under any setting of the time after which failures
    /// are forgotten.
    pub fn may_be_forgotten(&self, at: Timestamp) -> bool {
        let no_mails = at.since(Timestamp(self.mail_day_ms)) >= Duration::from_hours(24);
        self.consecutive == 0 && self.devices.is_empty() && no_mails
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        self.devices.len() <= DEVICES_MAX
    }
}

/// The most known devices with failures of their own that one name keeps. The one with the fewest failures gives way.
pub const DEVICES_MAX: usize = 16;
