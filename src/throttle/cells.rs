//! Where cells are kept: sets of eight places, one of which a network's cell can be in. Room for so many, never more.
//!
//! Finding a cell, and finding whose place a newcomer takes, looks at one set: the cost does not grow with the table.
//! The hash is keyed anew in each process, so nobody can aim at a set.

use std::hash::{BuildHasher, RandomState};

use super::gcra::Cell;
use super::network::{Network, Width};
use super::table::Class;

const WAYS: usize = 8;
const MICROS: u64 = (1 << 56) - 1;

/// Names a cell exactly: two networks never share one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CellKey {
    /// The class and how wide the network is. 0 is an empty place.
    kind: u8,
    bits: u64,
}

impl CellKey {
    /// The cell of a network for a class.
    pub const fn new(class: Class, network: Network) -> Self {
        Self { kind: (class as u8) << 3 | network.width as u8, bits: network.bits }
    }

    /// What it was made of; none when no version made it.
    fn parts(self) -> Option<(Class, Width)> {
        let class = Class::ALL.into_iter().find(|class| *class as u8 == self.kind >> 3)?;
        let width = Width::ALL.into_iter().find(|width| *width as u8 == self.kind & 7)?;
        Some((class, width))
    }
}

/// 16 bytes: the network, then the key's kind and the cell's time in one word.
#[derive(Clone, Copy, Default)]
struct Place {
    bits: u64,
    word: u64,
}

impl Place {
    const fn new(key: CellKey, cell: Cell) -> Self {
        let micros = if cell.micros() > MICROS { MICROS } else { cell.micros() };
        Self { bits: key.bits, word: (key.kind as u64) << 56 | micros }
    }

    const fn key(self) -> CellKey {
        CellKey { kind: (self.word >> 56) as u8, bits: self.bits }
    }

    const fn cell(self) -> Cell {
        Cell::from_micros(self.word & MICROS)
    }

    const fn is_empty(self) -> bool {
        self.word == 0
    }
}

/// What a place's cell is worth keeping for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Worth {
    /// Over its limit: never dropped.
    Spent,
    /// So many requests from its limit: the more, the sooner it gives way.
    Left(u32),
    /// Says no more than an absent cell would.
    Idle,
}

/// The places.
pub struct Cells {
    sets: Vec<[Place; WAYS]>,
    hasher: RandomState,
    evictions: u64,
}

impl Cells {
    /// Empty; takes all its memory now.
    pub fn new(cells: usize) -> Self {
        let sets = vec![[Place::default(); WAYS]; cells.div_ceil(WAYS).max(1)];
        Self { sets, hasher: RandomState::new(), evictions: 0 }
    }

    /// The cell of a key, if it is there.
    pub fn find(&self, key: CellKey) -> Option<Cell> {
        let set = self.sets.get(self.set_of(key))?;
        set.iter().find(|place| place.key() == key).map(|place| place.cell())
    }

    /// Whether a cell of that key is there or would find a place.
    pub fn has_room(&self, key: CellKey, worth: impl Fn(CellKey, Cell) -> Worth) -> bool {
        let Some(set) = self.sets.get(self.set_of(key)) else { return false };
        victim(set, key, worth).is_some()
    }

    /// Puts a cell down: in its own place, an empty or idle one, or that of the cell furthest from its limit. False when
    /// all eight are over their limits; then nothing has changed.
    pub fn put(&mut self, key: CellKey, cell: Cell, worth: impl Fn(CellKey, Cell) -> Worth) -> bool {
        let at = self.set_of(key);
        let Some(set) = self.sets.get_mut(at) else { return false };
        let Some((way, is_eviction)) = victim(set, key, worth) else { return false };
        self.evictions += u64::from(is_eviction);
        if let Some(place) = set.get_mut(way) {
            *place = Place::new(key, cell);
        }
        true
    }

    /// Changes a cell that is there.
    pub fn change(&mut self, key: CellKey, change: impl FnOnce(Cell) -> Cell) {
        let at = self.set_of(key);
        let set = self.sets.get_mut(at).into_iter().flatten();
        if let Some(place) = set.into_iter().find(|place| place.key() == key) {
            *place = Place::new(key, change(place.cell()));
        }
    }

    /// Cells that were not idle and gave way to others since the start.
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Bytes that the places take.
    pub const fn bytes(&self) -> usize {
        self.sets.len() * size_of::<[Place; WAYS]>()
    }

    /// Sets, for whoever reads the table set by set.
    pub const fn sets(&self) -> usize {
        self.sets.len()
    }

    /// The cells of one set that say anything at `now`, each as 16 bytes: for the file that outlives a restart.
    pub fn saved(&self, set: usize, now: crate::clock::Timestamp) -> impl Iterator<Item = [u8; 16]> {
        let places = self.sets.get(set).into_iter().flatten();
        places.filter(move |place| !place.is_empty() && !place.cell().is_idle(now)).map(|place| {
            let mut bytes = [0; 16];
            let (bits, word) = bytes.split_at_mut(8);
            bits.copy_from_slice(&place.bits.to_le_bytes());
            word.copy_from_slice(&place.word.to_le_bytes());
            bytes
        })
    }

    /// Puts back what [`Cells::saved`] gave. False when no version wrote it, or there is no place for it.
    pub fn restore(&mut self, saved: [u8; 16], worth: impl Fn(CellKey, Cell) -> Worth) -> bool {
        let [bits, word] = [0, 8].map(|from| {
            let part = saved.get(from..).and_then(|rest| rest.first_chunk::<8>());
            u64::from_le_bytes(part.copied().unwrap_or_default())
        });
        let place = Place { bits, word };
        place.key().parts().is_some() && self.put(place.key(), place.cell(), worth)
    }

    fn set_of(&self, key: CellKey) -> usize {
        (self.hasher.hash_one(key) % self.sets.len() as u64) as usize
    }
}

/// Which place a cell goes to, and whether another that was not idle loses it.
fn victim(
    set: &[Place; WAYS],
    key: CellKey,
    worth: impl Fn(CellKey, Cell) -> Worth,
) -> Option<(usize, bool)> {
    if let Some(way) = set.iter().position(|place| place.key() == key) {
        return Some((way, false));
    }
    let worths = set.iter().enumerate().map(|(way, place)| {
        let worth = if place.is_empty() { Worth::Idle } else { worth(place.key(), place.cell()) };
        (worth, way)
    });
    let (least, way) = worths.max_by_key(|(worth, way)| (*worth, std::cmp::Reverse(*way)))?;
    (least != Worth::Spent).then_some((way, least != Worth::Idle))
}

impl CellKey {
    /// The class and width, for whoever judges what a cell is worth.
    pub fn policy_of<T>(self, of: impl FnOnce(Class, Width) -> Option<T>) -> Option<T> {
        self.parts().and_then(|(class, width)| of(class, width))
    }
}
