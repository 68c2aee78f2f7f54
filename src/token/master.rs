//! The master key, which seals the key files at rest.
//!
//! **The attack:** the attacker copies the data directory, or finds it on a backup or a discarded disk, and forges
//! tokens with the keys in it.
//!
//! **The rule:** with a master key, each key file is sealed by AES-256-GCM under a key that is derived from the master
//! key and the name of the file. The master key lies outside the directory: in a file, or in a credential of systemd. A
//! start with another master key, or without one, is refused; it never makes new keys in place of those that it cannot
//! open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::system::random::{NoRandomness, Random};
use crate::value::id::keyed_digest;

/// What a sealed key file begins with. Base64 of nonce, text and tag follows.
pub(super) const SEALED: &str = "sealed:1:";
/// Minimum length of the secret in `keys.master_file`, in bytes.
pub const SECRET_BYTES_MIN: usize = 32;

/// Why the keys cannot be read or written with the master key that was given.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The file with the master key cannot be read.
    #[error("keys.master_file {place} cannot be read: {source}; the keys are sealed under the secret in it")]
    Unreadable {
        /// The path, or the name of the credential.
        place: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The secret is too short.
    #[error(
        "keys.master_file {place} holds less than {SECRET_BYTES_MIN} bytes; make one with: head -c 32 /dev/urandom | base64"
    )]
    Short {
        /// The path, or the name of the credential.
        place: String,
    },
    /// A key file is sealed, and no master key was given.
    #[error(
        "key file {file} is sealed; set keys.master_file to the file with the master key of this installation"
    )]
    Missing {
        /// The key file.
        file: String,
    },
    /// A key file is sealed under another master key, or was damaged.
    #[error(
        "key file {file} does not open with the secret in keys.master_file; it is sealed under another one, or damaged"
    )]
    Wrong {
        /// The key file.
        file: String,
    },
}

impl MasterError {
    /// Returns the error inside `error`, if that is where it came from.
    pub fn within(error: &std::io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(super) fn into_io(self) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, self)
    }
}

/// The master key. Not `Clone` or `Display`; wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Master([u8; 32]);

impl Master {
    /// Derives the master key from `secret`, the content of the file at `place`.
    ///
    /// Errors: a secret of less than [`SECRET_BYTES_MIN`] bytes, blanks around it aside.
    pub fn from_secret(secret: &[u8], place: &str) -> Result<Self, MasterError> {
        let secret = secret.trim_ascii();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(MasterError::Short { place: place.to_owned() });
        }
        let digest = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(secret)));
        Ok(Self(keyed_digest(&digest, &[b"portcullis master v1"])))
    }

    /// Seals the key of the file `name`.
    pub(super) fn seal(
        &self,
        name: &str,
        key: &[u8],
        random: &Random,
    ) -> Result<Zeroizing<String>, NoRandomness> {
        let nonce = random.bytes::<NONCE_LEN>()?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(key.len() + 16));
        bytes.extend_from_slice(key);
        let sealed = self.file_key(name).seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(name),
            &mut *bytes,
        );
        assert!(sealed.is_ok(), "AES-256-GCM refused to seal a key");
        let whole = [&nonce[..], &bytes].concat();
        Ok(Zeroizing::new(format!("{SEALED}{}", Base64::encode_string(&whole))))
    }

    /// Opens what [`Master::seal`] sealed: `text` is what follows [`SEALED`].
    pub(super) fn open(&self, name: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, MasterError> {
        let wrong = || MasterError::Wrong { file: name.to_owned() };
        let whole = Base64::decode_vec(text).map_err(|_| wrong())?;
        let (nonce, sealed) = whole.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.file_key(name).open_in_place(nonce, Aad::from(name), &mut bytes);
        let len = opened.map_err(|_| wrong())?.len();
        bytes.truncate(len);
        Ok(bytes)
    }

    fn file_key(&self, name: &str) -> LessSafeKey {
        let key = Zeroizing::new(keyed_digest(&self.0, &[b"portcullis key file v1", name.as_bytes()]));
        match UnboundKey::new(&AES_256_GCM, &key[..]) {
            Ok(key) => LessSafeKey::new(key),
            Err(_) => unreachable!("a key of 32 bytes is the length that AES-256 takes"),
        }
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Master(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

    #[test]
    fn a_sealed_key_opens_with_its_master_and_name_alone() {
        let random = Random::seeded(1);
        let master = Master::from_secret(SECRET, "m").unwrap();
        let text = master.seal("edge-1.key", &[7; 32], &random).unwrap();
        let sealed = text.strip_prefix(SEALED).unwrap();
        assert_eq!(*master.open("edge-1.key", sealed).unwrap(), [7; 32]);
        // The line end of an editor is no part of the secret.
        let with_line_end = Master::from_secret(&[SECRET, b"\n"].concat(), "m").unwrap();
        assert_eq!(*with_line_end.open("edge-1.key", sealed).unwrap(), [7; 32]);
        assert!(master.open("edge-2.key", sealed).is_err());
        assert!(Master::from_secret(&[1; 32], "m").unwrap().open("edge-1.key", sealed).is_err());
        for at in 0..sealed.len() {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(master.open("edge-1.key", std::str::from_utf8(&bytes).unwrap()).is_err());
        }
        assert!(master.open("edge-1.key", "").is_err());
        assert_ne!(*text, *master.seal("edge-1.key", &[7; 32], &random).unwrap());
    }

    #[test]
    fn a_short_secret_is_refused_by_name() {
        let error = Master::from_secret(b"31 bytes are not enough to seal\n", "/etc/m").err().unwrap();
        assert!(error.to_string().contains("/etc/m"), "{error}");
        assert_eq!(format!("{:?}", Master::from_secret(SECRET, "m").unwrap()), "Master(..)");
    }
}
