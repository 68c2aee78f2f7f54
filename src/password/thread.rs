//! A hashing thread, and the handoff by which it takes jobs and returns results.
//!
//! A hashing thread runs under a background policy, so it may be preempted for long at any point. It therefore shares
//! no lock with an event loop and wakes none: it takes its job from its handoff and leaves the result there. Only the
//! pool's dispatcher, which runs at normal priority, uses the other side of the handoff.

use std::sync::OnceLock;
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::oneshot;

use super::argon2id::Implementation;
use super::cost::Cost;
use super::job::{Shed, Verified};
use super::phc::{Phc, hash};
use super::typed::Password;
use crate::system::clock::Clock;
use crate::system::lock::Mutex;
use crate::system::scheduling::BackgroundPolicy;

/// After this time without a job a thread releases its memory.
const RELEASE_AFTER: Duration = Duration::from_secs(30);

/// A password, what to do with it, and the channel for the result.
pub(super) enum Work {
    /// Check the password against a PHC string.
    Verify(Password, String, oneshot::Sender<Result<Verified, Shed>>),
    /// Hash the password with this salt.
    Hash(Password, [u8; 16], oneshot::Sender<Result<String, Shed>>),
}

impl Work {
    /// Answers that the job is not done. A receiver that is gone needs no answer.
    pub(super) fn shed(self, shed: Shed) {
        match self {
            Self::Verify(_, _, answer) => drop(answer.send(Err(shed))),
            Self::Hash(_, _, answer) => drop(answer.send(Err(shed))),
        }
    }
}

enum Outcome {
    Verified(Verified, oneshot::Sender<Result<Verified, Shed>>),
    /// `None` if argon2 refuses the cost.
    Hashed(Option<String>, oneshot::Sender<Result<String, Shed>>),
}

/// The result of a job, on its way back to the dispatcher.
pub(super) struct Finished {
    outcome: Outcome,
    /// How long the job took.
    pub(super) took: Duration,
}

impl Finished {
    /// Sends the result to the caller that waits for it.
    pub(super) fn answer(self) {
        match self.outcome {
            Outcome::Verified(verified, answer) => drop(answer.send(Ok(verified))),
            Outcome::Hashed(Some(text), answer) => drop(answer.send(Ok(text))),
            Outcome::Hashed(None, _) => {}
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
    /// PHC string that no password matches.
    pub(super) decoy: String,
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
                    let outcome = self.perform(work);
                    idle_since = self.clock.steady();
                    let took = idle_since.duration_since(begin);
                    *handoff.finished.lock() = Some(Finished { outcome, took });
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

    fn perform(&mut self, work: Work) -> Outcome {
        match work {
            Work::Verify(password, text, answer) => Outcome::Verified(self.verify(&password, &text), answer),
            Work::Hash(password, salt, answer) => {
                let text = hash(password.as_bytes(), self.cost, salt, &mut self.implementation);
                Outcome::Hashed(text.ok(), answer)
            }
        }
    }

    /// Checks `password` against the PHC string `text`.
    ///
    /// Security: a string that cannot be used matches nothing, and is replaced by the decoy so that it takes the same
    /// time.
    fn verify(&mut self, password: &Password, text: &str) -> Verified {
        let phc = Phc::parse(text);
        let needs_rehash = phc.as_ref().map_or(true, |phc| phc.is_outdated(self.cost, &self.implementation));
        let checked =
            phc.and_then(|phc| phc.matches(password.as_bytes(), &mut self.implementation)).or_else(|_| {
                let decoy = Phc::parse(&self.decoy)?;
                decoy.matches(password.as_bytes(), &mut self.implementation).map(|_| false)
            });
        Verified { matches: checked.unwrap_or(false), needs_rehash }
    }
}
