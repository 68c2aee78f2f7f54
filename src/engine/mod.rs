#![doc = include_str!("README.md")]

pub(crate) mod api_key_cache;
pub mod credential_cache;
pub mod fault;
pub(crate) mod hook_calls;
pub mod hooks;
pub mod key_care;
pub mod key_loading;
pub(crate) mod mailbox;
pub mod partition;
pub mod request_figures;
pub mod services;
pub mod start;
pub mod webhook_status;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, ArbiterHandle, Handler, Message};
use mailbox::{Mailbox, TableReader};
use tokio::sync::oneshot;

use crate::audit::event::Note;
use crate::engine::api_key_cache::ApiKeyCache;
use crate::engine::credential_cache::CredentialCache;
use crate::journal::append::handle::{Class, Handle};
use crate::journal::archive;
use crate::journal::event_log::EventLog;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::report::RecoveryReport;
use crate::journal::snapshot::status::Saved;
use crate::registry::account::Accounts;
use crate::registry::api_key::ApiKeys;
use crate::registry::file_check::FileChecks;
use crate::registry::lockout::{Lockouts, Turns};
use crate::registry::outbox::Outbox;
use crate::registry::refresh::Families;
use crate::registry::reset::MailedTokens;
use crate::registry::session::Sessions;
use crate::registry::sign_up::SignUps;
use crate::registry::sign_up::invitation::Invitations;
use crate::registry::write_counts::WriteCounts;
use crate::storage::local::LocalStorage;
use crate::system::clock::Clock;
use crate::system::lock::Mutex;
use crate::value::id::{MailedId, Slot};

pub use fault::Fault;
pub use partition::StartError;
pub use services::Services;
pub use start::RunningEngine;

/// Bytes of the journal that the largest act needs: a new administrator, of whom a hundred others are told.
const ACT_BYTES: usize = 512 * 1024;

/// One partition: its journal, and the mailboxes of the owners of what it holds.
///
/// A program that embeds it starts it by [`Engine::start`], and reaches its accounts by [`Engine::accounts`].
pub struct Engine {
    /// Shared by the engines of this process.
    #[doc(hidden)]
    pub services: Arc<Services>,
    /// The slots whose accounts this partition holds.
    #[doc(hidden)]
    pub slots: RangeInclusive<Slot>,
    /// The clock of this partition: never below what its journal has seen.
    #[doc(hidden)]
    pub clock: Clock,
    /// Credentials issued under a lower epoch are invalid. A restore raises it, with the timeline.
    pub(crate) global_epoch: u64,
    pub(crate) accounts: Mailbox<Accounts>,
    pub(crate) lockout: Mailbox<Lockouts>,
    pub(crate) refresh: Mailbox<Families>,
    pub(crate) sessions: Mailbox<Sessions>,
    pub(crate) mailed: Mailbox<MailedTokens>,
    pub(crate) outbox: Mailbox<Outbox>,
    pub(crate) api_keys: Mailbox<ApiKeys>,
    /// API keys that were checked a moment ago.
    pub(crate) api_key_cache: ApiKeyCache,
    pub(crate) sign_ups: Mailbox<SignUps>,
    pub(crate) invitations: Mailbox<Invitations>,
    pub(crate) file_checks: Mailbox<FileChecks>,
    /// The ways to read every table, in the order in which a snapshot holds them.
    pub(crate) tables: Vec<TableReader>,
    /// Counts writes for every few keys; what [`CredentialCache`] holds is valid while they stand still.
    pub(crate) write_counts: Arc<WriteCounts>,
    pub(crate) credential_cache: CredentialCache,
    /// The log-ins that are in flight, by name.
    pub(crate) turns: Mutex<Turns<oneshot::Sender<()>>>,
    /// The mailed links that are being used.
    pub(crate) links: Mutex<HashMap<MailedId, Arc<tokio::sync::Mutex<()>>>>,
    /// Held by the import that is at work.
    pub(crate) import: Arc<tokio::sync::Mutex<()>>,
    /// How far snapshots have come.
    pub(crate) saved: Mutex<Saved>,
    pub(crate) journal: Handle,
    /// What happened to accounts and sessions, for other programs.
    pub(crate) event_log: EventLog,
    /// The directory of the partition.
    pub(crate) storage: LocalStorage,
    calls: Arc<AtomicU64>,
    owners: ArbiterHandle,
    /// This engine, for work that outlives the request which began it.
    itself: Weak<Self>,
}

/// Work that requests have caused since the start, so that a test can compare two requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Work {
    /// Messages to actors.
    pub calls: u64,
    /// Passwords that were hashed or verified.
    pub hashes: u64,
    /// KiB of memory that hashes have filled, each pass counted.
    pub filled_kib: u64,
    /// Work of hashes of other systems, as the KiB that argon2id would fill in about the same time.
    pub foreign_kib: u64,
    /// Entries of the journal.
    pub entries: u64,
    /// Bytes of those entries that are durable.
    pub bytes: u64,
}

/// Proof that the log of security events could take the line of a change before the change was made. Only
/// [`Engine::may_change_rights`] gives it for a change.
pub(crate) struct MayChange(());

impl MayChange {
    /// For a line that is all that is written: there is no change which could be without it.
    pub(crate) const LINE_ALONE: Self = Self(());
}

impl Engine {
    /// Sends `message` to an actor whose answer rests on memory alone, so that nothing has to become durable first.
    ///
    /// Errors: [`Fault::Ending`] if the actor is gone.
    pub(crate) async fn ask_unsealed<A, M>(&self, actor: &Addr<A>, message: M) -> Result<M::Result, Fault>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M> + Actor,
        A::Context: ToEnvelope<A, M>,
    {
        self.calls.fetch_add(1, Ordering::Relaxed);
        actor.send(message).await.map_err(|_| Fault::Ending)
    }

    /// Returns the work done since the start.
    #[doc(hidden)]
    pub fn work(&self) -> Work {
        let calls = self.calls.load(Ordering::Relaxed);
        let journal = self.journal.stats();
        let hashing = self.services.pool.stats();
        let (hashes, filled_kib) = (hashing.admitted(), hashing.filled_kib);
        let foreign_kib = hashing.foreign_kib;
        Work { calls, hashes, filled_kib, foreign_kib, entries: journal.assigned, bytes: journal.body_bytes }
    }

    /// Returns the engine as work on the owners' thread holds it.
    ///
    /// Errors: [`Fault::Ending`] if the engine is about to be dropped.
    pub(crate) fn itself(&self) -> Result<Arc<Self>, Fault> {
        self.itself.upgrade().ok_or(Fault::Ending)
    }

    /// Runs `work` on the owners' thread, so that its messages to them cross no thread boundary. One round trip in all.
    ///
    /// Errors: [`Fault::Ending`] if the thread is gone.
    pub(crate) async fn on_owner_thread<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, wait) = oneshot::channel();
        let accepted = self.owners.spawn_fn(move || {
            // Boxed at once: the runtime moves the futures it is given, and this one has thousands of bytes.
            actix::spawn(Box::pin(async move {
                // A caller that hung up has no use for the answer.
                let _ = answer.send(work().await);
            }));
        });
        if !accepted {
            return Err(Fault::Ending);
        }
        wait.await.map_err(|_| Fault::Ending)
    }

    /// Records a security event, with the position of this partition's journal.
    pub(crate) fn record(&self, note: Note) {
        self.services.audit.record(note.at_journal(self.journal.durable()));
    }

    /// Records a security event, and waits until its line is on disk: for a change that the owner of an account makes to
    /// it. If the line cannot be written, it waits in memory and the change stands: a full disk must not keep an owner from
    /// ending a session.
    pub(crate) async fn record_durably(&self, note: Note) {
        let _ = self.services.audit.record_durably(note.at_journal(self.journal.durable())).await;
    }

    /// Checks that the journal has room for an act of several entries. Asked before the first of them: an act that stops
    /// half-way has changed an account without the mail and the event that tell of it.
    ///
    /// Errors: there is not room for all of it. Acts that begin at the same time, for the last of the room, may still stop.
    pub(crate) fn check_room_for_act(&self) -> Result<(), Fault> {
        drop(self.journal.reserve(ACT_BYTES, Class::Essential)?);
        Ok(())
    }

    /// Checks that the log of security events can take the line of a change by an administrator, and that the journal can
    /// take the change.
    pub(crate) async fn may_change_rights(&self) -> Result<MayChange, Fault> {
        self.check_room_for_act()?;
        self.may_go_on().await
    }

    /// Checks the same of the next part of an act that has begun, but for the room: it was checked for all of the act.
    pub(crate) async fn may_go_on(&self) -> Result<MayChange, Fault> {
        self.services.audit.log.may_change().await.map_err(Fault::Unwritable)?;
        Ok(MayChange(()))
    }

    /// Records a change by an administrator.
    ///
    /// Errors: its line is not on disk yet. The change stands.
    pub(crate) async fn record_change_of_rights(&self, _: MayChange, note: Note) -> Result<(), Fault> {
        let recorded = self.services.audit.record_durably(note.at_journal(self.journal.durable())).await;
        recorded.map_err(Fault::Unrecorded)
    }

    /// Copies snapshots and journal into the empty directory `to` while the engine serves, and reads the copy to its end.
    /// Blocks the calling thread until that is done.
    pub(crate) fn back_up(&self, to: &std::path::Path) -> std::io::Result<RecoveryReport> {
        let to = LocalStorage::open(to)?;
        archive::back_up(&self.storage, &to, Sizes::PRODUCTION)
    }

    /// Returns the figures of the event log.
    #[doc(hidden)]
    pub fn event_stats(&self) -> crate::journal::event_log::Stats {
        self.event_log.stats()
    }

    /// Returns a watch that changes when there is something new in the event log.
    pub(crate) fn event_watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.event_log.watch()
    }

    /// Returns how many mailed links are being used.
    #[doc(hidden)]
    pub fn links_in_use(&self) -> usize {
        self.links.lock().len()
    }

    /// Returns how far the journal has come, and how much room it has.
    #[doc(hidden)]
    pub fn journal_stats(&self) -> crate::journal::append::handle::Stats {
        self.journal.stats()
    }

    /// Returns whether the last snapshot that was due could not be taken.
    #[doc(hidden)]
    pub fn is_snapshot_failing(&self) -> bool {
        self.saved.lock().failing
    }
}
