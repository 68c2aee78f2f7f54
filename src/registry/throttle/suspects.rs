//! Networks whose log-ins cost more for a while, because of the log-ins that failed from them before (see the folder
//! `stuffing/`).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::system::clock::Timestamp;
use crate::value::network::Network;

/// The most networks that are marked at once. The one marked first gives way.
const SUSPECTS_MAX: usize = 65_536;
/// How long a mark lasts.
const MARKED_FOR: Duration = Duration::from_hours(1);
/// The least time between two marks of one network, so that it does not fill the queue.
const AGAIN_AFTER: Duration = Duration::from_mins(1);
/// The cost of a log-in from a marked network, in requests.
pub const SUSPECT_COST: u32 = 8;

/// The marked networks.
#[derive(Default)]
pub struct Suspects {
    until: HashMap<Network, Timestamp>,
    /// Marks in the order in which they end, since all last equally long.
    order: VecDeque<(Timestamp, Network)>,
}

impl Suspects {
    /// Marks `network` from `now` on.
    pub fn mark(&mut self, network: Network, now: Timestamp) {
        let until = now + MARKED_FOR;
        if self.until.get(&network).is_some_and(|marked| until.since(*marked) < AGAIN_AFTER) {
            return;
        }
        self.until.insert(network, until);
        self.order.push_back((until, network));
        while let Some((end, first)) = self.order.front().copied() {
            if end > now && self.order.len() <= SUSPECTS_MAX {
                break;
            }
            self.order.pop_front();
            // If the network was marked again since, its later mark is in the queue as well.
            if self.until.get(&first) == Some(&end) {
                self.until.remove(&first);
            }
        }
    }

    /// Returns the networks that are marked at `now`, each with the end of its mark.
    pub fn marked(&self, now: Timestamp) -> impl Iterator<Item = (Network, Timestamp)> {
        self.until.iter().filter(move |(_, until)| now < **until).map(|(network, until)| (*network, *until))
    }

    /// Restores a saved mark. It lasts no longer than a new one would. Marks must be restored in the order of their
    /// ends.
    pub fn restore(&mut self, network: Network, until: Timestamp, now: Timestamp) {
        let until = until.min(now + MARKED_FOR);
        if until > now && self.order.len() < SUSPECTS_MAX {
            self.until.insert(network, until);
            self.order.push_back((until, network));
        }
    }

    /// Says whether `network` is marked at `now`.
    pub fn is_marked(&self, network: Network, now: Timestamp) -> bool {
        self.until.get(&network).is_some_and(|until| now < *until)
    }

    /// Returns how many networks are remembered.
    pub fn count(&self) -> usize {
        self.until.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn network(number: u32) -> Network {
        Network::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_mark_lasts_an_hour_and_the_table_is_bounded() {
        let mut suspects = Suspects::default();
        suspects.mark(network(1), NOW);
        assert!(suspects.is_marked(network(1), NOW + MARKED_FOR - Duration::from_millis(1)));
        assert!(!suspects.is_marked(network(1), NOW + MARKED_FOR));
        assert!(!suspects.is_marked(network(2), NOW));
        for number in 0..200_000 {
            suspects.mark(network(number), NOW);
            suspects.mark(network(7), NOW);
        }
        assert!(suspects.count() <= SUSPECTS_MAX);
        assert!(suspects.order.len() <= SUSPECTS_MAX);
        assert!(suspects.is_marked(network(7), NOW));
        assert!(suspects.is_marked(network(199_999), NOW));
        assert!(!suspects.is_marked(network(8), NOW));
        assert_eq!(suspects.until.len(), suspects.order.len());
        suspects.mark(network(5), NOW + MARKED_FOR * 2);
        assert_eq!(suspects.count(), 1);
    }
}
