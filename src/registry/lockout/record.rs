//! The frozen form of what is counted against a name. A change of it is a `CountV2` and an upcast.

use std::time::Duration;

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::system::clock::Timestamp;

/// What is counted against one account name, whether or not there is such an account.
#[derive(Clone, Debug, Default, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct CountV1 {
    /// [`NameKey`](crate::value::account_name::NameKey).
    pub name: [u8; 16],
    /// Failures from unknown devices, charged when they were admitted; sets the length of a lock.
    pub failures: u32,
    /// Failures from unknown devices since the owner last logged in from anywhere.
    pub consecutive: u32,
    /// When the last of them was admitted, in milliseconds since 1970.
    pub last_ms: u64,
    /// Until when the name is locked for unknown devices.
    pub locked_until_ms: u64,
    /// One more each time the counters were cleared: an attempt is settled only in the era it was charged in.
    pub era: u32,
    /// Whether an attempt has found such an account.
    pub known: bool,
    /// Known devices with failures.
    pub devices: Vec<DeviceV1>,
    /// When the first of today's lockout mails went out.
    pub mail_day_ms: u64,
    /// How many went out since.
    pub mails: u8,
}

/// What is counted against one known device.
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
    /// Whether it says nothing that outlives the time after which failures are forgotten, whatever that is set to.
    pub fn may_be_forgotten(&self, at: Timestamp) -> bool {
        let no_mails = at.since(Timestamp(self.mail_day_ms)) >= Duration::from_hours(24);
        self.consecutive == 0 && self.devices.is_empty() && no_mails
    }

    /// Whether what was read back can be a count.
    pub fn is_sound(&self) -> bool {
        self.devices.len() <= DEVICES_MAX
    }
}

/// Known devices of a name with failures of their own; the oldest gives way.
pub const DEVICES_MAX: usize = 16;
