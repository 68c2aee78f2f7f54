//! A table as many small maps: no rehash stalls an actor, and a snapshot can read it a few buckets at a time.

use std::collections::HashMap;
use std::hash::{Hash, RandomState};

/// Buckets of a table; also the range of bucket numbers in a snapshot.
pub const BUCKETS: usize = 4_096;

/// The bucket of a key, by its stored bytes. Fixed for ever.
pub fn bucket_of(key: &[u8]) -> usize {
    crc32c::crc32c(key) as usize % BUCKETS
}

/// A map whose records lie apart, so that the free places of its small maps cost little, and whose keys are spread by [`bucket_of`] over [`BUCKETS`] small maps.
pub struct Buckets<K, V> {
    maps: Vec<HashMap<K, Box<V>>>,
    len: usize,
}

impl<K: AsRef<[u8]> + Eq + Hash, V> Buckets<K, V> {
    /// Empty; takes no memory for its records yet. All buckets share one hasher key.
    pub fn new() -> Self {
        let hasher = RandomState::new();
        Self { maps: (0..BUCKETS).map(|_| HashMap::with_hasher(hasher.clone())).collect(), len: 0 }
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.maps.get(bucket_of(key.as_ref()))?.get(key).map(|value| &**value)
    }

    /// Puts `value` in the place of `key` and returns what stood there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let map = self.maps.get_mut(bucket_of(key.as_ref()))?;
        let before = map.insert(key, Box::new(value));
        self.len += usize::from(before.is_none());
        before.map(|value| *value)
    }

    /// Takes `key` out and returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let before = self.maps.get_mut(bucket_of(key.as_ref()))?.remove(key);
        self.len -= usize::from(before.is_some());
        before.map(|value| *value)
    }

    /// Records in all buckets.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no record.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The records of one bucket, in no order; none when `bucket` is not below [`BUCKETS`].
    pub fn bucket(&self, bucket: usize) -> impl Iterator<Item = (&K, &V)> {
        self.maps.get(bucket).into_iter().flatten().map(|(key, value)| (key, &**value))
    }
}

impl<K: AsRef<[u8]> + Eq + Hash, V> Default for Buckets<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_lies_in_the_bucket_of_its_key() {
        let mut table = Buckets::new();
        for key in 0_u16..500 {
            assert_eq!(table.insert(key.to_be_bytes(), key), None);
        }
        assert_eq!(table.insert([0, 1], 7), Some(1));
        assert_eq!(table.get(&[0, 1]), Some(&7));
        assert_eq!(table.remove(&[0, 2]), Some(2));
        assert_eq!(table.remove(&[0, 2]), None);
        assert_eq!(table.len(), 499);
        let seen = (0..BUCKETS).flat_map(|at| table.bucket(at).map(move |(key, _)| (at, key)));
        assert_eq!(seen.filter(|(at, key)| *at == bucket_of(&key[..])).count(), 499);
        assert_eq!(bucket_of(b"123456789"), 0xE306_9283 % BUCKETS); // the check value of CRC32C
    }
}
