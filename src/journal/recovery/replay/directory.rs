//! The files of a data directory, listed before they are read.

use std::io;

use crate::journal::format::header::HeaderError;
use crate::journal::format::identity_file::{Identity, IdentityFile, State};
use crate::journal::format::layout::{
    BUILDING, IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR, Sizes, numbers, segment_path,
};
use crate::journal::recovery::report::{INSPECT, Refusal, ReplayTarget, next_step, unreadable};
use crate::storage::Storage;

/// How `IDENTITY` is opened: [`IdentityFile::open`] or [`IdentityFile::open_to_write`].
pub(super) type OpenIdentity = fn(&dyn Storage) -> io::Result<Option<Result<IdentityFile, HeaderError>>>;

/// The segments and snapshots of a directory by their numbers, and its `IDENTITY`.
pub(in crate::journal::recovery) struct Directory {
    /// Numbers of the segments, ascending.
    pub(in crate::journal::recovery) segments: Vec<u64>,
    /// End sequences of the snapshots, ascending.
    pub(super) snapshots: Vec<u64>,
    /// The open `IDENTITY`; `None` when there is no such file.
    pub(in crate::journal::recovery) identity: Option<IdentityFile>,
}

impl Directory {
    /// Lists the files and opens `IDENTITY`. Changes nothing.
    pub(super) fn list(storage: &dyn Storage, open_identity: OpenIdentity) -> Result<Self, Refusal> {
        let segments = numbers(storage, JOURNAL_DIR, ".log").map_err(unreadable(JOURNAL_DIR))?;
        let snapshots = numbers(storage, SNAPSHOT_DIR, ".snap").map_err(unreadable(SNAPSHOT_DIR))?;
        let identity = open_identity(storage).map_err(unreadable(IDENTITY))?;
        let identity =
            identity.transpose().map_err(|error| Refusal::new(IDENTITY, None, error, next_step(&error)))?;
        Ok(Self { segments, snapshots, identity })
    }

    /// Refuses a directory without `IDENTITY` that is not a new one: it holds an unfinished restore, a journal,
    /// snapshots or keys.
    pub(super) fn refuse_unless_new(
        &self,
        storage: &dyn Storage,
        target: &dyn ReplayTarget,
    ) -> Result<(), Refusal> {
        if self.identity.is_some() {
            return Ok(());
        }
        if !storage.list(BUILDING).map_err(unreadable(BUILDING))?.is_empty() {
            return Err(Refusal::new(
                BUILDING,
                None,
                "a restore or salvage into this directory was not finished",
                "run the same command again: it goes on with it or begins anew",
            ));
        }
        if self.segments.is_empty() && self.snapshots.is_empty() && !target.has_keys() {
            return Ok(());
        }
        Err(Refusal::new(
            IDENTITY,
            None,
            "missing, although this directory holds a journal, snapshots or keys",
            INSPECT,
        ))
    }

    /// Returns the newest slot of `IDENTITY`, or `None` while no first start has finished: nothing has been
    /// acknowledged then.
    pub(super) fn live_identity(&self) -> Option<Identity> {
        let newest = self.identity.as_ref().map(IdentityFile::newest);
        newest.filter(|newest| newest.state != State::Forming)
    }

    /// Returns the checksum of what the last segment holds on the disk, or `None` when there is no segment.
    pub(super) fn last_segment_crc(
        &self,
        storage: &dyn Storage,
        sizes: Sizes,
    ) -> Result<Option<u32>, Refusal> {
        let Some(segno) = self.segments.last() else { return Ok(None) };
        let path = segment_path(*segno);
        read_last_segment(storage, sizes, &path)
            .map(|bytes| Some(crc32c::crc32c(&bytes)))
            .map_err(unreadable(&path))
    }

    /// Returns the first file that differs from those of `earlier`, or `None` when `IDENTITY`, the list of segments and
    /// the list of snapshots are the same.
    pub(super) fn difference(&self, earlier: &Self) -> Option<&'static str> {
        let said = |identity: &IdentityFile| (identity.cluster(), identity.timeline(), identity.newest());
        if self.identity.as_ref().map(said) != earlier.identity.as_ref().map(said) {
            return Some(IDENTITY);
        }
        if self.segments != earlier.segments {
            return Some(JOURNAL_DIR);
        }
        (self.snapshots != earlier.snapshots).then_some(SNAPSHOT_DIR)
    }
}

/// Reads the last segment past the page cache, which can show bytes that the disk never got. Of the zeros after the
/// last written byte it keeps as many as one frame may take.
pub(super) fn read_last_segment(storage: &dyn Storage, sizes: Sizes, path: &str) -> io::Result<Vec<u8>> {
    let file = storage.open(path)?;
    file.forget_cache()?;
    file.read_written(sizes.frame_max())
}
