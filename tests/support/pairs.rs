//! Pairs of requests that must cause the same work and take the same time, so that a stranger cannot tell them apart.
//! Shared by the test that counts the work (`tests/api/equal_work.rs`) and the bench that measures the time
//! (`benches/equal_work.rs`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis::config::{Config, Reader};
use portcullis::engine::Engine;
use portcullis::flow::admin::{self, Admin, Changes, New};
use portcullis::flow::authenticate::{self, Credential, Identity};
use portcullis::flow::client::Client;
use portcullis::flow::email::{Link, Proof};
use portcullis::flow::grant::Grant;
use portcullis::flow::log_in::Mode;
use portcullis::flow::{email, log_in, mailed, password, sign_up};
use portcullis::mail::transport::Transport;
use portcullis::password::foreign;
use portcullis::registry::account::Status;
use portcullis::registry::refresh::Audience;
use portcullis::server::outbound::signature::answer_header;
use portcullis::server::{self, Running};
use portcullis::system::clock::{Clock, Timestamp};
use portcullis::system::fail_stop::FailStop;

use super::values::PASSWORD;

/// Every log-in and sign-up is for tokens.
const MODE: Mode<'_> = Mode::Token { audience: Audience::App };

/// A sign-up with all that one may have.
const fn form(email: &str) -> sign_up::Form<'_> {
    sign_up::Form { email, password: PASSWORD, name: Some("Ada"), locale: Some("de-AT") }
}

/// Hashes that other systems have made: two costs of one program, another program, and a digest.
const FOREIGN: [&str; 4] = [
    "$2b$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$2b$05$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$pbkdf2-sha256$i=1000$c2VhIHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
    "{SSHA}o6YouEqmjGCLbHMWCU5kWlqk/+xo7d2b",
];

/// A request, made once for an address with an account and once for one without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pair {
    /// A wrong password.
    LogIn,
    /// A wrong password of a name whose hash was stored before the cost of hashes was raised.
    LogInCheaper,
    /// A wrong password of a name that another system has hashed, by one of several programs and costs.
    LogInForeign,
    /// A wrong password of a name of our own, while hashes of other systems are stored.
    LogInBesideForeign,
    /// A wrong password that starts a lockout, with its mail.
    LogInLocks,
    /// The right password of a disabled account whose name is locked, against a locked name without an account.
    LogInLocked,
    SignUp,
    /// An address that its owner has not proved yet, but to which an administrator has given roles.
    SignUpReserved,
    /// An address that an account has left, which can undo that.
    SignUpKept,
    Forgot,
    Resend,
    /// The link of an address that an account has left.
    ResendKept,
    /// A wrong password where a hook adds claims: it is asked of nobody who has not shown the right one.
    LogInWithHook,
    /// Where a hook judges sign-ups: it is asked the same, whoever has the address.
    SignUpWithHook,
}

pub const PAIRS: [Pair; 14] = [
    Pair::LogIn,
    Pair::LogInCheaper,
    Pair::LogInForeign,
    Pair::LogInBesideForeign,
    Pair::LogInLocks,
    Pair::LogInLocked,
    Pair::SignUp,
    Pair::SignUpReserved,
    Pair::SignUpKept,
    Pair::Forgot,
    Pair::Resend,
    Pair::ResendKept,
    Pair::LogInWithHook,
    Pair::SignUpWithHook,
];

impl Pair {
    /// Returns the names of the two sides: the one with an account first.
    pub const fn sides(self) -> [&'static str; 2] {
        match self {
            Self::SignUp | Self::SignUpWithHook => ["taken", "free"],
            Self::SignUpReserved => ["reserved", "free"],
            Self::SignUpKept => ["kept", "free"],
            Self::ResendKept => ["kept", "unknown"],
            Self::Resend => ["unproved", "unknown"],
            _ => ["known", "unknown"],
        }
    }
}

/// The secret of the hook.
const SECRET: &str = "a secret for the hook";

/// A hook on this machine, which lets everybody in.
struct Hook {
    url: String,
    secret: tempfile::NamedTempFile,
    asked: Arc<AtomicU64>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        secret.write_all(SECRET.as_bytes()).unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || while answer(stream.as_ref().unwrap(), &counted).is_some() {});
            }
        });
        Self { url, secret, asked }
    }

    fn settings(&self) -> [(&'static str, &str); 4] {
        [
            ("hook.sign_up", &self.url),
            ("hook.claims", &self.url),
            ("hook.secret_file", self.secret.path().to_str().unwrap()),
            ("outbound.allow", "127.0.0.1"),
        ]
    }
}

/// Answers the next question on a connection.
fn answer(mut stream: &TcpStream, asked: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut secs, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_lowercase();
        let Some((name, value)) = line.split_once(": ") else { break };
        match name {
            "portcullis-signature" => secs = value.strip_prefix("t=")?.split(',').next()?.parse().ok()?,
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut question = vec![0; length];
    reader.read_exact(&mut question).ok()?;
    asked.fetch_add(1, Ordering::Relaxed);
    let question: serde_json::Value = serde_json::from_slice(&question).ok()?;
    let body = "{\"allow\":true}";
    let at = Timestamp::from_secs(secs);
    let signature = answer_header(SECRET.as_bytes(), question["id"].as_str()?, body.as_bytes(), at);
    let head = format!("portcullis-signature: {signature}\r\ncontent-length: {}", body.len());
    write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").ok()
}

/// An engine on which pairs are tried.
pub struct World {
    pub engine: Arc<Engine>,
    running: Option<Running>,
    dir: Option<tempfile::TempDir>,
    mails: Arc<parking_lot::Mutex<Vec<portcullis::mail::outgoing::Outgoing>>>,
    failures: u32,
    hook: Option<Hook>,
}

impl World {
    /// Starts an engine for `pair`: it locks a name after as many failures as that needs, and has the hook of that. Call it in
    /// an actix system.
    ///
    /// Hashes are cheap, so that they do not hide what differs beside them. With `mails` a thread sends the mails,
    /// which messages actors too.
    pub fn start(pair: Pair, mails: bool) -> Self {
        let hook = matches!(pair, Pair::LogInWithHook | Pair::SignUpWithHook).then(Hook::start);
        Self::over_with(tempfile::tempdir().unwrap(), Self::failures_for(pair), mails, "64", hook)
    }

    fn over(dir: tempfile::TempDir, failures: u32, mails: bool, memory_kib: &str) -> Self {
        Self::over_with(dir, failures, mails, memory_kib, None)
    }

    fn over_with(
        dir: tempfile::TempDir,
        failures: u32,
        mails: bool,
        memory_kib: &str,
        hook: Option<Hook>,
    ) -> Self {
        let mut reader = Reader::new();
        let data_dir = dir.path().to_string_lossy().into_owned();
        let failures_text = failures.to_string();
        for (key, value) in [
            ("data_dir", data_dir.as_str()),
            ("password.memory_kib", memory_kib),
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
        for (key, value) in hook.iter().flat_map(Hook::settings) {
            reader.plain(key, value, "test");
        }
        let config = Config::from_reader(reader).unwrap();
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        let sent = Arc::default();
        let transport = mails.then(|| Transport::Memory(Arc::clone(&sent)));
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let (engine, running) = server::start(config, clock, true, transport, &fail_stop).unwrap();
        Self { engine, running: Some(running), dir: Some(dir), mails: sent, failures, hook }
    }

    /// Ends the preparation of `pair`. For hashes that were stored before the cost was raised it starts the engine again at
    /// a higher cost, and makes one account at that cost. Accounts that are to leave their addresses do so in between, while
    /// mails are sent.
    pub async fn ready(mut self, pair: Pair, mails: bool) -> Self {
        if pair == Pair::LogInBesideForeign {
            for (n, hash) in FOREIGN.iter().enumerate() {
                self.import(&format!("import{n}@test.org"), hash).await;
            }
        }
        let is_kept = matches!(pair, Pair::SignUpKept | Pair::ResendKept);
        if pair != Pair::LogInCheaper && !is_kept {
            return self;
        }
        let dir = self.dir.take().unwrap();
        let failures = self.failures;
        self.stop();
        if is_kept {
            let mut world = Self::over(dir, failures, true, "64");
            let mut n = 0;
            while world.leave(&address(pair, true, n), n).await {
                n += 1;
            }
            let dir = world.dir.take().unwrap();
            world.stop();
            let world = Self::over(dir, failures, mails, "64");
            world.settle().await;
            return world;
        }
        let world = Self::over(dir, failures, mails, "640");
        let new =
            New { email: "dearer@test.org", password: Some(PASSWORD), verified: true, ..New::default() };
        admin::create(&world.engine, &Admin::operator(), new).await.unwrap();
        world
    }

    /// Waits until the engine has done what a start does beside requests.
    async fn settle(&self) {
        let mut before = u64::MAX;
        while before != self.engine.work().calls {
            before = self.engine.work().calls;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    }

    /// Moves the account `email` to another address. Returns false if there is none.
    async fn leave(&self, email: &str, n: usize) -> bool {
        let engine = &self.engine;
        let opened = log_in::log_in(engine, &client(n), email, PASSWORD, MODE, None).await;
        let Ok(opened) = opened.result else { return false };
        let Grant::Tokens { access, .. } = opened.grant else { panic!("no tokens") };
        let identity = authenticate::bearer(engine, &access, None).await.unwrap();
        let next = format!("left.{email}");
        email::ask(engine, &client(n), &identity, PASSWORD, &next).await.result.unwrap();
        for _ in 0..400 {
            let mail = self.mails.lock().iter().find(|mail| mail.to == next).cloned();
            let link = mail.and_then(|mail| mail.letter.link);
            let token = link.as_deref().and_then(|link| link.split_once("#token=")?.1.split_once('&'));
            let Some((token, _)) = token else {
                tokio::time::sleep(std::time::Duration::from_millis(25)).await;
                continue;
            };
            let link = Link { token, email: &next };
            let proof = Proof::Session(Credential::Bearer(&access), Some(&identity));
            email::confirm(engine, &client(n), link, proof).await.result.ok().unwrap();
            return true;
        }
        panic!("no link for {next}");
    }

    /// Returns the addresses to which mails have left.
    #[allow(dead_code, reason = "the bench does not ask")]
    pub fn sent(&self) -> Vec<String> {
        self.mails.lock().iter().map(|mail| mail.to.clone()).collect()
    }

    /// Returns how many questions the hook was asked.
    #[allow(dead_code, reason = "the bench does not ask")]
    pub fn asked(&self) -> u64 {
        self.hook.as_ref().map_or(0, |hook| hook.asked.load(Ordering::Relaxed))
    }

    /// Returns the number of failures that lock a name in the world of `pair`: the first one, or more than are tried.
    const fn failures_for(pair: Pair) -> u32 {
        if matches!(pair, Pair::LogInLocks | Pair::LogInLocked) { 1 } else { 50 }
    }

    /// Prepares the accounts that try number `n` of `pair` needs.
    pub async fn prepare(&self, pair: Pair, n: usize) {
        assert_eq!(self.failures, Self::failures_for(pair));
        let engine = &*self.engine;
        let known = address(pair, true, n);
        let unknown = address(pair, false, n);
        if pair == Pair::Resend {
            sign_up::sign_up(engine, &client(n), form(&known), MODE).await.result.ok();
            return;
        }
        if pair == Pair::LogInForeign {
            self.import(&known, FOREIGN[n % FOREIGN.len()]).await;
            return;
        }
        let is_reserved = pair == Pair::SignUpReserved;
        let roles = if is_reserved { vec![String::from("staff")] } else { Vec::new() };
        let new =
            New { email: &known, password: Some(PASSWORD), roles, verified: !is_reserved, ..New::default() };
        let account = admin::create(engine, &Admin::operator(), new).await.unwrap();
        if pair == Pair::LogInLocked {
            let id = account.account_id();
            let changes = Changes { status: Some(Status::Disabled), ..Changes::default() };
            admin::change(engine, &Admin::operator(), id, changes).await.unwrap();
            for email in [&known, &unknown] {
                self.log_in(email, "a wrong password", n).await;
            }
        }
    }

    /// Runs try number `n` of `pair`, at the address with an account if `known`, and else at the one without.
    pub async fn run(&self, pair: Pair, known: bool, n: usize) {
        let engine = &*self.engine;
        let email = address(pair, known, n);
        match pair {
            Pair::LogIn
            | Pair::LogInCheaper
            | Pair::LogInForeign
            | Pair::LogInBesideForeign
            | Pair::LogInLocks
            | Pair::LogInWithHook => {
                self.log_in(&email, "a wrong password", n).await;
            }
            Pair::LogInLocked => self.log_in(&email, PASSWORD, n).await,
            Pair::SignUp | Pair::SignUpReserved | Pair::SignUpKept | Pair::SignUpWithHook => {
                sign_up::sign_up(engine, &client(n), form(&email), MODE).await.result.ok();
            }
            Pair::Forgot => password::forgot(engine, &client(n), &email).await.result.unwrap(),
            Pair::Resend | Pair::ResendKept => {
                mailed::resend(engine, &client(n), &email, None).await.result.unwrap();
            }
        }
    }

    /// Makes an account whose password another system has hashed.
    async fn import(&self, email: &str, hash: &str) {
        let new = New { email, verified: true, ..New::default() };
        let account = admin::create(&self.engine, &Admin::operator(), new).await.unwrap();
        let hash = foreign::read_text(hash).unwrap();
        admin::set_hash(&self.engine, &Admin::operator(), account.account_id(), hash).await.unwrap();
    }

    /// Logs in, which must fail.
    async fn log_in(&self, email: &str, password: &str, n: usize) {
        let opened = log_in::log_in(&self.engine, &client(n), email, password, MODE, None).await.result;
        assert!(opened.is_err());
    }

    /// Logs in to the account of a try with its password.
    #[allow(dead_code, reason = "the bench does not ask")]
    pub async fn log_in_rightly(&self, pair: Pair, n: usize) {
        let email = address(pair, true, n);
        log_in::log_in(&self.engine, &client(n), &email, PASSWORD, MODE, None).await.result.ok().unwrap();
    }

    /// Makes an account whose owner asks for an address that is taken or free, and another that holds the taken one.
    /// Returns the session of the asker.
    #[allow(dead_code, reason = "the bench does not ask")]
    pub async fn identity(&self, pair: Pair, n: usize, is_taken: bool) -> Arc<Identity> {
        let engine = &*self.engine;
        let asker = address(pair, is_taken, n);
        let held = address(Pair::SignUp, true, n);
        for email in [&asker, &held] {
            let new = New { email, password: Some(PASSWORD), verified: true, ..New::default() };
            // The second round finds the holders in their places.
            let _ = admin::create(engine, &Admin::operator(), new).await;
        }
        let opened = log_in::log_in(&self.engine, &client(n), &asker, PASSWORD, MODE, None).await;
        let Ok(opened) = opened.result else { panic!("{asker} cannot log in") };
        let Grant::Tokens { access, .. } = opened.grant else { panic!("no tokens") };
        authenticate::bearer(engine, &access, None).await.unwrap()
    }

    /// Asks to move the account of `identity` to an address of `pair`.
    #[allow(dead_code, reason = "the bench does not ask")]
    pub async fn ask_for_address(&self, identity: &Identity, pair: Pair, n: usize, is_taken: bool) {
        let new = address(pair, is_taken, n);
        email::ask(&self.engine, &client(n), identity, PASSWORD, &new).await.result.unwrap();
    }

    pub fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// Returns a client in a network of its own for each try, so that the defence against stuffing sees no network twice.
fn client(n: usize) -> Client {
    Client::new(Ipv4Addr::from_bits(0x0B00_0000 + ((n as u32) << 8)).into(), "test")
}

/// Returns the address of a try. All have the same length.
fn address(pair: Pair, known: bool, n: usize) -> String {
    let side = if known { "with" } else { "none" };
    format!("user{n:06}@{side}.{pair:?}.test").to_lowercase()
}
