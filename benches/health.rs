//! Measures how soon `GET /healthz` is answered while twelve networks send the dearest requests known, each as fast as
//! its rate limits allow. If an event loop computes for long, all other requests of that loop wait, and it shows here.
//!
//! `cargo bench --bench health` takes half a minute and fails if one answer of a hundred took longer than 10 ms;
//! `-- short` takes ten seconds and fails at 50 ms, for a machine that may be busy. Hashes have their default cost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    missing_docs,
    reason = "a bench"
)]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod support;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use portcullis::config::{Config, Reader};
use portcullis::server;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use support::load::Connection;

/// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Networks that send dear requests.
const NETWORKS: usize = 12;
/// How long the server is left alone first, for comparison.
const ALONE: Duration = Duration::from_secs(3);
/// A health check is sent this often.
const EVERY: Duration = Duration::from_millis(2);

fn main() {
    let is_short = support::selection().iter().any(|arg| arg == "short");
    let (time, bound_ms) =
        if is_short { (Duration::from_secs(10), 50.0) } else { (Duration::from_secs(30), 10.0) };
    let dir = tempfile::tempdir().unwrap();
    let address = serve(config(&dir));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let alone = local.block_on(&runtime, health(address, ALONE));
    println!("/healthz, nothing else: {}", figures(&alone));
    let answers = Rc::new(std::cell::RefCell::new(std::collections::BTreeMap::<u16, u64>::new()));
    let under_load = local.block_on(&runtime, async {
        for network in 0..NETWORKS {
            tokio::task::spawn_local(attack(address, network, Rc::clone(&answers)));
        }
        health(address, time).await
    });
    println!("/healthz, {NETWORKS} networks send the dearest requests: {}", figures(&under_load));
    println!("answers to those: {:?}", answers.borrow());
    let p99 = ms(under_load.value_at_quantile(0.99));
    assert!(p99 <= bound_ms, "p99 is {p99:.1} ms, more than {bound_ms} ms: an event loop is busy");
}

/// Returns the configuration: as it is by default, behind a proxy that names the clients.
fn config(dir: &tempfile::TempDir) -> Config {
    let mut reader = Reader::new();
    for (key, value) in [
        ("data_dir", &*dir.path().to_string_lossy()),
        ("http.listen", "127.0.0.1:0"),
        ("http.trusted_proxies", "127.0.0.0/8"),
        ("mail.console", "false"),
    ] {
        reader.plain(key, value, "bench");
    }
    Config::from_reader(reader).unwrap()
}

/// Serves on a thread of its own until the process ends.
fn serve(config: Config) -> SocketAddr {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let fail_stop = FailStop::new(|why| panic!("{why}"));
            let server = server::build(config, Clock::system(), false, None, &fail_stop).unwrap();
            ready.send(server.address).unwrap();
            std::future::pending::<()>().await;
        });
    });
    is_ready.recv().unwrap()
}

/// Asks for the health of the server for `time`, and returns the times of the answers in microseconds.
async fn health(address: SocketAddr, time: Duration) -> Histogram<u64> {
    let mut connection = Connection::open(address).await;
    let mut times = Histogram::new(3).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < time {
        let sent = Instant::now();
        let (status, _) = connection.ask(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(status, 200);
        let took = u64::try_from(sent.elapsed().as_micros()).unwrap();
        // Checks that were due while an answer was late would have been late too: the histogram adds them.
        times.record_correct(took, u64::try_from(EVERY.as_micros()).unwrap()).unwrap();
        tokio::time::sleep(EVERY).await;
    }
    times
}

/// Sends dear requests from one network without a pause. What its limits refuse is refused.
async fn attack(
    address: SocketAddr,
    network: usize,
    answers: Rc<std::cell::RefCell<std::collections::BTreeMap<u16, u64>>>,
) {
    let signs = "4@8({[<369!1|0$5+7%2";
    let strange = format!("{signs}{}", "𝔸😀".repeat(40));
    let repeated = signs.repeat(5);
    let short: String = signs.chars().cycle().take(24).collect();
    let long_address = format!("{}@example.org", "a".repeat(14_000));
    let mut connection = Connection::open(address).await;
    for n in 0_u64.. {
        let name = format!("somebody{network}.{n}@example.org");
        let (path, body) = match n % 5 {
            0 => ("/v1/password/check", format!("{{\"password\":\"{strange}\"}}")),
            1 => (
                "/v1/password/check",
                format!("{{\"password\":\"{repeated}\",\"email\":\"{long_address}\"}}"),
            ),
            2 => ("/v1/password/check", format!("{{\"password\":\"{repeated}\",\"email\":\"{name}\"}}")),
            3 => ("/v1/signup", format!("{{\"password\":\"{short}\",\"email\":\"{name}\"}}")),
            _ => ("/v1/login", format!("{{\"password\":\"{short}\",\"email\":\"{name}\"}}")),
        };
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 11.0.{network}.7\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let (status, _) = connection.ask(request.as_bytes()).await;
        *answers.borrow_mut().entry(status).or_default() += 1;
        if status == 429 {
            // The refused request was cheap. A rate near the limit keeps the generator from measuring itself.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn figures(times: &Histogram<u64>) -> String {
    let at = |quantile| ms(times.value_at_quantile(quantile));
    format!("p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", at(0.5), at(0.99), ms(times.max()))
}
