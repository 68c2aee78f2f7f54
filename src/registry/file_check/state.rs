//! The whole rule of what is remembered of files. Knows no actor, file, clock or randomness.

use super::record::{CheckedFile, FileCheckV1, key_of};
use crate::registry::buckets::Buckets;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::token::{KeyCheck, KeyKind};

/// A decision about remembered files with verdict `V`.
pub type Decision<V> = record::Decision<FileCheckV1, V>;

/// Remembers files. What is remembered already stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Remember {
    /// Keys other than signing keys, before anything that was written with them is acknowledged.
    pub keys: Vec<KeyCheck>,
    /// All signing keys that verify now; `None` changes nothing. What is remembered of any other one is forgotten.
    pub signing: Option<Vec<KeyCheck>>,
    /// A line of the log of security events up to which `audit.end` is known to reach, and its SHA-256.
    pub audit_end: Option<(u64, [u8; 32])>,
}

/// Forgets keys, before their files are removed.
#[derive(Clone, Debug)]
pub struct ForgetKeys {
    /// The kind and number of each.
    pub keys: Vec<(KeyKind, u8)>,
}

/// Everything that one engine remembers of files.
#[derive(Default)]
pub struct FileChecks {
    by_key: Buckets<[u8; 16], FileCheckV1>,
}

impl FileChecks {
    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], FileCheckV1> {
        &self.by_key
    }

    /// Returns the check values of all keys that are remembered.
    pub fn keys(&self) -> Vec<KeyCheck> {
        self.by_key.iter().filter_map(|(_, check)| check.key_check()).collect()
    }

    /// Returns the line of the log of security events that `audit.end` is known to reach, and its SHA-256. `None` if it is
    /// not known that there is such a file.
    pub fn audit_end(&self) -> Option<(u64, [u8; 32])> {
        self.by_key.get(&key_of(CheckedFile::AuditEnd, 0)).map(|end| (end.line, end.value))
    }

    /// Decides what is remembered from now on. A remembered key never changes, and the end of the log only grows.
    pub fn remember(&self, remember: &Remember, now: Timestamp) -> Decision<()> {
        let key = |check: &KeyCheck| {
            let file = CheckedFile::of_key(check.kind).filter(|file| *file != CheckedFile::Signing)?;
            let is_new = self.by_key.get(&key_of(file, check.number)).is_none();
            is_new.then(|| FileCheckV1 {
                file,
                number: check.number,
                value: check.value,
                line: 0,
                at_ms: now.as_millis(),
            })
        };
        let end =
            remember.audit_end.filter(|(line, _)| self.audit_end().is_none_or(|(known, _)| known < *line));
        let end = end.map(|(line, value)| FileCheckV1 {
            file: CheckedFile::AuditEnd,
            number: 0,
            value,
            line,
            at_ms: now.as_millis(),
        });
        let mut writes: Vec<_> = remember.keys.iter().filter_map(key).chain(end).map(Write::Put).collect();
        writes.extend(remember.signing.iter().flat_map(|signing| self.replace_signing(signing, now)));
        Decision { writes, verdict: () }
    }

    /// Returns the check values of the signing keys that are remembered. None are if an earlier version wrote the data.
    pub fn signing(&self) -> Vec<KeyCheck> {
        let mut keys = self.keys();
        keys.retain(|check| check.kind == KeyKind::Signing);
        keys
    }

    /// Returns the writes after which exactly `wanted` are the signing keys that are remembered.
    fn replace_signing(&self, wanted: &[KeyCheck], now: Timestamp) -> Vec<Write<FileCheckV1>> {
        let (kept, gone): (Vec<_>, Vec<_>) =
            self.signing().into_iter().partition(|known| wanted.iter().any(|key| key.value == known.value));
        let mut free = (1..=u8::MAX).filter(|number| !kept.iter().any(|known| known.number == *number));
        let is_new = |key: &&KeyCheck| !kept.iter().any(|known| known.value == key.value);
        let put: Vec<_> = wanted
            .iter()
            .filter(is_new)
            .zip(&mut free)
            .map(|(key, number)| FileCheckV1 {
                file: CheckedFile::Signing,
                number,
                value: key.value,
                line: 0,
                at_ms: now.as_millis(),
            })
            .collect();
        let is_overwritten = |key: &KeyCheck| put.iter().any(|put| put.number == key.number);
        let removed = gone.iter().filter(|key| !is_overwritten(key));
        let removed: Vec<_> =
            removed.map(|key| Write::Remove(key_of(CheckedFile::Signing, key.number))).collect();
        removed.into_iter().chain(put.into_iter().map(Write::Put)).collect()
    }

    /// Decides to forget keys.
    pub fn forget(&self, forget: &ForgetKeys) -> Decision<()> {
        let key = |(kind, number): &(KeyKind, u8)| {
            let key = key_of(CheckedFile::of_key(*kind)?, *number);
            self.by_key.get(&key).map(|_| Write::Remove(key))
        };
        Decision { writes: forget.keys.iter().filter_map(key).collect(), verdict: () }
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<FileCheckV1>) {
        match write {
            Write::Put(check) => drop(self.by_key.insert(record::Record::key(&check), check)),
            Write::Remove(key) => drop(self.by_key.remove(&key)),
        }
    }

    /// Removes nothing: what is remembered does not expire.
    pub const fn sweep(&mut self, _: usize, _: Timestamp) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn check(kind: KeyKind, number: u8, key: u8) -> KeyCheck {
        KeyCheck::of(kind, number, &[key; 32])
    }

    fn apply(checks: &mut FileChecks, decision: Decision<()>) -> usize {
        let count = decision.writes.len();
        for write in decision.writes {
            checks.apply(write);
        }
        count
    }

    fn remember(checks: &mut FileChecks, keys: &[KeyCheck], audit_end: Option<(u64, [u8; 32])>) -> usize {
        let decision = checks.remember(&Remember { keys: keys.to_vec(), audit_end, signing: None }, NOW);
        apply(checks, decision)
    }

    #[test]
    fn a_key_is_remembered_once_never_replaced_and_forgotten_by_name() {
        let mut checks = FileChecks::default();
        let keys =
            [check(KeyKind::Directory, 1, 1), check(KeyKind::Device, 1, 2), check(KeyKind::Device, 2, 3)];
        assert_eq!(remember(&mut checks, &keys, None), 3);
        assert_eq!(remember(&mut checks, &keys, None), 0);
        assert_eq!(remember(&mut checks, &[check(KeyKind::Device, 2, 9)], None), 0);
        let mut found = checks.keys();
        found.sort_by_key(KeyCheck::file);
        assert_eq!(found, [keys[1].clone(), keys[2].clone(), keys[0].clone()]);
        // Signing keys are given all at once.
        assert_eq!(remember(&mut checks, &[check(KeyKind::Signing, 1, 4)], None), 0);
        let forget = ForgetKeys { keys: vec![(KeyKind::Device, 1), (KeyKind::Csrf, 1)] };
        let decision = checks.forget(&forget);
        assert_eq!(apply(&mut checks, decision), 1);
        assert_eq!(checks.keys().len(), 2);
        // Its number may be given again, to another key.
        assert_eq!(remember(&mut checks, &[check(KeyKind::Device, 1, 5)], None), 1);
    }

    #[test]
    fn the_signing_keys_that_are_remembered_are_those_that_verify_now() {
        let mut checks = FileChecks::default();
        let mut set = |keys: &[&str]| {
            let signing = keys.iter().map(|kid| KeyCheck::of_signing(kid)).collect();
            let decision = checks.remember(&Remember { signing: Some(signing), ..Remember::default() }, NOW);
            let writes = apply(&mut checks, decision);
            let mut values: Vec<_> = checks.signing().into_iter().map(|check| check.value).collect();
            values.sort_unstable();
            let mut wanted: Vec<_> = keys.iter().map(|kid| KeyCheck::of_signing(kid).value).collect();
            wanted.sort_unstable();
            assert_eq!(values, wanted, "{keys:?}");
            writes
        };
        assert_eq!(set(&["a"]), 1);
        assert_eq!(set(&["a"]), 0);
        assert_eq!(set(&["b", "a"]), 1);
        assert_eq!(set(&["b", "a", "c"]), 1);
        // One is retired, and its number is given to the next.
        assert_eq!(set(&["b", "c"]), 1);
        assert_eq!(set(&["b", "c", "d"]), 1);
        assert_eq!(set(&["e"]), 3);
        assert_eq!(set(&["f"]), 1);
        assert_eq!(set(&[]), 1);
    }

    #[test]
    fn the_end_of_the_log_only_grows_and_counts_from_before_the_first_line() {
        let mut checks = FileChecks::default();
        assert_eq!(checks.audit_end(), None);
        assert_eq!(remember(&mut checks, &[], Some((0, [1; 32]))), 1);
        assert_eq!(checks.audit_end(), Some((0, [1; 32])));
        assert_eq!(remember(&mut checks, &[], Some((7, [2; 32]))), 1);
        for line in [7, 6, 0] {
            assert_eq!(remember(&mut checks, &[], Some((line, [3; 32]))), 0);
        }
        assert_eq!(checks.audit_end(), Some((7, [2; 32])));
        assert!(checks.keys().is_empty());
    }

    #[test]
    fn a_record_that_no_version_wrote_is_refused() {
        let key = FileCheckV1 { file: CheckedFile::Edge, number: 1, value: [0; 32], line: 0, at_ms: 1 };
        let end = FileCheckV1 { file: CheckedFile::AuditEnd, number: 0, line: 9, ..key.clone() };
        assert!(key.is_sound());
        assert!(end.is_sound());
        assert!(!FileCheckV1 { number: 0, ..key.clone() }.is_sound());
        assert!(!FileCheckV1 { line: 1, ..key }.is_sound());
        assert!(!FileCheckV1 { number: 1, ..end }.is_sound());
    }
}
