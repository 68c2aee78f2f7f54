//! The frozen forms of the count against a name. A change is a `CountV3` and an upcast.

use std::time::Duration;

use crate::journal::format::codec::{Decode, Encode, Stored, decode};
use crate::registry::record::{ReadError, Record};
use crate::system::clock::Timestamp;

pub(super) const DAY: Duration = Duration::from_hours(24);

/// The most devices of one account that are known at once.
pub const DEVICES_MAX: usize = 16;
/// The most sessions of one account whose failures are counted at once.
pub const SESSIONS_MAX: usize = 16;
/// The most families of devices about which an owner is told in 24 hours.
pub const NOTICES_MAX: usize = 8;
/// The time without a log-in after which a device is known no longer.
pub const DEVICE_LIFE: Duration = Duration::from_hours(365 * 24);
/// The longest life of a session: failures of one are forgotten after that.
pub(super) const SESSION_LIFE: Duration = Duration::from_hours(90 * 24);
/// The longest family of a device, in bytes.
pub const FAMILY_BYTES_MAX: usize = 32;

/// The count against one account name as it was stored first. Only read.
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

/// The count against one device, by a cookie of the first form.
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

/// The count against one account name, whether or not an account has it, and the known devices of its account.
#[derive(Clone, Debug, Default, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct CountV2 {
    /// The [`NameKey`](crate::value::account_name::NameKey) of the name.
    pub name: [u8; 16],
    /// Failures from unknown devices, each charged when its attempt was admitted. Determines the length of a lock.
    pub failures: u32,
    /// Failures from unknown devices since the owner last logged in from anywhere.
    pub consecutive: u32,
    /// Failures of known devices and sessions since then.
    pub device_consecutive: u32,
    /// When the last failure from an unknown device was admitted, in milliseconds since 1970.
    pub last_ms: u64,
    /// When the lock for unknown devices ends.
    pub locked_until_ms: u64,
    /// How many times the counters were cleared. An attempt is settled only in the era it was charged in.
    pub era: u32,
    /// Whether an attempt has found an account of this name.
    pub known: bool,
    /// When the first of the last day's lockout mails was sent, in milliseconds since 1970.
    pub mail_day_ms: u64,
    /// Lockout mails sent since then, including the first.
    pub mails: u8,
    /// The account that last logged in under this name; zeros if none has.
    pub account: [u8; 16],
    /// The device epoch of that account when its devices were noted. Under another one they are strangers.
    pub device_epoch: u32,
    /// The devices that are known.
    pub devices: Vec<DeviceV2>,
    /// Sessions that failed when they were asked for the password again.
    pub sessions: Vec<SessionFailuresV1>,
    /// When unknown devices failed within the last 24 hours, in seconds since 1970.
    pub guesses_secs: Vec<u32>,
    /// Failures of known devices and sessions within the last 24 hours.
    pub device_guesses: Vec<DeviceGuessV1>,
    /// Mails about new devices within the last 24 hours.
    pub notices: Vec<NoticeV1>,
}

/// A device that is known.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct DeviceV2 {
    /// A digest of the device cookie's nonce.
    pub id: [u8; 8],
    /// The family of its browser or program.
    pub family: Box<str>,
    /// When it last logged in, in seconds since 1970.
    pub used_secs: u32,
    /// Failures since then.
    pub failures: u8,
}

/// The count against one session that is asked for the password again.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct SessionFailuresV1 {
    /// A digest of the session's id and of the name.
    pub id: [u8; 8],
    /// Failures since its last success.
    pub failures: u8,
    /// When it last failed, in seconds since 1970.
    pub last_secs: u32,
}

/// One failure of a known device or a session.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct DeviceGuessV1 {
    /// The id of the device or session.
    pub id: [u8; 8],
    /// When it was charged, in seconds since 1970.
    pub at_secs: u32,
}

/// A mail about a log-in from a new device.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct NoticeV1 {
    /// The family of the device.
    pub family: Box<str>,
    /// When it was written, in seconds since 1970.
    pub at_secs: u32,
}

impl Stored for CountV2 {
    const TABLE: u16 = 3;
    const SCHEMA: u16 = 2;
}

impl Record for CountV2 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        self.name
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }

    fn read(schema: u16, value: &[u8]) -> Result<Self, ReadError> {
        match schema {
            1 => Ok(decode::<CountV1>(value)?.into()),
            Self::SCHEMA => Ok(decode(value)?),
            other => Err(ReadError::Schema(other)),
        }
    }
}

impl From<CountV1> for CountV2 {
    /// The devices are left out: cookies of the first form are those of strangers.
    fn from(before: CountV1) -> Self {
        Self {
            name: before.name,
            failures: before.failures,
            consecutive: before.consecutive,
            last_ms: before.last_ms,
            locked_until_ms: before.locked_until_ms,
            era: before.era,
            known: before.known,
            mail_day_ms: before.mail_day_ms,
            mails: before.mails,
            ..Self::default()
        }
    }
}

impl CountV2 {
    /// Says whether a sweep at or before `at` may have removed it, under any setting of the time after which failures
    /// are forgotten.
    pub fn may_be_forgotten(&self, at: Timestamp) -> bool {
        let is_over = |secs: u32, life: Duration| at.since(Timestamp::from_secs(secs.into())) >= life;
        let no_mails = at.since(Timestamp(self.mail_day_ms)) >= DAY;
        self.consecutive == 0
            && self.device_consecutive == 0
            && no_mails
            && self.devices.iter().all(|device| is_over(device.used_secs, DEVICE_LIFE))
            && self.sessions.iter().all(|session| is_over(session.last_secs, SESSION_LIFE))
            && self.guesses_secs.iter().all(|secs| is_over(*secs, DAY))
            && self.device_guesses.iter().all(|guess| is_over(guess.at_secs, DAY))
            && self.notices.iter().all(|notice| is_over(notice.at_secs, DAY))
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        let families = self.devices.iter().map(|device| &device.family);
        let mut families = families.chain(self.notices.iter().map(|notice| &notice.family));
        self.devices.len() <= DEVICES_MAX
            && self.sessions.len() <= SESSIONS_MAX
            && self.notices.len() <= NOTICES_MAX
            && families.all(|family| family.len() <= FAMILY_BYTES_MAX)
    }
}
