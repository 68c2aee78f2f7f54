//! The hashing threads, and the scheduling class they run in.
//!
//! They begin in the idle class, where whatever else wakes up has the core at once. Beside another program that is busy on
//! every core next to nothing would be left to them there, and a thread that went down cannot come up again. So where one
//! takes far longer than a hash takes, others at nice 19 stand in for all of them; those end when they are done with what
//! they have. After a while the idle class is tried again.

use std::io;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::argon2id::Implementation;
use super::cost::Cost;
use super::thread::{Done, Handoff, Hasher, Work};
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::scheduling::{self, BackgroundPolicy, Machine};

/// A job that takes so long, and so many times as long as a hash took at the start, has no core. In a storm of our own it
/// is two times at the most.
const STARVED: Duration = Duration::from_millis(200);
const STARVED_TIMES: u32 = 8;
/// The idle class is tried again after so long, and after twice as long each time it has failed again.
const TRY_AGAIN: Duration = Duration::from_mins(1);
const TRY_AGAIN_MAX: Duration = Duration::from_hours(1);

/// Which class threads are to be of, by how they have fared.
#[derive(Debug)]
struct Classes {
    low: BackgroundPolicy,
    /// What takes so long in the idle class is starved; none where nobody is to leave it.
    starved: Option<Duration>,
    nice_until: Option<Instant>,
    wait: Duration,
    tried: Instant,
}

impl Classes {
    fn new(low: BackgroundPolicy, machine: Machine, hash_time: Duration, now: Instant) -> Self {
        let is_watched = matches!((low, machine), (BackgroundPolicy::Idle, Machine::Shared));
        let starved = is_watched.then(|| STARVED.max(hash_time * STARVED_TIMES));
        Self { low, starved, nice_until: None, wait: TRY_AGAIN, tried: now }
    }

    fn wanted(&mut self, now: Instant) -> BackgroundPolicy {
        match self.nice_until {
            Some(until) if now < until => BackgroundPolicy::Nice,
            Some(_) => {
                (self.nice_until, self.tried) = (None, now);
                self.low
            }
            None => self.low,
        }
    }

    /// A thread of `class` has had its job for so long. Says for how long all are to leave the idle class, if that is new.
    fn note(&mut self, class: BackgroundPolicy, taken: Duration, now: Instant) -> Option<Duration> {
        let is_starved =
            class == BackgroundPolicy::Idle && self.starved.is_some_and(|starved| taken >= starved);
        if !is_starved || self.nice_until.is_some() {
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
pub(super) struct ThreadSpec {
    pub(super) implementation: Implementation,
    pub(super) cost: Cost,
    pub(super) decoy: String,
    pub(super) clock: Clock,
    pub(super) fail_stop: FailStop,
    /// Woken when a job is done.
    pub(super) dispatcher: Thread,
}

impl ThreadSpec {
    fn start_thread(&self, number: usize, class: BackgroundPolicy) -> io::Result<Arc<Handoff>> {
        let hasher = Hasher {
            implementation: self.implementation.sibling(),
            cost: self.cost,
            decoy: self.decoy.clone(),
            clock: self.clock.clone(),
            dispatcher: self.dispatcher.clone(),
        };
        let handoff = Arc::new(Handoff::new(number, class));
        let (fail_stop, its) = (self.fail_stop.clone(), Arc::clone(&handoff));
        thread::Builder::new().name(format!("hash-{number}")).spawn(move || {
            let _ = scheduling::background(class);
            fail_stop.guard("a hashing thread", || hasher.work(&its));
        })?;
        Ok(handoff)
    }
}

/// All hashing threads, by their seats. They end with it.
pub(super) struct HashThreads {
    spec: ThreadSpec,
    classes: Classes,
    free: Vec<Arc<Handoff>>,
    /// With the time when each was given its job.
    busy: Vec<(Arc<Handoff>, Instant)>,
    /// Others stand in for them already.
    leaving: Vec<Arc<Handoff>>,
}

impl Drop for HashThreads {
    fn drop(&mut self) {
        let busy = self.busy.iter().map(|(handoff, _)| handoff);
        busy.chain(&self.free).chain(&self.leaving).for_each(|handoff| handoff.close());
    }
}

impl HashThreads {
    /// `hash_time` is what a hash takes while nothing else is done, `low` how far down the system lets a thread go.
    pub(super) fn start(
        spec: ThreadSpec,
        threads: usize,
        hash_time: Duration,
        low: BackgroundPolicy,
        machine: Machine,
    ) -> io::Result<Self> {
        let classes = Classes::new(low, machine, hash_time, spec.clock.steady());
        let mut hash_threads =
            Self { spec, classes, free: Vec::new(), busy: Vec::new(), leaving: Vec::new() };
        for number in 0..threads {
            let handoff = hash_threads.spec.start_thread(number, low)?;
            hash_threads.free.push(handoff);
        }
        Ok(hash_threads)
    }

    /// Threads that have a job.
    pub(super) const fn busy(&self) -> usize {
        self.busy.len() + self.leaving.len()
    }

    /// Threads that have none.
    pub(super) const fn free(&self) -> usize {
        self.free.len()
    }

    /// What was done since.
    pub(super) fn collect(&mut self) -> Vec<Done> {
        let mut all = Vec::new();
        for (handoff, given) in std::mem::take(&mut self.busy) {
            let Some(done) = handoff.collect() else {
                self.busy.push((handoff, given));
                continue;
            };
            self.note(handoff.class, given);
            all.push(done);
            self.free.push(handoff);
        }
        self.leaving.retain(|handoff| {
            let Some(done) = handoff.collect() else { return true };
            all.push(done);
            handoff.close();
            false
        });
        all
    }

    /// Lets others stand in for threads that have no core.
    pub(super) fn relieve(&mut self) {
        let of_idle = self.busy.iter().filter(|(handoff, _)| handoff.class == BackgroundPolicy::Idle);
        let Some(longest) = of_idle.map(|(_, given)| *given).min() else { return };
        self.note(BackgroundPolicy::Idle, longest);
        let class = self.classes.wanted(self.spec.clock.steady());
        if class == BackgroundPolicy::Idle {
            return;
        }
        for (handoff, given) in std::mem::take(&mut self.busy) {
            // Where no thread can be made the old one goes on alone.
            let new = if handoff.class == class {
                None
            } else {
                self.spec.start_thread(handoff.number, class).ok()
            };
            let Some(new) = new else {
                self.busy.push((handoff, given));
                continue;
            };
            if let Some(work) = handoff.take_back() {
                handoff.close();
                new.give(work);
                self.busy.push((new, self.spec.clock.steady()));
            } else {
                self.leaving.push(handoff);
                self.free.push(new);
            }
        }
    }

    /// When [`Self::relieve`] may have something to do, should nothing happen until then.
    pub(super) fn look_again_in(&self) -> Option<Duration> {
        let is_idle = self.busy.iter().any(|(handoff, _)| handoff.class == BackgroundPolicy::Idle);
        self.classes.starved.filter(|_| is_idle)
    }

    fn note(&mut self, class: BackgroundPolicy, given: Instant) {
        let now = self.spec.clock.steady();
        let taken = now.saturating_duration_since(given);
        if let Some(wait) = self.classes.note(class, taken, now) {
            tracing::info!(
                taken_ms = taken.as_millis(),
                for_secs = wait.as_secs(),
                "hashing gets no core in the idle class, beside something that is busy: it runs at nice 19 for a while"
            );
        }
    }

    /// Hands a job to a free thread, of the class that is wanted now.
    pub(super) fn give(&mut self, work: Work) {
        let Some(mut handoff) = self.free.pop() else { return };
        let now = self.spec.clock.steady();
        let class = self.classes.wanted(now);
        // Where no thread can be made the old one goes on.
        if handoff.class != class
            && let Ok(new) = self.spec.start_thread(handoff.number, class)
        {
            std::mem::replace(&mut handoff, new).close();
        }
        handoff.give(work);
        self.busy.push((handoff, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::Timestamp;

    const HASH_TIME: Duration = Duration::from_millis(6);

    #[test]
    fn who_starves_in_the_idle_class_leaves_it_for_ever_longer() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let mut classes = Classes::new(BackgroundPolicy::Idle, Machine::Shared, HASH_TIME, clock.steady());
        let just_short = STARVED.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(classes.note(BackgroundPolicy::Idle, just_short, clock.steady()), None);
        assert_eq!(classes.wanted(clock.steady()), BackgroundPolicy::Idle);
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = Duration::from_mins(minutes);
            assert_eq!(classes.note(BackgroundPolicy::Idle, STARVED, clock.steady()), Some(wait));
            // The others of the same time change nothing, nor does what happens at nice 19.
            assert_eq!(classes.note(BackgroundPolicy::Idle, STARVED, clock.steady()), None);
            clock.advance(wait.checked_sub(Duration::from_secs(1)).unwrap());
            assert_eq!(classes.wanted(clock.steady()), BackgroundPolicy::Nice);
            clock.advance(Duration::from_secs(1));
            assert_eq!(classes.wanted(clock.steady()), BackgroundPolicy::Idle);
            assert_eq!(classes.note(BackgroundPolicy::Nice, STARVED, clock.steady()), None);
        }
        // An hour that went well begins anew.
        clock.advance(TRY_AGAIN_MAX);
        assert_eq!(classes.note(BackgroundPolicy::Idle, STARVED, clock.steady()), Some(TRY_AGAIN));
    }

    #[test]
    fn a_costly_hash_is_not_starved_by_its_cost() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let mut classes =
            Classes::new(BackgroundPolicy::Idle, Machine::Shared, Duration::from_millis(500), clock.steady());
        assert_eq!(classes.note(BackgroundPolicy::Idle, Duration::from_millis(3_999), clock.steady()), None);
        assert!(classes.note(BackgroundPolicy::Idle, Duration::from_secs(4), clock.steady()).is_some());
    }

    #[test]
    fn nobody_is_moved_on_a_machine_of_our_own_or_where_the_idle_class_is_refused() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        for (low, machine) in
            [(BackgroundPolicy::Idle, Machine::Dedicated), (BackgroundPolicy::Nice, Machine::Shared)]
        {
            let mut classes = Classes::new(low, machine, HASH_TIME, clock.steady());
            assert_eq!(classes.note(low, Duration::from_hours(1), clock.steady()), None);
            assert_eq!(classes.wanted(clock.steady()), low);
        }
    }

    fn hash_threads(clock: &Clock) -> HashThreads {
        let spec = ThreadSpec {
            implementation: Implementation::reference(),
            cost: Cost { memory_kib: 64, passes: 1, lanes: 1 },
            decoy: String::new(),
            clock: clock.clone(),
            fail_stop: FailStop::new(|why| panic!("{why}")),
            dispatcher: thread::current(),
        };
        HashThreads::start(spec, 2, HASH_TIME, BackgroundPolicy::Idle, Machine::Shared).unwrap()
    }

    type Wait = tokio::sync::oneshot::Receiver<Result<String, crate::password::Shed>>;

    fn job() -> (Work, Wait) {
        let (answer, wait) = tokio::sync::oneshot::channel();
        (Work::Hash(crate::password::Password::for_login("a password"), [1; 16], answer), wait)
    }

    fn finish(hash_threads: &mut HashThreads, mut wait: Wait) {
        for _ in 0..10_000 {
            hash_threads.collect().into_iter().for_each(Done::tell);
            match wait.try_recv() {
                Ok(text) => return drop(text.unwrap()),
                Err(_) => thread::park_timeout(Duration::from_millis(1)),
            }
        }
        panic!("a job is lost");
    }

    fn hash(hash_threads: &mut HashThreads) -> Arc<Handoff> {
        let (work, wait) = job();
        hash_threads.give(work);
        assert_eq!((hash_threads.free(), hash_threads.busy()), (1, 1));
        finish(hash_threads, wait);
        assert_eq!((hash_threads.free(), hash_threads.busy()), (2, 0));
        Arc::clone(hash_threads.free.last().unwrap())
    }

    fn all_end(seats: &[Arc<Handoff>]) {
        for _ in 0..10_000 {
            if seats.iter().all(|handoff| Arc::strong_count(handoff) == 1) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("a thread goes on without a seat");
    }

    #[test]
    fn after_a_job_that_took_too_long_the_next_is_done_at_nice_19_and_later_in_the_idle_class() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let mut hash_threads = hash_threads(&clock);
        let first = hash(&mut hash_threads);
        let (work, wait) = job();
        hash_threads.give(work);
        assert_eq!(hash_threads.look_again_in(), Some(STARVED));
        clock.advance(STARVED);
        finish(&mut hash_threads, wait);
        let second = hash(&mut hash_threads);
        assert_eq!([first.class, second.class], [BackgroundPolicy::Idle, BackgroundPolicy::Nice]);
        assert_eq!((first.number, hash_threads.look_again_in()), (second.number, None));
        clock.advance(TRY_AGAIN);
        assert_eq!(hash(&mut hash_threads).class, BackgroundPolicy::Idle);
        // Threads end with their seats, which nobody else holds then.
        drop(hash_threads);
        all_end(&[first, second]);
    }

    #[test]
    fn others_stand_in_for_threads_without_a_core() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let mut hash_threads = hash_threads(&clock);
        hash_threads.free.drain(..).for_each(|handoff| handoff.close());
        // Threads that have no core at all: nobody sits there.
        let (unseen, begun) = (
            Arc::new(Handoff::new(0, BackgroundPolicy::Idle)),
            Arc::new(Handoff::new(1, BackgroundPolicy::Idle)),
        );
        let (work, wait) = job();
        unseen.give(work);
        hash_threads.busy = [&unseen, &begun].map(|handoff| (Arc::clone(handoff), clock.steady())).to_vec();
        hash_threads.relieve();
        assert_eq!((hash_threads.free(), hash_threads.busy.len(), hash_threads.leaving.len()), (0, 2, 0));
        clock.advance(STARVED);
        hash_threads.relieve();
        // The job that was not begun goes to another; for the one that was, another waits for the next.
        assert_eq!((hash_threads.free(), hash_threads.busy.len(), hash_threads.leaving.len()), (1, 1, 1));
        finish(&mut hash_threads, wait);
        assert_eq!((hash_threads.free(), hash_threads.busy(), hash_threads.leaving.len()), (2, 1, 1));
        assert!(hash_threads.free.iter().all(|handoff| handoff.class == BackgroundPolicy::Nice));
        hash_threads.relieve();
        assert_eq!((hash_threads.free(), hash_threads.busy()), (2, 1));
    }
}
