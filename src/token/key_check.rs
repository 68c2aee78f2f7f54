//! Check values of keys: what the data remembers of each key that it was written with.
//!
//! **The attack:** the directory of the keys is that of another installation, or one bit of a key has flipped. Each file
//! is a key, so nothing looks wrong; but every account is unknown, every lockout is void, a name signs up again, or every
//! known device is a stranger.
//!
//! **The rule:** the journal holds a check value of the directory key and of every key of a ring, and a start with another
//! key, or without one of them, is refused. The value is an HMAC of a constant under the key, so it says nothing of the
//! key. That of a signing key is a digest of its id. A start does not need one that is remembered: a lost one costs no more
//! than the life of an access token. But it sets aside one that is not.

use super::key_files::KEY;
use super::key_kind::KeyKind;
use crate::value::id::keyed_digest;

/// The check value of one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyCheck {
    /// The kind of the key.
    pub kind: KeyKind,
    /// Its number among the keys of its kind.
    pub number: u8,
    /// HMAC-SHA-256 of a constant under the key; of a signing key, a digest of its id.
    pub value: [u8; 32],
}

impl KeyCheck {
    /// Computes the check value of the signing key `kid`. It has no number of its own.
    pub fn of_signing(kid: &str) -> Self {
        let value = keyed_digest(&[0; 32], &[b"portcullis signing key v1", kid.as_bytes()]);
        Self { kind: KeyKind::Signing, number: 0, value }
    }

    /// Computes the check value of `key`.
    pub fn of(kind: KeyKind, number: u8, key: &[u8; 32]) -> Self {
        Self { kind, number, value: keyed_digest(key, &[b"portcullis key check v1", kind.name().as_bytes()]) }
    }

    /// Returns the name of the key: its kind and number.
    pub fn name(&self) -> String {
        format!("{}-{}", self.kind.name(), self.number)
    }

    /// Returns the name of the file of the key.
    pub fn file(&self) -> String {
        self.name() + KEY
    }

    /// Says whether `other` is of the file of this key.
    fn is_of_same_file(&self, other: &Self) -> bool {
        self.kind == other.kind && self.number == other.number
    }
}

/// A key that is not the one that the data was written with.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}; with{} it {}", .what, if *.is_missing { "out" } else { "" }, effect(*.kind))]
pub struct KeyMismatch {
    /// The name of its file.
    pub file: String,
    /// The kind of the key.
    pub kind: KeyKind,
    /// Whether there is no such file.
    pub is_missing: bool,
    /// What is wrong.
    what: &'static str,
}

/// Compares the keys in files with what the data remembers. Keys that it does not remember are no mismatch: they are of
/// before it remembered any, or were made when its server was killed. Neither are signing keys. Returns those that differ first, then those that
/// are missing.
pub fn mismatches(remembered: &[KeyCheck], in_files: &[KeyCheck]) -> Vec<KeyMismatch> {
    let mismatch = |check: &KeyCheck| {
        let found = in_files.iter().find(|found| found.is_of_same_file(check));
        let (is_missing, what) = match found {
            Some(found) if found.value == check.value => return None,
            Some(_) => (false, "is not the key that this data was written with"),
            None => (true, "is missing, although this data was written with it"),
        };
        Some(KeyMismatch { file: check.file(), kind: check.kind, is_missing, what })
    };
    let needed = remembered.iter().filter(|check| check.kind != KeyKind::Signing);
    let mut mismatches: Vec<_> = needed.filter_map(mismatch).collect();
    mismatches.sort_by_key(|mismatch| (mismatch.is_missing, mismatch.kind != KeyKind::Directory));
    mismatches
}

/// Returns what a wrong or missing key of a kind breaks.
const fn effect(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Directory | KeyKind::Audit => "no account and no lockout is found",
        KeyKind::Edge => "no session, refresh token, API key or mailed link is valid that it made",
        KeyKind::Device => "every device that it made known is a stranger",
        KeyKind::Csrf => "every open page is refused that it was given to",
        KeyKind::Outbox => "mails that wait lose their links",
        KeyKind::Signing => "access tokens that it signed are refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: KeyKind, number: u8, key: u8) -> KeyCheck {
        KeyCheck::of(kind, number, &[key; 32])
    }

    #[test]
    fn a_check_value_depends_on_the_key_and_its_use_and_nothing_else() {
        assert_eq!(check(KeyKind::Device, 1, 7).value, check(KeyKind::Device, 2, 7).value);
        assert_ne!(check(KeyKind::Device, 1, 7).value, check(KeyKind::Csrf, 1, 7).value);
        let mut key = [7; 32];
        let value = KeyCheck::of(KeyKind::Device, 1, &key).value;
        for bit in 0..256 {
            key[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(KeyCheck::of(KeyKind::Device, 1, &key).value, value, "bit {bit}");
            key[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn another_key_or_a_missing_one_is_named_and_a_new_one_is_not() {
        let remembered =
            [check(KeyKind::Device, 1, 1), check(KeyKind::Device, 2, 2), check(KeyKind::Directory, 1, 3)];
        let said = |in_files: &[KeyCheck]| -> Vec<String> {
            let found = mismatches(&remembered, in_files);
            found.iter().map(|found| format!("{} {found}", found.file)).collect()
        };
        assert!(said(&remembered).is_empty());
        let more = [&remembered[..], &[check(KeyKind::Csrf, 1, 9)]].concat();
        assert!(said(&more).is_empty());
        assert!(mismatches(&[], &more).is_empty());
        let wrong = [check(KeyKind::Device, 2, 1), check(KeyKind::Directory, 1, 4)];
        assert_eq!(
            said(&wrong),
            [
                "directory-1.key is not the key that this data was written with; with it no account and no lockout is \
                 found",
                "device-2.key is not the key that this data was written with; with it every device that it made known \
                 is a stranger",
                "device-1.key is missing, although this data was written with it; without it every device that it \
                 made known is a stranger",
            ]
        );
    }
}
