//! The server's keys. They are made at the first start and never logged; each is in a file of its own with mode 0600.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::key_check::KeyCheck;
use super::key_files::{FROM, KEY, KeyFiles};
use super::key_kind::KeyKind;
use super::key_ring::{KEYS_MAX, KeyRing, RingKey};
use super::opaque::EdgeKeys;
use super::signing_key::{KeyError, Scheme, Signing, generate, kid_of};
use crate::storage::unlink_if_there;
use crate::system::clock::Timestamp;

/// Why a key cannot be rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// Keys of this kind never change. The reason is for people.
    #[error("{0}")]
    Fixed(&'static str),
    /// There are [`KEYS_MAX`] keys of this kind.
    #[error(
        "there are {KEYS_MAX} keys of this kind; rotate again when the oldest has no use any more, or retire one"
    )]
    TooMany,
    /// A file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// All keys of the server. Each has one use.
pub struct Keys {
    /// Derives the slot and the look-up key of an account name.
    pub directory: Zeroizing<[u8; 32]>,
    /// Digests what wrong passwords are counted under. Derived from the directory key for this use alone, so that a
    /// rotation makes no count begin anew.
    pub counts: Zeroizing<[u8; 32]>,
    /// Sign device cookies.
    pub device: KeyRing,
    /// Sign CSRF tokens.
    pub csrf: KeyRing,
    /// Seal tokens of mails in the outbox.
    pub outbox: KeyRing,
    /// Tag opaque tokens.
    edge: Arc<KeyRing>,
    /// Signing keys, newest first.
    pub signing: Vec<Signing>,
}

/// The kinds whose keys form a ring.
pub const RINGS: [KeyKind; 4] = [KeyKind::Edge, KeyKind::Device, KeyKind::Csrf, KeyKind::Outbox];
/// The file of the directory key.
const DIRECTORY: &str = "directory-1.key";
/// Prefix of the files of signing keys, before their number.
const SIGNING: &str = "signing-";
/// Prefix of the file that remembers a retired signing key. Its id follows; the content is when it was retired, in
/// seconds since 1970.
const RETIRED: &str = "retired-";
/// Suffix of the file of a signing key that a start did not take, after the name it had.
const SET_ASIDE: &str = ".set-aside";

impl Keys {
    /// Makes the keys that are missing, at a first start or after one that was interrupted.
    pub fn form(files: &KeyFiles, scheme: Scheme, now: Timestamp) -> io::Result<()> {
        let present = files.names()?;
        let mint = || files.random().bytes::<32>().map(Zeroizing::new).map_err(io::Error::other);
        if !present.iter().any(|file| file == DIRECTORY) {
            files.write(DIRECTORY, &*mint()?)?;
        }
        for kind in RINGS {
            if !present.iter().any(|file| ring_number(kind, file).is_some()) {
                files.write_from(&format!("{}-1", kind.name()), &*mint()?, now)?;
            }
        }
        if !present.iter().any(|file| signing_number(file).is_some()) {
            Self::write_signing(files, scheme, now)?;
        }
        // Keys that were present may come from a start that was killed before their names were durable.
        files.storage().sync_dir("")
    }

    /// Reads every key file and changes nothing: for a check before anything is written.
    ///
    /// Errors: a file that cannot be read or was damaged, or that the master key does not open
    /// ([`MasterError::within`](super::MasterError::within)).
    pub fn check(files: &KeyFiles) -> io::Result<()> {
        for name in files.names()? {
            let stem = stem(&name);
            if signing_number(&name).is_some() {
                kid_of(&files.read(&name)?).map_err(|error| unusable(&name, &error))?;
                files.from(stem)?;
            } else if RINGS.iter().any(|kind| ring_number(*kind, &name).is_some()) {
                symmetric(files, &name)?;
                files.from(stem)?;
            } else {
                files.read(&name)?;
            }
        }
        Ok(())
    }

    /// Returns the check values of the directory key and of every key of a ring, as their files hold them.
    pub fn check_values(files: &KeyFiles) -> io::Result<Vec<KeyCheck>> {
        let mut checks = Vec::new();
        for name in files.names()? {
            let of_ring = |kind: KeyKind| ring_number(kind, &name).map(|number| (kind, number));
            let of_directory = (name == DIRECTORY).then_some((KeyKind::Directory, 1));
            if let Some((kind, number)) = of_directory.or_else(|| RINGS.into_iter().find_map(of_ring)) {
                checks.push(KeyCheck::of(kind, number, &*symmetric(files, &name)?));
            }
        }
        Ok(checks)
    }

    /// Returns the check values of the directory key and of every key of a ring, as they are in memory.
    pub fn loaded_check_values(&self) -> Vec<KeyCheck> {
        let mut checks = vec![KeyCheck::of(KeyKind::Directory, 1, &self.directory)];
        for kind in RINGS {
            let ring = self.ring(kind).map(|ring| ring.map(|kid, key| KeyCheck::of(kind, kid, key)));
            checks.extend(ring.unwrap_or_default());
        }
        checks
    }

    /// Reads all keys. A signing key is made if there is none, which a crash may leave after the last one was retired.
    pub fn load(files: &KeyFiles, scheme: Scheme, now: Timestamp) -> io::Result<Self> {
        let mut signing = signing(files)?;
        if signing.is_empty() {
            signing = Self::write_signing(files, scheme, now)?;
        }
        let directory = symmetric(files, DIRECTORY)?;
        let counts = crate::value::id::keyed_digest(&directory, &[b"portcullis counts v1"]);
        Ok(Self {
            counts: Zeroizing::new(counts),
            directory,
            device: ring(files, KeyKind::Device)?,
            csrf: ring(files, KeyKind::Csrf)?,
            outbox: ring(files, KeyKind::Outbox)?,
            edge: Arc::new(ring(files, KeyKind::Edge)?),
            signing,
        })
    }

    /// Returns the key that seals lines of the audit log. It is derived from the directory key for this use alone.
    pub fn audit(&self) -> [u8; 32] {
        crate::value::id::keyed_digest(&self.directory, &[b"portcullis audit v1"])
    }

    /// Reads the key that seals lines of the audit log, and no other.
    pub fn load_audit(files: &KeyFiles) -> io::Result<[u8; 32]> {
        Ok(crate::value::id::keyed_digest(&*symmetric(files, DIRECTORY)?, &[b"portcullis audit v1"]))
    }

    /// Returns the key of the marks in access tokens. It is derived from the directory key for this use alone.
    pub fn token_marks(&self) -> [u8; 32] {
        crate::value::id::keyed_digest(&self.directory, &[b"portcullis token mark v1"])
    }

    /// Returns the keys that tag opaque tokens.
    pub fn edge(&self) -> EdgeKeys {
        EdgeKeys::over(Arc::clone(&self.edge))
    }

    /// Returns the ring of `kind`, if its keys form one.
    pub fn ring(&self, kind: KeyKind) -> Option<&KeyRing> {
        match kind {
            KeyKind::Edge => Some(&self.edge),
            KeyKind::Device => Some(&self.device),
            KeyKind::Csrf => Some(&self.csrf),
            KeyKind::Outbox => Some(&self.outbox),
            KeyKind::Signing | KeyKind::Directory | KeyKind::Audit => None,
        }
    }
}

/// Rings.
impl Keys {
    /// Makes a key of `kind`, which is the newest of its ring at once. Returns its number and since when it is.
    pub fn rotate_ring(
        &self,
        files: &KeyFiles,
        kind: KeyKind,
        now: Timestamp,
    ) -> Result<(u8, Timestamp), RotateError> {
        let ring = self.ring(kind).ok_or_else(|| RotateError::Fixed(kind.fixed().unwrap_or_default()))?;
        let (kid, from) = ring.next(now).ok_or(RotateError::TooMany)?;
        let key = Zeroizing::new(files.random().bytes::<32>().map_err(io::Error::other)?);
        files.write_from(&format!("{}-{kid}", kind.name()), &*key, from)?;
        ring.add(RingKey { kid, from, key });
        Ok((kid, from))
    }

    /// Makes a key of the ring that tags opaque tokens, for a directory that begins a new history: its keys are told apart
    /// from those of before by it. Returns its check value, for the journal to remember.
    pub fn begin_history(files: &KeyFiles, now: Timestamp) -> Result<KeyCheck, RotateError> {
        let kind = KeyKind::Edge;
        // Nobody can repeat a restore without end, so the bound of a ring does not hold here.
        let (kid, from) = ring(files, kind)?.after_newest(now).ok_or(RotateError::TooMany)?;
        let key = Zeroizing::new(files.random().bytes::<32>().map_err(io::Error::other)?);
        files.write_from(&format!("{}-{kid}", kind.name()), &*key, from)?;
        Ok(KeyCheck::of(kind, kid, &key))
    }

    /// Returns the numbers of the keys of `kind` of which nothing lives: their successor has been the newest for `life`.
    pub fn expired(&self, kind: KeyKind, life: Duration, now: Timestamp) -> Vec<u8> {
        self.ring(kind).map(|ring| ring.expired(life, now)).unwrap_or_default()
    }

    /// Removes a key of a ring, unless it is the only one of its kind.
    pub fn drop_key(&self, files: &KeyFiles, kind: KeyKind, kid: u8) -> io::Result<()> {
        match self.ring(kind) {
            Some(ring) if ring.remove(kid) => files.remove(&format!("{}-{kid}", kind.name())),
            _ => Ok(()),
        }
    }
}

/// Signing keys.
impl Keys {
    /// Makes a signing key that begins to sign at `from`, and returns all signing keys, newest first.
    pub fn add_signing(
        files: &KeyFiles,
        scheme: Scheme,
        from: Timestamp,
    ) -> Result<Vec<Signing>, RotateError> {
        if signing_numbers(files)?.len() >= KEYS_MAX {
            return Err(RotateError::TooMany);
        }
        Ok(Self::write_signing(files, scheme, from)?)
    }

    fn write_signing(files: &KeyFiles, scheme: Scheme, from: Timestamp) -> io::Result<Vec<Signing>> {
        let next = signing_numbers(files)?.first().map_or(1, |(number, _)| number + 1);
        let key = Zeroizing::new(generate(scheme).map_err(io::Error::other)?);
        files.write_from(&format!("{SIGNING}{next:08}"), &key, from)?;
        signing(files)
    }

    /// Deletes the signing keys for which `is_over` says yes, and returns the others, newest first.
    pub fn drop_signing(files: &KeyFiles, is_over: impl Fn(&str) -> bool) -> io::Result<Vec<Signing>> {
        for (_, name) in signing_numbers(files)? {
            if is_over(&kid_of(&files.read(&name)?).map_err(|error| unusable(&name, &error))?) {
                files.remove(stem(&name))?;
            }
        }
        signing(files)
    }

    /// Deletes the signing key `kid` and returns the others, newest first. If it is the last one, another is made.
    /// Returns `None` if there is no such key.
    ///
    /// A full disk does not keep a leaked key alive: its file is renamed to the record that it was retired, and then
    /// overwritten, neither of which takes space. If there is no space for another key, that one lives in memory alone.
    pub fn retire_signing(
        files: &KeyFiles,
        kid: &str,
        scheme: Scheme,
        now: Timestamp,
    ) -> io::Result<Option<Vec<Signing>>> {
        let mut found = None;
        for (_, name) in signing_numbers(files)? {
            if kid_of(&files.read(&name)?).map_err(|error| unusable(&name, &error))? == kid {
                found = Some(name);
            }
        }
        let Some(name) = found else { return Ok(None) };
        let storage = files.storage();
        let record = format!("{RETIRED}{kid}");
        storage.rename(&name, &record)?;
        storage.sync_dir("")?;
        overwrite(files, &record, now)?;
        unlink_if_there(storage, &format!("{}{FROM}", stem(&name)))?;
        let mut left = signing(files)?;
        if left.is_empty() {
            left = match Self::write_signing(files, scheme, now) {
                Ok(made) => made,
                Err(error) => {
                    tracing::error!(
                        %error,
                        "cannot write the new signing key: it lives in memory until the server stops; free space, then \
                         run: portcullis key rotate"
                    );
                    let pkcs8 = generate(scheme).map_err(io::Error::other)?;
                    vec![Signing { pkcs8, from: now }]
                }
            };
        }
        Ok(Some(left))
    }

    /// Returns the file and the check value of every signing key.
    pub fn signing_check_values(files: &KeyFiles) -> io::Result<Vec<(String, KeyCheck)>> {
        let check = |(_, name): (u32, String)| {
            let kid = kid_of(&files.read(&name)?).map_err(|error| unusable(&name, &error))?;
            Ok((name, KeyCheck::of_signing(&kid)))
        };
        signing_numbers(files)?.into_iter().map(check).collect()
    }

    /// Renames the files of signing keys that are not in `known`, or that a record says were retired, so that no start
    /// takes them for keys. An empty `known` stands for all. Returns the names that they had.
    pub fn set_aside_signing(files: &KeyFiles, known: &[KeyCheck]) -> io::Result<Vec<String>> {
        let storage = files.storage();
        let retired: Vec<_> = storage
            .list("")?
            .iter()
            .filter_map(|name| name.strip_prefix(RETIRED))
            .map(|kid| KeyCheck::of_signing(kid).value)
            .collect();
        let mut set_aside = Vec::new();
        for (name, check) in Self::signing_check_values(files)? {
            let is_known = known.is_empty() || known.iter().any(|known| known.value == check.value);
            if is_known && !retired.contains(&check.value) {
                continue;
            }
            storage.rename(&name, &format!("{name}{SET_ASIDE}"))?;
            unlink_if_there(storage, &format!("{}{FROM}", stem(&name)))?;
            set_aside.push(name);
        }
        if !set_aside.is_empty() {
            storage.sync_dir("")?;
        }
        Ok(set_aside)
    }

    /// Returns the ids of retired signing keys and when each was retired. Deletes records older than `life`.
    pub fn retired(files: &KeyFiles, life: Duration, now: Timestamp) -> io::Result<Vec<(String, Timestamp)>> {
        let mut retired = Vec::new();
        for name in files.storage().list("")? {
            let Some(kid) = name.strip_prefix(RETIRED).filter(|_| !name.ends_with(".tmp")) else { continue };
            let at = match files.time(&name) {
                // A crash came before the key in it was overwritten.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    overwrite(files, &name, now)?;
                    now
                }
                at => at?,
            };
            if now.since(at) < life {
                retired.push((kid.to_owned(), at));
            } else {
                files.storage().unlink(&name)?;
            }
        }
        Ok(retired)
    }
}

/// Overwrites the file `name` in place by the time `now`. Takes no space: the file only becomes shorter.
fn overwrite(files: &KeyFiles, name: &str, now: Timestamp) -> io::Result<()> {
    let file = files.storage().open_to_write(name)?;
    let mut text = now.as_secs().to_string().into_bytes();
    let len = text.len();
    text.resize(usize::try_from(file.length()?).map_err(io::Error::other)?.max(len), b'\n');
    file.write_at(&text, 0)?;
    file.sync_data()?;
    file.set_len(len as u64)?;
    file.sync_data()
}

/// Returns the number of a key of `kind` from the name of its file.
fn ring_number(kind: KeyKind, name: &str) -> Option<u8> {
    let number = name.strip_prefix(kind.name())?.strip_prefix('-')?.strip_suffix(KEY)?;
    number.parse().ok().filter(|kid: &u8| *kid > 0 && kid.to_string() == number)
}

/// Returns the number of a signing key from the name of its file.
fn signing_number(name: &str) -> Option<u32> {
    name.strip_prefix(SIGNING)?.strip_suffix(KEY)?.parse().ok()
}

/// Returns the numbers and names of the files of signing keys, newest first.
fn signing_numbers(files: &KeyFiles) -> io::Result<Vec<(u32, String)>> {
    let names = files.names()?.into_iter();
    let mut numbers: Vec<_> = names.filter_map(|name| Some((signing_number(&name)?, name))).collect();
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    Ok(numbers)
}

/// Reads all signing keys, newest first.
fn signing(files: &KeyFiles) -> io::Result<Vec<Signing>> {
    let read = |(_, name): (u32, String)| {
        Ok(Signing { pkcs8: files.read(&name)?.to_vec(), from: files.from(stem(&name))? })
    };
    signing_numbers(files)?.into_iter().map(read).collect()
}

/// Reads the keys of `kind`.
fn ring(files: &KeyFiles, kind: KeyKind) -> io::Result<KeyRing> {
    let mut keys = Vec::new();
    for name in files.names()? {
        if let Some(kid) = ring_number(kind, &name) {
            keys.push(RingKey { kid, from: files.from(stem(&name))?, key: symmetric(files, &name)? });
        }
    }
    if keys.is_empty() {
        let what = format!("key file {}-1.key: there is none", kind.name());
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    Ok(KeyRing::new(keys))
}

/// Names the file of a signing key that cannot be used.
fn unusable(name: &str, error: &KeyError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("key file {name}: {error}"))
}

fn stem(name: &str) -> &str {
    name.strip_suffix(KEY).unwrap_or(name)
}

fn symmetric(files: &KeyFiles, name: &str) -> io::Result<Zeroizing<[u8; 32]>> {
    let key = files.read(name)?;
    <[u8; 32]>::try_from(key.as_slice()).map(Zeroizing::new).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("key file {name}: {} bytes, not 32", key.len()))
    })
}

#[cfg(test)]
mod tests;
