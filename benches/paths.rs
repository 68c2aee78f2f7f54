//! Measures the paths of a request, each beside what it is compared with, in one run on one machine.
//!
//! `cargo bench --bench paths` runs all parts; `-- refresh` runs those whose name contains the word. `--bench journal`
//! measures what durability costs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "../tests/support/counting_allocator.rs"]
mod counting_allocator;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer, web};
use counting_allocator::Counting;
use portcullis::config::Config;
use portcullis::engine::Engine;
use portcullis::password::Cost;
use portcullis::password::argon2id::{Choice, Implementation};
use portcullis::registry::account::Accounts;
use portcullis::registry::record::Write;
use portcullis::registry::refresh::Families;
use portcullis::server;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use support::load::{Connection, Run, field, post, rotate, run, run_on, signed_up};
use support::records::{account, config, family};
use support::values::PASSWORD;

#[global_allocator]
static ALLOCATOR: Counting<mimalloc::MiMalloc> = Counting(mimalloc::MiMalloc);

const TIME: Duration = Duration::from_secs(4);

fn main() {
    let wanted = support::selection();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if is_wanted("memory") {
        memory();
    }
    if is_wanted("sign") {
        sign();
    }
    if is_wanted("refusals") {
        refusals(&runtime);
    }
    if is_wanted("session") {
        session(&runtime);
    }
    for in_flight in [1, CONNECTIONS, 1024] {
        if is_wanted(&format!("refresh-{in_flight}")) {
            refresh(&runtime, in_flight);
        }
    }
    if is_wanted("floor") {
        at_the_floor(&runtime);
    }
    if is_wanted("login") {
        login(&runtime);
    }
}

/// Serves on a thread of its own until the process ends.
fn serve(config: Config) -> (SocketAddr, Arc<Engine>) {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let fail_stop = FailStop::new(|why| panic!("{why}"));
            let server = server::build(config, Clock::system(), false, None, &fail_stop).unwrap();
            ready.send((server.address, Arc::clone(&server.engine))).unwrap();
            std::future::pending::<()>().await;
        });
    });
    is_ready.recv().unwrap()
}

/// Serves a constant of `bytes` bytes by plain actix-web, and returns the address.
fn serve_constant(bytes: usize) -> SocketAddr {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let text: &'static str = "x".repeat(bytes).leak();
            let app = move || App::new().route("/", web::get().to(move || async move { text }));
            let server = HttpServer::new(app).bind("127.0.0.1:0").unwrap();
            ready.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    is_ready.recv().unwrap()
}

/// Makes one request on a connection. It counts if its status is `expected`.
async fn ask(
    mut connection: Connection,
    request: Arc<[u8]>,
    expected: u16,
) -> ((Connection, Arc<[u8]>), bool) {
    let (status, _) = connection.ask(&request).await;
    ((connection, request), status == expected)
}

const CONNECTIONS: usize = 64;
/// Machines drift, so each path is measured in turns with the constant that it is compared with.
const TURNS: usize = 3;

/// Measures the same request on [`CONNECTIONS`] connections.
async fn same_request(address: SocketAddr, request: &str, expected: u16, time: Duration) -> Run {
    let mut clients = Vec::new();
    let request: Arc<[u8]> = request.as_bytes().into();
    for _ in 0..CONNECTIONS {
        clients.push((Connection::open(address).await, Arc::clone(&request)));
    }
    run(clients, time, move |(connection, request)| ask(connection, request, expected)).await
}

/// Measures a path in turns with a constant answer of the same size and prints the median of the ratios.
async fn beside_constant<F: Future<Output = Run>>(what: &str, bytes: usize, mut path: impl FnMut() -> F) {
    let address = serve_constant(bytes);
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let constant = same_request(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n", 200, TIME / 2).await;
        turns.push((path().await, constant));
    }
    turns.sort_by(|(a, of_a), (b, of_b)| (a.rate / of_a.rate).total_cmp(&(b.rate / of_b.rate)));
    let (median, constant) = &turns[TURNS / 2];
    let percent = median.rate / constant.rate * 100.0;
    println!(
        "{what}: {:.0}/s, p50 {:?}, p99 {:?}; a constant of {bytes} bytes {:.0}/s: {percent:.0} %",
        median.rate, median.p50, median.p99, constant.rate
    );
}

/// Measures the one thing that no refresh can do without: a signature.
fn sign() {
    let (signer, claims, now) = support::floor::signing();
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < TIME / 4 {
        signer.sign(&claims, now).unwrap();
        count += 1;
    }
    println!("signature of an access token (ES256), one core: {:?}", begin.elapsed() / count);
}

/// Measures what is left of the constant's rate if only the least that a refresh needs is done.
fn at_the_floor(runtime: &tokio::runtime::Runtime) {
    let body = format!("{{\"refresh_token\":\"{}\"}}", "x".repeat(100));
    let request = String::from_utf8(post("/", &body)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (what, signs, is_durable) in [
        ("floor, a body read", false, false),
        ("floor, and a token signed", true, false),
        ("floor, and a record written, 64 in flight", true, true),
    ] {
        let address = support::floor::serve(990, signs, is_durable, dir.path());
        runtime.block_on(beside_constant(what, 990, || same_request(address, &request, 200, TIME / 2)));
    }
}

fn refusals(runtime: &tokio::runtime::Runtime) {
    let dir = tempfile::tempdir().unwrap();
    let once =
        [("throttle.login.burst", "1"), ("throttle.login.per_minute", "1"), ("password.memory_kib", "64")];
    let (address, _) = serve(config(dir.path(), &once));
    runtime.block_on(async {
        let request = post("/v1/login", "{\"email\":\"a@b.org\",\"password\":\"x\"}");
        let request = String::from_utf8(request).unwrap();
        let mut connection = Connection::open(address).await;
        connection.ask(request.as_bytes()).await;
        let (_, body) = connection.ask(request.as_bytes()).await;
        beside_constant("refusals (429)", body.len(), || same_request(address, &request, 429, TIME / 2))
            .await;
    });
}

fn session(runtime: &tokio::runtime::Runtime) {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("throttle.exempt_networks", "127.0.0.0/8"), ("password.memory_kib", "64")];
    let (address, _) = serve(config(dir.path(), &settings));
    runtime.block_on(async {
        let (mut connection, body) = signed_up(address, "bearer").await;
        let access = field(&body, "access_token");
        let bearer = format!("GET /v1/session HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {access}\r\n\r\n");
        let (status, body) = connection.ask(bearer.as_bytes()).await;
        assert_eq!(status, 200);
        beside_constant("session check by bearer", body.len(), || {
            same_request(address, &bearer, 200, TIME / 2)
        })
        .await;
        let login = format!("{{\"email\":\"bearer@b.org\",\"password\":\"{PASSWORD}\",\"mode\":\"cookie\"}}");
        let origin = "\r\nsec-fetch-site: same-origin\r\n";
        let login = String::from_utf8(post("/v1/login", &login)).unwrap().replacen("\r\n", origin, 1);
        let mut connection = Connection::open(address).await;
        let cookie = connection.cookie(login.as_bytes(), "portcullis_session").await;
        let cookie = format!("GET /v1/session HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\n\r\n");
        let (status, body) = connection.ask(cookie.as_bytes()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        beside_constant("session check by cookie", body.len(), || {
            same_request(address, &cookie, 200, TIME / 2)
        })
        .await;
    });
}

fn refresh(runtime: &tokio::runtime::Runtime, connections: usize) {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("throttle.exempt_networks", "127.0.0.0/8"), ("password.memory_kib", "64")];
    let (address, engine) = serve(config(dir.path(), &settings));
    runtime.block_on(async {
        let mut clients = Vec::new();
        let mut bytes = 0;
        for number in 0..connections {
            let (connection, body) = signed_up(address, &format!("u{number}.{connections}")).await;
            bytes = body.len();
            clients.push((connection, field(&body, "refresh_token")));
        }
        let frames = engine.journal_stats();
        let clients = std::cell::RefCell::new(Some(clients));
        let what = format!("durable refreshes, {connections} in flight");
        beside_constant(&what, bytes, || async {
            let states = clients.borrow_mut().take().unwrap();
            let (rotated, states) = run_on(states, TIME / 2, rotate).await;
            *clients.borrow_mut() = Some(states);
            rotated
        })
        .await;
        let after = engine.journal_stats();
        println!(
            "  {:.1} entries a sync",
            (after.assigned - frames.assigned) as f64 / (after.frames - frames.frames) as f64
        );
    });
}

/// Measures hashes a second on `threads` threads, each with a hash function of its own from `make`.
fn on_threads<H: FnMut() + 'static>(threads: usize, time: Duration, make: impl Fn() -> H + Sync) -> f64 {
    std::thread::scope(|scope| {
        let hash = || {
            let mut hash = make();
            hash();
            let begin = Instant::now();
            let mut count = 0_u32;
            while begin.elapsed() < time {
                hash();
                count += 1;
            }
            f64::from(count) / begin.elapsed().as_secs_f64()
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(hash)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<f64>()
    })
}

/// Measures what a log-in is compared with, in turns, and returns the medians: `verify_password` of the `argon2` crate
/// as usually called, the same crate with memory that is kept, and the implementation that the server chooses.
fn hashing(cores: usize) -> [f64; 3] {
    use argon2::password_hash::{PasswordVerifier, phc::PasswordHash};
    let phc =
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let plain = || {
        move || {
            let parsed = PasswordHash::new(phc).unwrap();
            assert!(argon2::Argon2::default().verify_password(b"password", &parsed).is_err());
        }
    };
    let by = |mut implementation: Implementation| {
        move || implementation.fill(Cost::SAFE, b"password", b"saltsaltsaltsalt", &mut [0; 32]).unwrap()
    };
    let mut turns = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        turns[0].push(on_threads(cores, TIME / 2, plain));
        turns[1].push(on_threads(cores, TIME / 2, || by(Implementation::reference())));
        turns[2].push(on_threads(cores, TIME / 2, || by(Implementation::choose(Choice::Auto).0)));
    }
    turns.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[TURNS / 2]
    })
}

fn login(runtime: &tokio::runtime::Runtime) {
    let cores = std::thread::available_parallelism().unwrap().get();
    let [plain, reused, raw] = hashing(cores);
    println!(
        "argon2id (19 MiB, t=2) on {cores} cores: argon2's verify_password {plain:.0}/s, with memory kept {reused:.0}/s, {} \
         {raw:.0}/s ({:.2} times the first)",
        Implementation::choose(Choice::Auto).0.name(),
        raw / plain
    );
    // The quicker the hash, the larger the share of the rest of a log-in.
    for (implementation, raw) in [("reference", reused), ("auto", raw)] {
        let served = logged_in(runtime, cores, implementation);
        println!(
            "log-ins, {implementation}: {:.0}/s, p99 {:?}, {:.0} % of raw hashing by the same, {:.2} times argon2's \
             verify_password",
            served.rate,
            served.p99,
            served.rate / raw * 100.0,
            served.rate / plain
        );
    }
}

/// Measures log-ins by four clients a core.
fn logged_in(runtime: &tokio::runtime::Runtime, cores: usize, implementation: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("throttle.exempt_networks", "127.0.0.0/8"),
        ("password.wait_budget_ms", "10000"),
        ("password.implementation", implementation),
    ];
    let (address, _) = serve(config(dir.path(), &settings));
    runtime.block_on(async {
        let mut clients = Vec::new();
        for number in 0..cores * 4 {
            let mut connection = Connection::open(address).await;
            let body = format!("{{\"email\":\"u{number}@b.org\",\"password\":\"{PASSWORD}\"}}");
            assert_eq!(connection.ask(&post("/v1/signup", &body)).await.0, 201);
            clients.push((connection, post("/v1/login", &body)));
        }
        run(clients, TIME, |(mut connection, request)| async move {
            let (status, _) = connection.ask(&request).await;
            ((connection, request), status == 200)
        })
        .await
    })
}

/// Measures the memory of accounts and families without a server.
fn memory() {
    const COUNT: usize = 1_000_000;
    let (_accounts, of_accounts) = counting_allocator::count(|| {
        let mut accounts = Accounts::default();
        for number in 0..COUNT as u64 {
            accounts.apply(Write::Put(account(number)));
        }
        accounts
    });
    let limits = portcullis::registry::refresh::Limits {
        grace: Duration::from_secs(10),
        idle: Duration::from_hours(720),
        absolute: Duration::from_hours(2160),
        remember_ended: Duration::from_hours(24),
    };
    let (_families, of_families) = counting_allocator::count(|| {
        let mut families = Families::new(limits);
        for number in 0..COUNT as u64 {
            families.apply(Write::Put(family(&account(number), 1)));
        }
        families
    });
    println!(
        "memory: {} bytes an idle account, {} a family",
        of_accounts.held.cast_unsigned() / COUNT,
        of_families.held.cast_unsigned() / COUNT
    );
}
