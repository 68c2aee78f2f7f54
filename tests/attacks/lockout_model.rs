//! Lockout under an owner, strangers and a thief of many devices, who act in any order, in parallel, hanging up, and over
//! restarts.
//!
//! The model counts what each of them may do, from the words of the rule alone. The rule itself is under test.

use std::collections::VecDeque;
use std::time::Duration;

use portcullis::registry::lockout::{
    AskedSession, Attempt, AttemptOutcome, Begin, Caller, CountV2, Device, Finish, Limits, Lockouts,
    UsedDevice,
};
use portcullis::registry::record::Write;
use portcullis::system::clock::Timestamp;
use portcullis::value::account_name::NameKey;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

const NAME: NameKey = NameKey([9; 16]);
const OWNERS: u8 = 200;
/// The thief has this many cookies of devices. The account has sixteen devices at most.
const STOLEN: u8 = 15;
const DAY_SECS: u64 = 24 * 3600;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// The owner logs in on a known device, with the right password or a typing error.
    Owner { errs: bool },
    /// A stranger guesses. The client waits for the answer, or it hangs up before or after the hash has begun.
    Stranger(HangUp),
    /// Fifty strangers guess at once.
    Flood,
    /// The thief guesses with one of the stolen devices.
    Thief { with: u8, hang_up: HangUp },
    /// The thief guesses with every stolen device at once, some times each.
    Storm { each: u8 },
    /// The thief guesses with a stolen session, where the password is asked for again.
    Session { with: u8 },
    /// The owner ends the lockout by the mailed link.
    Unlock,
    /// Time passes, in seconds.
    Wait(u64),
    /// The server restarts. What was in flight stays charged.
    Restart,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HangUp {
    No,
    /// The hash had not begun: the attempt is given back, and nothing was judged.
    Early,
    /// The hash had begun: the attempt is settled.
    Late,
}

/// What the owner may do, by the words of the rule.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Typing errors on the owner's device since its last success.
    owner_errs: u32,
    /// The same before the last act.
    errs_before: u32,
}

fn hang_up() -> impl Strategy<Value = HangUp> {
    prop_oneof![2 => Just(HangUp::No), 1 => Just(HangUp::Early), 1 => Just(HangUp::Late)]
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Act> {
        prop_oneof![
            4 => prop::bool::weighted(0.3).prop_map(|errs| Act::Owner { errs }),
            12 => hang_up().prop_map(Act::Stranger),
            1 => Just(Act::Flood),
            6 => (0..STOLEN, hang_up()).prop_map(|(with, hang_up)| Act::Thief { with, hang_up }),
            1 => (1_u8..8).prop_map(|each| Act::Storm { each }),
            2 => (0_u8..30).prop_map(|with| Act::Session { with }),
            1 => Just(Act::Unlock),
            8 => prop_oneof![0_u64..120, 0_u64..7200, 0_u64..3 * DAY_SECS].prop_map(Act::Wait),
            1 => Just(Act::Restart),
        ]
        .boxed()
    }

    fn apply(mut state: Self, act: &Act) -> Self {
        state.errs_before = state.owner_errs;
        match act {
            // A device that is known no longer comes in like a stranger, and is known again by that.
            Act::Owner { errs: false } => state.owner_errs = 0,
            Act::Owner { errs: true } => state.owner_errs += 1,
            _ => {}
        }
        state
    }
}

/// The rule under test, with its journal and the guesses that it let pass.
struct Rule {
    names: Lockouts,
    journal: Vec<Write<CountV2>>,
    now: Timestamp,
    passwords: u64,
    /// When a guess of anybody but the owner was judged.
    guesses: VecDeque<Timestamp>,
    /// The same, of those that were judged as known devices or sessions.
    device_guesses: VecDeque<Timestamp>,
    /// Guesses of all but the owner since the owner's last act.
    since_owner: u32,
    /// Whether the owner's device was known when the owner last used it, for the right password.
    owner_in: bool,
}

const LIMITS: Limits = Limits {
    failures: 5,
    cap: 100,
    first_lock: Duration::from_mins(1),
    max_lock: Duration::from_hours(1),
    forget: Duration::from_hours(24),
    names_max: 100,
};

const fn device(id: u8) -> Caller {
    Caller::Device(known(id))
}

/// A session that the owner opened before it was stolen.
const fn stolen_session(id: u8) -> Caller {
    Caller::Session(AskedSession { id: [id; 8], proved: Timestamp::from_secs(1) })
}

const fn known(id: u8) -> Device {
    Device { id: [id; 8], account: [1; 16], epoch: 0 }
}

impl Rule {
    /// Begins an attempt with a password that was not typed before; `None` if it is refused.
    fn begin(&mut self, caller: Caller) -> Option<Attempt> {
        self.passwords += 1;
        let password = self.passwords.to_le_bytes();
        let begin = Begin { name: NAME, caller, password, others_in_flight: false };
        let decision = self.names.begin(&begin, self.now);
        self.write(decision.writes);
        decision.verdict.ok()
    }

    fn finish(&mut self, attempt: Attempt, outcome: AttemptOutcome, device: Option<UsedDevice>) {
        let decision =
            self.names.finish(&Finish { attempt, outcome, device, in_flight: 0, account: None }, self.now);
        if matches!(outcome, AttemptOutcome::Failed { .. }) {
            self.names.note_failure(&attempt, self.now);
        }
        self.write(decision.writes);
    }

    fn write(&mut self, writes: Vec<Write<CountV2>>) {
        for write in writes {
            self.journal.push(write.clone());
            self.names.apply(write);
        }
    }

    /// Guesses as `caller`.
    fn guess(&mut self, caller: Caller, hang_up: HangUp) {
        let Some(attempt) = self.begin(caller) else { return };
        if hang_up == HangUp::Early {
            return self.finish(attempt, AttemptOutcome::Returned, None);
        }
        self.judge(attempt);
        self.finish(attempt, AttemptOutcome::Failed { known: true }, None);
    }

    /// Counts a guess whose password is compared.
    fn judge(&mut self, attempt: Attempt) {
        self.since_owner += 1;
        self.guesses.push_back(self.now);
        if attempt.is_of_known_device() {
            self.device_guesses.push_back(self.now);
        }
    }

    /// Begins all attempts before the first of them is settled.
    fn at_once(&mut self, callers: impl IntoIterator<Item = Caller>) {
        let attempts: Vec<_> = callers.into_iter().filter_map(|caller| self.begin(caller)).collect();
        for attempt in attempts {
            self.judge(attempt);
            self.finish(attempt, AttemptOutcome::Failed { known: true }, None);
        }
    }
}

struct Lockout;

impl StateMachineTest for Lockout {
    type SystemUnderTest = Rule;
    type Reference = Model;

    fn init_test(_: &Model) -> Rule {
        let mut rule = Rule {
            names: Lockouts::new(LIMITS),
            journal: Vec::new(),
            now: Timestamp::from_secs(1_800_000_000),
            passwords: 0,
            guesses: VecDeque::new(),
            device_guesses: VecDeque::new(),
            since_owner: 0,
            owner_in: true,
        };
        for id in (0..STOLEN).chain([OWNERS]) {
            let listed = rule.names.list(NAME, &UsedDevice::new(known(id), "test", true), rule.now);
            rule.write(listed.writes);
        }
        rule
    }

    fn apply(mut rule: Rule, model: &Model, act: Act) -> Rule {
        match act {
            Act::Owner { errs } => {
                let attempt = rule.begin(device(OWNERS));
                // Invariant: a device that has not failed since its last success is always admitted, as a known one.
                if rule.owner_in && model.errs_before == 0 {
                    let is_known = attempt.is_some_and(|attempt| attempt.is_of_known_device());
                    assert!(is_known, "the owner was locked out");
                }
                let Some(attempt) = attempt else {
                    rule.owner_in = false;
                    return rule;
                };
                if errs {
                    rule.finish(attempt, AttemptOutcome::Failed { known: true }, None);
                    return rule;
                }
                let used = UsedDevice::new(known(OWNERS), "test", true);
                rule.finish(attempt, AttemptOutcome::Succeeded, Some(used));
                rule.owner_in = true;
                rule.since_owner = 0;
                if !attempt.is_of_known_device() {
                    // The owner came in like a stranger, which resets the lockout as well.
                    rule.guesses.clear();
                }
            }
            Act::Stranger(hang_up) => rule.guess(Caller::Stranger, hang_up),
            Act::Flood => rule.at_once((0..50).map(|_| Caller::Stranger)),
            Act::Thief { with, hang_up } => rule.guess(device(with), hang_up),
            Act::Storm { each } => {
                rule.at_once((0..each).flat_map(|_| (0..STOLEN).map(device)));
            }
            Act::Session { with } => rule.guess(stolen_session(with), HangUp::No),
            Act::Unlock => {
                let decision = rule.names.clear(NAME, rule.now);
                rule.write(decision.writes);
                rule.since_owner = 0;
                rule.guesses.clear();
            }
            Act::Wait(secs) => {
                rule.now = rule.now + Duration::from_secs(secs);
                for bucket in 0..portcullis::journal::format::buckets::BUCKETS {
                    rule.names.sweep(bucket, rule.now);
                }
            }
            Act::Restart => {
                rule.names = Lockouts::new(LIMITS);
                for write in rule.journal.clone() {
                    rule.names.apply(write);
                }
            }
        }
        rule
    }

    fn check_invariants(rule: &Rule, _: &Model) {
        // Invariant: no period of 24 hours holds more than 40 guesses, and more than 20 of known devices.
        for (guesses, most) in [(&rule.guesses, 40), (&rule.device_guesses, 20)] {
            for (at, first) in guesses.iter().enumerate() {
                let within = guesses.iter().skip(at);
                let count = within.take_while(|guess| guess.since(*first).as_secs() < DAY_SECS).count();
                assert!(count <= most, "{count} guesses in a day");
            }
        }
        // Invariant: no more than 100 guesses without an act of the owner.
        assert!(rule.since_owner <= 100, "{} guesses", rule.since_owner);
    }
}

proptest_state_machine::prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn owner_strangers_and_thief_each_have_what_the_rule_says(sequential 1..120 => Lockout);
}
