//! Where cells are kept: sets of eight places, one of which a network's cell can be in. Room for so many, never more.
//!
//! Finding a cell, and finding whose place a newcomer takes, looks at one set: the cost does not grow with the table.
//! The hash is keyed anew in each process, so nobody can aim at a set.

use std::hash::{BuildHasher, RandomState};

use super::class::Class;
use super::gcra::Cell;
use crate::system::clock::Timestamp;
use crate::value::network::{Network, Width};

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

    /// The numbers of its class and width.
    pub const fn kind(self) -> (usize, usize) {
        ((self.kind >> 3) as usize, (self.kind & 7) as usize)
    }

    /// As the two numbers of a record of the file.
    pub const fn to_parts(self) -> (u8, u64) {
        (self.kind, self.bits)
    }

    /// Of these numbers; none when no version made them.
    pub fn from_parts(kind: u8, bits: u64) -> Option<Self> {
        let class = Class::ALL.into_iter().any(|class| class as u8 == kind >> 3);
        let width = Width::ALL.into_iter().any(|width| width as u8 == kind & 7);
        (class && width).then_some(Self { kind, bits })
    }
}

/// All places of a set are taken by cells over their limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// A key and the set that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// The key.
    pub key: CellKey,
    set: usize,
}

/// The network, then the key's kind and the cell's time in one word. Kept as plain numbers, since memory of zeros is not
/// taken from the system before it is written to.
type Words = [u64; 2];

/// A place, read.
#[derive(Clone, Copy)]
struct Place {
    bits: u64,
    word: u64,
}

impl Place {
    const fn read([bits, word]: Words) -> Self {
        Self { bits, word }
    }

    const fn words(self) -> Words {
        [self.bits, self.word]
    }

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
    /// So far from its limit: the further, the sooner it gives way.
    Left(u32),
}

/// The places.
pub struct Cells {
    sets: Vec<[Words; WAYS]>,
    hasher: RandomState,
    evictions: u64,
}

impl Cells {
    /// Empty; takes its memory as it fills, and never more than it was given.
    pub fn new(cells: usize) -> Self {
        let sets = vec![[[0; 2]; WAYS]; cells.div_ceil(WAYS).max(1)];
        Self { sets, hasher: RandomState::new(), evictions: 0 }
    }

    /// Which set a key belongs to: asked once for each, since the hash is what costs most.
    pub fn locate(&self, key: CellKey) -> Located {
        Located { key, set: (self.hasher.hash_one(key) % self.sets.len() as u64) as usize }
    }

    /// The cell of a key, none if it is not there; or that it would find no place.
    pub fn find(
        &self,
        at: Located,
        now: Timestamp,
        worth: impl Fn(CellKey, Cell) -> Worth,
    ) -> Result<Option<Cell>, Full> {
        let set = self.sets.get(at.set).ok_or(Full)?;
        let (way, _) = victim(set, at.key, now, worth).ok_or(Full)?;
        let place = set.get(way).map(|words| Place::read(*words));
        Ok(place.filter(|place| place.key() == at.key).map(Place::cell))
    }

    /// Puts a cell down: in its own place, an empty or idle one, or that of the cell furthest from its limit. False when
    /// all eight are over their limits; then nothing has changed.
    pub fn put(
        &mut self,
        at: Located,
        cell: Cell,
        now: Timestamp,
        worth: impl Fn(CellKey, Cell) -> Worth,
    ) -> bool {
        let Some(set) = self.sets.get_mut(at.set) else { return false };
        let Some((way, is_eviction)) = victim(set, at.key, now, worth) else { return false };
        self.evictions += u64::from(is_eviction);
        if let Some(place) = set.get_mut(way) {
            *place = Place::new(at.key, cell).words();
        }
        true
    }

    /// Changes a cell that is there.
    pub fn change(&mut self, key: CellKey, change: impl FnOnce(Cell) -> Cell) {
        let Located { set, .. } = self.locate(key);
        let set = self.sets.get_mut(set).into_iter().flatten();
        if let Some(words) = set.into_iter().find(|words| Place::read(**words).key() == key) {
            *words = Place::new(key, change(Place::read(*words).cell())).words();
        }
    }

    /// Cells that were not idle and gave way to others since the start.
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Bytes that the places take.
    pub const fn bytes(&self) -> usize {
        self.sets.len() * size_of::<[Words; WAYS]>()
    }

    /// Sets, for whoever reads the table set by set.
    pub const fn sets(&self) -> usize {
        self.sets.len()
    }

    /// The cells of one set that say anything at `now`.
    pub fn in_set(&self, set: usize, now: Timestamp) -> impl Iterator<Item = (CellKey, Cell)> {
        let places = self.sets.get(set).into_iter().flatten().map(|words| Place::read(*words));
        places
            .filter(move |place| !place.is_empty() && !place.cell().is_idle(now))
            .map(|place| (place.key(), place.cell()))
    }
}

/// Which place a cell goes to, and whether another that was not idle loses it.
fn victim(
    set: &[Words; WAYS],
    key: CellKey,
    now: Timestamp,
    worth: impl Fn(CellKey, Cell) -> Worth,
) -> Option<(usize, bool)> {
    let mut idle = None;
    let places = || set.iter().map(|words| Place::read(*words)).enumerate();
    for (way, place) in places() {
        if place.key() == key {
            return Some((way, false));
        }
        if idle.is_none() && (place.is_empty() || place.cell().is_idle(now)) {
            idle = Some(way);
        }
    }
    if let Some(way) = idle {
        return Some((way, false));
    }
    let worths = places().map(|(way, place)| (worth(place.key(), place.cell()), way));
    let (least, way) = worths.max_by_key(|(worth, _)| *worth)?;
    (least != Worth::Spent).then_some((way, true))
}
