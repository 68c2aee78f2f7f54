//! What the hashes of other systems, all together, add to every log-in, and the most that they may.
//!
//! **The attack:** each imported hash is within its bounds, but every log-in takes the work of the dearest of each kind: four
//! lines of an import make each log-in take a minute.
//!
//! **The rule:** the sum is bounded. A hash that would raise it above [`ADDED_KIB_MAX`] is refused by name, with the sum and
//! the bound. The estimate is the same on every machine, so a file that one server takes is taken by all.

use std::collections::BTreeMap;

use super::cost::Family;
use super::stored::StoredCost;
use crate::password::cost::Cost;

/// The most that a log-in takes for hashes of other systems beside one of our own, in KiB that argon2id would fill in that time.
///
/// It is that of bcrypt of cost 13 and a little more, or of PBKDF2 with a million iterations: what the programs of today make,
/// one kind or two. A core that fills a GiB in a second takes two seconds for it, and most are faster.
pub const ADDED_KIB_MAX: u64 = 2 * 1024 * 1024;

/// Why a hash is not stored: every log-in would take too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "too dear: with this hash stored, hashes of other systems would add the work of {kib} KiB of argon2id to every log-in, and \
     the most is {ADDED_KIB_MAX}; let its owner set a new password"
)]
pub struct TooDear {
    /// What they would add, in KiB.
    pub kib: u64,
}

impl TooDear {
    /// The code of the fault, for programs.
    pub const CODE: &'static str = "too_dear";
}

/// The work of the dearest hash of each kind, in KiB that argon2id would fill in its time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogInCost {
    native_kib: u64,
    foreign_kib: BTreeMap<Family, u64>,
}

impl LogInCost {
    /// Notes that a hash of this cost is stored.
    pub fn note(&mut self, cost: StoredCost) {
        let (dearest, kib) = match cost {
            StoredCost::Native(cost) | StoredCost::Wrapped(cost) => (&mut self.native_kib, cost.work()),
            StoredCost::Foreign(cost) => (self.foreign_kib.entry(cost.family()).or_default(), cost.as_kib()),
        };
        *dearest = kib.max(*dearest);
    }

    /// Notes all that `other` has noted.
    pub fn note_all(&mut self, other: &Self) {
        self.native_kib = self.native_kib.max(other.native_kib);
        for (family, kib) in &other.foreign_kib {
            let dearest = self.foreign_kib.entry(*family).or_default();
            *dearest = (*kib).max(*dearest);
        }
    }

    /// Returns what a log-in takes beside one hash of the cost `own`, which the server gives to new ones.
    pub fn added_kib(&self, own: Cost) -> u64 {
        let foreign = self.foreign_kib.values().fold(0, |sum: u64, kib| sum.saturating_add(*kib));
        foreign.saturating_add(self.native_kib.saturating_sub(own.work()))
    }

    /// Returns what a log-in takes, if new hashes have the cost `own`.
    pub fn kib(&self, own: Cost) -> u64 {
        self.added_kib(own).saturating_add(own.work())
    }

    /// Notes a hash that comes from another system, unless it makes log-ins too dear. One that makes them no dearer than they
    /// are is always taken.
    ///
    /// Errors: what all would add to a log-in is more than [`ADDED_KIB_MAX`].
    pub fn take(&mut self, cost: StoredCost, own: Cost) -> Result<(), TooDear> {
        let mut next = self.clone();
        next.note(cost);
        let kib = next.added_kib(own);
        if kib > ADDED_KIB_MAX && kib > self.added_kib(own) {
            return Err(TooDear { kib });
        }
        *self = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::argon2id::Variant;
    use crate::password::foreign::{ForeignCost, ScryptCost};

    const OWN: Cost = Cost::SAFE;

    /// The four of the attack: each is within its bounds.
    fn dearest() -> [StoredCost; 4] {
        let scrypt = ScryptCost { log_n: 18, r: 8, p: 2 };
        let argon2 = Cost { memory_kib: 256 * 1024, passes: 10, lanes: 1 };
        [
            StoredCost::Foreign(ForeignCost::Bcrypt(14)),
            StoredCost::Native(argon2),
            StoredCost::Foreign(ForeignCost::Scrypt(scrypt)),
            StoredCost::Foreign(ForeignCost::Pbkdf2Sha256(4_000_000)),
        ]
    }

    #[test]
    fn the_sum_of_all_kinds_stays_within_the_bound_in_whatever_order_they_come() {
        let kinds = [
            StoredCost::Foreign(ForeignCost::Bcrypt(12)),
            StoredCost::Foreign(ForeignCost::Scrypt(ScryptCost { log_n: 16, r: 8, p: 1 })),
            StoredCost::Foreign(ForeignCost::Pbkdf2Sha256(310_000)),
            StoredCost::Foreign(ForeignCost::Pbkdf2Sha512(120_000)),
            StoredCost::Foreign(ForeignCost::Sha512Crypt(5_000, 16)),
            StoredCost::Foreign(ForeignCost::Argon2(Variant::ID, Cost { memory_kib: 65_536, ..OWN })),
            StoredCost::Native(Cost { memory_kib: 262_144, passes: 3, lanes: 1 }),
        ];
        let all: Vec<StoredCost> = kinds.into_iter().chain(dearest()).collect();
        for first in 0..all.len() {
            let mut cost = LogInCost::default();
            let refused = all.iter().cycle().skip(first).take(all.len());
            let refused = refused.filter(|kind| cost.take(**kind, OWN).is_err()).count();
            assert!(cost.added_kib(OWN) <= ADDED_KIB_MAX, "from {first}: {cost:?}");
            assert!((4..all.len()).contains(&refused), "from {first}: {refused}");
        }
    }

    #[test]
    fn what_alone_makes_a_log_in_too_dear_is_refused_with_the_cost_and_the_bound() {
        for (cost, kib) in dearest().into_iter().zip([3_276_800, 2_582_528, 4_194_304, 8_000_000]) {
            let mut log_in = LogInCost::default();
            let refused = log_in.take(cost, OWN).unwrap_err();
            assert_eq!(refused, TooDear { kib });
            assert!(refused.to_string().contains(&format!("{kib} KiB")), "{refused}");
            assert!(refused.to_string().contains("the most is 2097152"), "{refused}");
            assert_eq!(log_in, LogInCost::default());
        }
    }

    #[test]
    fn what_programs_make_today_is_taken() {
        let one = |cost| LogInCost::default().take(StoredCost::Foreign(cost), OWN);
        for cost in [
            ForeignCost::Bcrypt(10),
            ForeignCost::Bcrypt(13),
            ForeignCost::Scrypt(ScryptCost { log_n: 14, r: 8, p: 1 }),
            ForeignCost::Scrypt(ScryptCost { log_n: 17, r: 8, p: 1 }),
            ForeignCost::Pbkdf2Sha256(1_000_000),
            ForeignCost::Pbkdf2Sha512(210_000),
            ForeignCost::Sha512Crypt(5_000, 16),
        ] {
            assert_eq!(one(cost), Ok(()), "{cost}");
        }
    }

    /// What was stored before the cost of our own hashes was lowered must not end every import.
    #[test]
    fn a_hash_that_makes_log_ins_no_dearer_is_taken_whatever_they_cost() {
        let mut log_in = LogInCost::default();
        log_in.note(StoredCost::Foreign(ForeignCost::Bcrypt(14)));
        assert!(log_in.added_kib(OWN) > ADDED_KIB_MAX);
        assert_eq!(log_in.take(StoredCost::Foreign(ForeignCost::Bcrypt(12)), OWN), Ok(()));
        assert_eq!(log_in.take(StoredCost::Native(OWN), OWN), Ok(()));
        assert!(log_in.take(StoredCost::Foreign(ForeignCost::Pbkdf2Sha256(1_000)), OWN).is_err());
    }
}
