//! PHC strings, the stored form of a password. The cost in a string is bounded before it is obeyed.

use argon2::Version;
use argon2::password_hash::phc::PasswordHash;
use base64ct::{Base64Unpadded, Encoding};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::argon2id::Implementation;
use crate::password::cost::{Cost, PhcError};
use crate::system::random::{NoRandomness, Random};

/// Length of a new hash in bytes.
const HASH_BYTES: usize = 32;

/// A parsed PHC string of argon2id with a bounded cost.
#[derive(Clone, Debug)]
pub struct Phc {
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Phc {
    /// Parses a string.
    ///
    /// Errors: another algorithm or version, a hash of less than 16 bytes, or a cost out of bounds.
    /// Security: a stored or imported string must not make the server spend unbounded memory or time.
    pub fn parse(text: &str) -> Result<Self, PhcError> {
        let read = PasswordHash::new(text).map_err(|_| PhcError)?;
        let number = |name: &str| read.params.get_decimal(name).ok_or(PhcError);
        let cost = Cost { memory_kib: number("m")?, passes: number("t")?, lanes: number("p")? };
        let argon2id = read.algorithm.as_str() == "argon2id" && read.version == Some(Version::V0x13.into());
        let (salt, hash) = read.salt.zip(read.hash).ok_or(PhcError)?;
        if !argon2id || !cost.is_bounded() || hash.len() < 16 {
            return Err(PhcError);
        }
        Ok(Self { cost, salt: AsRef::<[u8]>::as_ref(&salt).to_vec(), hash: hash.as_bytes().to_vec() })
    }

    /// Returns the cost of the string.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Returns a random hash, which no password matches. Passwords for unknown names are checked against it.
    pub(super) fn decoy(cost: Cost, random: &Random) -> Result<Self, NoRandomness> {
        let salt = random.bytes::<16>()?.to_vec();
        Ok(Self { cost, salt, hash: random.bytes::<HASH_BYTES>()?.to_vec() })
    }

    /// Returns the same hash under another cost. What matched it before matches no longer.
    pub(super) fn with_cost(&self, cost: Cost) -> Self {
        Self { cost, ..self.clone() }
    }

    /// Says whether `password` matches.
    ///
    /// Security: the comparison takes the same time wherever the hashes differ.
    pub(super) fn matches(
        &self,
        password: &[u8],
        implementation: &mut Implementation,
    ) -> Result<bool, PhcError> {
        let mut hash = Zeroizing::new(vec![0; self.hash.len()]);
        implementation.fill(self.cost, password, &self.salt, &mut hash)?;
        Ok(hash.ct_eq(&self.hash).into())
    }
}

/// Returns the PHC string of `password` at `cost` under `salt`.
pub(super) fn hash(
    password: &[u8],
    cost: Cost,
    salt: [u8; 16],
    implementation: &mut Implementation,
) -> Result<String, PhcError> {
    let mut hash = [0; HASH_BYTES];
    implementation.fill(cost, password, &salt, &mut hash)?;
    let Cost { memory_kib, passes, lanes } = cost;
    let salt = Base64Unpadded::encode_string(&salt);
    let hash = Base64Unpadded::encode_string(&hash);
    Ok(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

    #[test]
    fn a_password_matches_only_its_own_string_also_in_used_memory() {
        let mut memory = Implementation::reference();
        let text = hash(b"correct horse", CHEAP, [1; 16], &mut memory).unwrap();
        let phc = Phc::parse(&text).unwrap();
        assert_eq!(phc.cost(), CHEAP);
        let larger = Cost { memory_kib: 128, ..CHEAP };
        hash(b"other", larger, [2; 16], &mut memory).unwrap();
        assert_eq!(phc.matches(b"correct horse", &mut memory), Ok(true));
        assert_eq!(phc.matches(b"correct horsf", &mut memory), Ok(false));
        let decoy = Phc::decoy(CHEAP, &Random::seeded(1)).unwrap();
        assert_eq!(decoy.matches(b"", &mut memory), Ok(false));
        assert_eq!(decoy.with_cost(larger).cost(), larger);
        assert_eq!(phc.with_cost(larger).matches(b"correct horse", &mut memory), Ok(false));
    }

    #[test]
    fn the_reference_vector_of_argon2id_is_met() {
        // From the test program of the reference implementation: argon2id, v=19, t=2, m=2^8 KiB, p=1.
        let text = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(
            Phc::parse(text).unwrap().matches(b"password", &mut Implementation::reference()),
            Ok(true)
        );
    }

    #[test]
    fn strings_of_excessive_cost_or_another_algorithm_are_refused() {
        let text = hash(b"x", CHEAP, [1; 16], &mut Implementation::reference()).unwrap();
        for (from, to) in [
            ("m=64", "m=262145"),
            ("t=1", "t=11"),
            ("p=1", "p=5"),
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("m=64", "m=1"),
        ] {
            assert_eq!(Phc::parse(&text.replacen(from, to, 1)).err(), Some(PhcError), "{to}");
        }
    }
}
