//! The table of cells: bounded, and without a scan on a request's path.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::cells::{CellKey, Cells, DEVICE, Located, Worth};
use super::gcra::{Cell, Policy, Throttled};
use super::suspects::{SUSPECT_COST, Suspects};
use crate::registry::throttle::class::{Class, Rate};
use crate::system::clock::Timestamp;
use crate::value::network::{Network, Width};

/// The settings of the rate limit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The rate of each class. A class that is absent is not limited.
    pub rates: Vec<(Class, Rate)>,
    /// Cells in the table.
    pub cells: usize,
    /// Networks that are not limited.
    pub exempt: Vec<IpNet>,
    /// Whether every network begins with at least half of its burst spent: the server has run before, and something of
    /// the minutes before this start is unknown.
    pub half_spent: bool,
}

/// The most networks that one request is charged to: its own and the wider ones around it.
const NETWORKS: usize = 3;

/// The charge of one request, so that it can be given back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Charge {
    cells: [Option<CellKey>; NETWORKS],
    cost: u32,
    taken: Timestamp,
}

/// A request that may go on.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// The charge, for a refund.
    pub charge: Charge,
    /// The state of its network's rate limit.
    pub standing: RateLimitState,
}

/// The values of the `RateLimit` headers. They are the same for known and unknown names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateLimitState {
    /// The class of the request.
    pub class: Class,
    /// Requests that pass at once after a pause.
    pub burst: u32,
    /// Seconds in which the whole burst comes back.
    pub window_secs: u64,
    /// Requests that would pass now.
    pub remaining: u32,
}

/// Shared cells of each class, for networks that find no place of their own nor one for a wider network. They keep a
/// full table from being a way around the limiter.
pub(super) const CROWD_CELLS: usize = 16;
/// How much all networks of one shared cell may do together, in multiples of one client.
pub(super) const CROWD_MULTIPLE: u32 = 16;

/// All cells of an engine.
pub struct Table {
    pub(super) cells: Cells,
    /// The shared cells, [`CROWD_CELLS`] of each class.
    pub(super) crowd: Vec<Cell>,
    pub(super) suspects: Suspects,
    pub(super) limits: Limits,
    pub(super) policies: Policies,
    pub(super) started: Timestamp,
}

/// The policy of each class and width, by their numbers, computed once. Widths are numbered from 1, and devices follow.
#[derive(Clone, Copy)]
pub(super) struct Policies([[Option<Policy>; DEVICE as usize + 1]; Class::ALL.len()]);

/// One request that is to be charged.
#[derive(Clone, Copy)]
struct Request {
    class: Class,
    rate: Rate,
    /// The client's network.
    own: Network,
    /// The cost, in requests.
    cost: u32,
    now: Timestamp,
}

/// The cell that judges a request in one of its networks.
#[derive(Clone, Copy)]
struct Judge {
    network: Network,
    cell: Cell,
    policy: Policy,
    /// The place of the network's own cell; `None` for a shared cell, because only cells over their limits are left.
    place: Option<Located>,
}

impl Table {
    /// Creates an empty table at `started`.
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

    /// Charges a request of `address` to its network and to the wider ones around it.
    ///
    /// Errors: [`Throttled`], with the wait; then nothing is charged.
    /// Security: a false refusal costs a client one wait; a false grant gives an attacker one guess.
    pub fn take(
        &mut self,
        class: Class,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Granted, (Throttled, RateLimitState)> {
        self.take_for(class, address, None, now)
    }

    /// Charges a request of `address` to `device`, or to its networks if there is none, or if the table has no place for
    /// the device.
    ///
    /// Errors: as [`Table::take`].
    pub fn take_for(
        &mut self,
        class: Class,
        address: IpAddr,
        device: Option<u64>,
        now: Timestamp,
    ) -> Result<Granted, (Throttled, RateLimitState)> {
        let Some(rate) = self.limits.rate(class) else {
            return Ok(Granted { charge: Charge::default(), standing: state_of(class, None, 0) });
        };
        if self.limits.exempt.iter().any(|network| network.contains(&address.to_canonical())) {
            let standing = state_of(class, Some(rate), rate.burst);
            return Ok(Granted { charge: Charge::default(), standing });
        }
        if let Some(granted) = device.and_then(|device| self.take_of_device(class, rate, device, now)) {
            return granted;
        }
        let own = Network::of(address);
        let request = Request { class, rate, own, cost: self.cost(class, own, now), now };
        // Ask every cell first and charge them afterwards: a refusal must leave everything as it was.
        let judges = self.judges(&request);
        let remaining =
            ask(&judges, &request).map_err(|throttled| (throttled, state_of(class, Some(rate), 0)))?;
        let cells = judges.map(|judge| self.charge(&judge?, &request));
        let charge = Charge { cells, cost: request.cost, taken: now };
        Ok(Granted { charge, standing: state_of(class, Some(rate), remaining) })
    }

    /// Charges a request to a known device. Returns `None` if the table has no place for its cell.
    fn take_of_device(
        &mut self,
        class: Class,
        rate: Rate,
        device: u64,
        now: Timestamp,
    ) -> Option<Result<Granted, (Throttled, RateLimitState)>> {
        let place = self.cells.locate(CellKey::of_device(class, device));
        let policies = self.policies;
        let policy = policies.get(place.key)?;
        let worth = |key, cell| policies.worth(key, cell, now);
        let cell = self.cells.find(place, now, worth).ok()?.unwrap_or_else(|| self.newcomer(policy));
        match cell.take(policy, 1, now) {
            Ok(after) => {
                let is_kept = self.cells.put(place, after, now, worth);
                let cells = [is_kept.then_some(place.key), None, None];
                let standing = state_of(class, Some(rate), after.remaining(policy, now));
                Some(Ok(Granted { charge: Charge { cells, cost: 1, taken: now }, standing }))
            }
            Err(throttled) => Some(Err((throttled, state_of(class, Some(rate), 0)))),
        }
    }

    /// Gives back the charge of one request, and nothing else.
    pub fn refund(&mut self, charge: Charge, now: Timestamp) {
        for key in charge.cells.into_iter().flatten() {
            let Some(policy) = self.policies.get(key) else { continue };
            self.cells.change(key, |cell| cell.refund(policy, charge.cost, charge.taken, now));
        }
    }

    /// Makes log-ins of `network`, and of those within it, cost more for an hour.
    pub fn suspect(&mut self, network: Network, now: Timestamp) {
        self.suspects.mark(network, now);
    }

    /// Returns how many cells gave way to others since the start.
    pub const fn evictions(&self) -> u64 {
        self.cells.evictions()
    }

    /// Returns how many networks have log-ins that cost more.
    pub fn suspects(&self) -> usize {
        self.suspects.count()
    }

    /// Returns the size of the cells in bytes, full or not.
    pub const fn bytes(&self) -> usize {
        self.cells.bytes() + self.crowd.len() * size_of::<Cell>()
    }

    /// Returns what a request of the network `own` costs.
    fn cost(&self, class: Class, own: Network, now: Timestamp) -> u32 {
        let is_suspect = || own.around().any(|network| self.suspects.is_marked(network, now));
        if class == Class::Login && is_suspect() { SUSPECT_COST } else { 1 }
    }

    /// Returns the cell that judges `request` in its own network and in each wider one.
    fn judges(&self, request: &Request) -> [Option<Judge>; NETWORKS] {
        let mut networks = request.own.around();
        std::array::from_fn(|_| networks.next().and_then(|network| self.judge(request, network)))
    }

    /// Returns the cell that judges `request` in `network`: the network's own cell, or the shared cell if `network` is
    /// the widest and finds no place. A narrower network without a place judges nothing.
    fn judge(&self, request: &Request, network: Network) -> Option<Judge> {
        let Request { class, rate, own, now, .. } = *request;
        let place = self.cells.locate(CellKey::new(class, network));
        let policy = self.policies.get(place.key)?;
        let worth = |key, cell| self.policies.worth_to(class, own, key, cell, now);
        if let Ok(found) = self.cells.find(place, now, worth) {
            let cell = found.unwrap_or_else(|| self.newcomer(policy));
            return Some(Judge { network, cell, policy, place: Some(place) });
        }
        if network != network.widest() {
            return None;
        }
        let cell = *self.crowd.get(self.crowd_of(class, network))?;
        Some(Judge { network, cell, policy: rate.times(CROWD_MULTIPLE)?, place: None })
    }

    /// Charges one cell that has let the request pass. Returns its key if it has a place of its own, where a refund
    /// finds it.
    fn charge(&mut self, judge: &Judge, request: &Request) -> Option<CellKey> {
        let Request { class, own, cost, now, .. } = *request;
        if let Some(place) = judge.place {
            // It has let this request pass at this time.
            let after = judge.cell.take(judge.policy, cost, now).unwrap_or(judge.cell);
            let policies = self.policies;
            if self.cells.put(place, after, now, |key, cell| policies.worth_to(class, own, key, cell, now)) {
                return Some(place.key);
            }
            // A narrower network of the same request took the last place.
            if judge.network != judge.network.widest() {
                return None;
            }
        }
        self.charge_crowd(request, judge.network);
        None
    }

    fn charge_crowd(&mut self, request: &Request, network: Network) {
        let at = self.crowd_of(request.class, network);
        let cell = self.crowd.get_mut(at);
        if let Some((cell, policy)) = cell.zip(request.rate.times(CROWD_MULTIPLE)) {
            *cell = cell.take(policy, 1, request.now).unwrap_or(*cell);
        }
    }

    /// Returns which cell of the crowd a network shares. The hash is keyed anew in each process, so that an attacker
    /// cannot choose networks which spend the cell of a victim's; after a restart other networks share what is owed.
    fn crowd_of(&self, class: Class, network: Network) -> usize {
        class as usize * CROWD_CELLS + self.cells.spread(network.bits, CROWD_CELLS)
    }

    /// Returns the cell of a network that has none yet.
    pub(super) fn newcomer(&self, policy: Policy) -> Cell {
        if self.limits.half_spent { Cell::half_spent(policy, self.started) } else { Cell::default() }
    }
}

/// Asks every cell whether the request may pass. Returns how many more would pass after it, by the strictest cell.
///
/// Errors: the longest wait of all cells that refuse.
fn ask(judges: &[Option<Judge>], request: &Request) -> Result<u32, Throttled> {
    let mut remaining = request.rate.burst;
    let mut wait = Duration::ZERO;
    for judge in judges.iter().flatten() {
        match judge.cell.take(judge.policy, request.cost, request.now) {
            Ok(after) => remaining = remaining.min(after.remaining(judge.policy, request.now)),
            Err(throttled) => wait = wait.max(throttled.wait),
        }
    }
    if wait.is_zero() { Ok(remaining) } else { Err(Throttled { wait }) }
}

impl Limits {
    pub(super) fn rate(&self, class: Class) -> Option<Rate> {
        self.rates.iter().find(|(known, _)| *known == class).map(|(_, rate)| *rate)
    }
}

impl Policies {
    fn of(limits: &Limits) -> Self {
        Self(Class::ALL.map(|class| {
            let rate = limits.rate(class);
            std::array::from_fn(|number| {
                if number == usize::from(DEVICE) {
                    return rate?.times(1);
                }
                let width = Width::ALL.into_iter().find(|width| *width as usize == number)?;
                rate?.times(width.multiple())
            })
        }))
    }

    pub(super) fn get(&self, key: CellKey) -> Option<Policy> {
        let (class, width) = key.kind();
        self.0.get(class)?.get(width).copied().flatten()
    }

    /// Returns the worth of a cell to a request of the network `own`, whose networks do not take each other's places.
    fn worth_to(&self, class: Class, own: Network, key: CellKey, cell: Cell, now: Timestamp) -> Worth {
        let is_its_own = own.around().any(|network| CellKey::new(class, network) == key);
        if is_its_own { Worth::Spent } else { self.worth(key, cell, now) }
    }

    pub(super) fn worth(&self, key: CellKey, cell: Cell, now: Timestamp) -> Worth {
        match self.get(key) {
            Some(policy) if cell.is_spent(policy, now) => Worth::Spent,
            Some(policy) => Worth::Left(cell.free_share(policy, now)),
            // The class is no longer limited.
            None => Worth::Left(u32::MAX),
        }
    }
}

fn state_of(class: Class, rate: Option<Rate>, remaining: u32) -> RateLimitState {
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
    fn each_wider_network_has_its_multiple() {
        for (addresses, most) in [
            (["192.0.2.1", "192.0.2.2"], 8 * 20),
            // Links of one home, and homes of one site.
            (["2001:db8:1:100::1", "2001:db8:1:1ff::1"], 4 * 20),
            (["2001:db8:2:100::1", "2001:db8:2:200::1"], 16 * 20),
        ] {
            // Each client has a burst of its own, so many of them are needed to spend that of the wider one.
            let [first, last] = addresses.map(|address| address.parse::<IpAddr>().unwrap());
            let mut table = table(10_000, false);
            let clients = (0..100_u32).map(|number| match (first, last) {
                (IpAddr::V4(first), _) => IpAddr::V4((first.to_bits() + number).into()),
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    let step =
                        if last.to_bits() - first.to_bits() >= 1 << 72 { 1_u128 << 72 } else { 1 << 64 };
                    IpAddr::V6((first.to_bits() + u128::from(number) * step).into())
                }
                _ => unreachable!(),
            });
            let passed = clients.flat_map(|client| std::iter::repeat_n(client, 30));
            let passed = passed.filter(|client| table.take(Class::Login, *client, NOW).is_ok()).count();
            assert_eq!(passed, most, "{addresses:?}");
        }
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
        let (throttled, state) = table.take(Class::Login, address, NOW).unwrap_err();
        assert_eq!(throttled.wait, Duration::from_secs(3));
        assert_eq!(state.remaining, 0);
        assert_eq!(state.window_secs, 60);
    }

    #[test]
    fn a_full_table_keeps_networks_over_their_limit() {
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
    fn when_only_spent_cells_are_left_new_networks_share_a_limit() {
        let mut table = table(8, false);
        for host in 0..8 {
            passed(&mut table, (0..30).map(|_| format!("192.0.{host}.1")));
        }
        // 20,000 separate networks: without places of their own they use the shared cells.
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

    #[test]
    fn a_device_has_a_limit_of_its_own_and_neither_pays_for_its_network_nor_eightfold() {
        let mut table = table(10_000, false);
        let address = "192.0.2.1";
        passed(&mut table, (0..100).map(|_| address.into()));
        table.suspect(Network::of(address.parse().unwrap()), NOW);
        let mut take = |device| table.take_for(Class::Login, address.parse().unwrap(), device, NOW);
        assert!(take(None).is_err());
        assert_eq!((0..100).filter(|_| take(Some(7)).is_ok()).count(), 20);
        assert!(take(Some(8)).is_ok());
        let charge = take(Some(8)).unwrap().charge;
        table.refund(charge, NOW);
        let again = table.take_for(Class::Login, address.parse().unwrap(), Some(8), NOW).unwrap();
        assert_eq!(again.standing.remaining, 18);
        // Without a limit for the class there is none for devices.
        assert!(table.take_for(Class::Signup, address.parse().unwrap(), Some(7), NOW).is_ok());
    }

    #[test]
    fn a_device_that_finds_no_place_in_a_full_table_is_judged_by_its_network() {
        let mut table = table(8, false);
        for number in 0..40 {
            passed(&mut table, (0..40).map(|_| format!("{number}.1.1.1")));
        }
        let address = "192.0.2.1".parse().unwrap();
        let granted =
            (0..1000).filter(|device| table.take_for(Class::Login, address, Some(*device), NOW).is_ok());
        assert!(granted.count() <= 320 + 8 * 20);
    }

    proptest::proptest! {
        /// Invariant: under any number of new networks, a network that is over its limit stays over it until its time
        /// is up.
        #[test]
        fn no_flood_of_new_networks_makes_a_spent_one_forgotten(
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
    fn after_a_restart_every_network_begins_half_spent() {
        let mut table = table(1000, true);
        assert_eq!(passed(&mut table, (0..100).map(|_| "192.0.2.1".into())), 10);
    }
}
