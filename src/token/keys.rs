//! The server's keys on disk: made at the first start, never logged, each in a file of its own with mode 0600.

use std::io;

use base64ct::{Base64, Encoding};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::access::{Scheme, generate, kid_of};
use crate::journal::storage::{Storage, write_whole};
use crate::secret::{Chance, EdgeKeys};

/// Symmetric keys, each for one thing alone.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    /// Where an account name lives, and under what it is known.
    pub directory: [u8; 32],
    /// Signs device cookies.
    pub device: [u8; 32],
    /// Signs CSRF tokens.
    pub csrf: [u8; 32],
    /// Seals tokens in waiting mails.
    pub outbox: [u8; 32],
    edge: [u8; 32],
    /// Signing keys as PKCS#8, newest first.
    pub signing: Vec<Vec<u8>>,
}

const NAMES: [&str; 5] = ["directory-1.key", "device-1.key", "csrf-1.key", "outbox-1.key", "edge-1.key"];
const SIGNING: &str = "signing-";

impl Keys {
    /// Makes what is missing: at a first start, which may have been cut short.
    pub fn form(storage: &dyn Storage, chance: &Chance, scheme: Scheme) -> io::Result<()> {
        let present = storage.list("")?;
        for name in NAMES {
            if !present.iter().any(|file| file == name) {
                let key = Zeroizing::new(chance.bytes::<32>().map_err(io::Error::other)?);
                write(storage, name, &*key)?;
            }
        }
        if !present.iter().any(|file| is_signing(file)) {
            let key = Zeroizing::new(generate(scheme).map_err(io::Error::other)?);
            write(storage, "signing-00000001.key", &key)?;
        }
        // Those that were present may come from a start that was killed before their names were durable.
        storage.sync_dir("")
    }

    /// Whether there is any.
    pub fn exist(storage: &dyn Storage) -> bool {
        storage.list("").is_ok_and(|files| files.iter().any(|file| file.ends_with(".key")))
    }

    /// Makes a further signing key and reads all, newest first.
    pub fn add_signing(storage: &dyn Storage, scheme: Scheme) -> io::Result<Vec<Vec<u8>>> {
        let numbers = storage
            .list("")?
            .into_iter()
            .filter_map(|name| name.strip_prefix(SIGNING)?.strip_suffix(".key")?.parse::<u32>().ok());
        let next = numbers.max().unwrap_or(0) + 1;
        let key = Zeroizing::new(generate(scheme).map_err(io::Error::other)?);
        write(storage, &format!("{SIGNING}{next:08}.key"), &key)?;
        signing(storage)
    }

    /// Takes a signing key out for good, making a new one first if it is the last, and reads the others, newest first.
    /// None when there is no such key.
    pub fn retire_signing(
        storage: &dyn Storage,
        kid: &str,
        scheme: Scheme,
    ) -> io::Result<Option<Vec<Vec<u8>>>> {
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
            Self::add_signing(storage, scheme)?;
        }
        storage.unlink(name)?;
        storage.sync_dir("")?;
        signing(storage).map(Some)
    }

    /// Reads all of them.
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

    /// Seals the lines of the log of security events: drawn from the directory key, for that alone.
    pub fn audit(&self) -> [u8; 32] {
        crate::id::keyed_digest(&self.directory, &[b"portcullis audit v1"])
    }

    /// What tags opaque tokens.
    pub const fn edge(&self) -> EdgeKeys {
        EdgeKeys::new((1, self.edge), Vec::new())
    }
}

fn signing(storage: &dyn Storage) -> io::Result<Vec<Vec<u8>>> {
    let mut names = storage.list("")?;
    names.retain(|name| is_signing(name));
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.iter().map(|name| read(storage, name).map(|key| key.to_vec())).collect()
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
    use crate::journal::storage_sim::SimStorage;

    #[test]
    fn keys_are_made_once_and_a_damaged_one_is_named() {
        let disk = SimStorage::new();
        assert!(!Keys::exist(&disk));
        Keys::form(&disk, &Chance::seeded(1), Scheme::Es256).unwrap();
        let first = Keys::load(&disk).unwrap();
        Keys::form(&disk, &Chance::seeded(2), Scheme::Es256).unwrap();
        let second = Keys::load(&disk).unwrap();
        assert_eq!((first.directory, &first.signing), (second.directory, &second.signing));
        assert_ne!(first.directory, first.device);
        disk.damage("csrf-1.key", |bytes| bytes.truncate(8));
        assert!(Keys::load(&disk).err().unwrap().to_string().contains("csrf-1.key"));
    }
}
