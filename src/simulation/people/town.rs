//! One engine over a directory of its own with a manual clock, its mailboxes, and how its people speak to it.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::ledger::{Broken, Holder, Ledger, Promise};
use crate::config::Config;
use crate::engine::services::RunningServices;
use crate::engine::start::start_first;
use crate::engine::{Engine, RunningEngine};
use crate::flow::account::open_sessions;
use crate::flow::client::Client;
use crate::flow::grant::Opened;
use crate::flow::log_in::{Mode, log_in};
use crate::flow::post::delivery::{Ready, look};
use crate::flow::refusal::{FlowError, Refusal};
use crate::flow::sign_up::Form;
use crate::registry::account::AccountV4;
use crate::registry::outbox::actor::{Due, Settle};
use crate::registry::outbox::{DeliveryOutcome, Kind};
use crate::registry::refresh::Audience;
use crate::storage::simulated::Dice;
use crate::system::clock::{Clock, Timestamp};
use crate::system::fail_stop::FailStop;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
/// A file system in memory, where there is one: the model waits for thousands of commits a second.
const MEMORY: &str = "/dev/shm";
/// How long work without a client may take until it is settled.
const SETTLED_WITHIN: Duration = Duration::from_mins(1);
/// The acts that are shown with a broken promise.
const SHOWN: usize = 12;
/// The number of networks that strangers have.
const NETWORKS: u64 = 1000;

/// What a pair of tokens is asked with.
pub(super) const TOKENS: Mode<'static> = Mode::Token { audience: Audience::App };

/// A mail that has arrived.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) kind: Kind,
    /// The token in its link.
    pub(super) token: Option<String>,
    pub(super) at: Timestamp,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) acts: u64,
    /// Requests with a password.
    pub(super) passwords: u64,
    /// Wrong passwords of others than the owner that were judged.
    pub(super) judged: u64,
    /// Mails that have arrived.
    pub(super) mails: u64,
    /// Storms in which the owner's turn was judged.
    pub(super) turns: u64,
    /// The most log-ins of another account that were before the owner's in one of these.
    pub(super) most_ahead: u64,
    /// Virtual days.
    pub(super) days: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.acts += other.acts;
        self.passwords += other.passwords;
        self.judged += other.judged;
        self.mails += other.mails;
        self.turns += other.turns;
        self.most_ahead = self.most_ahead.max(other.most_ahead);
        self.days += other.days;
    }
}

/// One engine, and what surrounds it.
pub(super) struct Town {
    pub(super) engine: Arc<Engine>,
    /// How many hold the engine while nothing goes on.
    holders: usize,
    pub(super) dice: Dice,
    pub(super) ledger: Ledger,
    pub(super) counts: Counts,
    /// The last acts, oldest first.
    pub(super) shown: VecDeque<String>,
    mailboxes: HashMap<Box<str>, Vec<Letter>>,
    /// How many texts were made that no other is like.
    made: u64,
    clock: Clock,
    running: RunningEngine,
    services: RunningServices,
    dir: TempDir,
}

impl Town {
    /// Starts an engine with cheap hashes, in which waiting for a hash takes no virtual time: turns decide, not the load of
    /// the machine.
    pub(super) fn start(seed: u64) -> Self {
        let in_memory = tempfile::Builder::new().prefix("people").tempdir_in(MEMORY);
        let dir = in_memory.or_else(|_| tempfile::tempdir()).unwrap();
        let settings = [
            ("password.wait_budget_ms", "600000"),
            ("journal.segment_bytes", "4194304"),
            ("throttle.cells", "20000"),
        ];
        let config = Config::for_unit_tests(dir.path(), &settings);
        let clock = Clock::manual(START);
        let fail_stop = FailStop::new(|why| panic!("the engine ended: {why}"));
        let (engine, running, services) = start_first(config, clock.clone(), true, &fail_stop).unwrap();
        Self {
            holders: Arc::strong_count(&engine),
            engine,
            dice: Dice::new(seed),
            ledger: Ledger::default(),
            counts: Counts::default(),
            shown: VecDeque::new(),
            mailboxes: HashMap::new(),
            made: 0,
            clock,
            running,
            services,
            dir,
        }
    }

    /// Stops the engine and removes its directory. Returns the bytes of the audit log.
    pub(super) fn stop(self) -> u64 {
        self.running.stop();
        self.services.stop();
        let audit = std::fs::read_dir(self.dir.path().join("audit")).unwrap();
        audit.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets whole seconds pass: seconds mostly, at times hours, seldom two weeks.
    pub(super) fn wait(&mut self) {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let most = match self.dice.below(100) {
            0..50 => 6,
            50..78 => 10 * MINUTE,
            78..91 => 2 * HOUR,
            91..98 => 24 * HOUR,
            _ => 14 * 24 * HOUR,
        };
        let secs = self.dice.below(most);
        self.clock.advance(Duration::from_secs(secs));
        self.counts.days = self.now().since(START).as_secs() / (24 * HOUR);
    }

    /// Remembers an act, to show it with a broken promise.
    pub(super) fn show(&mut self, act: impl Into<String>) {
        if self.shown.len() == SHOWN {
            self.shown.pop_front();
        }
        self.shown.push_back(format!("{} act {}: {}", self.now(), self.counts.acts, act.into()));
    }

    /// Adds to the line of the act that is going on.
    pub(super) fn note(&mut self, what: &str) {
        if let Some(act) = self.shown.back_mut() {
            act.push_str("; ");
            act.push_str(what);
        }
    }

    /// Returns a text that begins with `with` and that no other is like.
    pub(super) fn unlike(&mut self, with: &str) -> String {
        self.made += 1;
        format!("{with} {}", self.made)
    }

    /// Returns the number of a network of strangers.
    pub(super) fn any_network(&mut self) -> u32 {
        self.dice.below(NETWORKS) as u32
    }

    /// Looks up letters to `to` that came with a link of one of `kinds` within `life`, the newest last.
    pub(super) fn links(&self, to: &str, kinds: &[Kind], life: Duration) -> Vec<Letter> {
        let letters = self.mailboxes.get(to).into_iter().flatten();
        let is_wanted = |letter: &&Letter| {
            letter.token.is_some() && kinds.contains(&letter.kind) && self.now().since(letter.at) < life
        };
        letters.filter(is_wanted).cloned().collect()
    }

    /// Throws away the letters to `to` with a link of `kind`: they are of no use any more.
    pub(super) fn throw_away(&mut self, to: &str, is_useless: impl Fn(&Letter) -> bool) {
        if let Some(letters) = self.mailboxes.get_mut(to) {
            letters.retain(|letter| !is_useless(letter));
        }
    }

    /// Returns how many letters of `kind` to `to` have arrived.
    pub(super) fn count_letters(&self, to: &str, kind: Kind) -> usize {
        self.mailboxes.get(to).into_iter().flatten().filter(|letter| letter.kind == kind).count()
    }

    /// Delivers the mails that wait, as the thread does that sends them.
    pub(super) async fn deliver(&mut self) -> Result<(), Broken> {
        loop {
            let due = self.engine.outbox.ask(Due::default()).await.unwrap();
            if due.is_empty() {
                return Ok(());
            }
            for mail in due {
                let outcome = match look(&self.engine, &mail).await.unwrap() {
                    Ready::Leaves(token) => {
                        if !mail.is_to_nobody() {
                            let (now, token) = (self.now(), token.map(|token| token.to_string()));
                            self.counts.mails += 1;
                            self.ledger.mailed(&mail.to, mail.kind, now)?;
                            let letter = Letter { kind: mail.kind, token, at: now };
                            let mailbox = self.mailboxes.entry(mail.to.clone()).or_default();
                            mailbox.retain(|old| now.since(old.at) < Duration::from_hours(48));
                            mailbox.push(letter);
                        }
                        DeliveryOutcome::Sent
                    }
                    Ready::Dead => DeliveryOutcome::Dead,
                };
                let took = Some((Box::from(mail.domain()), Duration::ZERO));
                self.engine
                    .outbox
                    .ask(Settle { id: mail.id, outcome, took, of: (mail.to, mail.kind), why: None })
                    .await
                    .unwrap();
            }
        }
    }

    /// Waits until everything is settled that clients have begun, also those that are gone.
    pub(super) async fn settle(&self) -> Result<(), Broken> {
        let engine = &self.engine;
        let settled = async {
            loop {
                engine.on_owner_thread(async || ()).await.unwrap();
                if !self.goes_on() {
                    return;
                }
            }
        };
        match tokio::time::timeout(SETTLED_WITHIN, settled).await {
            Ok(()) => Ok(()),
            Err(_) => Promise::Serves.broken("an attempt is never settled"),
        }
    }

    /// Begins a log-in that goes on by itself.
    pub(super) fn begin_log_in(&mut self, try_of: Try) -> JoinHandle<Result<Opened, FlowError>> {
        self.counts.passwords += 1;
        let engine = Arc::clone(&self.engine);
        actix::spawn(async move {
            let Try { name, password, device, from } = try_of;
            let client = client(from);
            log_in(&engine, &client, &name, &password, TOKENS, device.as_deref()).await.result
        })
    }

    /// Logs in and waits for the answer.
    pub(super) async fn log_in(&mut self, try_of: Try) -> Result<Opened, FlowError> {
        self.begin_log_in(try_of).await.unwrap()
    }

    /// Begins a log-in and gives it up after a random number of steps. Returns the answer if it was there by then.
    pub(super) async fn log_in_and_hang_up(&mut self, try_of: Try) -> Option<Result<Opened, FlowError>> {
        let patience = self.dice.below(60);
        let going = self.begin_log_in(try_of);
        for _ in 0..patience {
            tokio::task::yield_now().await;
        }
        if going.is_finished() {
            return Some(going.await.unwrap());
        }
        going.abort();
        None
    }

    /// Counts a guess if `answer` says that it was judged. Any answer but a refusal breaks a promise.
    pub(super) fn judge_guess(&mut self, answer: &Result<Opened, FlowError>) -> Result<bool, Broken> {
        match answer {
            Ok(_) => Promise::OwnPasswordAlone.broken("a guess was right"),
            Err(FlowError::Refused(Refusal::InvalidCredentials)) => {
                self.counts.judged += 1;
                let now = self.now();
                self.ledger.judged(now).map(|()| true)
            }
            Err(FlowError::Refused(
                Refusal::Locked { .. } | Refusal::TooManyAtOnce | Refusal::Throttled { .. },
            )) => Ok(false),
            Err(other) => Promise::Serves.broken(format!("a guess was answered with {other}")),
        }
    }

    /// Checks the bound of sessions and families that `account` has open.
    pub(super) async fn check_open(&self, account: &AccountV4) -> Result<(), Broken> {
        let open = open_sessions(&self.engine, account, None, 1000).await.unwrap();
        let count = open.items.len();
        Promise::SessionsAreFew.unless(count <= 100, || format!("{count} are open"))
    }

    /// Waits until nothing goes on any more for clients that have hung up: a log-in of theirs may still take its turn.
    pub(super) async fn finish_what_goes_on(&self) {
        for _ in 0..10_000 {
            if !self.goes_on() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Says whether work goes on, also for clients that have hung up. Such work may wait for the disk before it takes its
    /// turn, so that neither turns nor hashes show it; but each holds the engine.
    fn goes_on(&self) -> bool {
        let stats = self.engine.services.pool.stats();
        Arc::strong_count(&self.engine) > self.holders
            || stats.running + stats.queued() > 0
            || !self.engine.turns.lock().is_empty()
    }

    /// Checks that no more passwords are hashed or wait for a thread than `most`.
    pub(super) fn check_in_flight(&self, most: usize) -> Result<(), Broken> {
        let stats = self.engine.services.pool.stats();
        let count = stats.running + stats.queued();
        Promise::HashesAreFew.unless(count <= most, || format!("{count} are hashed at once"))
    }
}

/// One try to log in.
#[derive(Clone, Debug)]
pub(super) struct Try {
    pub(super) name: String,
    pub(super) password: String,
    pub(super) device: Option<String>,
    pub(super) from: Holder,
}

/// Returns what somebody signs up with, in a language.
pub(super) const fn form<'a>(email: &'a str, password: &'a str) -> Form<'a> {
    Form { email, password, name: None, locale: Some("de-AT") }
}

/// Returns the client of a network: those from 900 on have IPv6, each a /48; the others an IPv4 /24 each.
pub(super) fn client(from: Holder) -> Client {
    let Holder { network, agent } = from;
    let [_, _, high, low] = network.to_be_bytes();
    let address: IpAddr = if (900..NETWORKS as u32).contains(&network) {
        Ipv6Addr::new(0x2a02, 0x5d0, u16::from_be_bytes([high, low]), 0, 0, 0, 0, 7).into()
    } else {
        Ipv4Addr::new(11, high, low, 7).into()
    };
    Client::new(address, agent)
}

/// Returns whether `error` is this refusal of a name.
pub(super) const fn is_closed(error: &FlowError) -> bool {
    matches!(error, FlowError::Refused(Refusal::Locked { .. } | Refusal::TooManyAtOnce))
}
