//! How networks stand, for who must not take a way to the owner to ask: a storm comes from ever new networks, and most of it
//! is refused.
//!
//! Marks for many networks share a place, and none is taken away, so that a mark says "perhaps" and its absence "no". What
//! is said here is what [`Stuffing::look`](super::Stuffing::look) says; where that cannot be known, nothing is said.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::state::{KNOWN_FOR, NAMES_WINDOW, Outcome, Standing, site_of};
use crate::clock::Timestamp;
use crate::throttle::Network;

/// Of each kind: 256 KiB.
const MARKS: usize = 1 << 16;

/// When something was last seen at a network, in seconds since 1970, rounded up; at places that the network shares with
/// others.
struct Marks(Box<[AtomicU32]>);

impl Marks {
    fn new() -> Self {
        Self((0..MARKS).map(|_| AtomicU32::new(0)).collect())
    }

    fn set(&self, place: usize, now: Timestamp) {
        let at = u32::try_from(now.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        if let Some(mark) = self.0.get(place % MARKS) {
            mark.store(at, Ordering::Relaxed);
        }
    }

    /// Whether something may have been seen there within `window`.
    fn may_be(&self, place: usize, window: Duration, now: Timestamp) -> bool {
        let at = self.0.get(place % MARKS).map_or(u32::MAX, |mark| mark.load(Ordering::Relaxed));
        at > 0 && now.since(Timestamp::from_secs(at.into())) < window
    }
}

/// Those of one engine: written by the owner, read by everybody.
pub struct Standings {
    failed: Marks,
    succeeded: Marks,
    rings: AtomicBool,
    hasher: RandomState,
}

impl Default for Standings {
    fn default() -> Self {
        Self {
            failed: Marks::new(),
            succeeded: Marks::new(),
            rings: AtomicBool::new(false),
            hasher: RandomState::new(),
        }
    }
}

impl Standings {
    /// How a network stands, where that is certain.
    pub fn look(&self, network: Network, now: Timestamp) -> Option<Standing> {
        let may_have_failed = |network| self.failed.may_be(self.place(network), NAMES_WINDOW, now);
        let is_certain = if self.rings.load(Ordering::Relaxed) {
            !self.succeeded.may_be(self.place(network), KNOWN_FOR, now)
        } else {
            !may_have_failed(network) && !site_of(network).is_some_and(may_have_failed)
        };
        is_certain.then(|| Standing { recently_failing: self.rings.load(Ordering::Relaxed) })
    }

    /// The owner has taken down how a log-in ended; `rings` says whether the alarm rings since.
    pub(super) fn note(&self, network: Network, outcome: Outcome, rings: bool, now: Timestamp) {
        match outcome {
            Outcome::Succeeded => self.succeeded.set(self.place(network), now),
            Outcome::Mistyped => {}
            Outcome::Failed => {
                let both = [Some(network), site_of(network)];
                both.into_iter().flatten().for_each(|network| self.failed.set(self.place(network), now));
            }
        }
        self.rings.store(rings, Ordering::Relaxed);
    }

    fn place(&self, network: Network) -> usize {
        self.hasher.hash_one(network) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::account::NameKey;
    use crate::stuffing::{Stuffing, Tried};

    fn network(number: u16) -> Network {
        let address = if number.is_multiple_of(2) {
            std::net::Ipv4Addr::from_bits(u32::from(number) << 8).into()
        } else {
            // Some links of few sites.
            let (site, link) = (u128::from(number % 5), u128::from(number));
            std::net::IpAddr::V6(std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | site << 80 | link << 64))
        };
        Network::of(address)
    }

    fn both(steps: &[(u16, u8, u8, u64)]) -> (Stuffing, Standings, Timestamp) {
        let (mut stuffing, standings) = (Stuffing::default(), Standings::default());
        let mut now = Timestamp::from_secs(1_800_000_000);
        for (from, name, how, millis) in steps {
            now = now + Duration::from_millis(*millis);
            let outcome = match how % 8 {
                0 | 1 => Outcome::Succeeded,
                2 => Outcome::Mistyped,
                _ => Outcome::Failed,
            };
            let (network, name) = (network(*from), NameKey([*name; 16]));
            stuffing.note(Tried { network, name, outcome }, now);
            standings.note(network, outcome, stuffing.rings(), now);
        }
        (stuffing, standings, now)
    }

    proptest! {
        #[test]
        fn what_is_certain_is_what_the_owner_would_say(
            steps in prop::collection::vec((0..300_u16, 0..60_u8, any::<u8>(), 0..40_000_u64), 0..300),
            later in prop::sample::select(vec![0_u64, 1, 999, 899_000, 899_999, 900_000, 86_399_999, 86_400_000]),
        ) {
            let (stuffing, standings, now) = both(&steps);
            let now = now + Duration::from_millis(later);
            for number in 0..300 {
                let network = network(number);
                if let Some(standing) = standings.look(network, now) {
                    prop_assert_eq!(standing, stuffing.look(network, now));
                }
            }
        }
    }

    #[test]
    fn a_network_that_was_never_seen_is_certain_unless_it_shares_a_place_or_site() {
        let steps: Vec<_> = (0..40).map(|n| (2 * n, n as u8, if n < 30 { 0 } else { 7 }, 1)).collect();
        let (_, standings, now) = both(&steps);
        let certain =
            |rings| (1000..2000).filter(|n| standings.look(network(2 * n), now) == Some(rings)).count();
        assert!(certain(Standing { recently_failing: false }) > 990);
        assert_eq!(standings.look(network(2 * 35), now), None);
        standings.note(network(0), Outcome::Mistyped, true, now);
        assert!(certain(Standing { recently_failing: true }) > 990);
        assert_eq!(standings.look(network(2 * 5), now), None);
    }
}
