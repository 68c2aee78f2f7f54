//! Measures how cost grows with accounts and families, with requests in flight, with cores, and with networks. Where
//! the whole server counts, the real binary is measured.
//!
//! `cargo bench --bench scale` runs all parts; `-- accounts`, `flight`, `cores` or `networks` runs one. Numbers after
//! `accounts` take the place of its steps: `-- accounts 10000000` goes to ten million, which takes 8 GiB of memory and
//! 6 GiB of disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis::password::Cost;
use portcullis::password::argon2id::{Choice, Implementation};
use portcullis::registry::throttle::class::{Class, Rate};
use portcullis::registry::throttle::table::{Limits, Table};
use portcullis::system::clock::Timestamp;
use support::load::{Run, field, rotate, run, signed_up};
use support::records::{saved, served};

const TIME: Duration = Duration::from_secs(3);

fn main() {
    let (steps, wanted): (Vec<String>, Vec<String>) =
        support::selection().into_iter().partition(|arg| arg.parse::<u64>().is_ok());
    let steps: Vec<u64> = steps.iter().filter_map(|step| step.parse().ok()).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if is_wanted("accounts") {
        accounts(&runtime, &steps);
    }
    if is_wanted("flight") {
        in_flight(&runtime);
    }
    if is_wanted("cores") {
        cores();
    }
    if is_wanted("networks") {
        networks();
    }
}

/// The real binary, serving over a directory. Dropping it kills the process.
struct Server {
    child: Child,
    address: SocketAddr,
    started_in: Duration,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = dir.with_extension("toml");
        let text = format!(
            "data_dir = \"{}\"\n[http]\nlisten = \"{address}\"\n[signup]\nverify_email = \"off\"\n[password]\nmemory_kib = 64\n\
             [throttle]\nexempt_networks = [\"127.0.0.0/8\"]\n",
            dir.display()
        );
        std::fs::write(&file, text).unwrap();
        let begin = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !answers(address) {
            assert!(begin.elapsed() < Duration::from_mins(1), "the server does not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        Self { child, address, started_in: begin.elapsed() }
    }

    /// Returns the resident memory of the process in bytes.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// Says whether the server at `address` is ready.
fn answers(address: SocketAddr) -> bool {
    let mut answer = [0; 12];
    std::net::TcpStream::connect(address)
        .and_then(|mut stream| {
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")?;
            stream.read_exact(&mut answer)
        })
        .is_ok_and(|()| answer.ends_with(b"200"))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures refreshes by clients with a connection each.
async fn refreshed(address: SocketAddr, connections: usize) -> Run {
    let mut clients = Vec::new();
    for number in 0..connections {
        let (connection, body) = signed_up(address, &format!("client{number}.{connections}")).await;
        clients.push((connection, field(&body, "refresh_token")));
    }
    run(clients, TIME, rotate).await
}

/// Measures memory, start and refreshes of the binary, over more and more accounts with a family each: none, then `steps`.
fn accounts(runtime: &tokio::runtime::Runtime, steps: &[u64]) {
    let steps = if steps.is_empty() { &[10_000, 100_000, 1_000_000] } else { steps };
    println!(
        "accounts, each with a family: the binary's memory, its start until it answers, 64 clients that refresh"
    );
    let mut empty = 0;
    for count in std::iter::once(0).chain(steps.iter().copied()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        if count == 0 {
            served(&path, &[("password.memory_kib", "64")], |_, _| ());
        } else {
            saved(&path, count);
        }
        let server = Server::start(&path);
        let resident = server.resident();
        if count == 0 {
            empty = resident;
        }
        let each = resident.saturating_sub(empty).checked_div(count);
        let each = each.map_or_else(|| String::from("-"), |bytes| format!("{bytes} bytes each"));
        let refreshed = runtime.block_on(refreshed(server.address, 64));
        println!(
            "  {count:>9}: {:>6.1} MiB resident, {each}; start {:?}; {:.0} refreshes/s, p50 {:?}, p99 {:?}",
            resident as f64 / f64::from(1 << 20),
            server.started_in,
            refreshed.rate,
            refreshed.p50,
            refreshed.p99
        );
    }
}

/// Measures refreshes by more and more clients.
fn in_flight(runtime: &tokio::runtime::Runtime) {
    println!("refreshes in flight, each durable before its answer:");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    served(&path, &[("password.memory_kib", "64")], |_, _| ());
    let server = Server::start(&path);
    for connections in [1, 4, 16, 64, 256, 1024] {
        let Run { rate, p50, p99 } = runtime.block_on(refreshed(server.address, connections));
        println!("  {connections:>5}: {rate:>6.0}/s, p50 {p50:?}, p99 {p99:?}");
    }
}

/// Measures hashes a second on more and more threads, in turns, and prints the medians.
fn cores() {
    let most = std::thread::available_parallelism().unwrap().get();
    let counts: Vec<usize> = (0..10).map(|n| 1 << n).filter(|n| *n < most).chain([most]).collect();
    println!("cores: argon2id at 19 MiB and two passes on so many threads");
    let mut turns = vec![Vec::new(); counts.len()];
    for _ in 0..3 {
        for (turns, threads) in turns.iter_mut().zip(&counts) {
            let hash = || {
                let (mut implementation, _) = Implementation::choose(Choice::Auto);
                let mut count = 0_u32;
                let mut begin = Instant::now();
                loop {
                    implementation.fill(Cost::SAFE, b"password", b"saltsaltsaltsalt", &mut [0; 32]).unwrap();
                    // The first hash also takes the memory from the system, so the time begins after it.
                    if count == 0 {
                        begin = Instant::now();
                    }
                    count += 1;
                    if begin.elapsed() > TIME / 2 {
                        return f64::from(count - 1) / begin.elapsed().as_secs_f64();
                    }
                }
            };
            let rate: f64 = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..*threads).map(|_| scope.spawn(hash)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            turns.push(rate);
        }
    }
    let mut single = 0.0;
    for (mut turns, threads) in turns.into_iter().zip(counts) {
        turns.sort_by(f64::total_cmp);
        if threads == 1 {
            single = turns[1];
        }
        println!("  {threads:>3}: {:.0}/s, {:.2} times of one", turns[1], turns[1] / single);
    }
}

/// Measures a decision of the rate limiter and the size of its table, under more and more networks.
fn networks() {
    println!("networks: a decision of the limiter, of a million cells at most");
    for count in [10_000_u32, 100_000, 1_000_000, 10_000_000] {
        let rates = vec![(Class::Login, Rate { burst: 20, per_minute: 20 })];
        let limits = Limits { rates, cells: 1_000_000, exempt: Vec::new(), half_spent: false };
        let mut now = Timestamp::from_secs(1_800_000_000);
        let mut table = Table::new(limits, now);
        let mut times = hdrhistogram::Histogram::<u64>::new(3).unwrap();
        for number in 0..count {
            if number.is_multiple_of(100_000) {
                now = now + Duration::from_secs(1);
            }
            let address = IpAddr::from(Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761)));
            let begin = Instant::now();
            let _ = std::hint::black_box(table.take(Class::Login, address, now));
            times.record(begin.elapsed().as_nanos() as u64).unwrap();
        }
        println!(
            "  {count:>9}: p50 {} ns, p99 {} ns, {:.1} MiB",
            times.value_at_quantile(0.5),
            times.value_at_quantile(0.99),
            table.bytes() as f64 / f64::from(1 << 20)
        );
    }
}
