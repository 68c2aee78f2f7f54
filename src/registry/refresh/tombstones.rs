//! The order in which the families of each account ended, so that what is left of them stays bounded.

use std::collections::{BTreeMap, VecDeque};

/// The most ended families that are remembered of one account. Beyond it the one that ended first is forgotten. The
/// feed of endings speaks of the whole account long before.
pub(super) const TOMBSTONES_MAX: usize = 1000;

/// The ids of the ended families of each account, in the order of their ends.
#[derive(Debug, Default)]
pub(super) struct Tombstones(BTreeMap<[u8; 16], VecDeque<[u8; 16]>>);

impl Tombstones {
    /// Replaces the contents by `all`: account, end and id of each.
    pub(super) fn build(&mut self, all: impl Iterator<Item = ([u8; 16], u64, [u8; 16])>) {
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        self.0.clear();
        for (account, _, id) in all {
            self.add(account, id);
        }
    }

    pub(super) fn add(&mut self, account: [u8; 16], id: [u8; 16]) {
        self.0.entry(account).or_default().push_back(id);
    }

    pub(super) fn remove(&mut self, account: [u8; 16], id: [u8; 16]) {
        let Some(ids) = self.0.get_mut(&account) else { return };
        // What is forgotten is what ended first, with few exceptions.
        if let Some(at) = ids.iter().position(|other| *other == id) {
            ids.remove(at);
        }
        if ids.is_empty() {
            self.0.remove(&account);
        }
    }

    /// Returns the ids that must be forgotten once `more` families of `account` have ended.
    pub(super) fn excess(&self, account: [u8; 16], more: usize) -> impl Iterator<Item = [u8; 16]> {
        let ids = self.0.get(&account);
        let excess = (ids.map_or(0, VecDeque::len) + more).saturating_sub(TOMBSTONES_MAX);
        ids.into_iter().flatten().take(excess).copied()
    }
}
