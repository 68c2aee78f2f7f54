//! The count against one name, and its consequences. Knows no actor, file, clock or randomness.

use std::time::Duration;

use super::record::{
    CountV2, DAY, DEVICE_LIFE, DEVICES_MAX, DeviceGuessV1, DeviceV2, NOTICES_MAX, NoticeV1, SESSION_LIFE,
    SESSIONS_MAX, SessionFailuresV1,
};
use crate::system::clock::Timestamp;
use crate::system::seeded_bug::{Bug, seeded};

/// A session that is asked for the password again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AskedSession {
    /// A digest of its id.
    pub id: [u8; 8],
    /// When its client last proved to be the owner.
    pub proved: Timestamp,
}

/// How many guesses failing devices leave to sessions.
const SESSIONS_RESERVE: usize = 3;

/// The settings of the lockout.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Failures that lock a name for unknown devices, and failures after which a known device is known no longer. In 24
    /// hours unknown devices have four times as many, and all known devices of the name together as many again.
    pub failures: u32,
    /// Consecutive failures after which only the owner can open the name (NIST SP 800-63B-4 §3.2.2). Known devices have
    /// as many of them as in a day, and unknown devices have the rest.
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
    pub(super) fn device_failures(&self) -> u8 {
        u8::try_from(self.failures).unwrap_or(u8::MAX)
    }

    /// Says whether the ladder of locks is forgotten at `now`. The count towards the cap and the failures of devices
    /// are not, or a patient attacker would begin anew each day.
    pub(super) fn is_cold(&self, count: &CountV2, now: Timestamp) -> bool {
        now.since(Timestamp(count.last_ms)) >= self.forget
    }

    /// Says whether nothing of the count matters any more at `now`.
    pub(super) fn is_forgotten(&self, count: &CountV2, now: Timestamp) -> bool {
        self.is_cold(count, now) && count.may_be_forgotten(now)
    }

    /// Returns the length of the lock after the given number of failures, if they lock the name.
    pub(super) fn lock_after(&self, failures: u32) -> Option<Duration> {
        let further = failures.checked_sub(self.failures)?;
        let factor = 1_u32.checked_shl(further).unwrap_or(u32::MAX).max(1);
        Some(self.first_lock.saturating_mul(factor).min(self.max_lock))
    }

    /// Says whether a listed device may try now. One that has not failed always may, and the one used last may after one
    /// typing error: these tries were reserved, so that no other device and no stranger keeps them out.
    pub(super) fn admits_device(&self, count: &CountV2, device: &DeviceV2) -> bool {
        let is_reserved =
            device.failures == 0 || second_try(count).is_some_and(|latest| latest.id == device.id);
        let has_room = || seeded(Bug::DevicePushedOut) || self.failing_devices_have_room(count);
        self.may_guess(count, device.id, device.failures) && (is_reserved || has_room())
    }

    /// Says whether a device or session with so many failures may guess, as far as it alone is concerned. Its own success
    /// gives it no more guesses within the day: a copy of it would have them.
    fn may_guess(&self, count: &CountV2, id: [u8; 8], failures: u8) -> bool {
        failures < self.device_failures() && guesses_of(count, id) < usize::from(self.device_failures())
    }

    /// Says whether a device that has failed may fail again, as far as all devices together are concerned.
    pub(super) fn failing_devices_have_room(&self, count: &CountV2) -> bool {
        self.devices_have_room(count, reserved_tries(count) + SESSIONS_RESERVE)
    }

    /// Says whether a session that is asked for the password again may try now. Only other sessions can keep one out that
    /// has not failed, and none keeps out one whose client gave the right password after the last of them had failed:
    /// stolen sessions must not use up the guesses of one that the owner opens.
    pub(super) fn admits_session(&self, count: &CountV2, asked: AskedSession, now: Timestamp) -> bool {
        let Some(own) = count.sessions.iter().find(|session| session.id == asked.id) else {
            let last = count.sessions.iter().map(|session| session.last_secs).max();
            let is_later = last.is_some_and(|last| Timestamp::from_secs(last.into()) < asked.proved);
            let has_place = count.sessions.len() < SESSIONS_MAX || replaceable_session(count, now).is_some();
            let has_room = is_later || (has_place && self.devices_have_room(count, reserved_tries(count)));
            return has_room && self.may_guess(count, asked.id, 0);
        };
        self.may_guess(count, own.id, own.failures) && self.devices_have_room(count, reserved_tries(count))
    }

    /// Returns until when the name is closed to unknown devices, if it is.
    ///
    /// Security: this depends on unknown devices alone, so that no name shows by it whether it has known ones.
    pub(super) fn closed_until(&self, count: &CountV2, now: Timestamp) -> Option<Timestamp> {
        if count.consecutive >= self.cap_of_strangers() {
            return Some(now + self.max_lock);
        }
        if count.guesses_secs.len() >= self.failures_together() as usize {
            let first = count.guesses_secs.iter().min().copied().unwrap_or_default();
            return Some((Timestamp::from_secs(first.into()) + DAY).min(now + self.max_lock));
        }
        (now.as_millis() < count.locked_until_ms).then_some(Timestamp(count.locked_until_ms))
    }

    /// Returns the consecutive failures of unknown devices after which only the owner can open the name.
    fn cap_of_strangers(&self) -> u32 {
        self.cap - self.failures_together().min(self.cap / 2)
    }

    /// Returns how many failures are left to unknown devices and to known ones.
    pub(super) fn left(&self, count: &CountV2) -> (u32, u32) {
        let of_devices =
            count.device_consecutive.max(u32::try_from(count.device_guesses.len()).unwrap_or(u32::MAX));
        (
            self.cap_of_strangers().saturating_sub(count.consecutive),
            self.failures_together().saturating_sub(of_devices),
        )
    }

    /// Returns the failures that unknown devices have in 24 hours, and known ones together likewise.
    const fn failures_together(&self) -> u32 {
        self.failures.saturating_mul(4)
    }

    /// Says whether a failure more of known devices leaves `reserve` others within those of a day, and within those of
    /// the cap.
    fn devices_have_room(&self, count: &CountV2, reserve: usize) -> bool {
        let used = count.device_guesses.len().max(count.device_consecutive as usize);
        used + reserve < self.failures_together() as usize
    }
}

/// Returns how many tries are reserved for listed devices: one for each that has not failed, and a second one for the
/// device that was used last.
fn reserved_tries(count: &CountV2) -> usize {
    let unfailing = count.devices.iter().filter(|device| device.failures == 0).count();
    let latest = latest_device(count).is_some_and(|latest| latest.failures <= 1);
    unfailing + usize::from(latest)
}

/// Returns the device that was used last, if it has failed once: an owner mistypes.
fn second_try(count: &CountV2) -> Option<&DeviceV2> {
    latest_device(count).filter(|latest| latest.failures == 1)
}

fn latest_device(count: &CountV2) -> Option<&DeviceV2> {
    count.devices.iter().max_by_key(|device| device.used_secs)
}

/// Returns the session that has not failed for longest, if that is more than a day.
fn replaceable_session(count: &CountV2, now: Timestamp) -> Option<usize> {
    let (at, oldest) = oldest_session(count)?;
    (now.since(Timestamp::from_secs(oldest.last_secs.into())) >= DAY).then_some(at)
}

fn oldest_session(count: &CountV2) -> Option<(usize, &SessionFailuresV1)> {
    count.sessions.iter().enumerate().min_by_key(|(_, session)| session.last_secs)
}

/// Returns `at` in whole seconds since 1970, as records hold it.
pub(super) fn secs(at: Timestamp) -> u32 {
    u32::try_from(at.as_secs()).unwrap_or(u32::MAX)
}

/// Drops what no longer counts at `now`.
pub(super) fn expire(count: &mut CountV2, now: Timestamp) {
    let is_within = |secs: u32, life: Duration| now.since(Timestamp::from_secs(secs.into())) < life;
    count.guesses_secs.retain(|secs| is_within(*secs, DAY));
    count.device_guesses.retain(|guess| is_within(guess.at_secs, DAY));
    count.notices.retain(|notice| is_within(notice.at_secs, DAY));
    count.devices.retain(|device| is_within(device.used_secs, DEVICE_LIFE));
    count.sessions.retain(|session| is_within(session.last_secs, SESSION_LIFE));
}

/// Clears all that counts against the name, except the failures of its devices and sessions: its owner has used a link.
pub(super) fn clear(count: &mut CountV2) {
    unlock(count);
    count.guesses_secs.clear();
}

/// Lifts the lock, because somebody has logged in. The guesses of the day stay: they are not the owner's, and whoever makes
/// them has not more of them for each log-in of the owner.
pub(super) fn unlock(count: &mut CountV2) {
    count.failures = 0;
    count.consecutive = 0;
    count.device_consecutive = 0;
    count.locked_until_ms = 0;
    count.era = count.era.wrapping_add(1);
}

/// Takes one guess of an unknown device back: it was none.
pub(super) fn take_back_guess(count: &mut CountV2, at_secs: u32) {
    if let Some(at) = count.guesses_secs.iter().position(|at| *at == at_secs) {
        count.guesses_secs.remove(at);
    }
}

/// Counts a failure against a listed device.
pub(super) fn charge_device(count: &mut CountV2, id: [u8; 8], now: Timestamp) {
    if seeded(Bug::DevicePushedOut) {
        // The mildest of four that are counted gives up its place to the next.
        let others =
            || count.devices.iter().enumerate().filter(|(_, device)| device.failures > 0 && device.id != id);
        if others().count() >= 4
            && let Some((mildest, _)) = others().min_by_key(|(_, device)| device.failures)
            && let Some(device) = count.devices.get_mut(mildest)
        {
            device.failures = 0;
        }
    }
    for device in count.devices.iter_mut().filter(|device| device.id == id) {
        device.failures = device.failures.saturating_add(1);
    }
    charge(count, id, now);
}

/// Counts a failure towards what all known devices have together.
fn charge(count: &mut CountV2, id: [u8; 8], now: Timestamp) {
    count.device_guesses.push(DeviceGuessV1 { id, at_secs: secs(now) });
    count.device_consecutive = count.device_consecutive.saturating_add(1);
}

/// Counts a failure against a session. If there is no other place it takes that of the session that has not failed for
/// longest.
pub(super) fn charge_session(count: &mut CountV2, id: [u8; 8], now: Timestamp) {
    charge(count, id, now);
    if let Some(session) = count.sessions.iter_mut().find(|session| session.id == id) {
        session.failures = session.failures.saturating_add(1);
        session.last_secs = secs(now);
        return;
    }
    if count.sessions.len() >= SESSIONS_MAX
        && let Some((at, _)) = oldest_session(count)
    {
        count.sessions.remove(at);
    }
    count.sessions.push(SessionFailuresV1 { id, failures: 1, last_secs: secs(now) });
}

/// Forgives the failures of a device or session after its success, and opens the name as far as the cap is concerned. What
/// it has guessed within the day still counts: a copy of it may have guessed.
pub(super) fn forgive(count: &mut CountV2, id: [u8; 8]) {
    for device in count.devices.iter_mut().filter(|device| device.id == id) {
        device.failures = 0;
    }
    count.sessions.retain(|session| session.id != id);
    count.consecutive = 0;
    count.device_consecutive = 0;
}

/// Gives back one charge of a device or session, unless a success has forgiven it already.
pub(super) fn give_back(count: &mut CountV2, id: [u8; 8], at_secs: u32) {
    let charge = DeviceGuessV1 { id, at_secs };
    let Some(at) = count.device_guesses.iter().position(|guess| *guess == charge) else { return };
    count.device_guesses.remove(at);
    count.device_consecutive = count.device_consecutive.saturating_sub(1);
    for device in count.devices.iter_mut().filter(|device| device.id == id) {
        device.failures = device.failures.saturating_sub(1);
    }
    for session in count.sessions.iter_mut().filter(|session| session.id == id) {
        session.failures = session.failures.saturating_sub(1);
    }
    count.sessions.retain(|session| session.failures > 0);
}

/// Returns how often a device or session has guessed within the day, its present attempts included.
fn guesses_of(count: &CountV2, id: [u8; 8]) -> usize {
    count.device_guesses.iter().filter(|guess| guess.id == id).count()
}

/// Returns the failures of a device or session.
pub(super) fn failures_of(count: &CountV2, id: [u8; 8]) -> u8 {
    let device = count.devices.iter().find(|device| device.id == id).map(|device| device.failures);
    let session = || count.sessions.iter().find(|session| session.id == id).map(|session| session.failures);
    device.or_else(session).unwrap_or(0)
}

/// Lists a device, or notes that it was used. In a full list the family that holds most places gives up the device that
/// was unused longest, so that a program which never sends its cookie pushes out none but its own.
pub(super) fn list_device(count: &mut CountV2, id: [u8; 8], family: &str, now: Timestamp) {
    if let Some(device) = count.devices.iter_mut().find(|device| device.id == id) {
        device.used_secs = secs(now);
        if &*device.family != family {
            device.family = family.into();
        }
        return;
    }
    if count.devices.len() >= DEVICES_MAX {
        let held = |of: &str| count.devices.iter().filter(|device| &*device.family == of).count();
        let places = count.devices.iter().enumerate();
        let gives_way = places.max_by_key(|(_, device)| (held(&device.family), u32::MAX - device.used_secs));
        if let Some((at, _)) = gives_way {
            count.devices.remove(at);
        }
    }
    count.devices.push(DeviceV2 { id, family: family.into(), used_secs: secs(now), failures: 0 });
}

/// Notes that the owner is told of a new device of `family`. Returns false if that was done within the last 24 hours, or
/// if the owner was told of too many families.
pub(super) fn note_notice(count: &mut CountV2, family: &str, now: Timestamp) -> bool {
    if count.notices.len() >= NOTICES_MAX || count.notices.iter().any(|notice| &*notice.family == family) {
        return false;
    }
    count.notices.push(NoticeV1 { family: family.into(), at_secs: secs(now) });
    true
}
