//! Secondary indexes: they find records by something other than their key. A tree, since a hash map would stall its
//! actor each time it doubles.
//!
//! During recovery no lookup needs an index. It can be suspended then and built from all records at once at the end, in
//! a fraction of the time that inserting them one by one would take.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A map from `K` to `V`, in the order of `K`.
#[derive(Debug)]
pub(crate) struct Index<K, V> {
    tree: BTreeMap<K, V>,
    is_suspended: bool,
}

impl<K: Ord, V> Index<K, V> {
    /// Creates an empty index.
    pub(crate) const fn new() -> Self {
        Self { tree: BTreeMap::new(), is_suspended: false }
    }

    /// Ignores insertions and removals until [`Self::build`] is called.
    pub(crate) fn suspend(&mut self) {
        self.is_suspended = true;
    }

    /// Says whether insertions and removals are ignored.
    pub(crate) const fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// Replaces the contents by `all`, and follows insertions and removals from then on.
    pub(crate) fn build(&mut self, all: impl Iterator<Item = (K, V)>) {
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.tree = all.into_iter().collect();
        self.is_suspended = false;
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if !self.is_suspended {
            self.tree.insert(key, value);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if !self.is_suspended {
            self.tree.remove(key);
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.tree.get(key)
    }

    pub(crate) fn range(&self, range: RangeInclusive<K>) -> impl Iterator<Item = (&K, &V)> {
        self.tree.range(range)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }
}

/// The ids of the records of each account, ordered so that those of one account lie side by side.
#[derive(Debug)]
pub(crate) struct ByAccount(Index<([u8; 16], [u8; 16]), ()>);

impl ByAccount {
    /// Creates an empty index.
    pub(crate) const fn new() -> Self {
        Self(Index::new())
    }

    /// Ignores insertions and removals until [`Self::build`] is called.
    pub(crate) fn suspend(&mut self) {
        self.0.suspend();
    }

    /// Replaces the contents by `all`: pairs of an account and an id.
    pub(crate) fn build(&mut self, all: impl Iterator<Item = ([u8; 16], [u8; 16])>) {
        self.0.build(all.map(|pair| (pair, ())));
    }

    pub(crate) fn insert(&mut self, account: [u8; 16], id: [u8; 16]) {
        self.0.insert((account, id), ());
    }

    pub(crate) fn remove(&mut self, account: [u8; 16], id: [u8; 16]) {
        self.0.remove(&(account, id));
    }

    /// Says whether insertions and removals are ignored.
    pub(crate) fn is_suspended(&self) -> bool {
        self.0.is_suspended()
    }

    /// Returns the ids of `account`, in order; those after `after`, if there is one.
    pub(crate) fn after(
        &self,
        account: [u8; 16],
        after: Option<[u8; 16]>,
    ) -> impl Iterator<Item = &[u8; 16]> {
        let ids = self.0.range((account, after.unwrap_or([0; 16]))..=(account, [0xFF; 16]));
        ids.map(|((_, id), ())| id).filter(move |id| Some(**id) != after)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspended_index_is_built_at_once_and_kept_from_then_on() {
        let mut index = Index::new();
        index.insert(3, 'c');
        index.suspend();
        index.insert(1, 'a');
        index.remove(&3);
        assert!(index.is_suspended());
        assert!(index.get(&1).is_none());
        index.build([(7, 'g'), (5, 'e')].into_iter());
        index.insert(6, 'f');
        index.remove(&7);
        assert_eq!(index.range(0..=9).collect::<Vec<_>>(), [(&5, &'e'), (&6, &'f')]);
        assert!(!index.is_suspended());
    }
}
