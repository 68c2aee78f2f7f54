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
    /// Security: an attempt is charged before the password is checked, so that parallel guesses and clients that hang up
    /// gain nothing. A false refusal of a known device would let a stranger lock the owner out.
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

    /// Removes the names of one bucket against which nothing counts any more, and returns how many there were. Writes nothing
    /// to the journal: the times are in the record.
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

    /// Returns a name without an account that gives way: one that is not locked if there is one among the buckets that are
    /// searched, or else the least locked.
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
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const LIMITS: Limits = Limits {
        failures: 5,
        cap: 100,
        first_lock: Duration::from_mins(1),
        max_lock: Duration::from_hours(1),
        forget: Duration::from_hours(24),
        names_max: 4,
    };

    struct World {
        lockouts: Lockouts,
        journal: Vec<Write<CountV1>>,
        now: Timestamp,
        guesses: u64,
    }

    fn name(number: u8) -> NameKey {
        NameKey([0, 0, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    impl World {
        fn new() -> Self {
            Self { lockouts: Lockouts::new(LIMITS), journal: vec![], now: START, guesses: 0 }
        }

        fn settle<V>(&mut self, decision: Decision<V>) -> V {
            for write in decision.writes {
                self.journal.push(write.clone());
                self.lockouts.apply(write);
            }
            decision.verdict
        }

        fn begin(&mut self, number: u8, device: Option<u8>) -> Result<Attempt, Locked> {
            self.guesses += 1;
            let password = self.guesses.to_le_bytes();
            let begin = Begin { name: name(number), device: device.map(|device| [device; 8]), password };
            let decision = self.lockouts.begin(&begin, self.now);
            self.settle(decision)
        }

        fn finish(&mut self, attempt: Attempt, outcome: AttemptOutcome) -> Settled {
            let decision = self.lockouts.finish(Finish { attempt, outcome }, self.now);
            if matches!(outcome, AttemptOutcome::Failed { .. }) {
                self.lockouts.note_failure(&attempt, self.now);
            }
            self.settle(decision)
        }

        fn fail(&mut self, number: u8, device: Option<u8>) -> Option<Settled> {
            let attempt = self.begin(number, device).ok()?;
            Some(self.finish(attempt, AttemptOutcome::Failed { known: true }))
        }

        fn restart(&mut self) {
            self.lockouts = Lockouts::new(LIMITS);
            for write in self.journal.clone() {
                self.lockouts.apply(write);
            }
        }

        fn advance(&mut self, secs: u64) {
            self.now = self.now + Duration::from_secs(secs);
        }
    }

    #[test]
    fn five_failures_lock_a_name_and_each_further_one_doubles_the_lock() {
        let mut world = World::new();
        for _ in 0..4 {
            assert_eq!(world.fail(1, None), Some(Settled::default()));
        }
        assert_eq!(
            world.fail(1, None),
            Some(Settled { lock_began: true, mail_owner: true, device_demoted: false })
        );
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let locked = world.begin(1, None).unwrap_err();
            assert_eq!(locked.until, world.now + Duration::from_mins(minutes));
            world.restart();
            assert_eq!(world.begin(1, None), Err(locked));
            world.advance(minutes * 60);
            assert!(world.fail(1, None).is_some());
        }
        world.advance(24 * 3600);
        assert_eq!(world.fail(1, None), Some(Settled::default()));
    }

    #[test]
    fn a_known_device_gets_in_during_a_lock_and_has_five_failures_of_its_own() {
        let mut world = World::new();
        while world.fail(1, None).is_some() {}
        for _ in 0..3 {
            let attempt = world.begin(1, Some(7)).unwrap();
            world.finish(attempt, AttemptOutcome::Succeeded);
        }
        assert!(world.begin(1, None).is_err());
        for _ in 0..5 {
            assert!(world.fail(1, Some(7)).is_some());
        }
        world.restart();
        assert!(world.begin(1, Some(7)).is_err());
        assert!(world.begin(1, Some(8)).is_ok());
    }

    #[test]
    fn a_stolen_device_gets_five_guesses_whatever_time_passes_or_cookies_it_has() {
        let mut world = World::new();
        let guesses = |world: &mut World, device| {
            let demoted = |settled: Option<Settled>| settled.is_some_and(|settled| settled.device_demoted);
            (1..=9).find(|_| demoted(world.fail(1, Some(device))))
        };
        assert_eq!(guesses(&mut world, 1), Some(5));
        for _ in 0..3 {
            world.advance(25 * 3600);
            (0..BUCKETS).for_each(|bucket| {
                world.lockouts.sweep(bucket, world.now);
            });
            world.restart();
            // From here on it is an unknown device: five guesses a day until the cap, like any other.
            let admitted = (0..20).filter(|_| world.fail(1, Some(1)).is_some()).count();
            assert_eq!(admitted, 5);
        }
        for device in 2..40 {
            world.advance(25 * 3600);
            let settled = guesses(&mut world, device);
            assert_eq!(settled.is_some(), device <= 16, "{device}");
        }
        assert_eq!(guesses(&mut world, 1), None);
    }

    #[test]
    fn parallel_guesses_and_clients_that_hang_up_gain_nothing() {
        let mut world = World::new();
        let admitted: Vec<_> = (0..50).filter_map(|_| world.begin(1, None).ok()).collect();
        assert_eq!(admitted.len(), 5);
        world.restart();
        assert!(world.begin(1, None).is_err());
        for attempt in admitted {
            world.finish(attempt, AttemptOutcome::Returned);
        }
        assert!(world.begin(1, None).is_ok());
    }

    #[test]
    fn a_success_clears_the_count_and_gives_no_older_charge_back_twice() {
        let mut world = World::new();
        let old = world.begin(1, None).unwrap();
        let right = world.begin(1, None).unwrap();
        world.finish(right, AttemptOutcome::Succeeded);
        for _ in 0..3 {
            world.fail(1, None);
        }
        world.finish(old, AttemptOutcome::Returned);
        assert_eq!(world.fail(1, None), Some(Settled::default()));
        assert!(world.fail(1, None).unwrap().lock_began);
    }

    #[test]
    fn the_same_wrong_password_again_counts_once() {
        let mut world = World::new();
        for _ in 0..20 {
            world.guesses = 0;
            assert!(world.fail(1, None).is_some());
        }
        world.guesses = 100;
        for _ in 0..4 {
            assert!(world.fail(1, None).is_some());
        }
        assert!(world.begin(1, None).is_err());
    }

    #[test]
    fn after_the_cap_only_the_owner_opens_the_name_and_time_does_not() {
        let mut world = World::new();
        let mut failures = 0;
        while failures < 100 {
            failures += u32::from(world.fail(1, None).is_some());
            world.advance(3600);
        }
        world.advance(100 * 24 * 3600);
        (0..BUCKETS).for_each(|bucket| {
            world.lockouts.sweep(bucket, world.now);
        });
        assert!(world.begin(1, None).is_err());
        let attempt = world.begin(1, Some(1)).unwrap();
        world.finish(attempt, AttemptOutcome::Succeeded);
        world.advance(24 * 3600);
        assert!(world.begin(1, None).is_ok());
    }

    /// Returns the guesses that a strategy gets in `secs` seconds. `wait` is given the guesses so far and the refusals since
    /// the last guess, and returns the seconds to wait.
    fn guesses_within(secs: u64, wait: impl Fn(u64, u64) -> u64) -> u64 {
        let mut world = World::new();
        let end = world.now + Duration::from_secs(secs);
        let mut guesses = 0;
        let mut refused = 0;
        while world.now < end {
            match world.begin(1, None) {
                Ok(attempt) => {
                    guesses += 1;
                    refused = 0;
                    world.finish(attempt, AttemptOutcome::Failed { known: true });
                }
                Err(_) => refused += 1,
            }
            world.advance(wait(guesses, refused));
        }
        guesses
    }

    #[test]
    fn a_guesser_of_any_patience_gets_forty_guesses_a_day_and_a_hundred_ever() {
        const DAY_SECS: u64 = 24 * 3600;
        let eager = |_, _| 1;
        let in_a_day = guesses_within(DAY_SECS, eager);
        assert!((30..=40).contains(&in_a_day), "{in_a_day}");
        assert_eq!(guesses_within(30 * DAY_SECS, |_, _| 60), 100);
        // A guesser who waits until the ladder is forgotten and begins anew.
        for burst in [4, 5, 11, 30] {
            let patient = move |guesses: u64, refused| {
                if guesses.is_multiple_of(burst) && refused == 0 { DAY_SECS } else { 600 }
            };
            assert_eq!(guesses_within(60 * DAY_SECS, patient), 100, "{burst}");
        }
    }

    proptest::proptest! {
        /// Invariant: no order of attempts, pauses and restarts distinguishes a name with an account from one without.
        #[test]
        fn known_and_unknown_names_are_locked_alike(
            steps in proptest::collection::vec((0_u8..4, 0_u64..30_000), 1..200),
        ) {
            let mut worlds = [World::new(), World::new()];
            for (act, secs) in steps {
                let seen = [0, 1].map(|at| {
                    let world = &mut worlds[at];
                    world.advance(secs);
                    match act {
                        0 => world.restart(),
                        1 => world.guesses = 0,
                        _ => {}
                    }
                    let begun = world.begin(1, None);
                    begun.map(|attempt| world.finish(attempt, AttemptOutcome::Failed { known: at == 0 }).lock_began)
                });
                proptest::prop_assert_eq!(seen[0], seen[1]);
            }
        }
    }

    #[test]
    fn in_a_full_table_a_name_without_an_account_gives_way_by_a_write() {
        let mut world = World::new();
        let fail_unknown = |world: &mut World, number| {
            let attempt = world.begin(number, None).unwrap();
            world.finish(attempt, AttemptOutcome::Failed { known: number == 0 });
        };
        for number in 0..40 {
            fail_unknown(&mut world, number);
            world.advance(1);
        }
        assert!(world.lockouts.by_name.len() <= 4);
        assert!(world.lockouts.by_name.get(&name(0).0).is_some());
        let before: Vec<_> = (0..40).map(|n| world.lockouts.by_name.get(&name(n).0).cloned()).collect();
        world.restart();
        let after: Vec<_> = (0..40).map(|n| world.lockouts.by_name.get(&name(n).0).cloned()).collect();
        assert_eq!(before, after);
    }
}
