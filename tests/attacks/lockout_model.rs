//! Lockout under an owner, a stranger and the thief of a device, who act in any order and over restarts.
//!
//! The model counts what each of them may do, from the words of the rule alone. The rule itself is under test.

use std::time::Duration;

use portcullis::registry::lockout::{Attempt, AttemptOutcome, Begin, CountV1, Finish, Limits, Lockouts};
use portcullis::registry::record::Write;
use portcullis::system::clock::Timestamp;
use portcullis::value::account_name::NameKey;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

const NAME: NameKey = NameKey([9; 16]);
const OWNERS: [u8; 8] = [1; 8];
const STOLEN: [u8; 8] = [2; 8];
const DAY_SECS: u64 = 24 * 3600;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// The owner logs in on a known device, with the right password or a typing error.
    Owner { errs: bool },
    /// A stranger guesses, and waits for the answer or hangs up before it.
    Stranger { hangs_up: bool },
    /// Fifty strangers guess at once.
    Flood,
    /// The thief guesses with the stolen device.
    Thief,
    /// The owner ends the lockout by the mailed link.
    Unlock,
    /// Time passes, in seconds.
    Wait(u64),
    /// The server restarts.
    Restart,
}

/// What each of them may do, by the words of the rule.
#[derive(Clone, Debug, Default)]
struct Model {
    now: u64,
    /// Typing errors on the owner's device since its last success.
    owner_errs: u32,
    /// Guesses with the stolen device since an act of the owner that forgives them.
    thief: u32,
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Act> {
        prop_oneof![
            4 => any::<bool>().prop_map(|errs| Act::Owner { errs }),
            12 => any::<bool>().prop_map(|hangs_up| Act::Stranger { hangs_up }),
            1 => Just(Act::Flood),
            3 => Just(Act::Thief),
            1 => Just(Act::Unlock),
            8 => prop_oneof![0_u64..120, 0_u64..7200, 0_u64..3 * DAY_SECS].prop_map(Act::Wait),
            1 => Just(Act::Restart),
        ]
        .boxed()
    }

    fn apply(mut state: Self, act: &Act) -> Self {
        match act {
            Act::Owner { errs: false } if state.owner_errs < 5 => state.owner_errs = 0,
            Act::Owner { .. } => state.owner_errs += 1,
            Act::Thief => state.thief += 1,
            Act::Unlock => {
                state.owner_errs = 0;
                state.thief = 0;
            }
            Act::Wait(secs) => state.now += secs,
            Act::Stranger { .. } | Act::Flood | Act::Restart => {}
        }
        state
    }
}

/// The rule under test, with its journal and the guesses that it let pass.
struct Rule {
    names: Lockouts,
    journal: Vec<Write<CountV1>>,
    now: Timestamp,
    passwords: u64,
    /// When a guess of a stranger, or of the thief once treated as a stranger, was checked or charged.
    guesses: Vec<Timestamp>,
    /// Guesses of all others since the owner's last act.
    since_owner: u32,
    thief: u32,
}

const LIMITS: Limits = Limits {
    failures: 5,
    cap: 100,
    first_lock: Duration::from_mins(1),
    max_lock: Duration::from_hours(1),
    forget: Duration::from_hours(24),
    names_max: 100,
};

impl Rule {
    /// Begins an attempt with a password that was not typed before; `None` if it is refused.
    fn begin(&mut self, device: Option<[u8; 8]>) -> Option<Attempt> {
        self.passwords += 1;
        let begin = Begin { name: NAME, device, password: self.passwords.to_le_bytes() };
        let decision = self.names.begin(&begin, self.now);
        self.write(decision.writes);
        decision.verdict.ok()
    }

    fn finish(&mut self, attempt: Attempt, outcome: AttemptOutcome) {
        let decision = self.names.finish(Finish { attempt, outcome }, self.now);
        if outcome != AttemptOutcome::Succeeded {
            self.names.note_failure(&attempt, self.now);
        }
        self.write(decision.writes);
    }

    fn write(&mut self, writes: Vec<Write<CountV1>>) {
        for write in writes {
            self.journal.push(write.clone());
            self.names.apply(write);
        }
    }

    /// Guesses, and says whether the guess was admitted.
    fn guess(&mut self, device: Option<[u8; 8]>, hangs_up: bool) -> bool {
        let Some(attempt) = self.begin(device) else { return false };
        self.since_owner += 1;
        if device.is_none() || self.thief >= 5 {
            self.guesses.push(self.now);
        }
        if !hangs_up {
            self.finish(attempt, AttemptOutcome::Failed { known: true });
        }
        true
    }

    fn owner_acted(&mut self) {
        self.since_owner = 0;
    }
}

struct Lockout;

impl StateMachineTest for Lockout {
    type SystemUnderTest = Rule;
    type Reference = Model;

    fn init_test(_: &Model) -> Rule {
        Rule {
            names: Lockouts::new(LIMITS),
            journal: Vec::new(),
            now: Timestamp::from_secs(1_800_000_000),
            passwords: 0,
            guesses: Vec::new(),
            since_owner: 0,
            thief: 0,
        }
    }

    fn apply(mut rule: Rule, model: &Model, act: Act) -> Rule {
        match act {
            Act::Owner { errs } => {
                let attempt = rule.begin(Some(OWNERS));
                // Invariant: a device with fewer than five errors since its last success is always admitted.
                let was_known = if errs { model.owner_errs <= 5 } else { model.owner_errs == 0 };
                if was_known {
                    assert!(attempt.is_some(), "the owner was locked out");
                }
                let Some(attempt) = attempt else { return rule };
                if errs {
                    rule.finish(attempt, AttemptOutcome::Failed { known: true });
                } else {
                    rule.finish(attempt, AttemptOutcome::Succeeded);
                    rule.owner_acted();
                    if model.owner_errs > 0 {
                        // The owner came in like a stranger, which resets the lockout as well.
                        rule.guesses.clear();
                    }
                }
            }
            Act::Stranger { hangs_up } => {
                rule.guess(None, hangs_up);
            }
            Act::Flood => {
                let attempts: Vec<_> = (0..50).filter_map(|_| rule.begin(None)).collect();
                for attempt in attempts {
                    rule.since_owner += 1;
                    rule.guesses.push(rule.now);
                    rule.finish(attempt, AttemptOutcome::Failed { known: true });
                }
            }
            Act::Thief => {
                let is_device = rule.thief < 5;
                let admitted = rule.guess(Some(STOLEN), false);
                // Invariant: the thief has five guesses as a device, and then those of a stranger.
                if is_device {
                    assert!(admitted, "the stolen device was refused too early");
                }
                rule.thief += u32::from(is_device);
            }
            Act::Unlock => {
                let decision = rule.names.clear(NAME, rule.now);
                rule.write(decision.writes);
                rule.owner_acted();
                rule.guesses.clear();
                rule.thief = 0;
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
        // Invariant: no period of 24 hours holds more than 40 guesses of strangers.
        for (at, first) in rule.guesses.iter().enumerate() {
            let within = rule.guesses.iter().skip(at);
            let count = within.take_while(|guess| guess.since(*first).as_secs() < DAY_SECS).count();
            assert!(count <= 40, "{count} guesses in a day");
        }
        // Invariant: no more than 100 guesses without an act of the owner, and five of the stolen device.
        assert!(rule.since_owner <= 100 + 5, "{} guesses", rule.since_owner);
    }
}

proptest_state_machine::prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn owner_stranger_and_thief_each_have_what_the_rule_says(sequential 1..120 => Lockout);
}
