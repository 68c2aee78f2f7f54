//! What every check of a password costs while hashes of other systems are stored, whatever the name has.

use super::cost::ForeignCost;
use crate::password::cost::EqualCost;

/// What every check costs in one family of hashes of other systems.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EqualForeign {
    /// The cost at which the password of a name without a hash of the family is hashed. It is the cost of some stored hash.
    pub decoy: ForeignCost,
    /// The dearest cost of the family. A cheaper check is padded to it.
    pub dearest: ForeignCost,
}

/// What every check of a password costs, so that its time says nothing about the account: neither whether it exists, nor how
/// its password is stored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EqualWork {
    /// The cost of argon2id; `None` stands for that of new hashes.
    pub native: Option<EqualCost>,
    /// The cost of each family of which a hash is stored.
    pub foreign: Box<[EqualForeign]>,
    /// Whether some stored hash was made by another system, which hashed what was typed.
    pub tries_as_typed: bool,
}

/// One computation of a check beside argon2id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The comparison with the stored hash.
    Own,
    /// A computation whose result counts for nothing.
    Decoy(ForeignCost),
}

impl EqualWork {
    /// Returns the computations of a check of a name whose stored hash has the cost `own`; `None` if it has none of another
    /// system.
    ///
    /// Security: the work in each family is the same for every name.
    pub fn steps(&self, own: Option<ForeignCost>) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut rest = own;
        for EqualForeign { decoy, dearest } in &self.foreign {
            let is_own = |cost: &ForeignCost| cost.family() == dearest.family();
            let first = rest.take_if(|cost| is_own(cost));
            steps.push(first.map_or(Step::Decoy(*decoy), |_| Step::Own));
            let padding = first.unwrap_or(*decoy).missing_to(*dearest);
            steps.extend(padding.into_iter().map(Step::Decoy));
        }
        // A hash that is not counted among the stored ones, as that of a password that was replaced.
        steps.extend(rest.map(|_| Step::Own));
        steps
    }

    /// Returns roughly how many KiB argon2id would fill in the time of the steps of one form of a password.
    pub fn foreign_kib(&self) -> u64 {
        self.foreign.iter().map(|equal| equal.dearest.as_kib()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::foreign::cost::{Family, ScryptCost};

    /// Returns the work of `steps` in each family.
    fn work(steps: &[Step], own: Option<ForeignCost>) -> Vec<(Family, u64)> {
        let mut all: Vec<(Family, u64)> = Vec::new();
        for step in steps {
            let cost = match step {
                Step::Own => own.unwrap(),
                Step::Decoy(cost) => *cost,
            };
            match all.iter_mut().find(|(family, _)| *family == cost.family()) {
                Some((_, work)) => *work += cost.work(),
                None => all.push((cost.family(), cost.work())),
            }
        }
        all
    }

    #[test]
    fn every_name_has_the_same_computations_whatever_is_stored_for_it() {
        let scrypt = |log_n| ForeignCost::Scrypt(ScryptCost { log_n, r: 8, p: 1 });
        let stored = [
            ForeignCost::Bcrypt(4),
            ForeignCost::Bcrypt(7),
            scrypt(10),
            scrypt(12),
            ForeignCost::Pbkdf2Sha256(1_000),
            ForeignCost::Pbkdf2Sha256(29_000),
            ForeignCost::Sha512Crypt(5_000, 16),
        ];
        let family = |decoy, dearest| EqualForeign { decoy, dearest };
        for decoys in [[stored[0], stored[2], stored[4]], [stored[1], stored[3], stored[5]]] {
            let equal = EqualWork {
                native: None,
                foreign: Box::new([
                    family(decoys[0], stored[1]),
                    family(decoys[1], stored[3]),
                    family(decoys[2], stored[5]),
                    family(stored[6], stored[6]),
                ]),
                tries_as_typed: true,
            };
            let expected = vec![
                (Family::Bcrypt, 128),
                (Family::Scrypt, 8 << 12),
                (Family::Pbkdf2Sha256, 29_000),
                (Family::Sha512Crypt, 5_000),
            ];
            for own in [None].into_iter().chain(stored.map(Some)) {
                let steps = equal.steps(own);
                assert_eq!(work(&steps, own), expected, "{own:?}");
                let compared = steps.iter().filter(|step| **step == Step::Own).count();
                assert_eq!(compared, usize::from(own.is_some()));
            }
        }
    }

    #[test]
    fn without_a_hash_of_another_system_there_is_nothing_to_do() {
        assert_eq!(EqualWork::default().steps(None), []);
        assert_eq!(EqualWork::default().foreign_kib(), 0);
        // A replaced password, which is not counted.
        assert_eq!(EqualWork::default().steps(Some(ForeignCost::Bcrypt(10))), [Step::Own]);
    }
}
