//! What the engines of one process share: configuration, keys, the hash pool, the rate limiter, the audit log.
//!
//! Services know no engine. They are started once, from the directory of the first partition, and stopped after the last
//! engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use actix::{Actor, Addr, Arbiter};
use tokio::sync::Semaphore;

use super::key_loading;
use super::partition::{Partition, StartError, key_files};
use crate::audit::AuditLog;
use crate::config::{Config, Finding};
use crate::password::pepper::Peppers;
use crate::password::{HashPool, KnownBad, pool};
use crate::registry::stuffing::ReputationCache;
use crate::registry::stuffing::actor::StuffingActor;
use crate::registry::throttle::actor::Throttle;
use crate::registry::throttle::refusal_cache::RefusalCache;
use crate::registry::throttle::{ProxyWatch, file};
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::random::Random;
use crate::system::scheduling;
use crate::token::feed::Ended;
use crate::token::opaque::EdgeKeys;
use crate::token::{Feed, KeyFiles, Keys, Signer};
use crate::value::account_name::AccountName;
use crate::value::id::Slot;

/// Maximum number of open streams of the revocation feed. Further ones are refused with 503; a long poll needs none.
const FEED_STREAMS_MAX: usize = 256;

/// What the engines of one process share.
pub struct Services {
    /// The effective configuration.
    pub config: Config,
    /// The clock of the process. Each engine has one of its own, whose floor its journal sets.
    pub clock: Clock,
    /// The source of randomness.
    pub random: Arc<Random>,
    /// Hashes and verifies passwords.
    pub pool: HashPool,
    /// The secrets that go into hashes of passwords.
    pub peppers: Arc<Peppers>,
    /// Passwords that are refused because they are known.
    pub(crate) known_bad: KnownBad,
    /// Counts and records security events.
    pub audit: AuditLog,
    /// Signs and verifies access tokens.
    pub signer: parking_lot::RwLock<Signer>,
    /// Tags opaque tokens.
    pub edge: EdgeKeys,
    /// The symmetric keys of the installation.
    pub(crate) keys: Keys,
    /// The files of the keys. [`super::key_care`] changes them.
    pub(super) key_files: Mutex<KeyFiles>,
    /// Sessions and keys that ended early, for resource servers.
    pub revoked: Arc<Feed>,
    /// Places for open streams of the feed.
    pub(crate) feed_streams: Arc<Semaphore>,
    pub(crate) throttle: Addr<Throttle>,
    /// Recent refusals of the throttle, readable without a message to it.
    pub(crate) refusal_cache: Arc<RefusalCache>,
    pub(crate) stuffing: Addr<StuffingActor>,
    /// Reputations of networks, readable without a message to their owner.
    pub(crate) reputation_cache: Arc<ReputationCache>,
    /// Counts changes on which every cached credential may rest: a signing key was retired.
    pub(super) everything_changed: Arc<AtomicU64>,
    /// The thread of the throttle and of stuffing. The first engine runs its owners on it too, so that a request that asks
    /// both crosses threads once.
    pub(super) owners: Arbiter,
    stopping: AtomicBool,
    proxy_watch: Mutex<ProxyWatch>,
}

/// Keeps the services going. Held by the program that started them, and stopped after the engines.
pub struct RunningServices {
    services: Arc<Services>,
    audit: JoinHandle<()>,
}

impl Services {
    /// Starts the services of a process. `first` is the partition whose directory the keys were made with and whose journal
    /// the rate limiter's file belongs to; `fail_stop` ends the process. Call it in an actix system.
    ///
    /// Errors: keys, the password list or the audit log that cannot be read; threads that cannot be started.
    pub fn start(
        config: Config,
        clock: &Clock,
        random: &Arc<Random>,
        first: &Partition,
        fail_stop: &FailStop,
    ) -> Result<(Arc<Self>, RunningServices), StartError> {
        let known_bad = KnownBad::load(config.password.list_file.as_deref())?;
        let key_files = key_files(&config, random)?;
        let keys = key_loading::load(&key_files, &config, clock.now())?;
        let signer = key_loading::signer(&config, &keys.signing)?;
        let revoked = Feed::new(first.context().epoch, config.token.access_ttl);
        for (kid, at) in Keys::retired(&key_files, key_loading::overlap(&config), clock.now())? {
            revoked.push(Ended::Kid(kid), at);
        }
        let pool_options = pool::Options {
            threads: config.password.threads,
            wait_budget: config.password.wait_budget,
            cost: config.password.cost,
            implementation: config.password.implementation,
            machine: config.machine,
        };
        let peppers = key_loading::peppers(&key_files, &config)?;
        key_loading::remember_pepper(&key_files, &peppers)?;
        let pool = HashPool::start_with_peppers(pool_options, &peppers, clock, random, fail_stop)?;
        let audit = AuditLog::new(clock.clone());
        let audit_thread = audit.log.start(&config.audit.dir, keys.audit(), clock, first.durable())?;

        let owners = Arbiter::new();
        let machine = config.machine;
        owners.spawn_fn(move || scheduling::batch(machine));
        let refusal_cache = Arc::new(RefusalCache::default());
        let context = first.context();
        let table = file::restored(&*context.storage, context, first.report(), config.throttle.clone());
        let throttle = Throttle::new(table, Arc::clone(&refusal_cache), clock.clone(), fail_stop.clone());
        let reputation_cache = Arc::new(ReputationCache::default());
        let stuffing = StuffingActor::new(Arc::clone(&reputation_cache), clock.clone(), fail_stop.clone());

        let services = Arc::new(Self {
            clock: clock.clone(),
            random: Arc::clone(random),
            pool,
            peppers,
            known_bad,
            audit,
            signer: parking_lot::RwLock::new(signer),
            edge: keys.edge(),
            keys,
            key_files: Mutex::new(key_files),
            revoked: Arc::new(revoked),
            feed_streams: Arc::new(Semaphore::new(FEED_STREAMS_MAX)),
            throttle: Throttle::start_in_arbiter(&owners.handle(), |_| throttle),
            refusal_cache,
            stuffing: StuffingActor::start_in_arbiter(&owners.handle(), |_| stuffing),
            reputation_cache,
            everything_changed: Arc::default(),
            owners,
            stopping: AtomicBool::new(false),
            proxy_watch: Mutex::default(),
            config,
        });
        Ok((Arc::clone(&services), RunningServices { services, audit: audit_thread }))
    }

    /// Returns the slot in which the account of `address` lives; `None` if it is not an address.
    pub fn slot_of(&self, address: &str) -> Option<Slot> {
        let name = AccountName::parse(address).ok()?;
        Some(name.key(&self.keys.directory).slot())
    }

    /// Looks for a proxy that `http.trusted_proxies` does not name: every client behind it shares one limit, so that the
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

    /// Returns the unsafe settings that only a running server can notice.
    pub fn findings(&self) -> Vec<Finding> {
        let proxy = self.proxy_watch.lock().found();
        let unknown = Some(self.peppers.unknown()).filter(|count| *count > 0);
        let pepper = unknown.map(Finding::missing_pepper);
        proxy.into_iter().map(Finding::forgotten_proxy).chain(pepper).collect()
    }

    /// Makes `/readyz` say no from here on, so that load balancers send no more requests.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`Services::begin_stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl RunningServices {
    /// Stops the thread of the throttle and of stuffing, then the audit log.
    pub fn stop(self) {
        self.services.owners.stop();
        self.services.audit.log.end();
        let _ = self.audit.join();
    }
}
