//! The journal context: what the files of one run of the server have in common.

use std::io;
use std::sync::Arc;

use crate::journal::format::header::{BY_KIND_BYTES, FileKind, Header};
use crate::journal::format::layout::Sizes;
use crate::storage::Storage;
use crate::system::clock::Clock;
use crate::system::random::Random;

/// What the files of one run have in common: the installation and epoch that their headers name, and the storage, clock
/// and randomness that they are made with. A run begins when recovery owns the directory.
#[derive(Clone)]
pub struct JournalContext {
    /// The data directory.
    pub storage: Arc<dyn Storage>,
    /// Sizes of the format.
    pub sizes: Sizes,
    /// The clock.
    pub clock: Clock,
    /// The source of randomness, for salts.
    pub random: Arc<Random>,
    /// The installation, drawn at its first start.
    pub cluster: [u8; 16],
    /// The installation's timeline, raised by each restore.
    pub timeline: u32,
    /// The epoch of this run, one more than that of the run before.
    pub epoch: u64,
}

impl JournalContext {
    /// Returns a header block for a file of this run, with a fresh salt.
    pub fn header(&self, kind: FileKind, by_kind: &[u8; BY_KIND_BYTES]) -> io::Result<Header> {
        Ok(Header {
            kind,
            cluster: self.cluster,
            timeline: self.timeline,
            epoch: self.epoch,
            created_ms: self.clock.now().as_millis(),
            salt: self.random.bytes().map_err(io::Error::other)?,
            by_kind: *by_kind,
        })
    }
}

/// Returns the first 8 bytes of a file's salt, which its frames or chunks repeat.
pub(in crate::journal) fn salt_tag(header: &Header) -> [u8; 8] {
    header.salt.first_chunk().copied().unwrap_or_default()
}
