//! A hashing thread, and the handoff by which it takes jobs and returns results.
//!
//! A hashing thread runs under a background policy, so it may be preempted for long at any point. It therefore shares
//! no lock with an event loop and wakes none: it takes its job from its handoff and leaves the result there. Only the
//! pool's dispatcher, which runs at normal priority, uses the other side of the handoff.

use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::oneshot;

use super::argon2id::Implementation;
use super::cost::{Cost, EqualCost};
use super::foreign::stored::{Foreign, burn};
use super::foreign::{EqualWork, FastDigest, ForeignCost, Step, Stored, StoredCost};
use super::job::{Shed, Verified};
use super::phc::{Phc, hash};
use super::policy::{Advice, Policy, Weakness};
use super::typed::Password;
use crate::system::clock::Clock;
use crate::system::lock::Mutex;
use crate::system::scheduling::BackgroundPolicy;

/// After this time without a job a thread releases its memory.
const RELEASE_AFTER: Duration = Duration::from_secs(30);

/// The answer of a job, or why it was not done.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Shed>>;

/// A password, what to do with it, and the channel for the result.
pub(super) enum Work {
    /// Check the password against a PHC string, or against the decoy, at the cost that every check has.
    Verify(Password, Against, EqualWork, Answer<Verified>),
    /// Hash the password with this salt.
    Hash(Password, [u8; 16], Answer<String>),
    /// Hash the digest of another system with this salt.
    Wrap(FastDigest, [u8; 16], Answer<String>),
    /// Judge a new password, and hash it with this salt if it is accepted.
    Accept(NewPassword, [u8; 16], Answer<Result<String, Vec<Weakness>>>),
    /// Judge a new password, and return advice.
    Advise(NewPassword, Answer<Advice>),
}

/// What a password is checked against.
pub(super) enum Against {
    /// The stored text of an account.
    Stored(String),
    /// The PHC string of the decoy. It is copied and read like a stored one, so that both take the same time.
    Decoy(String),
}

/// A password that is to be set, and what it is judged by.
pub(super) struct NewPassword {
    pub(super) password: Password,
    /// The address of its account, at most [`NAME_BYTES_MAX`](crate::value::account_name::NAME_BYTES_MAX) long.
    pub(super) email: String,
    pub(super) policy: Arc<Policy>,
}

impl Work {
    /// Answers that the job is not done. A receiver that is gone needs no answer.
    pub(super) fn shed(self, shed: Shed) {
        match self {
            Self::Verify(.., answer) => drop(answer.send(Err(shed))),
            Self::Hash(.., answer) | Self::Wrap(.., answer) => drop(answer.send(Err(shed))),
            Self::Accept(.., answer) => drop(answer.send(Err(shed))),
            Self::Advise(.., answer) => drop(answer.send(Err(shed))),
        }
    }

    /// Returns how many times the work of one hash of cost `own` the job may take.
    pub(super) fn hashes_of(&self, own: Cost) -> u32 {
        let Self::Verify(password, against, equal, _) = self else { return 1 };
        let stored_kib = match against {
            Against::Stored(text) => match StoredCost::of(text) {
                Some(StoredCost::Foreign(cost)) => cost.as_kib(),
                _ => 0,
            },
            Against::Decoy(_) => 0,
        };
        let native = equal.native.unwrap_or(EqualCost::of(own)).dearest.work();
        let work = native.saturating_add(equal.foreign_kib().max(stored_kib));
        let times = work.div_ceil(own.work().max(1)).max(1);
        let forms = password.forms(equal.tries_as_typed).count();
        u32::try_from(times).unwrap_or(u32::MAX).saturating_mul(u32::try_from(forms).unwrap_or(1))
    }
}

enum Outcome {
    Verified(Verified, Answer<Verified>),
    /// `None` if argon2 refuses the cost.
    Hashed(Option<String>, Answer<String>),
    Judged(Result<Option<String>, Vec<Weakness>>, Answer<Result<String, Vec<Weakness>>>),
    Advised(Advice, Answer<Advice>),
}

/// What the time of a job says something about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Measured {
    /// The time of a hash.
    Hash,
    /// The time of judging a password.
    Check,
    /// Neither: a new password was refused, so it was not hashed.
    Nothing,
}

/// The result of a job, on its way back to the dispatcher.
pub(super) struct Finished {
    outcome: Outcome,
    /// How long the job took.
    pub(super) took: Duration,
    pub(super) effort: Effort,
}

/// The work of a job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    /// The memory that our own hashes have filled in all passes, in KiB.
    pub(super) filled_kib: u64,
    /// The work of hashes of other systems, as if argon2id had filled so many KiB.
    pub(super) foreign_kib: u64,
}

impl Finished {
    /// Says what the time of the job is a measure of.
    pub(super) const fn measured(&self) -> Measured {
        match self.outcome {
            Outcome::Verified(..) | Outcome::Hashed(..) | Outcome::Judged(Ok(_), _) => Measured::Hash,
            Outcome::Judged(Err(_), _) => Measured::Nothing,
            Outcome::Advised(..) => Measured::Check,
        }
    }

    /// Sends the result to the caller that waits for it.
    pub(super) fn answer(self) {
        match self.outcome {
            Outcome::Verified(verified, answer) => drop(answer.send(Ok(verified))),
            Outcome::Hashed(Some(text), answer) => drop(answer.send(Ok(text))),
            Outcome::Judged(Ok(Some(text)), answer) => drop(answer.send(Ok(Ok(text)))),
            Outcome::Judged(Err(found), answer) => drop(answer.send(Ok(Err(found)))),
            Outcome::Advised(advice, answer) => drop(answer.send(Ok(advice))),
            Outcome::Hashed(None, _) | Outcome::Judged(Ok(None), _) => {}
        }
    }
}

enum Order {
    Do(Work),
    End,
}

/// Holds one job on its way to a thread, and its result on the way back.
pub(super) struct Handoff {
    /// Number of the thread.
    pub(super) number: usize,
    /// Scheduling policy of the thread.
    pub(super) policy: BackgroundPolicy,
    order: Mutex<Option<Order>>,
    finished: Mutex<Option<Finished>>,
    thread: OnceLock<Thread>,
}

impl Handoff {
    pub(super) const fn new(number: usize, policy: BackgroundPolicy) -> Self {
        Self { number, policy, order: Mutex::new(None), finished: Mutex::new(None), thread: OnceLock::new() }
    }

    /// Gives a job to the thread, which must be free.
    pub(super) fn give(&self, work: Work) {
        self.order(Order::Do(work));
    }

    /// Takes the job back, if the thread has not begun it.
    pub(super) fn take_back(&self) -> Option<Work> {
        let mut order = self.order.try_lock()?;
        match order.take() {
            Some(Order::Do(work)) => Some(work),
            other => {
                *order = other;
                None
            }
        }
    }

    /// Ends the thread once the job that it has begun is finished.
    pub(super) fn close(&self) {
        self.order(Order::End);
    }

    fn order(&self, order: Order) {
        *self.order.lock() = Some(order);
        // A thread that has not started yet reads the order before it sleeps.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Takes the result, if there is one. A thread that is just writing it wakes the dispatcher afterwards, so the
    /// dispatcher need not wait for the lock.
    pub(super) fn collect(&self) -> Option<Finished> {
        self.finished.try_lock()?.take()
    }
}

/// The state that a hashing thread owns: its implementation of argon2id with its memory, and the hand-off it takes work from.
pub(super) struct Hasher {
    pub(super) implementation: Implementation,
    /// Cost of new hashes.
    pub(super) cost: Cost,
    /// A hash that no password matches.
    pub(super) decoy: Phc,
    pub(super) clock: Clock,
    /// Woken after each job.
    pub(super) dispatcher: Thread,
}

impl Hasher {
    /// Does the jobs of `handoff` until it is closed.
    pub(super) fn run(mut self, handoff: &Handoff) {
        let _ = handoff.thread.set(thread::current());
        let mut idle_since = self.clock.steady();
        loop {
            let order = handoff.order.lock().take();
            match order {
                Some(Order::Do(work)) => {
                    let begin = self.clock.steady();
                    let (outcome, effort) = self.perform(work);
                    idle_since = self.clock.steady();
                    let took = idle_since.duration_since(begin);
                    *handoff.finished.lock() = Some(Finished { outcome, took, effort });
                    self.dispatcher.unpark();
                }
                Some(Order::End) => return,
                None => {
                    thread::park_timeout(RELEASE_AFTER);
                    if self.clock.steady().duration_since(idle_since) >= RELEASE_AFTER {
                        self.implementation.release();
                    }
                }
            }
        }
    }

    /// Does a job. Returns its outcome and its work.
    fn perform(&mut self, work: Work) -> (Outcome, Effort) {
        let hashed = Effort { filled_kib: self.cost.work(), foreign_kib: 0 };
        match work {
            Work::Verify(password, against, equal, answer) => {
                let (verified, effort) = self.verify(&password, &against, &equal);
                (Outcome::Verified(verified, answer), effort)
            }
            Work::Hash(password, salt, answer) => {
                (Outcome::Hashed(self.hash(&password, salt), answer), hashed)
            }
            Work::Wrap(digest, salt, answer) => {
                let text = digest.wrap(self.cost, salt, &mut self.implementation).ok();
                (Outcome::Hashed(text, answer), hashed)
            }
            Work::Accept(NewPassword { password, email, policy }, salt, answer) => {
                match policy.judge(&password, &email) {
                    Ok(()) => (Outcome::Judged(Ok(self.hash(&password, salt)), answer), hashed),
                    Err(found) => (Outcome::Judged(Err(found), answer), Effort::default()),
                }
            }
            Work::Advise(NewPassword { password, email, policy }, answer) => {
                (Outcome::Advised(policy.advise(&password, &email), answer), Effort::default())
            }
        }
    }

    fn hash(&mut self, password: &Password, salt: [u8; 16]) -> Option<String> {
        hash(password.as_bytes(), self.cost, salt, &mut self.implementation).ok()
    }

    /// Checks `password`. Returns the result and the work.
    ///
    /// Security: a string that cannot be used matches nothing, and is replaced by the decoy. Every check takes the work of
    /// the dearest stored hash, and as much as the dearest of each other system of which a hash is stored. All forms of a
    /// password are tried even if the first matches. The empty password, which stands for those that no account can have,
    /// matches nothing. Nor does one with a NUL match a hash of another system: most of those end at it, or take it for nothing.
    fn verify(&mut self, password: &Password, against: &Against, equal: &EqualWork) -> (Verified, Effort) {
        let (is_stored, text) = match against {
            Against::Stored(text) => (true, text),
            Against::Decoy(text) => (false, text),
        };
        let stored = Stored::parse(text).ok().filter(|_| is_stored);
        let native = equal.native.unwrap_or(EqualCost::of(self.cost));
        let decoy = || self.decoy.clone().with_cost(native.decoy);
        let (phc, wrapped, foreign) = match &stored {
            Some(Stored::Native(phc)) => (phc.clone(), None, None),
            Some(Stored::Wrapped(wrapped)) => (wrapped.phc().clone(), Some(wrapped), None),
            Some(Stored::Foreign(foreign)) => (decoy(), None, Some(foreign)),
            None => (decoy(), None, None),
        };
        let is_by_argon2id = stored.is_some() && foreign.is_none();
        let steps = equal.steps(foreign.map(Foreign::cost));
        let is_others = wrapped.is_some() || foreign.is_some();
        let mut effort = Effort::default();
        let mut matches = false;
        let mut is_other_form = false;
        let mut is_cut = false;
        for (number, form) in password.forms(equal.tries_as_typed || is_others).enumerate() {
            let digest = wrapped.map(|wrapped| wrapped.digest(form));
            let hashed = digest.as_ref().map_or(form, |digest| digest.as_slice());
            let is_equal = phc.matches(hashed, &mut self.implementation).unwrap_or(false);
            let mut is_right = is_equal && is_by_argon2id;
            effort.filled_kib += phc.cost().work();
            if let Some(missing) = phc.cost().missing_to(native.dearest) {
                let _ = self.decoy.clone().with_cost(missing).matches(form, &mut self.implementation);
                effort.filled_kib += missing.work();
            }
            for step in &steps {
                let cost = match step {
                    Step::Own => foreign.map(|foreign| {
                        is_right |= foreign.matches(form, &mut self.implementation);
                        foreign.cost()
                    }),
                    Step::Decoy(cost) => {
                        burn(*cost, form, &mut self.implementation);
                        Some(*cost)
                    }
                };
                effort.foreign_kib += cost.map_or(0, ForeignCost::as_kib);
            }
            let is_right = is_right && !form.is_empty() && !(is_others && form.contains(&0));
            is_cut |= is_right && foreign.is_some_and(|foreign| foreign.cuts(form));
            is_other_form |= is_right && number > 0 && !matches;
            matches |= is_right;
        }
        let is_old =
            !is_by_argon2id || is_others || phc.is_outdated(self.cost, &self.implementation) || is_other_form;
        // What was cut off may be anything. Hashed with it, the password of the owner would no longer match.
        let needs_rehash = is_old && !is_cut;
        (Verified { matches, needs_rehash }, effort)
    }
}
