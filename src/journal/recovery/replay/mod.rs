#![doc = include_str!("README.md")]

mod directory;
mod range;
mod reader;
mod recovery_target;

use std::sync::Arc;

use self::directory::{Directory, OpenIdentity};
use self::reader::Replay;
use super::report::{INSPECT, RecoveryReport, Refusal, ReplayTarget};
use crate::journal::format::identity_file::IdentityFile;
use crate::journal::format::layout::{IDENTITY, JOURNAL_DIR, Sizes};
use crate::storage::Storage;

pub use self::range::{Point, Range};
pub(super) use self::reader::End;
pub use self::recovery_target::RecoveryTarget;

/// The past of a directory, read to its end. [`Ownership::own`](super::Ownership::own) continues it.
pub struct PastRead {
    pub(super) report: RecoveryReport,
    pub(super) end: End,
    pub(super) directory: Directory,
    sizes: Sizes,
    /// Checksum of what the last segment held; `None` when there was no segment.
    last_segment_crc: Option<u32>,
    /// The lock under which the directory was read; `None` when it was read without one.
    read_under: Option<LockId>,
}

/// The identity of one lock: equal to its clones, and to nothing else.
#[derive(Clone)]
pub(super) struct LockId(Arc<()>);

impl LockId {
    pub(super) fn new() -> Self {
        Self(Arc::new(()))
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl PastRead {
    /// Returns what was found while the past was read.
    pub const fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// Makes sure that the directory, which is now locked, still holds what was read, and opens its `IDENTITY` for
    /// writing.
    ///
    /// A past that was read under this `lock` needs no check: nobody else can have written since. Otherwise `IDENTITY`,
    /// the lists of segments and snapshots, and the content of the last segment are compared with what was read. Older
    /// segments and named snapshots never change.
    ///
    /// Errors: the directory has changed. Nothing was changed here.
    pub(super) fn confirm(
        self,
        storage: &dyn Storage,
        lock: &LockId,
        target: &dyn ReplayTarget,
    ) -> Result<Self, Refusal> {
        if self.read_under.as_ref().is_some_and(|read_under| read_under.is(lock)) {
            return Ok(self);
        }
        let directory = Directory::list(storage, IdentityFile::open_to_write)?;
        directory.refuse_unless_new(storage, target)?;
        let mut difference = directory.difference(&self.directory);
        if difference.is_none() && directory.last_segment_crc(storage, self.sizes)? != self.last_segment_crc {
            difference = Some(JOURNAL_DIR);
        }
        match difference {
            None => Ok(Self { directory, ..self }),
            Some(path) => {
                let what = "the journal has grown since it was read";
                Err(Refusal::new(path, None, what, "read it again"))
            }
        }
    }
}

/// Reads everything that a directory holds into `target`, without the lock and without changing anything. The directory
/// may be in use by another process; then the reading shows a prefix of what that process writes.
///
/// Errors: recovery would refuse the directory, or a file was deleted while it was read.
pub fn read(storage: &dyn Storage, sizes: Sizes, target: &mut dyn ReplayTarget) -> Result<PastRead, Refusal> {
    read_new_or_used(storage, sizes, target, IdentityFile::open, None)
}

/// Reads everything that a directory holds into `target`, under `lock`. Changes nothing, but opens `IDENTITY` for
/// writing.
pub(super) fn read_locked(
    storage: &dyn Storage,
    sizes: Sizes,
    target: &mut dyn ReplayTarget,
    lock: &LockId,
) -> Result<PastRead, Refusal> {
    read_new_or_used(storage, sizes, target, IdentityFile::open_to_write, Some(lock.clone()))
}

fn read_new_or_used(
    storage: &dyn Storage,
    sizes: Sizes,
    target: &mut dyn ReplayTarget,
    open_identity: OpenIdentity,
    read_under: Option<LockId>,
) -> Result<PastRead, Refusal> {
    let directory = Directory::list(storage, open_identity)?;
    directory.refuse_unless_new(storage, target)?;
    let past = read_directory(storage, sizes, directory, target, RecoveryTarget::default())?;
    Ok(PastRead { read_under, ..past })
}

/// Reads a directory that is in use, without locking or changing it.
///
/// Errors: recovery would refuse the directory, or there is no `IDENTITY` in it.
pub fn replay_read_only(
    storage: &dyn Storage,
    sizes: Sizes,
    target: &mut dyn ReplayTarget,
) -> Result<RecoveryReport, Refusal> {
    replay_read_only_until(storage, sizes, target, RecoveryTarget::default())
}

/// Reads a directory that is in use up to a recovery target, without locking or changing it. Entries after the target
/// are checked as well, and not applied.
///
/// Errors: recovery would refuse the directory, or there is no `IDENTITY` in it.
pub fn replay_read_only_until(
    storage: &dyn Storage,
    sizes: Sizes,
    target: &mut dyn ReplayTarget,
    until: RecoveryTarget,
) -> Result<RecoveryReport, Refusal> {
    let directory = Directory::list(storage, IdentityFile::open)?;
    if directory.identity.is_none() {
        let what = "there is none: this is no data directory in use";
        return Err(Refusal::new(IDENTITY, None, what, INSPECT));
    }
    read_directory(storage, sizes, directory, target, until).map(|past| past.report)
}

/// Reads the files of `directory` up to a recovery target.
fn read_directory(
    storage: &dyn Storage,
    sizes: Sizes,
    directory: Directory,
    target: &mut dyn ReplayTarget,
    until: RecoveryTarget,
) -> Result<PastRead, Refusal> {
    let mut replay = Replay::new(storage, sizes, &directory, target, until);
    let end = match directory.live_identity() {
        Some(identity) => replay.run(&directory, identity)?,
        None => {
            replay.refuse_entries_while_forming(&directory)?;
            replay.report.first_start = true;
            End::NOTHING
        }
    };
    let Replay { mut report, last_segment_crc, .. } = replay;
    if until.is_the_end() {
        report.seq = end.seq;
    }
    report.torn = end.torn_bytes.len() as u64;
    Ok(PastRead { report, end, directory, sizes, last_segment_crc, read_under: None })
}

#[cfg(test)]
mod tests;
