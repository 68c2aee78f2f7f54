//! PHC strings, the stored form of a password. The cost in a string is bounded before it is obeyed.

use std::fmt;

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

/// A parsed PHC string of argon2id with a bounded cost. `Debug` prints the cost alone.
#[derive(Clone)]
pub struct Phc {
    cost: Cost,
    /// The `keyid` of its pepper, if it has one.
    key_id: Option<String>,
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
        let key_id = read.params.get("keyid").map(|key_id| key_id.as_str().to_owned());
        Ok(Self { cost, key_id, salt: AsRef::<[u8]>::as_ref(&salt).to_vec(), hash: hash.as_bytes().to_vec() })
    }

    /// Returns the cost of the string.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Returns the id of its pepper, if it has one.
    pub fn pepper(&self) -> Option<String> {
        let id = Base64Unpadded::decode_vec(self.key_id.as_deref()?).ok()?;
        String::from_utf8(id).ok()
    }

    /// Says whether a hash made now by `implementation` at `cost` would have another cost or pepper.
    pub(super) fn is_outdated(&self, cost: Cost, implementation: &Implementation) -> bool {
        self.cost != cost || self.key_id.as_deref() != implementation.peppers().newest_key_id()
    }

    /// Replaces the cost. What matched before matches no longer.
    pub(super) fn with_cost(self, cost: Cost) -> Self {
        Self { cost, ..self }
    }

    /// Says whether `password` matches.
    ///
    /// Errors: a cost that argon2 refuses.
    /// Security: the comparison takes the same time wherever the hashes differ. Without its pepper a hash matches nothing,
    /// and costs the same work.
    pub(super) fn matches(
        &self,
        password: &[u8],
        implementation: &mut Implementation,
    ) -> Result<bool, PhcError> {
        let mut hash = Zeroizing::new(vec![0; self.hash.len()]);
        let peppers = implementation.peppers();
        let secret = peppers.secret(self.key_id.as_deref());
        implementation.fill_with(self.cost, password, &self.salt, secret.unwrap_or_default(), &mut hash)?;
        let is_equal: bool = hash.ct_eq(&self.hash).into();
        Ok(is_equal && secret.is_some())
    }
}

impl fmt::Debug for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phc({:?}, ..)", self.cost)
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
    let peppers = implementation.peppers();
    let key_id = peppers.newest_key_id();
    let secret = peppers.secret(key_id).ok_or(PhcError)?;
    implementation.fill_with(cost, password, &salt, secret, &mut hash)?;
    let Cost { memory_kib, passes, lanes } = cost;
    let key_id = key_id.map_or_else(String::new, |key_id| format!(",keyid={key_id}"));
    let salt = Base64Unpadded::encode_string(&salt);
    let hash = Base64Unpadded::encode_string(&hash);
    Ok(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}{key_id}${salt}${hash}"))
}

/// Returns a random PHC string at `cost`, which no password matches. Passwords for unknown names are checked against
/// it.
pub fn decoy(cost: Cost, random: &Random) -> Result<String, NoRandomness> {
    let Cost { memory_kib, passes, lanes } = cost;
    let salt = Base64Unpadded::encode_string(&random.bytes::<16>()?);
    let hash = Base64Unpadded::encode_string(&random.bytes::<HASH_BYTES>()?);
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
        let decoy = Phc::parse(&decoy(CHEAP, &Random::seeded(1)).unwrap()).unwrap();
        assert_eq!(decoy.matches(b"", &mut memory), Ok(false));
        assert_eq!(decoy.with_cost(larger).cost(), larger);
        assert_eq!(phc.clone().with_cost(larger).matches(b"correct horse", &mut memory), Ok(false));
    }

    #[test]
    fn a_hash_needs_its_own_pepper_and_an_older_one_is_outdated() {
        use std::sync::Arc;

        use crate::password::pepper::Peppers;
        let secret = "0123456789abcdef0123456789abcdef";
        let with = |text: &str| {
            Implementation::choose(crate::password::argon2id::Choice::Auto)
                .0
                .with_peppers(&Arc::new(Peppers::parse(text, "test").unwrap()))
        };
        let mut none = Implementation::reference();
        let mut first = with(&format!("p1 {secret}"));
        let mut both = with(&format!("p2 {secret}x\np1 {secret}"));
        let mut other = with(&format!("p1 {secret}y"));
        let plain = hash(b"correct horse", CHEAP, [1; 16], &mut none).unwrap();
        let text = hash(b"correct horse", CHEAP, [1; 16], &mut first).unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=64,t=1,p=1,keyid=cDE$"), "{text}");
        assert_ne!(plain.rsplit('$').next(), text.rsplit('$').next());
        let phc = Phc::parse(&text).unwrap();
        assert_eq!(phc.pepper().as_deref(), Some("p1"));
        assert_eq!(phc.matches(b"correct horse", &mut first), Ok(true));
        assert_eq!(phc.matches(b"correct horse", &mut both), Ok(true));
        assert_eq!(phc.matches(b"correct horsf", &mut both), Ok(false));
        assert_eq!(phc.matches(b"correct horse", &mut other), Ok(false));
        assert_eq!(phc.matches(b"correct horse", &mut none), Ok(false));
        assert_eq!(none.peppers().unknown(), 1);
        let plain = Phc::parse(&plain).unwrap();
        assert_eq!(plain.matches(b"correct horse", &mut both), Ok(true));
        let outdated =
            [phc.is_outdated(CHEAP, &first), phc.is_outdated(CHEAP, &both), plain.is_outdated(CHEAP, &both)];
        assert_eq!(outdated, [false, true, true]);
        assert!(!plain.is_outdated(CHEAP, &none));
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
