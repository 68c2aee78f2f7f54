//! What is counted against one name, and what it amounts to. Knows no actor, file, clock or randomness.

use std::time::Duration;

use super::record::{CountV1, DeviceV1};
use crate::registry::lockout::record::DEVICES_MAX;
use crate::system::clock::Timestamp;

pub(super) const DAY: Duration = Duration::from_hours(24);

/// The numbers of the rule.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Failures that lock a name for unknown devices, and that cost a known device its standing.
    pub failures: u32,
    /// Consecutive failures after which only the owner's own ways are left (NIST SP 800-63B-4 §3.2.2).
    pub cap: u32,
    /// The first lock; each further failure doubles it.
    pub first_lock: Duration,
    /// The longest lock.
    pub max_lock: Duration,
    /// After so long without a failure all is forgotten.
    pub forget: Duration,
    /// Names in the table, beyond which one of no account gives way.
    pub names_max: usize,
}

impl Limits {
    /// Failures that cost a device its standing. Counted in a byte.
    fn device_failures(&self) -> u32 {
        self.failures.min(u32::from(u8::MAX))
    }

    /// Whether the ladder of locks is forgotten. What counts towards the cap is not, nor what a device has done: or a
    /// patient guesser would begin anew each day.
    pub(super) fn is_cold(&self, count: &CountV1, now: Timestamp) -> bool {
        now.since(Timestamp(count.last_ms)) >= self.forget
    }

    pub(super) fn is_forgotten(&self, count: &CountV1, now: Timestamp) -> bool {
        self.is_cold(count, now) && count.may_be_forgotten(now)
    }

    /// Whether a device is still known by what is counted against it. When every place is taken by devices that have
    /// lost their standing, a further one is a stranger.
    pub(super) fn is_known(&self, count: &CountV1, nonce: [u8; 8]) -> bool {
        let has_lost = |device: &DeviceV1| u32::from(device.failures) >= self.device_failures();
        match count.devices.iter().find(|device| device.nonce == nonce) {
            Some(device) => !has_lost(device),
            None => count.devices.len() < DEVICES_MAX || !count.devices.iter().all(has_lost),
        }
    }

    pub(super) fn lock_after(&self, failures: u32) -> Option<Duration> {
        let further = failures.checked_sub(self.failures)?;
        let factor = 1_u32.checked_shl(further).unwrap_or(u32::MAX).max(1);
        Some(self.first_lock.saturating_mul(factor).min(self.max_lock))
    }
}

/// Nothing counts against the name any more, its devices aside.
pub(super) fn clear(count: &mut CountV1) {
    (count.failures, count.consecutive, count.locked_until_ms) = (0, 0, 0);
    count.era = count.era.wrapping_add(1);
}

/// Counts a failure against a known device.
pub(super) fn charge_device(count: &mut CountV1, nonce: [u8; 8]) {
    if let Some(device) = count.devices.iter_mut().find(|device| device.nonce == nonce) {
        device.failures = device.failures.saturating_add(1);
        return;
    }
    if count.devices.len() >= DEVICES_MAX {
        // The one that is furthest from losing its standing gives way: never one that has lost it, or a thief of many
        // cookies would wash one with the others.
        let mildest = count.devices.iter().enumerate().min_by_key(|(_, device)| device.failures);
        if let Some((at, _)) = mildest {
            count.devices.remove(at);
        }
    }
    count.devices.push(DeviceV1 { nonce, failures: 1 });
}
