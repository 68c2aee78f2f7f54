//! Pairs of requests of which nobody may tell by the work or the time which is which: shared by the test that counts
//! (`tests/equal_work.rs`) and the command that measures (`benches/equal_work.rs`).

use std::net::Ipv4Addr;
use std::sync::Arc;

use portcullis::config::{Config, Reader};
use portcullis::engine::Engine;
use portcullis::flow::admin::{self, Admin, New};
use portcullis::flow::client::Client;
use portcullis::flow::log_in::Mode;
use portcullis::flow::{log_in, mailed, password, sign_up};
use portcullis::mail::transport::Transport;
use portcullis::registry::account::Status;
use portcullis::server::{self, Running};
use portcullis::system::clock::{Clock, Timestamp};
use portcullis::system::fail_stop::FailStop;

use super::values::PASSWORD;

/// What is asked, of an address with an account and of one without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pair {
    /// A wrong password.
    LogIn,
    /// A wrong password that begins a lock, with its mail.
    LogInLocks,
    /// The right password of a disabled account that was locked before, against an unknown name that was.
    LogInLocked,
    SignUp,
    /// An address that nobody has proved, but that an administrator has given roles.
    SignUpReserved,
    Forgot,
    Resend,
}

pub const PAIRS: [Pair; 7] = [
    Pair::LogIn,
    Pair::LogInLocks,
    Pair::LogInLocked,
    Pair::SignUp,
    Pair::SignUpReserved,
    Pair::Forgot,
    Pair::Resend,
];

impl Pair {
    pub const fn sides(self) -> [&'static str; 2] {
        match self {
            Self::SignUp => ["taken", "free"],
            Self::SignUpReserved => ["reserved", "free"],
            Self::Resend => ["unproved", "unknown"],
            _ => ["known", "unknown"],
        }
    }
}

pub struct World {
    pub engine: Arc<Engine>,
    running: Option<Running>,
    _dir: tempfile::TempDir,
    mails: Arc<parking_lot::Mutex<Vec<portcullis::mail::outgoing::Outgoing>>>,
    failures: u32,
}

impl World {
    /// Cheap hashes, so that what differs beside them is not drowned by them. Call it in an actix system.
    /// With mails a thread sends them, which asks actors too.
    pub fn start(failures: u32, mails: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::new();
        let (data_dir, failures_text) = (dir.path().to_string_lossy().into_owned(), failures.to_string());
        for (key, value) in [
            ("data_dir", data_dir.as_str()),
            ("password.memory_kib", "64"),
            ("password.passes", "1"),
            ("password.threads", "1"),
            ("password.wait_budget_ms", "600000"),
            ("throttle.exempt_networks", "0.0.0.0/0"),
            ("throttle.cells", "1000"),
            ("mail.console", "false"),
            ("lockout.failures", failures_text.as_str()),
        ] {
            reader.plain(key, value, "test");
        }
        let config = Config::from_reader(reader).unwrap();
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        let sent = Arc::default();
        let transport = mails.then(|| Transport::Memory(Arc::clone(&sent)));
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let (engine, running) = server::start(config, clock, true, transport, &fail_stop).unwrap();
        Self { engine, running: Some(running), _dir: dir, mails: sent, failures }
    }

    /// To whom mails went out.
    #[allow(dead_code, reason = "the bench does not ask")]
    pub fn sent(&self) -> Vec<String> {
        self.mails.lock().iter().map(|mail| mail.to.clone()).collect()
    }

    /// The world in which a pair is tried: where a single failure locks, or where none does.
    pub const fn failures_for(pair: Pair) -> u32 {
        if matches!(pair, Pair::LogInLocks | Pair::LogInLocked) { 1 } else { 50 }
    }

    /// Makes ready what try number `n` of a pair needs.
    pub async fn prepare(&self, pair: Pair, n: usize) {
        assert_eq!(self.failures, Self::failures_for(pair));
        let engine = &*self.engine;
        let (known, unknown) = (address(pair, true, n), address(pair, false, n));
        if pair == Pair::Resend {
            sign_up::sign_up(engine, &client(n), &known, PASSWORD, None).await.ok();
            return;
        }
        let is_reserved = pair == Pair::SignUpReserved;
        let roles = if is_reserved { vec![String::from("staff")] } else { Vec::new() };
        let new = New { email: &known, password: Some(PASSWORD), roles, verified: !is_reserved };
        let account = admin::create(engine, &Admin::operator(), new).await.unwrap();
        if pair == Pair::LogInLocked {
            let id = account.account_id();
            admin::change(engine, &Admin::operator(), id, None, Some(Status::Disabled), None).await.unwrap();
            for email in [&known, &unknown] {
                self.log_in(email, "a wrong password", n).await;
            }
        }
    }

    /// Try number `n` of a pair, at the address with an account or the one without.
    pub async fn run(&self, pair: Pair, known: bool, n: usize) {
        let (engine, email) = (&*self.engine, address(pair, known, n));
        match pair {
            Pair::LogIn | Pair::LogInLocks => self.log_in(&email, "a wrong password", n).await,
            Pair::LogInLocked => self.log_in(&email, PASSWORD, n).await,
            Pair::SignUp | Pair::SignUpReserved => {
                sign_up::sign_up(engine, &client(n), &email, PASSWORD, None).await.ok();
            }
            Pair::Forgot => password::forgot(engine, &client(n), &email).await.unwrap(),
            Pair::Resend => mailed::resend(engine, &client(n), &email).await.unwrap(),
        }
    }

    async fn log_in(&self, email: &str, password: &str, n: usize) {
        let opened = log_in::log_in(&self.engine, &client(n), email, password, Mode::Token, None).await;
        assert!(opened.is_err());
    }

    /// The right password of the account of a try.
    #[allow(dead_code, reason = "the bench does not ask")]
    pub async fn log_in_rightly(&self, pair: Pair, n: usize) {
        let email = address(pair, true, n);
        log_in::log_in(&self.engine, &client(n), &email, PASSWORD, Mode::Token, None).await.ok().unwrap();
    }

    pub fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// A network for each try, so that stuffing sees nobody twice.
fn client(n: usize) -> Client {
    Client::new(Ipv4Addr::from_bits(0x0B00_0000 + ((n as u32) << 8)).into(), "test")
}

/// Addresses of one length.
fn address(pair: Pair, known: bool, n: usize) -> String {
    let side = if known { "with" } else { "none" };
    format!("user{n:06}@{side}.{pair:?}.test").to_lowercase()
}
