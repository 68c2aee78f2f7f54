//! A table as many small lists: no rehash stalls an actor, and a snapshot can read it a few buckets at a time.

use crate::journal::format::buckets::{BUCKETS, bucket_of};

/// A map whose keys are spread by [`bucket_of`] over [`BUCKETS`] small sorted lists. Keys are random or keyed digests,
/// never text that a client chose, so no bucket grows out of proportion.
pub struct Buckets<K, V> {
    lists: Vec<Vec<(K, Box<V>)>>,
    len: usize,
}

impl<K: AsRef<[u8]> + Ord, V> Buckets<K, V> {
    /// Creates an empty map, which takes no memory for records yet.
    pub fn new() -> Self {
        Self { lists: (0..BUCKETS).map(|_| Vec::new()).collect(), len: 0 }
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let list = self.lists.get(bucket_of(key.as_ref()))?;
        let at = list.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        list.get(at).map(|(_, value)| &**value)
    }

    /// Stores `value` under `key` and returns the value it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let list = self.lists.get_mut(bucket_of(key.as_ref()))?;
        match list.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => list.get_mut(at).map(|(_, held)| std::mem::replace(&mut **held, value)),
            Err(at) => {
                if list.len() == list.capacity() {
                    // Grow by an eighth, not by doubling: half of a million lists would be empty.
                    list.reserve_exact(list.len() / 8 + 4);
                }
                list.insert(at, (key, Box::new(value)));
                self.len += 1;
                None
            }
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let list = self.lists.get_mut(bucket_of(key.as_ref()))?;
        let at = list.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        let (_, value) = list.remove(at);
        self.len -= 1;
        Some(*value)
    }

    /// Returns the number of records in all buckets.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Says whether there is no record.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the records of one bucket in the order of their keys; none when `bucket` is not below [`BUCKETS`].
    pub fn bucket(&self, bucket: usize) -> impl Iterator<Item = (&K, &V)> {
        self.lists.get(bucket).into_iter().flatten().map(|(key, value)| (key, &**value))
    }

    /// Returns the records of all buckets, one bucket after the other.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.lists.iter().flatten().map(|(key, value)| (key, &**value))
    }
}

impl<K: AsRef<[u8]> + Ord, V> Default for Buckets<K, V> {
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
        assert!(table.is_empty());
        for key in 0_u16..500 {
            assert_eq!(table.insert(key.to_be_bytes(), key), None);
        }
        assert_eq!(table.insert([0, 1], 7), Some(1));
        assert_eq!(table.get(&[0, 1]), Some(&7));
        assert_eq!(table.remove(&[0, 2]), Some(2));
        assert_eq!(table.remove(&[0, 2]), None);
        assert_eq!((table.len(), table.is_empty()), (499, false));
        let seen = (0..BUCKETS).flat_map(|at| table.bucket(at).map(move |(key, _)| (at, key)));
        assert_eq!(seen.filter(|(at, key)| *at == bucket_of(&key[..])).count(), 499);
        let by_bucket: Vec<_> = (0..BUCKETS).flat_map(|at| table.bucket(at)).collect();
        assert_eq!(table.iter().collect::<Vec<_>>(), by_bucket);
        assert_eq!(bucket_of(b"123456789"), 0xE306_9283 % BUCKETS); // the check value of CRC32C
    }
}
