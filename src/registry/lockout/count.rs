//! The count against one name, and its consequences. Knows no actor, file, clock or randomness.

use std::time::Duration;

use super::record::{CountV1, DeviceV1};
use crate::registry::lockout::record::DEVICES_MAX;
use crate::system::clock::Timestamp;

pub(super) const DAY: Duration = Duration::from_hours(24);

/// The settings of the lockout.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Failures that lock a name for unknown devices, and failures after which a known device is known no longer.
    pub failures: u32,
    /// Consecutive failures after which only the owner can open the name (NIST SP 800-63B-4 §3.2.2).
    pub cap: u32,
    /// The length of the first lock. Each further failure doubles it.
    pub first_lock: Duration,
    /// The length of the longest lock.
    pub max_lock: Duration,
    /// The time without a failure after which the ladder of locks is forgotten.
    pub forget: Duration,
    /// The most names in the table. After that, a name without an account gives way.
    pub names_max: usize,
}

impl Limits {
    /// Returns the failures after which a device is known no longer. They are counted in one byte.
    fn device_failures(&self) -> u32 {
        self.failures.min(u32::from(u8::MAX))
    }

    /// Says whether the ladder of locks is forgotten at `now`. The count towards the cap and the failures of devices
    /// are not, or a patient attacker would begin anew each day.
    pub(super) fn is_cold(&self, count: &CountV1, now: Timestamp) -> bool {
        now.since(Timestamp(count.last_ms)) >= self.forget
    }

    /// Says whether nothing of the count matters any more at `now`.
    pub(super) fn is_forgotten(&self, count: &CountV1, now: Timestamp) -> bool {
        self.is_cold(count, now) && count.may_be_forgotten(now)
    }

    /// Says whether the failures of a device leave it known. If all places are taken by devices that are known no
    /// longer, a further device is unknown.
    pub(super) fn is_known(&self, count: &CountV1, nonce: [u8; 8]) -> bool {
        let is_demoted = |device: &DeviceV1| u32::from(device.failures) >= self.device_failures();
        match count.devices.iter().find(|device| device.nonce == nonce) {
            Some(device) => !is_demoted(device),
            None => count.devices.len() < DEVICES_MAX || !count.devices.iter().all(is_demoted),
        }
    }

    /// Returns the length of the lock after the given number of failures, if they lock the name.
    pub(super) fn lock_after(&self, failures: u32) -> Option<Duration> {
        let further = failures.checked_sub(self.failures)?;
        let factor = 1_u32.checked_shl(further).unwrap_or(u32::MAX).max(1);
        Some(self.first_lock.saturating_mul(factor).min(self.max_lock))
    }
}

/// Clears all that counts against the name, except the failures of its devices.
pub(super) fn clear(count: &mut CountV1) {
    count.failures = 0;
    count.consecutive = 0;
    count.locked_until_ms = 0;
    count.era = count.era.wrapping_add(1);
}

/// Counts a failure against a known device.
pub(super) fn charge_device(count: &mut CountV1, nonce: [u8; 8]) {
    if let Some(device) = count.devices.iter_mut().find(|device| device.nonce == nonce) {
        device.failures = device.failures.saturating_add(1);
        return;
    }
    if count.devices.len() >= DEVICES_MAX {
        // The device with the fewest failures gives way. One that is known no longer never does, or a thief of many
        // cookies would clear one by means of the others.
        let mildest = count.devices.iter().enumerate().min_by_key(|(_, device)| device.failures);
        if let Some((at, _)) = mildest {
            count.devices.remove(at);
        }
    }
    count.devices.push(DeviceV1 { nonce, failures: 1 });
}
