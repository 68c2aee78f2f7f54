//! The bounded table of cells: room for so many, never more, and no scan on a request's path.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::gcra::{Cell, Policy, Throttled};
use super::network::networks;
use crate::clock::Timestamp;

/// What is throttled, each by a policy of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// Log-in.
    Login,
    /// Sign-up.
    Signup,
    /// Refresh.
    Refresh,
    /// Asking for a mail.
    Forgot,
    /// Setting a password with a mailed token.
    Reset,
    /// Proving an address.
    Verify,
    /// Lifting a lockout.
    Unlock,
    /// Checking a password of somebody who is logged in.
    Check,
}

impl Class {
    /// As it stands in headers and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Signup => "signup",
            Self::Refresh => "refresh",
            Self::Forgot => "forgot",
            Self::Reset => "reset",
            Self::Verify => "verify",
            Self::Unlock => "unlock",
            Self::Check => "check",
        }
    }
}

/// Burst and rate of one class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Requests at once.
    pub burst: u32,
    /// Then so many a minute.
    pub per_minute: u32,
}

impl Rate {
    fn times(self, multiple: u32) -> Option<Policy> {
        Policy::new(self.burst.saturating_mul(multiple), self.per_minute.saturating_mul(multiple))
    }
}

/// The numbers of the rule.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of each class.
    pub rates: Vec<(Class, Rate)>,
    /// Cells in the table.
    pub cells: usize,
    /// Networks that are not throttled.
    pub exempt: Vec<IpNet>,
    /// The server has run before, and nothing is known of the minutes before this start: everybody begins half spent.
    pub half_spent: bool,
}

/// What was charged, so that it can be given back.
#[derive(Clone, Debug, Default)]
pub struct Charge(Vec<(u64, Policy)>);

/// A request that may go on.
#[derive(Clone, Debug)]
pub struct Granted {
    /// What it was charged.
    pub charge: Charge,
    /// How the network stands.
    pub standing: Standing,
}

/// For the `RateLimit` headers: the same for known and unknown names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Of what.
    pub class: Class,
    /// Requests at once.
    pub burst: u32,
    /// Seconds in which the burst comes back.
    pub window_secs: u64,
    /// Requests that would pass now.
    pub remaining: u32,
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// Keyed hash of class and network; 0 is an empty place.
    key: u64,
    cell: Cell,
    /// The class' period times burst, to tell whether the cell is spent: in units of one request.
    policy: Option<Policy>,
}

const WAYS: usize = 8;

/// All cells of an engine: sets of eight places, one of which a network's key can be in.
pub struct Table {
    sets: Vec<[Place; WAYS]>,
    hasher: RandomState,
    limits: Limits,
    started: Timestamp,
    evictions: u64,
}

impl Table {
    /// Empty; takes all its memory now.
    pub fn new(limits: Limits, started: Timestamp) -> Self {
        let sets = vec![[Place::default(); WAYS]; (limits.cells / WAYS).max(1)];
        Self { sets, hasher: RandomState::new(), limits, started, evictions: 0 }
    }

    /// Charges a request of `address` to its network and the wider ones around it, or says how long to wait; then
    /// nothing is charged.
    ///
    /// Security: a false refusal costs a client one wait; a false grant gives an attacker one guess.
    pub fn take(
        &mut self,
        class: Class,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Granted, (Throttled, Standing)> {
        let rate = self.limits.rates.iter().find(|(known, _)| *known == class).map(|(_, rate)| *rate);
        let Some(rate) = rate else {
            return Ok(Granted { charge: Charge::default(), standing: standing(class, None, 0) });
        };
        let own = rate.times(1);
        if self.limits.exempt.iter().any(|network| network.contains(&address.to_canonical())) {
            let remaining = rate.burst;
            return Ok(Granted {
                charge: Charge::default(),
                standing: standing(class, Some(rate), remaining),
            });
        }
        let mut before = Vec::with_capacity(3);
        let mut charge = Vec::with_capacity(3);
        let mut remaining = rate.burst;
        for (network, multiple) in networks(address) {
            let Some(policy) = rate.times(multiple) else { continue };
            let key = self.hasher.hash_one((class, network)).max(1);
            // Only hot cells are left here: the newcomer is judged by its wider net.
            let Some(place) = self.place(key, now) else { continue };
            let cell = self.cell(place, key, policy);
            match cell.take(policy, now) {
                Ok(after) => {
                    if Some(policy) == own {
                        remaining = after.remaining(policy, now);
                    }
                    charge.push((key, policy));
                    // Put down at once, so that the next net of the same set does not take the same place.
                    if let Some(slot) = self.slot(place) {
                        let held = std::mem::replace(slot, Place { key, cell: after, policy: Some(policy) });
                        before.push((place, held));
                    }
                }
                Err(throttled) => {
                    for (place, held) in before.into_iter().rev() {
                        if let Some(slot) = self.slot(place) {
                            *slot = held;
                        }
                    }
                    return Err((throttled, standing(class, Some(rate), 0)));
                }
            }
        }
        Ok(Granted { charge: Charge(charge), standing: standing(class, Some(rate), remaining) })
    }

    /// Gives back what one request was charged, and nothing else.
    pub fn refund(&mut self, charge: Charge) {
        for (key, policy) in charge.0 {
            let set = self.set_of(key);
            let places = self.sets.get_mut(set).into_iter().flatten();
            for place in places.filter(|place| place.key == key) {
                place.cell = place.cell.refund(policy);
            }
        }
    }

    /// Cells that gave way to others since the start.
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    fn set_of(&self, key: u64) -> usize {
        (key % self.sets.len() as u64) as usize
    }

    fn slot(&mut self, (set, way): (usize, usize)) -> Option<&mut Place> {
        self.sets.get_mut(set)?.get_mut(way)
    }

    /// Where `key` is, or could be: an empty or idle place, else the one that is furthest from its limit; none when all
    /// eight are spent.
    fn place(&mut self, key: u64, now: Timestamp) -> Option<(usize, usize)> {
        let set = self.set_of(key);
        let places = self.sets.get(set)?;
        if let Some(way) = places.iter().position(|place| place.key == key) {
            return Some((set, way));
        }
        if let Some(way) = places.iter().position(|place| place.key == 0 || place.cell.is_idle(now)) {
            return Some((set, way));
        }
        let remaining =
            |place: &Place| place.policy.map_or(u32::MAX, |policy| place.cell.remaining(policy, now));
        let (way, _) =
            places.iter().enumerate().filter(|(_, p)| remaining(p) > 0).max_by_key(|(_, p)| remaining(p))?;
        self.evictions += 1;
        Some((set, way))
    }

    fn cell(&self, (set, way): (usize, usize), key: u64, policy: Policy) -> Cell {
        let held = self.sets.get(set).and_then(|places| places.get(way)).filter(|place| place.key == key);
        match held {
            Some(place) => place.cell,
            None if self.limits.half_spent => Cell::half_spent(policy, self.started),
            None => Cell::default(),
        }
    }
}

fn standing(class: Class, rate: Option<Rate>, remaining: u32) -> Standing {
    let rate = rate.unwrap_or(Rate { burst: 0, per_minute: 1 });
    let window = Duration::from_mins(1).saturating_mul(rate.burst) / rate.per_minute.max(1);
    Standing { class, burst: rate.burst, window_secs: window.as_secs().max(1), remaining }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn table(cells: usize, half_spent: bool) -> Table {
        let rates = vec![(Class::Login, Rate { burst: 20, per_minute: 20 })];
        let exempt = vec!["10.0.0.0/8".parse().unwrap()];
        Table::new(Limits { rates, cells, exempt, half_spent }, NOW)
    }

    fn passed(table: &mut Table, addresses: impl Iterator<Item = String>) -> usize {
        addresses.filter(|address| table.take(Class::Login, address.parse().unwrap(), NOW).is_ok()).count()
    }

    #[test]
    fn one_address_has_its_burst_and_many_of_one_net_share_the_wider_one() {
        let mut table = table(10_000, false);
        assert_eq!(passed(&mut table, (0..100).map(|_| "192.0.2.1".into())), 20);
        assert_eq!(passed(&mut table, (0..500).map(|n| format!("198.51.100.{}", n % 250))), 160);
        // An attacker with a /48 has 65,536 networks of /64, and still only the burst of a /48.
        assert_eq!(passed(&mut table, (0..2000).map(|n| format!("2001:db8:1:{n:x}::1"))), 320);
        assert_eq!(passed(&mut table, (0..100).map(|_| "10.1.2.3".into())), 100);
        assert_eq!(passed(&mut table, (0..100).map(|_| "::ffff:10.1.2.3".into())), 100);
    }

    #[test]
    fn a_success_gives_back_its_own_charge_and_no_more() {
        let mut table = table(10_000, false);
        let address = "192.0.2.1".parse().unwrap();
        for _ in 0..100 {
            let granted = table.take(Class::Login, address, NOW).unwrap();
            table.refund(granted.charge);
        }
        assert_eq!(passed(&mut table, (0..100).map(|_| "192.0.2.1".into())), 20);
        let (throttled, standing) = table.take(Class::Login, address, NOW).unwrap_err();
        assert_eq!(
            (throttled.wait, standing.remaining, standing.window_secs),
            (Duration::from_secs(3), 0, 60)
        );
    }

    #[test]
    fn a_full_table_keeps_those_who_are_over_their_limit() {
        let mut table = table(64, false);
        assert_eq!(passed(&mut table, (0..30).map(|_| "192.0.2.1".into())), 20);
        passed(&mut table, (0..20_000).map(|n| format!("100.{}.{}.{}", n / 250 % 250, n % 250, n / 62_500)));
        assert_eq!(passed(&mut table, (0..30).map(|_| "192.0.2.1".into())), 0);
        assert!(table.evictions() > 0);
    }

    #[test]
    fn networks_of_one_request_that_share_a_set_take_places_of_their_own() {
        for _ in 0..50 {
            let mut table = table(8, false);
            assert_eq!(passed(&mut table, (0..30).map(|_| "192.0.2.1".into())), 20);
            assert_eq!(passed(&mut table, (0..30).map(|_| "2001:db8::1".into())), 20);
        }
    }

    #[test]
    fn after_a_restart_everybody_begins_half_spent() {
        let mut table = table(1000, true);
        assert_eq!(passed(&mut table, (0..100).map(|_| "192.0.2.1".into())), 10);
    }
}
