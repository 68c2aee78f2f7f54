//! The cost of a hash, and its bounds.

/// Maximum cost that a stored or imported string may demand.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 10;
const LANES_MAX: u32 = 4;

/// The cost parameters of argon2id (RFC 9106 §3.1).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cost {
    /// Memory in KiB (`m`).
    pub memory_kib: u32,
    /// Number of passes over the memory (`t`).
    pub passes: u32,
    /// Degree of parallelism (`p`).
    pub lanes: u32,
}

impl Cost {
    /// The lowest cost that is safe (OWASP Password Storage Cheat Sheet).
    pub const SAFE: Self = Self { memory_kib: 19_456, passes: 2, lanes: 1 };

    /// Says whether the cost lies within what the server spends on one password.
    pub fn is_bounded(self) -> bool {
        (8 * self.lanes.max(1)..=MEMORY_KIB_MAX).contains(&self.memory_kib)
            && (1..=PASSES_MAX).contains(&self.passes)
            && (1..=LANES_MAX).contains(&self.lanes)
    }

    /// Returns the work of a hash: KiB filled in all passes.
    pub const fn work(self) -> u64 {
        self.memory_kib as u64 * self.passes as u64
    }

    /// Returns the cost in a PHC string of argon2id without reading salt and hash; `None` if there is none within the
    /// bounds.
    pub fn of_phc(text: &str) -> Option<Self> {
        let mut fields = text.strip_prefix("$argon2id$v=19$")?.split('$').next()?.split(',');
        let mut number = |name: &str| fields.next()?.strip_prefix(name)?.parse().ok();
        let cost = Self { memory_kib: number("m=")?, passes: number("t=")?, lanes: number("p=")? };
        cost.is_bounded().then_some(cost)
    }

    /// Returns the cost of a second hash with which one of this cost takes the work of `dearest`; `None` if it takes as
    /// much already. It fills no more memory than `dearest`.
    pub fn missing_to(self, dearest: Self) -> Option<Self> {
        let missing = dearest.work().saturating_sub(self.work());
        // The same number of passes, since the first pass of a hash is the cheapest.
        let memory_kib = u32::try_from(missing / u64::from(dearest.passes.max(1))).ok()?;
        let missing = Self { memory_kib, passes: dearest.passes, lanes: 1 };
        missing.is_bounded().then_some(missing)
    }
}

/// What every check of a password costs, so that its time says nothing about the account: neither whether it exists, nor
/// how long ago its password was set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EqualCost {
    /// The cost at which the password of a name without a hash is hashed. It is the cost of some stored hash.
    pub decoy: Cost,
    /// The dearest cost among the stored hashes. A cheaper check is padded to it by a second hash.
    pub dearest: Cost,
}

impl EqualCost {
    /// Returns the equal cost of hashes that all have the same.
    pub const fn of(cost: Cost) -> Self {
        Self { decoy: cost, dearest: cost }
    }
}

/// The string is not an argon2id PHC string, or its cost is out of bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an argon2id PHC string within the bounds of this server")]
pub struct PhcError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cheaper_hash_is_padded_to_the_work_of_the_dearest() {
        let costs =
            [(64, 1, 1), (19_456, 2, 1), (65_536, 2, 1), (65_536, 3, 2), (262_144, 10, 4), (32, 7, 4)];
        let costs = costs.map(|(memory_kib, passes, lanes)| Cost { memory_kib, passes, lanes });
        for dearest in costs {
            for cost in costs.into_iter().filter(|cost| cost.work() <= dearest.work()) {
                let missing = cost.missing_to(dearest);
                let work = cost.work() + missing.map_or(0, Cost::work);
                // Less than 8 KiB cannot be filled.
                assert!(work <= dearest.work() && dearest.work() - work < 8 * 10, "{cost:?} to {dearest:?}");
                assert!(missing.is_none_or(|missing| missing.memory_kib <= dearest.memory_kib));
            }
            assert_eq!(dearest.missing_to(dearest), None);
            assert_eq!(dearest.missing_to(costs[0]), None);
        }
    }

    #[test]
    fn a_cost_is_read_from_a_stored_string_and_bounded() {
        let of = |text: &str| Cost::of_phc(text).map(|cost| (cost.memory_kib, cost.passes, cost.lanes));
        assert_eq!(of("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$bm8"), Some((64, 1, 1)));
        assert_eq!(of("$argon2id$v=19$m=64,t=1,p=1,keyid=AAAA$c29tZXNhbHQ$bm8"), Some((64, 1, 1)));
        for other in
            ["", "$argon2i$v=19$m=64,t=1,p=1$a$b", "$argon2id$v=19$m=9999999,t=1,p=1$a$b", "$argon2id$v=19$"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
