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

use crate::password::{Cost, EqualCost};
use crate::value::account_name::NameKey;

/// Different costs that are counted apart. An operator changes the cost a few times in the life of an installation.
const COSTS_MAX: usize = 16;

/// How many stored hashes have which cost.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoredCosts {
    /// Each cost with how many hashes have it, in ascending order.
    counted: Vec<(Cost, u64)>,
    /// Hashes of further costs, and the dearest cost that one of them has had.
    others: u64,
    dearest_other: Option<Cost>,
}

impl StoredCosts {
    /// Counts a hash that is stored now.
    pub fn add(&mut self, phc: Option<&str>) {
        let Some(cost) = phc.and_then(Cost::of_phc) else { return };
        match self.counted.binary_search_by_key(&cost, |(cost, _)| *cost) {
            Ok(at) => {
                if let Some((_, count)) = self.counted.get_mut(at) {
                    *count += 1;
                }
            }
            Err(at) if self.counted.len() < COSTS_MAX => self.counted.insert(at, (cost, 1)),
            Err(_) => {
                self.others += 1;
                self.dearest_other =
                    self.dearest_other.into_iter().chain([cost]).max_by_key(|cost| cost.work());
            }
        }
    }

    /// Counts a hash no longer, which was counted before.
    pub fn remove(&mut self, phc: Option<&str>) {
        let Some(cost) = phc.and_then(Cost::of_phc) else { return };
        if let Ok(at) = self.counted.binary_search_by_key(&cost, |(cost, _)| *cost) {
            if let Some((_, count)) = self.counted.get_mut(at) {
                *count -= 1;
            }
            self.counted.retain(|(_, count)| *count > 0);
        } else {
            self.others = self.others.saturating_sub(1);
            self.dearest_other = self.dearest_other.filter(|_| self.others > 0);
        }
    }

    /// Returns the cost of checking a password of the name with the key `name`; `None` if no hash is stored.
    pub fn equal_cost(&self, name: NameKey) -> Option<EqualCost> {
        let all = || {
            self.counted
                .iter()
                .map(|(cost, count)| (*cost, *count))
                .chain(self.dearest_other.map(|cost| (cost, self.others)))
        };
        let dearest = all().map(|(cost, _)| cost).max_by_key(|cost| cost.work())?;
        let total: u64 = all().map(|(_, count)| count).sum();
        // The key is a keyed digest, so this is one of the hashes at random.
        let digest = name.0.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let mut chosen = u64::try_from((u128::from(digest) * u128::from(total)) >> 64).unwrap_or(0);
        let decoy = all().find(|(_, count)| {
            let is_chosen = chosen < *count;
            chosen = chosen.saturating_sub(*count);
            is_chosen
        });
        Some(EqualCost { decoy: decoy.map_or(dearest, |(cost, _)| cost), dearest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phc(memory_kib: u32) -> String {
        format!("$argon2id$v=19$m={memory_kib},t=2,p=1$c29tZXNhbHQ$bm8")
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
        assert_eq!(costs.equal_cost(name(1)), None);
        costs.add(Some(&phc(64)));
        assert_eq!(costs.equal_cost(name(1)), Some(EqualCost::of(cost(64))));
        costs.add(Some(&phc(256)));
        costs.add(None);
        costs.add(Some("garbage"));
        assert_eq!(costs.equal_cost(name(1)).unwrap().dearest, cost(256));
        costs.remove(Some(&phc(256)));
        costs.remove(Some("garbage"));
        assert_eq!(costs.equal_cost(name(1)), Some(EqualCost::of(cost(64))));
        costs.remove(Some(&phc(64)));
        assert_eq!(costs, StoredCosts::default());
    }

    #[test]
    fn names_without_a_hash_are_spread_like_the_hashes_and_each_stays_where_it_is() {
        let mut costs = StoredCosts::default();
        (0..75).for_each(|_| costs.add(Some(&phc(64))));
        (0..25).for_each(|_| costs.add(Some(&phc(256))));
        let decoy = |number| costs.equal_cost(name(number)).unwrap().decoy;
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
        assert_eq!(costs.counted.len(), COSTS_MAX);
        assert_eq!(costs.equal_cost(name(1)).unwrap().dearest, cost(320));
        for phc in &all {
            costs.remove(Some(phc));
        }
        assert_eq!(costs, StoredCosts::default());
    }
}
