//! What all files of one run of the server have in common.

use crate::journal::format::header::{FileKind, Header};
use crate::journal::format::layout::Sizes;
use crate::storage::Storage;
use crate::system::clock::Clock;
use crate::system::random::Random;
use std::io;
use std::sync::Arc;

/// What all files of one life of the server have in common, and the doors through which it meets the world.
#[derive(Clone)]
pub struct JournalContext {
    /// Where files are.
    pub storage: Arc<dyn Storage>,
    /// Sizes of the format.
    pub sizes: Sizes,
    /// Time.
    pub clock: Clock,
    /// Chance, for salts.
    pub random: Arc<Random>,
    /// Of the installation.
    pub cluster: [u8; 16],
    /// Of the installation.
    pub timeline: u32,
    /// Of this owner.
    pub epoch: u64,
}

impl JournalContext {
    /// A header block of this life with a fresh salt.
    pub fn header(
        &self,
        kind: FileKind,
        by_kind: &[u8; crate::journal::format::header::BY_KIND_BYTES],
    ) -> io::Result<Header> {
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

pub(in crate::journal) fn salt_tag(header: &Header) -> [u8; 8] {
    header.salt.first_chunk().copied().unwrap_or_default()
}
