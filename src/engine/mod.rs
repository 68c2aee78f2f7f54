//! The engine: one partition of the server, as a value. Its actors and its journal; no statics, several in a process.
//!
//! Built by [`Engine::start`]: recover, then actors. Nothing is bound here: whoever serves asks the flows.

pub mod credential_cache;
pub mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, ArbiterHandle, Handler, Message};

use crate::config::Config;
use crate::engine::credential_cache::CredentialCache;
use crate::journal::append::handle::{Handle, NoRoom, Sealed};
use crate::journal::archive;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::report::RecoveryReport;
use crate::journal::snapshot::status::Saved;
use crate::password::{HashPool, KnownBad, Shed};
use crate::registry::account::Accounts;
use crate::registry::lockout::Lockouts;
use crate::registry::outbox::Outbox;
use crate::registry::refresh::Families;
use crate::registry::reset::MailedTokens;
use crate::registry::session::Sessions;
use crate::registry::stuffing::ReputationCache;
use crate::registry::stuffing::actor::StuffingActor;
use crate::registry::throttle::actor::Throttle;
use crate::registry::throttle::refusal_cache::RefusalCache;
use crate::registry::write_counts::WriteCounts;
use crate::registry::{Answer, Owner, Registry};
use crate::storage::Storage;
use crate::storage::local::LocalStorage;
use crate::system::clock::{Clock, Timestamp};
use crate::system::lock::Mutex;
use crate::system::random::{NoRandomness, Random};
use crate::token::feed::Ended;
use crate::token::opaque::EdgeKeys;
use crate::token::{Feed, Keys, Signer};

pub use start::{RunningEngine, StartError};

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
    NoRandomness(#[from] NoRandomness),
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

/// One partition.
pub struct Engine {
    /// What it was built with.
    pub config: Config,
    /// Its time.
    pub clock: Clock,
    /// Its chance.
    pub random: Arc<Random>,
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
    pub(crate) lockout: Addr<Owner<Lockouts>>,
    pub(crate) throttle: Addr<Throttle>,
    pub(crate) stuffing: Addr<StuffingActor>,
    pub(crate) reputation_cache: Arc<ReputationCache>,
    pub(crate) refused: Arc<RefusalCache>,
    pub(crate) changes: Arc<WriteCounts>,
    pub(crate) verified: CredentialCache,
    pub(crate) refresh: Addr<Owner<Families>>,
    pub(crate) sessions: Addr<Owner<Sessions>>,
    pub(crate) mailed: Addr<Owner<MailedTokens>>,
    pub(crate) outbox: Addr<Owner<Outbox>>,
    /// Takes down security events.
    pub tally: crate::audit::AuditLog,
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

impl Engine {
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
    pub(crate) async fn on_owner_thread<T: Send + 'static>(
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
    pub(crate) fn back_up(&self, to: &std::path::Path) -> std::io::Result<RecoveryReport> {
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
