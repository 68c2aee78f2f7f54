//! Measures an import of accounts into the running binary, and what a client that refreshes notices of it.
//!
//! `cargo bench --bench import` imports 200,000 accounts with bcrypt hashes; `cargo bench --bench import -- 20000` imports 20,000.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod support;

use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use support::load::{field, rotate, signed_up};
use support::records::served;

fn main() {
    let count = support::selection().iter().find_map(|arg| arg.parse().ok()).unwrap_or(200_000);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let file = dir.path().join("users.ndjson");
    write_lines(&file, count);
    let settings = [("password.memory_kib", "64"), ("throttle.exempt_networks", "127.0.0.0/8")];
    served(&path, &settings, |_, _| ());
    let server = start(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = server.1;
    let quiet = runtime.block_on(refreshes(address, "before", wait(Duration::from_secs(3))));
    let over = Arc::new(AtomicBool::new(false));
    let importing = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let begin = Instant::now();
            let done = Command::new(env!("CARGO_BIN_EXE_portcullis"))
                .args(["user", "import"])
                .arg(&file)
                .arg("--data-dir")
                .arg(&path)
                .stdout(Stdio::null())
                .status();
            assert!(done.unwrap().success());
            over.store(true, Ordering::Relaxed);
            begin.elapsed()
        }
    });
    let during = runtime.block_on(refreshes(address, "during", over));
    let took = importing.join().unwrap();
    println!("import of {count} accounts: {took:.2?}, {:.0} accounts/s", count as f64 / took.as_secs_f64());
    for (what, times) in [("without", quiet), ("meanwhile", during)] {
        println!(
            "  {what}: {} refreshes of one client, p50 {:.1?}, p99 {:.1?}",
            times.len(),
            quantile(&times, 0.5),
            quantile(&times, 0.99)
        );
    }
}

/// Returns a quantile of times in nanoseconds.
fn quantile(times: &Histogram<u64>, quantile: f64) -> Duration {
    Duration::from_nanos(times.value_at_quantile(quantile))
}

fn write_lines(file: &Path, count: u64) {
    let mut file = BufWriter::new(std::fs::File::create(file).unwrap());
    for number in 0..count {
        writeln!(
            file,
            "{{\"id\":\"{number:08x}-58cc-4372-a567-0e02b2c3d479\",\"email\":\"user{number}@example.org\",\"email_verified\":true,\
             \"password_hash\":\"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\",\"name\":\"User {number}\",\
             \"created_at\":\"2023-01-02T03:04:05Z\"}}"
        )
        .unwrap();
    }
    file.into_inner().unwrap();
}

/// A flag that is set after a time.
fn wait(time: Duration) -> Arc<AtomicBool> {
    let over = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&over);
    std::thread::spawn(move || {
        std::thread::sleep(time);
        flag.store(true, Ordering::Relaxed);
    });
    over
}

/// Refreshes with one client until `over`, and returns how long each refresh took.
async fn refreshes(address: SocketAddr, name: &str, over: Arc<AtomicBool>) -> Histogram<u64> {
    let (connection, body) = signed_up(address, name).await;
    let mut state = (connection, field(&body, "refresh_token"));
    let mut times = Histogram::<u64>::new(3).unwrap();
    while !over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        (state, _) = rotate(state).await;
        times.record(begin.elapsed().as_nanos() as u64).unwrap();
    }
    times
}

/// The running binary, which ends with it.
struct Running(std::process::Child, SocketAddr);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path) -> Running {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["serve", "--data-dir"])
        .arg(dir)
        .env("PORTCULLIS__HTTP__LISTEN", address.to_string())
        .env("PORTCULLIS__SIGNUP__VERIFY_EMAIL", "off")
        .env("PORTCULLIS__PASSWORD__MEMORY_KIB", "64")
        .env("PORTCULLIS__THROTTLE__EXEMPT_NETWORKS", "127.0.0.0/8")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child, address);
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    running
}
