//! A bounded map that many threads read and write, for entries that may be dropped at any time.
//!
//! A full shard drops the entries that are over; if none is, it drops all of them.

use std::collections::HashMap;
use std::hash::Hash;

use crate::system::lock::Mutex;

/// A map of `SHARDS` shards with at most `EACH` entries each.
pub(crate) struct Shards<K, V, const SHARDS: usize, const EACH: usize>(Box<[Mutex<HashMap<K, V>>]>);

impl<K, V, const SHARDS: usize, const EACH: usize> Default for Shards<K, V, SHARDS, EACH> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl<K: Eq + Hash, V, const SHARDS: usize, const EACH: usize> Shards<K, V, SHARDS, EACH> {
    /// Returns what `read` makes of the value of `key`, if there is one. `spread` selects the shard; a key always comes
    /// with the same `spread`.
    pub(crate) fn find<T>(&self, spread: usize, key: &K, read: impl FnOnce(&V) -> Option<T>) -> Option<T> {
        read(self.0.get(spread % SHARDS)?.lock().get(key)?)
    }

    /// Keeps `value` under `key`. `is_over` says which values a full shard drops first.
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
    fn a_full_shard_drops_first_what_is_over_and_other_shards_nothing() {
        let shards = Shards::<u32, u32, 4, 8>::default();
        let keep =
            |key: u32, until: u32, now: u32| shards.keep(key as usize, key, until, |until| *until <= now);
        let has = |key: u32| shards.find(key as usize, &key, |until| Some(*until)).is_some();
        (0..8).for_each(|n| keep(n * 4, if n < 5 { 10 } else { 90 }, 0));
        keep(1, 90, 0);
        keep(32, 90, 10);
        assert!(!has(0));
        assert!(has(5 * 4));
        assert!(has(32));
        assert!(has(1));
        (0..8).for_each(|n| keep(40 + n * 4, 90, 10));
        assert!(!has(5 * 4));
        assert!(has(68));
        assert!(has(1));
    }
}
