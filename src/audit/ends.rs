//! The record of where the log of security events begins and ends: `audit.end` in the data directory.
//!
//! **The attack:** whoever can write to `audit.dir` removes the last lines, or all of them. What is left is a whole
//! chain.
//!
//! **The rule:** number and digest of the last synced line are kept outside `audit.dir`, sealed like a line. The log
//! must reach at least as far. The record is written at most once a second and at a stop in order, always after the
//! lines that it names are synced, so a crash never makes it name a line that is not there. It also keeps the last
//! line that was removed by age or size, since the log must begin after it.
//!
//! Without the record, a directory looks as if an earlier version had written it, which kept none: an attacker could
//! remove the record together with the lines. So the journal remembers a line that the record has reached
//! ([`file_check`](crate::registry::file_check)): from then on a record that is missing, or that reaches less far, is
//! reported like missing lines.

use std::io;

use serde::{Deserialize, Serialize};

use super::line::{digest, is_sealed, seal};
use crate::storage::{Storage, write_whole};
use crate::value::id::hex;

/// Name of the file.
pub const NAME: &str = "audit.end";

/// Number and digest of a line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Place {
    /// The number; 0 stands before the first line.
    pub seq: u64,
    /// The digest, as the next line names it.
    pub digest: String,
}

impl Place {
    /// Builds a place from a number and the bytes of a digest.
    pub fn of_bytes((seq, digest): (u64, [u8; 32])) -> Self {
        Self { seq, digest: hex(&digest) }
    }

    /// Returns the number and the bytes of the digest; `None` if it is no digest.
    pub fn to_bytes(&self) -> Option<(u64, [u8; 32])> {
        let mut digest = [0; 32];
        base16ct::lower::decode(&self.digest, &mut digest).ok()?;
        Some((self.seq, digest))
    }
}

impl Default for Place {
    /// Returns the place before the first line.
    fn default() -> Self {
        Self { seq: 0, digest: digest(b"") }
    }
}

/// Both ends of the log.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ends {
    /// The last line that was removed by age or size. The log begins after it.
    pub removed: Place,
    /// The last line that is known to be synced.
    pub last: Place,
}

/// The contents of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// There is no file: the directory is new, or of an older version, or the file was removed.
    Missing,
    /// The file was changed: its seal does not match.
    Changed,
    /// The ends that it names.
    Of(Ends),
}

impl Record {
    /// Reads the record of the data directory `storage`.
    pub fn read(storage: &dyn Storage, key: &[u8; 32]) -> io::Result<Self> {
        let bytes = match storage.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
            file => file?.read_all()?,
        };
        let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_end();
        let ends = if is_sealed(key, text) { serde_json::from_str(text).ok() } else { None };
        Ok(ends.map_or(Self::Changed, Self::Of))
    }
}

impl Record {
    /// Says what is wrong with the record, if the journal remembers that it reached the line `known`.
    pub fn compare(&self, known: &Place) -> Option<String> {
        match self {
            Self::Missing => Some(String::from("the record of the log's end was removed")),
            Self::Changed => Some(String::from("the record of the log's end was changed")),
            Self::Of(ends) if ends.last.seq < known.seq => Some(format!(
                "the record of the log's end is an older one: it says line {}, and has said line {}",
                ends.last.seq, known.seq
            )),
            Self::Of(_) => None,
        }
    }
}

impl Ends {
    /// Replaces the record of the data directory `storage`.
    pub(super) fn write(&self, storage: &dyn Storage, key: &[u8; 32]) -> io::Result<()> {
        let text = seal(key, self) + "\n";
        write_whole(storage, "", NAME, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::simulated::SimStorage;

    #[test]
    fn a_record_is_read_back_and_any_changed_byte_is_found() {
        let disk = SimStorage::new();
        let key = [3; 32];
        assert_eq!(Record::read(&disk, &key).unwrap(), Record::Missing);
        let ends = Ends { last: Place { seq: 7, digest: digest(b"x") }, ..Ends::default() };
        ends.write(&disk, &key).unwrap();
        assert_eq!(Record::read(&disk, &key).unwrap(), Record::Of(ends));
        assert_eq!(Record::read(&disk, &[4; 32]).unwrap(), Record::Changed);
        let length = disk.peek(NAME).unwrap().len();
        for at in 0..length - 1 {
            disk.damage(NAME, |bytes| bytes[at] ^= 1);
            assert_eq!(Record::read(&disk, &key).unwrap(), Record::Changed, "byte {at}");
            disk.damage(NAME, |bytes| bytes[at] ^= 1);
        }
    }
}
