//! The hashing threads, and the scheduling class they run in.
//!
//! They begin in the idle class, where whatever else wakes up has the core at once. Beside another program that is busy on
//! every core next to nothing would be left to them there, and a thread that went down cannot come up again. So one that
//! waited long for a core within one hash is replaced by one at nice 19 before its next, and after a while the idle class is
//! tried again.

use std::io;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use super::phc::Cost;
use super::seat::{Done, Hasher, Seat, Work};
use crate::clock::Clock;
use crate::fail_stop::FailStop;
use crate::secret::Chance;
use crate::thread_class::{self, Low, Machine};

/// Who waited so long for a core within one hash was starved; else it is some 10 ms at the most.
const STARVED: Duration = Duration::from_millis(200);
/// The idle class is tried again after so long, and after twice as long each time it has failed again.
const TRY_AGAIN: Duration = Duration::from_mins(1);
const TRY_AGAIN_MAX: Duration = Duration::from_hours(1);

/// Which class threads are to be of, by how they have fared.
#[derive(Debug)]
struct Classes {
    low: Low,
    is_watched: bool,
    nice_until: Option<Instant>,
    wait: Duration,
    tried: Instant,
}

impl Classes {
    const fn new(low: Low, machine: Machine, now: Instant) -> Self {
        let is_watched = matches!((low, machine), (Low::Idle, Machine::Shared));
        Self { low, is_watched, nice_until: None, wait: TRY_AGAIN, tried: now }
    }

    fn wanted(&mut self, now: Instant) -> Low {
        match self.nice_until {
            Some(until) if now < until => Low::Nice,
            Some(_) => {
                (self.nice_until, self.tried) = (None, now);
                self.low
            }
            None => self.low,
        }
    }

    /// A thread of `class` has waited so long for a core within one hash. Says until when all are to leave the idle class,
    /// if that is new.
    fn note(&mut self, class: Low, waited: Duration, now: Instant) -> Option<Duration> {
        if !self.is_watched || class != Low::Idle || waited < STARVED || self.nice_until.is_some() {
            return None;
        }
        if now.saturating_duration_since(self.tried) >= TRY_AGAIN_MAX {
            self.wait = TRY_AGAIN;
        }
        let wait = self.wait;
        self.nice_until = Some(now + wait);
        self.wait = (wait * 2).min(TRY_AGAIN_MAX);
        Some(wait)
    }
}

/// What every hashing thread is made of.
pub(super) struct Makings {
    pub(super) kernel: Kernel,
    pub(super) cost: Cost,
    pub(super) decoy: String,
    pub(super) chance: Arc<Chance>,
    pub(super) clock: Clock,
    pub(super) fail_stop: FailStop,
    /// Woken when a job is done.
    pub(super) dispatcher: Thread,
}

impl Makings {
    fn thread(&self, number: usize, class: Low) -> io::Result<Arc<Seat>> {
        let hasher = Hasher {
            kernel: self.kernel.sibling(),
            cost: self.cost,
            decoy: self.decoy.clone(),
            chance: Arc::clone(&self.chance),
            clock: self.clock.clone(),
            dispatcher: self.dispatcher.clone(),
        };
        let seat = Arc::new(Seat::new(number, class));
        let (fail_stop, its) = (self.fail_stop.clone(), Arc::clone(&seat));
        thread::Builder::new().name(format!("hash-{number}")).spawn(move || {
            let _ = thread_class::lower(class);
            fail_stop.guard("a hashing thread", || hasher.work(&its));
        })?;
        Ok(seat)
    }
}

/// All hashing threads, by their seats. They end with it.
pub(super) struct Crew {
    makings: Makings,
    classes: Classes,
    free: Vec<Arc<Seat>>,
    busy: Vec<Arc<Seat>>,
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.free.iter().chain(&self.busy).for_each(|seat| seat.close());
    }
}

impl Crew {
    /// `low` is how far down the system lets a thread go.
    pub(super) fn start(makings: Makings, threads: usize, low: Low, machine: Machine) -> io::Result<Self> {
        let classes = Classes::new(low, machine, makings.clock.steady());
        let mut crew = Self { makings, classes, free: Vec::new(), busy: Vec::new() };
        for number in 0..threads {
            let seat = crew.makings.thread(number, low)?;
            crew.free.push(seat);
        }
        Ok(crew)
    }

    /// Threads that have a job.
    pub(super) const fn busy(&self) -> usize {
        self.busy.len()
    }

    /// Threads that have none.
    pub(super) const fn free(&self) -> usize {
        self.free.len()
    }

    /// What was done since.
    pub(super) fn collect(&mut self) -> Vec<Done> {
        let mut all = Vec::new();
        for seat in std::mem::take(&mut self.busy) {
            let Some(done) = seat.collect() else {
                self.busy.push(seat);
                continue;
            };
            let now = self.makings.clock.steady();
            if let Some(wait) = self.classes.note(seat.class, done.waited, now) {
                tracing::info!(
                    waited_ms = done.waited.as_millis(),
                    for_secs = wait.as_secs(),
                    "hashing got no core in the idle class, beside something that is busy: it runs at nice 19 for a while"
                );
            }
            all.push(done);
            self.free.push(seat);
        }
        all
    }

    /// Hands a job to a free thread, of the class that is wanted now.
    pub(super) fn give(&mut self, work: Work) {
        let Some(mut seat) = self.free.pop() else { return };
        let now = self.makings.clock.steady();
        let class = self.classes.wanted(now);
        // Where no thread can be made the old one goes on.
        if seat.class != class
            && let Ok(new) = self.makings.thread(seat.number, class)
        {
            std::mem::replace(&mut seat, new).close();
        }
        seat.give(work, now);
        self.busy.push(seat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn who_starves_in_the_idle_class_leaves_it_for_ever_longer() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let mut classes = Classes::new(Low::Idle, Machine::Shared, clock.steady());
        let just_short = STARVED.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(classes.note(Low::Idle, just_short, clock.steady()), None);
        assert_eq!(classes.wanted(clock.steady()), Low::Idle);
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = Duration::from_mins(minutes);
            assert_eq!(classes.note(Low::Idle, STARVED, clock.steady()), Some(wait));
            // The others of the same time change nothing, nor does what happens at nice 19.
            assert_eq!(classes.note(Low::Idle, STARVED, clock.steady()), None);
            clock.advance(wait.checked_sub(Duration::from_secs(1)).unwrap());
            assert_eq!(classes.wanted(clock.steady()), Low::Nice);
            clock.advance(Duration::from_secs(1));
            assert_eq!(classes.wanted(clock.steady()), Low::Idle);
            assert_eq!(classes.note(Low::Nice, STARVED, clock.steady()), None);
        }
        // An hour that went well begins anew.
        clock.advance(TRY_AGAIN_MAX);
        assert_eq!(classes.note(Low::Idle, STARVED, clock.steady()), Some(TRY_AGAIN));
    }

    #[test]
    fn nobody_is_moved_on_a_machine_of_our_own_or_where_the_idle_class_is_refused() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        for (low, machine) in [(Low::Idle, Machine::Dedicated), (Low::Nice, Machine::Shared)] {
            let mut classes = Classes::new(low, machine, clock.steady());
            assert_eq!(classes.note(low, Duration::from_hours(1), clock.steady()), None);
            assert_eq!(classes.wanted(clock.steady()), low);
        }
    }

    #[test]
    fn a_thread_of_another_class_takes_the_seat_with_the_next_job() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let makings = Makings {
            kernel: Kernel::reference(),
            cost: Cost { memory_kib: 64, passes: 1, lanes: 1 },
            decoy: String::new(),
            chance: Arc::new(Chance::seeded(1)),
            clock: clock.clone(),
            fail_stop: FailStop::new(|why| panic!("{why}")),
            dispatcher: thread::current(),
        };
        let mut crew = Crew::start(makings, 2, Low::Idle, Machine::Shared).unwrap();
        let hash = |crew: &mut Crew| {
            let (answer, mut wait) = tokio::sync::oneshot::channel();
            crew.give(Work::Hash(crate::password::Password::for_login("a password"), answer));
            assert_eq!((crew.free(), crew.busy()), (1, 1));
            let done = loop {
                match crew.collect().pop() {
                    Some(done) => break done,
                    None => thread::park(),
                }
            };
            assert_eq!((crew.free(), crew.busy()), (2, 0));
            done.tell();
            assert!(wait.try_recv().unwrap().is_ok());
            let seat = crew.free.last().unwrap();
            (seat.number, seat.class, Arc::clone(seat))
        };
        let (number, class, first) = hash(&mut crew);
        assert_eq!(class, Low::Idle);
        assert!(crew.classes.note(class, STARVED, clock.steady()).is_some());
        let (same_number, class, second) = hash(&mut crew);
        assert_eq!((same_number, class), (number, Low::Nice));
        assert!(!Arc::ptr_eq(&first, &second));
        clock.advance(TRY_AGAIN);
        assert_eq!(hash(&mut crew).1, Low::Idle);
        assert_eq!(hash(&mut crew).1, Low::Idle);
        // Threads end with their seats, which nobody else holds then.
        drop(crew);
        let all_ended = || Arc::strong_count(&first) + Arc::strong_count(&second) == 2;
        for _ in 0..10_000 {
            if all_ended() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("a thread goes on without a seat");
    }
}
