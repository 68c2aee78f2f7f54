#![doc = include_str!("README.md")]

mod new_segment;
mod ownership;
pub mod replay;
pub mod report;
pub(crate) mod segment_scan;
pub mod verdict;

use std::io;
use std::sync::Arc;

pub use self::ownership::Ownership;
use self::report::{RecoveryReport, Refusal, ReplayTarget};
use super::append::handle::Handle;
use super::append::preparer::Preparer;
use super::append::writer::{Running, Writer};
use super::context::JournalContext;
use super::format::layout::Sizes;
use crate::storage::Storage;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::random::Random;
use crate::system::scheduling::Machine;

/// The surroundings of a journal, and how it is recovered.
pub struct Options {
    /// The data directory.
    pub storage: Arc<dyn Storage>,
    /// Sizes of the format.
    pub sizes: Sizes,
    /// The clock. Recovery raises its floor to the latest time that the journal has seen.
    pub clock: Clock,
    /// The source of randomness.
    pub random: Arc<Random>,
    /// Whether to start although the journal is more than a day ahead of the system's clock.
    pub accept_clock_floor: bool,
}

/// A journal that is ready for its first entry.
pub struct Recovered {
    /// The actors' side of the journal.
    pub handle: Handle,
    /// Turns entries into frames: stepped by hand, or on a thread after [`Recovered::start`].
    pub writer: Writer,
    /// What recovery read and did.
    pub report: RecoveryReport,
    pub(super) preparer: Preparer,
    pub(super) lock: Box<dyn Send + Sync>,
}

/// A running journal. Keeps the directory locked until it is closed or dropped.
pub struct Journal {
    writer: Option<Running>,
    context: JournalContext,
    _lock: Box<dyn Send + Sync>,
}

impl Journal {
    /// Writes what waits, marks a clean stop and ends the writer's thread. Nothing can be appended any more.
    pub fn close(self) {
        self.close_and(|| ());
    }

    /// Does what [`Journal::close`] does, and then `last`, while the directory is still locked.
    pub fn close_and(mut self, last: impl FnOnce()) {
        if let Some(writer) = self.writer.take() {
            writer.close();
        }
        last();
    }

    /// Ends without the mark of a clean stop, after a fault of the engine. Entries that were appended are still written.
    pub fn abandon(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abandon();
        }
    }

    /// Returns what the files of this run have in common, which snapshots need.
    pub const fn context(&self) -> &JournalContext {
        &self.context
    }
}

impl Recovered {
    /// Starts the journal's threads.
    pub fn start(
        self,
        fail_stop: &FailStop,
        machine: Machine,
    ) -> io::Result<(Handle, Journal, RecoveryReport)> {
        let context = self.preparer.context.clone();
        self.preparer.run()?;
        let writer = self.writer.run(fail_stop, machine)?;
        Ok((self.handle, Journal { writer: Some(writer), context, _lock: self.lock }, self.report))
    }

    /// Makes one spare segment, as the preparer's thread would. For callers that step the writer by hand.
    pub fn prepare(&self) -> io::Result<()> {
        self.preparer.step()
    }

    /// Returns what the files of this run have in common.
    pub const fn context(&self) -> &JournalContext {
        &self.preparer.context
    }
}

/// Locks a directory, reads its past into `target`, and begins a new run in it.
///
/// Errors: the server must not start. The refusal says why and what to do.
pub fn recover(options: Options, target: &mut dyn ReplayTarget) -> Result<Recovered, Refusal> {
    let ownership = Ownership::lock(options)?;
    let past = ownership.read(target)?;
    ownership.own(past, target)
}

#[cfg(test)]
mod tests;
