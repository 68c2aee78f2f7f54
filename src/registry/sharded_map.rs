//! A bounded map that many threads read: for what may be forgotten at any time.
//!
//! A shard that is full is emptied of what is over, and if that is nothing, of everything.

use std::collections::HashMap;
use std::hash::Hash;

use crate::system::lock::Mutex;

/// So many shards of so many entries each.
pub(crate) struct Shards<K, V, const SHARDS: usize, const EACH: usize>(Box<[Mutex<HashMap<K, V>>]>);

impl<K, V, const SHARDS: usize, const EACH: usize> Default for Shards<K, V, SHARDS, EACH> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl<K: Eq + Hash, V, const SHARDS: usize, const EACH: usize> Shards<K, V, SHARDS, EACH> {
    /// What `read` makes of the entry of `key`. Keys are spread over the shards by a number of theirs.
    pub(crate) fn find<T>(&self, spread: usize, key: &K, read: impl FnOnce(&V) -> Option<T>) -> Option<T> {
        read(self.0.get(spread % SHARDS)?.lock().get(key)?)
    }

    /// Keeps a value.
    pub(crate) fn keep(&self, spread: usize, key: K, value: V, is_over: impl Fn(&V) -> bool) {
        let Some(shard) = self.0.get(spread % SHARDS) else { return };
        let mut shard = shard.lock();
        if shard.len() >= EACH {
            shard.retain(|_, value| !is_over(value));
            if shard.len() >= EACH {
                shard.clear();
            }
        }
        shard.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_shard_lets_what_is_over_go_first_and_others_stay() {
        let shards = Shards::<u32, u32, 4, 8>::default();
        let keep =
            |key: u32, until: u32, now: u32| shards.keep(key as usize, key, until, |until| *until <= now);
        let held = |key: u32| shards.find(key as usize, &key, |until| Some(*until)).is_some();
        (0..8).for_each(|n| keep(n * 4, if n < 5 { 10 } else { 90 }, 0));
        keep(1, 90, 0);
        keep(32, 90, 10);
        assert!(!held(0) && held(5 * 4) && held(32) && held(1));
        (0..8).for_each(|n| keep(40 + n * 4, 90, 10));
        assert!(!held(5 * 4) && held(68) && held(1));
    }
}
