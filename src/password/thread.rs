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
    Verify(Password, Against, EqualCost, Answer<Verified>),
    /// Hash the password with this salt.
    Hash(Password, [u8; 16], Answer<String>),
    /// Judge a new password, and hash it with this salt if it is accepted.
    Accept(NewPassword, [u8; 16], Answer<Result<String, Vec<Weakness>>>),
    /// Judge a new password, and return advice.
    Advise(NewPassword, Answer<Advice>),
}

/// What a password is checked against.
pub(super) enum Against {
    /// The PHC string of an account.
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
            Self::Hash(.., answer) => drop(answer.send(Err(shed))),
            Self::Accept(.., answer) => drop(answer.send(Err(shed))),
            Self::Advise(.., answer) => drop(answer.send(Err(shed))),
        }
    }

    /// Returns how many times the work of one hash of cost `own` the job may take.
    pub(super) fn hashes_of(&self, own: Cost) -> u32 {
        let Self::Verify(password, _, equal, _) = self else { return 1 };
        let times = equal.dearest.work().div_ceil(own.work().max(1)).max(1);
        let forms = 1 + u32::from(password.as_typed().is_some());
        u32::try_from(times).unwrap_or(u32::MAX).saturating_mul(forms)
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
    /// The memory that was filled in all passes, in KiB.
    pub(super) filled_kib: u64,
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
                    let (outcome, filled_kib) = self.perform(work);
                    idle_since = self.clock.steady();
                    let took = idle_since.duration_since(begin);
                    *handoff.finished.lock() = Some(Finished { outcome, took, filled_kib });
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

    /// Does a job. Returns its outcome, and the KiB of memory that were filled in all passes.
    fn perform(&mut self, work: Work) -> (Outcome, u64) {
        match work {
            Work::Verify(password, against, equal, answer) => {
                let (verified, filled_kib) = self.verify(&password, &against, equal);
                (Outcome::Verified(verified, answer), filled_kib)
            }
            Work::Hash(password, salt, answer) => {
                (Outcome::Hashed(self.hash(&password, salt), answer), self.cost.work())
            }
            Work::Accept(NewPassword { password, email, policy }, salt, answer) => {
                match policy.judge(&password, &email) {
                    Ok(()) => (Outcome::Judged(Ok(self.hash(&password, salt)), answer), self.cost.work()),
                    Err(found) => (Outcome::Judged(Err(found), answer), 0),
                }
            }
            Work::Advise(NewPassword { password, email, policy }, answer) => {
                (Outcome::Advised(policy.advise(&password, &email), answer), 0)
            }
        }
    }

    fn hash(&mut self, password: &Password, salt: [u8; 16]) -> Option<String> {
        hash(password.as_bytes(), self.cost, salt, &mut self.implementation).ok()
    }

    /// Checks `password`. Returns the result, and the KiB that were filled.
    ///
    /// Security: a string that cannot be used matches nothing, and is replaced by the decoy. Every check takes the work of the dearest stored hash, and both forms of a password that has two are
    /// tried even if the first matches.
    fn verify(&mut self, password: &Password, against: &Against, equal: EqualCost) -> (Verified, u64) {
        let (is_stored, text) = match against {
            Against::Stored(text) => (true, text),
            Against::Decoy(text) => (false, text),
        };
        let read = Phc::parse(text);
        let is_decoy = !is_stored || read.is_err();
        let phc = read.unwrap_or_else(|_| self.decoy.clone());
        let phc = if is_decoy { phc.with_cost(equal.decoy) } else { phc };
        let mut filled_kib = 0;
        let mut try_form = |form: &[u8]| {
            let matches = phc.matches(form, &mut self.implementation).unwrap_or(false);
            filled_kib += phc.cost().work();
            if let Some(missing) = phc.cost().missing_to(equal.dearest) {
                let _ = self.decoy.clone().with_cost(missing).matches(form, &mut self.implementation);
                filled_kib += missing.work();
            }
            matches && !is_decoy
        };
        let matches = try_form(password.as_bytes());
        let matches_as_typed = password.as_typed().is_some_and(&mut try_form);
        let needs_rehash =
            is_decoy || phc.is_outdated(self.cost, &self.implementation) || (matches_as_typed && !matches);
        (Verified { matches: matches || matches_as_typed, needs_rehash }, filled_kib)
    }
}
