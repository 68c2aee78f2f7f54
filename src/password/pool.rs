//! Hashing on threads of its own, each with its own memory, behind a bounded queue.
//!
//! A job is admitted if it would be done within the budget by what was measured; else it is refused at once. The place
//! in the queue belongs to the job, not to the request: whoever hangs up frees it only when nothing has begun.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use argon2::Block;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Password;
use super::phc::{Cost, Phc, decoy, hash};
use crate::clock::Clock;
use crate::fail_stop::FailStop;
use crate::secret::{Chance, NoChance};

/// How a pool is built.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that hash.
    pub threads: usize,
    /// How long a job may be predicted to wait before it is refused.
    pub wait_budget: Duration,
    /// What a new hash costs.
    pub cost: Cost,
}

/// The queue is full. Never counted as a failed attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many passwords wait to be checked; try again in {} s", retry_after.as_secs())]
pub struct Shed {
    /// When it is worth trying again.
    pub retry_after: Duration,
}

/// The answer of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verified {
    /// Whether the password is the right one.
    pub matches: bool,
    /// Whether its string has another cost than new ones.
    pub needs_rehash: bool,
}

/// Figures for operators.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Jobs that wait.
    pub queued: usize,
    /// Jobs that are being done.
    pub running: usize,
    /// Jobs refused since the start.
    pub shed: u64,
    /// Jobs admitted since the start.
    pub passes: u64,
    /// What a hash takes, as measured.
    pub hash_time: Duration,
}

/// A handle of the pool. The threads end with the last one.
#[derive(Clone)]
pub struct HashPool {
    shared: Arc<Shared>,
    owner: Arc<Ended>,
}

struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.queue.lock().ended = true;
        self.0.work.notify_all();
    }
}

struct Shared {
    options: Options,
    queue: Mutex<Queue>,
    work: Condvar,
    hash_nanos: AtomicU64,
    shed: AtomicU64,
    chance: Arc<Chance>,
    clock: Clock,
    decoy: String,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: usize,
    passes: u64,
    ended: bool,
}

enum Job {
    Verify(Password, String, oneshot::Sender<Verified>),
    Hash(Password, oneshot::Sender<String>),
}

impl Job {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Verify(_, _, answer) => answer.is_closed(),
            Self::Hash(_, answer) => answer.is_closed(),
        }
    }
}

impl HashPool {
    /// Measures a hash and starts the threads.
    pub fn start(
        options: Options,
        clock: &Clock,
        chance: &Arc<Chance>,
        fail_stop: &FailStop,
    ) -> std::io::Result<Self> {
        let decoy = decoy(options.cost, chance).map_err(std::io::Error::other)?;
        let shared = Arc::new(Shared {
            options,
            queue: Mutex::default(),
            work: Condvar::new(),
            hash_nanos: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            chance: Arc::clone(chance),
            clock: clock.clone(),
            decoy,
        });
        let mut memory = Vec::new();
        // The first one also pays for the memory: the second is the measure.
        for _ in 0..2 {
            let begin = clock.steady();
            hash(b"measure", options.cost, [0; 16], &mut memory).map_err(std::io::Error::other)?;
            let taken = clock.steady().duration_since(begin);
            shared.hash_nanos.store(nanos(taken), Ordering::Relaxed);
        }
        let mut memory = Some(memory);
        for number in 0..options.threads.max(1) {
            let (shared, fail_stop, memory) = (Arc::clone(&shared), fail_stop.clone(), memory.take());
            thread::Builder::new().name(format!("hash-{number}")).spawn(move || {
                lower_priority();
                fail_stop.guard("a hashing thread", || shared.work(memory.unwrap_or_default()));
            })?;
        }
        let owner = Arc::new(Ended(Arc::clone(&shared)));
        Ok(Self { shared, owner })
    }

    /// Checks a password against a PHC string, or against the decoy when there is none: the same work, and never a
    /// match.
    pub async fn verify(&self, password: Password, phc: Option<&str>) -> Result<Verified, Shed> {
        let text = phc.map_or_else(|| self.shared.decoy.clone(), ToOwned::to_owned);
        let (answer, wait) = oneshot::channel();
        self.shared.admit(Job::Verify(password, text, answer))?;
        let verified = wait.await.map_err(|_| self.shared.busy(Duration::ZERO))?;
        Ok(Verified { matches: verified.matches && phc.is_some(), ..verified })
    }

    /// The PHC string of a new password.
    pub async fn hash(&self, password: Password) -> Result<String, Shed> {
        let (answer, wait) = oneshot::channel();
        self.shared.admit(Job::Hash(password, answer))?;
        wait.await.map_err(|_| self.shared.busy(Duration::ZERO))
    }

    /// Figures for operators.
    pub fn stats(&self) -> Stats {
        let queue = self.shared.queue.lock();
        let shed = self.shared.shed.load(Ordering::Relaxed);
        let passes = queue.passes;
        Stats {
            queued: queue.jobs.len(),
            running: queue.running,
            shed,
            passes,
            hash_time: self.shared.hash_time(),
        }
    }

    /// Threads that hash.
    pub fn threads(&self) -> usize {
        debug_assert!(Arc::strong_count(&self.owner) > 0);
        self.shared.options.threads.max(1)
    }
}

impl Shared {
    fn hash_time(&self) -> Duration {
        Duration::from_nanos(self.hash_nanos.load(Ordering::Relaxed))
    }

    fn busy(&self, wait: Duration) -> Shed {
        Shed { retry_after: wait.max(Duration::from_secs(1)) }
    }

    fn admit(&self, job: Job) -> Result<(), Shed> {
        let threads = self.options.threads.max(1) as u32;
        let mut queue = self.queue.lock();
        if queue.running + queue.jobs.len() >= threads as usize {
            queue.jobs.retain(|job| !job.is_abandoned());
        }
        let ahead = (queue.running + queue.jobs.len()) as u32;
        let wait = self.hash_time().saturating_mul(ahead) / threads;
        if wait > self.options.wait_budget {
            drop(queue);
            self.shed.fetch_add(1, Ordering::Relaxed);
            return Err(self.busy(wait));
        }
        queue.passes += 1;
        queue.jobs.push_back(job);
        drop(queue);
        self.work.notify_one();
        Ok(())
    }

    fn work(&self, mut memory: Vec<Block>) {
        loop {
            let job = {
                let mut queue = self.queue.lock();
                loop {
                    if queue.ended {
                        return;
                    }
                    match queue.jobs.pop_front() {
                        Some(job) if job.is_abandoned() => {}
                        Some(job) => {
                            queue.running += 1;
                            break job;
                        }
                        None => self.work.wait(&mut queue),
                    }
                }
            };
            let begin = self.clock.steady();
            self.run(job, &mut memory);
            let taken = nanos(self.clock.steady().duration_since(begin));
            let before = self.hash_nanos.load(Ordering::Relaxed);
            self.hash_nanos.store(before - before / 8 + taken / 8, Ordering::Relaxed);
            self.queue.lock().running -= 1;
        }
    }

    /// Whoever hung up meanwhile has no use for the answer.
    fn run(&self, job: Job, memory: &mut Vec<Block>) {
        match job {
            Job::Verify(password, text, answer) => {
                let phc = Phc::parse(&text);
                let cost = phc.as_ref().ok().map(Phc::cost);
                // A string that cannot be used matches nothing; the decoy keeps the time the same.
                let checked = phc.and_then(|phc| phc.matches(password.as_bytes(), memory)).or_else(|_| {
                    Phc::parse(&self.decoy)?.matches(password.as_bytes(), memory).map(|_| false)
                });
                let matches = checked.unwrap_or(false);
                let _ = answer.send(Verified { matches, needs_rehash: cost != Some(self.options.cost) });
            }
            Job::Hash(password, answer) => {
                let salted = self.chance.bytes().map_err(|_: NoChance| ());
                let hashed = salted.and_then(|salt| {
                    hash(password.as_bytes(), self.options.cost, salt, memory).map_err(|_| ())
                });
                if let Ok(text) = hashed {
                    let _ = answer.send(text);
                }
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// So that refusals and refreshes stay fast while every core hashes.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19) {
        tracing::debug!(%error, "cannot lower the priority of a hashing thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize, cost: Cost, budget_ms: u64) -> HashPool {
        let options = Options { threads, wait_budget: Duration::from_millis(budget_ms), cost };
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        HashPool::start(options, &Clock::system(), &Arc::new(Chance::seeded(1)), &fail_stop).unwrap()
    }

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    const SLOW: Cost = Cost { memory_kib: 19_456, passes: 4, lanes: 1 };

    #[tokio::test]
    async fn many_passwords_are_checked_at_once_and_each_against_its_own() {
        let pool = pool(2, CHEAP, 60_000);
        let strings = (0..20).map(|n| pool.hash(Password::for_login(&format!("password {n}"))));
        let mut hashed = Vec::new();
        for string in strings {
            hashed.push(string.await.unwrap());
        }
        for (n, string) in hashed.iter().enumerate() {
            let right =
                pool.verify(Password::for_login(&format!("password {n}")), Some(string)).await.unwrap();
            assert_eq!(right, Verified { matches: true, needs_rehash: false });
            assert!(!pool.verify(Password::for_login("password"), Some(string)).await.unwrap().matches);
        }
        assert!(!pool.verify(Password::for_login("password"), None).await.unwrap().matches);
        let broken = pool.verify(Password::for_login("password"), Some("garbage")).await.unwrap();
        assert_eq!(broken, Verified { matches: false, needs_rehash: true });
    }

    #[tokio::test]
    async fn a_full_queue_sheds_at_once_and_whoever_hangs_up_frees_the_place() {
        let pool = pool(1, SLOW, 0);
        let mut waiting = Vec::new();
        let shed = loop {
            let mut job = Box::pin(pool.hash(Password::for_login("a password")));
            match futures_poll(&mut job) {
                Some(refused) => break refused.unwrap_err(),
                None => waiting.push(job),
            }
            assert!(waiting.len() < 3);
        };
        assert!(shed.retry_after >= Duration::from_secs(1));
        assert_eq!(pool.stats().shed, 1);
        for job in waiting {
            assert!(job.await.is_ok());
        }
        let stats = pool.stats();
        assert_eq!(stats.queued, 0);
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
