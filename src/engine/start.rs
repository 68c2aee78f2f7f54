//! How an engine starts: recover a partition, then start the owners of what it holds.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use actix::{Actor, Addr, Arbiter, ArbiterHandle};

use super::Engine;
use super::api_key_cache::ApiKeyCache;
use super::credential_cache::CredentialCache;
use super::mailbox::{Mailbox, TableReader};
use super::partition::{Partition, PartitionOptions, StartError, require_actix_system};
use super::services::{RunningServices, Services};
use crate::audit::ends::Place;
use crate::config::Config;
use crate::journal::append::handle::{Class, Handle};
use crate::journal::context::JournalContext;
use crate::journal::event_log::{EventWriter, RunningWriter};
use crate::journal::format::codec::Stored;
use crate::journal::format::entry::Entry;
use crate::journal::recovery::Journal;
use crate::journal::recovery::report::RecoveryReport;
use crate::journal::snapshot::status::Saved;
use crate::registry::account::AccountV4;
use crate::registry::event::EVENTS;
use crate::registry::file_check::FileChecks;
use crate::registry::file_check::actor::Remember;
use crate::registry::record::Write;
use crate::registry::refresh::FamilyV3;
use crate::registry::tables::States;
use crate::registry::write_counts::WriteCounts;
use crate::registry::{Owner, OwnerContext, Registry};
use crate::system::clock::{Clock, Timestamp};
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::random::Random;
use crate::system::scheduling;
use crate::token::feed;
use crate::value::id::Slot;

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
    writer: RunningWriter,
    /// What recovery found.
    pub report: RecoveryReport,
}

impl RunningEngine {
    /// Returns what the files of this run of the journal have in common.
    pub const fn journal_context(&self) -> &JournalContext {
        self.journal.context()
    }

    /// Stops in order: the owners' thread, the journal with its mark of a clean stop, and the event log, which is then as far
    /// as the journal.
    pub fn stop(self) {
        stop_thread(self.own_thread);
        self.journal.close_and(|| self.writer.close());
    }

    /// Ends after a fault: entries that were appended are written, but no mark of a clean stop. The directory is free once this returns.
    pub fn abandon(self) {
        stop_thread(self.own_thread);
        self.writer.abandon();
        self.journal.abandon();
    }
}

/// Stops the owners' thread of an engine that has one of its own, and waits for its end.
fn stop_thread(thread: Option<Arbiter>) {
    if let Some(thread) = thread {
        thread.stop();
        let _ = thread.join();
    }
}

impl Engine {
    /// Starts the owners of a partition. `fail_stop` ends this engine; what else it ends is up to the program. Call it in an
    /// actix system.
    ///
    /// Errors: threads that cannot be started, or [`StartError::NoActixSystem`].
    #[doc(hidden)]
    pub fn start_owners(
        services: &Arc<Services>,
        partition: Partition,
        thread: OwnerThread,
        fail_stop: &FailStop,
    ) -> Result<(Arc<Self>, RunningEngine), StartError> {
        require_actix_system()?;
        let Partition { mut states, slots, storage, recovered, clock, remembers_files } = partition;
        let machine = services.config.machine;
        let (handle, journal, report) = recovered.start(fail_stop, machine)?;
        // The first timeline is number 1, and its credentials carry 0.
        let global_epoch = u64::from(journal.context().timeline).saturating_sub(1);
        announce_ended(services, &states, global_epoch, &clock);
        // Since the journal's last sign of life no answer could leave.
        states.refresh.note_pause(Timestamp(report.wall_ms), clock.now());

        if remembers_files {
            remember_files(services, &handle, &mut states.file_checks, clock.now());
        }
        let own_thread = (thread == OwnerThread::Own).then(Arbiter::new);
        if let Some(own) = &own_thread {
            own.spawn_fn(move || scheduling::batch(machine));
        }
        let owners = own_thread.as_ref().map_or_else(|| services.owners.handle(), Arbiter::handle);
        let write_counts = Arc::new(WriteCounts::sharing(Arc::clone(&services.everything_changed)));
        let calls = Arc::new(AtomicU64::new(0));
        let keep = services.config.events.fitted_to(&services.config.data_dir);
        let (events, writer) = EventWriter::new(journal.context(), &handle, EVENTS, keep);
        let writer = writer.run()?;
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
                events: Some(events.clone()),
            },
        };
        let engine = Arc::new_cyclic(|itself| Self {
            services: Arc::clone(services),
            slots,
            clock,
            global_epoch,
            accounts: start.owner(states.accounts),
            lockout: start.owner(states.lockout),
            sessions: start.owner(states.sessions),
            refresh: start.owner(states.refresh),
            mailed: start.owner(states.mailed),
            outbox: start.owner(states.outbox),
            api_keys: start.owner(states.api_keys),
            api_key_cache: ApiKeyCache::default(),
            sign_ups: start.owner(states.sign_ups),
            invitations: start.owner(states.invitations),
            file_checks: start.owner(states.file_checks),
            tables: start.tables,
            write_counts,
            credential_cache: CredentialCache::default(),
            turns: Mutex::default(),
            links: Mutex::default(),
            import: Arc::default(),
            saved: Mutex::new(Saved { newest: report.newest, tail: report.tail, ..Saved::default() }),
            journal: handle,
            event_log: events,
            storage,
            calls: Arc::clone(&calls),
            owners: owners.clone(),
            itself: Weak::clone(itself),
        });
        Ok((engine, RunningEngine { journal, own_thread, writer, report }))
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
    // Before anything is written.
    require_actix_system()?;
    let random = Arc::new(Random::system());
    let options = PartitionOptions {
        dir: &config.data_dir,
        slots: Slot::ALL,
        clock: clock.clone(),
        random: Arc::clone(&random),
        accept_clock_floor,
        makes_keys: true,
    };
    let partition = Partition::recover(&config, options)?;
    let (services, running_services) = Services::start(config, &clock, &random, &partition, fail_stop)?;
    match Engine::start_owners(&services, partition, OwnerThread::OfServices, fail_stop) {
        Ok((engine, running)) => Ok((engine, running, running_services)),
        Err(error) => {
            running_services.stop();
            Err(error)
        }
    }
}

/// Remembers the keys and the end of the log of security events, before any entry that another start could misread
/// without them. Whatever finds no room is remembered later: keys by the task that looks after them, the end of the log at
/// the next start.
fn remember_files(services: &Services, journal: &Handle, checks: &mut FileChecks, now: Timestamp) {
    let audit_end = services.audit.log.end_at_start().as_ref().and_then(Place::to_bytes);
    let keys = services.keys.loaded_check_values();
    let signing = Some(services.signing_check_values());
    let writes = checks.remember(&Remember { keys, signing, audit_end }, now).writes;
    let changes: Result<Vec<_>, _> = writes.iter().map(Write::to_change).collect();
    let changes = changes.unwrap_or_else(|error| panic!("a check value that cannot be stored: {error}"));
    if changes.is_empty() {
        return;
    }
    let entry =
        Entry::encode(&changes).unwrap_or_else(|error| panic!("check values that make no entry: {error}"));
    if let Ok(permit) = journal.reserve(entry.as_bytes().len(), Class::Essential) {
        journal.append(permit, &entry);
        for write in writes {
            checks.apply(write);
        }
    }
}

/// Tells resource servers which sessions ended, and which accounts lost a role, so recently that tokens of them may still
/// live.
fn announce_ended(services: &Services, states: &States, global_epoch: u64, clock: &Clock) {
    let is_alive = |family: &FamilyV3| {
        let account = states.accounts.get(family.account);
        let is_of_now = |account: &AccountV4| account.auth_epoch == family.auth_epoch;
        account.is_some_and(is_of_now) && family.global_epoch == global_epoch
    };
    let since = clock.now() - (services.config.token.access_ttl + feed::LEEWAY);
    // The times in tokens are the system's.
    let now = clock.system_now();
    for (id, account, minted) in states.refresh.dead_since(since, is_alive) {
        services.revoked.push_session(id.to_string(), account.to_bytes(), minted.min(now));
    }
    for (account, issued_before) in states.accounts.tokens_revoked_since(since - clock.ahead()) {
        let issued = Timestamp::from_secs(issued_before);
        services.revoked.push_account(account.to_bytes(), issued_before, issued);
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

/// Runs `act` on an engine of its own, in a directory that is removed afterwards.
#[cfg(test)]
pub(crate) fn on_an_engine(act: impl AsyncFnOnce(&Engine)) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::for_unit_tests(dir.path(), &[]);
    let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
    let fail_stop = FailStop::new(|why| panic!("{why}"));
    actix::System::new().block_on(async {
        let (engine, running, services) = start_first(config, clock, true, &fail_stop).unwrap();
        act(&engine).await;
        running.stop();
        services.stop();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An embedding program runs on plain tokio: it is told the line to write, and nothing is half done.
    #[tokio::test]
    async fn without_an_actix_system_a_start_is_refused_with_the_line_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let config = Config::for_unit_tests(&data, &[]);
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        let error = start_first(config, clock, false, &fail_stop).err().unwrap();
        assert!(matches!(error, StartError::NoActixSystem), "{error}");
        assert!(error.to_string().contains("#[actix_web::main]"), "{error}");
        assert!(!data.exists());
    }
}
