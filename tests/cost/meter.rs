//! Measures what one request costs the server: the time of its threads, memory, and bytes written.
//!
//! The time is CPU time, not time on the clock, so that a busy machine does not change it. The server runs in this
//! process; the threads of the client are left out.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::allocator;
use crate::support::TestServer;

/// What a request has cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// CPU time of the event loops, the actors and all other threads but those that hash.
    pub loops: Duration,
    /// CPU time of the hashing threads.
    pub hashing: Duration,
    /// Bytes of memory held at most, more than before.
    pub memory: usize,
    /// Bytes of journal entries.
    pub journal: u64,
    /// Bytes of security events.
    pub audit: u64,
    /// Bytes of the log.
    pub log: u64,
}

impl Spent {
    /// Returns the bytes that were written in all.
    pub const fn written(&self) -> u64 {
        self.journal + self.audit + self.log
    }

    /// Returns the row of an endpoint in the table of `src/http/README.md`.
    pub fn row(&self, method: &str, path: &str) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (loops, hashing, memory) = (ms(self.loops), ms(self.hashing), self.memory / 1024);
        let (journal, other) = (self.journal, self.audit + self.log);
        format!("| {method} `{path}` | {loops:.1} | {hashing:.1} | {memory} | {journal} | {other} |")
    }

    /// Returns the lower of both costs, item by item: what disturbed one measurement has not disturbed the other.
    pub fn min(self, other: Self) -> Self {
        Self {
            loops: self.loops.min(other.loops),
            hashing: self.hashing.min(other.hashing),
            memory: self.memory.min(other.memory),
            journal: self.journal.min(other.journal),
            audit: self.audit.min(other.audit),
            log: self.log.min(other.log),
        }
    }

    /// Returns the higher of both costs, item by item.
    pub fn max(self, other: Self) -> Self {
        Self {
            loops: self.loops.max(other.loops),
            hashing: self.hashing.max(other.hashing),
            memory: self.memory.max(other.memory),
            journal: self.journal.max(other.journal),
            audit: self.audit.max(other.audit),
            log: self.log.max(other.log),
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (loops, hashing, memory) = (ms(self.loops), ms(self.hashing), self.memory / 1024);
        let Self { journal, audit, log, .. } = self;
        write!(
            f,
            "{loops:6.2} ms loops {hashing:6.2} ms hashing {memory:5} KiB {journal:5} B journal {audit:5} B audit \
             {log:5} B log"
        )
    }
}

/// Bytes that the log has grown by.
static LOGGED: AtomicU64 = AtomicU64::new(0);

struct CountedLog;

impl Write for CountedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Starts the log of this process as `portcullis serve` does, but only counts its bytes.
pub fn start_log() {
    let filter = EnvFilter::new("info,lettre=warn,actix_server=warn,portcullis::event=info");
    let started =
        tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(|| CountedLog).try_init();
    // Another test of this process may have started it.
    let _ = started;
}

/// Measures the requests of this thread.
pub struct Meter {
    /// The thread of the client.
    client: String,
}

impl Meter {
    /// Makes this thread the client.
    pub fn new() -> Self {
        start_log();
        allocator::exclude_this_thread();
        let this = std::fs::read_link("/proc/thread-self").unwrap();
        Self { client: this.file_name().unwrap().to_string_lossy().into_owned() }
    }

    /// Runs `act`, waits until the server has come to rest, and returns the result and the cost.
    pub async fn measure<T>(&self, server: &TestServer, act: impl Future<Output = T>) -> (T, Spent) {
        self.rest().await;
        let before = self.times();
        let held = allocator::begin();
        let [journal, audit, log] = written(server);
        let value = act.await;
        self.rest().await;
        let memory = allocator::peak_above(held);
        let after = self.times();
        let [journal_after, audit_after, log_after] = written(server);
        let mut spent = Spent {
            memory,
            journal: journal_after - journal,
            audit: audit_after - audit,
            log: log_after - log,
            ..Spent::default()
        };
        for (thread, (name, time)) in after {
            let since = before.get(&thread).map_or(Duration::ZERO, |(_, time)| *time);
            let kind = if name.starts_with("hash-") { &mut spent.hashing } else { &mut spent.loops };
            *kind += time.saturating_sub(since);
        }
        (value, spent)
    }

    /// Waits until no thread of the server has used the CPU for a while.
    async fn rest(&self) {
        let mut before = self.times();
        for _ in 0..400 {
            tokio::time::sleep(Duration::from_millis(3)).await;
            let now = self.times();
            let used: Duration = now
                .iter()
                .map(|(thread, (_, time))| {
                    time.saturating_sub(before.get(thread).map_or(Duration::ZERO, |(_, time)| *time))
                })
                .sum();
            if used < Duration::from_micros(100) {
                return;
            }
            before = now;
        }
    }

    /// Returns name and CPU time of every thread but the client's.
    fn times(&self) -> BTreeMap<String, (String, Duration)> {
        let mut times = BTreeMap::new();
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let path = task.unwrap().path();
            let thread = path.file_name().unwrap().to_string_lossy().into_owned();
            // A thread may end while it is looked at.
            let read = |file| std::fs::read_to_string(path.join(file)).ok();
            let (Some(name), Some(times_of)) = (read("comm"), read("schedstat")) else { continue };
            let nanos = times_of.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
            if thread != self.client {
                times.insert(thread, (name, Duration::from_nanos(nanos)));
            }
        }
        times
    }
}

/// Returns the bytes of journal, security events and log so far.
fn written(server: &TestServer) -> [u64; 3] {
    let journal = server.engine.upgrade().map_or(0, |engine| engine.journal_stats().body_bytes);
    [journal, bytes_in(&server.data_dir().join("audit")), LOGGED.load(Ordering::Relaxed)]
}

fn bytes_in(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten();
    files.map(|file| file.unwrap().metadata().map_or(0, |metadata| metadata.len())).sum()
}
