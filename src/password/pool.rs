//! The pool: hashing on threads of its own, each with its own memory, behind a bounded and fair queue.
//!
//! [`Scheduler`] decides which job is next and which is refused at once. A place in the queue belongs to the job: when
//! the client hangs up, the place is freed at once if the job has not begun, otherwise when it ends.
//!
//! Hashing threads run under a background policy. One that is preempted while it holds a lock would stop every thread
//! that needs the lock, so no hashing thread touches the queue. A dispatcher at normal priority takes jobs out of the
//! queue, hands them to the threads and answers the callers.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::oneshot;

use super::argon2id::{Choice, Implementation, SelfTestFailed};
use super::cost::Cost;
use super::job::{QueueKey, Shed, Verified};
use super::pepper::Peppers;
use super::phc::{decoy, hash};
use super::schedule::{Full, Lane, Scheduler, Ticket};
use super::stats::{LaneStats, Stats};
use super::thread::Work;
use super::threads::{HashThreads, ThreadSpec};
use super::typed::Password;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::memory;
use crate::system::random::Random;
use crate::system::scheduling::{self, BackgroundPolicy, Machine};

/// How to build a pool.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of hashing threads.
    pub threads: usize,
    /// How long a job may wait in the queue.
    pub wait_budget: Duration,
    /// Cost of new hashes.
    pub cost: Cost,
    /// Which implementation of argon2id to use.
    pub implementation: Choice,
    /// Whether other programs use the machine.
    pub machine: Machine,
}

/// A handle of the pool. The threads end with the last handle.
#[derive(Clone)]
pub struct HashPool {
    shared: Arc<Shared>,
    owner: Arc<StopOnDrop>,
}

struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.wake_dispatcher();
    }
}

/// What the handles and the dispatcher share.
struct Shared {
    threads: usize,
    state: Mutex<State>,
    dispatcher: OnceLock<Thread>,
    /// Moving average of the time of a hash, in nanoseconds.
    hash_nanos: AtomicU64,
    clock: Clock,
    random: Arc<Random>,
    /// Start of the time that the scheduler counts.
    origin: Instant,
    /// PHC string that no password matches.
    decoy: String,
    /// Name of the implementation, for people.
    implementation: String,
    warnings: Vec<String>,
}

struct State {
    schedule: Scheduler<Job>,
    running: usize,
    /// Whether a thread is free, so that the dispatcher must be woken for a new job.
    has_free_thread: bool,
    lanes: [LaneStats; 3],
    ended: bool,
}

struct Job {
    lane: Lane,
    work: Work,
}

/// Removes a job from the queue when the future that waits for it is dropped.
struct WithdrawOnDrop<'a> {
    shared: &'a Shared,
    ticket: Option<Ticket>,
}

impl Drop for WithdrawOnDrop<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut state = self.shared.state.lock();
        if let Some(job) = state.schedule.withdraw(ticket) {
            state.lane(job.lane).abandoned += 1;
        }
    }
}

impl State {
    fn lane(&mut self, lane: Lane) -> &mut LaneStats {
        let [known, quiet, failing] = &mut self.lanes;
        match lane {
            Lane::Known => known,
            Lane::Quiet => quiet,
            Lane::Failing => failing,
        }
    }
}

impl HashPool {
    /// Measures a hash and starts the threads.
    ///
    /// Fewer threads than asked for are started where memory is short or the system grants no background policy;
    /// [`Self::warnings`] says so.
    ///
    /// Errors: no randomness, a cost that argon2 refuses, or a thread that cannot be started.
    pub fn start(
        options: Options,
        clock: &Clock,
        random: &Arc<Random>,
        fail_stop: &FailStop,
    ) -> io::Result<Self> {
        Self::start_with_peppers(options, &Arc::default(), clock, random, fail_stop)
    }

    /// Does what [`HashPool::start`] does, with the peppers of hashes.
    pub fn start_with_peppers(
        options: Options,
        peppers: &Arc<Peppers>,
        clock: &Clock,
        random: &Arc<Random>,
        fail_stop: &FailStop,
    ) -> io::Result<Self> {
        let Options { threads, wait_budget, cost, implementation, machine } = options;
        let mut warnings = Vec::new();
        let decoy = decoy(cost, random).map_err(io::Error::other)?;
        let fitting = threads_in_memory(threads, cost, &mut warnings);
        let mut implementation = choose(implementation, &mut warnings).with_peppers(peppers);
        let hash_time = measure(&mut implementation, cost, clock)?;
        let (policy, threads) = background_policy(fitting, &mut warnings);
        let shared = Arc::new(Shared {
            threads,
            state: Mutex::new(State {
                schedule: Scheduler::new(threads, wait_budget),
                running: 0,
                has_free_thread: true,
                lanes: [LaneStats::default(); 3],
                ended: false,
            }),
            dispatcher: OnceLock::new(),
            hash_nanos: AtomicU64::new(nanos(hash_time)),
            clock: clock.clone(),
            random: Arc::clone(random),
            origin: clock.steady(),
            decoy: decoy.clone(),
            implementation: implementation.name(),
            warnings,
        });
        // The hashing threads must know the dispatcher, so it starts first and receives them.
        let (to_dispatcher, receiver) = mpsc::channel();
        let dispatcher = start_dispatcher(&shared, receiver, fail_stop)?.thread().clone();
        let spec = ThreadSpec {
            implementation,
            cost,
            decoy,
            clock: clock.clone(),
            fail_stop: fail_stop.clone(),
            dispatcher: shared.dispatcher.get_or_init(|| dispatcher).clone(),
        };
        let hash_threads = HashThreads::start(spec, threads, hash_time, policy, machine)?;
        to_dispatcher
            .send(hash_threads)
            .map_err(|_| io::Error::other("the dispatcher of the hash queue has ended"))?;
        let owner = Arc::new(StopOnDrop(Arc::clone(&shared)));
        Ok(Self { shared, owner })
    }

    /// Says whether a job of `network` would be admitted now in at least one of `lanes`. Flows ask this before they
    /// charge or write anything.
    ///
    /// Errors: all lanes are full. It counts as a refusal of the last one.
    pub fn has_room(&self, lanes: &[Lane], network: IpNet) -> Result<(), Shed> {
        let hash_time = self.shared.hash_time();
        let mut state = self.shared.state.lock();
        let mut refused = None;
        for lane in lanes {
            match state.schedule.has_room(*lane, network, hash_time) {
                Ok(()) => return Ok(()),
                Err(full) => refused = Some((*lane, full)),
            }
        }
        let Some((lane, full)) = refused else { return Ok(()) };
        state.lane(lane).refused += 1;
        Err(shed(full))
    }

    /// Checks `password` against the string `phc`.
    ///
    /// Security: without a string the password is checked against the decoy, which takes the same time and never
    /// matches.
    pub async fn verify(
        &self,
        key: QueueKey,
        password: Password,
        phc: Option<&str>,
    ) -> Result<Verified, Shed> {
        let text = phc.map_or_else(|| self.shared.decoy.clone(), ToOwned::to_owned);
        let verified = self.submit(key, |answer| Work::Verify(password, text, answer)).await?;
        Ok(Verified { matches: verified.matches && phc.is_some(), ..verified })
    }

    /// Returns the PHC string of a new password.
    pub async fn hash(&self, key: QueueKey, password: Password) -> Result<String, Shed> {
        // The salt is drawn here: a thread that may be preempted must not hold the lock of the random generator.
        let salt = self.shared.random.bytes().map_err(|_| Shed::FOR_A_SECOND)?;
        self.submit(key, |answer| Work::Hash(password, salt, answer)).await
    }

    /// Queues a job and waits for its result.
    async fn submit<T>(
        &self,
        key: QueueKey,
        work: impl FnOnce(oneshot::Sender<Result<T, Shed>>) -> Work,
    ) -> Result<T, Shed> {
        let (answer, result) = oneshot::channel();
        let ticket = self.shared.admit(key, work(answer))?;
        let mut withdraw = WithdrawOnDrop { shared: &self.shared, ticket: Some(ticket) };
        let result = result.await;
        withdraw.ticket = None;
        // A dropped sender means that argon2 refused the cost.
        result.unwrap_or(Err(Shed::FOR_A_SECOND))
    }

    /// Returns figures for operators.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state.lock();
        let mut lanes = state.lanes;
        for (lane, (_, queued)) in lanes.iter_mut().zip(state.schedule.waiting()) {
            lane.queued = queued;
        }
        Stats { lanes, running: state.running, hash_time: self.shared.hash_time() }
    }

    /// Returns the number of hashing threads.
    pub fn threads(&self) -> usize {
        debug_assert!(Arc::strong_count(&self.owner) > 0);
        self.shared.threads
    }

    /// Returns the name of the implementation, for people.
    pub fn implementation(&self) -> &str {
        &self.shared.implementation
    }

    /// Returns what operators should know about this pool.
    pub fn warnings(&self) -> &[String] {
        &self.shared.warnings
    }
}

/// Returns how many of `threads` threads fit into the free memory.
fn threads_in_memory(threads: usize, cost: Cost, warnings: &mut Vec<String>) -> usize {
    let free_kib = memory::free_kib().unwrap_or(u64::MAX);
    let fitting = memory::threads_within(free_kib, threads, cost.memory_kib);
    if fitting < threads {
        warnings.push(format!(
            "{threads} hashing threads with {} KiB each do not fit into half of the {free_kib} KiB of free memory: \
             {fitting} are started, so that a storm does not get the process killed",
            cost.memory_kib
        ));
    }
    fitting
}

/// Returns the implementation to hash with, after its self-test.
fn choose(choice: Choice, warnings: &mut Vec<String>) -> Implementation {
    let (implementation, failed) = Implementation::choose(choice);
    warnings.extend(failed.as_ref().map(SelfTestFailed::to_string));
    implementation
}

/// Returns how long a hash takes while nothing else runs.
fn measure(implementation: &mut Implementation, cost: Cost, clock: &Clock) -> io::Result<Duration> {
    let mut hash_time = Duration::ZERO;
    // The first hash also allocates the memory, so the second is the measure.
    for _ in 0..2 {
        let begin = clock.steady();
        hash(b"measure", cost, [0; 16], implementation).map_err(io::Error::other)?;
        hash_time = clock.steady().duration_since(begin);
    }
    implementation.release();
    Ok(hash_time)
}

/// Returns the lowest policy that the system grants to a hashing thread, and how many threads to start under it: one
/// less than `fitting` where it grants none, so that one core stays free for everything else.
fn background_policy(fitting: usize, warnings: &mut Vec<String>) -> (BackgroundPolicy, usize) {
    match try_policy(BackgroundPolicy::Idle) {
        Ok(policy) => {
            if policy != BackgroundPolicy::Idle && cfg!(target_os = "linux") {
                warnings.push(String::from(
                    "the system refuses SCHED_IDLE for hashing threads: they run at nice 19, and in a storm other \
                     answers take some milliseconds longer",
                ));
            }
            (policy, fitting)
        }
        Err(error) => {
            let fewer = fitting.saturating_sub(1).max(1);
            warnings.push(format!(
                "hashing threads cannot run below other threads ({error}): {fewer} are started, so that refusals and \
                 refreshes stay fast"
            ));
            (BackgroundPolicy::Nice, fewer)
        }
    }
}

/// Tries a policy on a thread that then ends, since an unprivileged thread cannot leave it again.
fn try_policy(wanted: BackgroundPolicy) -> io::Result<BackgroundPolicy> {
    let trial = thread::Builder::new()
        .name(String::from("hash-trial"))
        .spawn(move || scheduling::background(wanted))?;
    trial.join().unwrap_or_else(|_| Err(io::Error::other("the trial panicked")))
}

/// Starts the dispatcher. It waits for the hashing threads, and ends at once if they cannot be started.
fn start_dispatcher(
    shared: &Arc<Shared>,
    receiver: Receiver<HashThreads>,
    fail_stop: &FailStop,
) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let fail_stop = fail_stop.clone();
    thread::Builder::new().name(String::from("dispatcher")).spawn(move || {
        if let Ok(hash_threads) = receiver.recv() {
            fail_stop.guard("the dispatcher of passwords", || shared.dispatch(hash_threads));
        }
    })
}

fn shed(full: Full) -> Shed {
    // Rounded up, so that a client that waits as long as it was asked to finds the room that was predicted.
    Shed { retry_after: Duration::from_secs(full.clear_in.as_secs() + 1) }
}

impl Shared {
    fn hash_time(&self) -> Duration {
        Duration::from_nanos(self.hash_nanos.load(Ordering::Relaxed))
    }

    fn now(&self) -> Duration {
        self.clock.steady().duration_since(self.origin)
    }

    /// Queues a job, or refuses it.
    fn admit(&self, key: QueueKey, work: Work) -> Result<Ticket, Shed> {
        let QueueKey { lane, network } = key;
        let mut state = self.state.lock();
        let admitted = state.schedule.admit(lane, network, Job { lane, work }, self.hash_time(), self.now());
        let admitted = admitted.map_err(|(full, _)| {
            state.lane(lane).refused += 1;
            shed(full)
        })?;
        let lane_stats = state.lane(lane);
        lane_stats.admitted += 1;
        lane_stats.displaced += u64::from(admitted.displaced.is_some());
        let must_wake = state.has_free_thread;
        drop(state);
        if must_wake {
            self.wake_dispatcher();
        }
        if let Some(job) = admitted.displaced {
            job.work.shed(Shed::FOR_A_SECOND);
        }
        Ok(admitted.ticket)
    }

    fn wake_dispatcher(&self) {
        if let Some(dispatcher) = self.dispatcher.get() {
            dispatcher.unpark();
        }
    }

    /// Hands jobs to free threads and answers callers, until the last handle of the pool is dropped.
    fn dispatch(&self, mut hash_threads: HashThreads) {
        loop {
            for finished in hash_threads.collect() {
                self.update_hash_time(finished.took);
                finished.answer();
            }
            hash_threads.replace_starved();
            let Some(Round { to_run, expired }) = self.next_jobs(&hash_threads) else { return };
            for work in to_run {
                hash_threads.give(work);
            }
            for job in expired {
                job.work.shed(Shed::FOR_A_SECOND);
            }
            // A job or a result that came since it was looked for has already unparked this thread.
            match hash_threads.check_again_in() {
                Some(time) => thread::park_timeout(time),
                None => thread::park(),
            }
        }
    }

    /// Moves the average of the time of a hash by an eighth towards `took`.
    fn update_hash_time(&self, took: Duration) {
        let before = self.hash_nanos.load(Ordering::Relaxed);
        self.hash_nanos.store(before - before / 8 + nanos(took) / 8, Ordering::Relaxed);
    }

    /// Takes as many jobs out of the queue as threads are free. Returns `None` once the pool has ended.
    fn next_jobs(&self, hash_threads: &HashThreads) -> Option<Round> {
        let mut round = Round { to_run: Vec::new(), expired: Vec::new() };
        let mut state = self.state.lock();
        if state.ended {
            return None;
        }
        while round.to_run.len() < hash_threads.free() {
            let next = state.schedule.next(self.hash_time(), self.now());
            round.expired.extend(next.expired);
            let Some((lane, waited, job)) = next.run else { break };
            let lane_stats = state.lane(lane);
            lane_stats.done += 1;
            lane_stats.waited += waited;
            round.to_run.push(job.work);
        }
        for job in &round.expired {
            state.lane(job.lane).expired += 1;
        }
        state.running = hash_threads.busy() + round.to_run.len();
        state.has_free_thread = hash_threads.free() > round.to_run.len();
        Some(round)
    }
}

/// Jobs that the dispatcher has taken out of the queue at once.
struct Round {
    to_run: Vec<Work>,
    expired: Vec<Job>,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize, cost: Cost, budget_ms: u64) -> HashPool {
        let wait_budget = Duration::from_millis(budget_ms);
        let options =
            Options { threads, wait_budget, cost, implementation: Choice::Auto, machine: Machine::Shared };
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        HashPool::start(options, &Clock::system(), &Arc::new(Random::seeded(1)), &fail_stop).unwrap()
    }

    fn key(lane: Lane) -> QueueKey {
        QueueKey { lane, network: "192.0.2.0/24".parse().unwrap() }
    }

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    const SLOW: Cost = Cost { memory_kib: 19_456, passes: 4, lanes: 1 };
    const QUIET: Lane = Lane::Quiet;

    #[tokio::test]
    async fn many_passwords_are_checked_at_once_and_each_against_its_own() {
        let pool = pool(2, CHEAP, 60_000);
        let strings = (0..20).map(|n| pool.hash(key(QUIET), Password::for_login(&format!("password {n}"))));
        let mut hashed = Vec::new();
        for string in strings {
            hashed.push(string.await.unwrap());
        }
        for (n, string) in hashed.iter().enumerate() {
            let right = pool
                .verify(key(QUIET), Password::for_login(&format!("password {n}")), Some(string))
                .await
                .unwrap();
            assert_eq!(right, Verified { matches: true, needs_rehash: false });
            assert!(
                !pool
                    .verify(key(QUIET), Password::for_login("password"), Some(string))
                    .await
                    .unwrap()
                    .matches
            );
        }
        assert!(!pool.verify(key(QUIET), Password::for_login("password"), None).await.unwrap().matches);
        let broken = pool.verify(key(QUIET), Password::for_login("password"), Some("garbage")).await.unwrap();
        assert_eq!(broken, Verified { matches: false, needs_rehash: true });
    }

    #[tokio::test]
    async fn a_full_queue_sheds_at_once_and_a_dropped_job_frees_its_place() {
        let pool = pool(1, SLOW, 0);
        let mut waiting = Vec::new();
        let shed = loop {
            let mut job = Box::pin(pool.hash(key(QUIET), Password::for_login("a password")));
            match poll_once(&mut job) {
                Some(refused) => break refused.unwrap_err(),
                None => waiting.push(job),
            }
            assert!(waiting.len() < 3);
        };
        assert!(shed.retry_after >= Duration::from_secs(1));
        assert_eq!(pool.stats().shed(), 1);
        let mut refused = 0;
        for job in waiting {
            refused += u64::from(job.await.is_err());
        }
        // On a busy machine a job may wait longer than a budget of zero. Nothing else refuses one.
        assert_eq!(pool.stats().lanes.iter().map(|lane| lane.expired).sum::<u64>(), refused);
        assert_eq!(pool.stats().queued(), 0);
    }

    /// Polls once: afterwards the job is in the queue, or refused.
    fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
