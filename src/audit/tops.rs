//! Who and whence: the accounts and the networks that the events of an attack name most often, for alerts.
//!
//! **The attack:** strangers send events of ever new networks and names, so that whoever counts them all runs out of
//! memory, and whoever keeps the newest forgets the one that matters.
//!
//! **The rule:** each event has a fixed number of places for accounts and for networks. One that has no place takes that
//! of the one with the smallest count, and goes on from there. Whoever causes more than one event in 32 has a place
//! for sure, and the count that is shown is never too high: what was counted before the place was taken is left out.
//!
//! Source: Space-Saving, A. Metwally and others, "Efficient Computation of Frequent and Top-k Elements in Data Streams",
//! 2005. Pure.

use super::event::{Cause, Event, Note};
use crate::value::network::Network;

/// Places for accounts, and as many for networks, of one event in one window.
const PLACES: usize = 32;
/// How many of them are shown.
const SHOWN: usize = 3;

/// The accounts and networks that one event named most often, the most frequent first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tops {
    /// The id and the masked address of accounts, and how often each was named.
    pub accounts: Vec<(Account, u64)>,
    /// Networks by the widest prefix that is limited, and how often an event came from each.
    pub networks: Vec<(Network, u64)>,
    /// How many events came from some network.
    pub from_networks: u64,
}

/// An account as the log names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The id.
    pub id: String,
    /// The masked address.
    pub email: String,
}

/// One place.
#[derive(Clone, Debug)]
struct Place<T> {
    of: T,
    count: u64,
    /// The part of the count that may be of others, who had the place before.
    inherited: u64,
}

/// The places of accounts or of networks.
#[derive(Clone, Debug)]
struct Places<T>(Vec<Place<T>>);

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone + PartialEq> Places<T> {
    /// Counts one event of the one that `is` recognises, who is made by `new` if it has no place yet.
    fn add(&mut self, is: impl Fn(&T) -> bool, new: impl FnOnce() -> T) {
        if let Some(place) = self.0.iter_mut().find(|place| is(&place.of)) {
            place.count += 1;
            return;
        }
        if self.0.len() < PLACES {
            self.0.push(Place { of: new(), count: 1, inherited: 0 });
            return;
        }
        if let Some(smallest) = self.0.iter_mut().min_by_key(|place| place.count) {
            *smallest = Place { of: new(), count: smallest.count + 1, inherited: smallest.count };
        }
    }

    /// Returns the most frequent of both, by the counts that are theirs for sure.
    fn top(&self, before: &Self) -> Vec<(T, u64)> {
        let mut all: Vec<(T, u64)> = Vec::new();
        for place in self.0.iter().chain(&before.0) {
            let own = place.count - place.inherited;
            match all.iter_mut().find(|(of, _)| *of == place.of) {
                Some((_, count)) => *count += own,
                None => all.push((place.of.clone(), own)),
            }
        }
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all.truncate(SHOWN);
        all
    }
}

/// The places of one event in one window.
#[derive(Clone, Debug, Default)]
struct Window {
    accounts: Places<Account>,
    networks: Places<Network>,
    /// How many events came from some network.
    from_networks: u64,
}

/// The places of every event, in this window and in the one before.
#[derive(Debug)]
pub(super) struct TopCounts {
    /// In the order of [`Event::ALL`].
    windows: Vec<[Window; 2]>,
}

impl Default for TopCounts {
    fn default() -> Self {
        Self { windows: Event::ALL.iter().map(|_| <[Window; 2]>::default()).collect() }
    }
}

/// Says whether alerts name who an event is about. Ordinary traffic has none.
pub(super) const fn is_watched(event: Event) -> bool {
    matches!(event.cause(), Cause::Stranger | Cause::AtAccount)
        || matches!(event, Event::RefreshReused | Event::EmailChangeUndone)
}

impl TopCounts {
    /// Counts the account and the network of an event.
    pub(super) fn add(&mut self, note: &Note) {
        if let Some([now, _]) = self.watched(note.event) {
            if note.names_account {
                let (id, email) = (&note.line.subject, &note.line.email);
                let new = || Account { id: id.clone(), email: email.clone() };
                now.accounts.add(|account| account.id == *id, new);
            }
            if let Some(network) = note.network {
                now.add_network(network);
            }
        }
    }

    /// Counts the network of an event that has no note.
    pub(super) fn add_network(&mut self, event: Event, network: Network) {
        if let Some([now, _]) = self.watched(event) {
            now.add_network(network);
        }
    }

    /// Begins a new window. What was counted in the last but one is forgotten.
    pub(super) fn turn(&mut self) {
        for [now, before] in &mut self.windows {
            *before = std::mem::take(now);
        }
    }

    /// Returns the most frequent accounts and networks of `event` in this window and the one before.
    pub(super) fn of(&self, event: Event) -> Tops {
        let Some([now, before]) = self.windows.get(event as usize) else { return Tops::default() };
        Tops {
            accounts: now.accounts.top(&before.accounts),
            networks: now.networks.top(&before.networks),
            from_networks: now.from_networks + before.from_networks,
        }
    }

    fn watched(&mut self, event: Event) -> Option<&mut [Window; 2]> {
        if is_watched(event) { self.windows.get_mut(event as usize) } else { None }
    }
}

impl Window {
    fn add_network(&mut self, network: Network) {
        self.from_networks += 1;
        let widest = network.widest();
        self.networks.add(|known| *known == widest, || widest);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(number: u32) -> Network {
        Network::of(IpAddr::V4(Ipv4Addr::from_bits(number << 8)))
    }

    fn note(account: usize, from: u32) -> Note {
        let mut note = Note::new(Event::LoginFailed).from(network(from), "").about(&account);
        note.names_account = true;
        note.line.email = format!("{account}***@test.org");
        note
    }

    #[test]
    fn the_most_frequent_are_found_among_ever_new_ones_in_bounded_memory() {
        let mut tops = TopCounts::default();
        for round in 0..20_000 {
            // Two accounts in ten events each, from two networks, in a crowd that never comes twice.
            match round % 10 {
                0 => tops.add(&note(1, 1)),
                5 => tops.add(&note(2, 2)),
                _ => tops.add(&note(1000 + round, 1000 + round as u32)),
            }
        }
        let found = tops.of(Event::LoginFailed);
        let ids: Vec<&str> = found.accounts.iter().map(|(account, _)| account.id.as_str()).collect();
        assert_eq!(ids[..2], ["1", "2"]);
        assert_eq!(found.accounts[0].0.email, "1***@test.org");
        let networks: Vec<Network> = found.networks.iter().map(|(network, _)| *network).collect();
        assert_eq!(networks[..2], [network(1).widest(), network(2).widest()]);
        for count in found.accounts.iter().map(|(_, count)| *count) {
            assert!(count <= 2000, "a count that is too high: {count}");
        }
        assert!(found.accounts[1].1 > 1000, "{found:?}");
        let [now, before] = &tops.windows[Event::LoginFailed as usize];
        assert_eq!(now.accounts.0.len(), PLACES);
        assert_eq!(now.networks.0.len(), PLACES);
        assert!(before.accounts.0.is_empty());
    }

    #[test]
    fn what_is_two_windows_old_is_forgotten() {
        let mut tops = TopCounts::default();
        tops.add(&note(1, 1));
        tops.turn();
        tops.add(&note(1, 1));
        tops.add(&note(2, 2));
        assert_eq!(tops.of(Event::LoginFailed).accounts[0].1, 2);
        assert_eq!(tops.of(Event::LoginFailed).networks.len(), 2);
        tops.turn();
        assert_eq!(tops.of(Event::LoginFailed).accounts[0].1, 1);
        tops.turn();
        assert_eq!(tops.of(Event::LoginFailed), Tops::default());
        // Ordinary traffic takes no place.
        tops.add(&Note { event: Event::RefreshRotated, ..note(1, 1) });
        assert_eq!(tops.of(Event::RefreshRotated), Tops::default());
    }
}
