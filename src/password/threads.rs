//! The hashing threads, and the scheduling policy they run under.
//!
//! They begin under `SCHED_IDLE`, where any other thread that wakes up gets the core at once. Where other threads keep
//! every core busy they would get almost no time, and an unprivileged thread cannot leave that policy. So when a job takes
//! far longer than a hash takes, new threads at nice 19 replace all of them; the old ones end with the jobs they have. If
//! that is not enough either, threads follow that get as much time as others do. After a while `SCHED_IDLE` is tried again.
//!
//! **The attack:** a stranger sends so many small requests that are refused without a hash that the event loops keep every
//! core busy, and nobody can log in.

use std::io;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::argon2id::Implementation;
use super::cost::Cost;
use super::phc::Phc;
use super::thread::{Finished, Handoff, Hasher, Work};
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::scheduling::{self, BackgroundPolicy};

/// A job is starved when it takes at least this long, and at least [`STARVED_TIMES`] the time of a hash at the start.
/// In a storm without another busy program a job takes at most twice the time of a hash.
const STARVED: Duration = Duration::from_millis(200);
const STARVED_TIMES: u32 = 8;
/// How long threads stay at nice 19 before `SCHED_IDLE` is tried again. Doubled each time the trial fails, up to the
/// maximum.
const RETRY_DELAY: Duration = Duration::from_mins(1);
const RETRY_DELAY_MAX: Duration = Duration::from_hours(1);
/// How long threads stay at the nice value of the others. A flood of requests does not make them stay longer.
const EVEN_STAY: Duration = Duration::from_mins(1);

/// Decides under which policy the threads run, from the times that their jobs take.
#[derive(Debug)]
struct PolicyRule {
    /// The lowest policy that the system grants.
    lowest: BackgroundPolicy,
    /// The time from which on a job counts as starved.
    starved: Duration,
    /// Until when threads stay at nice 19.
    nice_until: Option<Instant>,
    /// Until when they get as much time as other threads.
    even_until: Option<Instant>,
    /// The next stay at nice 19.
    retry_delay: Duration,
    /// When `SCHED_IDLE` was tried last.
    tried_at: Instant,
}

impl PolicyRule {
    fn new(lowest: BackgroundPolicy, hash_time: Duration, now: Instant) -> Self {
        let starved = STARVED.max(hash_time * STARVED_TIMES);
        Self { lowest, starved, nice_until: None, even_until: None, retry_delay: RETRY_DELAY, tried_at: now }
    }

    /// Returns the policy under which threads should run at `now`.
    fn wanted(&mut self, now: Instant) -> BackgroundPolicy {
        if self.even_until.is_some_and(|until| now < until) {
            return BackgroundPolicy::Even;
        }
        self.even_until = None;
        match self.nice_until {
            Some(until) if now < until => BackgroundPolicy::Nice,
            Some(_) => {
                self.nice_until = None;
                self.tried_at = now;
                self.lowest
            }
            None => self.lowest,
        }
    }

    /// Takes into account that a thread under `policy` has had its job for `taken`. If that makes all threads leave the
    /// policy, it returns for how long.
    fn observe(&mut self, policy: BackgroundPolicy, taken: Duration, now: Instant) -> Option<Duration> {
        if taken < self.starved {
            return None;
        }
        match policy {
            BackgroundPolicy::Idle if self.nice_until.is_none() => Some(self.leave_idle(now)),
            BackgroundPolicy::Nice if self.even_until.is_none() => {
                self.even_until = Some(now + EVEN_STAY);
                Some(EVEN_STAY)
            }
            _ => None,
        }
    }

    fn leave_idle(&mut self, now: Instant) -> Duration {
        if now.saturating_duration_since(self.tried_at) >= RETRY_DELAY_MAX {
            self.retry_delay = RETRY_DELAY;
        }
        let stay = self.retry_delay;
        self.nice_until = Some(now + stay);
        self.retry_delay = (stay * 2).min(RETRY_DELAY_MAX);
        stay
    }
}

/// What a hashing thread is started with.
pub(super) struct ThreadSpec {
    pub(super) implementation: Implementation,
    /// Cost of new hashes.
    pub(super) cost: Cost,
    /// A hash that no password matches.
    pub(super) decoy: Phc,
    pub(super) clock: Clock,
    pub(super) fail_stop: FailStop,
    /// Woken after each job.
    pub(super) dispatcher: Thread,
}

impl ThreadSpec {
    fn start_thread(&self, number: usize, policy: BackgroundPolicy) -> io::Result<Arc<Handoff>> {
        let hasher = Hasher {
            implementation: self.implementation.sibling(),
            cost: self.cost,
            decoy: self.decoy.clone(),
            clock: self.clock.clone(),
            dispatcher: self.dispatcher.clone(),
        };
        let handoff = Arc::new(Handoff::new(number, policy));
        let fail_stop = self.fail_stop.clone();
        let of_thread = Arc::clone(&handoff);
        thread::Builder::new().name(format!("hash-{number}")).spawn(move || {
            let _ = scheduling::background(policy);
            fail_stop.guard("a hashing thread", || hasher.run(&of_thread));
        })?;
        Ok(handoff)
    }
}

/// A thread with a job.
struct Busy {
    handoff: Arc<Handoff>,
    given_at: Instant,
    /// How many hashes of the present cost the job may take.
    hashes: u32,
}

/// All hashing threads, by their handoffs. Dropping it ends the threads.
pub(super) struct HashThreads {
    spec: ThreadSpec,
    rule: PolicyRule,
    /// Threads without a job.
    free: Vec<Arc<Handoff>>,
    /// Threads with a job.
    busy: Vec<Busy>,
    /// Threads with a job that are already replaced.
    leaving: Vec<Arc<Handoff>>,
}

impl Drop for HashThreads {
    fn drop(&mut self) {
        let busy = self.busy.iter().map(|busy| &busy.handoff);
        busy.chain(&self.free).chain(&self.leaving).for_each(|handoff| handoff.close());
    }
}

impl HashThreads {
    /// Starts `threads` threads. `hash_time` is the time of a hash on an idle machine, `lowest` the lowest policy that
    /// the system grants.
    pub(super) fn start(
        spec: ThreadSpec,
        threads: usize,
        hash_time: Duration,
        lowest: BackgroundPolicy,
    ) -> io::Result<Self> {
        let rule = PolicyRule::new(lowest, hash_time, spec.clock.steady());
        let mut hash_threads = Self { spec, rule, free: Vec::new(), busy: Vec::new(), leaving: Vec::new() };
        for number in 0..threads {
            let handoff = hash_threads.spec.start_thread(number, lowest)?;
            hash_threads.free.push(handoff);
        }
        Ok(hash_threads)
    }

    /// Returns the number of threads that have a job.
    pub(super) const fn busy(&self) -> usize {
        self.busy.len() + self.leaving.len()
    }

    /// Returns the number of threads without a job.
    pub(super) const fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes the results of all jobs that have finished since the last call.
    pub(super) fn collect(&mut self) -> Vec<Finished> {
        let mut all = Vec::new();
        for busy in std::mem::take(&mut self.busy) {
            let Some(finished) = busy.handoff.collect() else {
                self.busy.push(busy);
                continue;
            };
            self.observe(busy.handoff.policy, busy.given_at, busy.hashes);
            all.push(finished);
            self.free.push(busy.handoff);
        }
        self.leaving.retain(|handoff| {
            let Some(finished) = handoff.collect() else { return true };
            all.push(finished);
            handoff.close();
            false
        });
        all
    }

    /// Replaces starved threads by threads that get more time, which also take the jobs that were not begun.
    pub(super) fn replace_starved(&mut self) {
        let below = self.busy.iter().filter(|busy| busy.handoff.policy < BackgroundPolicy::Even);
        let oldest = below.map(|busy| (busy.given_at, busy.hashes, busy.handoff.policy)).min();
        let Some((given_at, hashes, policy)) = oldest else { return };
        self.observe(policy, given_at, hashes);
        let policy = self.rule.wanted(self.spec.clock.steady());
        for busy in std::mem::take(&mut self.busy) {
            // If no thread can be started the old one goes on alone.
            let replacement = if busy.handoff.policy < policy {
                self.spec.start_thread(busy.handoff.number, policy).ok()
            } else {
                None
            };
            let Some(replacement) = replacement else {
                self.busy.push(busy);
                continue;
            };
            let Busy { handoff, hashes, .. } = busy;
            if let Some(work) = handoff.take_back() {
                handoff.close();
                replacement.give(work);
                self.busy.push(Busy { handoff: replacement, given_at: self.spec.clock.steady(), hashes });
            } else {
                self.leaving.push(handoff);
                self.free.push(replacement);
            }
        }
    }

    /// Returns when [`Self::replace_starved`] must be called even if nothing happens until then, if it must.
    pub(super) fn check_again_in(&self) -> Option<Duration> {
        let is_any_below = self.busy.iter().any(|busy| busy.handoff.policy < BackgroundPolicy::Even);
        is_any_below.then_some(self.rule.starved)
    }

    /// Takes into account that a job of so many `hashes` was given to a thread under `policy` at `given_at`, and has ended
    /// now or still runs.
    fn observe(&mut self, policy: BackgroundPolicy, given_at: Instant, hashes: u32) {
        let now = self.spec.clock.steady();
        let taken = now.saturating_duration_since(given_at) / hashes.max(1);
        if let Some(stay) = self.rule.observe(policy, taken, now) {
            tracing::info!(
                taken_ms = taken.as_millis(),
                for_secs = stay.as_secs(),
                policy = ?policy,
                "other threads keep every core busy, such as another program or a flood of requests: hashing leaves this \
                 scheduling policy for a while"
            );
        }
    }

    /// Hands a job to a free thread under the policy that is wanted now.
    pub(super) fn give(&mut self, work: Work) {
        let Some(mut handoff) = self.free.pop() else { return };
        let now = self.spec.clock.steady();
        let policy = self.rule.wanted(now);
        // If no thread can be started the old one goes on.
        if handoff.policy != policy
            && let Ok(new) = self.spec.start_thread(handoff.number, policy)
        {
            std::mem::replace(&mut handoff, new).close();
        }
        let hashes = work.hashes_of(self.spec.cost);
        handoff.give(work);
        self.busy.push(Busy { handoff, given_at: now, hashes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::phc::decoy;
    use crate::system::clock::Timestamp;
    use crate::system::random::Random;

    const HASH_TIME: Duration = Duration::from_millis(6);

    #[test]
    fn starved_threads_leave_sched_idle_for_ever_longer() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let mut rule = PolicyRule::new(BackgroundPolicy::Idle, HASH_TIME, clock.steady());
        let just_short = STARVED.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(rule.observe(BackgroundPolicy::Idle, just_short, clock.steady()), None);
        assert_eq!(rule.wanted(clock.steady()), BackgroundPolicy::Idle);
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let stay = Duration::from_mins(minutes);
            assert_eq!(rule.observe(BackgroundPolicy::Idle, STARVED, clock.steady()), Some(stay));
            // Further starved threads of the same time change nothing.
            assert_eq!(rule.observe(BackgroundPolicy::Idle, STARVED, clock.steady()), None);
            clock.advance(stay.checked_sub(Duration::from_secs(1)).unwrap());
            assert_eq!(rule.wanted(clock.steady()), BackgroundPolicy::Nice);
            clock.advance(Duration::from_secs(1));
            assert_eq!(rule.wanted(clock.steady()), BackgroundPolicy::Idle);
        }
        // After an hour without starvation the delay is reset.
        clock.advance(RETRY_DELAY_MAX);
        assert_eq!(rule.observe(BackgroundPolicy::Idle, STARVED, clock.steady()), Some(RETRY_DELAY));
    }

    #[test]
    fn a_costly_hash_is_not_starved_by_its_cost() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let hash_time = Duration::from_millis(500);
        let mut rule = PolicyRule::new(BackgroundPolicy::Idle, hash_time, clock.steady());
        assert_eq!(rule.observe(BackgroundPolicy::Idle, Duration::from_millis(3_999), clock.steady()), None);
        assert!(rule.observe(BackgroundPolicy::Idle, Duration::from_secs(4), clock.steady()).is_some());
    }

    #[test]
    fn threads_that_starve_at_nice_19_get_as_much_time_as_others_for_a_minute() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        // As on a system that refuses SCHED_IDLE.
        let mut rule = PolicyRule::new(BackgroundPolicy::Nice, HASH_TIME, clock.steady());
        for _ in 0..3 {
            assert_eq!(rule.wanted(clock.steady()), BackgroundPolicy::Nice);
            assert_eq!(rule.observe(BackgroundPolicy::Nice, STARVED, clock.steady()), Some(EVEN_STAY));
            // Further starved threads of the same time change nothing.
            assert_eq!(rule.observe(BackgroundPolicy::Nice, STARVED, clock.steady()), None);
            assert_eq!(rule.observe(BackgroundPolicy::Even, STARVED, clock.steady()), None);
            assert_eq!(rule.wanted(clock.steady()), BackgroundPolicy::Even);
            clock.advance(EVEN_STAY);
        }
    }

    fn hash_threads(clock: &Clock) -> HashThreads {
        let spec = ThreadSpec {
            implementation: Implementation::reference(),
            cost: Cost { memory_kib: 64, passes: 1, lanes: 1 },
            decoy: Phc::parse(&decoy(Cost::SAFE, &Random::seeded(1)).unwrap()).unwrap(),
            clock: clock.clone(),
            fail_stop: FailStop::new(|why| panic!("{why}")),
            dispatcher: thread::current(),
        };
        HashThreads::start(spec, 2, HASH_TIME, BackgroundPolicy::Idle).unwrap()
    }

    type Wait = tokio::sync::oneshot::Receiver<Result<String, crate::password::job::Shed>>;

    fn job() -> (Work, Wait) {
        let (answer, wait) = tokio::sync::oneshot::channel();
        (Work::Hash(crate::password::typed::Password::for_login("a password"), [1; 16], answer), wait)
    }

    fn finish(hash_threads: &mut HashThreads, mut wait: Wait) {
        for _ in 0..10_000 {
            hash_threads.collect().into_iter().for_each(Finished::answer);
            match wait.try_recv() {
                Ok(text) => return drop(text.unwrap()),
                Err(_) => thread::park_timeout(Duration::from_millis(1)),
            }
        }
        panic!("a job was lost");
    }

    fn hash(hash_threads: &mut HashThreads) -> Arc<Handoff> {
        let (work, wait) = job();
        hash_threads.give(work);
        assert_eq!(hash_threads.free(), 1);
        assert_eq!(hash_threads.busy(), 1);
        finish(hash_threads, wait);
        assert_eq!(hash_threads.free(), 2);
        assert_eq!(hash_threads.busy(), 0);
        Arc::clone(hash_threads.free.last().unwrap())
    }

    fn assert_all_end(handoffs: &[Arc<Handoff>]) {
        for _ in 0..10_000 {
            if handoffs.iter().all(|handoff| Arc::strong_count(handoff) == 1) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("a thread outlives its handoff");
    }

    #[test]
    fn a_starved_job_moves_the_next_ones_up_and_later_back() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let mut hash_threads = hash_threads(&clock);
        let first = hash(&mut hash_threads);
        let (work, wait) = job();
        hash_threads.give(work);
        assert_eq!(hash_threads.check_again_in(), Some(STARVED));
        clock.advance(STARVED);
        finish(&mut hash_threads, wait);
        let second = hash(&mut hash_threads);
        assert_eq!(first.policy, BackgroundPolicy::Idle);
        assert_eq!(second.policy, BackgroundPolicy::Nice);
        assert_eq!(first.number, second.number);
        let (work, wait) = job();
        hash_threads.give(work);
        assert_eq!(hash_threads.check_again_in(), Some(STARVED));
        clock.advance(STARVED);
        finish(&mut hash_threads, wait);
        let third = hash(&mut hash_threads);
        assert_eq!(third.policy, BackgroundPolicy::Even);
        let (work, wait) = job();
        hash_threads.give(work);
        assert_eq!(hash_threads.check_again_in(), None);
        finish(&mut hash_threads, wait);
        clock.advance(RETRY_DELAY);
        assert_eq!(hash(&mut hash_threads).policy, BackgroundPolicy::Idle);
        // The threads end, and with them the last other references to their handoffs.
        drop(hash_threads);
        assert_all_end(&[first, second, third]);
    }

    #[test]
    fn threads_without_a_core_are_replaced() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let mut hash_threads = hash_threads(&clock);
        hash_threads.free.drain(..).for_each(|handoff| handoff.close());
        // Handoffs without a thread behave like threads that get no core at all.
        let unseen = Arc::new(Handoff::new(0, BackgroundPolicy::Idle));
        let begun = Arc::new(Handoff::new(1, BackgroundPolicy::Idle));
        let (work, wait) = job();
        unseen.give(work);
        hash_threads.busy = [&unseen, &begun]
            .map(|handoff| Busy { handoff: Arc::clone(handoff), given_at: clock.steady(), hashes: 1 })
            .into();
        hash_threads.replace_starved();
        assert_eq!((hash_threads.free(), hash_threads.busy.len(), hash_threads.leaving.len()), (0, 2, 0));
        clock.advance(STARVED);
        hash_threads.replace_starved();
        // The job that was not begun moves to a new thread. The one that was begun stays, and its replacement is free.
        assert_eq!((hash_threads.free(), hash_threads.busy.len(), hash_threads.leaving.len()), (1, 1, 1));
        finish(&mut hash_threads, wait);
        assert_eq!((hash_threads.free(), hash_threads.busy(), hash_threads.leaving.len()), (2, 1, 1));
        assert!(hash_threads.free.iter().all(|handoff| handoff.policy == BackgroundPolicy::Nice));
        hash_threads.replace_starved();
        assert_eq!((hash_threads.free(), hash_threads.busy()), (2, 1));
    }
}
