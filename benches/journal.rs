//! Measures what durability costs: a commit beside the device's own sync, many commits at once, a snapshot while
//! clients are served, and recovery. Each figure is measured in the run that prints what it is compared with.
//!
//! `cargo bench --bench journal` runs all parts; `-- commit` runs those whose name contains the word; `short` makes
//! them small and quick, only to see that they run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use portcullis::journal::append::handle::{Class, Handle, Sealed};
use portcullis::journal::format::buckets::BUCKETS;
use portcullis::journal::format::entry::{Change, EncodedEntry, Entry};
use portcullis::journal::recovery::recover;
use portcullis::journal::snapshot::proof::prove;
use portcullis::registry::account::Accounts;
use portcullis::registry::record::Write;
use portcullis::registry::tables::kept;
use portcullis::registry::{Owner, OwnerContext};
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use portcullis::system::scheduling::Machine;
use portcullis::token::Feed;
use support::load::{field, rotate, run, signed_up};
use support::records::{Nothing, account, options, saved, served};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Duration and size of the measurements.
#[derive(Clone, Copy)]
struct Scale {
    time: Duration,
    accounts: u64,
    tail: u64,
    clients: usize,
}

const WHOLE: Scale = Scale { time: Duration::from_secs(4), accounts: 1_000_000, tail: 64 << 20, clients: 64 };
const SHORT: Scale = Scale { time: Duration::from_millis(200), accounts: 5_000, tail: 2 << 20, clients: 8 };

fn main() {
    let wanted = support::selection();
    let scale = if wanted.iter().any(|arg| arg == "short") { SHORT } else { WHOLE };
    let names: Vec<_> = wanted.iter().filter(|arg| *arg != "short").collect();
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if is_wanted("commit") {
        commit(&runtime, scale);
    }
    if is_wanted("messages") {
        messages(scale);
    }
    if is_wanted("snapshot") {
        snapshot(&runtime, scale);
    }
    if is_wanted("recovery") {
        recovery(&runtime, scale);
    }
}

/// Returns a quantile of times in nanoseconds.
fn quantile(times: &Histogram<u64>, quantile: f64) -> Duration {
    Duration::from_nanos(times.value_at_quantile(quantile))
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap()
}

/// Returns an entry as long as that of a rotation.
fn entry() -> EncodedEntry {
    Entry::encode(&[Change { table: 5, schema: 1, key: vec![0; 16], value: Some(vec![7; 120]) }]).unwrap()
}

/// Appends `entry` and waits until it is durable. Returns false if there is no space at the moment.
async fn committed(handle: &Handle, entry: &EncodedEntry) -> bool {
    let Ok(permit) = handle.reserve(entry.as_bytes().len(), Class::Ordinary) else {
        tokio::time::sleep(Duration::from_millis(1)).await;
        return false;
    };
    let seq = handle.append(permit, entry);
    handle.open(Sealed::new((), seq)).await.unwrap();
    true
}

/// Measures writes and syncs of 4 KiB into a file that is allocated in full, as a segment is.
fn raw(path: &Path, time: Duration) -> Histogram<u64> {
    use std::os::unix::fs::FileExt;
    let blocks = 4096;
    let file = std::fs::File::create(path).unwrap();
    file.write_all_at(&vec![0; blocks * 4096], 0).unwrap();
    file.sync_all().unwrap();
    let mut times = new_histogram();
    let begin = Instant::now();
    for at in (0..blocks).cycle() {
        let begun = Instant::now();
        file.write_all_at(&[1; 4096], at as u64 * 4096).unwrap();
        file.sync_data().unwrap();
        times.record(begun.elapsed().as_nanos() as u64).unwrap();
        if begin.elapsed() > time {
            break;
        }
    }
    times
}

/// Measures commits of one client in turns with the raw device, and then of many clients at once. Only the journal
/// runs.
fn commit(runtime: &tokio::runtime::Runtime, scale: Scale) {
    const TURNS: u32 = 5;
    let dir = tempfile::tempdir().unwrap();
    let recovered = recover(options(&dir.path().join("data")), &mut Nothing).unwrap();
    let fail_stop = FailStop::new(|why| panic!("{why}"));
    let (handle, running, _) = recovered.start(&fail_stop, Machine::Shared).unwrap();
    let entry = entry();
    let mut device = new_histogram();
    let mut alone = new_histogram();
    for _ in 0..TURNS {
        device.add(raw(&dir.path().join("raw"), scale.time / TURNS)).unwrap();
        runtime.block_on(async {
            let begin = Instant::now();
            while begin.elapsed() < scale.time / TURNS {
                let begun = Instant::now();
                if committed(&handle, &entry).await {
                    alone.record(begun.elapsed().as_nanos() as u64).unwrap();
                }
            }
        });
    }
    for (what, quantile_of) in [("p50", 0.5), ("p99", 0.99)] {
        let raw = quantile(&device, quantile_of);
        let ours = quantile(&alone, quantile_of);
        println!(
            "a commit of one client, {what}: {ours:.1?}; the device's own write and sync of 4 KiB: {raw:.1?}; {:.2} times",
            ours.as_secs_f64() / raw.as_secs_f64()
        );
    }
    for clients in [scale.clients, 1024] {
        let states: Vec<_> = (0..clients).map(|_| (handle.clone(), entry.clone())).collect();
        let before = handle.stats();
        let appended = runtime.block_on(run(states, scale.time, |(handle, entry)| async move {
            let done = committed(&handle, &entry).await;
            ((handle, entry), done)
        }));
        let after = handle.stats();
        let entries = after.durable - before.durable;
        let frames = after.frames - before.frames;
        println!(
            "durable commits, {clients} in flight: {:.0}/s, p50 {:.1?}, p99 {:.1?}; {:.0} entries a sync, frames take {:.2} \
             times their bodies",
            appended.rate,
            appended.p50,
            appended.p99,
            entries as f64 / frames.max(1) as f64,
            (after.frame_bytes - before.frame_bytes) as f64
                / (after.body_bytes - before.body_bytes).max(1) as f64
        );
    }
    running.close();
}

/// Measures the messages by which a snapshot asks an actor for its records.
fn messages(scale: Scale) {
    let dir = tempfile::tempdir().unwrap();
    let recovered = recover(options(dir.path()), &mut Nothing).unwrap();
    let mut accounts = Accounts::default();
    for number in 0..scale.accounts {
        accounts.apply(Write::Put(account(number)));
    }
    let context = OwnerContext {
        journal: recovered.handle.clone(),
        clock: Clock::system(),
        fail_stop: FailStop::new(|why| panic!("{why}")),
        write_counts: Arc::default(),
        feed: Arc::new(Feed::new(1, Duration::from_mins(15))),
        events: None,
    };
    let owner = Owner::new(accounts, context);
    let mut times = new_histogram();
    let mut from = 0;
    let mut bytes = 0;
    while from < BUCKETS {
        let begun = Instant::now();
        let (records, next) = owner.read_buckets(from);
        times.record(begun.elapsed().as_nanos() as u64).unwrap();
        from = next;
        bytes += records.len();
    }
    println!(
        "messages of a snapshot, {} accounts, {:.0} MiB: {} of them, p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
        scale.accounts,
        bytes as f64 / f64::from(1 << 20),
        times.len(),
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        Duration::from_nanos(times.max())
    );
}

/// Measures refreshes while a snapshot is taken, proved and named, beside refreshes of the same clients without one.
fn snapshot(runtime: &tokio::runtime::Runtime, scale: Scale) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    saved(&path, scale.accounts);
    let open = [
        ("throttle.exempt_networks", "127.0.0.0/8"),
        ("password.memory_kib", "64"),
        // The first snapshot is due after these many bytes of journal.
        ("journal.snapshot_bytes", "8388608"),
    ];
    let ((), _) = served(&path, &open, |address, engine| {
        let over = Arc::new(AtomicBool::new(false));
        let watched = path.join("snapshot");
        let flag = Arc::clone(&over);
        let watch = std::thread::spawn(move || {
            let taking = watched.join("taking.tmp");
            let wait = |there: bool| {
                while taking.exists() != there && !flag.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Instant::now()
            };
            let begin = wait(true);
            let end = wait(false);
            // The clients go on for as long again without a snapshot.
            std::thread::sleep((end - begin).max(Duration::from_millis(200)));
            flag.store(true, Ordering::Relaxed);
            (begin, end)
        });
        let requests = runtime.block_on(refreshes(address, scale.clients, &over));
        let (begin, end) = watch.join().unwrap();
        let mut during = new_histogram();
        let mut without = new_histogram();
        for (at, took) in requests {
            let times = if at + took >= begin && at <= end { &mut during } else { &mut without };
            times.record(took.as_nanos() as u64).unwrap();
        }
        println!(
            "a snapshot of {} accounts and families under {} clients: {:.2?} until it had its name, journal at {}",
            scale.accounts,
            scale.clients,
            end - begin,
            engine.journal_stats().durable
        );
        for (what, times) in [("while it was taken", &during), ("without", &without)] {
            println!(
                "  {what}: {} refreshes, p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}",
                times.len(),
                quantile(times, 0.5),
                quantile(times, 0.99),
                quantile(times, 0.999)
            );
        }
    });
    assert!(!path.join("quarantine/disproved.snap").exists());
    let begun = Instant::now();
    let storage = LocalStorage::open(&path).unwrap();
    let proof = prove(&storage, None, None, &kept, &|| ()).unwrap();
    println!(
        "a second path from {} beginnings to {} records: {:.2?}",
        proof.paths,
        proof.records,
        begun.elapsed()
    );
}

/// Refreshes until `over`, and returns when each refresh began and how long it took.
async fn refreshes(address: SocketAddr, clients: usize, over: &Arc<AtomicBool>) -> Vec<(Instant, Duration)> {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..clients {
        let over = Arc::clone(over);
        tasks.spawn(async move {
            let (connection, body) = signed_up(address, &format!("client{number}")).await;
            let mut state = (connection, field(&body, "refresh_token"));
            let mut requests = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                (state, _) = rotate(state).await;
                requests.push((begun, begun.elapsed()));
            }
            requests
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// Measures recovery: of accounts in a snapshot, and then of the same with journal entries after it.
fn recovery(runtime: &tokio::runtime::Runtime, scale: Scale) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    saved(&path, scale.accounts);
    let settings = [("password.memory_kib", "64")];
    let ((), taken) = served(&path, &settings, |_, _| ());
    println!("recovery to a bound socket, {} accounts and families, no tail: {taken:.2?}", scale.accounts);
    tail(runtime, &path, scale.tail);
    let ((), taken) = served(&path, &settings, |_, _| ());
    println!(
        "recovery to a bound socket, {} accounts and families, {} MiB of journal behind them: {taken:.2?}",
        scale.accounts,
        scale.tail >> 20
    );
}

/// Appends entries that a replay has to apply, until the frames hold `bytes` bytes, and closes the journal.
fn tail(runtime: &tokio::runtime::Runtime, path: &Path, bytes: u64) {
    let recovered = recover(options(path), &mut Nothing).unwrap();
    let fail_stop = FailStop::new(|why| panic!("{why}"));
    let (handle, running, _) = recovered.start(&fail_stop, Machine::Shared).unwrap();
    runtime.block_on(async {
        let mut number = 0;
        while handle.stats().frame_bytes < bytes {
            let mut last = 0;
            for _ in 0..1000 {
                let write = Write::Put(account(number % 10_000));
                let entry = Entry::encode(&[write.to_change().unwrap()]).unwrap();
                number += 1;
                match handle.reserve(entry.as_bytes().len(), Class::Essential) {
                    Ok(permit) => last = handle.append(permit, &entry),
                    Err(_) => break,
                }
            }
            if last == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            handle.open(Sealed::new((), last)).await.unwrap();
        }
    });
    running.close();
}
