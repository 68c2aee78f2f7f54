//! The pool: hashing on threads of its own, each with its own memory, behind a bounded and fair queue.
//!
//! [`Queues`] decides which job is next and which is refused at once. A place in the queue belongs to the job: when
//! the client hangs up, the place is freed at once if the job has not begun, otherwise when it ends.
//!
//! Hashing threads run under a background policy. One that is preempted while it holds a lock would stop every thread
//! that needs the lock, so no hashing thread touches the queue. A dispatcher at normal priority takes jobs out of the
//! queue, hands them to the threads and answers the callers.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::argon2id::{Choice, Implementation, SelfTestFailed};
use super::cost::Cost;
use super::foreign::{EqualWork, FastDigest};
use super::job::{QueueKey, Shed, Unverified, Verified};
use super::lane::Lane;
use super::pepper::Peppers;
use super::phc::{Phc, decoy, hash};
use super::policy::{Advice, Policy, Weakness};
use super::queues::{Queue, Queues, Times};
use super::schedule::{Full, Ticket};
use super::stats::{LaneStats, Stats};
use super::strength;
use super::thread::{Against, Answer, Finished, Measured, NewPassword, Work};
use super::threads::{HashThreads, ThreadSpec};
use super::typed::Password;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::memory;
use crate::system::random::Random;
use crate::system::scheduling::{self, BackgroundPolicy};
use crate::value::counted::counted;

/// The time of judging a password, until one was measured.
const CHECK_TIME: Duration = Duration::from_millis(1);

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
    /// KiB that a thread needs for the dearest hash; no fewer than for a new one.
    pub memory_kib: u64,
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
    /// Moving average of the time of judging a password, in nanoseconds.
    check_nanos: AtomicU64,
    /// KiB of memory filled in all passes of all hashes.
    filled_kib: AtomicU64,
    /// Work of the hashes of other systems, in KiB as argon2id fills them.
    foreign_kib: AtomicU64,
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
    queues: Queues<Job>,
    running: usize,
    /// Whether a thread is free, so that the dispatcher must be woken for a new job.
    has_free_thread: bool,
    lanes: [LaneStats; 3],
    checks: LaneStats,
    ended: bool,
}

struct Job {
    queue: Queue,
    lane: Lane,
    work: Work,
}

/// Removes a job from the queue when the future that waits for it is dropped.
struct WithdrawOnDrop<'a> {
    shared: &'a Shared,
    ticket: Option<(Queue, Ticket)>,
}

impl WithdrawOnDrop<'_> {
    /// Removes the job, and returns whether it was still in the queue.
    fn now(&mut self) -> bool {
        let Some((queue, ticket)) = self.ticket.take() else { return false };
        let mut state = self.shared.state.lock();
        let job = state.queues.withdraw(queue, ticket);
        if let Some(job) = &job {
            state.stats_of(queue, job.lane).abandoned += 1;
        }
        job.is_some()
    }
}

impl Drop for WithdrawOnDrop<'_> {
    fn drop(&mut self) {
        self.now();
    }
}

impl State {
    /// Returns the figures of a lane of hashes, or of all judgements.
    fn stats_of(&mut self, queue: Queue, lane: Lane) -> &mut LaneStats {
        let [known, quiet, failing] = &mut self.lanes;
        match (queue, lane) {
            (Queue::Checks, _) => &mut self.checks,
            (Queue::Hashes, Lane::Known) => known,
            (Queue::Hashes, Lane::Quiet) => quiet,
            (Queue::Hashes, Lane::Failing) => failing,
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
        let Options { threads, wait_budget, cost, implementation, memory_kib } = options;
        let mut warnings = Vec::new();
        let decoy = decoy(cost, random).map_err(io::Error::other)?;
        // At normal priority, and not before the first password that needs them. Nobody waits for this thread.
        thread::Builder::new().name(String::from("word-lists")).spawn(strength::load)?;
        let fitting = threads_in_memory(threads, memory_kib, &mut warnings);
        let mut implementation = choose(implementation, &mut warnings).with_peppers(peppers);
        let hash_time = measure(&mut implementation, cost, clock)?;
        let (policy, threads) = background_policy(fitting, &mut warnings);
        let shared = Arc::new(Shared {
            threads,
            state: Mutex::new(State {
                queues: Queues::new(threads, wait_budget),
                running: 0,
                has_free_thread: true,
                lanes: [LaneStats::default(); 3],
                checks: LaneStats::default(),
                ended: false,
            }),
            dispatcher: OnceLock::new(),
            hash_nanos: AtomicU64::new(nanos(hash_time)),
            check_nanos: AtomicU64::new(nanos(CHECK_TIME)),
            filled_kib: AtomicU64::new(0),
            foreign_kib: AtomicU64::new(0),
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
            decoy: Phc::parse(&decoy).map_err(io::Error::other)?,
            clock: clock.clone(),
            fail_stop: fail_stop.clone(),
            dispatcher: shared.dispatcher.get_or_init(|| dispatcher).clone(),
        };
        let hash_threads = HashThreads::start(spec, threads, hash_time, policy)?;
        to_dispatcher
            .send(hash_threads)
            .map_err(|_| io::Error::other("the dispatcher of the hash queue has ended"))?;
        let owner = Arc::new(StopOnDrop(Arc::clone(&shared)));
        Ok(Self { shared, owner })
    }

    /// Says whether a job would be admitted now under at least one of `keys`. Flows ask this before they charge or write
    /// anything.
    ///
    /// Errors: all lanes are full. It counts as a refusal of the last one.
    pub fn has_room(&self, keys: &[QueueKey]) -> Result<(), Shed> {
        let times = self.shared.times();
        let mut state = self.shared.state.lock();
        let mut refused = None;
        for key in keys {
            match state.queues.has_room(*key, times) {
                Ok(()) => return Ok(()),
                Err(full) => refused = Some((key.lane, full)),
            }
        }
        let Some((lane, full)) = refused else { return Ok(()) };
        state.stats_of(Queue::Hashes, lane).refused += 1;
        Err(shed(full))
    }

    /// Checks `password` against the stored text `phc`, whatever system has made it. Every check takes the work of `equal`.
    ///
    /// Security: without a string the password is checked against a decoy, which takes the same work and never matches.
    pub async fn verify(
        &self,
        key: QueueKey,
        password: Password,
        phc: Option<&str>,
        equal: EqualWork,
    ) -> Result<Verified, Shed> {
        self.verify_unless(key, password, phc, equal, pending::<()>()).await.map_err(Unverified::into_shed)
    }

    /// Does what [`HashPool::verify`] does, unless `gone` ends before the work has begun.
    ///
    /// Security: work that has begun is finished whatever `gone` does, so that its caller can settle it.
    pub async fn verify_unless(
        &self,
        key: QueueKey,
        password: Password,
        phc: Option<&str>,
        equal: EqualWork,
        gone: impl Future,
    ) -> Result<Verified, Unverified> {
        let against = phc
            .map_or_else(|| Against::Decoy(self.shared.decoy.clone()), |phc| Against::Stored(phc.to_owned()));
        let work = |answer| Work::Verify(password, against, equal, answer);
        self.submit_unless(Queue::Hashes, key, work, gone).await
    }

    /// Returns the PHC string of a new password of `email`, if `policy` accepts it.
    ///
    /// Errors: the reasons against it.
    pub async fn accept(
        &self,
        key: QueueKey,
        policy: &Arc<Policy>,
        password: Password,
        email: &str,
    ) -> Result<Result<String, Vec<Weakness>>, Shed> {
        let salt = self.salt()?;
        let new = NewPassword { password, email: email.to_owned(), policy: Arc::clone(policy) };
        self.submit(Queue::Hashes, key, |answer| Work::Accept(new, salt, answer)).await
    }

    /// Returns what `policy` says of a new password of `email`. It is judged on the threads that hash, and admitted like
    /// a hash: an event loop has no time for it.
    pub async fn advise(
        &self,
        key: QueueKey,
        policy: &Arc<Policy>,
        password: Password,
        email: &str,
    ) -> Result<Advice, Shed> {
        let new = NewPassword { password, email: email.to_owned(), policy: Arc::clone(policy) };
        self.submit(Queue::Checks, key, |answer| Work::Advise(new, answer)).await
    }

    /// Returns the PHC string of a password that needs no judgement: it was accepted before.
    pub async fn hash(&self, key: QueueKey, password: Password) -> Result<String, Shed> {
        let salt = self.salt()?;
        self.submit(Queue::Hashes, key, |answer| Work::Hash(password, salt, answer)).await
    }

    /// Returns the text to be stored of the fast digest of another system, which must not be stored itself.
    pub async fn wrap(&self, key: QueueKey, digest: FastDigest) -> Result<String, Shed> {
        let salt = self.salt()?;
        self.submit(Queue::Hashes, key, |answer| Work::Wrap(digest, salt, answer)).await
    }

    /// Draws a salt. A thread that may be preempted must not hold the lock of the random generator, so this is done before
    /// the job is queued.
    fn salt(&self) -> Result<[u8; 16], Shed> {
        self.shared.random.bytes().map_err(|_| Shed::FOR_A_SECOND)
    }

    /// Queues a job and waits for its result.
    async fn submit<T>(
        &self,
        queue: Queue,
        key: QueueKey,
        work: impl FnOnce(Answer<T>) -> Work,
    ) -> Result<T, Shed> {
        self.submit_unless(queue, key, work, pending::<()>()).await.map_err(Unverified::into_shed)
    }

    /// Queues a job and waits for its result. If `gone` ends while it is in the queue, it is taken out again.
    async fn submit_unless<T>(
        &self,
        queue: Queue,
        key: QueueKey,
        work: impl FnOnce(oneshot::Sender<Result<T, Shed>>) -> Work,
        gone: impl Future,
    ) -> Result<T, Unverified> {
        let (answer, mut result) = oneshot::channel();
        let ticket = self.shared.admit(queue, key, work(answer))?;
        let mut withdraw = WithdrawOnDrop { shared: &self.shared, ticket: Some((queue, ticket)) };
        let result = tokio::select! {
            biased;
            result = &mut result => result,
            _ = gone => {
                if withdraw.now() {
                    return Err(Unverified::Withdrawn);
                }
                result.await
            }
        };
        withdraw.ticket = None;
        // A dropped sender means that argon2 refused the cost.
        Ok(result.unwrap_or(Err(Shed::FOR_A_SECOND))?)
    }

    /// Returns figures for operators.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state.lock();
        let mut lanes = state.lanes;
        for (lane, (_, queued)) in lanes.iter_mut().zip(state.queues.waiting(Queue::Hashes)) {
            lane.queued = queued;
        }
        let queued = state.queues.waiting(Queue::Checks).iter().map(|(_, queued)| queued).sum();
        let checks = LaneStats { queued, ..state.checks };
        let Times { hash: hash_time, check: check_time } = self.shared.times();
        let filled_kib = self.shared.filled_kib.load(Ordering::Relaxed);
        let foreign_kib = self.shared.foreign_kib.load(Ordering::Relaxed);
        Stats { lanes, checks, running: state.running, hash_time, check_time, filled_kib, foreign_kib }
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
fn threads_in_memory(threads: usize, memory_kib: u64, warnings: &mut Vec<String>) -> usize {
    let free_kib = memory::free_kib().unwrap_or(u64::MAX);
    let fitting = memory::threads_within(free_kib, threads, u32::try_from(memory_kib).unwrap_or(u32::MAX));
    if fitting < threads {
        warnings.push(format!(
            "{} with {memory_kib} KiB each do not fit into half of the {free_kib} KiB of free memory: {} started, so that a storm \
             does not get the process killed",
            counted(threads as u64, "hashing thread", "hashing threads"),
            counted(fitting as u64, "is", "are")
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
                "hashing threads cannot run below other threads ({error}): {} started, so that refusals and refreshes \
                 stay fast",
                counted(fewer as u64, "is", "are")
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
    fn times(&self) -> Times {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        Times { hash: time(&self.hash_nanos), check: time(&self.check_nanos) }
    }

    fn now(&self) -> Duration {
        self.clock.steady().duration_since(self.origin)
    }

    /// Queues a job, or refuses it.
    fn admit(&self, queue: Queue, key: QueueKey, work: Work) -> Result<Ticket, Shed> {
        let lane = key.lane;
        let mut state = self.state.lock();
        let job = Job { queue, lane, work };
        let admitted = state.queues.admit(queue, key, job, self.times(), self.now());
        let admitted = admitted.map_err(|(full, _)| {
            state.stats_of(queue, lane).refused += 1;
            shed(full)
        })?;
        let lane_stats = state.stats_of(queue, lane);
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
                self.note(&finished);
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

    /// Counts the work of a job, and moves the average of the time that such jobs take by an eighth towards its time.
    fn note(&self, finished: &Finished) {
        self.filled_kib.fetch_add(finished.effort.filled_kib, Ordering::Relaxed);
        self.foreign_kib.fetch_add(finished.effort.foreign_kib, Ordering::Relaxed);
        let average = match finished.measured() {
            Measured::Hash => &self.hash_nanos,
            Measured::Check => &self.check_nanos,
            Measured::Nothing => return,
        };
        let before = average.load(Ordering::Relaxed);
        average.store(before - before / 8 + nanos(finished.took) / 8, Ordering::Relaxed);
    }

    /// Takes as many jobs out of the queue as threads are free. Returns `None` once the pool has ended.
    fn next_jobs(&self, hash_threads: &HashThreads) -> Option<Round> {
        let mut round = Round { to_run: Vec::new(), expired: Vec::new() };
        let mut state = self.state.lock();
        if state.ended {
            return None;
        }
        while round.to_run.len() < hash_threads.free() {
            let next = state.queues.next(self.times(), self.now());
            round.expired.extend(next.expired);
            let Some((queue, lane, waited, job)) = next.run else { break };
            let lane_stats = state.stats_of(queue, lane);
            lane_stats.done += 1;
            lane_stats.waited += waited;
            round.to_run.push(job.work);
        }
        for job in &round.expired {
            state.stats_of(job.queue, job.lane).expired += 1;
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
mod tests;
