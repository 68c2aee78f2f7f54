//! What the engines of one process share: configuration, keys, the hash pool, the rate limiter, the audit log.
//!
//! Services know no engine. They are started once, from the directory of the first partition, and stopped after the last
//! engine.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use actix::{Actor, Addr, Arbiter};

use super::hooks::{HookDoor, HookFigures};
use super::key_loading;
use super::partition::{Partition, StartError, key_files, require_actix_system};
use super::request_figures::RequestFigures;
use super::webhook_status::WebhookStatus;
use crate::audit::AuditLog;
use crate::audit::ends::Place;
use crate::audit::log::Options;
use crate::config::{Config, Finding};
use crate::password::pepper::Peppers;
use crate::password::{HashPool, KnownBad, Policy, pool};
use crate::registry::stuffing::ReputationCache;
use crate::registry::stuffing::actor::StuffingActor;
use crate::registry::throttle::actor::Throttle;
use crate::registry::throttle::refusal_cache::RefusalCache;
use crate::registry::throttle::{ProxyWatch, file};
use crate::system::clock::{Clock, Timestamp};
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::random::Random;
use crate::system::scheduling;
use crate::system::volume;
use crate::token::feed::Ended;
use crate::token::feed_places::FeedPlaces;
use crate::token::further_claims::LeftOut;
use crate::token::key_check::mismatches;
use crate::token::opaque::EdgeKeys;
use crate::token::{Feed, KeyCheck, KeyFiles, Keys, Signer, TokenMarks};
use crate::value::account_name::AccountName;
use crate::value::id::Slot;

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
    /// The policy for new passwords.
    pub(crate) password_policy: Arc<Policy>,
    /// Counts and records security events.
    pub audit: AuditLog,
    /// Signs and verifies access tokens.
    pub signer: parking_lot::RwLock<Signer>,
    /// Tags opaque tokens.
    pub edge: EdgeKeys,
    /// Marks access tokens.
    pub(crate) token_marks: TokenMarks,
    /// The symmetric keys of the installation.
    pub(crate) keys: Keys,
    /// The files of the keys. [`super::key_care`] changes them.
    pub(super) key_files: Mutex<KeyFiles>,
    /// Sessions and keys that ended early, for resource servers.
    pub revoked: Arc<Feed>,
    /// Places for open streams of the feed.
    pub(crate) feed_places: Arc<FeedPlaces>,
    /// Places for requests that wait for events.
    pub(crate) event_places: Arc<FeedPlaces>,
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
    /// Mails that were dropped because their links had died.
    pub(crate) dropped_mails: AtomicU64,
    /// Claims that did not fit into access tokens.
    pub(crate) claims_left_out: LeftOut,
    /// The way to the hooks, if any are set.
    pub(crate) hooks: OnceLock<HookDoor>,
    pub(crate) hook_figures: HookFigures,
    /// When these services were started.
    pub(crate) started: Timestamp,
    stopping: AtomicBool,
    proxy_watch: Mutex<ProxyWatch>,
    /// Whether the last request that the watch has seen was forwarded.
    has_forwarded: AtomicBool,
    has_found_proxy: AtomicBool,
    /// Whether `audit.dir` is on the volume of the data directory, whose space the journal needs.
    audit_shares_volume: bool,
    /// The figures of the log of the process, if the program keeps any.
    log_figures: OnceLock<LogFigures>,
    /// The figures of requests, if any were served.
    request_figures: OnceLock<RequestFigures>,
    /// The description of the HTTP interface, if anybody has asked for it.
    reference: OnceLock<Reference>,
    /// How the webhooks stand, if any are called.
    webhooks: OnceLock<Vec<Arc<WebhookStatus>>>,
}

/// The description of the HTTP interface, which is the same for as long as the process lives.
pub(crate) struct Reference {
    /// The text.
    pub(crate) text: Arc<[u8]>,
    /// The entity tag of the text (RFC 9110 §8.8.3), different for every text.
    pub(crate) tag: String,
}

/// The figures of the process's log, for the metrics.
pub struct LogFigures {
    /// Returns how many lines were lost because nobody read the log.
    pub lost: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Returns how many lines were summed up in others.
    pub folded: Box<dyn Fn() -> u64 + Send + Sync>,
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
        require_actix_system()?;
        let password_policy = Policy {
            chars_min: config.password.chars_min,
            service: config.service_name.as_str().into(),
            known: KnownBad::load(config.password.list_file.as_deref())?,
        };
        let key_files = key_files(&config, random)?;
        let keys = key_loading::load(&key_files, &config, &first.states.file_checks.signing(), clock.now())?;
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
            memory_kib: first.hashing_memory_kib(&config),
        };
        let peppers = key_loading::peppers(&key_files, &config)?;
        key_loading::remember_pepper(&key_files, &peppers)?;
        let pool = HashPool::start_with_peppers(pool_options, &peppers, clock, random, fail_stop)?;
        let audit = AuditLog::new(clock.clone());
        let audit_thread = audit.log.start(audit_options(&config, &keys, first), clock)?;

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
            password_policy: Arc::new(password_policy),
            audit,
            signer: parking_lot::RwLock::new(signer),
            edge: keys.edge(),
            token_marks: TokenMarks::new(keys.token_marks()),
            keys,
            key_files: Mutex::new(key_files),
            revoked: Arc::new(revoked),
            feed_places: Arc::default(),
            event_places: Arc::default(),
            throttle: Throttle::start_in_arbiter(&owners.handle(), |_| throttle),
            refusal_cache,
            stuffing: StuffingActor::start_in_arbiter(&owners.handle(), |_| stuffing),
            reputation_cache,
            everything_changed: Arc::default(),
            owners,
            dropped_mails: AtomicU64::new(0),
            claims_left_out: LeftOut::default(),
            hooks: OnceLock::new(),
            hook_figures: HookFigures::default(),
            started: clock.now(),
            stopping: AtomicBool::new(false),
            proxy_watch: Mutex::default(),
            has_forwarded: AtomicBool::new(false),
            has_found_proxy: AtomicBool::new(false),
            // A directory that cannot be asked may well be on the same volume.
            audit_shares_volume: volume::is_shared(&config.audit.dir, &config.data_dir).unwrap_or(true),
            log_figures: OnceLock::new(),
            request_figures: OnceLock::new(),
            reference: OnceLock::new(),
            webhooks: OnceLock::new(),
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
    pub(crate) fn watch_for_proxy(&self, peer: std::net::IpAddr, is_forwarded: bool) {
        // The request of a client that no proxy forwards takes no lock.
        if !is_forwarded && !self.has_forwarded.load(Ordering::Relaxed) {
            return;
        }
        self.has_forwarded.store(is_forwarded, Ordering::Relaxed);
        let found = self.proxy_watch.lock().see(peer, is_forwarded);
        if let Some(proxy) = found {
            self.has_found_proxy.store(true, Ordering::Relaxed);
            let Finding { fix, .. } = Finding::forgotten_proxy(proxy);
            tracing::error!(
                %proxy,
                "every request comes from one peer and was forwarded, but http.trusted_proxies does not name it, so all its \
                 clients are throttled as one: {fix}"
            );
        }
    }

    /// Says whether requests are still to be shown to [`Self::watch_for_proxy`]: one proxy that was found is enough.
    pub(crate) fn is_watching_for_proxy(&self) -> bool {
        !self.has_found_proxy.load(Ordering::Relaxed)
    }

    /// Keeps the audit log from the space that the journal needs: `journal_bytes`, and half a segment for what happens
    /// between two looks.
    pub(crate) fn keep_space(&self, journal_bytes: u64) {
        if self.audit_shares_volume {
            self.audit.log.keep_free(journal_bytes + self.config.journal.segment_bytes / 2);
        }
    }

    /// Hands over the figures of the log of the process. The first ones stay.
    pub fn set_log_figures(&self, figures: LogFigures) {
        let _ = self.log_figures.set(figures);
    }

    /// Returns the figures of the log of the process, if the program keeps any.
    pub(crate) fn log_figures(&self) -> Option<&LogFigures> {
        self.log_figures.get()
    }

    /// Sets the hooks. The first ones stay.
    pub fn set_hooks(&self, door: HookDoor) {
        let _ = self.hooks.set(door);
    }

    /// Returns the figures of requests, which `create` makes the first time.
    pub(crate) fn request_figures_or(&self, create: fn() -> RequestFigures) -> &RequestFigures {
        self.request_figures.get_or_init(create)
    }

    /// Hands over how the webhooks stand. The first ones stay.
    #[cfg(feature = "outbound")]
    pub(crate) fn set_webhooks(&self, webhooks: Vec<Arc<WebhookStatus>>) {
        let _ = self.webhooks.set(webhooks);
    }

    /// Returns how the webhooks stand that are called.
    pub fn webhooks(&self) -> &[Arc<WebhookStatus>] {
        self.webhooks.get().map_or(&[], Vec::as_slice)
    }

    /// Returns the description of the HTTP interface, which `create` makes the first time.
    pub(crate) fn reference_or(&self, create: impl FnOnce() -> Reference) -> &Reference {
        self.reference.get_or_init(create)
    }

    /// Returns the figures of requests, if any was served.
    pub(crate) fn request_figures(&self) -> Option<&RequestFigures> {
        self.request_figures.get()
    }

    /// Returns the unsafe settings that only a running server can notice.
    pub fn findings(&self) -> Vec<Finding> {
        let proxy = self.proxy_watch.lock().found();
        let unknown = Some(self.peppers.unknown()).filter(|count| *count > 0);
        let pepper = unknown.map(Finding::missing_pepper);
        let key = self.changed_key().map(|what| Finding::changed_key(&what));
        let clock = self.clock.far_ahead().map(Finding::clock_ahead);
        let webhooks = self.webhooks().iter().filter_map(|webhook| {
            let why = webhook.state().disabled?;
            Some(Finding::disabled_webhook(&webhook.host, &why))
        });
        let proxy = proxy.into_iter().map(Finding::forgotten_proxy);
        proxy.chain(pepper).chain(key).chain(clock).chain(webhooks).collect()
    }

    /// Returns the check values of the signing keys that verify now.
    pub fn signing_check_values(&self) -> Vec<KeyCheck> {
        self.signer.read().kids().map(KeyCheck::of_signing).collect()
    }

    /// Says what is wrong with the key files, if they are not the keys in memory any more: the next start will be refused.
    fn changed_key(&self) -> Option<String> {
        let files = self.key_files.lock();
        match Keys::check(&files).and_then(|()| Keys::check_values(&files)) {
            Err(error) => Some(error.to_string()),
            Ok(in_files) => {
                let mismatch = mismatches(&self.keys.loaded_check_values(), &in_files).into_iter().next()?;
                Some(format!("{} {mismatch}", mismatch.file))
            }
        }
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

/// Returns how the files of the audit log are kept.
fn audit_options(config: &Config, keys: &Keys, first: &Partition) -> Options {
    Options {
        dir: config.audit.dir.clone(),
        key: keys.audit(),
        keep: config.audit.keep,
        bytes_max: config.audit.bytes_max,
        data: Arc::clone(&first.context().storage),
        is_first_start: first.report().first_start,
        journal: first.durable(),
        known_end: first.states.file_checks.audit_end().map(Place::of_bytes),
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
