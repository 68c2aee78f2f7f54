//! The server's keys on disk. They are made at the first start and never logged; each is in a file of its own with mode
//! 0600.

use std::io;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::opaque::EdgeKeys;
use super::signing_key::{Scheme, Signing, generate, kid_of};
use crate::storage::{Storage, write_whole};
use crate::system::clock::Timestamp;
use crate::system::random::Random;

/// All keys of the server. Each has one use.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    /// Derives the slot and the look-up key of an account name.
    pub directory: [u8; 32],
    /// Signs device cookies.
    pub device: [u8; 32],
    /// Signs CSRF tokens.
    pub csrf: [u8; 32],
    /// Seals tokens of mails in the outbox.
    pub outbox: [u8; 32],
    /// Tags opaque tokens.
    edge: [u8; 32],
    /// Signing keys, newest first.
    pub signing: Vec<Signing>,
}

/// Files of the symmetric keys.
const NAMES: [&str; 5] = ["directory-1.key", "device-1.key", "csrf-1.key", "outbox-1.key", "edge-1.key"];
/// Prefix of the files of signing keys, before their number.
const SIGNING: &str = "signing-";
/// Suffix of the file beside a signing key that says when it begins to sign, in seconds since 1970.
const FROM: &str = ".from";
/// Prefix of the file that remembers a retired key. Its id follows; the content is when it was retired, in seconds
/// since 1970.
const RETIRED: &str = "retired-";

impl Keys {
    /// Makes the keys that are missing, at a first start or after one that was interrupted.
    pub fn form(storage: &dyn Storage, random: &Random, scheme: Scheme) -> io::Result<()> {
        let present = storage.list("")?;
        for name in NAMES {
            if !present.iter().any(|file| file == name) {
                let key = Zeroizing::new(random.bytes::<32>().map_err(io::Error::other)?);
                write(storage, name, &*key)?;
            }
        }
        if !present.iter().any(|file| is_signing(file)) {
            let key = Zeroizing::new(generate(scheme).map_err(io::Error::other)?);
            write(storage, "signing-00000001.key", &key)?;
        }
        // Keys that were present may come from a start that was killed before their names were durable.
        storage.sync_dir("")
    }

    /// Says whether there is any key file.
    pub fn exist(storage: &dyn Storage) -> bool {
        storage.list("").is_ok_and(|files| files.iter().any(|file| file.ends_with(".key")))
    }

    /// Makes a signing key that begins to sign at `from`, and returns all signing keys, newest first.
    pub fn add_signing(storage: &dyn Storage, scheme: Scheme, from: Timestamp) -> io::Result<Vec<Signing>> {
        let numbers = storage
            .list("")?
            .into_iter()
            .filter_map(|name| name.strip_prefix(SIGNING)?.strip_suffix(".key")?.parse::<u32>().ok());
        let next = numbers.max().unwrap_or(0) + 1;
        let key = Zeroizing::new(generate(scheme).map_err(io::Error::other)?);
        // The time is written first, because a key without one signs at once.
        let name = format!("{SIGNING}{next:08}");
        write_whole(storage, "", &format!("{name}{FROM}"), from.as_secs().to_string().as_bytes())?;
        write(storage, &format!("{name}.key"), &key)?;
        signing(storage)
    }

    /// Deletes the signing key `kid` and returns the others, newest first. If it is the last one, a new key is made
    /// first. Returns `None` if there is no such key.
    pub fn retire_signing(
        storage: &dyn Storage,
        kid: &str,
        scheme: Scheme,
        now: Timestamp,
    ) -> io::Result<Option<Vec<Signing>>> {
        let mut names = storage.list("")?;
        names.retain(|name| is_signing(name));
        let mut found = None;
        for name in &names {
            let key = read(storage, name)?;
            if kid_of(&key).map_err(io::Error::other)? == kid {
                found = Some(name);
            }
        }
        let Some(name) = found else { return Ok(None) };
        if names.len() == 1 {
            Self::add_signing(storage, scheme, now)?;
        }
        // Remembered before it is deleted, so that the feed names it after a crash and after restarts too.
        write_whole(storage, "", &format!("{RETIRED}{kid}"), now.as_secs().to_string().as_bytes())?;
        storage.unlink(name)?;
        storage.sync_dir("")?;
        signing(storage).map(Some)
    }

    /// Returns the ids of retired signing keys and when each was retired. Deletes records older than `life`.
    pub fn retired(
        storage: &dyn Storage,
        life: Duration,
        now: Timestamp,
    ) -> io::Result<Vec<(String, Timestamp)>> {
        let mut retired = Vec::new();
        for name in storage.list("")? {
            let Some(kid) = name.strip_prefix(RETIRED) else { continue };
            let at = time(storage, &name)?;
            if now.since(at) < life {
                retired.push((kid.to_owned(), at));
            } else {
                storage.unlink(&name)?;
            }
        }
        Ok(retired)
    }

    /// Reads all keys.
    pub fn load(storage: &dyn Storage) -> io::Result<Self> {
        let [directory, device, csrf, outbox, edge] = NAMES.map(|name| symmetric(storage, name));
        let signing = signing(storage)?;
        Ok(Self {
            directory: directory?,
            device: device?,
            csrf: csrf?,
            outbox: outbox?,
            edge: edge?,
            signing,
        })
    }

    /// Returns the key that seals lines of the audit log. It is derived from the directory key for this use alone.
    pub fn audit(&self) -> [u8; 32] {
        crate::value::id::keyed_digest(&self.directory, &[b"portcullis audit v1"])
    }

    /// Returns the key of the marks in access tokens. It is derived from the directory key for this use alone.
    pub fn token_marks(&self) -> [u8; 32] {
        crate::value::id::keyed_digest(&self.directory, &[b"portcullis token mark v1"])
    }

    /// Returns the keys that tag opaque tokens.
    pub const fn edge(&self) -> EdgeKeys {
        EdgeKeys::new((1, self.edge), Vec::new())
    }
}

/// Reads all signing keys, newest first.
fn signing(storage: &dyn Storage) -> io::Result<Vec<Signing>> {
    let present = storage.list("")?;
    let mut names: Vec<&String> = present.iter().filter(|name| is_signing(name)).collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    let read = |name: &String| {
        let from = format!("{}{FROM}", name.strip_suffix(".key").unwrap_or(name));
        let from = if present.contains(&from) { time(storage, &from)? } else { Timestamp::ZERO };
        Ok(Signing { pkcs8: read(storage, name)?.to_vec(), from })
    };
    names.into_iter().map(read).collect()
}

/// Reads a time in seconds since 1970 from a file.
fn time(storage: &dyn Storage, name: &str) -> io::Result<Timestamp> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("{name}: not a time in seconds"));
    let bytes = storage.open(name).and_then(|file| file.read_all())?;
    let secs = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().parse().ok());
    Ok(Timestamp::from_secs(secs.ok_or_else(wrong)?))
}

fn is_signing(name: &str) -> bool {
    name.starts_with(SIGNING) && name.ends_with(".key")
}

fn write(storage: &dyn Storage, name: &str, key: &[u8]) -> io::Result<()> {
    let text = Zeroizing::new(Base64::encode_string(key));
    write_whole(storage, "", name, text.as_bytes())
}

fn read(storage: &dyn Storage, name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("key file {name}: {error}"));
    let text = Zeroizing::new(storage.open(name).and_then(|file| file.read_all()).map_err(named)?);
    let text = std::str::from_utf8(&text).map_err(|error| named(io::Error::other(error)))?;
    let key = Base64::decode_vec(text.trim_end()).map_err(|error| named(io::Error::other(error)))?;
    Ok(Zeroizing::new(key))
}

fn symmetric(storage: &dyn Storage, name: &str) -> io::Result<[u8; 32]> {
    let key = read(storage, name)?;
    <[u8; 32]>::try_from(key.as_slice()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("key file {name}: {} bytes, not 32", key.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::simulated::SimStorage;

    #[test]
    fn keys_are_made_once_and_a_damaged_one_is_named() {
        let disk = SimStorage::new();
        assert!(!Keys::exist(&disk));
        Keys::form(&disk, &Random::seeded(1), Scheme::Es256).unwrap();
        let first = Keys::load(&disk).unwrap();
        Keys::form(&disk, &Random::seeded(2), Scheme::Es256).unwrap();
        let second = Keys::load(&disk).unwrap();
        assert_eq!(first.directory, second.directory);
        assert_eq!(first.signing, second.signing);
        assert_ne!(first.directory, first.device);
        disk.damage("csrf-1.key", |bytes| bytes.truncate(8));
        assert!(Keys::load(&disk).err().unwrap().to_string().contains("csrf-1.key"));
    }

    #[test]
    fn signing_keys_keep_their_start_and_retired_ones_are_remembered() {
        let disk = SimStorage::new();
        let now = Timestamp::from_secs(1_800_000_000);
        Keys::form(&disk, &Random::seeded(1), Scheme::Es256).unwrap();
        let later = now + Duration::from_mins(10);
        let added = Keys::add_signing(&disk, Scheme::EdDsa, later).unwrap();
        assert_eq!(added.iter().map(|key| key.from).collect::<Vec<_>>(), [later, Timestamp::ZERO]);
        assert_eq!(Keys::load(&disk).unwrap().signing, added);
        let kids: Vec<_> = added.iter().map(|key| kid_of(&key.pkcs8).unwrap()).collect();
        assert!(Keys::retire_signing(&disk, "x", Scheme::Es256, now).unwrap().is_none());
        for kid in &kids {
            assert_eq!(Keys::retire_signing(&disk, kid, Scheme::Es256, now).unwrap().unwrap().len(), 1);
        }
        let life = Duration::from_mins(15);
        let mut retired = Keys::retired(&disk, life, now).unwrap();
        retired.sort();
        let mut expected: Vec<_> = kids.into_iter().map(|kid| (kid, now)).collect();
        expected.sort();
        assert_eq!(retired, expected);
        assert!(Keys::retired(&disk, life, now + life).unwrap().is_empty());
        assert!(Keys::retired(&disk, life, now).unwrap().is_empty());
    }
}
