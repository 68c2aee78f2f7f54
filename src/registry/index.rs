//! What finds records by something else than their key: a tree, since one growing map would stall its owner at each
//! doubling.
//!
//! While recovery brings records back nobody asks it. It may wait then, and be built of all of them at once, in a fraction
//! of the time that so many single places in a tree take.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// From `K` to `V`, in the order of `K`.
#[derive(Debug)]
pub(crate) struct Index<K, V> {
    tree: BTreeMap<K, V>,
    waits: bool,
}

impl<K: Ord, V> Index<K, V> {
    /// Empty, and kept from the start.
    pub(crate) const fn new() -> Self {
        Self { tree: BTreeMap::new(), waits: false }
    }

    /// Keeps nothing until it is built.
    pub(crate) fn wait(&mut self) {
        self.waits = true;
    }

    /// Whether it keeps nothing just now.
    pub(crate) const fn waits(&self) -> bool {
        self.waits
    }

    /// Builds it of everything there is.
    pub(crate) fn build(&mut self, all: impl Iterator<Item = (K, V)>) {
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.tree = all.into_iter().collect();
        self.waits = false;
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if !self.waits {
            self.tree.insert(key, value);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if !self.waits {
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

/// The ids of what an account has: in order, so that those of one account stand together.
#[derive(Debug)]
pub(crate) struct ByAccount(Index<([u8; 16], [u8; 16]), ()>);

impl ByAccount {
    /// Empty, and kept from the start.
    pub(crate) const fn new() -> Self {
        Self(Index::new())
    }

    /// Keeps nothing until it is built.
    pub(crate) fn wait(&mut self) {
        self.0.wait();
    }

    /// Builds it of everything there is: account and id.
    pub(crate) fn build(&mut self, all: impl Iterator<Item = ([u8; 16], [u8; 16])>) {
        self.0.build(all.map(|both| (both, ())));
    }

    pub(crate) fn insert(&mut self, account: [u8; 16], id: [u8; 16]) {
        self.0.insert((account, id), ());
    }

    pub(crate) fn remove(&mut self, account: [u8; 16], id: [u8; 16]) {
        self.0.remove(&(account, id));
    }

    /// The ids that an account has.
    pub(crate) fn of(&self, account: [u8; 16]) -> impl Iterator<Item = &[u8; 16]> {
        self.0.range((account, [0; 16])..=(account, [0xFF; 16])).map(|((_, id), ())| id)
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
    fn what_waited_is_built_of_all_and_kept_from_there_on() {
        let mut index = Index::new();
        index.insert(3, 'c');
        index.wait();
        index.insert(1, 'a');
        index.remove(&3);
        assert!(index.waits() && index.get(&1).is_none());
        index.build([(7, 'g'), (5, 'e')].into_iter());
        index.insert(6, 'f');
        index.remove(&7);
        assert_eq!(index.range(0..=9).collect::<Vec<_>>(), [(&5, &'e'), (&6, &'f')]);
        assert!(!index.waits());
    }
}
