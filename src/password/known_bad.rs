//! Known-bad passwords: an embedded filter of those that attackers try first, and the operator's own list.
//!
//! The filter contains each password that it was made from. One in 65,536 other passwords is a false positive, which
//! costs a user another try. It holds only fingerprints of hashes: neither an entry nor its rank or frequency can be
//! read from it. Whether it is an adaptation of the list need not be decided: the list may be used under the MIT
//! licence, and its collector has put it into the public domain. `NOTICE` names source and rights. Without the feature
//! `known-passwords` the filter is not compiled in. The ignored test below makes the file again:
//!
//! ```sh
//! PASSWORD_LIST=list.txt cargo test --lib make_the_filter -- --ignored
//! ```
//!
//! Source: NIST SP 800-63B-4 §3.1.1.2; Graf and Lemire, Binary Fuse Filters (2022).

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
#[cfg(any(test, feature = "known-passwords"))]
use xorf::DmaSerializable;
use xorf::{BinaryFuse16, Filter};
#[cfg(feature = "known-passwords")]
use xorf::{BinaryFuse16Ref, FilterRef};
use zeroize::Zeroizing;

use crate::system::bounded_file;
use crate::value::file_text::NotText;

/// Minimum length of the passwords that the filter is made from. The policy refuses shorter ones anyway.
#[cfg(test)]
const CHARS_MIN: usize = 8;

/// Descriptor and fingerprints, at an even address.
#[cfg(feature = "known-passwords")]
#[repr(align(2))]
struct Even<T: ?Sized>(T);

#[cfg(feature = "known-passwords")]
const EMBEDDED: &Even<[u8]> = &Even(*include_bytes!("known_bad.filter"));
const _: () =
    assert!(cfg!(target_endian = "little"), "the embedded filter is read in place and is little-endian");
#[cfg(any(test, feature = "known-passwords"))]
/// Length of the descriptor, rounded up so that the fingerprints after it begin at an even address.
const DESCRIPTOR_LEN: usize = BinaryFuse16::DESCRIPTOR_LEN.next_multiple_of(2);

/// The most bytes of the operator's list. Known lists of tens of millions of passwords are shorter.
const LIST_BYTES_MAX: usize = 256 << 20;

/// The passwords that are refused because they are known.
#[derive(Default)]
pub struct KnownBad {
    own: Option<BinaryFuse16>,
}

impl KnownBad {
    /// Returns the embedded list together with the operator's list of one password per line, if `list` names a file.
    pub fn load(list: Option<&Path>) -> io::Result<Self> {
        let Some(path) = list else { return Ok(Self::default()) };
        let with_path = |error: io::Error| {
            io::Error::new(error.kind(), format!("password.list_file {}: {error}", path.display()))
        };
        let bytes = bounded_file::read(path, LIST_BYTES_MAX).map_err(with_path)?;
        NotText::refuse_utf16(&bytes)
            .map_err(|error| with_path(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let text = String::from_utf8_lossy(&bytes);
        let keys = keys(text.lines(), 1);
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let own = BinaryFuse16::try_from(&keys).map_err(|error| with_path(io::Error::other(error)))?;
        Ok(Self { own: Some(own) })
    }

    /// Says whether `password` is known, in any capitalisation.
    pub fn contains(&self, password: &str) -> bool {
        self.contains_key(key(password))
    }

    fn contains_key(&self, key: u64) -> bool {
        is_embedded(key) || self.own.as_ref().is_some_and(|own| own.contains(&key))
    }
}

/// Says whether the embedded filter contains `key`.
#[cfg(feature = "known-passwords")]
fn is_embedded(key: u64) -> bool {
    let (descriptor, fingerprints) = EMBEDDED.0.split_at_checked(DESCRIPTOR_LEN).unwrap_or_default();
    // Only the first bytes are the descriptor. The file is part of this program, so its length is known.
    let descriptor = descriptor.get(..BinaryFuse16::DESCRIPTOR_LEN).unwrap_or_default();
    BinaryFuse16Ref::from_dma(descriptor, fingerprints).contains(&key)
}

#[cfg(not(feature = "known-passwords"))]
const fn is_embedded(_: u64) -> bool {
    false
}

impl std::fmt::Debug for KnownBad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KnownBad(own: {})", self.own.is_some())
    }
}

/// Returns the key of a password in a filter: 8 bytes of SHA-256. It is the same in every build, and an attacker cannot
/// easily find a password with a given key.
fn key(password: &str) -> u64 {
    let lower = Zeroizing::new(password.to_lowercase());
    let normal: Zeroizing<String> = Zeroizing::new(lower.nfc().collect());
    let digest: [u8; 32] = Sha256::digest(normal.as_bytes()).into();
    u64::from_le_bytes(digest.first_chunk().copied().unwrap_or_default())
}

/// Returns the keys of all lines that have at least `chars_min` characters, sorted and without duplicates.
fn keys<'a>(lines: impl Iterator<Item = &'a str>, chars_min: usize) -> Vec<u64> {
    // A file that was put together from several has a byte order mark where each began.
    let bare = |line: &'a str| line.trim_start_matches('\u{feff}').trim_end_matches('\r');
    let lines = lines.map(bare).filter(|line| line.chars().count() >= chars_min);
    let mut keys: Vec<u64> = lines.map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "known-passwords")]
    fn common_passwords_are_known_and_false_positives_are_rare() {
        assert!(EMBEDDED.0.len() <= 1_500_000, "{}", EMBEDDED.0.len());
        let known = KnownBad::default();
        for password in
            ["password1", "Password1", "iloveyou1", "qwertyuiop", "trustno1", "1234567890", "sunshine1"]
        {
            assert!(known.contains(password), "{password}");
        }
        let hits = (0..2_000_000_u64)
            .filter(|n| known.contains_key(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x55))
            .count();
        assert!(hits <= 2_000_000 / 50_000, "{hits}");
    }

    #[test]
    fn the_operators_list_is_known_too_and_an_unreadable_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt");
        assert!(KnownBad::load(Some(&path)).unwrap_err().to_string().contains("list.txt"));
        std::fs::write(&path, "acme-corp-summer-2026\r\nacme-corp-summer-2026\nUnser Haus am See\n").unwrap();
        let known = KnownBad::load(Some(&path)).unwrap();
        assert!(known.contains("ACME-corp-summer-2026"));
        assert!(known.contains("unser haus am see"));
        assert!(!known.contains("acme-corp-winter-2026"));
        assert!(!known.contains("acme"));
        std::fs::write(&path, "").unwrap();
        assert!(KnownBad::load(Some(&path)).is_ok());
        std::fs::write(&path, "\u{feff}gargoyle-lantern\r\n\u{feff}second-lantern\n").unwrap();
        let known = KnownBad::load(Some(&path)).unwrap();
        assert!(known.contains("gargoyle-lantern") && known.contains("second-lantern"));
        std::fs::write(&path, b"\xFF\xFEg\0a\0").unwrap();
        assert!(KnownBad::load(Some(&path)).unwrap_err().to_string().contains("UTF-16"));
    }

    #[test]
    #[ignore = "writes known_bad.filter from the list that PASSWORD_LIST names"]
    fn make_the_filter() {
        let list = std::env::var("PASSWORD_LIST").unwrap();
        let bytes = std::fs::read(list).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let keys = keys(text.lines(), CHARS_MIN);
        assert!(keys.len() >= 400_000, "{}", keys.len());
        let filter = BinaryFuse16::try_from(&keys).unwrap();
        let mut file = vec![0; DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut file[..BinaryFuse16::DESCRIPTOR_LEN]);
        file.extend_from_slice(filter.dma_fingerprints());
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/password/known_bad.filter");
        std::fs::write(path, &file).unwrap();
        eprintln!("{} passwords, {} bytes", keys.len(), file.len());
    }
}
