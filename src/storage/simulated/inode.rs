//! The bytes of one simulated file: what a reader sees, what the disk has, and what is on its way.

use std::sync::Arc;

use super::Dice;

const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What a reader sees.
    pub(super) now: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    /// Writes since the last sync.
    pub(super) pending: Vec<Pending>,
    /// A sync has failed: what a reader sees is not what the disk will have.
    pub(super) diverged: bool,
}

#[derive(Clone)]
pub(super) enum Pending {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Inode {
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
                        // Most sectors arrive whole or not at all; now and then one is torn inside.
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

    pub(super) fn of(bytes: Arc<Vec<u8>>) -> Self {
        Self { now: Arc::clone(&bytes), durable: bytes, pending: Vec::new(), diverged: false }
    }

    /// Everything that is pending reaches the disk.
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
