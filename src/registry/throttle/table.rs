//! The bounded table of cells: room for so many, never more, and no scan on a request's path.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::cells::{CellKey, Cells, Located, Worth};
use super::gcra::{Cell, Policy, Throttled};
use super::suspects::{SUSPECT_COST, Suspects};
use crate::registry::throttle::class::{Class, Rate};
use crate::system::clock::Timestamp;
use crate::value::network::{Network, Width};

/// The numbers of the rule.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of each class.
    pub rates: Vec<(Class, Rate)>,
    /// Cells in the table.
    pub cells: usize,
    /// Networks that are not throttled.
    pub exempt: Vec<IpNet>,
    /// The server has run before, and not all is known of the minutes before this start: everybody begins half spent at
    /// least.
    pub half_spent: bool,
}

/// What was charged, so that it can be given back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Charge {
    cells: [Option<CellKey>; 3],
    cost: u32,
    taken: Timestamp,
}

/// A request that may go on.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// What it was charged.
    pub charge: Charge,
    /// How the network stands.
    pub standing: RateLimitState,
}

/// For the `RateLimit` headers: the same for known and unknown names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateLimitState {
    /// Of what.
    pub class: Class,
    /// Requests at once.
    pub burst: u32,
    /// Seconds in which the burst comes back.
    pub window_secs: u64,
    /// Requests that would pass now.
    pub remaining: u32,
}

/// Cells for those whose own and wider networks all find no place, so that a full table is no way around the limiter.
pub(super) const CROWD_CELLS: usize = 16;
/// What the crowd of one such cell may do together, in multiples of one client.
pub(super) const CROWD_MULTIPLE: u32 = 16;

/// All cells of an engine.
pub struct Table {
    pub(super) cells: Cells,
    /// Of each class, [`CROWD_CELLS`].
    pub(super) crowd: Vec<Cell>,
    pub(super) suspects: Suspects,
    pub(super) limits: Limits,
    pub(super) policies: Policies,
    pub(super) started: Timestamp,
}

/// The policy of each class and width, worked out once.
#[derive(Clone, Copy)]
pub(super) struct Policies([[Option<Policy>; 6]; 8]);

/// One cell as a request finds it.
#[derive(Clone, Copy)]
enum Found {
    /// By its own key, there or with room for it.
    Own(Located, Cell),
    /// Together with others, since only cells over their limits are left.
    Crowd(Cell),
}

impl Table {
    /// Empty; takes all its memory now.
    pub fn new(limits: Limits, started: Timestamp) -> Self {
        Self {
            cells: Cells::new(limits.cells),
            crowd: vec![Cell::default(); CROWD_CELLS * Class::ALL.len()],
            suspects: Suspects::default(),
            policies: Policies::of(&limits),
            limits,
            started,
        }
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
    ) -> Result<Granted, (Throttled, RateLimitState)> {
        let Some(rate) = self.limits.rate(class) else {
            return Ok(Granted { charge: Charge::default(), standing: standing(class, None, 0) });
        };
        if self.limits.exempt.iter().any(|network| network.contains(&address.to_canonical())) {
            let standing = standing(class, Some(rate), rate.burst);
            return Ok(Granted { charge: Charge::default(), standing });
        }
        let own = Network::of(address);
        let is_suspect = || own.around().any(|network| self.suspects.is_marked(network, now));
        let is_suspect = class == Class::Login && is_suspect();
        let cost = if is_suspect { SUSPECT_COST } else { 1 };
        // First all are asked, then all are charged: a refusal leaves everything as it was.
        let mut found: [Option<(Network, Found, Policy)>; 3] = [None; 3];
        let (mut wait, mut remaining) = (Duration::ZERO, rate.burst);
        for (at, network) in found.iter_mut().zip(own.around()) {
            let Some((found, policy)) = self.find(class, rate, own, network, now) else { continue };
            let (Found::Own(_, cell) | Found::Crowd(cell)) = found;
            match cell.take(policy, cost, now) {
                Ok(after) => remaining = remaining.min(after.remaining(policy, now)),
                Err(throttled) => wait = wait.max(throttled.wait),
            }
            *at = Some((network, found, policy));
        }
        if !wait.is_zero() {
            return Err((Throttled { wait }, standing(class, Some(rate), 0)));
        }
        let mut charge = Charge { cells: [None; 3], cost, taken: now };
        for (charged, (network, found, policy)) in charge.cells.iter_mut().zip(found.into_iter().flatten()) {
            let (Found::Own(_, cell) | Found::Crowd(cell)) = found;
            // It was just asked at the same time.
            let after = cell.take(policy, cost, now).unwrap_or(cell);
            let policies = self.policies;
            let worth = |key, cell| policies.worth_to(class, own, key, cell, now);
            match found {
                Found::Own(at, _) if self.cells.put(at, after, now, worth) => *charged = Some(at.key),
                // A narrower network of the same request took the last place.
                Found::Own(..) if network == network.widest() => self.charge_crowd(class, rate, network, now),
                Found::Own(..) => {}
                Found::Crowd(..) => self.charge_crowd(class, rate, network, now),
            }
        }
        Ok(Granted { charge, standing: standing(class, Some(rate), remaining) })
    }

    /// Gives back what one request was charged, and nothing else.
    pub fn refund(&mut self, charge: Charge, now: Timestamp) {
        for key in charge.cells.into_iter().flatten() {
            let Some(policy) = self.policies.get(key) else { continue };
            self.cells.change(key, |cell| cell.refund(policy, charge.cost, charge.taken, now));
        }
    }

    /// Lets the log-ins of a network, and of those within it, cost more for an hour.
    pub fn suspect(&mut self, network: Network, now: Timestamp) {
        self.suspects.mark(network, now);
    }

    /// Cells that gave way to others since the start.
    pub const fn evictions(&self) -> u64 {
        self.cells.evictions()
    }

    /// Networks whose log-ins cost more.
    pub fn suspects(&self) -> usize {
        self.suspects.count()
    }

    /// Bytes that the cells take, full or not.
    pub const fn bytes(&self) -> usize {
        self.cells.bytes() + self.crowd.len() * size_of::<Cell>()
    }

    /// What a request of `own` is judged by in `network` around it: its cell; for the widest one without a place, the
    /// crowd's.
    fn find(
        &self,
        class: Class,
        rate: Rate,
        own: Network,
        network: Network,
        now: Timestamp,
    ) -> Option<(Found, Policy)> {
        let at = self.cells.locate(CellKey::new(class, network));
        let policy = self.policies.get(at.key)?;
        let worth = |key, cell| self.policies.worth_to(class, own, key, cell, now);
        if let Ok(found) = self.cells.find(at, now, worth) {
            let cell = found.unwrap_or_else(|| self.newcomer(policy));
            return Some((Found::Own(at, cell), policy));
        }
        if network != network.widest() {
            return None;
        }
        Some((Found::Crowd(*self.crowd.get(crowd_of(class, network))?), rate.times(CROWD_MULTIPLE)?))
    }

    fn charge_crowd(&mut self, class: Class, rate: Rate, network: Network, now: Timestamp) {
        let cell = self.crowd.get_mut(crowd_of(class, network));
        if let Some((cell, policy)) = cell.zip(rate.times(CROWD_MULTIPLE)) {
            *cell = cell.take(policy, 1, now).unwrap_or(*cell);
        }
    }

    pub(super) fn newcomer(&self, policy: Policy) -> Cell {
        if self.limits.half_spent { Cell::half_spent(policy, self.started) } else { Cell::default() }
    }
}

fn crowd_of(class: Class, network: Network) -> usize {
    class as usize * CROWD_CELLS + (network.bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as usize
}

impl Limits {
    pub(super) fn rate(&self, class: Class) -> Option<Rate> {
        self.rates.iter().find(|(known, _)| *known == class).map(|(_, rate)| *rate)
    }
}

impl Policies {
    fn of(limits: &Limits) -> Self {
        let mut policies = [[None; 6]; 8];
        for (class, of_class) in Class::ALL.into_iter().zip(&mut policies) {
            for width in Width::ALL {
                if let Some(policy) = of_class.get_mut(width as usize) {
                    *policy = limits.rate(class).and_then(|rate| rate.times(width.multiple()));
                }
            }
        }
        Self(policies)
    }

    pub(super) fn get(&self, key: CellKey) -> Option<Policy> {
        let (class, width) = key.kind();
        self.0.get(class)?.get(width).copied().flatten()
    }

    /// As [`Policies::worth`] to a request of `own`: its networks do not take each other's places.
    fn worth_to(&self, class: Class, own: Network, key: CellKey, cell: Cell, now: Timestamp) -> Worth {
        let is_its_own = own.around().any(|network| CellKey::new(class, network) == key);
        if is_its_own { Worth::Spent } else { self.worth(key, cell, now) }
    }

    pub(super) fn worth(&self, key: CellKey, cell: Cell, now: Timestamp) -> Worth {
        match self.get(key) {
            Some(policy) if cell.is_spent(policy, now) => Worth::Spent,
            Some(policy) => Worth::Left(cell.free_share(policy, now)),
            // Of a class that is no longer throttled.
            None => Worth::Left(u32::MAX),
        }
    }
}

fn standing(class: Class, rate: Option<Rate>, remaining: u32) -> RateLimitState {
    let rate = rate.unwrap_or(Rate { burst: 0, per_minute: 1 });
    let window = Duration::from_mins(1).saturating_mul(rate.burst) / rate.per_minute.max(1);
    RateLimitState { class, burst: rate.burst, window_secs: window.as_secs().max(1), remaining }
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
            table.refund(granted.charge, NOW);
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
    fn when_only_spent_cells_are_left_newcomers_are_judged_together_and_not_let_through() {
        let mut table = table(8, false);
        for host in 0..8 {
            passed(&mut table, (0..30).map(|_| format!("192.0.{host}.1")));
        }
        // 20,000 networks of their own: without places for them they share what the crowd may do.
        let newcomers = passed(&mut table, (0..20_000).map(|n| format!("100.{}.{}.1", n / 250, n % 250)));
        assert!((320..=16 * 320).contains(&newcomers), "{newcomers}");
        assert_eq!(passed(&mut table, (0..30).map(|_| "192.0.0.1".into())), 0);
    }

    #[test]
    fn a_suspect_pays_eightfold_for_log_ins_and_others_do_not() {
        let mut table = table(10_000, false);
        table.suspect(Network::of("192.0.2.1".parse().unwrap()), NOW);
        assert_eq!(passed(&mut table, (0..30).map(|_| "192.0.2.1".into())), 2);
        assert_eq!(passed(&mut table, (0..30).map(|_| "192.0.2.2".into())), 20);
        let (wait, _) = table.take(Class::Login, "192.0.2.1".parse().unwrap(), NOW).unwrap_err();
        assert_eq!(wait.wait, Duration::from_secs(12));
    }

    proptest::proptest! {
        /// Invariant: however many newcomers come, a network that is over its limit stays over it until its time is up,
        /// and no network ever gets more than its burst at once while it is remembered.
        #[test]
        fn no_flood_of_newcomers_makes_a_spent_network_forgotten(
            flood in proptest::collection::vec(proptest::prelude::any::<u32>(), 0..400),
        ) {
            let mut table = table(64, false);
            passed(&mut table, (0..20).map(|_| "192.0.2.1".into()));
            for number in flood {
                let _ = table.take(Class::Login, std::net::Ipv4Addr::from_bits(number | 0x0100_0000).into(), NOW);
                proptest::prop_assert!(table.take(Class::Login, "192.0.2.1".parse().unwrap(), NOW).is_err());
            }
            let later = NOW + Duration::from_secs(3);
            proptest::prop_assert!(table.take(Class::Login, "192.0.2.1".parse().unwrap(), later).is_ok());
        }
    }

    #[test]
    fn after_a_restart_everybody_begins_half_spent() {
        let mut table = table(1000, true);
        assert_eq!(passed(&mut table, (0..100).map(|_| "192.0.2.1".into())), 10);
    }
}
