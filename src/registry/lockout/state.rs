//! The whole rule of lockout. Knows no actor, file, clock or randomness.

use super::count::{
    AskedSession, Limits, charge_device, charge_session, clear, expire, failures_of, forgive, give_back,
    list_device, note_notice, secs, take_back_guess, unlock,
};
use super::record::{CountV2, DAY, DeviceV2, FAMILY_BYTES_MAX};
use super::repeats::Repeats;
use crate::journal::format::buckets::BUCKETS;
use crate::registry::buckets::Buckets;
use crate::registry::event::{Told, What};
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;

/// A decision about counts with verdict `V`.
pub type Decision<V> = record::Decision<CountV2, V>;

/// The least number of buckets that are searched for a name to give way.
const EVICT_LOOK: usize = 8;
/// The most lockout mails to one owner in a day.
const MAILS_PER_DAY: u8 = 3;

/// Stands for the family of a device where the owner is told of all devices together.
const ALL_DEVICES: &str = "*";

/// Who tries a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Caller {
    /// A client without a cookie of this name.
    Stranger,
    /// A client with a device cookie of this name.
    Device(Device),
    /// A session that is asked for the password again. It counts as a device of its own, so that strangers cannot lock
    /// out its owner here, and a thief of the session cannot guess on.
    Session(AskedSession),
}

/// A device, as its cookie names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Device {
    /// The digest of the cookie's nonce.
    pub id: [u8; 8],
    /// The account it belongs to.
    pub account: [u8; 16],
    /// The device epoch of that account.
    pub epoch: u32,
}

/// A device that has just logged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsedDevice {
    /// The device. One that is not listed is from now on.
    pub device: Device,
    /// The family of its browser or program.
    pub family: Box<str>,
    /// Whether the owner wants to be told of a device that is new.
    pub tell_if_new: bool,
    /// Whether that is so with the first device of an account under its name, too. Not where the account was just made: its
    /// owner knows.
    pub tell_if_first: bool,
}

/// Whether a log-in comes from a device that was not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NewDevice {
    /// It was known, or another one of its family was news within the day.
    #[default]
    No,
    /// It is new, and is recorded.
    Recorded,
    /// It is new, and the owner is told of it.
    Told,
}

impl UsedDevice {
    /// Describes a device. A long family is cut.
    pub fn new(device: Device, family: &str, tell_if_new: bool) -> Self {
        let end = family.floor_char_boundary(FAMILY_BYTES_MAX);
        let family = family.get(..end).unwrap_or_default().into();
        Self { device, family, tell_if_new, tell_if_first: false }
    }
}

/// Asks to admit an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// The key of the typed name.
    pub name: NameKey,
    /// Who tries.
    pub caller: Caller,
    /// A keyed digest of the typed password. It stays in memory.
    pub password: [u8; 8],
    /// Whether other attempts at the name are in flight: charged, and perhaps with the right password.
    pub others_in_flight: bool,
}

/// An admitted attempt, charged as a failure until it is settled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attempt {
    name: NameKey,
    charge: Charge,
    password: [u8; 8],
    at_secs: u32,
    era: u32,
    began_lock: bool,
}

impl Attempt {
    /// Says whether it is counted against a known device or a session.
    pub const fn is_of_known_device(&self) -> bool {
        matches!(self.charge, Charge::Device(_) | Charge::Session(_))
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Charge {
    Name,
    Device([u8; 8]),
    Session([u8; 8]),
    /// Not charged: the same wrong password was charged within the last minutes.
    None,
}

/// Why an attempt is not admitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The name is locked for this device. The right password is refused as well.
    #[error("locked until {until}")]
    Locked {
        /// When to try again.
        until: Timestamp,
    },
    /// It may be admitted once the attempts that are in flight are settled: they are no failures yet.
    #[error("others are in flight")]
    InFlight,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttemptOutcome {
    /// The right password.
    Succeeded,
    /// A wrong password, or no account of the name.
    Failed {
        /// Whether an account has the name.
        known: bool,
    },
    /// The password was not checked: the server was busy, or the client had gone. The charge is given back.
    Returned,
}

/// Settles an attempt.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The attempt.
    pub attempt: Attempt,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The device that logs in with it, if it succeeded and is a log-in.
    pub device: Option<UsedDevice>,
    /// How many other attempts of the same device or session are in flight. They are no failures yet.
    pub in_flight: u32,
    /// The account that has the name, if there is one.
    pub account: Option<[u8; 16]>,
}

impl Finish {
    /// Returns the event that a lock began. One of a name without an account takes the same bytes of the journal.
    pub(super) fn told(&self, settled: &Settled) -> Told {
        let until_ms = settled.locked_until_ms;
        match self.account {
            Some(account) => Told::new(account, What::LockoutStarted { until_ms }),
            None => Told::new(self.attempt.name.0, What::LockoutOfNobody { until_ms }),
        }
    }
}

/// The consequences of a settled attempt.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Settled {
    /// Whether a lock began with it.
    pub lock_began: bool,
    /// When that lock ends, in milliseconds since 1970.
    pub locked_until_ms: u64,
    /// Whether the owner of the account is to be notified by mail, if there is one.
    pub mail_owner: bool,
    /// Whether the device or session it came from is known no longer.
    pub device_demoted: bool,
    /// Whether the owner is to be told that a device or session guesses: when one is known no longer, which takes one of
    /// the failures that all of them have in a day at least, since it may have failed on the days before; and once a day
    /// when all of them together have failed that often.
    pub mail_of_devices: bool,
    /// Whether it is a log-in from a new device.
    pub new_device: NewDevice,
}

/// How a name stands, for operators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LockState {
    /// Failures of unknown devices by which the length of a lock is reckoned.
    pub failures: u32,
    /// When the name is open to unknown devices again, if it is closed.
    pub locked_until: Option<Timestamp>,
    /// How many more failures of unknown devices there may be until only the owner can open the name.
    pub guesses_left: u32,
    /// How many more failures of known devices and sessions there may be, today and until then.
    pub device_guesses_left: u32,
}

/// The counts against all names of one engine.
pub struct Lockouts {
    by_name: Buckets<[u8; 16], CountV2>,
    limits: Limits,
    /// The wrong passwords of the last minutes, whose repeats are not counted.
    repeats: Repeats,
    /// The number of names without an account.
    unknown: usize,
}

impl Lockouts {
    /// Creates an empty set of counts.
    pub fn new(limits: Limits) -> Self {
        Self { by_name: Buckets::new(), limits, repeats: Repeats::default(), unknown: 0 }
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], CountV2> {
        &self.by_name
    }

    /// Decides whether to admit an attempt, and charges it if so. A refusal changes nothing.
    ///
    /// Security: an attempt is charged before the password is checked, so that parallel guesses and clients that hang
    /// up gain nothing. A false refusal of a known device would let a stranger lock the owner out.
    /// Source: OWASP Authentication Cheat Sheet (device cookies); NIST SP 800-63B-4 §3.2.2.
    pub fn begin(&self, begin: &Begin, now: Timestamp) -> Decision<Result<Attempt, Refused>> {
        let mut count = self.current(begin.name, now);
        let (is_listed, known) = self.known_charge(&count, begin.caller, now);
        // Looked up for an attempt that is admitted: a refusal must stay cheap.
        let is_repeat = || self.repeats.has(begin.name, begin.password, now);
        let (charge, began_lock) = if let Some(charge) = known {
            let charge = if is_repeat() { Charge::None } else { charge };
            match charge {
                Charge::Device(id) => charge_device(&mut count, id, now),
                Charge::Session(id) => charge_session(&mut count, id, now),
                Charge::Name | Charge::None => {}
            }
            (charge, false)
        } else {
            if is_listed && begin.others_in_flight {
                return Decision::unchanged(Err(Refused::InFlight));
            }
            if let Some(refused) = self.stranger_refused(&count, begin, now) {
                return Decision::unchanged(Err(refused));
            }
            if is_repeat() {
                (Charge::None, false)
            } else {
                (Charge::Name, self.charge_name(&mut count, now))
            }
        };
        let attempt = Attempt {
            name: begin.name,
            charge,
            password: begin.password,
            at_secs: secs(now),
            era: count.era,
            began_lock,
        };
        let mut writes = Vec::new();
        if self.by_name.get(&begin.name.0).is_none() && self.is_full() {
            writes.extend(self.evict(now).map(Write::Remove));
        }
        writes.push(Write::Put(count));
        Decision { writes, verdict: Ok(attempt) }
    }

    /// Returns whether the caller is known at all, and the charge of its attempt if it is admitted as such.
    fn known_charge(&self, count: &CountV2, caller: Caller, now: Timestamp) -> (bool, Option<Charge>) {
        match caller {
            Caller::Stranger => (false, None),
            Caller::Device(device) => {
                let listed = listed(count, device);
                let admitted = listed.filter(|listed| self.limits.admits_device(count, listed));
                (listed.is_some(), admitted.map(|listed| Charge::Device(listed.id)))
            }
            Caller::Session(session) => {
                let is_admitted = self.limits.admits_session(count, session, now);
                (true, is_admitted.then_some(Charge::Session(session.id)))
            }
        }
    }

    /// Returns the reason for which a caller that is not admitted as a known one is not admitted like a stranger either.
    fn stranger_refused(&self, count: &CountV2, begin: &Begin, now: Timestamp) -> Option<Refused> {
        let own_end = match begin.caller {
            // What it has guessed of its own must not go on as the guesses of a stranger.
            Caller::Session(session) if failures_of(count, session.id) > 0 => {
                Some(now + self.limits.max_lock)
            }
            _ => None,
        };
        let until = own_end.or_else(|| self.limits.closed_until(count, now))?;
        Some(if begin.others_in_flight { Refused::InFlight } else { Refused::Locked { until } })
    }

    /// Counts a failure of an unknown device, and returns whether it begins a lock.
    fn charge_name(&self, count: &mut CountV2, now: Timestamp) -> bool {
        count.failures = count.failures.saturating_add(1);
        count.consecutive = count.consecutive.saturating_add(1);
        count.last_ms = now.as_millis();
        count.guesses_secs.push(secs(now));
        let lock = self.limits.lock_after(count.failures);
        count.locked_until_ms = lock.map_or(0, |lock| (now + lock).as_millis());
        lock.is_some()
    }

    /// Decides the consequences of an attempt's outcome.
    pub fn finish(&self, finish: &Finish, now: Timestamp) -> Decision<Settled> {
        let attempt = finish.attempt;
        let mut count = self.current(attempt.name, now);
        let mut settled = Settled::default();
        match finish.outcome {
            AttemptOutcome::Succeeded => {
                match attempt.charge {
                    // Failures of unknown devices do not lock known ones out, and stay counted against unknown ones.
                    Charge::Device(id) | Charge::Session(id) => {
                        give_back(&mut count, id, attempt.at_secs);
                        forgive(&mut count, id);
                    }
                    Charge::Name => {
                        take_back_guess(&mut count, attempt.at_secs);
                        unlock(&mut count);
                    }
                    Charge::None => unlock(&mut count),
                }
                count.known = true;
                if let Some(used) = &finish.device {
                    // Also where it came in like a stranger, because others had left it no room.
                    forgive(&mut count, used.device.id);
                    settled.new_device = note_device(&mut count, used, now);
                }
            }
            AttemptOutcome::Failed { known } => {
                count.known |= known;
                self.fail(&mut count, finish, &mut settled, now);
            }
            AttemptOutcome::Returned => match attempt.charge {
                Charge::Device(id) | Charge::Session(id) => give_back(&mut count, id, attempt.at_secs),
                Charge::Name => {
                    take_back_guess(&mut count, attempt.at_secs);
                    // Otherwise the failure has been cleared already.
                    if count.era == attempt.era {
                        count.failures = count.failures.saturating_sub(1);
                        count.consecutive = count.consecutive.saturating_sub(1);
                        if attempt.began_lock || self.limits.lock_after(count.failures).is_none() {
                            count.locked_until_ms = 0;
                        }
                    }
                }
                Charge::None => {}
            },
        }
        Decision::put(count, settled)
    }

    /// Settles a failure: its charge stays.
    fn fail(&self, count: &mut CountV2, finish: &Finish, settled: &mut Settled, now: Timestamp) {
        let attempt = finish.attempt;
        if let Charge::Device(id) | Charge::Session(id) = attempt.charge {
            let settled_failures = u32::from(failures_of(count, id)).saturating_sub(finish.in_flight);
            settled.device_demoted = settled_failures >= u32::from(self.limits.device_failures());
            if settled.device_demoted {
                // No longer listed, it is a stranger for good. A session stays counted instead, since it has no list.
                count.devices.retain(|device| device.id != id);
            }
            let is_spent = !self.limits.failing_devices_have_room(count);
            let is_news = is_spent && note_notice(count, ALL_DEVICES, now);
            settled.mail_of_devices = settled.device_demoted || is_news;
        }
        if attempt.began_lock && count.era == attempt.era {
            settled.lock_began = true;
            settled.locked_until_ms = count.locked_until_ms;
            if now.since(Timestamp(count.mail_day_ms)) >= DAY {
                count.mail_day_ms = now.as_millis();
                count.mails = 0;
            }
            if count.mails < MAILS_PER_DAY {
                count.mails += 1;
                // Also for a name without an account: the mail goes to nobody then, and the work is the same.
                settled.mail_owner = true;
            }
        }
    }

    /// Decides the lifting of a lock, after a reset or by the link in the lockout mail. Failures of devices stay, and one
    /// that is known no longer stays a stranger.
    pub fn clear(&self, name: NameKey, now: Timestamp) -> Decision<()> {
        let mut count = self.current(name, now);
        clear(&mut count);
        Decision::put(count, ())
    }

    /// Decides the listing of a device whose owner has just proved to be it in another way than by logging in.
    pub fn list(&self, name: NameKey, used: &UsedDevice, now: Timestamp) -> Decision<()> {
        let mut count = self.current(name, now);
        count.known = true;
        note_device(&mut count, used, now);
        Decision::put(count, ())
    }

    /// Returns the devices of an account that are known at `now`, under its device epoch.
    pub fn devices(&self, name: NameKey, account: [u8; 16], epoch: u32, now: Timestamp) -> Vec<DeviceV2> {
        let mut count = self.current(name, now);
        if count.account != account || count.device_epoch != epoch {
            return Vec::new();
        }
        count.devices.retain(|device| device.failures < self.limits.device_failures());
        count.devices
    }

    /// Returns how a name stands at `now`.
    pub fn state_of(&self, name: NameKey, now: Timestamp) -> LockState {
        let count = self.current(name, now);
        let (guesses_left, device_guesses_left) = self.limits.left(&count);
        LockState {
            failures: count.failures,
            locked_until: self.limits.closed_until(&count, now),
            guesses_left,
            device_guesses_left,
        }
    }

    /// Remembers a wrong password for a while, so that a client that repeats it does not lock the owner out.
    pub fn note_failure(&mut self, attempt: &Attempt, now: Timestamp) {
        self.repeats.note(attempt.name, attempt.password, now);
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<CountV2>) {
        let before = match write {
            Write::Put(count) => {
                self.unknown += usize::from(!count.known);
                self.by_name.insert(count.name, count)
            }
            Write::Remove(name) => self.by_name.remove(&name),
        };
        self.unknown -= usize::from(before.is_some_and(|before| !before.known));
    }

    /// Removes the names of one bucket against which nothing counts any more, and returns how many there were. Writes
    /// nothing to the journal: the times are in the record.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let expired = self.by_name.bucket(bucket).filter(|(_, count)| self.limits.is_forgotten(count, now));
        let names: Vec<_> = expired.map(|(name, _)| *name).collect();
        for name in &names {
            self.apply(Write::Remove(*name));
        }
        if bucket == 0 {
            self.repeats.sweep(now);
        }
        names.len()
    }

    /// Returns the count against `name` at `now`.
    fn current(&self, name: NameKey, now: Timestamp) -> CountV2 {
        let mut count = self
            .by_name
            .get(&name.0)
            .cloned()
            .unwrap_or_else(|| CountV2 { name: name.0, ..CountV2::default() });
        if self.limits.is_cold(&count, now) {
            count.failures = 0;
            count.locked_until_ms = 0;
        }
        expire(&mut count, now);
        count
    }

    /// Says whether a further name must take the place of one without an account. Those have half of the table at
    /// least: names with an account stay for as long as their devices, and are not in the attacker's hand.
    fn is_full(&self) -> bool {
        let known = self.by_name.len() - self.unknown;
        self.unknown >= self.limits.names_max.saturating_sub(known).max(self.limits.names_max / 2)
    }

    /// Returns a name without an account that gives way: one that is not locked if there is one among the buckets that
    /// are searched, or else the least locked.
    fn evict(&self, now: Timestamp) -> Option<[u8; 16]> {
        let begin = now.as_millis() as usize % BUCKETS;
        let near = (0..(BUCKETS * 4 / self.unknown.max(1)).clamp(EVICT_LOOK, BUCKETS))
            .flat_map(|step| self.by_name.bucket((begin + step) % BUCKETS));
        near.filter(|(_, count)| !count.known)
            .min_by_key(|(_, count)| (count.locked_until_ms > now.as_millis(), count.failures, count.last_ms))
            .map(|(name, _)| *name)
    }
}

/// Returns the entry of a device, if it is listed for the account and epoch that its cookie names.
fn listed(count: &CountV2, device: Device) -> Option<&DeviceV2> {
    let is_of_account = count.account == device.account && count.device_epoch == device.epoch;
    count.devices.iter().find(|listed| is_of_account && listed.id == device.id)
}

/// Notes that a device has logged in, and returns whether the owner is to be told of it. The devices of another account
/// or epoch are gone with that. The first device of an account is no news.
fn note_device(count: &mut CountV2, used: &UsedDevice, now: Timestamp) -> NewDevice {
    let Device { id, account, epoch } = used.device;
    let is_first = count.account != account;
    let is_listed = listed(count, used.device).is_some();
    if is_first || count.device_epoch != epoch {
        count.account = account;
        count.device_epoch = epoch;
        count.devices.clear();
    }
    list_device(count, id, &used.family, now);
    if is_first && !used.tell_if_first {
        // No notice: another device of its family is news on the same day.
        NewDevice::Recorded
    } else if is_listed || !note_notice(count, &used.family, now) {
        NewDevice::No
    } else if used.tell_if_new {
        NewDevice::Told
    } else {
        NewDevice::Recorded
    }
}

#[cfg(test)]
mod tests;
