//! The bytes of one simulated file: those that a reader sees, those on the disk, and those on their way to it.

use std::sync::Arc;

use super::fault::Dice;

const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Inode {
    /// The bytes that a reader sees.
    pub(super) now: Arc<Vec<u8>>,
    /// The bytes on the disk.
    pub(super) durable: Arc<Vec<u8>>,
    /// Writes and changes of length since the last sync.
    pub(super) pending: Vec<Pending>,
    /// Whether a sync has failed: a reader sees other bytes than the disk will have.
    pub(super) diverged: bool,
}

#[derive(Clone)]
pub(super) enum Pending {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Inode {
    /// Returns the file after a power loss: any part of the pending writes, chosen by `random`.
    pub(super) fn after_crash(&self, random: &mut Dice) -> Self {
        if self.pending.is_empty() {
            return Self::of(Arc::clone(&self.durable));
        }
        let mut bytes = self.durable.to_vec();
        for pending in &self.pending {
            match pending {
                Pending::Length(len) => {
                    if random.once_in(2) {
                        bytes.resize(*len, 0);
                    }
                }
                Pending::Bytes(offset, written) => {
                    for (at, sector) in written.chunks(SECTOR).enumerate() {
                        // Most sectors are written whole or not at all; some are torn inside.
                        let kept = match random.below(8) {
                            0..=3 => sector.len(),
                            4 => random.below(sector.len() as u64 + 1) as usize,
                            _ => 0,
                        };
                        let begin = offset + at * SECTOR;
                        if kept > 0 && bytes.len() < begin + kept {
                            bytes.resize(begin + kept, 0);
                        }
                        put(&mut bytes, begin, sector.get(..kept).unwrap_or_default());
                    }
                }
            }
        }
        Self::of(Arc::new(bytes))
    }

    /// Returns a file whose bytes are durable.
    pub(super) fn of(bytes: Arc<Vec<u8>>) -> Self {
        Self { now: Arc::clone(&bytes), durable: bytes, pending: Vec::new(), diverged: false }
    }

    /// Makes the pending writes durable.
    pub(super) fn sync(&mut self) {
        if !self.diverged {
            self.durable = Arc::clone(&self.now);
            return self.pending.clear();
        }
        let durable = Arc::make_mut(&mut self.durable);
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Length(len) => durable.resize(len, 0),
                Pending::Bytes(offset, bytes) => {
                    durable.resize(durable.len().max(offset + bytes.len()), 0);
                    put(durable, offset, &bytes);
                }
            }
        }
    }

    /// Writes `bytes` to the cache.
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let now = Arc::make_mut(&mut self.now);
        if now.len() < offset + bytes.len() {
            now.resize(offset + bytes.len(), 0);
        }
        put(now, offset, bytes);
        self.pending.push(Pending::Bytes(offset, bytes.to_vec()));
    }
}

fn put(to: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(place) = to.get_mut(offset..offset + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
