//! A hashing thread, and the seat over which work is handed to it.
//!
//! A hashing thread runs below everything else, so it may be stopped for long wherever it stands. Therefore it shares no
//! lock with an event loop and wakes none: it takes its work from its seat and leaves what it found there, and only the
//! pool's dispatcher, which runs at full priority, comes to the seat.

use std::sync::OnceLock;
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Password;
use super::argon2id::Implementation;
use super::cost::Cost;
use super::job::{Shed, Verified};
use super::phc::{Phc, hash};
use crate::system::clock::Clock;
use crate::system::lock::Mutex;
use crate::system::scheduling::BackgroundPolicy;

/// A thread that has had nothing to do for so long gives its memory back.
const IDLE: Duration = Duration::from_secs(30);

/// A password, what is to be done with it, and who waits for the answer.
pub(super) enum Work {
    Verify(Password, String, oneshot::Sender<Result<Verified, Shed>>),
    /// With the salt of its string.
    Hash(Password, [u8; 16], oneshot::Sender<Result<String, Shed>>),
}

impl Work {
    /// Refuses it. Whoever hung up meanwhile has no use for the answer.
    pub(super) fn shed(self, shed: Shed) {
        match self {
            Self::Verify(_, _, answer) => drop(answer.send(Err(shed))),
            Self::Hash(_, _, answer) => drop(answer.send(Err(shed))),
        }
    }
}

enum Found {
    Verified(Verified, oneshot::Sender<Result<Verified, Shed>>),
    /// No string when none can be made at that cost.
    Hashed(Option<String>, oneshot::Sender<Result<String, Shed>>),
}

/// What a hashing thread left in its seat.
pub(super) struct Done {
    found: Found,
    pub(super) taken: Duration,
}

impl Done {
    /// Tells whoever waits.
    pub(super) fn tell(self) {
        match self.found {
            Found::Verified(verified, answer) => drop(answer.send(Ok(verified))),
            Found::Hashed(Some(text), answer) => drop(answer.send(Ok(text))),
            Found::Hashed(None, _) => {}
        }
    }
}

enum Order {
    Do(Work),
    End,
}

/// Holds one job on its way to a thread, and its answer on the way back.
pub(super) struct Handoff {
    pub(super) number: usize,
    /// Of its thread.
    pub(super) class: BackgroundPolicy,
    order: Mutex<Option<Order>>,
    done: Mutex<Option<Done>>,
    thread: OnceLock<Thread>,
}

impl Handoff {
    pub(super) const fn new(number: usize, class: BackgroundPolicy) -> Self {
        Self { number, class, order: Mutex::new(None), done: Mutex::new(None), thread: OnceLock::new() }
    }

    /// Hands a job to a thread that has none.
    pub(super) fn give(&self, work: Work) {
        self.order(Order::Do(work));
    }

    /// The job, if the thread has not begun it.
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

    /// Ends the thread when it is done with what it has begun.
    pub(super) fn close(&self) {
        self.order(Order::End);
    }

    fn order(&self, order: Order) {
        *self.order.lock() = Some(order);
        // A thread that is not there yet looks before it sleeps.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// What the thread has found, if it is done. One that is just leaving it there wakes the dispatcher afterwards.
    pub(super) fn collect(&self) -> Option<Done> {
        self.done.try_lock()?.take()
    }
}

/// What a hashing thread works with.
pub(super) struct Hasher {
    pub(super) implementation: Implementation,
    pub(super) cost: Cost,
    pub(super) decoy: String,
    pub(super) clock: Clock,
    pub(super) dispatcher: Thread,
}

impl Hasher {
    /// Does what comes to its seat until that is closed.
    pub(super) fn work(mut self, handoff: &Handoff) {
        let _ = handoff.thread.set(thread::current());
        let mut since = self.clock.steady();
        loop {
            let order = handoff.order.lock().take();
            match order {
                Some(Order::Do(work)) => {
                    let begin = self.clock.steady();
                    let found = self.find(work);
                    since = self.clock.steady();
                    *handoff.done.lock() = Some(Done { found, taken: since.duration_since(begin) });
                    self.dispatcher.unpark();
                }
                Some(Order::End) => return,
                None => {
                    thread::park_timeout(IDLE);
                    if self.clock.steady().duration_since(since) >= IDLE {
                        self.implementation.release();
                    }
                }
            }
        }
    }

    fn find(&mut self, work: Work) -> Found {
        match work {
            Work::Verify(password, text, answer) => {
                let phc = Phc::parse(&text);
                let needs_rehash = phc.as_ref().ok().map(Phc::cost) != Some(self.cost);
                // A string that cannot be used matches nothing; the decoy keeps the time the same.
                let checked = phc
                    .and_then(|phc| phc.matches(password.as_bytes(), &mut self.implementation))
                    .or_else(|_| {
                        let decoy = Phc::parse(&self.decoy)?;
                        decoy.matches(password.as_bytes(), &mut self.implementation).map(|_| false)
                    });
                Found::Verified(Verified { matches: checked.unwrap_or(false), needs_rehash }, answer)
            }
            Work::Hash(password, salt, answer) => {
                let text = hash(password.as_bytes(), self.cost, salt, &mut self.implementation);
                Found::Hashed(text.ok(), answer)
            }
        }
    }
}
