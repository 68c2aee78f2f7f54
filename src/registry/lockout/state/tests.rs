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

/// The outcome of a wrong password of a name that has an account.
const WRONG: AttemptOutcome = AttemptOutcome::Failed { known: true };

struct World {
    lockouts: Lockouts,
    journal: Vec<Write<CountV2>>,
    now: Timestamp,
    guesses: u64,
}

fn name(number: u8) -> NameKey {
    NameKey([0, 0, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Returns a device of the account that the tests are about.
fn known(id: u8) -> Device {
    Device { id: [id; 8], account: [3; 16], epoch: 1 }
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

    fn begin(&mut self, number: u8, device: Option<u8>) -> Result<Attempt, Refused> {
        self.begin_beside(number, device.map_or(Caller::Stranger, |id| Caller::Device(known(id))), false)
    }

    /// Begins an attempt while others are in flight, or not.
    fn begin_beside(
        &mut self,
        number: u8,
        caller: Caller,
        others_in_flight: bool,
    ) -> Result<Attempt, Refused> {
        self.guesses += 1;
        let password = self.guesses.to_le_bytes();
        let begin = Begin { name: name(number), caller, password, others_in_flight };
        let decision = self.lockouts.begin(&begin, self.now);
        self.settle(decision)
    }

    fn finish(&mut self, attempt: Attempt, outcome: AttemptOutcome) -> Settled {
        self.finish_beside(attempt, outcome, 0)
    }

    /// Settles an attempt while others of its device are in flight.
    fn finish_beside(&mut self, attempt: Attempt, outcome: AttemptOutcome, in_flight: u32) -> Settled {
        let finish = Finish { attempt, outcome, device: None, in_flight, account: None };
        let decision = self.lockouts.finish(&finish, self.now);
        if matches!(outcome, AttemptOutcome::Failed { .. }) {
            self.lockouts.note_failure(&attempt, self.now);
        }
        self.settle(decision)
    }

    /// Logs in with the right password, on a device of the family `family`.
    fn log_in(&mut self, number: u8, device: Device, family: &str) -> Settled {
        let attempt = self.begin_beside(number, Caller::Device(device), false).unwrap();
        let device = Some(UsedDevice::new(device, family, true));
        let finish =
            Finish { attempt, outcome: AttemptOutcome::Succeeded, device, in_flight: 0, account: None };
        let decision = self.lockouts.finish(&finish, self.now);
        self.settle(decision)
    }

    /// Lists known devices of a name.
    fn know(&mut self, number: u8, devices: impl IntoIterator<Item = u8>) {
        for id in devices {
            let decision =
                self.lockouts.list(name(number), &UsedDevice::new(known(id), "test", true), self.now);
            self.settle(decision);
        }
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

/// Returns a session that was opened long ago.
fn asked(id: u8) -> Caller {
    Caller::Session(AskedSession { id: [id; 8], proved: Timestamp::from_secs(1) })
}

#[test]
fn five_failures_lock_a_name_and_each_further_one_doubles_the_lock() {
    let mut world = World::new();
    for _ in 0..4 {
        assert_eq!(world.fail(1, None), Some(Settled::default()));
    }
    assert_eq!(
        world.fail(1, None),
        Some(Settled {
            lock_began: true,
            locked_until_ms: (world.now + Duration::from_mins(1)).as_millis(),
            mail_owner: true,
            ..Settled::default()
        })
    );
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        let locked = Err(Refused::Locked { until: world.now + Duration::from_mins(minutes) });
        assert_eq!(world.begin(1, None), locked);
        world.restart();
        assert_eq!(world.begin(1, None), locked);
        world.advance(minutes * 60);
        assert!(world.fail(1, None).is_some());
    }
    world.advance(24 * 3600);
    assert_eq!(world.fail(1, None), Some(Settled::default()));
}

#[test]
fn a_known_device_gets_in_during_a_lock_and_has_five_failures_of_its_own() {
    let mut world = World::new();
    world.know(1, [7, 8]);
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
fn a_stolen_device_gets_five_guesses_and_no_more_by_time_reset_or_unlock() {
    let mut world = World::new();
    world.know(1, [1, 2]);
    let demoted = |settled: Option<Settled>| settled.is_some_and(|settled| settled.device_demoted);
    assert_eq!((1..=9).find(|_| demoted(world.fail(1, Some(1)))), Some(5));
    for _ in 0..3 {
        world.advance(25 * 3600);
        (0..BUCKETS).for_each(|bucket| {
            world.lockouts.sweep(bucket, world.now);
        });
        world.restart();
        let cleared = world.lockouts.clear(name(1), world.now);
        world.settle(cleared);
        // From here on it is an unknown device: five guesses a day until the cap, like any other.
        let admitted = (0..20).filter(|_| world.fail(1, Some(1)).is_some()).count();
        assert_eq!(admitted, 5);
        assert!(world.begin(1, None).is_err());
    }
    // The other device has its own five.
    assert_eq!((1..=9).find(|_| demoted(world.fail(1, Some(2)))), Some(5));
}

/// The owner logs in every ten minutes, as a program without a cookie jar does. Its success lifts the lock, but gives nobody
/// more guesses of the day.
#[test]
fn log_ins_of_the_owner_give_strangers_no_more_guesses() {
    let mut world = World::new();
    let mut guessed = 0;
    for _ in 0..144 {
        for _ in 0..4 {
            guessed += usize::from(world.fail(1, None).is_some());
        }
        if let Ok(attempt) = world.begin(1, None) {
            world.finish(attempt, AttemptOutcome::Succeeded);
        }
        world.advance(600);
    }
    assert_eq!(guessed, 20);
    // The owner's attempts are no guesses.
    world.advance(25 * 3600);
    for _ in 0..30 {
        let attempt = world.begin(1, None).unwrap();
        world.finish(attempt, AttemptOutcome::Succeeded);
    }
    // And a link gives the owner a new day.
    assert_eq!((0..30).filter(|_| world.fail(1, None).is_some()).count(), 5);
    let cleared = world.lockouts.clear(name(1), world.now);
    world.settle(cleared);
    assert_eq!((0..30).filter(|_| world.fail(1, None).is_some()).count(), 5);
}

/// A thief has a copy of a cookie, or of a session, and guesses between the owner's log-ins with the same one.
#[test]
fn log_ins_of_the_owner_give_a_copied_device_or_session_no_more_guesses() {
    let session = Caller::Session(AskedSession { id: [7; 8], proved: START });
    for caller in [Caller::Device(known(1)), session] {
        let mut world = World::new();
        world.know(1, [1, 2]);
        let mut guessed = 0;
        for _ in 0..140 {
            for _ in 0..4 {
                let attempt = world.begin_beside(1, caller, false).ok().filter(Attempt::is_of_known_device);
                if let Some(attempt) = attempt {
                    guessed += 1;
                    world.finish(attempt, WRONG);
                }
            }
            let attempt = world.begin_beside(1, caller, false).ok().filter(Attempt::is_of_known_device);
            if let Some(attempt) = attempt {
                world.finish(attempt, AttemptOutcome::Succeeded);
            }
            world.advance(600);
        }
        assert_eq!(guessed, 5, "{caller:?}");
        // The owner's other device goes on.
        assert!(world.begin(1, Some(2)).unwrap().is_of_known_device());
        // The owner's log-ins are no guesses.
        world.advance(25 * 3600);
        for _ in 0..30 {
            world.log_in(1, known(2), "test");
        }
    }
}

#[test]
fn all_devices_together_have_twenty_guesses_a_day_and_one_that_does_not_fail_always_gets_in() {
    let mut world = World::new();
    // The thief has fifteen cookies, the owner the sixteenth.
    world.know(1, 1..=16);
    let mut judged = 0;
    for round in 0..40 {
        for thief in 1..=15 {
            let as_device = world.begin(1, Some(thief)).ok().filter(Attempt::is_of_known_device);
            if let Some(attempt) = as_device {
                judged += 1;
                world.finish(attempt, AttemptOutcome::Failed { known: true });
            }
        }
        let owner = world.lockouts.begin(&owner(16), world.now).verdict.unwrap();
        assert!(owner.is_of_known_device(), "{round}");
    }
    assert!((15..=20).contains(&judged), "{judged}");
    // Strangers have theirs apart, and do not touch the owner's.
    let strangers = (0..24 * 60)
        .filter(|_| {
            world.advance(60);
            world.fail(1, None).is_some()
        })
        .count();
    assert!(strangers <= 20, "{strangers}");
    assert!(world.lockouts.begin(&owner(16), world.now).verdict.unwrap().is_of_known_device());
    // Nor do they have more the next day, before the owner logs in, when it comes to the cap.
    world.advance(25 * 3600);
    let judged_later = (1..=15)
        .filter(|thief| world.begin(1, Some(*thief)).is_ok_and(|attempt| attempt.is_of_known_device()))
        .count();
    assert!(judged + judged_later <= 20, "{judged} {judged_later}");
}

fn owner(id: u8) -> Begin {
    Begin { name: name(1), caller: Caller::Device(known(id)), password: [0; 8], others_in_flight: false }
}

#[test]
fn a_session_counts_as_a_device_and_a_new_one_finds_a_place_beside_failing_ones() {
    let mut world = World::new();
    world.know(1, [1]);
    while world.fail(1, None).is_some() {}
    let session = |world: &mut World, id: u8| {
        let begun = world.begin_beside(1, asked(id), false).ok();
        let attempt = begun.filter(Attempt::is_of_known_device)?;
        Some(world.finish(attempt, AttemptOutcome::Failed { known: true }).device_demoted)
    };
    let tried: Vec<_> = (0..6).map(|_| session(&mut world, 9)).collect();
    assert_eq!(tried, [Some(false), Some(false), Some(false), Some(false), Some(true), None]);
    let right = world.begin_beside(1, asked(10), false).unwrap();
    assert!(right.is_of_known_device());
    world.finish(right, AttemptOutcome::Succeeded);
    // All sessions and devices together: eighteen, since two guesses are kept for the device.
    let all = (20..60).filter(|id| session(&mut world, *id).is_some()).count();
    assert_eq!(all + 5, 18);
    assert!(world.lockouts.begin(&owner(1), world.now).verdict.unwrap().is_of_known_device());
    world.restart();
    assert_eq!(session(&mut world, 9), None);
}

#[test]
fn stolen_sessions_use_up_no_guess_of_one_that_the_owner_opens_after_them() {
    let mut world = World::new();
    world.know(1, 1..=16);
    let fails = |world: &mut World, id: u8, proved: Timestamp| {
        let caller = Caller::Session(AskedSession { id: [id; 8], proved });
        let attempt = world.begin_beside(1, caller, false).ok().filter(Attempt::is_of_known_device)?;
        Some(world.finish(attempt, WRONG))
    };
    // Strangers have locked the name, so that who is admitted is admitted as a session.
    while world.fail(1, None).is_some() {}
    let stolen = world.now;
    world.advance(60);
    // Three guesses beside sixteen devices: then no stolen session has another.
    let judged = (20..60).filter(|id| fails(&mut world, *id, stolen).is_some()).count();
    assert_eq!(judged, 3);
    world.advance(60);
    // The owner logs in, and has a typing error in each new session: each has one guess, and no more.
    for id in 100..140 {
        let opened = world.now;
        assert!(fails(&mut world, id, opened).is_some(), "{id}");
        assert!(fails(&mut world, id, opened).is_none(), "{id}");
        assert!(fails(&mut world, 60, stolen).is_none(), "a stolen one gains by it");
        world.advance(60);
    }
    let right = Caller::Session(AskedSession { id: [200; 8], proved: world.now });
    assert!(world.begin_beside(1, right, false).unwrap().is_of_known_device());
}

#[test]
fn a_session_that_has_used_up_its_guesses_does_not_go_on_like_a_stranger() {
    let mut world = World::new();
    let mut judged = 0;
    for _ in 0..20 {
        if let Ok(attempt) = world.begin_beside(1, asked(9), false) {
            world.finish(attempt, WRONG);
            judged += 1;
        }
    }
    assert_eq!(judged, 5);
    // A stranger, and another session, are judged all the same.
    assert!(world.begin_beside(1, Caller::Stranger, false).is_ok());
    assert!(world.begin_beside(1, asked(10), false).is_ok());
}

#[test]
fn the_device_used_last_has_a_second_try_whatever_stolen_ones_have_used_up() {
    let mut world = World::new();
    world.know(1, 1..=16);
    world.advance(3600);
    world.know(1, [7]);
    for _ in 0..5 {
        for id in (1..=16).filter(|id| *id != 7) {
            let thief = world.begin(1, Some(id)).ok().filter(Attempt::is_of_known_device);
            if let Some(attempt) = thief {
                world.finish(attempt, WRONG);
            }
        }
    }
    while world.fail(1, None).is_some() {}
    // The owner mistypes, and then does not.
    let mistyped = world.begin(1, Some(7)).unwrap();
    assert!(mistyped.is_of_known_device());
    world.finish(mistyped, WRONG);
    assert!(world.begin(1, Some(7)).unwrap().is_of_known_device());
}

#[test]
fn three_guesses_are_kept_for_sessions_when_devices_fail() {
    let mut world = World::new();
    world.know(1, 1..=16);
    let mut judged = 0;
    for _ in 0..5 {
        for id in 1..=16 {
            let as_device = world.begin(1, Some(id)).ok().filter(Attempt::is_of_known_device);
            judged += as_device.into_iter().map(|attempt| world.finish(attempt, WRONG)).count();
        }
    }
    // Each has one, and the one used last has a second.
    assert_eq!(judged, 17);
    let by_session = (0..9).filter(|_| {
        let begun = world.begin_beside(1, asked(9), false).ok();
        begun.is_some_and(|attempt| {
            world.finish(attempt, WRONG);
            attempt.is_of_known_device()
        })
    });
    assert_eq!(by_session.count(), 3);
}

#[test]
fn a_seventeenth_failing_session_takes_no_place_within_the_day() {
    let mut world = World::new();
    // Strangers have locked the name, so that a session without a place is refused like them.
    while world.fail(1, None).is_some() {}
    let fails = |world: &mut World, id: u8| {
        let begun = world.begin_beside(1, asked(id), false).ok();
        begun.map(|attempt| world.finish(attempt, WRONG)).is_some()
    };
    assert_eq!((1..=20).filter(|id| fails(&mut world, *id)).count(), 16);
    world.advance(24 * 3600);
    while world.fail(1, None).is_some() {}
    assert!(fails(&mut world, 21));
}

#[test]
fn a_device_of_another_epoch_or_account_or_of_last_year_is_a_stranger() {
    let mut world = World::new();
    world.know(1, [1]);
    let is_known = |world: &mut World, device| {
        let begun = world.begin_beside(1, Caller::Device(device), false);
        let attempt = begun.unwrap();
        world.finish(attempt, AttemptOutcome::Returned);
        attempt.is_of_known_device()
    };
    assert!(is_known(&mut world, known(1)));
    assert!(!is_known(&mut world, Device { epoch: 2, ..known(1) }));
    assert!(!is_known(&mut world, Device { account: [4; 16], ..known(1) }));
    assert!(!is_known(&mut world, known(2)));
    // The first log-in of the next epoch ends the devices of the one before.
    let next = Device { epoch: 2, ..known(5) };
    world.log_in(1, next, "test");
    assert!(is_known(&mut world, next));
    assert!(!is_known(&mut world, known(1)));
    assert_eq!(world.lockouts.devices(name(1), [3; 16], 1, world.now), []);
    assert_eq!(world.lockouts.devices(name(1), [3; 16], 2, world.now).len(), 1);
    world.advance(365 * 24 * 3600);
    assert!(!is_known(&mut world, next));
    world.advance(24 * 3600);
    (0..BUCKETS).for_each(|bucket| {
        world.lockouts.sweep(bucket, world.now);
    });
    assert!(world.lockouts.by_name.get(&name(1).0).is_none());
}

#[test]
fn a_program_that_never_sends_its_cookie_pushes_out_none_but_its_own() {
    let mut world = World::new();
    world.log_in(1, known(1), "Firefox");
    world.log_in(1, known(2), "Safari");
    for id in 10..200 {
        world.advance(3600);
        world.log_in(1, known(id), "curl");
    }
    let devices = world.lockouts.devices(name(1), [3; 16], 1, world.now);
    assert_eq!(devices.len(), super::super::record::DEVICES_MAX);
    assert!(devices.iter().any(|device| device.id == [1; 8]));
    assert!(devices.iter().any(|device| device.id == [2; 8]));
    assert!(devices.iter().any(|device| device.id == [199; 8]));
}

#[test]
fn the_owner_is_told_of_a_new_device_once_a_day_and_family_but_not_of_the_first() {
    let mut world = World::new();
    assert_ne!(world.log_in(1, known(1), "Firefox").new_device, NewDevice::Told);
    assert_ne!(world.log_in(1, known(1), "Firefox").new_device, NewDevice::Told);
    assert_eq!(world.log_in(1, known(2), "Firefox").new_device, NewDevice::Told);
    assert_ne!(world.log_in(1, known(3), "Firefox").new_device, NewDevice::Told);
    assert_eq!(world.log_in(1, known(4), "Safari").new_device, NewDevice::Told);
    world.restart();
    assert_ne!(world.log_in(1, known(5), "Safari").new_device, NewDevice::Told);
    world.advance(24 * 3600);
    assert_eq!(world.log_in(1, known(6), "Safari").new_device, NewDevice::Told);
    // After the devices have ended, the next one is new again.
    assert_eq!(world.log_in(1, Device { epoch: 2, ..known(7) }, "Opera").new_device, NewDevice::Told);
    let told = (0..30)
        .filter(|id| {
            let device = Device { epoch: 2, ..known(100 + id) };
            world.log_in(1, device, &format!("family {id}")).new_device == NewDevice::Told
        })
        .count();
    assert_eq!(told + 2, super::super::record::NOTICES_MAX);
    let mute = UsedDevice::new(known(99), &"é".repeat(40), false);
    assert_eq!(mute.family.len(), super::super::record::FAMILY_BYTES_MAX);
}

#[test]
fn a_charge_in_flight_is_a_failure_to_nobody_else() {
    let mut world = World::new();
    world.know(1, [1]);
    for caller in [Caller::Stranger, Caller::Device(known(1))] {
        // Five are in flight. The sixth waits for them, and is refused only once they have failed.
        let in_flight: Vec<_> = (0..5).map(|_| world.begin_beside(1, caller, true).unwrap()).collect();
        assert_eq!(world.begin_beside(1, caller, true), Err(Refused::InFlight));
        let (right, wrong) = in_flight.split_last().unwrap();
        for (attempt, left) in wrong.iter().zip((1..5).rev()) {
            let settled = world.finish_beside(*attempt, AttemptOutcome::Failed { known: true }, left);
            assert_eq!(settled, Settled::default());
        }
        assert_eq!(world.begin_beside(1, caller, true), Err(Refused::InFlight));
        world.finish(*right, AttemptOutcome::Succeeded);
        assert!(world.begin_beside(1, caller, false).is_ok());
        let returned = world.begin_beside(1, caller, false).unwrap();
        world.finish(returned, AttemptOutcome::Returned);
    }
    // A device that fails in parallel is known no longer when the last of its attempts has failed.
    let mut world = World::new();
    world.know(1, [1]);
    let in_flight: Vec<_> = (0..5).map(|_| world.begin(1, Some(1)).unwrap()).collect();
    let demoted: Vec<_> = in_flight
        .into_iter()
        .zip((0..5).rev())
        .map(|(attempt, left)| {
            world.finish_beside(attempt, AttemptOutcome::Failed { known: true }, left).device_demoted
        })
        .collect();
    assert_eq!(demoted, [false, false, false, false, true]);
}

#[test]
fn a_charge_that_is_given_back_leaves_no_trace() {
    let mut world = World::new();
    world.know(1, [1]);
    let before = world.lockouts.by_name.get(&name(1).0).cloned().unwrap();
    for caller in [Caller::Stranger, Caller::Device(known(1)), asked(8)] {
        for _ in 0..30 {
            let attempt = world.begin_beside(1, caller, false).unwrap();
            world.advance(1);
            world.finish(attempt, AttemptOutcome::Returned);
        }
        let after = world.lockouts.by_name.get(&name(1).0).cloned().unwrap();
        assert_eq!(CountV2 { last_ms: 0, ..after }, before, "{caller:?}");
    }
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
    world.know(1, [1]);
    let mut failures = 0;
    // The other twenty of the cap are those of known devices.
    while failures < 80 {
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
fn a_stranger_of_any_patience_gets_twenty_guesses_a_day_and_eighty_ever() {
    const DAY_SECS: u64 = 24 * 3600;
    let eager = |_, _| 1;
    let in_a_day = guesses_within(DAY_SECS, eager);
    assert_eq!(in_a_day, 20);
    assert_eq!(guesses_within(30 * DAY_SECS, |_, _| 60), 80);
    // A guesser who waits until the ladder is forgotten and begins anew.
    for burst in [4, 5, 11, 30] {
        let patient = move |guesses: u64, refused| {
            if guesses.is_multiple_of(burst) && refused == 0 { DAY_SECS } else { 600 }
        };
        assert_eq!(guesses_within(60 * DAY_SECS, patient), 80, "{burst}");
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
    assert_eq!(world.lockouts.unknown, world.lockouts.by_name.len() - 1);
    assert!(world.lockouts.by_name.get(&name(0).0).is_some());
    let before: Vec<_> = (0..40).map(|n| world.lockouts.by_name.get(&name(n).0).cloned()).collect();
    world.restart();
    let after: Vec<_> = (0..40).map(|n| world.lockouts.by_name.get(&name(n).0).cloned()).collect();
    assert_eq!(before, after);
}

#[test]
fn an_operator_sees_how_a_name_stands() {
    let mut world = World::new();
    let state = |world: &World| world.lockouts.state_of(name(1), world.now);
    let cold = LockState { failures: 0, locked_until: None, guesses_left: 80, device_guesses_left: 20 };
    assert_eq!(state(&world), cold);
    for failures in 1..=5 {
        let attempt = world.begin(1, None).unwrap();
        world.finish(attempt, WRONG);
        assert_eq!(state(&world).failures, failures);
        assert_eq!(state(&world).guesses_left, 80 - failures);
    }
    assert_eq!(state(&world).locked_until, Some(START + LIMITS.first_lock));
    world.now = START + LIMITS.first_lock;
    assert_eq!(state(&world).locked_until, None);
    world.now = START + LIMITS.forget;
    // The ladder is forgotten, the cap is not.
    assert_eq!(state(&world), LockState { guesses_left: 75, ..cold });
    let cleared = world.lockouts.clear(name(1), world.now);
    world.settle(cleared);
    assert_eq!(state(&world), cold);
}
