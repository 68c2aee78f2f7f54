//! What has changed since: a count of writes for every few keys, so that a verdict that was once opened can be given again
//! without asking its owner, for as long as nothing it rests on was written.
//!
//! An owner notes each write in the same breath in which it makes it true; whoever keeps a verdict reads the counts
//! *before* asking for it. So a kept verdict is never older than the last write that was acknowledged to anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys share a count with others: a write of one of those costs one question more.
const STRIPES: usize = 1 << 14;

/// The counts of one engine.
#[derive(Debug)]
pub struct WriteCounts {
    stripes: Box<[AtomicU64]>,
    /// Shared by the engines of a process: counts changes on which every verdict may rest.
    all: Arc<AtomicU64>,
}

/// What was counted for a record, for the one it belongs to, and for everything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    record: u64,
    owner: u64,
    all: u64,
}

impl Stamp {
    /// With what was counted for the owner, read before the owner was asked.
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
    /// Starts at zero. `all` is the count that the engines of a process share.
    pub fn sharing(all: Arc<AtomicU64>) -> Self {
        Self { stripes: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(), all }
    }

    /// A record was written or removed.
    pub fn note(&self, key: &[u8]) {
        if let Some(stripe) = self.stripe(key) {
            stripe.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What is counted for a record.
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
    fn a_stamp_holds_until_something_it_rests_on_is_written() {
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
