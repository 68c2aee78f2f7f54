//! The cost of a hash of another system: its bounds, and what pads a cheaper one to the dearest of its family.

use std::fmt;

use super::bounds;
use super::fault::{ForeignFault, bound};
use crate::password::argon2id::Variant;
use crate::password::cost::Cost;

/// Hashes of the same computation. One of a family can be padded to the work of another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// argon2i, argon2d, and argon2id of version 1.0.
    Argon2,
    /// bcrypt, in all its forms.
    Bcrypt,
    /// scrypt, and that of Firebase.
    Scrypt,
    /// PBKDF2 with HMAC-SHA-256.
    Pbkdf2Sha256,
    /// PBKDF2 with HMAC-SHA-512.
    Pbkdf2Sha512,
    /// SHA-256 crypt.
    Sha256Crypt,
    /// SHA-512 crypt.
    Sha512Crypt,
}

/// The cost parameters of scrypt (RFC 7914).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ScryptCost {
    /// Base-2 logarithm of N.
    pub log_n: u8,
    /// Block size.
    pub r: u32,
    /// Parallelism.
    pub p: u32,
}

impl ScryptCost {
    /// Returns the blocks that are filled: N · r · p.
    pub fn work(self) -> u64 {
        (1_u64.checked_shl(u32::from(self.log_n)).unwrap_or(u64::MAX))
            .saturating_mul(u64::from(self.r))
            .saturating_mul(u64::from(self.p))
    }

    /// Returns the memory in KiB.
    pub fn memory_kib(self) -> u64 {
        Self { p: 1, ..self }.work() / 8
    }
}

/// The cost of one hash, with all that its time depends on beside the password.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ForeignCost {
    /// Of another variant of argon2.
    Argon2(Variant, Cost),
    /// Of bcrypt: the base-2 logarithm of its rounds.
    Bcrypt(u32),
    /// Of scrypt.
    Scrypt(ScryptCost),
    /// Of PBKDF2-SHA256: its iterations.
    Pbkdf2Sha256(u32),
    /// Of PBKDF2-SHA512: its iterations.
    Pbkdf2Sha512(u32),
    /// Of SHA-256 crypt: its rounds, and the bytes of the salt, which each third round reads.
    Sha256Crypt(u32, u8),
    /// Of SHA-512 crypt: its rounds, and the bytes of the salt.
    Sha512Crypt(u32, u8),
}

impl ForeignCost {
    /// Returns the family of the hash.
    pub const fn family(self) -> Family {
        match self {
            Self::Argon2(..) => Family::Argon2,
            Self::Bcrypt(_) => Family::Bcrypt,
            Self::Scrypt(_) => Family::Scrypt,
            Self::Pbkdf2Sha256(_) => Family::Pbkdf2Sha256,
            Self::Pbkdf2Sha512(_) => Family::Pbkdf2Sha512,
            Self::Sha256Crypt(..) => Family::Sha256Crypt,
            Self::Sha512Crypt(..) => Family::Sha512Crypt,
        }
    }

    /// Returns the work of the hash, in a unit of its family.
    pub fn work(self) -> u64 {
        match self {
            Self::Argon2(_, cost) => cost.work(),
            Self::Bcrypt(log_rounds) => 1_u64.checked_shl(log_rounds).unwrap_or(u64::MAX),
            Self::Scrypt(cost) => cost.work(),
            Self::Pbkdf2Sha256(rounds)
            | Self::Pbkdf2Sha512(rounds)
            | Self::Sha256Crypt(rounds, _)
            | Self::Sha512Crypt(rounds, _) => u64::from(rounds),
        }
    }

    /// Returns roughly how many KiB argon2id would fill in the same time, rather too many than too few.
    pub fn as_kib(self) -> u64 {
        let for_one = match self.family() {
            Family::Argon2 | Family::Scrypt => 1,
            Family::Bcrypt => 200,
            Family::Pbkdf2Sha256 | Family::Pbkdf2Sha512 => 2,
            // With the longest password that is read.
            Family::Sha256Crypt | Family::Sha512Crypt => 6,
        };
        self.work().saturating_mul(for_one)
    }

    /// Checks that the cost lies within what the server spends on one password.
    pub fn check(self) -> Result<(), ForeignFault> {
        match self {
            Self::Argon2(_, cost) if cost.is_bounded() => Ok(()),
            Self::Argon2(..) => Err(ForeignFault::form(
                "argon2",
                "the cost is out of bounds: up to 256 MiB (m), 10 passes (t) and 4 lanes (p)",
            )),
            Self::Bcrypt(log_rounds) => {
                let bounds = (bounds::BCRYPT_LOG_ROUNDS_MIN.into(), bounds::BCRYPT_LOG_ROUNDS_MAX.into());
                bound("bcrypt", "the cost", log_rounds.into(), bounds)
            }
            Self::Scrypt(cost) => {
                let ScryptCost { log_n, r, p } = cost;
                bound("scrypt", "the logarithm of N", log_n.into(), (1, 30))?;
                bound("scrypt", "r", r.into(), (1, bounds::SCRYPT_R_MAX.into()))?;
                bound("scrypt", "p", p.into(), (1, bounds::SCRYPT_P_MAX.into()))?;
                let memory = (0, bounds::SCRYPT_MEMORY_KIB_MAX);
                bound("scrypt", "the memory in KiB", cost.memory_kib(), memory)?;
                let work = (bounds::SCRYPT_WORK_MIN, bounds::SCRYPT_WORK_MAX);
                bound("scrypt", "the work (N times r times p)", cost.work(), work)
            }
            Self::Pbkdf2Sha256(iterations) | Self::Pbkdf2Sha512(iterations) => {
                let bounds = (bounds::PBKDF2_ITERATIONS_MIN.into(), bounds::PBKDF2_ITERATIONS_MAX.into());
                bound("PBKDF2", "the number of iterations", iterations.into(), bounds)
            }
            Self::Sha256Crypt(rounds, _) | Self::Sha512Crypt(rounds, _) => {
                let bounds = (bounds::SHA_CRYPT_ROUNDS_MIN.into(), bounds::SHA_CRYPT_ROUNDS_MAX.into());
                bound("SHA-2 crypt", "the number of rounds", rounds.into(), bounds)
            }
        }
    }

    /// Returns the costs of further computations with which one of this cost takes the work of `dearest`, which is of the
    /// same family. None of them fills more memory than `dearest`.
    pub fn missing_to(self, dearest: Self) -> Vec<Self> {
        let missing = dearest.work().saturating_sub(self.work());
        if missing == 0 {
            return Vec::new();
        }
        let rounds = u32::try_from(missing).unwrap_or(u32::MAX);
        match (self, dearest) {
            (Self::Argon2(_, own), Self::Argon2(variant, cost)) => {
                own.missing_to(cost).map(|cost| Self::Argon2(variant, cost)).into_iter().collect()
            }
            // Twice as many rounds each time, the first ones as many as its own.
            (Self::Bcrypt(own), Self::Bcrypt(most)) => (own..most).map(Self::Bcrypt).collect(),
            (Self::Scrypt(_), Self::Scrypt(ScryptCost { log_n, r, .. })) => {
                let blocks = missing / u64::from(r.max(1));
                let whole = u32::try_from(blocks >> log_n).unwrap_or(0);
                let whole = (whole > 0).then_some(ScryptCost { log_n, r, p: whole });
                let bits = (4..log_n).rev().filter(|bit| blocks >> bit & 1 == 1);
                let rest = bits.map(|log_n| ScryptCost { log_n, r, p: 1 });
                whole.into_iter().chain(rest).map(Self::Scrypt).collect()
            }
            (Self::Pbkdf2Sha256(_), Self::Pbkdf2Sha256(_)) => vec![Self::Pbkdf2Sha256(rounds)],
            (Self::Pbkdf2Sha512(_), Self::Pbkdf2Sha512(_)) => vec![Self::Pbkdf2Sha512(rounds)],
            (Self::Sha256Crypt(..), Self::Sha256Crypt(_, salt)) => vec![Self::Sha256Crypt(rounds, salt)],
            (Self::Sha512Crypt(..), Self::Sha512Crypt(_, salt)) => vec![Self::Sha512Crypt(rounds, salt)],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for ForeignCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon2(variant, Cost { memory_kib, passes, lanes }) => {
                write!(f, "{variant} m={memory_kib},t={passes},p={lanes}")
            }
            Self::Bcrypt(log_rounds) => write!(f, "bcrypt cost={log_rounds}"),
            Self::Scrypt(ScryptCost { log_n, r, p }) => write!(f, "scrypt ln={log_n},r={r},p={p}"),
            Self::Pbkdf2Sha256(iterations) => write!(f, "pbkdf2-sha256 i={iterations}"),
            Self::Pbkdf2Sha512(iterations) => write!(f, "pbkdf2-sha512 i={iterations}"),
            Self::Sha256Crypt(rounds, _) => write!(f, "sha256-crypt rounds={rounds}"),
            Self::Sha512Crypt(rounds, _) => write!(f, "sha512-crypt rounds={rounds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrypt(log_n: u8, r: u32, p: u32) -> ForeignCost {
        ForeignCost::Scrypt(ScryptCost { log_n, r, p })
    }

    #[test]
    fn a_cheaper_hash_is_padded_to_the_work_of_the_dearest_of_its_family() {
        let argon2 = |memory_kib| ForeignCost::Argon2(Variant::ID, Cost { memory_kib, passes: 3, lanes: 1 });
        for (costs, rest) in [
            (vec![argon2(64), argon2(256), argon2(65_536)], 24),
            (vec![ForeignCost::Bcrypt(4), ForeignCost::Bcrypt(9), ForeignCost::Bcrypt(14)], 0),
            (vec![scrypt(14, 8, 1), scrypt(14, 8, 5), scrypt(17, 8, 1), scrypt(15, 8, 3)], 0),
            (vec![scrypt(11, 9, 1), scrypt(14, 8, 1), scrypt(10, 1, 1)], 16 * 8),
            (vec![ForeignCost::Pbkdf2Sha256(1_000), ForeignCost::Pbkdf2Sha256(600_000)], 0),
            (vec![ForeignCost::Pbkdf2Sha512(10_000), ForeignCost::Pbkdf2Sha512(210_000)], 0),
            (vec![ForeignCost::Sha256Crypt(5_000, 8), ForeignCost::Sha256Crypt(535_000, 16)], 0),
            (vec![ForeignCost::Sha512Crypt(5_000, 16), ForeignCost::Sha512Crypt(656_000, 16)], 0),
        ] {
            let dearest = *costs.iter().max_by_key(|cost| cost.work()).unwrap();
            for cost in costs {
                let missing = cost.missing_to(dearest);
                let work = cost.work() + missing.iter().map(|cost| cost.work()).sum::<u64>();
                assert!(work <= dearest.work() && dearest.work() - work <= rest, "{cost} to {dearest}");
                assert!(missing.iter().all(|cost| cost.family() == dearest.family()));
            }
            assert_eq!(dearest.missing_to(dearest), []);
        }
    }

    #[test]
    fn a_cost_out_of_bounds_is_refused_by_name() {
        let message = |cost: ForeignCost| cost.check().err().map(|fault| fault.to_string());
        for cost in [
            ForeignCost::Bcrypt(4),
            ForeignCost::Bcrypt(14),
            scrypt(18, 8, 1),
            scrypt(17, 8, 4),
            scrypt(10, 1, 1),
            ForeignCost::Pbkdf2Sha256(1_000),
            ForeignCost::Pbkdf2Sha512(4_000_000),
            ForeignCost::Sha512Crypt(1_000, 16),
            ForeignCost::Sha256Crypt(1_000_000, 16),
        ] {
            assert_eq!(message(cost), None, "{cost}");
        }
        for (cost, expected) in [
            (ForeignCost::Bcrypt(3), "bcrypt: the cost must be 4 to 14, and is 3"),
            (ForeignCost::Bcrypt(15), "bcrypt: the cost must be 4 to 14, and is 15"),
            (ForeignCost::Bcrypt(99), "bcrypt: the cost must be 4 to 14, and is 99"),
            (scrypt(19, 8, 1), "scrypt: the memory in KiB must be 0 to 262144, and is 524288"),
            (
                scrypt(18, 8, 3),
                "scrypt: the work (N times r times p) must be 1024 to 4194304, and is 6291456",
            ),
            (scrypt(31, 1, 1), "scrypt: the logarithm of N must be 1 to 30, and is 31"),
            (scrypt(255, 1, 1), "scrypt: the logarithm of N must be 1 to 30, and is 255"),
            (scrypt(14, 0, 1), "scrypt: r must be 1 to 64, and is 0"),
            (scrypt(10, 65, 1), "scrypt: r must be 1 to 64, and is 65"),
            (scrypt(10, 1, 17), "scrypt: p must be 1 to 16, and is 17"),
            (scrypt(9, 1, 1), "scrypt: the work (N times r times p) must be 1024 to 4194304, and is 512"),
            (
                ForeignCost::Pbkdf2Sha256(999),
                "PBKDF2: the number of iterations must be 1000 to 4000000, and is 999",
            ),
            (
                ForeignCost::Pbkdf2Sha512(4_000_001),
                "PBKDF2: the number of iterations must be 1000 to 4000000, and is 4000001",
            ),
            (
                ForeignCost::Sha256Crypt(999, 1),
                "SHA-2 crypt: the number of rounds must be 1000 to 1000000, and is 999",
            ),
            (
                ForeignCost::Sha512Crypt(1_000_001, 1),
                "SHA-2 crypt: the number of rounds must be 1000 to 1000000, and is 1000001",
            ),
        ] {
            assert_eq!(message(cost).as_deref(), Some(expected));
        }
    }
}
