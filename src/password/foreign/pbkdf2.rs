//! PBKDF2 (RFC 8018 §5.2) with HMAC-SHA-256 and HMAC-SHA-512.
//!
//! Only the first block of a longer hash is kept: its 32 or 64 bytes decide, and further blocks would cost whoever checks a
//! password, and nobody who guesses one.

use base64ct::{Base64, Encoding};
use pbkdf2::pbkdf2_hmac;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::bounds::{HASH_BYTES_MIN, SALT_BYTES_MAX};
use super::cost::ForeignCost;
use super::fault::{ForeignFault, OTHER_PBKDF2};
use super::fields::{decode, encode, number, parts};

/// Most bytes of a hash of which the first block is taken.
const LONG_HASH_BYTES_MAX: usize = 512;

/// The hash function of the HMAC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Function {
    Sha256,
    Sha512,
}

impl Function {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "pbkdf2-sha256",
            Self::Sha512 => "pbkdf2-sha512",
        }
    }

    /// Returns the bytes of a block.
    const fn block(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    const fn cost(self, iterations: u32) -> ForeignCost {
        match self {
            Self::Sha256 => ForeignCost::Pbkdf2Sha256(iterations),
            Self::Sha512 => ForeignCost::Pbkdf2Sha512(iterations),
        }
    }
}

/// A hash of PBKDF2.
#[derive(Clone)]
pub(super) struct Pbkdf2 {
    function: Function,
    iterations: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// Reads `$pbkdf2-sha256$i=600000$`, and returns what follows. PHC strings may also name the length of the hash; passlib
/// writes the bare number.
fn head(text: &str) -> Option<(Function, u32, &str)> {
    let (function, rest) = match text.strip_prefix("$pbkdf2-sha256$") {
        Some(rest) => (Function::Sha256, rest),
        None => (Function::Sha512, text.strip_prefix("$pbkdf2-sha512$")?),
    };
    let (iterations, rest) = rest.split_once('$')?;
    let iterations = match iterations.split_once(",l=") {
        Some((iterations, length)) => number(length).map(|_| iterations)?,
        None => iterations,
    };
    Some((function, number(iterations.strip_prefix("i=").unwrap_or(iterations))?, rest))
}

/// Returns the cost in a text, without reading salt and hash.
pub(super) fn cost_of(text: &str) -> Option<ForeignCost> {
    head(text).map(|(function, iterations, _)| function.cost(iterations))
}

impl Pbkdf2 {
    /// Reads a PHC string, or one of passlib.
    pub(super) fn parse(text: &str) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("PBKDF2", what);
        let (function, iterations, rest) =
            head(text).ok_or(wrong("expected $pbkdf2-sha256$i=…$salt$hash, or -sha512"))?;
        let [salt, hash] = parts(rest).ok_or(wrong("expected salt and hash behind the iterations"))?;
        let salt =
            decode(salt, 1..=SALT_BYTES_MAX).ok_or(wrong("the salt is not 1 to 128 bytes in base64"))?;
        Self::of(function, iterations, salt, hash)
    }

    /// Makes a hash of its parts, of which the hash is in base64.
    pub(super) fn of(
        function: Function,
        iterations: u32,
        salt: Vec<u8>,
        hash: &str,
    ) -> Result<Self, ForeignFault> {
        let hash = decode(hash, HASH_BYTES_MIN..=LONG_HASH_BYTES_MAX);
        let hash = hash.ok_or(ForeignFault::form("PBKDF2", "the hash is not 16 to 512 bytes in base64"))?;
        Self::of_bytes(function, iterations, salt, hash)
    }

    fn of_bytes(
        function: Function,
        iterations: u32,
        salt: Vec<u8>,
        mut hash: Vec<u8>,
    ) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("PBKDF2", what);
        function.cost(iterations).check()?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(wrong("the salt does not have 1 to 128 bytes"));
        }
        if hash.len() < HASH_BYTES_MIN {
            return Err(wrong("the hash has fewer than 16 bytes"));
        }
        hash.truncate(function.block());
        Ok(Self { function, iterations, salt, hash })
    }

    /// Reads the blob of ASP.NET Identity, version 3: a marker, the function, the iterations and the length of the salt in
    /// big endian, salt and hash; all in base64.
    pub(super) fn of_asp_net(text: &str) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("ASP.NET Identity", what);
        let blob = Base64::decode_vec(text).map_err(|_| wrong("not in base64"))?;
        let field = |at: usize| blob.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        let read = (blob.first() == Some(&1)).then_some(()).and_then(|()| {
            let salt_bytes = usize::try_from(field(9)?).ok().filter(|bytes| *bytes <= SALT_BYTES_MAX)?;
            let (salt, hash) = blob.get(13..)?.split_at_checked(salt_bytes)?;
            Some((field(1)?, field(5)?, salt.to_vec(), hash.to_vec()))
        });
        let (function, iterations, salt, hash) = read.ok_or(wrong("the blob of version 3 is damaged"))?;
        let function = match function {
            1 => Function::Sha256,
            2 => Function::Sha512,
            0 => return Err(ForeignFault::Refused { scheme: "ASP.NET Identity", why: OTHER_PBKDF2 }),
            _ => return Err(wrong("the hash function is not known")),
        };
        Self::of_bytes(function, iterations, salt, hash)
    }

    pub(super) fn to_text(&self) -> String {
        let (name, iterations) = (self.function.name(), self.iterations);
        format!("${name}$i={iterations}${}${}", encode(&self.salt), encode(&self.hash))
    }

    pub(super) const fn cost(&self) -> ForeignCost {
        self.function.cost(self.iterations)
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let mut hash = Zeroizing::new(vec![0; self.hash.len()]);
        compute(self.function, self.iterations, password, &self.salt, &mut hash);
        hash.ct_eq(&self.hash).into()
    }
}

fn compute(function: Function, iterations: u32, password: &[u8], salt: &[u8], out: &mut [u8]) {
    match function {
        Function::Sha256 => pbkdf2_hmac::<Sha256>(password, salt, iterations, out),
        Function::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, iterations, out),
    }
}

/// Hashes `password` with so many iterations, and drops the result.
pub(super) fn burn(function: Function, iterations: u32, password: &[u8]) {
    let mut hash = Zeroizing::new([0; 32]);
    compute(function, iterations, password, &[0; 16], &mut *hash);
    std::hint::black_box(&hash);
}
