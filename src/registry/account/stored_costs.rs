//! The costs of all stored hashes, counted, and what a check of a password must cost so that it takes the same work for
//! every name.
//!
//! **The attack:** the cost of a hash is raised. A hash that was stored before keeps its cost until its owner logs in, so
//! the time of a wrong password tells which names have an account.
//!
//! **The rule:** every check takes the work of the dearest stored hash; a cheaper one is padded by a second hash. Two
//! hashes of half the work do not take exactly the time of one, so a name without a hash behaves like one with a stored
//! hash: which one its key decides, in proportion to how many hashes have each cost. So a name without an account looks
//! like an account picked at random, and always like the same one.
//!
//! Hashes of other systems are counted by family, and as long as one of a family is stored, every check also takes the work
//! of the dearest of that family: a name without one is given a decoy of it, which its key picks in the same way.

use std::collections::BTreeMap;

use crate::password::foreign::{EqualForeign, Family, ForeignCost, LogInCost, StoredCost};
use crate::password::{Cost, EqualCost, EqualWork};
use crate::value::account_name::NameKey;

/// Different costs that are counted apart, among our own hashes and in each family of those of other systems. An operator
/// changes the cost a few times in the life of an installation.
const COSTS_MAX: usize = 16;

/// How many stored hashes have which cost.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoredCosts {
    native: Counted<Cost>,
    /// Hashes of other systems. There are as many families as the server knows.
    foreign: BTreeMap<Family, Counted<ForeignCost>>,
    /// How many of our own hashes are those of digests of other systems.
    wrapped: u64,
}

/// How many hashes of one kind have which cost.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Counted<C> {
    /// Each cost with how many hashes have it, in ascending order.
    by_cost: Vec<(C, u64)>,
    /// Hashes of further costs, and the dearest cost that one of them has had.
    others: u64,
    dearest_other: Option<C>,
}

/// A cost whose work can be compared with that of others of its kind.
trait Comparable: Copy + Ord {
    fn work(self) -> u64;
}

impl Comparable for Cost {
    fn work(self) -> u64 {
        Cost::work(self)
    }
}

impl Comparable for ForeignCost {
    fn work(self) -> u64 {
        ForeignCost::work(self)
    }
}

impl<C> Default for Counted<C> {
    fn default() -> Self {
        Self { by_cost: Vec::new(), others: 0, dearest_other: None }
    }
}

impl<C: Comparable> Counted<C> {
    fn add(&mut self, cost: C) {
        match self.by_cost.binary_search_by_key(&cost, |(cost, _)| *cost) {
            Ok(at) => {
                if let Some((_, count)) = self.by_cost.get_mut(at) {
                    *count += 1;
                }
            }
            Err(at) if self.by_cost.len() < COSTS_MAX => self.by_cost.insert(at, (cost, 1)),
            Err(_) => {
                self.others += 1;
                self.dearest_other =
                    self.dearest_other.into_iter().chain([cost]).max_by_key(|cost| cost.work());
            }
        }
    }

    fn remove(&mut self, cost: C) {
        if let Ok(at) = self.by_cost.binary_search_by_key(&cost, |(cost, _)| *cost) {
            if let Some((_, count)) = self.by_cost.get_mut(at) {
                *count -= 1;
            }
            self.by_cost.retain(|(_, count)| *count > 0);
        } else {
            self.others = self.others.saturating_sub(1);
            self.dearest_other = self.dearest_other.filter(|_| self.others > 0);
        }
    }

    fn is_empty(&self) -> bool {
        self.by_cost.is_empty() && self.others == 0
    }

    /// Returns each cost that is counted apart, and the dearest of the others.
    fn costs(&self) -> impl Iterator<Item = C> {
        self.by_cost.iter().map(|(cost, _)| *cost).chain(self.dearest_other)
    }

    /// Returns the cost of the hash that `digest` picks at random, and the dearest cost; `None` if no hash is stored.
    fn picked_and_dearest(&self, digest: u64) -> Option<(C, C)> {
        let all = || {
            self.by_cost
                .iter()
                .map(|(cost, count)| (*cost, *count))
                .chain(self.dearest_other.map(|cost| (cost, self.others)))
        };
        let dearest = all().map(|(cost, _)| cost).max_by_key(|cost| cost.work())?;
        let total: u64 = all().map(|(_, count)| count).sum();
        let mut chosen = u64::try_from((u128::from(digest) * u128::from(total)) >> 64).unwrap_or(0);
        let picked = all().find(|(_, count)| {
            let is_chosen = chosen < *count;
            chosen = chosen.saturating_sub(*count);
            is_chosen
        });
        Some((picked.map_or(dearest, |(cost, _)| cost), dearest))
    }
}

impl StoredCosts {
    /// Counts a hash that is stored now.
    pub fn add(&mut self, phc: Option<&str>) {
        match phc.and_then(StoredCost::of) {
            None => {}
            Some(StoredCost::Native(cost)) => self.native.add(cost),
            Some(StoredCost::Wrapped(cost)) => {
                self.native.add(cost);
                self.wrapped += 1;
            }
            Some(StoredCost::Foreign(cost)) => self.foreign.entry(cost.family()).or_default().add(cost),
        }
    }

    /// Counts a hash no longer, which was counted before.
    pub fn remove(&mut self, phc: Option<&str>) {
        match phc.and_then(StoredCost::of) {
            None => {}
            Some(StoredCost::Native(cost)) => self.native.remove(cost),
            Some(StoredCost::Wrapped(cost)) => {
                self.native.remove(cost);
                self.wrapped = self.wrapped.saturating_sub(1);
            }
            Some(StoredCost::Foreign(cost)) => {
                if let Some(counted) = self.foreign.get_mut(&cost.family()) {
                    counted.remove(cost);
                }
                self.foreign.retain(|_, counted| !counted.is_empty());
            }
        }
    }

    /// Returns how many hashes of other systems are stored, digests in argon2id included.
    pub fn foreign_count(&self) -> u64 {
        let counted = self
            .foreign
            .values()
            .map(|counted| counted.by_cost.iter().map(|(_, count)| count).sum::<u64>() + counted.others);
        counted.sum::<u64>() + self.wrapped
    }

    /// Returns the memory in KiB that a hashing thread needs for the dearest stored hash of each kind, if new hashes need
    /// `own_kib`. Threads keep the memory of argon2, and scrypt takes its own beside it.
    pub fn memory_kib(&self, own_kib: u32) -> u64 {
        let native = self.native.costs().map(|cost| u64::from(cost.memory_kib));
        let foreign = || self.foreign.values().flat_map(Counted::costs);
        let argon2 = foreign().filter_map(|cost| match cost {
            ForeignCost::Argon2(_, cost) => Some(u64::from(cost.memory_kib)),
            _ => None,
        });
        let scrypt = foreign().filter_map(|cost| match cost {
            ForeignCost::Scrypt(cost) => Some(cost.memory_kib()),
            _ => None,
        });
        native.chain(argon2).chain([u64::from(own_kib)]).max().unwrap_or(0) + scrypt.max().unwrap_or(0)
    }

    /// Returns what every log-in takes for the stored hashes.
    pub fn log_in_cost(&self) -> LogInCost {
        let native = self.native.costs().map(StoredCost::Native);
        let foreign = self.foreign.values().flat_map(Counted::costs).map(StoredCost::Foreign);
        let mut all = LogInCost::default();
        native.chain(foreign).for_each(|cost| all.note(cost));
        all
    }

    /// Returns the work of checking a password of the name with the key `name`.
    pub fn equal_work(&self, name: NameKey) -> EqualWork {
        // The key is a keyed digest, so it picks a hash at random. Each family reads it from another byte on: what it picks
        // in one says nothing about another.
        let digest = name.0.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let native = self.native.picked_and_dearest(digest);
        let foreign = self.foreign.iter().filter_map(|(family, counted)| {
            let (decoy, dearest) =
                counted.picked_and_dearest(digest.rotate_left(8 * (1 + *family as u32)))?;
            Some(EqualForeign { decoy, dearest })
        });
        let foreign: Box<[EqualForeign]> = foreign.collect();
        EqualWork {
            native: native.map(|(decoy, dearest)| EqualCost { decoy, dearest }),
            tries_as_typed: !foreign.is_empty() || self.wrapped > 0,
            foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phc(memory_kib: u32) -> String {
        format!("$argon2id$v=19$m={memory_kib},t=2,p=1$c29tZXNhbHQ$bm8")
    }

    fn native(costs: &StoredCosts, number: u32) -> Option<EqualCost> {
        costs.equal_work(name(number)).native
    }

    fn cost(memory_kib: u32) -> Cost {
        Cost { memory_kib, passes: 2, lanes: 1 }
    }

    fn name(number: u32) -> NameKey {
        NameKey(std::array::from_fn(|at| {
            let mixed = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17);
            mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes()[at % 8]
        }))
    }

    #[test]
    fn the_dearest_cost_is_that_of_a_hash_which_is_stored_now() {
        let mut costs = StoredCosts::default();
        assert_eq!(native(&costs, 1), None);
        costs.add(Some(&phc(64)));
        assert_eq!(native(&costs, 1), Some(EqualCost::of(cost(64))));
        costs.add(Some(&phc(256)));
        costs.add(None);
        costs.add(Some("garbage"));
        assert_eq!(native(&costs, 1).unwrap().dearest, cost(256));
        costs.remove(Some(&phc(256)));
        costs.remove(Some("garbage"));
        assert_eq!(native(&costs, 1), Some(EqualCost::of(cost(64))));
        costs.remove(Some(&phc(64)));
        assert_eq!(costs, StoredCosts::default());
    }

    #[test]
    fn names_without_a_hash_are_spread_like_the_hashes_and_each_stays_where_it_is() {
        let mut costs = StoredCosts::default();
        (0..75).for_each(|_| costs.add(Some(&phc(64))));
        (0..25).for_each(|_| costs.add(Some(&phc(256))));
        let decoy = |number| native(&costs, number).unwrap().decoy;
        let cheap = (0..10_000).filter(|number| decoy(*number) == cost(64)).count();
        assert!((7_200..7_800).contains(&cheap), "{cheap}");
        assert!((0..100).all(|number| decoy(number) == decoy(number)));
    }

    #[test]
    fn more_costs_than_are_counted_apart_are_counted_together() {
        let mut costs = StoredCosts::default();
        let all: Vec<String> = (1..=40).map(|n| phc(n * 8)).collect();
        for phc in &all {
            costs.add(Some(phc));
        }
        assert_eq!(costs.native.by_cost.len(), COSTS_MAX);
        assert_eq!(native(&costs, 1).unwrap().dearest, cost(320));
        for phc in &all {
            costs.remove(Some(phc));
        }
        assert_eq!(costs, StoredCosts::default());
    }

    const BCRYPT: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    const DEARER_BCRYPT: &str = "$wp$2y$12$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    const PBKDF2: &str = "$pbkdf2-sha256$i=600000$c2VhIHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

    #[test]
    fn a_family_costs_every_name_as_long_as_a_hash_of_it_is_stored() {
        let mut costs = StoredCosts::default();
        costs.add(Some(&phc(64)));
        let before = costs.equal_work(name(1));
        assert_eq!((before.foreign.len(), before.tries_as_typed), (0, false));
        costs.add(Some(BCRYPT));
        costs.add(Some(PBKDF2));
        costs.add(Some(DEARER_BCRYPT));
        // Neither a form of no system nor a cost out of bounds counts.
        costs.add(Some("$2b$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"));
        costs.add(Some("$new$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"));
        let equal = costs.equal_work(name(1));
        let dearest: Vec<ForeignCost> = equal.foreign.iter().map(|equal| equal.dearest).collect();
        assert_eq!(dearest, [ForeignCost::Bcrypt(12), ForeignCost::Pbkdf2Sha256(600_000)]);
        assert_eq!((equal.native, equal.tries_as_typed), (before.native, true));
        costs.remove(Some(DEARER_BCRYPT));
        assert_eq!(costs.equal_work(name(1)).foreign[0].dearest, ForeignCost::Bcrypt(10));
        costs.remove(Some(BCRYPT));
        costs.remove(Some(PBKDF2));
        assert_eq!(costs.equal_work(name(1)), before);
    }

    #[test]
    fn memory_is_that_of_the_dearest_argon2_and_the_dearest_scrypt_together() {
        let mut costs = StoredCosts::default();
        assert_eq!(costs.memory_kib(19_456), 19_456);
        costs.add(Some(BCRYPT));
        costs.add(Some(&phc(64)));
        assert_eq!(costs.memory_kib(19_456), 19_456);
        costs.add(Some(&phc(65_536)));
        assert_eq!(costs.memory_kib(19_456), 65_536);
        let scrypt = "$scrypt$ln=17,r=8,p=1$c2VhIHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        costs.add(Some(scrypt));
        assert_eq!(costs.memory_kib(19_456), 65_536 + 131_072);
        assert_eq!(costs.foreign_count(), 2);
        costs.remove(Some(scrypt));
        assert_eq!(costs.memory_kib(19_456), 65_536);
    }

    #[test]
    fn a_name_without_a_hash_of_a_family_is_like_one_that_has_one() {
        let mut costs = StoredCosts::default();
        (0..75).for_each(|_| costs.add(Some(BCRYPT)));
        (0..25).for_each(|_| costs.add(Some(DEARER_BCRYPT)));
        let decoy = |number| costs.equal_work(name(number)).foreign[0].decoy;
        let cheap = (0..10_000).filter(|number| decoy(*number) == ForeignCost::Bcrypt(10)).count();
        assert!((7_200..7_800).contains(&cheap), "{cheap}");
        assert!((0..100).all(|number| decoy(number) == decoy(number)));
    }

    #[test]
    fn the_digest_of_a_directory_costs_what_argon2id_around_it_costs() {
        let mut costs = StoredCosts::default();
        let wrapped = format!("$wrapped-ssha$c2VhIHNhbHQ{}", phc(64));
        costs.add(Some(&wrapped));
        let equal = costs.equal_work(name(1));
        assert_eq!((equal.native, equal.foreign.len()), (Some(EqualCost::of(cost(64))), 0));
        assert!(equal.tries_as_typed);
        costs.remove(Some(&wrapped));
        assert_eq!(costs, StoredCosts::default());
    }

    #[test]
    fn more_costs_of_a_family_than_are_counted_apart_are_counted_together() {
        let mut costs = StoredCosts::default();
        let text = |n: u32| PBKDF2.replacen("600000", &(n * 1_000).to_string(), 1);
        (1..=40).for_each(|n| costs.add(Some(&text(n))));
        assert_eq!(costs.foreign[&Family::Pbkdf2Sha256].by_cost.len(), COSTS_MAX);
        assert_eq!(costs.equal_work(name(1)).foreign[0].dearest, ForeignCost::Pbkdf2Sha256(40_000));
        (1..=40).for_each(|n| costs.remove(Some(&text(n))));
        assert_eq!(costs, StoredCosts::default());
    }
}
