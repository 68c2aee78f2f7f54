//! The way to ask one owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

use super::fault::Fault;
use crate::journal::append::handle::{Handle, Sealed};
use crate::registry::{Answer, CountRecords, Owner, ReadBuckets, Registry};

/// The address of an owner, with the journal that opens its answers.
pub(crate) struct Mailbox<S: Registry> {
    owner: Addr<Owner<S>>,
    journal: Handle,
    calls: Arc<AtomicU64>,
}

/// The way to read the buckets of one table, for a snapshot.
pub(crate) struct TableReader {
    /// The number of the table.
    pub(crate) number: u16,
    /// The schema of its records.
    pub(crate) schema: u16,
    /// Their owner.
    pub(crate) owner: Recipient<ReadBuckets>,
}

impl<S: Registry> Mailbox<S> {
    /// `calls` counts the messages of the whole engine.
    pub(super) const fn new(owner: Addr<Owner<S>>, journal: Handle, calls: Arc<AtomicU64>) -> Self {
        Self { owner, journal, calls }
    }

    /// Sends `message` and waits until everything that the answer rests on is durable.
    ///
    /// Errors: the journal has no room, or the engine is ending.
    pub(crate) async fn ask<M, V>(&self, message: M) -> Result<V, Fault>
    where
        M: Message<Result = Answer<V>> + Send + 'static,
        Owner<S>: Handler<M> + Actor,
        <Owner<S> as Actor>::Context: ToEnvelope<Owner<S>, M>,
        V: Send + 'static,
    {
        Ok(self.journal.open(self.ask_sealed(message).await?).await?)
    }

    /// Sends `message` and returns the answer sealed: the journal opens it once everything it rests on is durable.
    ///
    /// Errors: as [`Mailbox::ask`].
    pub(crate) async fn ask_sealed<M, V>(&self, message: M) -> Result<Sealed<V>, Fault>
    where
        M: Message<Result = Answer<V>> + Send + 'static,
        Owner<S>: Handler<M> + Actor,
        <Owner<S> as Actor>::Context: ToEnvelope<Owner<S>, M>,
        V: Send + 'static,
    {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(self.owner.send(message).await.map_err(|_| Fault::Ending)??)
    }

    /// Sends `message` like [`Mailbox::ask`], in a future that may outlive the request. It is counted at once.
    pub(crate) fn ask_later<M, V>(&self, message: M) -> impl Future<Output = Result<V, Fault>> + 'static
    where
        M: Message<Result = Answer<V>> + Send + 'static,
        Owner<S>: Handler<M> + Actor,
        <Owner<S> as Actor>::Context: ToEnvelope<Owner<S>, M>,
        V: Send + 'static,
    {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (owner, journal) = (self.owner.clone(), self.journal.clone());
        async move { Ok(journal.open(owner.send(message).await.map_err(|_| Fault::Ending)??).await?) }
    }

    /// Sends a message whose answer rests on memory alone, so that nothing has to become durable first.
    ///
    /// Errors: [`Fault::Ending`] if the engine is ending.
    pub(crate) async fn ask_of_memory<M>(&self, message: M) -> Result<M::Result, Fault>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Owner<S>: Handler<M> + Actor,
        <Owner<S> as Actor>::Context: ToEnvelope<Owner<S>, M>,
    {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.owner.send(message).await.map_err(|_| Fault::Ending)
    }

    /// Returns the number of records, of which the newest may not be durable yet.
    ///
    /// Errors: [`Fault::Ending`] if the engine is ending.
    pub(crate) async fn records(&self) -> Result<usize, Fault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.owner.send(CountRecords).await.map_err(|_| Fault::Ending)
    }
}
