//! A lock-free cache of the reputation of networks, so that a reader needs no message to the actor: an attack comes
//! from ever new networks, and most of its requests are refused.
//!
//! Many networks share a mark, and a mark is never removed, so a mark means "perhaps" and its absence "no". The cache
//! agrees with [`Stuffing::look`](super::Stuffing::look) wherever it answers; where it cannot be certain it answers
//! nothing. Marks go stale with time alone: each counts within its window.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::state::{KNOWN_FOR, NAMES_WINDOW, Outcome, Reputation, site_of};
use crate::system::clock::Timestamp;
use crate::value::network::Network;

/// Marks of each kind lie in chunks, which take memory with their first mark: 4 MiB in all. With 100,000 networks
/// marked, the cache is certain of nine in ten others.
const CHUNKS: usize = 1 << 10;
const CHUNK: usize = 1 << 10;

/// The times at which something was last seen at a network, in seconds since 1970, rounded up. A network shares its
/// place with others.
struct Marks(Box<[OnceLock<Box<[AtomicU32]>>]>);

impl Marks {
    fn new() -> Self {
        Self((0..CHUNKS).map(|_| OnceLock::new()).collect())
    }

    fn set(&self, place: usize, now: Timestamp) {
        let at = u32::try_from(now.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        let Some(chunk) = self.0.get(place / CHUNK % CHUNKS) else { return };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| AtomicU32::new(0)).collect());
        if let Some(mark) = chunk.get(place % CHUNK) {
            mark.fetch_max(at, Ordering::Relaxed);
        }
    }

    /// Says whether something may have been seen at `place` within `window`.
    fn may_have_been(&self, place: usize, window: Duration, now: Timestamp) -> bool {
        let chunk = self.0.get(place / CHUNK % CHUNKS).and_then(OnceLock::get);
        let mark = chunk.and_then(|chunk| chunk.get(place % CHUNK));
        let at = mark.map_or(0, |mark| mark.load(Ordering::Relaxed));
        at > 0 && now.since(Timestamp::from_secs(at.into())) < window
    }
}

/// The reputation cache of one engine. The actor writes it; every thread reads it.
pub struct ReputationCache {
    failed: Marks,
    succeeded: Marks,
    /// Whether the alarm rings. Stored after the marks that go with it, and read before them.
    rings: AtomicBool,
    hasher: RandomState,
}

impl Default for ReputationCache {
    fn default() -> Self {
        Self {
            failed: Marks::new(),
            succeeded: Marks::new(),
            rings: AtomicBool::new(false),
            hasher: RandomState::new(),
        }
    }
}

impl ReputationCache {
    /// Returns the reputation of `network` at `now`, or `None` where the cache cannot be certain of it.
    pub fn look(&self, network: Network, now: Timestamp) -> Option<Reputation> {
        let rings = self.rings.load(Ordering::Acquire);
        let may_have_failed = |network| self.failed.may_have_been(self.place(network), NAMES_WINDOW, now);
        let is_certain = if rings {
            !self.succeeded.may_have_been(self.place(network), KNOWN_FOR, now)
        } else {
            !may_have_failed(network) && !site_of(network).is_some_and(may_have_failed)
        };
        is_certain.then_some(Reputation { recently_failing: rings })
    }

    /// Notes how a log-in ended, once the actor has noted it. `rings` says whether the alarm rings since.
    pub(super) fn note(&self, network: Network, outcome: Outcome, rings: bool, now: Timestamp) {
        match outcome {
            Outcome::Succeeded => self.succeeded.set(self.place(network), now),
            Outcome::Mistyped => {}
            Outcome::Failed => {
                self.failed.set(self.place(network), now);
                if let Some(site) = site_of(network) {
                    self.failed.set(self.place(site), now);
                }
            }
        }
        self.rings.store(rings, Ordering::Release);
    }

    fn place(&self, network: Network) -> usize {
        self.hasher.hash_one(network) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::stuffing::{Stuffing, Tried};
    use crate::value::account_name::NameKey;

    /// Returns an IPv4 network for an even number, and a link of one of five IPv6 sites for an odd one.
    fn network(number: u32) -> Network {
        let site = u128::from(number % 5);
        let link = u128::from(number);
        Network::of(match number % 2 {
            0 => std::net::Ipv4Addr::from_bits(number << 7).into(),
            _ => std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | site << 80 | link << 64).into(),
        })
    }

    /// The state and its cache, which note the same log-ins.
    struct Both {
        stuffing: Stuffing,
        cache: ReputationCache,
        now: Timestamp,
    }

    impl Both {
        fn new() -> Self {
            let now = Timestamp::from_secs(1_800_000_000);
            Self { stuffing: Stuffing::default(), cache: ReputationCache::default(), now }
        }

        fn note(&mut self, from: u32, name: u32, outcome: Outcome) {
            let mut key = [0; 16];
            key[12..].copy_from_slice(&name.to_le_bytes());
            let tried = Tried { network: network(from), name: NameKey(key), outcome };
            self.stuffing.note(tried, self.now);
            self.cache.note(tried.network, outcome, self.stuffing.rings(), self.now);
        }

        fn cached(&self, from: u32) -> Option<bool> {
            self.cache.look(network(from), self.now).map(|reputation| reputation.recently_failing)
        }

        fn authority(&self, from: u32) -> bool {
            self.stuffing.look(network(from), self.now).recently_failing
        }

        fn pass(&mut self, time: Duration) {
            self.now = self.now + time;
        }
    }

    fn steps() -> impl Strategy<Value = Vec<(u32, u32, usize, u8, u64)>> {
        // Runs of one outcome from neighbouring networks: attacks, sites that fail, ordinary days.
        let gap = prop::sample::select(vec![0, 1, 50, 999, 40_000, 899_999, 40_000_000]);
        prop::collection::vec((0..300_u32, 0..1000_u32, 1..60_usize, any::<u8>(), gap), 0..30)
    }

    proptest! {
        #[test]
        fn a_cached_reputation_is_the_one_of_the_state(
            steps in steps(),
            later in prop::sample::select(vec![0_u64, 1, 999, 899_000, 899_999, 900_000, 86_399_999, 86_400_000]),
        ) {
            let mut both = Both::new();
            for (from, name, count, how, gap) in steps {
                let outcome = match how % 5 {
                    0 => Outcome::Succeeded,
                    1 => Outcome::Mistyped,
                    _ => Outcome::Failed,
                };
                for n in 0..count as u32 {
                    both.note((from + 2 * n) % 300, name + n, outcome);
                    both.pass(Duration::from_millis(gap / count as u64));
                }
            }
            both.pass(Duration::from_millis(later));
            for from in 0..400 {
                if let Some(cached) = both.cached(from) {
                    prop_assert_eq!(cached, both.authority(from));
                }
            }
        }
    }

    #[test]
    fn a_failed_network_or_site_is_uncertain_while_the_state_counts_it() {
        let mut both = Both::new();
        // Links of one site: 41 names make it a suspect as a whole.
        (0..41).for_each(|n| both.note(10 * n + 1, n, Outcome::Failed));
        both.note(2, 99, Outcome::Failed);
        assert!(!both.stuffing.rings());
        assert!(both.authority(9_991));
        for from in [2, 1, 9_991] {
            assert_eq!(both.cached(from), None, "{from}");
        }
        assert_eq!((both.cached(4), both.cached(3)), (Some(false), Some(false)));
        both.pass(NAMES_WINDOW.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!((both.cached(2), both.cached(9_991)), (None, None));
        both.pass(Duration::from_millis(1));
        assert_eq!((both.cached(2), both.cached(9_991)), (Some(false), Some(false)));
    }

    #[test]
    fn during_the_alarm_networks_without_a_recent_log_in_are_certain_to_wait() {
        let mut both = Both::new();
        both.note(2, 1, Outcome::Succeeded);
        (0..200).for_each(|n| both.note(1_000 + 2 * n, n, Outcome::Failed));
        assert!(both.stuffing.rings() && both.authority(4) && !both.authority(2));
        assert_eq!((both.cached(4), both.cached(1_000), both.cached(2)), (Some(true), Some(true), None));
        both.pass(KNOWN_FOR.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!(both.cached(2), None);
        both.pass(Duration::from_millis(1));
        assert_eq!((both.cached(2), both.authority(2)), (Some(true), true));
    }

    #[test]
    fn most_unknown_networks_are_certain_and_an_idle_cache_takes_no_memory() {
        let cache = ReputationCache::default();
        let now = Timestamp::from_secs(1_800_000_000);
        let chunks = |marks: &Marks| marks.0.iter().filter(|chunk| chunk.get().is_some()).count();
        assert_eq!(chunks(&cache.failed) + chunks(&cache.succeeded), 0);
        for number in 0..100_000 {
            cache.note(network(4 * number), Outcome::Succeeded, false, now);
            cache.note(network(4 * number), Outcome::Failed, false, now);
        }
        for rings in [false, true] {
            cache.note(network(0), Outcome::Mistyped, rings, now);
            let certain = (0..10_000).filter(|n| cache.look(network(4 * n + 2), now).is_some()).count();
            assert!((8_800..9_300).contains(&certain), "{certain}");
        }
        assert_eq!(chunks(&cache.failed), CHUNKS);
    }
}
