//! A stored password, whatever system has hashed it.

use std::fmt;

use super::argon2::{self, Argon2};
use super::bcrypt::{self, Bcrypt};
use super::bounds::TEXT_BYTES_MAX;
use super::cost::ForeignCost;
use super::fault::{ForeignFault, SchemeName};
use super::pbkdf2::{self, Function, Pbkdf2};
use super::scrypt::{self, Scrypt};
use super::sha_crypt::{self, ShaCrypt};
use super::ssha::{self, FastDigest, Wrapped};
use crate::password::argon2id::Implementation;
use crate::password::cost::Cost;
use crate::password::phc::Phc;

/// A stored password.
#[derive(Clone, Debug)]
pub enum Stored {
    /// A hash like those that the server makes.
    Native(Phc),
    /// A fast digest of another system, hashed by argon2id.
    Wrapped(Wrapped),
    /// A hash of another system.
    Foreign(Foreign),
}

/// A hash of another system, within the bounds.
#[derive(Clone)]
pub struct Foreign(Scheme);

#[derive(Clone)]
enum Scheme {
    Argon2(Argon2),
    Bcrypt(Bcrypt),
    Scrypt(Scrypt),
    Pbkdf2(Pbkdf2),
    ShaCrypt(ShaCrypt),
}

/// The cost of a stored password, read without its salt and hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoredCost {
    /// Of a hash like those that the server makes.
    Native(Cost),
    /// Of argon2id around the digest of another system.
    Wrapped(Cost),
    /// Of a hash of another system.
    Foreign(ForeignCost),
}

/// What is stored of a hash that is imported.
#[derive(Clone)]
pub enum StoredHash {
    /// This text, as it is.
    Text(Box<str>),
    /// A fast digest, once [`HashPool::wrap`](crate::password::HashPool::wrap) has hashed it.
    Fast(FastDigest),
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "StoredHash({}..)", SchemeName::of(text)),
            Self::Fast(digest) => write!(f, "StoredHash({digest:?})"),
        }
    }
}

impl<T: Into<Foreign>> From<T> for StoredHash {
    fn from(hash: T) -> Self {
        Self::Text(hash.into().to_text().into())
    }
}

impl StoredHash {
    /// Reads a PHC string of argon2. Parameters that are neither cost nor pepper are refused: the hash would match nothing.
    pub(super) fn of_argon2(text: &str) -> Result<Self, ForeignFault> {
        if text.starts_with("$argon2id$v=19$") && text.contains(",keyid=") {
            return Stored::parse(text).map(|_| Self::Text(text.into()));
        }
        let hash = Argon2::parse(text)?;
        let text = hash.to_text();
        Stored::parse(&text).map(|_| Self::Text(text.into()))
    }
}

impl Stored {
    /// Reads a stored text.
    ///
    /// Errors: no text that is stored, or a cost out of bounds.
    /// Security: a stored or imported string must not make the server spend unbounded memory or time.
    pub fn parse(text: &str) -> Result<Self, ForeignFault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ForeignFault::form("password hash", "longer than 1,024 bytes"));
        }
        if text.starts_with("$argon2id$v=19$") {
            let wrong = "not a PHC string within the bounds of this server: m up to 256 MiB, t up to 10, p up to 4, a salt \
                         of 8 to 48 bytes, a hash of 16 to 64";
            return Phc::parse(text).map(Self::Native).map_err(|_| ForeignFault::form("argon2id", wrong));
        }
        if let Some(wrapped) = Wrapped::parse(text) {
            return Ok(Self::Wrapped(wrapped));
        }
        Foreign::parse(text).map(Self::Foreign)
    }
}

impl Stored {
    /// Returns the id of the pepper that the hash was made with, if it was.
    pub fn pepper(&self) -> Option<String> {
        match self {
            Self::Native(phc) => phc.pepper(),
            Self::Wrapped(wrapped) => wrapped.phc().pepper(),
            Self::Foreign(_) => None,
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let argon2id = |f: &mut fmt::Formatter<'_>, phc: &Phc| {
            let Cost { memory_kib, passes, lanes } = phc.cost();
            write!(f, "argon2id m={memory_kib},t={passes},p={lanes}")?;
            phc.pepper().map_or(Ok(()), |id| write!(f, ",pepper={id}"))
        };
        match self {
            Self::Native(phc) => argon2id(f, phc),
            Self::Wrapped(wrapped) => {
                write!(f, "{} in ", wrapped.name())?;
                argon2id(f, wrapped.phc())
            }
            Self::Foreign(foreign) => foreign.cost().fmt(f),
        }
    }
}

impl StoredCost {
    /// Returns the cost in a stored text; `None` if there is none within the bounds.
    pub fn of(text: &str) -> Option<Self> {
        if text.starts_with("$argon2id$v=19$") {
            return Cost::of_phc(text).map(Self::Native);
        }
        let name = text.get(1..)?.split('$').next()?;
        let cost = match name {
            "argon2d" | "argon2i" | "argon2id" => argon2::cost_of(text),
            "2a" | "2b" | "2y" | "wp" | "sha256hex" => bcrypt::cost_of(text),
            "scrypt" | "firebase-scrypt" => scrypt::cost_of(text),
            "pbkdf2-sha256" | "pbkdf2-sha512" => pbkdf2::cost_of(text),
            "5" | "6" => sha_crypt::cost_of(text),
            _ => return ssha::cost_of(text).map(Self::Wrapped),
        };
        cost.filter(|cost| cost.check().is_ok()).map(Self::Foreign)
    }
}

impl Foreign {
    /// Reads a text in one of the forms that are stored.
    pub(super) fn parse(text: &str) -> Result<Self, ForeignFault> {
        let name = text.strip_prefix('$').and_then(|rest| rest.split('$').next());
        let scheme = match name.unwrap_or_default() {
            "argon2d" | "argon2i" | "argon2id" => Scheme::Argon2(Argon2::parse(text)?),
            "2a" | "2b" | "2y" | "wp" | "sha256hex" => Scheme::Bcrypt(Bcrypt::parse(text)?),
            "scrypt" | "firebase-scrypt" => Scheme::Scrypt(Scrypt::parse(text)?),
            "pbkdf2-sha256" | "pbkdf2-sha512" => Scheme::Pbkdf2(Pbkdf2::parse(text)?),
            "5" | "6" => Scheme::ShaCrypt(ShaCrypt::parse(text)?),
            _ => return Err(ForeignFault::Unknown(SchemeName::of(text))),
        };
        Ok(Self(scheme))
    }

    /// Returns the text to be stored.
    pub(super) fn to_text(&self) -> String {
        match &self.0 {
            Scheme::Argon2(hash) => hash.to_text(),
            Scheme::Bcrypt(hash) => hash.to_text(),
            Scheme::Scrypt(hash) => hash.to_text(),
            Scheme::Pbkdf2(hash) => hash.to_text(),
            Scheme::ShaCrypt(hash) => hash.to_text(),
        }
    }

    /// Returns the cost of the hash.
    pub fn cost(&self) -> ForeignCost {
        match &self.0 {
            Scheme::Argon2(hash) => hash.cost(),
            Scheme::Bcrypt(hash) => hash.cost(),
            Scheme::Scrypt(hash) => hash.cost(),
            Scheme::Pbkdf2(hash) => hash.cost(),
            Scheme::ShaCrypt(hash) => hash.cost(),
        }
    }

    /// Says whether `password` matches. The comparison takes the same time wherever the hashes differ.
    pub(in crate::password) fn matches(&self, password: &[u8], implementation: &mut Implementation) -> bool {
        match &self.0 {
            Scheme::Argon2(hash) => hash.matches(password, implementation),
            Scheme::Bcrypt(hash) => hash.matches(password),
            Scheme::Scrypt(hash) => hash.matches(password),
            Scheme::Pbkdf2(hash) => hash.matches(password),
            Scheme::ShaCrypt(hash) => hash.matches(password),
        }
    }

    /// Says whether the system of the hash leaves out the end of `password`, so that others match that begin like it.
    pub(in crate::password) fn cuts(&self, password: &[u8]) -> bool {
        matches!(&self.0, Scheme::Bcrypt(hash) if hash.cuts(password))
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foreign({}, ..)", self.cost())
    }
}

impl From<Argon2> for Foreign {
    fn from(hash: Argon2) -> Self {
        Self(Scheme::Argon2(hash))
    }
}

impl From<Bcrypt> for Foreign {
    fn from(hash: Bcrypt) -> Self {
        Self(Scheme::Bcrypt(hash))
    }
}

impl From<Scrypt> for Foreign {
    fn from(hash: Scrypt) -> Self {
        Self(Scheme::Scrypt(hash))
    }
}

impl From<Pbkdf2> for Foreign {
    fn from(hash: Pbkdf2) -> Self {
        Self(Scheme::Pbkdf2(hash))
    }
}

/// Hashes `password` at `cost`, and drops the result: it takes the time of a check, and matches nothing.
pub(in crate::password) fn burn(cost: ForeignCost, password: &[u8], implementation: &mut Implementation) {
    match cost {
        ForeignCost::Argon2(variant, cost) => argon2::burn(variant, cost, password, implementation),
        ForeignCost::Bcrypt(log_rounds) => bcrypt::burn(log_rounds, password),
        ForeignCost::Scrypt(cost) => scrypt::burn(cost, password),
        ForeignCost::Pbkdf2Sha256(iterations) => pbkdf2::burn(Function::Sha256, iterations, password),
        ForeignCost::Pbkdf2Sha512(iterations) => pbkdf2::burn(Function::Sha512, iterations, password),
        ForeignCost::Sha256Crypt(rounds, salt) => sha_crypt::burn(false, rounds, salt, password),
        ForeignCost::Sha512Crypt(rounds, salt) => sha_crypt::burn(true, rounds, salt, password),
    }
}
