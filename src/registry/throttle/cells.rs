//! The places where cells are kept, in sets of eight. A key belongs to one set. The number of places is fixed.
//!
//! Finding a cell, or the place that a new cell takes, looks at one set, so the cost does not grow with the table. The
//! hash is keyed anew in each process, so an attacker cannot aim at a set.

use std::hash::{BuildHasher, RandomState};

use super::class::Class;
use super::gcra::Cell;
use crate::system::clock::Timestamp;
use crate::value::network::{Network, Width};

const WAYS: usize = 8;
/// The number that stands in place of a width where the cell is that of a device.
pub(super) const DEVICE: u8 = 6;
const MICROS: u64 = (1 << 56) - 1;

/// The key of a cell: a class and a network. Two networks never share a key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CellKey {
    /// The class and the width of the network. 0 marks an empty place.
    kind: u8,
    bits: u64,
}

impl CellKey {
    /// Returns the key of the cell of `network` for `class`.
    pub const fn new(class: Class, network: Network) -> Self {
        Self { kind: (class as u8) << 3 | network.width as u8, bits: network.bits }
    }

    /// Returns the key of the cell of a known device for `class`.
    pub const fn of_device(class: Class, id: u64) -> Self {
        Self { kind: (class as u8) << 3 | DEVICE, bits: id }
    }

    /// Returns the numbers of its class and of its width.
    pub const fn kind(self) -> (usize, usize) {
        ((self.kind >> 3) as usize, (self.kind & 7) as usize)
    }

    /// Returns the kind and the number that a saved record holds.
    pub const fn to_parts(self) -> (u8, u64) {
        (self.kind, self.bits)
    }

    /// Reads what [`Self::to_parts`] returned; `None` for a kind that no version wrote.
    pub fn from_parts(kind: u8, bits: u64) -> Option<Self> {
        let is_class = Class::ALL.into_iter().any(|class| class as u8 == kind >> 3);
        let is_width = Width::ALL.into_iter().any(|width| width as u8 == kind & 7) || kind & 7 == DEVICE;
        (is_class && is_width).then_some(Self { kind, bits })
    }
}

/// All places of a set are taken by cells over their limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// A key and the set it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// The key.
    pub key: CellKey,
    set: usize,
}

/// The network, then the kind of the key and the time of the cell in one word. Plain numbers, because the system does
/// not allocate memory of zeros before it is written to.
type Words = [u64; 2];

/// A place that was read.
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

/// How much a cell is worth keeping. The greatest value gives way first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Worth {
    /// The cell is over its limit and is never dropped.
    Spent,
    /// The free share of the cell's burst: the further from its limit, the sooner it gives way.
    Left(u32),
}

/// The places of all cells.
pub struct Cells {
    sets: Vec<[Words; WAYS]>,
    hasher: RandomState,
    evictions: u64,
}

impl Cells {
    /// Creates empty places for `cells` cells. They take memory as they fill, and never more than that.
    pub fn new(cells: usize) -> Self {
        let sets = vec![[[0; 2]; WAYS]; cells.div_ceil(WAYS).max(1)];
        Self { sets, hasher: RandomState::new(), evictions: 0 }
    }

    /// Returns the set that `key` belongs to. Call it once for each key, since the hash costs more than all the rest.
    pub fn locate(&self, key: CellKey) -> Located {
        Located { key, set: (self.hasher.hash_one(key) % self.sets.len() as u64) as usize }
    }

    /// Returns the cell of a key, or `None` if it is absent and would find a place.
    ///
    /// Errors: [`Full`] if it is absent and would find no place.
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

    /// Stores a cell in its own place, in an empty or idle one, or in that of the cell furthest from its limit. Returns
    /// false and changes nothing if all eight cells are over their limits.
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

    /// Spreads `value` over numbers from 0, below `count`, by the keyed hash of this process.
    pub fn spread(&self, value: u64, count: usize) -> usize {
        (self.hasher.hash_one(value) % count.max(1) as u64) as usize
    }

    /// Replaces the cell of `key` by what `change` makes of it, if there is one.
    pub fn change(&mut self, key: CellKey, change: impl FnOnce(Cell) -> Cell) {
        let Located { set, .. } = self.locate(key);
        let set = self.sets.get_mut(set).into_iter().flatten();
        if let Some(words) = set.into_iter().find(|words| Place::read(**words).key() == key) {
            *words = Place::new(key, change(Place::read(*words).cell())).words();
        }
    }

    /// Returns how many cells that were not idle gave way to others since the start.
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Returns the size of all places in bytes.
    pub const fn bytes(&self) -> usize {
        self.sets.len() * size_of::<[Words; WAYS]>()
    }

    /// Returns the number of sets, for a reader that goes through the table set by set.
    pub const fn sets(&self) -> usize {
        self.sets.len()
    }

    /// Returns the cells of one set that are not idle at `now`.
    pub fn in_set(&self, set: usize, now: Timestamp) -> impl Iterator<Item = (CellKey, Cell)> {
        let places = self.sets.get(set).into_iter().flatten().map(|words| Place::read(*words));
        places
            .filter(move |place| !place.is_empty() && !place.cell().is_idle(now))
            .map(|place| (place.key(), place.cell()))
    }
}

/// Returns the place that the cell of `key` goes to, and whether another cell that is not idle loses it; `None` if all
/// places are taken by cells over their limits.
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
