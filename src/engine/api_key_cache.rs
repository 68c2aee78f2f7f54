//! A cache of API keys that were checked a moment ago: a resource server asks with the same key for every token.
//!
//! An entry is valid only while the write counts stand still ([`crate::registry::write_counts`]), until the key expires,
//! and until its next use must be written. It is keyed by the digest of the secret, and the number of entries is bounded.

use std::sync::Arc;

use crate::registry::api_key::ApiKeyV1;
use crate::registry::sharded_map::Shards;
use crate::registry::write_counts::Stamp;
use crate::system::clock::Timestamp;
use crate::token::opaque::SecretDigest;

const SHARDS: usize = 16;
const PER_SHARD: usize = 64;

struct Kept {
    key: Arc<ApiKeyV1>,
    stamp: Stamp,
    until: Timestamp,
}

/// The cache of one engine.
#[derive(Default)]
pub(crate) struct ApiKeyCache(Shards<[u8; 32], Kept, SHARDS, PER_SHARD>);

impl ApiKeyCache {
    /// Returns the key with the secret of `digest`, if nothing was written to it since it was checked. `stamp` reads the
    /// write counts of a key.
    pub(crate) fn find(
        &self,
        digest: SecretDigest,
        now: Timestamp,
        stamp: impl FnOnce(&ApiKeyV1) -> Stamp,
    ) -> Option<Arc<ApiKeyV1>> {
        let (key, kept) = self.0.find(spread(digest), &digest.0, |kept| {
            (now < kept.until).then(|| (Arc::clone(&kept.key), kept.stamp))
        })?;
        (stamp(&key) == kept).then_some(key)
    }

    /// Keeps a key until `until`. `stamp` was read before its owner was asked.
    pub(crate) fn keep(
        &self,
        digest: SecretDigest,
        key: Arc<ApiKeyV1>,
        stamp: Stamp,
        until: Timestamp,
        now: Timestamp,
    ) {
        self.0.keep(spread(digest), digest.0, Kept { key, stamp, until }, |kept| now >= kept.until);
    }
}

fn spread(digest: SecretDigest) -> usize {
    digest.0.first().copied().unwrap_or_default().into()
}
