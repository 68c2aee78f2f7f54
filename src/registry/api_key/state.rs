//! The whole rule of API keys. Knows no actor, file, clock or randomness.

use std::time::Duration;

use super::record::{ApiKeyV1, Scope};
use crate::registry::buckets::Buckets;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::token::opaque::SecretDigest;
use crate::value::id::ApiKeyId;

/// Maximum number of API keys that are alive at a time. At this bound no more are made until one is deleted or expires.
pub const API_KEYS_MAX: usize = 1_000;
/// Maximum life of an API key.
pub const LIFE_MAX: Duration = Duration::from_hours(24 * 400);
/// The least time between two journalled uses of a key.
const USE_WRITTEN_EVERY: Duration = Duration::from_hours(1);

/// A decision about API keys with verdict `V`.
pub type Decision<V> = record::Decision<ApiKeyV1, V>;

/// There are [`API_KEYS_MAX`] keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooMany;

/// Makes a key.
#[derive(Clone, Debug)]
pub struct MakeApiKey {
    /// The id of the new key.
    pub id: ApiKeyId,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
    /// Its name.
    pub name: Box<str>,
    /// What it may do, sorted, each once.
    pub scopes: Vec<Scope>,
    /// The global epoch.
    pub global_epoch: u64,
    /// When it expires. At most [`LIFE_MAX`] from now.
    pub end: Timestamp,
    /// Who makes it.
    pub made_by: Box<str>,
}

/// Uses a key.
#[derive(Clone, Copy, Debug)]
pub struct UseApiKey {
    /// The key that the request names.
    pub id: ApiKeyId,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
    /// The global epoch.
    pub global_epoch: u64,
}

/// Deletes a key.
#[derive(Clone, Copy, Debug)]
pub struct DeleteApiKey {
    /// The key.
    pub id: ApiKeyId,
    /// The global epoch.
    pub global_epoch: u64,
}

/// All API keys of one engine.
#[derive(Default)]
pub struct ApiKeys {
    by_id: Buckets<[u8; 16], ApiKeyV1>,
}

impl ApiKeys {
    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], ApiKeyV1> {
        &self.by_id
    }

    /// Decides the making of a key at `now`.
    pub fn make(&self, make: MakeApiKey, now: Timestamp) -> Decision<Result<ApiKeyV1, TooMany>> {
        if self.listed(make.global_epoch, now).count() >= API_KEYS_MAX {
            return Decision::unchanged(Err(TooMany));
        }
        let key = ApiKeyV1 {
            id: make.id.to_bytes(),
            name: make.name,
            digest: make.digest.0,
            scopes: make.scopes,
            global_epoch: make.global_epoch,
            made_ms: now.as_millis(),
            end_ms: make.end.max(now).min(now + LIFE_MAX).as_millis(),
            used_ms: 0,
            made_by: make.made_by,
        };
        Decision::put(key.clone(), Ok(key))
    }

    /// Returns the key that a request presents, if it is alive at `now`. Writes the use, at most once an hour.
    pub fn use_key(&self, used: UseApiKey, now: Timestamp) -> Decision<Option<ApiKeyV1>> {
        let key = self.alive(used.id, used.global_epoch, now);
        match key.filter(|key| SecretDigest(key.digest) == used.digest) {
            None => Decision::unchanged(None),
            Some(key) if now < written_until(key) => Decision::unchanged(Some(key.clone())),
            Some(key) => {
                let used = ApiKeyV1 { used_ms: now.as_millis(), ..key.clone() };
                Decision::put(used.clone(), Some(used))
            }
        }
    }

    /// Decides the deletion of a key. The verdict says whether it was alive.
    pub fn delete(&self, delete: DeleteApiKey, now: Timestamp) -> Decision<bool> {
        match self.alive(delete.id, delete.global_epoch, now) {
            Some(key) => Decision::remove(key.id, true),
            None => Decision::unchanged(false),
        }
    }

    /// Returns the keys that are alive at `now`, in the order in which they were made.
    pub fn list(&self, global_epoch: u64, now: Timestamp) -> Vec<ApiKeyV1> {
        let mut keys: Vec<_> = self.listed(global_epoch, now).cloned().collect();
        keys.sort_by_key(|key| (key.made_ms, key.id));
        keys
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<ApiKeyV1>) {
        match write {
            Write::Put(key) => drop(self.by_id.insert(key.id, key)),
            Write::Remove(id) => drop(self.by_id.remove(&id)),
        }
    }

    /// Removes the expired keys of one bucket and returns how many there were. Writes nothing to the journal: the end is
    /// in the record.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let expired = self.by_id.bucket(bucket).filter(|(_, key)| now >= key.end());
        let ids: Vec<_> = expired.map(|(id, _)| *id).collect();
        for id in &ids {
            self.by_id.remove(id);
        }
        ids.len()
    }

    fn alive(&self, id: ApiKeyId, global_epoch: u64, now: Timestamp) -> Option<&ApiKeyV1> {
        self.by_id.get(&id.to_bytes()).filter(|key| is_alive(key, global_epoch, now))
    }

    fn listed(&self, global_epoch: u64, now: Timestamp) -> impl Iterator<Item = &ApiKeyV1> {
        self.by_id.iter().map(|(_, key)| key).filter(move |key| is_alive(key, global_epoch, now))
    }
}

/// Says whether `key` is alive at `now`.
pub fn is_alive(key: &ApiKeyV1, global_epoch: u64, now: Timestamp) -> bool {
    key.global_epoch == global_epoch && now < key.end()
}

/// Returns the time until which another use of `key` need not be journalled.
pub fn written_until(key: &ApiKeyV1) -> Timestamp {
    if key.used_ms == 0 { Timestamp::ZERO } else { Timestamp(key.used_ms) + USE_WRITTEN_EVERY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::buckets::BUCKETS;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn make(number: u16, life: Duration) -> MakeApiKey {
        let mut random = [0; 14];
        random[..2].copy_from_slice(&number.to_be_bytes());
        MakeApiKey {
            id: ApiKeyId::mint(random),
            digest: SecretDigest([5; 32]),
            name: "service".into(),
            scopes: vec![Scope::Introspect],
            global_epoch: 3,
            end: START + life,
            made_by: "operator".into(),
        }
    }

    fn made(keys: &mut ApiKeys, number: u16, life: Duration) -> ApiKeyId {
        let decision = keys.make(make(number, life), START);
        decision.writes.into_iter().for_each(|write| keys.apply(write));
        ApiKeyId::from_bytes(decision.verdict.unwrap().id).unwrap()
    }

    fn used(id: ApiKeyId) -> UseApiKey {
        UseApiKey { id, digest: SecretDigest([5; 32]), global_epoch: 3 }
    }

    #[test]
    fn a_key_is_alive_with_its_secret_and_epoch_until_its_end() {
        let mut keys = ApiKeys::default();
        let id = made(&mut keys, 1, DAY);
        let is_alive = |keys: &ApiKeys, used, now| keys.use_key(used, now).verdict.is_some();
        assert!(is_alive(&keys, used(id), START));
        assert!(!is_alive(&keys, UseApiKey { digest: SecretDigest([6; 32]), ..used(id) }, START));
        assert!(!is_alive(&keys, UseApiKey { global_epoch: 4, ..used(id) }, START));
        assert!(!is_alive(&keys, used(ApiKeyId::mint([9; 14])), START));
        assert!(is_alive(&keys, used(id), START + DAY - Duration::from_millis(1)));
        assert!(!is_alive(&keys, used(id), START + DAY));
        assert!(keys.list(3, START + DAY).is_empty());
        let deleted = keys.delete(DeleteApiKey { id, global_epoch: 3 }, START);
        assert!(deleted.verdict);
        deleted.writes.into_iter().for_each(|write| keys.apply(write));
        assert!(!is_alive(&keys, used(id), START));
        assert!(!keys.delete(DeleteApiKey { id, global_epoch: 3 }, START).verdict);
    }

    #[test]
    fn a_use_is_written_once_an_hour() {
        let mut keys = ApiKeys::default();
        let id = made(&mut keys, 1, DAY);
        let mut writes = 0;
        for minute in 0..180 {
            let decision = keys.use_key(used(id), START + Duration::from_mins(minute));
            writes += decision.writes.len();
            decision.writes.into_iter().for_each(|write| keys.apply(write));
        }
        assert_eq!(writes, 3);
        assert_eq!(keys.list(3, START)[0].used_ms, (START + Duration::from_hours(2)).as_millis());
    }

    #[test]
    fn their_number_and_life_are_bounded() {
        let mut keys = ApiKeys::default();
        for number in 0..API_KEYS_MAX as u16 {
            made(&mut keys, number, DAY * 10_000);
        }
        assert_eq!(keys.make(make(5000, DAY), START).verdict, Err(TooMany));
        assert_eq!(keys.list(3, START).len(), API_KEYS_MAX);
        let later = START + LIFE_MAX;
        assert!(keys.make(make(5000, DAY * 500), later).verdict.is_ok());
        let swept: usize = (0..BUCKETS).map(|bucket| keys.sweep(bucket, later)).sum();
        assert_eq!(swept, API_KEYS_MAX);
        assert!(keys.buckets().is_empty());
    }
}
