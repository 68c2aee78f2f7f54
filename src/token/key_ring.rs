//! The symmetric keys of one use: the newest makes things, and older ones still verify what they made.

use std::time::Duration;

use parking_lot::RwLock;
use zeroize::Zeroizing;

use crate::system::clock::Timestamp;

/// Maximum number of keys of one kind that exist at a time. At this bound a rotation is refused until the oldest key has
/// no use any more, so that repeated calls neither fill the disk nor slow down every check.
pub const KEYS_MAX: usize = 16;

/// One key of a ring.
pub struct RingKey {
    /// Its number, unique among the keys of its ring.
    pub kid: u8,
    /// When it became the newest.
    pub from: Timestamp,
    /// The key itself.
    pub key: Zeroizing<[u8; 32]>,
}

/// The keys of one use, newest first. At least one.
pub struct KeyRing(RwLock<Vec<RingKey>>);

impl KeyRing {
    /// Builds the ring of `keys`, in any order.
    pub(super) fn new(mut keys: Vec<RingKey>) -> Self {
        keys.sort_by_key(|key| std::cmp::Reverse((key.from, key.kid)));
        Self(RwLock::new(keys))
    }

    /// Calls `make` with the newest key and its kid.
    pub fn with_newest<T>(&self, make: impl FnOnce(u8, &[u8; 32]) -> T) -> T {
        let keys = self.0.read();
        match keys.first() {
            Some(newest) => make(newest.kid, &newest.key),
            None => unreachable!("a ring always holds a key"),
        }
    }

    /// Calls `check` with the key of number `kid`. Returns `None` if there is none.
    pub fn with<T>(&self, kid: u8, check: impl FnOnce(&[u8; 32]) -> T) -> Option<T> {
        let keys = self.0.read();
        keys.iter().find(|key| key.kid == kid).map(|key| check(&key.key))
    }

    /// Calls `check` with each key, newest first, until one gives an answer: for what does not name its key.
    pub fn find_map<T>(&self, check: impl FnMut(&[u8; 32]) -> Option<T>) -> Option<T> {
        let mut check = check;
        self.0.read().iter().find_map(|key| check(&key.key))
    }

    /// Calls `each` with every key and its number, newest first.
    pub fn map<T>(&self, each: impl Fn(u8, &[u8; 32]) -> T) -> Vec<T> {
        self.0.read().iter().map(|key| each(key.kid, &key.key)).collect()
    }

    /// Returns the number and age of each key, newest first.
    pub fn listed(&self) -> Vec<(u8, Timestamp)> {
        self.0.read().iter().map(|key| (key.kid, key.from)).collect()
    }

    /// Returns the number that the next key gets, and when it begins: later than every other. `None` at the bound.
    pub(super) fn next(&self, now: Timestamp) -> Option<(u8, Timestamp)> {
        if self.0.read().len() < KEYS_MAX { self.after_newest(now) } else { None }
    }

    /// Returns what [`KeyRing::next`] does, also beyond the bound. `None` if all numbers are taken.
    pub(super) fn after_newest(&self, now: Timestamp) -> Option<(u8, Timestamp)> {
        let keys = self.0.read();
        let newest = keys.first()?;
        let is_free = |kid: &u8| keys.iter().all(|key| key.kid != *kid);
        // Numbers begin again after 255; the bound leaves most of them free.
        let kid = (newest.kid..=u8::MAX).skip(1).chain(1..newest.kid).find(is_free)?;
        Some((kid, now.max(newest.from + Duration::from_secs(1))))
    }

    /// Adds `key`, which is the newest from now on.
    pub(super) fn add(&self, key: RingKey) {
        self.0.write().insert(0, key);
    }

    /// Returns the numbers of the keys whose successor has been the newest for `life`: nothing lives that they made.
    pub(super) fn expired(&self, life: Duration, now: Timestamp) -> Vec<u8> {
        let keys = self.0.read();
        let successors = keys.iter().zip(keys.iter().skip(1));
        let is_over = |(successor, _): &(&RingKey, &RingKey)| now.since(successor.from) >= life;
        successors.filter(is_over).map(|(_, key)| key.kid).collect()
    }

    /// Removes the key of number `kid`, unless it is the only one. Returns whether there was such a key.
    pub(super) fn remove(&self, kid: u8) -> bool {
        let mut keys = self.0.write();
        let before = keys.len();
        if before > 1 {
            keys.retain(|key| key.kid != kid);
        }
        keys.len() < before
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.listed()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn key(kid: u8, from: Timestamp) -> RingKey {
        RingKey { kid, from, key: Zeroizing::new([kid; 32]) }
    }

    #[test]
    fn the_newest_makes_and_older_ones_verify_until_nothing_lives_that_they_made() {
        let ring = KeyRing::new(vec![key(1, Timestamp::ZERO), key(2, NOW)]);
        assert_eq!(ring.with_newest(|kid, key| (kid, key[0])), (2, 2));
        assert_eq!(ring.with(1, |key| key[0]), Some(1));
        assert_eq!(ring.with(3, |key| key[0]), None);
        assert_eq!(ring.find_map(|key| (key[0] == 1).then_some(())), Some(()));
        assert!(ring.expired(DAY, NOW + DAY - Duration::from_secs(1)).is_empty());
        assert_eq!(ring.expired(DAY, NOW + DAY), [1]);
        assert!(ring.remove(1));
        assert!(!ring.remove(1), "it is gone");
        assert!(!ring.remove(2), "it is the only one");
        assert_eq!(ring.listed(), [(2, NOW)]);
        assert!(ring.expired(Duration::ZERO, NOW + DAY).is_empty());
    }

    #[test]
    fn numbers_begin_again_and_the_number_of_keys_is_bounded() {
        let ring = KeyRing::new(vec![key(254, Timestamp::ZERO)]);
        let mut kids = Vec::new();
        while let Some((kid, from)) = ring.next(NOW) {
            kids.push(kid);
            ring.add(key(kid, from));
        }
        assert_eq!(kids.len(), KEYS_MAX - 1);
        assert_eq!(kids[..4], [255, 1, 2, 3]);
        // In the order in which they were made, also after they were read back.
        let listed = ring.listed();
        assert!(listed.is_sorted_by(|one, next| one.1 > next.1));
        let read_back = KeyRing::new(listed.iter().rev().map(|(kid, from)| key(*kid, *from)).collect());
        assert_eq!(read_back.listed(), listed);
    }
}
