//! Tests of the rule.

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
fn a_stolen_device_gets_five_guesses_and_no_more_by_time_or_cookies() {
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

/// Returns the guesses that a strategy gets in `secs` seconds. `wait` is given the guesses so far and the refusals
/// since the last guess, and returns the seconds to wait.
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
