//! The knowledge of an outsider: every entry that was handed in, and the highest sequence that an answer rested on.
//!
//! After a crash the state must be the fold of a prefix of all entries, and that prefix must hold everything that any
//! answer rested on. Entries without an answer may be there or not.

use std::collections::BTreeMap;

use crate::journal::format::entry::Change;
use crate::journal::recovery::report::ReplayTarget;

/// The table and key of a record.
pub(super) type Place = (u16, Vec<u8>);

/// The state in its plainest form: each value as bytes.
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

    /// Returns the state without the records that have expired at `now_ms`. Only toys expire; other records outlive
    /// every run.
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

/// The oracle.
pub(super) struct Oracle {
    /// The state that the last restart has shown.
    base: Fold,
    base_seq: u64,
    /// Entries after the base.
    entries: Vec<Vec<Change>>,
    /// The sequence at which each record changed last.
    changed: BTreeMap<Place, u64>,
    /// The highest sequence that an answer has rested on.
    pub answered: u64,
    /// The latest wall-clock time of an acknowledged frame.
    pub floor_ms: u64,
    /// Snapshots that got their name.
    pub named: u64,
    /// Bytes of the entries that wait for the disk, each as long as if it were alone in a frame.
    pub waiting: u64,
}

impl Oracle {
    pub(super) const fn new() -> Self {
        Self {
            base: Fold(BTreeMap::new()),
            base_seq: 0,
            entries: Vec::new(),
            changed: BTreeMap::new(),
            answered: 0,
            floor_ms: 0,
            named: 0,
            waiting: 0,
        }
    }

    /// Returns the last sequence that was assigned.
    pub(super) const fn assigned(&self) -> u64 {
        self.base_seq + self.entries.len() as u64
    }

    /// Notes an entry that was handed in.
    pub(super) fn entered(&mut self, changes: Vec<Change>) {
        let seq = self.assigned() + 1;
        for change in &changes {
            self.changed.insert((change.table, change.key.clone()), seq);
        }
        self.entries.push(changes);
    }

    /// Returns the sequence that an answer about the record at `place` rests on.
    pub(super) fn rests_on(&self, place: &Place) -> u64 {
        self.changed.get(place).copied().unwrap_or(self.base_seq)
    }

    /// Returns the state after the first `seq` entries.
    pub(super) fn fold(&self, seq: u64) -> Fold {
        let mut fold = self.base.clone();
        for changes in self.entries.iter().take((seq - self.base_seq) as usize) {
            for change in changes {
                fold.change(change);
            }
        }
        fold
    }

    /// Notes that a restart has shown the first `seq` entries: from now on these are true, and the others never were.
    pub(super) fn restarted(&mut self, seq: u64) {
        self.base = self.fold(seq);
        self.entries.clear();
        self.changed.clear();
        self.base_seq = seq;
        self.answered = seq;
    }
}
