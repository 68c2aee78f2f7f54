//! Hashing on threads of its own, each with its own memory, behind a bounded queue that is fair.
//!
//! Who is next, and who is refused at once, is [`Scheduler`]'s rule. The place in the queue belongs to the job, not to the
//! request: whoever hangs up frees it at once if it has not begun, and else when it is done.
//!
//! Hashing threads run at the lowest priority. One that is stopped while it holds a lock would stop whoever needs that lock,
//! so none of them touches the queue: a dispatcher at full priority takes jobs out, carries them to the threads' seats, and
//! tells the answers.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::oneshot;

use super::Password;
use super::argon2id::{Choice, Implementation, SelfTestFailed};
use super::cost::Cost;
use super::phc::{decoy, hash};
use super::schedule::{Full, Lane, Scheduler, Ticket};
use super::stats::{LaneStats, Stats};
use super::thread::Work;
use super::threads::{HashThreads, ThreadSpec};
use crate::password::job::{QueueKey, Shed, Verified};
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::memory;
use crate::system::random::Random;
use crate::system::scheduling::{self, BackgroundPolicy, Machine};

/// How a pool is built.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that hash.
    pub threads: usize,
    /// How long a job may wait before it is refused.
    pub wait_budget: Duration,
    /// What a new hash costs.
    pub cost: Cost,
    /// Which implementation hashes.
    pub implementation: Choice,
    /// Who else is busy on the cores.
    pub machine: Machine,
}

/// A handle of the pool. The threads end with the last one.
#[derive(Clone)]
pub struct HashPool {
    shared: Arc<Shared>,
    owner: Arc<StopOnDrop>,
}

struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.call_dispatcher();
    }
}

struct Shared {
    threads: usize,
    state: Mutex<State>,
    dispatcher: OnceLock<Thread>,
    hash_nanos: AtomicU64,
    clock: Clock,
    random: Arc<Random>,
    origin: Instant,
    decoy: String,
    implementation: String,
    warnings: Vec<String>,
}

struct State {
    schedule: Scheduler<Job>,
    running: usize,
    /// Whether the dispatcher has a seat free, and waits to be called.
    has_free_seat: bool,
    lanes: [LaneStats; 3],
    ended: bool,
}

struct Job {
    lane: Lane,
    work: Work,
}

/// Takes a job out of the queue when whoever waits for it goes away.
struct Withdraw<'a> {
    shared: &'a Shared,
    ticket: Option<Ticket>,
}

impl Drop for Withdraw<'_> {
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
    pub fn start(
        options: Options,
        clock: &Clock,
        random: &Arc<Random>,
        fail_stop: &FailStop,
    ) -> io::Result<Self> {
        let Options { threads, wait_budget, cost, implementation, machine } = options;
        let decoy = decoy(cost, random).map_err(io::Error::other)?;
        let mut warnings = Vec::new();
        let free_kib = memory::free_kib().unwrap_or(u64::MAX);
        let fit = memory::threads_within(free_kib, threads, cost.memory_kib);
        if fit < threads {
            warnings.push(format!(
                "{threads} threads that hash with {} KiB each are too many for {free_kib} KiB that are free: it is {fit}, so \
                 that a storm does not get the process ended",
                cost.memory_kib
            ));
        }
        let (mut implementation, failed) = Implementation::choose(implementation);
        warnings.extend(failed.as_ref().map(SelfTestFailed::to_string));
        let mut taken = Duration::ZERO;
        // The first one also pays for the memory: the second is the measure.
        for _ in 0..2 {
            let begin = clock.steady();
            hash(b"measure", cost, [0; 16], &mut implementation).map_err(io::Error::other)?;
            taken = clock.steady().duration_since(begin);
        }
        implementation.release();
        let low = can_lower(BackgroundPolicy::Idle);
        let threads = match &low {
            Ok(low) => {
                if *low != BackgroundPolicy::Idle && cfg!(target_os = "linux") {
                    warnings.push(String::from(
                        "the system refuses hashing the idle class: it runs at nice 19, and in a storm other answers take some \
                         milliseconds more",
                    ));
                }
                fit
            }
            Err(error) => {
                let fewer = fit.saturating_sub(1).max(1);
                warnings.push(format!(
                    "hashing cannot run below everything else ({error}): it takes {fewer} threads, so that refusals and \
                     refreshes stay fast"
                ));
                fewer
            }
        };
        let state = State {
            schedule: Scheduler::new(threads, wait_budget),
            running: 0,
            has_free_seat: true,
            lanes: [LaneStats::default(); 3],
            ended: false,
        };
        let shared = Arc::new(Shared {
            threads,
            state: Mutex::new(state),
            dispatcher: OnceLock::new(),
            hash_nanos: AtomicU64::new(nanos(taken)),
            clock: clock.clone(),
            random: Arc::clone(random),
            origin: clock.steady(),
            decoy,
            implementation: implementation.name(),
            warnings,
        });
        let (crew_to, hash_threads) = mpsc::channel::<HashThreads>();
        let dispatcher = {
            let (shared, fail_stop) = (Arc::clone(&shared), fail_stop.clone());
            thread::Builder::new().name(String::from("dispatcher")).spawn(move || {
                // None comes when a thread of it could not be started.
                if let Ok(hash_threads) = hash_threads.recv() {
                    fail_stop.guard("the dispatcher of passwords", || shared.dispatch(hash_threads));
                }
            })?
        };
        let spec = ThreadSpec {
            implementation,
            cost,
            decoy: shared.decoy.clone(),
            clock: clock.clone(),
            fail_stop: fail_stop.clone(),
            dispatcher: shared.dispatcher.get_or_init(|| dispatcher.thread().clone()).clone(),
        };
        let hash_threads =
            HashThreads::start(spec, threads, taken, low.unwrap_or(BackgroundPolicy::Nice), machine)?;
        crew_to.send(hash_threads).map_err(|_| io::Error::other("the dispatcher of passwords has ended"))?;
        let owner = Arc::new(StopOnDrop(Arc::clone(&shared)));
        Ok(Self { shared, owner })
    }

    /// Whether a job of a network would be admitted now in any of some lanes: asked before anything is charged or written
    /// down for it.
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

    /// Checks a password against a PHC string, or against the decoy when there is none: the same work, and never a
    /// match.
    pub async fn verify(
        &self,
        place: QueueKey,
        password: Password,
        phc: Option<&str>,
    ) -> Result<Verified, Shed> {
        let text = phc.map_or_else(|| self.shared.decoy.clone(), ToOwned::to_owned);
        let verified = self.done(place, |answer| Work::Verify(password, text, answer)).await?;
        Ok(Verified { matches: verified.matches && phc.is_some(), ..verified })
    }

    /// The PHC string of a new password.
    pub async fn hash(&self, place: QueueKey, password: Password) -> Result<String, Shed> {
        // Drawn here: a thread that may be stopped anywhere must not hold what every request draws from.
        let salt = self.shared.random.bytes().map_err(|_| Shed { retry_after: Duration::from_secs(1) })?;
        self.done(place, |answer| Work::Hash(password, salt, answer)).await
    }

    async fn done<T>(
        &self,
        place: QueueKey,
        work: impl FnOnce(oneshot::Sender<Result<T, Shed>>) -> Work,
    ) -> Result<T, Shed> {
        let (answer, wait) = oneshot::channel();
        let ticket = self.shared.admit(place, work(answer))?;
        let mut withdraw = Withdraw { shared: &self.shared, ticket: Some(ticket) };
        let answer = wait.await;
        withdraw.ticket = None;
        // Without an answer no string could be made.
        answer.unwrap_or(Err(Shed { retry_after: Duration::from_secs(1) }))
    }

    /// Figures for operators.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state.lock();
        let mut lanes = state.lanes;
        for (lane, (_, waiting)) in lanes.iter_mut().zip(state.schedule.waiting()) {
            lane.queued = waiting;
        }
        Stats { lanes, running: state.running, hash_time: self.shared.hash_time() }
    }

    /// Threads that hash.
    pub fn threads(&self) -> usize {
        debug_assert!(Arc::strong_count(&self.owner) > 0);
        self.shared.threads
    }

    /// Which implementation hashes, for people.
    pub fn implementation(&self) -> &str {
        &self.shared.implementation
    }

    /// What an operator should know of it.
    pub fn warnings(&self) -> &[String] {
        &self.shared.warnings
    }
}

fn shed(full: Full) -> Shed {
    // Up to the next second, so that who waits as told finds the room that was foretold.
    Shed { retry_after: Duration::from_secs(full.clear_in.as_secs() + 1) }
}

impl Shared {
    fn hash_time(&self) -> Duration {
        Duration::from_nanos(self.hash_nanos.load(Ordering::Relaxed))
    }

    fn now(&self) -> Duration {
        self.clock.steady().duration_since(self.origin)
    }

    fn admit(&self, place: QueueKey, work: Work) -> Result<Ticket, Shed> {
        let QueueKey { lane, network } = place;
        let mut state = self.state.lock();
        let admitted = state.schedule.admit(lane, network, Job { lane, work }, self.hash_time(), self.now());
        let admitted = admitted.map_err(|(full, _)| {
            state.lane(lane).refused += 1;
            shed(full)
        })?;
        let of_lane = state.lane(lane);
        of_lane.admitted += 1;
        of_lane.displaced += u64::from(admitted.displaced.is_some());
        let is_waited_for = state.has_free_seat;
        drop(state);
        if is_waited_for {
            self.call_dispatcher();
        }
        if let Some(job) = admitted.displaced {
            job.work.shed(Shed { retry_after: Duration::from_secs(1) });
        }
        Ok(admitted.ticket)
    }

    fn call_dispatcher(&self) {
        if let Some(dispatcher) = self.dispatcher.get() {
            dispatcher.unpark();
        }
    }

    /// Brings jobs to the threads that are free and tells the answers, until the last handle is gone.
    fn dispatch(&self, mut hash_threads: HashThreads) {
        loop {
            for done in hash_threads.collect() {
                let before = self.hash_nanos.load(Ordering::Relaxed);
                self.hash_nanos.store(before - before / 8 + nanos(done.taken) / 8, Ordering::Relaxed);
                done.tell();
            }
            hash_threads.relieve();
            let mut given = Vec::new();
            let mut expired = Vec::new();
            {
                let mut state = self.state.lock();
                if state.ended {
                    return;
                }
                while given.len() < hash_threads.free() {
                    let next = state.schedule.next(self.hash_time(), self.now());
                    expired.extend(next.expired);
                    let Some((lane, waited, job)) = next.run else { break };
                    let lane = state.lane(lane);
                    lane.done += 1;
                    lane.waited += waited;
                    given.push(job.work);
                }
                for job in &expired {
                    state.lane(job.lane).expired += 1;
                }
                state.running = hash_threads.busy() + given.len();
                state.has_free_seat = hash_threads.free() > given.len();
            }
            for work in given {
                hash_threads.give(work);
            }
            for job in expired {
                job.work.shed(Shed { retry_after: Duration::from_secs(1) });
            }
            // Whatever has come since it was looked for lets this pass at once.
            match hash_threads.look_again_in() {
                Some(time) => thread::park_timeout(time),
                None => thread::park(),
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Tried on a thread that ends with the trial: what was lowered cannot be raised again.
fn can_lower(wanted: BackgroundPolicy) -> io::Result<BackgroundPolicy> {
    let trial = thread::Builder::new()
        .name(String::from("hash-trial"))
        .spawn(move || scheduling::background(wanted))?;
    trial.join().unwrap_or_else(|_| Err(io::Error::other("the trial panicked")))
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

    fn place(lane: Lane) -> QueueKey {
        QueueKey { lane, network: "192.0.2.0/24".parse().unwrap() }
    }

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    const SLOW: Cost = Cost { memory_kib: 19_456, passes: 4, lanes: 1 };
    const QUIET: Lane = Lane::Quiet;

    #[tokio::test]
    async fn many_passwords_are_checked_at_once_and_each_against_its_own() {
        let pool = pool(2, CHEAP, 60_000);
        let strings = (0..20).map(|n| pool.hash(place(QUIET), Password::for_login(&format!("password {n}"))));
        let mut hashed = Vec::new();
        for string in strings {
            hashed.push(string.await.unwrap());
        }
        for (n, string) in hashed.iter().enumerate() {
            let right = pool
                .verify(place(QUIET), Password::for_login(&format!("password {n}")), Some(string))
                .await
                .unwrap();
            assert_eq!(right, Verified { matches: true, needs_rehash: false });
            assert!(
                !pool
                    .verify(place(QUIET), Password::for_login("password"), Some(string))
                    .await
                    .unwrap()
                    .matches
            );
        }
        assert!(!pool.verify(place(QUIET), Password::for_login("password"), None).await.unwrap().matches);
        let broken =
            pool.verify(place(QUIET), Password::for_login("password"), Some("garbage")).await.unwrap();
        assert_eq!(broken, Verified { matches: false, needs_rehash: true });
    }

    #[tokio::test]
    async fn a_full_queue_sheds_at_once_and_who_hangs_up_frees_the_place() {
        let pool = pool(1, SLOW, 0);
        let mut waiting = Vec::new();
        let shed = loop {
            let mut job = Box::pin(pool.hash(place(QUIET), Password::for_login("a password")));
            match futures_poll(&mut job) {
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
        // On a machine that stands still for a moment a job may outwait a budget of nothing; nothing else refuses one.
        assert_eq!(pool.stats().lanes.iter().map(|lane| lane.expired).sum::<u64>(), refused);
        assert_eq!(pool.stats().queued(), 0);
    }

    /// Polls once: the job is then in the queue, or refused.
    fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
