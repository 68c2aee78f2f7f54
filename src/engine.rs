//! The engine: one partition of the server, as a value. Its actors and its journal; no statics, several in a process.
//!
//! Built by [`Engine::start`]: recover, then actors. Nothing is bound here: whoever serves asks the flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Arbiter, ArbiterHandle, Handler, Message};

use crate::config::Config;
use crate::journal::append::handle::{Handle, NoRoom, Sealed};
use crate::journal::archive;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::report::{Found, Past};
use crate::journal::recovery::{Journal, Options, recover};
use crate::journal::snapshot::status::Saved;
use crate::mail::transport::Transport;
use crate::password::{HashPool, KnownBad, Shed, pool};
use crate::registry::account::{AccountV1, Accounts};
use crate::registry::lockout::Names;
use crate::registry::outbox::Outbox;
use crate::registry::refresh::{Families, FamilyV1};
use crate::registry::reset::Mailed;
use crate::registry::session::Sessions;
use crate::registry::stuffing::Standings;
use crate::registry::stuffing::actor::Watch;
use crate::registry::throttle::actor::Throttle;
use crate::registry::throttle::file;
use crate::registry::throttle::refusal_cache::Refused;
use crate::registry::write_counts::Changes;
use crate::registry::{Answer, Desk, Owner, Registry};
use crate::storage::Storage;
use crate::storage::local::LocalStorage;
use crate::system::clock::{Clock, Timestamp};
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::random::{Chance, NoChance};
use crate::system::scheduling;
use crate::token::feed::{self, Ended};
use crate::token::opaque::EdgeKeys;
use crate::token::{self, Feed, Keys, Scheme, Signer};
use crate::value::id::AccountId;
use crate::verified::Verified;

/// A promise that cannot be kept now. The client is told to come back.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The journal takes nothing.
    #[error("nothing can be written down: {0}")]
    NoRoom(#[from] NoRoom),
    /// Too many passwords wait.
    #[error(transparent)]
    Shed(#[from] Shed),
    /// No randomness.
    #[error(transparent)]
    NoChance(#[from] NoChance),
    /// Whoever asked hung up: nobody hears of it.
    #[error("nobody waits for it any more")]
    HungUp,
    /// An actor is gone: the engine is ending.
    #[error("the engine is ending")]
    Ending,
    /// A copy could not be taken.
    #[error("no backup: {0}")]
    Backup(#[source] std::io::Error),
    /// A token could not be signed.
    #[error("cannot sign")]
    Sign(#[from] crate::token::KeyError),
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Recovery refused.
    #[error(transparent)]
    Refused(#[from] crate::journal::recovery::report::Refusal),
    /// Keys or threads.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A signing key.
    #[error(transparent)]
    Key(#[from] crate::token::KeyError),
}

/// One partition.
pub struct Engine {
    /// What it was built with.
    pub config: Config,
    /// Its time.
    pub clock: Clock,
    /// Its chance.
    pub chance: Arc<Chance>,
    /// Signs and checks access tokens.
    pub signer: parking_lot::RwLock<Signer>,
    /// What was ended before its time.
    pub revoked: Arc<Feed>,
    key_storage: Arc<dyn Storage>,
    /// What carries a lower one is dead: raised by a restore, with the timeline.
    pub(crate) global_epoch: u64,
    /// Tags opaque tokens.
    pub edge: EdgeKeys,
    pub(crate) keys: Keys,
    /// Checks passwords.
    pub pool: HashPool,
    /// Passwords that are refused as known.
    pub(crate) known_bad: KnownBad,
    pub(crate) journal: Handle,
    /// Where the journal is.
    pub(crate) storage: LocalStorage,
    /// How the taking of snapshots goes.
    pub(crate) saved: Mutex<Saved>,
    pub(crate) accounts: Addr<Owner<Accounts>>,
    pub(crate) lockout: Addr<Owner<Names>>,
    pub(crate) throttle: Addr<Throttle>,
    pub(crate) stuffing: Addr<Watch>,
    pub(crate) standings: Arc<Standings>,
    pub(crate) refused: Arc<Refused>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) verified: Verified,
    pub(crate) refresh: Addr<Owner<Families>>,
    pub(crate) sessions: Addr<Owner<Sessions>>,
    pub(crate) mailed: Addr<Owner<Mailed>>,
    pub(crate) outbox: Addr<Owner<Outbox>>,
    /// Takes down security events.
    pub tally: crate::audit::Tally,
    calls: AtomicU64,
    stopping: AtomicBool,
    proxy_watch: Mutex<crate::registry::throttle::ProxyWatch>,
    registries: ArbiterHandle,
}

/// Work done since the start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Work {
    /// Questions to actors.
    pub calls: u64,
    /// Passwords that went through the queue.
    pub hashes: u64,
    /// Entries of the journal.
    pub entries: u64,
    /// Bytes of those that are durable.
    pub bytes: u64,
}

/// What keeps an engine going: held by whoever started it, and stopped in order.
pub struct Running {
    engine: Arc<Engine>,
    audit: std::thread::JoinHandle<()>,
    journal: Journal,
    registries: Arbiter,
    workers: crate::workers::Workers,
    /// What recovery found.
    pub found: Found,
}

/// The states that recovery fills.
struct States {
    accounts: Accounts,
    lockout: Names,
    refresh: Families,
    sessions: Sessions,
    mailed: Mailed,
    outbox: Outbox,
    keys: Arc<dyn Storage>,
    chance: Arc<Chance>,
    scheme: Scheme,
}

impl States {
    /// Nobody asks until all is back.
    fn recover(&mut self) {
        self.accounts.recover();
        self.sessions.recover();
        self.refresh.recover();
    }

    /// All is back.
    fn recovered(&mut self) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.accounts.recovered());
            self.sessions.recovered();
            self.refresh.recovered();
        });
    }
}

impl Past for States {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        match table {
            1 => self.accounts.restore(schema, key, value),
            3 => self.lockout.restore(schema, key, value),
            4 => self.sessions.restore(schema, key, value),
            5 => self.refresh.restore(schema, key, value),
            6 => self.mailed.restore(schema, key, value),
            7 => self.outbox.restore(schema, key, value),
            other => Err(format!("table {other} is not known to this version")),
        }
    }

    fn first_start(&mut self) -> std::io::Result<()> {
        Keys::form(&*self.keys, &self.chance, self.scheme)
    }

    fn has_keys(&self) -> bool {
        Keys::exist(&*self.keys)
    }
}

impl Engine {
    /// Recovers what `config.data_dir` holds and starts the actors. Call it in an actix system.
    ///
    /// Errors: a directory that is held, damaged or of a newer version; keys that cannot be read.
    pub fn start(
        config: Config,
        clock: Clock,
        accept_clock_floor: bool,
        transport: Option<Transport>,
        fail_stop: &FailStop,
    ) -> Result<(Arc<Self>, Running), StartError> {
        let chance = Arc::new(Chance::system());
        let local = LocalStorage::open(&config.data_dir)?.logging(config.write_mode);
        let storage: Arc<dyn Storage> = Arc::new(local.clone());
        let key_storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(&config.keys_dir)?);
        let mut states = States {
            accounts: Accounts::default(),
            lockout: Names::new(config.lockout),
            refresh: Families::new(config.refresh),
            sessions: Sessions::new(config.session),
            mailed: Mailed::new(config.reset),
            outbox: Outbox::default(),
            keys: Arc::clone(&key_storage),
            chance: Arc::clone(&chance),
            scheme: config.scheme,
        };
        let options = Options {
            storage,
            sizes: Sizes { segment: config.segment_bytes, ..Sizes::PRODUCTION },
            clock: clock.clone(),
            chance: Arc::clone(&chance),
            accept_clock_floor,
        };
        let known_bad = KnownBad::load(config.password_list.as_deref())?;
        states.recover();
        let recovered = recover(options, &mut states)?;
        states.recovered();
        let mut keys = Keys::load(&*key_storage)?;
        let newest = keys.signing.first().map(|key| token::scheme_of(&key.pkcs8)).transpose()?;
        if newest.is_some_and(|scheme| scheme != config.scheme) {
            // Asked for another algorithm: the keys of before check on.
            let from = clock.now() + config.publish_ahead;
            keys.signing = Keys::add_signing(&*key_storage, config.scheme, from)?;
        }
        let signer = Signer::new(&keys.signing, config.public_origin.as_str(), &config.audience)?;
        let pool_options = pool::Options {
            threads: config.hash_threads,
            wait_budget: config.hash_wait_budget,
            cost: config.cost,
            kernel: config.hash_kernel,
            machine: config.machine,
        };
        let pool = HashPool::start(pool_options, &clock, &chance, fail_stop)?;
        let tally = crate::audit::Tally::new(clock.clone(), recovered.handle.clone());
        let durable = recovered.handle.durable();
        let life = config.access_ttl + feed::LEEWAY;
        let retired = Keys::retired(&*key_storage, life, clock.now())?;
        let audit = tally.log.start(&config.audit_dir, keys.audit(), &clock, durable)?;
        // What can be refused was refused above: from here on threads run that only an end in order ends.
        let (journal, running, found) = recovered.start(fail_stop, config.machine)?;
        let now = clock.now();
        // The first timeline is number 1, and its credentials carry 0.
        let global_epoch = u64::from(running.life().timeline).saturating_sub(1);
        let stands = |family: &FamilyV1| {
            let account = AccountId::from_bytes(family.account).and_then(|id| states.accounts.get(id));
            let is_of_now = |account: &AccountV1| account.auth_epoch == family.auth_epoch;
            account.is_some_and(is_of_now) && family.global_epoch == global_epoch
        };
        let lately = states.refresh.dead_since(now - life, stands);
        let revoked = Feed::new(running.life().epoch, config.access_ttl, lately);
        for (kid, at) in retired {
            revoked.push(Ended::Kid(kid), at);
        }
        let revoked = Arc::new(revoked);
        let desk = Desk {
            journal: journal.clone(),
            clock: clock.clone(),
            fail_stop: fail_stop.clone(),
            changes: Arc::default(),
            feed: Arc::clone(&revoked),
        };
        let registries = Arbiter::new();
        let machine = config.machine;
        registries.spawn_fn(move || scheduling::gather(machine));
        let refused = Arc::new(Refused::default());
        let table = file::restored(&*running.life().storage, running.life(), &found, config.throttle.clone());
        let throttle = Throttle::new(table, Arc::clone(&refused), clock.clone(), fail_stop.clone());
        let throttle = Throttle::start_in_arbiter(&registries.handle(), |_| throttle);
        let standings = Arc::new(Standings::default());
        let watch = Watch::new(Arc::clone(&standings), clock.clone(), fail_stop.clone());
        let stuffing = Watch::start_in_arbiter(&registries.handle(), |_| watch);
        let engine = Arc::new(Self {
            accounts: owner(&registries, states.accounts, &desk),
            lockout: owner(&registries, states.lockout, &desk),
            refresh: owner(&registries, states.refresh, &desk),
            sessions: owner(&registries, states.sessions, &desk),
            mailed: owner(&registries, states.mailed, &desk),
            outbox: owner(&registries, states.outbox, &desk),
            throttle,
            stuffing,
            standings,
            refused,
            changes: Arc::clone(&desk.changes),
            verified: Verified::default(),
            edge: keys.edge(),
            keys,
            signer: parking_lot::RwLock::new(signer),
            revoked,
            key_storage,
            global_epoch,
            pool,
            known_bad,
            journal,
            saved: Mutex::new(Saved { newest: found.newest, tail: found.tail, ..Saved::default() }),
            storage: local,
            clock,
            chance,
            config,
            tally,
            calls: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            proxy_watch: Mutex::default(),
            registries: registries.handle(),
        });
        let workers = crate::workers::Workers::start(&engine, running.life().clone(), transport)?;
        let ended = Arc::clone(&engine);
        Ok((engine, Running { engine: ended, journal: running, registries, workers, audit, found }))
    }

    /// Asks an owner and waits until what it has seen is durable.
    pub(crate) async fn ask<S, M, V>(&self, owner: &Addr<Owner<S>>, message: M) -> Result<V, Fault>
    where
        S: Registry,
        M: Message<Result = Answer<V>> + Send + 'static,
        Owner<S>: Handler<M> + Actor,
        <Owner<S> as Actor>::Context: ToEnvelope<Owner<S>, M>,
        V: Send + 'static,
    {
        Ok(self.journal.open(self.ask_sealed(owner, message).await?).await?)
    }

    /// Asks an owner; the answer waits until it is opened.
    pub(crate) async fn ask_sealed<S, M, V>(
        &self,
        owner: &Addr<Owner<S>>,
        message: M,
    ) -> Result<Sealed<V>, Fault>
    where
        S: Registry,
        M: Message<Result = Answer<V>> + Send + 'static,
        Owner<S>: Handler<M> + Actor,
        <Owner<S> as Actor>::Context: ToEnvelope<Owner<S>, M>,
        V: Send + 'static,
    {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(owner.send(message).await.map_err(|_| Fault::Ending)??)
    }

    /// Asks an actor whose answer rests on memory alone.
    pub(crate) async fn tell<A, M>(&self, actor: &Addr<A>, message: M) -> Result<M::Result, Fault>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M> + Actor,
        A::Context: ToEnvelope<A, M>,
    {
        self.calls.fetch_add(1, Ordering::Relaxed);
        actor.send(message).await.map_err(|_| Fault::Ending)
    }

    /// What requests have cost since the start: for whoever checks that two of them cost the same.
    pub fn work(&self) -> Work {
        let calls = self.calls.load(Ordering::Relaxed);
        let journal = self.journal.stats();
        let hashes = self.pool.stats().passes();
        Work { calls, hashes, entries: journal.assigned, bytes: journal.body_bytes }
    }

    /// Does work that asks several owners on their own thread: one way there and back, whatever it asks between.
    pub(crate) async fn beside_owners<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, wait) = tokio::sync::oneshot::channel();
        let accepted = self.registries.spawn_fn(move || {
            // In a place of its own from the beginning: the runtime moves what it is given about, and this is thousands of
            // bytes.
            actix::spawn(Box::pin(async move {
                // Whoever hung up has no use for the answer.
                let _ = answer.send(work().await);
            }));
        });
        if !accepted {
            return Err(Fault::Ending);
        }
        wait.await.map_err(|_| Fault::Ending)
    }

    /// Makes a new signing key, which is published now and signs a while later; older ones check on. Says its id, and from
    /// when on it signs.
    pub fn rotate_signing_key(&self) -> Result<(String, Timestamp), StartError> {
        let mut signer = self.signer.write();
        let from = self.clock.now() + self.config.publish_ahead;
        let signing = Keys::add_signing(&*self.key_storage, self.config.scheme, from)?;
        *signer = Signer::new(&signing, self.config.public_origin.as_str(), &self.config.audience)?;
        let (kid, from) = signer.newest().unwrap_or_default();
        Ok((kid.to_owned(), from))
    }

    /// Takes a signing key out for good: what it has signed is believed no more, here at once and elsewhere by the feed.
    /// False when there is no such key.
    pub fn retire_signing_key(&self, kid: &str) -> Result<bool, StartError> {
        let mut signer = self.signer.write();
        let now = self.clock.now();
        let Some(signing) = Keys::retire_signing(&*self.key_storage, kid, self.config.scheme, now)? else {
            return Ok(false);
        };
        *signer = Signer::new(&signing, self.config.public_origin.as_str(), &self.config.audience)?;
        drop(signer);
        self.changes.note_all();
        self.revoked.push(Ended::Kid(kid.to_owned()), now);
        Ok(true)
    }

    /// Looks for a proxy that was forgotten in `http.trusted_proxies`: then everybody behind it shares one limit, and the
    /// first attacker locks them all out.
    pub(crate) fn watch_for_proxy(&self, peer: std::net::IpAddr, forwarding_headers: [bool; 2]) {
        let is_forwarded = forwarding_headers.contains(&true);
        if let Some(proxy) = self.proxy_watch.lock().see(peer, is_forwarded) {
            tracing::error!(
                %proxy,
                "every request comes from one peer and was forwarded, but http.trusted_proxies does not name it: all its \
                 clients are throttled as one. If it is your proxy, set http.trusted_proxies = [\"{proxy}\"]"
            );
        }
    }

    /// What only a running server can know is wrong with its settings.
    pub fn findings(&self) -> Vec<crate::config::Finding> {
        let proxy = self.proxy_watch.lock().found();
        proxy.into_iter().map(crate::config::Finding::forgotten_proxy).collect()
    }

    /// Copies snapshots and journal into a directory, and reads the copy to its end. Blocks while it does.
    pub(crate) fn back_up(&self, to: &std::path::Path) -> std::io::Result<Found> {
        let (from, to) = (LocalStorage::open(&self.config.data_dir)?, LocalStorage::open(to)?);
        archive::back_up(&from, &to, Sizes::PRODUCTION)
    }

    /// From here on `/readyz` says no, so that load balancers send nobody any more.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether [`Engine::begin_stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// How far the journal is, and how much room it has.
    pub fn journal_stats(&self) -> crate::journal::append::handle::Stats {
        self.journal.stats()
    }

    /// Whether the last snapshot that was due could not be taken.
    pub fn is_snapshot_failing(&self) -> bool {
        self.saved.lock().failing
    }
}

fn owner<S: Registry>(arbiter: &Arbiter, state: S, desk: &Desk) -> Addr<Owner<S>> {
    let owner = Owner::new(state, desk.clone());
    Owner::start_in_arbiter(&arbiter.handle(), |_| owner)
}

impl Running {
    /// Stops in order: workers, a last snapshot, actors, the journal with its mark of a clean stop.
    pub fn stop(self) {
        self.workers.stop();
        self.registries.stop();
        let _ = self.registries.join();
        self.journal.close();
        self.engine.tally.log.end();
        let _ = self.audit.join();
    }
}
