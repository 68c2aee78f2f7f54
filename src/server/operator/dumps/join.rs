//! A second file, in which the passwords of users are: an index of where each stands, and the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::fields::Object;
use super::format::DumpError;
use super::found::Found;
use super::json_values::JsonValues;

/// The most users in the second file: what a table of 2^21 places holds, in 34 MiB.
const USERS_MAX: usize = (1 << 21) / 8 * 7;

/// What a second file says, by user.
pub(super) struct Join {
    file: File,
    /// Where each user stands, by the first bytes of the SHA-256 of its id.
    places: HashMap<u64, u64>,
    id_of: fn(&Object) -> Option<String>,
}

/// What a second file holds.
pub(super) struct Kind {
    /// The lists that are read, if the whole is an object.
    pub(super) lists: &'static [&'static str],
    /// What it is, for whoever gave another file.
    pub(super) expected: &'static str,
    /// Says whether an object is one of its kind.
    pub(super) is_one: fn(&Object) -> bool,
    /// Returns the id of the user whose password an object holds.
    pub(super) id_of: fn(&Object) -> Option<String>,
}

impl Join {
    /// Reads the file at `path`: values one after the other, a list of them, or a list in an object.
    ///
    /// Errors: a file that cannot be read, or holds nothing of its kind: every user would be without a password.
    pub(super) fn open(path: &Path, kind: Kind) -> Result<Self, DumpError> {
        let Kind { lists, expected, is_one, id_of } = kind;
        let mut found = Found::default();
        let mut values = JsonValues::new(File::open(path)?, lists);
        let mut places = HashMap::new();
        while let Some(value) = values.next()? {
            let object: Option<Object> = value.bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            found.note(object.as_ref(), is_one);
            if let Some(id) = object.as_ref().and_then(id_of) {
                if places.len() >= USERS_MAX {
                    return Err(DumpError::TooMany(USERS_MAX));
                }
                places.insert(digest(&id), value.at);
            }
        }
        if !found.has_one() {
            return Err(DumpError::NoUsers { expected, found: found.in_words() });
        }
        Ok(Self { file: File::open(path)?, places, id_of })
    }

    /// Returns what the file says about the user `id`.
    pub(super) fn find(&mut self, id: &str) -> Option<Object> {
        let at = *self.places.get(&digest(id))?;
        let object = self.read(at).ok()?;
        Some(object).filter(|object| (self.id_of)(object).as_deref() == Some(id))
    }

    fn read(&mut self, at: u64) -> io::Result<Object> {
        self.file.seek(SeekFrom::Start(at))?;
        // No more than the longest value is read, and it is read to its end.
        let part =
            BufReader::with_capacity(4096, (&self.file).take(super::json_values::VALUE_BYTES_MAX as u64));
        let mut values = serde_json::Deserializer::from_reader(part).into_iter::<Object>();
        values
            .next()
            .transpose()
            .map_err(io::Error::other)?
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn digest(id: &str) -> u64 {
    u64::from_le_bytes(Sha256::digest(id).first_chunk().copied().unwrap_or_default())
}
