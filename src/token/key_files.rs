//! The files that keys are kept in, sealed under the master key if there is one.
//!
//! A key file holds base64, or `SEALED` and base64 of the sealed key. Beside it, `<name>.from` says since when the key
//! is in use, in seconds since 1970. A second line holds a checksum of the first, so that a damaged file is not taken
//! for another key. A sealed key needs none, and files of earlier versions have none.

use std::io;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::master::{Master, MasterError, SEALED};
use crate::storage::{Storage, unlink_if_there, write_whole};
use crate::system::clock::Timestamp;
use crate::system::random::Random;

/// Suffix of a key file.
pub(super) const KEY: &str = ".key";
/// Suffix of the file that says since when a key is in use.
pub(super) const FROM: &str = ".from";

/// Before the checksum in the second line of a file.
const SUM: &str = "crc32c ";
/// No file was written before this time, which is the first with ten digits: a time with fewer was cut short.
const FIRST_SECS: u64 = 1_000_000_000;

/// Prefix and suffix of the empty file that remembers the use of a pepper. Its id stands between them.
const PEPPER: &str = "pepper-";
const USED: &str = ".used";

/// Returns the name of the file that remembers the use of the pepper `id`.
pub fn pepper_marker(id: &str) -> String {
    format!("{PEPPER}{id}{USED}")
}

/// How key files are stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sealing {
    /// Each is sealed.
    Sealed,
    /// At least one is not.
    Open,
    /// There is none.
    NoKeys,
}

/// The directory of key files.
#[derive(Clone)]
pub struct KeyFiles {
    storage: Arc<dyn Storage>,
    master: Option<Arc<Master>>,
    random: Arc<Random>,
}

impl KeyFiles {
    /// Describes the key files in `storage`. `random` makes keys, and nonces for sealed files.
    pub fn new(storage: Arc<dyn Storage>, master: Option<Master>, random: Arc<Random>) -> Self {
        Self { storage, master: master.map(Arc::new), random }
    }

    /// Returns the source of randomness.
    pub(super) fn random(&self) -> &Random {
        &self.random
    }

    /// Returns the directory.
    pub(super) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Says whether there is any key file. A directory that cannot be listed counts as one without.
    pub fn exist(&self) -> bool {
        self.names().is_ok_and(|names| !names.is_empty())
    }

    /// Returns the names of the key files.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.storage.list("")?;
        names.retain(|name| name.ends_with(KEY));
        names.sort_unstable();
        Ok(names)
    }

    /// Says how the key files are stored. Needs no master key.
    pub fn sealing(&self) -> io::Result<Sealing> {
        let names = self.names()?;
        for name in &names {
            if !self.text(name)?.starts_with(SEALED) {
                return Ok(Sealing::Open);
            }
        }
        Ok(if names.is_empty() { Sealing::NoKeys } else { Sealing::Sealed })
    }

    /// Seals the key files that are not sealed yet, if there is a master key. Returns how many there were.
    pub fn seal_all(&self) -> io::Result<usize> {
        let mut count = 0;
        if self.master.is_some() {
            for name in self.names()? {
                if !self.text(&name)?.starts_with(SEALED) {
                    let key = self.read(&name)?;
                    self.write(&name, &key)?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Reads a key.
    pub(super) fn read(&self, name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
        let text = self.text(name)?;
        match (text.strip_prefix(SEALED), &self.master) {
            (Some(sealed), Some(master)) => {
                master.open(name, sealed.trim_end()).map_err(MasterError::into_io)
            }
            (Some(_), None) => Err(MasterError::Missing { file: name.to_owned() }.into_io()),
            (None, _) => {
                let text = without_sum(&text).map_err(|error| named(name, &error))?;
                let key = Base64::decode_vec(text);
                key.map(Zeroizing::new).map_err(|error| named(name, &io::Error::other(error)))
            }
        }
    }

    /// Writes a key, so that the file exists completely or not at all.
    pub(super) fn write(&self, name: &str, key: &[u8]) -> io::Result<()> {
        let text = match &self.master {
            Some(master) => master.seal(name, key, &self.random).map_err(io::Error::other)?,
            None => {
                let base64 = Zeroizing::new(Base64::encode_string(key));
                Zeroizing::new(with_sum(&base64))
            }
        };
        write_whole(&*self.storage, "", name, text.as_bytes())
    }

    /// Writes a key that is in use from `from`. The time comes first: a key without one counts as in use since ever.
    pub(super) fn write_from(&self, stem: &str, key: &[u8], from: Timestamp) -> io::Result<()> {
        self.write_time(&format!("{stem}{FROM}"), from)?;
        self.write(&format!("{stem}{KEY}"), key)
    }

    /// Returns since when the key of `stem` is in use; [`Timestamp::ZERO`] if no file says so.
    pub(super) fn from(&self, stem: &str) -> io::Result<Timestamp> {
        match self.time(&format!("{stem}{FROM}")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Timestamp::ZERO),
            time => time,
        }
    }

    /// Removes a key for good. The key goes first: its time alone does no harm.
    pub(super) fn remove(&self, stem: &str) -> io::Result<()> {
        unlink_if_there(&*self.storage, &format!("{stem}{KEY}"))?;
        unlink_if_there(&*self.storage, &format!("{stem}{FROM}"))?;
        self.storage.sync_dir("")
    }

    /// Reads a time in seconds since 1970.
    ///
    /// Errors: `InvalidData` for a file that was damaged, also one that was cut short and is still a number.
    pub(super) fn time(&self, name: &str) -> io::Result<Timestamp> {
        let wrong = |what: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("key file {name}: {what}"))
        };
        let bytes = self.storage.open(name).and_then(|file| file.read_all())?;
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(&error))?;
        let text = without_sum(text).map_err(|error| wrong(&error))?;
        let secs = text.parse().map_err(|_| wrong(&"not a time in seconds"))?;
        if secs < FIRST_SECS {
            return Err(wrong(&format!("{secs} is no time at which a key was made; the file was cut short")));
        }
        Ok(Timestamp::from_secs(secs))
    }

    fn write_time(&self, name: &str, time: Timestamp) -> io::Result<()> {
        write_whole(&*self.storage, "", name, with_sum(&time.as_secs().to_string()).as_bytes())
    }

    /// Returns the ids of the peppers that were used for passwords.
    pub fn used_peppers(&self) -> io::Result<Vec<String>> {
        let names = self.storage.list("")?.into_iter();
        let id = |name: String| Some(name.strip_prefix(PEPPER)?.strip_suffix(USED)?.to_owned());
        Ok(names.filter_map(id).collect())
    }

    /// Remembers that the pepper `id` is used for passwords.
    pub fn remember_pepper(&self, id: &str) -> io::Result<()> {
        write_whole(&*self.storage, "", &pepper_marker(id), b"")
    }

    fn text(&self, name: &str) -> io::Result<Zeroizing<String>> {
        let bytes = self.storage.open(name).and_then(|file| file.read_all());
        let bytes = Zeroizing::new(bytes.map_err(|error| named(name, &error))?);
        let text = std::str::from_utf8(&bytes).map_err(|error| named(name, &io::Error::other(error)))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

/// Returns `line` as a file holds it, with its checksum below.
fn with_sum(line: &str) -> String {
    let sum = format!("\n{SUM}{:08x}\n", crc32c::crc32c(line.as_bytes()));
    // In one piece: a string that grows leaves a copy of the key behind.
    let mut text = String::with_capacity(line.len() + sum.len());
    text.push_str(line);
    text.push_str(&sum);
    text
}

/// Returns the first line of a file. Files of earlier versions have no other.
///
/// Errors: the checksum below it differs, or is no checksum.
fn without_sum(text: &str) -> io::Result<&str> {
    let Some((line, rest)) = text.trim_end().split_once('\n') else { return Ok(text.trim_end()) };
    let sum = rest.strip_prefix(SUM).and_then(|sum| u32::from_str_radix(sum, 16).ok());
    if sum == Some(crc32c::crc32c(line.as_bytes())) {
        return Ok(line);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "is damaged: its checksum differs"))
}

/// Returns `error` with the name of the key file.
fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("key file {name}: {error}"))
}
