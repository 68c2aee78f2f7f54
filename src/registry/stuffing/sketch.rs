//! A bounded count of the few distinct things seen at each of many keys.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use crate::system::clock::Timestamp;

const WAYS: usize = 8;

/// The things seen at one key.
#[derive(Clone, Copy)]
struct Entry<K, T, const DISTINCT: usize> {
    key: K,
    /// The distinct things, each with the time at which it was last seen.
    seen: [Option<(T, Timestamp)>; DISTINCT],
    /// When a success was last seen.
    succeeded: Timestamp,
    /// Until when [`Sketch::tell`] stays silent about the key.
    told_until: Timestamp,
}

impl<K, T: Copy + PartialEq, const DISTINCT: usize> Entry<K, T, DISTINCT> {
    fn distinct(&self, window: Duration, now: Timestamp) -> usize {
        self.seen.iter().flatten().filter(|(_, at)| now.since(*at) < window).count()
    }

    fn newest(&self) -> Timestamp {
        let seen = self.seen.iter().flatten().map(|(_, at)| *at).max().unwrap_or_default();
        seen.max(self.succeeded)
    }
}

type Set<K, T, const DISTINCT: usize> = [Option<Entry<K, T, DISTINCT>>; WAYS];

/// The entries, in sets of eight places; a key belongs to one set. The hash is keyed anew in each process. Each key
/// counts up to `DISTINCT` distinct things, one more than the line that matters. A set takes memory with its first key,
/// so that an idle server is small.
pub struct Sketch<K, T, const DISTINCT: usize> {
    sets: Vec<Option<Box<Set<K, T, DISTINCT>>>>,
    hasher: RandomState,
    window: Duration,
}

impl<K: Copy + Eq + Hash, T: Copy + PartialEq, const DISTINCT: usize> Sketch<K, T, DISTINCT> {
    /// Creates an empty sketch with room for about `keys` keys. Things are counted within `window`.
    pub fn new(keys: usize, window: Duration) -> Self {
        Self { sets: vec![None; keys.div_ceil(WAYS).max(1)], hasher: RandomState::new(), window }
    }

    /// Notes that `thing` was seen at `key`, and returns the number of distinct things seen there within the window.
    pub fn see(&mut self, key: K, thing: T, now: Timestamp) -> usize {
        let window = self.window;
        let Some(entry) = self.entry(key, now) else { return 0 };
        let known = entry.seen.iter().position(|seen| seen.is_some_and(|(one, _)| one == thing));
        let place = known.or_else(|| {
            // A free place, or else that of the oldest.
            let age = |seen: &Option<(T, Timestamp)>| seen.map(|(_, at)| at);
            entry.seen.iter().enumerate().min_by_key(|(_, seen)| age(seen)).map(|(place, _)| place)
        });
        if let Some(seen) = place.and_then(|place| entry.seen.get_mut(place)) {
            *seen = Some((thing, now));
        }
        entry.distinct(window, now)
    }

    /// Notes a success at `key`.
    pub fn succeed(&mut self, key: K, now: Timestamp) {
        if let Some(entry) = self.entry(key, now) {
            entry.succeeded = now;
        }
    }

    /// Returns true the first time it is called for `key` within `span`: the caller notifies the owner then.
    pub fn tell(&mut self, key: K, span: Duration, now: Timestamp) -> bool {
        let Some(entry) = self.entry(key, now) else { return false };
        if now < entry.told_until {
            return false;
        }
        entry.told_until = now + span;
        true
    }

    /// Returns the number of distinct things seen at `key` within the window, and the time of the last success.
    pub fn look(&self, key: K, now: Timestamp) -> (usize, Timestamp) {
        let set = self.sets.get(self.set_of(key)).and_then(Option::as_deref);
        let entry = set.into_iter().flatten().flatten().find(|entry| entry.key == key);
        entry.map_or((0, Timestamp::ZERO), |entry| (entry.distinct(self.window, now), entry.succeeded))
    }

    /// Returns the size of the sketch in bytes.
    pub fn bytes(&self) -> usize {
        self.sets.len() * size_of::<usize>()
            + self.sets.iter().flatten().count() * size_of::<Set<K, T, DISTINCT>>()
    }

    /// Returns the largest size that the sketch may grow to, in bytes.
    #[cfg(test)]
    const fn bytes_max(&self) -> usize {
        self.sets.len() * (size_of::<usize>() + size_of::<Set<K, T, DISTINCT>>())
    }

    /// Returns the entry of a key. A new key takes the place of the entry with the fewest things within the window, or
    /// else of the one that was silent longest.
    fn entry(&mut self, key: K, now: Timestamp) -> Option<&mut Entry<K, T, DISTINCT>> {
        let at = self.set_of(key);
        let window = self.window;
        let set = self.sets.get_mut(at)?.get_or_insert_with(|| Box::new([None; WAYS]));
        let own = set.iter().position(|place| place.as_ref().is_some_and(|entry| entry.key == key));
        let worth = |place: &Option<Entry<K, T, DISTINCT>>| {
            place.as_ref().map(|entry| (now < entry.told_until, entry.distinct(window, now), entry.newest()))
        };
        let way =
            own.or_else(|| set.iter().enumerate().min_by_key(|(_, place)| worth(place)).map(|(way, _)| way))?;
        let place = set.get_mut(way)?;
        if own.is_none() {
            *place = Some(Entry {
                key,
                seen: [None; DISTINCT],
                succeeded: Timestamp::ZERO,
                told_until: Timestamp::ZERO,
            });
        }
        place.as_mut()
    }

    fn set_of(&self, key: K) -> usize {
        (self.hasher.hash_one(key) % self.sets.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const WINDOW: Duration = Duration::from_mins(15);

    #[test]
    fn distinct_things_are_counted_exactly_within_their_window() {
        let mut sketch = Sketch::<u32, u32, 11>::new(1000, WINDOW);
        for thing in 0..5 {
            assert_eq!(sketch.see(1, thing, NOW), thing as usize + 1);
            assert_eq!(sketch.see(1, thing, NOW), thing as usize + 1);
        }
        let later = NOW + WINDOW;
        assert_eq!(sketch.see(1, 0, later), 1);
        for thing in 0..50 {
            sketch.see(2, thing, NOW);
        }
        assert_eq!(sketch.look(2, NOW).0, 11);
        assert!(sketch.tell(2, WINDOW, NOW));
        assert!(!sketch.tell(2, WINDOW, NOW));
        assert!(sketch.tell(2, WINDOW, later));
        sketch.succeed(3, NOW);
        assert_eq!(sketch.look(3, NOW), (0, NOW));
    }

    #[test]
    fn a_million_keys_take_bounded_memory_and_replace_the_quiet_first() {
        let mut sketch = Sketch::<u32, u32, 11>::new(65_536, WINDOW);
        assert!(sketch.bytes() < 1 << 17);
        for thing in 0..20 {
            sketch.see(7, thing, NOW);
        }
        for key in 100..1_000_100 {
            sketch.see(key, 1, NOW);
        }
        assert_eq!(sketch.look(7, NOW).0, 11);
        assert_eq!(sketch.bytes(), sketch.bytes_max());
        assert!(sketch.bytes() < 24 << 20, "{}", sketch.bytes());
    }
}
