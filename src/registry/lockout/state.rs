//! The whole rule of lockout. Knows no actor, file, clock or randomness.

use super::count::{DAY, Limits, charge_device, clear};
use super::record::CountV1;
use super::repeats::Repeats;
use crate::journal::format::buckets::BUCKETS;
use crate::registry::buckets::Buckets;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;

/// A decision about counts with verdict `V`.
pub type Decision<V> = record::Decision<CountV1, V>;

/// The least number of buckets that are searched for a name to give way.
const EVICT_LOOK: usize = 8;
/// The most lockout mails to one owner in a day.
const MAILS_PER_DAY: u8 = 3;

/// Asks to admit an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// The key of the typed name.
    pub name: NameKey,
    /// The device of the name, if its cookie was checked.
    pub device: Option<[u8; 8]>,
    /// A keyed digest of the typed password. It stays in memory.
    pub password: [u8; 8],
}

/// An admitted attempt, charged as a failure until it is settled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attempt {
    name: NameKey,
    charge: Charge,
    password: [u8; 8],
    era: u32,
    began_lock: bool,
}

impl Attempt {
    /// Says whether it is counted against a known device.
    pub const fn is_of_known_device(&self) -> bool {
        matches!(self.charge, Charge::Device(_))
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Charge {
    Name,
    Device([u8; 8]),
    /// Not charged: the same wrong password was charged within the last minutes.
    None,
}

/// The name is locked for this device. The right password is refused as well.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("locked until {until}")]
pub struct Locked {
    /// When to try again.
    pub until: Timestamp,
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
    /// The password was not checked, because the server was busy. The charge is given back.
    Returned,
}

/// Settles an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// The attempt.
    pub attempt: Attempt,
    /// How it ended.
    pub outcome: AttemptOutcome,
}

/// The consequences of a settled attempt.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Settled {
    /// Whether a lock began with it.
    pub lock_began: bool,
    /// Whether the owner of the account is to be notified by mail, if there is one.
    pub mail_owner: bool,
    /// Whether the device it came from is known no longer.
    pub device_demoted: bool,
}

/// The counts against all names of one engine.
pub struct Lockouts {
    by_name: Buckets<[u8; 16], CountV1>,
    limits: Limits,
    /// The wrong passwords of the last minutes, whose repeats are not counted.
    repeats: Repeats,
}

impl Lockouts {
    /// Creates an empty set of counts.
    pub fn new(limits: Limits) -> Self {
        Self { by_name: Buckets::new(), limits, repeats: Repeats::default() }
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], CountV1> {
        &self.by_name
    }

    /// Decides whether to admit an attempt, and charges it if so. A refusal changes nothing.
    ///
    /// Security: an attempt is charged before the password is checked, so that parallel guesses and clients that hang
    /// up gain nothing. A false refusal of a known device would let a stranger lock the owner out.
    /// Source: OWASP Authentication Cheat Sheet (device cookies); NIST SP 800-63B-4 §3.2.2.
    pub fn begin(&self, begin: &Begin, now: Timestamp) -> Decision<Result<Attempt, Locked>> {
        let mut count = self.current(begin.name, now);
        let mut writes = Vec::new();
        let known = begin.device.filter(|nonce| self.limits.is_known(&count, *nonce));
        let attempt = |charge, count: &CountV1, began_lock| Attempt {
            name: begin.name,
            charge,
            password: begin.password,
            era: count.era,
            began_lock,
        };
        let admitted = if let Some(nonce) = known {
            charge_device(&mut count, nonce);
            // A stolen device may be guessing, so this counts towards the cap.
            count.consecutive = count.consecutive.saturating_add(1);
            attempt(Charge::Device(nonce), &count, false)
        } else {
            if count.consecutive >= self.limits.cap {
                return Decision::unchanged(Err(Locked { until: now + self.limits.max_lock }));
            }
            if now.as_millis() < count.locked_until_ms {
                return Decision::unchanged(Err(Locked { until: Timestamp(count.locked_until_ms) }));
            }
            if self.repeats.has(begin.name, begin.password, now) {
                attempt(Charge::None, &count, false)
            } else {
                count.failures = count.failures.saturating_add(1);
                count.consecutive = count.consecutive.saturating_add(1);
                count.last_ms = now.as_millis();
                let lock = self.limits.lock_after(count.failures);
                count.locked_until_ms = lock.map_or(0, |lock| (now + lock).as_millis());
                attempt(Charge::Name, &count, lock.is_some())
            }
        };
        if self.by_name.get(&begin.name.0).is_none() && self.by_name.len() >= self.limits.names_max {
            writes.extend(self.evict(now).map(Write::Remove));
        }
        writes.push(Write::Put(count));
        Decision { writes, verdict: Ok(admitted) }
    }

    /// Decides the consequences of an attempt's outcome.
    pub fn finish(&self, finish: Finish, now: Timestamp) -> Decision<Settled> {
        let Finish { attempt, outcome } = finish;
        let mut count = self.current(attempt.name, now);
        let mut settled = Settled::default();
        let is_own_era = count.era == attempt.era;
        match outcome {
            AttemptOutcome::Succeeded => {
                match attempt.charge {
                    // Failures of unknown devices do not lock known ones out, and stay counted against unknown ones.
                    Charge::Device(nonce) => {
                        count.devices.retain(|device| device.nonce != nonce);
                        count.consecutive = 0;
                    }
                    Charge::Name | Charge::None => clear(&mut count),
                }
                count.known = true;
            }
            AttemptOutcome::Failed { known } => {
                count.known |= known;
                if let Charge::Device(nonce) = attempt.charge {
                    settled.device_demoted = !self.limits.is_known(&count, nonce);
                }
                if attempt.began_lock && is_own_era {
                    settled.lock_began = true;
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
            AttemptOutcome::Returned => match attempt.charge {
                Charge::Device(nonce) => {
                    for device in count.devices.iter_mut().filter(|device| device.nonce == nonce) {
                        device.failures = device.failures.saturating_sub(1);
                    }
                    count.devices.retain(|device| device.failures > 0);
                    count.consecutive = count.consecutive.saturating_sub(1);
                }
                Charge::Name if is_own_era => {
                    count.failures = count.failures.saturating_sub(1);
                    count.consecutive = count.consecutive.saturating_sub(1);
                    if attempt.began_lock || self.limits.lock_after(count.failures).is_none() {
                        count.locked_until_ms = 0;
                    }
                }
                Charge::Name | Charge::None => {}
            },
        }
        Decision::put(count, settled)
    }

    /// Decides the lifting of a lock, after a reset or by the link in the lockout mail.
    pub fn clear(&self, name: NameKey, now: Timestamp) -> Decision<()> {
        let mut count = self.current(name, now);
        clear(&mut count);
        count.devices.clear();
        Decision::put(count, ())
    }

    /// Remembers a wrong password for a while, so that a client that repeats it does not lock the owner out.
    pub fn note_failure(&mut self, attempt: &Attempt, now: Timestamp) {
        self.repeats.note(attempt.name, attempt.password, now);
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<CountV1>) {
        match write {
            Write::Put(count) => {
                self.by_name.insert(count.name, count);
            }
            Write::Remove(name) => {
                self.by_name.remove(&name);
            }
        }
    }

    /// Removes the names of one bucket against which nothing counts any more, and returns how many there were. Writes
    /// nothing to the journal: the times are in the record.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let expired = self.by_name.bucket(bucket).filter(|(_, count)| self.limits.is_forgotten(count, now));
        let names: Vec<_> = expired.map(|(name, _)| *name).collect();
        for name in &names {
            self.by_name.remove(name);
        }
        if bucket == 0 {
            self.repeats.sweep(now);
        }
        names.len()
    }

    /// Returns the count against `name` at `now`.
    fn current(&self, name: NameKey, now: Timestamp) -> CountV1 {
        let mut count = self
            .by_name
            .get(&name.0)
            .cloned()
            .unwrap_or_else(|| CountV1 { name: name.0, ..CountV1::default() });
        if self.limits.is_cold(&count, now) {
            count.failures = 0;
            count.locked_until_ms = 0;
        }
        count
    }

    /// Returns a name without an account that gives way: one that is not locked if there is one among the buckets that
    /// are searched, or else the least locked.
    fn evict(&self, now: Timestamp) -> Option<[u8; 16]> {
        let begin = now.as_millis() as usize % BUCKETS;
        let near = (0..(BUCKETS * 4 / self.by_name.len().max(1)).clamp(EVICT_LOOK, BUCKETS))
            .flat_map(|step| self.by_name.bucket((begin + step) % BUCKETS));
        near.filter(|(_, count)| !count.known)
            .min_by_key(|(_, count)| (count.locked_until_ms > now.as_millis(), count.failures, count.last_ms))
            .map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests;
