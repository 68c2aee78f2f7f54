//! Counts of writes, one for every few keys. While no count has changed, a verdict that was once opened can be given
//! again without asking its actor.
//!
//! An actor counts each write in the same step in which it applies it, and a cache reads the counts *before* it asks
//! the actor. So a cached verdict is never older than the last write that was acknowledged to any client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of counts. Keys share a count with others; a write of one of those costs one question more.
const STRIPES: usize = 1 << 14;

/// The write counts of one engine.
#[derive(Debug)]
pub struct WriteCounts {
    stripes: Box<[AtomicU64]>,
    /// Counts changes that concern every verdict. Shared by the engines of a process.
    all: Arc<AtomicU64>,
}

/// The counts that a verdict depends on: of its record, of the account the record belongs to, and of everything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    record: u64,
    owner: u64,
    all: u64,
}

impl Stamp {
    /// Returns the stamp with the count of the account, which must be read before the actor is asked for the account.
    #[must_use]
    pub const fn with_owner(self, owner: u64) -> Self {
        Self { owner, ..self }
    }
}

impl Default for WriteCounts {
    fn default() -> Self {
        Self::sharing(Arc::default())
    }
}

impl WriteCounts {
    /// Creates counts at zero. `all` is the count that the engines of a process share.
    pub fn sharing(all: Arc<AtomicU64>) -> Self {
        Self { stripes: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(), all }
    }

    /// Counts a write or removal of the record of `key`.
    pub fn note(&self, key: &[u8]) {
        if let Some(stripe) = self.stripe(key) {
            stripe.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Returns the count of the record of `key`.
    pub fn count(&self, key: &[u8]) -> u64 {
        self.stripe(key).map_or(0, |stripe| stripe.load(Ordering::SeqCst))
    }

    /// Returns the counts of a record and of everything. `owner` is the count of the account it belongs to.
    pub fn stamp(&self, key: &[u8], owner: u64) -> Stamp {
        Stamp { record: self.count(key), owner, all: self.all.load(Ordering::SeqCst) }
    }

    fn stripe(&self, key: &[u8]) -> Option<&AtomicU64> {
        self.stripes.get(crc32c::crc32c(key) as usize % STRIPES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_until_something_it_depends_on_is_written() {
        let all = Arc::new(AtomicU64::new(0));
        let counts = WriteCounts::sharing(Arc::clone(&all));
        let stamp = || counts.stamp(b"session", counts.count(b"account"));
        let first = stamp();
        counts.note(b"another account");
        assert_eq!(stamp(), first);
        let count_all = || {
            all.fetch_add(1, Ordering::SeqCst);
        };
        let changes: [&dyn Fn(); 3] = [&|| counts.note(b"session"), &|| counts.note(b"account"), &count_all];
        for change in changes {
            let before = stamp();
            change();
            assert_ne!(stamp(), before);
        }
    }
}
