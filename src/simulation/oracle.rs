//! What the outside knows: every entry that was handed in, and the highest sequence that an answer rested on.
//!
//! After a crash the state must be the fold of a prefix of all entries that holds everything told. What was handed in
//! and not answered may have happened or not.

use std::collections::BTreeMap;

use crate::journal::format::entry::Change;
use crate::journal::recovery::report::ReplayTarget;

/// A record's place.
pub(super) type Place = (u16, Vec<u8>);

/// Values as bytes: the state in its plainest form.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Fold(pub BTreeMap<Place, Vec<u8>>);

impl Fold {
    fn change(&mut self, change: &Change) {
        let place = (change.table, change.key.clone());
        match &change.value {
            Some(value) => self.0.insert(place, value.clone()),
            None => self.0.remove(&place),
        };
    }

    /// The same without what is out of time at `now_ms`. Toys say when that is; other records outlive every run.
    pub(super) fn alive(mut self, now_ms: u64) -> Self {
        self.0.retain(|(table, _), value| !super::toys::is_out_of_time(*table, value, now_ms));
        self
    }
}

impl ReplayTarget for Fold {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        self.change(&Change { table, schema, key: key.to_vec(), value: value.map(<[u8]>::to_vec) });
        Ok(())
    }
}

/// The outside.
pub(super) struct Oracle {
    base: Fold,
    base_seq: u64,
    /// Entries behind the base.
    entries: Vec<Vec<Change>>,
    /// Where each record was changed last.
    changed: BTreeMap<Place, u64>,
    /// The highest sequence that an answer has rested on.
    pub told: u64,
    /// The latest time of an acknowledged frame.
    pub floor_ms: u64,
    /// Snapshots that got their name.
    pub named: u64,
    /// Bytes of entries that wait for the disk, each as if it travelled alone.
    pub waiting: u64,
}

impl Oracle {
    pub(super) const fn new() -> Self {
        Self {
            base: Fold(BTreeMap::new()),
            base_seq: 0,
            entries: Vec::new(),
            changed: BTreeMap::new(),
            told: 0,
            floor_ms: 0,
            named: 0,
            waiting: 0,
        }
    }

    /// The last sequence that was handed out.
    pub(super) const fn assigned(&self) -> u64 {
        self.base_seq + self.entries.len() as u64
    }

    /// An entry was handed in.
    pub(super) fn entered(&mut self, changes: Vec<Change>) {
        let seq = self.assigned() + 1;
        for change in &changes {
            self.changed.insert((change.table, change.key.clone()), seq);
        }
        self.entries.push(changes);
    }

    /// What an answer about this record rests on.
    pub(super) fn rests_on(&self, place: &Place) -> u64 {
        self.changed.get(place).copied().unwrap_or(self.base_seq)
    }

    /// The state of the first `seq` entries.
    pub(super) fn fold(&self, seq: u64) -> Fold {
        let mut fold = self.base.clone();
        for changes in self.entries.iter().take((seq - self.base_seq) as usize) {
            for change in changes {
                fold.change(change);
            }
        }
        fold
    }

    /// A restart has shown the first `seq` entries: from here on they are true, and the others never were.
    pub(super) fn restarted(&mut self, seq: u64) {
        self.base = self.fold(seq);
        self.entries.clear();
        self.changed.clear();
        (self.base_seq, self.told) = (seq, seq);
    }
}
