//! How an engine starts: recover a partition, then start the owners of what it holds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use actix::{Actor, Addr, Arbiter, ArbiterHandle};

use super::Engine;
use super::credential_cache::CredentialCache;
use super::mailbox::{Mailbox, TableReader};
use super::services::{RunningServices, Services};
use crate::config::Config;
use crate::journal::context::JournalContext;
use crate::journal::format::codec::Stored;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::report::{RecoveryReport, Refusal, ReplayTarget};
use crate::journal::recovery::{Journal, Options, Recovered, recover};
use crate::journal::snapshot::status::Saved;
use crate::registry::account::AccountV1;
use crate::registry::refresh::FamilyV1;
use crate::registry::tables::{Limits, States};
use crate::registry::write_counts::WriteCounts;
use crate::registry::{Owner, OwnerContext, Registry};
use crate::storage::Storage;
use crate::storage::local::LocalStorage;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::random::Random;
use crate::system::scheduling;
use crate::token::feed::{self, Ended};
use crate::token::{KeyError, Keys, Scheme};
use crate::value::id::AccountId;

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Recovery refused the directory.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Keys, files or threads.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// One partition, recovered and owned: the state of its tables and the journal that is ready for its next entry.
pub struct Partition {
    states: States,
    storage: LocalStorage,
    recovered: Recovered,
    clock: Clock,
}

/// How a partition is recovered.
pub struct PartitionOptions<'a> {
    /// Its directory.
    pub dir: &'a Path,
    /// Its clock, whose floor recovery raises.
    pub clock: Clock,
    /// The source of randomness.
    pub random: Arc<Random>,
    /// Whether to start although the journal is more than a day ahead of the system's clock.
    pub accept_clock_floor: bool,
    /// Whether the keys of the installation are made at the first start of this partition. True for one partition of a
    /// process.
    pub makes_keys: bool,
}

impl Partition {
    /// Recovers and owns a partition.
    ///
    /// Errors: a directory that is held, damaged or of a newer version.
    pub fn recover(config: &Config, options: PartitionOptions<'_>) -> Result<Self, StartError> {
        let PartitionOptions { dir, clock, random, accept_clock_floor, makes_keys } = options;
        let storage = LocalStorage::open(dir)?.logging(config.journal.write_mode);
        let key_storage: Option<Arc<dyn Storage>> =
            if makes_keys { Some(Arc::new(LocalStorage::open(&config.keys.dir)?)) } else { None };
        let limits = Limits {
            lockout: config.lockout,
            refresh: config.refresh,
            session: config.session,
            reset: config.reset,
        };
        let mut target = Target {
            states: States::new(&limits),
            key_storage,
            random: Arc::clone(&random),
            scheme: config.token.algorithm,
        };
        let options = Options {
            storage: Arc::new(storage.clone()),
            sizes: Sizes { segment: config.journal.segment_bytes, ..Sizes::PRODUCTION },
            clock: clock.clone(),
            random,
            accept_clock_floor,
        };
        target.states.begin_recovery();
        let recovered = recover(options, &mut target)?;
        target.states.end_recovery();
        Ok(Self { states: target.states, storage, recovered, clock })
    }

    /// Returns what recovery found.
    pub const fn report(&self) -> &RecoveryReport {
        &self.recovered.found
    }

    /// Returns what the files of this run of the journal have in common.
    pub const fn context(&self) -> &JournalContext {
        self.recovered.life()
    }

    /// Returns the last durable sequence.
    pub fn durable(&self) -> u64 {
        self.recovered.handle.durable()
    }
}

/// What recovery replays into.
struct Target {
    states: States,
    /// Where keys are made at the first start, if this partition makes them.
    key_storage: Option<Arc<dyn Storage>>,
    random: Arc<Random>,
    scheme: Scheme,
}

impl ReplayTarget for Target {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        self.states.restore(table, schema, key, value)
    }

    fn first_start(&mut self) -> std::io::Result<()> {
        match &self.key_storage {
            Some(storage) => Keys::form(&**storage, &self.random, self.scheme),
            None => Ok(()),
        }
    }

    fn has_keys(&self) -> bool {
        self.key_storage.as_ref().is_some_and(|storage| Keys::exist(&**storage))
    }
}

/// The thread on which an engine runs its owners.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OwnerThread {
    /// The thread of the throttle and of stuffing: for the first engine of a process, so that a request that asks both
    /// crosses threads once.
    OfServices,
    /// A thread of its own: for every further engine.
    Own,
}

/// Keeps an engine going. Held by the program that started it.
pub struct RunningEngine {
    journal: Journal,
    own_thread: Option<Arbiter>,
    /// What recovery found.
    pub found: RecoveryReport,
}

impl RunningEngine {
    /// Returns what the files of this run of the journal have in common.
    pub const fn journal_context(&self) -> &JournalContext {
        self.journal.life()
    }

    /// Stops in order: the owners' thread, then the journal with its mark of a clean stop.
    pub fn stop(self) {
        if let Some(thread) = self.own_thread {
            thread.stop();
            let _ = thread.join();
        }
        self.journal.close();
    }

    /// Ends after a fault: no snapshot, no mark of a clean stop. The directory is free once this returns.
    pub fn abandon(self) {
        let Self { journal, own_thread, .. } = self;
        if let Some(thread) = own_thread {
            thread.stop();
            let _ = thread.join();
        }
        drop(journal);
    }
}

impl Engine {
    /// Starts the owners of a partition. `fail_stop` ends this engine; what else it ends is up to the program. Call it in an
    /// actix system.
    ///
    /// Errors: threads that cannot be started.
    pub fn start(
        services: &Arc<Services>,
        partition: Partition,
        thread: OwnerThread,
        fail_stop: &FailStop,
    ) -> Result<(Arc<Self>, RunningEngine), StartError> {
        let Partition { states, storage, recovered, clock } = partition;
        let machine = services.config.machine;
        let (handle, journal, found) = recovered.start(fail_stop, machine)?;
        // The first timeline is number 1, and its credentials carry 0.
        let global_epoch = u64::from(journal.life().timeline).saturating_sub(1);
        announce_ended(services, &states, global_epoch, &clock);

        let own_thread = (thread == OwnerThread::Own).then(Arbiter::new);
        if let Some(own) = &own_thread {
            own.spawn_fn(move || scheduling::batch(machine));
        }
        let owners = own_thread.as_ref().map_or_else(|| services.owners.handle(), Arbiter::handle);
        let write_counts = Arc::new(WriteCounts::sharing(Arc::clone(&services.everything_changed)));
        let calls = Arc::new(AtomicU64::new(0));
        let mut start = Start {
            owners: &owners,
            tables: Vec::new(),
            calls: &calls,
            context: OwnerContext {
                journal: handle.clone(),
                clock: clock.clone(),
                fail_stop: fail_stop.clone(),
                write_counts: Arc::clone(&write_counts),
                feed: Arc::clone(&services.revoked),
            },
        };
        let engine = Arc::new(Self {
            services: Arc::clone(services),
            clock,
            global_epoch,
            accounts: start.owner(states.accounts),
            lockout: start.owner(states.lockout),
            sessions: start.owner(states.sessions),
            refresh: start.owner(states.refresh),
            mailed: start.owner(states.mailed),
            outbox: start.owner(states.outbox),
            tables: start.tables,
            write_counts,
            credential_cache: CredentialCache::default(),
            saved: Mutex::new(Saved { newest: found.newest, tail: found.tail, ..Saved::default() }),
            journal: handle.clone(),
            storage,
            calls: Arc::clone(&calls),
            owners: owners.clone(),
        });
        Ok((engine, RunningEngine { journal, own_thread, found }))
    }
}

/// Starts the services of a process and its first engine, over `config.data_dir`. Call it in an actix system.
///
/// `fail_stop` ends the process: with one engine, nobody could go on after it.
///
/// Errors: a directory that is held, damaged or of a newer version; keys that cannot be read; threads that cannot be started.
pub fn start_first(
    config: Config,
    clock: Clock,
    accept_clock_floor: bool,
    fail_stop: &FailStop,
) -> Result<(Arc<Engine>, RunningEngine, RunningServices), StartError> {
    let random = Arc::new(Random::system());
    let options = PartitionOptions {
        dir: &config.data_dir,
        clock: clock.clone(),
        random: Arc::clone(&random),
        accept_clock_floor,
        makes_keys: true,
    };
    let partition = Partition::recover(&config, options)?;
    let (services, running_services) = Services::start(config, &clock, &random, &partition, fail_stop)?;
    match Engine::start(&services, partition, OwnerThread::OfServices, fail_stop) {
        Ok((engine, running)) => Ok((engine, running, running_services)),
        Err(error) => {
            running_services.stop();
            Err(error)
        }
    }
}

/// Tells resource servers which sessions ended so recently that tokens of them may still live.
fn announce_ended(services: &Services, states: &States, global_epoch: u64, clock: &Clock) {
    let is_alive = |family: &FamilyV1| {
        let account = AccountId::from_bytes(family.account).and_then(|id| states.accounts.get(id));
        let is_of_now = |account: &AccountV1| account.auth_epoch == family.auth_epoch;
        account.is_some_and(is_of_now) && family.global_epoch == global_epoch
    };
    let since = clock.now() - (services.config.token.access_ttl + feed::LEEWAY);
    for (id, minted) in states.refresh.dead_since(since, is_alive) {
        services.revoked.push(Ended::Sid(id.to_string()), minted);
    }
}

/// Starts owners on one thread, and gathers the ways to read their tables.
struct Start<'a> {
    owners: &'a ArbiterHandle,
    tables: Vec<TableReader>,
    calls: &'a Arc<AtomicU64>,
    context: OwnerContext,
}

impl Start<'_> {
    fn owner<S: Registry>(&mut self, state: S) -> Mailbox<S> {
        let owner = Owner::new(state, self.context.clone());
        let address: Addr<Owner<S>> = Owner::start_in_arbiter(self.owners, |_| owner);
        self.tables.push(TableReader {
            number: <S::Record as Stored>::TABLE,
            schema: <S::Record as Stored>::SCHEMA,
            owner: address.clone().recipient(),
        });
        Mailbox::new(address, self.context.journal.clone(), Arc::clone(self.calls))
    }
}
