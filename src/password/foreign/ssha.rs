//! Salted digests of directories: `{SSHA}`, `{SSHA256}` and `{SSHA512}`.
//!
//! They are made in less than a microsecond, so whoever copies them tries a billion passwords a second. They are therefore
//! not stored: argon2id hashes the digest when an account is imported, and what is stored is checked by the digest of the
//! password, hashed by argon2id.

use std::fmt;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use zeroize::Zeroizing;

use super::bounds::SALT_BYTES_MAX;
use super::fault::{ForeignFault, UNSALTED};
use super::fields::{decode, encode};
use crate::password::argon2id::Implementation;
use crate::password::cost::{Cost, PhcError};
use crate::password::phc::{Phc, hash};

const PREFIX: &str = "$wrapped-";

/// The digest of a password and a salt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Function {
    Sha1,
    Sha256,
    Sha512,
}

impl Function {
    const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "ssha",
            Self::Sha256 => "ssha256",
            Self::Sha512 => "ssha512",
        }
    }

    const fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
            Self::Sha512 => &SHA512,
        }
    }

    fn of(self, password: &[u8], salt: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut context = digest::Context::new(self.algorithm());
        context.update(password);
        context.update(salt);
        Zeroizing::new(context.finish().as_ref().to_vec())
    }
}

/// A digest that is to be hashed before it is stored.
#[derive(Clone)]
pub struct FastDigest {
    function: Function,
    salt: Vec<u8>,
    digest: Zeroizing<Vec<u8>>,
}

impl FastDigest {
    /// Reads what follows the name of a scheme, which is one of [`is_ssha`]: digest and salt, in base64.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, ForeignFault> {
        let wrong = |what| ForeignFault::form("{SSHA}", what);
        let function = Function::ALL.into_iter().find(|function| name.eq_ignore_ascii_case(function.name()));
        let function = function.ok_or(wrong("expected {SSHA}, {SSHA256} or {SSHA512}"))?;
        let length = function.algorithm().output_len();
        let mut digest = decode(text, length..=length + SALT_BYTES_MAX)
            .ok_or(wrong("expected digest and salt in base64"))?;
        let salt = digest.split_off(length);
        if salt.is_empty() {
            return Err(ForeignFault::Refused { scheme: "{SSHA} without a salt", why: UNSALTED });
        }
        Ok(Self { function, salt, digest: Zeroizing::new(digest) })
    }

    /// Returns the text to be stored: the digest, hashed at `cost` under `salt`.
    pub(in crate::password) fn wrap(
        &self,
        cost: Cost,
        salt: [u8; 16],
        implementation: &mut Implementation,
    ) -> Result<String, PhcError> {
        let phc = hash(&self.digest, cost, salt, implementation)?;
        Ok(format!("{PREFIX}{}${}{phc}", self.function.name(), encode(&self.salt)))
    }
}

impl fmt::Debug for FastDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FastDigest({}, ..)", self.function.name())
    }
}

/// Says whether `name` is that of a salted digest.
pub(super) fn is_ssha(name: &str) -> bool {
    Function::ALL.into_iter().any(|function| name.eq_ignore_ascii_case(function.name()))
}

/// A digest that argon2id has hashed.
#[derive(Clone, Debug)]
pub struct Wrapped {
    function: Function,
    salt: Vec<u8>,
    phc: Phc,
}

fn head(text: &str) -> Option<(Function, &str, &str)> {
    let (name, rest) = text.strip_prefix(PREFIX)?.split_once('$')?;
    let function = Function::ALL.into_iter().find(|function| name == function.name())?;
    let at = rest.find('$')?;
    let (salt, phc) = rest.split_at_checked(at)?;
    Some((function, salt, phc))
}

/// Returns the cost in a text, without reading salt and hash.
pub(super) fn cost_of(text: &str) -> Option<Cost> {
    head(text).and_then(|(_, _, phc)| Cost::of_phc(phc))
}

impl Wrapped {
    /// Reads a stored text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (function, salt, phc) = head(text)?;
        let salt = decode(salt, 1..=SALT_BYTES_MAX)?;
        Some(Self { function, salt, phc: Phc::parse(phc).ok()? })
    }

    /// Returns what argon2id has hashed for `password`.
    pub(in crate::password) fn digest(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        self.function.of(password, &self.salt)
    }

    /// Returns the hash of the digest.
    pub(in crate::password) const fn phc(&self) -> &Phc {
        &self.phc
    }

    /// Returns the name of the digest.
    pub const fn name(&self) -> &'static str {
        self.function.name()
    }
}
