//! How an engine starts: recover the past, then start the owners of what it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use actix::{Actor, Addr, Arbiter};

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::credential_cache::CredentialCache;
use crate::journal::context::JournalContext;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::report::{RecoveryReport, ReplayTarget};
use crate::journal::recovery::{Journal, Options, recover};
use crate::journal::snapshot::status::Saved;
use crate::password::{HashPool, KnownBad, pool};
use crate::registry::account::{AccountV1, Accounts};
use crate::registry::lockout::Lockouts;
use crate::registry::outbox::Outbox;
use crate::registry::refresh::{Families, FamilyV1};
use crate::registry::reset::MailedTokens;
use crate::registry::session::Sessions;
use crate::registry::stuffing::ReputationCache;
use crate::registry::stuffing::actor::StuffingActor;
use crate::registry::throttle::actor::Throttle;
use crate::registry::throttle::file;
use crate::registry::throttle::refusal_cache::RefusalCache;
use crate::registry::{Owner, OwnerContext, Registry};
use crate::storage::Storage;
use crate::storage::local::LocalStorage;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::random::Random;
use crate::system::scheduling;
use crate::token::feed::{self, Ended};
use crate::token::{self, Feed, Keys, Scheme, Signer};
use crate::value::id::AccountId;

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

/// What keeps an engine going: held by whoever started it, and stopped in order.
pub struct RunningEngine {
    engine: Arc<Engine>,
    audit: std::thread::JoinHandle<()>,
    journal: Journal,
    registries: Arbiter,
    /// What recovery found.
    pub found: RecoveryReport,
}

/// The states that recovery fills.
struct States {
    accounts: Accounts,
    lockout: Lockouts,
    refresh: Families,
    sessions: Sessions,
    mailed: MailedTokens,
    outbox: Outbox,
    keys: Arc<dyn Storage>,
    random: Arc<Random>,
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

impl ReplayTarget for States {
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
        Keys::form(&*self.keys, &self.random, self.scheme)
    }

    fn has_keys(&self) -> bool {
        Keys::exist(&*self.keys)
    }
}

fn owner<S: Registry>(arbiter: &Arbiter, state: S, context: &OwnerContext) -> Addr<Owner<S>> {
    let owner = Owner::new(state, context.clone());
    Owner::start_in_arbiter(&arbiter.handle(), |_| owner)
}

impl RunningEngine {
    /// What the files of this run of the journal have in common.
    pub const fn journal_context(&self) -> &JournalContext {
        self.journal.life()
    }

    /// Stops in order: actors, the journal with its mark of a clean stop.
    pub fn stop(self) {
        self.registries.stop();
        let _ = self.registries.join();
        self.journal.close();
        self.engine.tally.log.end();
        let _ = self.audit.join();
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
        fail_stop: &FailStop,
    ) -> Result<(Arc<Self>, RunningEngine), StartError> {
        let random = Arc::new(Random::system());
        let local = LocalStorage::open(&config.data_dir)?.logging(config.write_mode);
        let storage: Arc<dyn Storage> = Arc::new(local.clone());
        let key_storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(&config.keys_dir)?);
        let mut states = States {
            accounts: Accounts::default(),
            lockout: Lockouts::new(config.lockout),
            refresh: Families::new(config.refresh),
            sessions: Sessions::new(config.session),
            mailed: MailedTokens::new(config.reset),
            outbox: Outbox::default(),
            keys: Arc::clone(&key_storage),
            random: Arc::clone(&random),
            scheme: config.scheme,
        };
        let options = Options {
            storage,
            sizes: Sizes { segment: config.segment_bytes, ..Sizes::PRODUCTION },
            clock: clock.clone(),
            random: Arc::clone(&random),
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
            implementation: config.hash_kernel,
            machine: config.machine,
        };
        let pool = HashPool::start(pool_options, &clock, &random, fail_stop)?;
        let tally = crate::audit::AuditLog::new(clock.clone(), recovered.handle.clone());
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
        let context = OwnerContext {
            journal: journal.clone(),
            clock: clock.clone(),
            fail_stop: fail_stop.clone(),
            changes: Arc::default(),
            feed: Arc::clone(&revoked),
        };
        let registries = Arbiter::new();
        let machine = config.machine;
        registries.spawn_fn(move || scheduling::gather(machine));
        let refused = Arc::new(RefusalCache::default());
        let table = file::restored(&*running.life().storage, running.life(), &found, config.throttle.clone());
        let throttle = Throttle::new(table, Arc::clone(&refused), clock.clone(), fail_stop.clone());
        let throttle = Throttle::start_in_arbiter(&registries.handle(), |_| throttle);
        let reputation_cache = Arc::new(ReputationCache::default());
        let watch = StuffingActor::new(Arc::clone(&reputation_cache), clock.clone(), fail_stop.clone());
        let stuffing = StuffingActor::start_in_arbiter(&registries.handle(), |_| watch);
        let engine = Arc::new(Self {
            accounts: owner(&registries, states.accounts, &context),
            lockout: owner(&registries, states.lockout, &context),
            refresh: owner(&registries, states.refresh, &context),
            sessions: owner(&registries, states.sessions, &context),
            mailed: owner(&registries, states.mailed, &context),
            outbox: owner(&registries, states.outbox, &context),
            throttle,
            stuffing,
            reputation_cache,
            refused,
            changes: Arc::clone(&context.changes),
            verified: CredentialCache::default(),
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
            random,
            config,
            tally,
            calls: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            proxy_watch: Mutex::default(),
            registries: registries.handle(),
        });
        let ended = Arc::clone(&engine);
        Ok((engine, RunningEngine { engine: ended, journal: running, registries, audit, found }))
    }
}
