//! The whole rule of refresh-token families. Knows no actor, file, clock or randomness.

use std::time::Duration;

use super::record::{Cause, FamilyV1, SpentV1};
use crate::registry::buckets::Buckets;
use crate::registry::index::ByAccount;
use crate::registry::record::{self, ENDED_AT_ONCE, Record, Write};
use crate::system::clock::Timestamp;
use crate::token::opaque::{SealedSuccessor, SecretDigest};
use crate::value::id::{AccountId, FamilyId};

/// A decision about families with verdict `V`.
pub type Decision<V> = record::Decision<FamilyV1, V>;

/// The lifetimes of families and tokens.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a spent token gets its successor again.
    pub grace: Duration,
    /// How long a token lives unused.
    pub idle: Duration,
    /// How long a family lives at most.
    pub absolute: Duration,
}

/// Opens a family at a log-in.
#[derive(Clone, Debug)]
pub struct OpenFamily {
    /// The id of the new family, minted in the account's slot.
    pub id: FamilyId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// The account's epoch, as the gate has just read it.
    pub auth_epoch: u64,
    /// The global epoch.
    pub global_epoch: u64,
    /// SHA-256 of the first token's secret.
    pub digest: SecretDigest,
    /// The network of the log-in.
    pub network: Box<str>,
    /// The client's `User-Agent`, truncated.
    pub user_agent: Box<str>,
}

/// Presents a token for a new one. Its check tag was right, so it was minted here.
#[derive(Clone, Debug)]
pub struct Rotate {
    /// The family it names.
    pub id: FamilyId,
    /// The generation it names.
    pub generation: u32,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
    /// SHA-256 of the secret of the token that would succeed it.
    pub next_digest: SecretDigest,
    /// The successor's secret, sealed under a key derived from the presented token.
    pub next_sealed: SealedSuccessor,
}

/// Ends a family. The first cause stays.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The family.
    pub id: FamilyId,
    /// Why it ends.
    pub cause: Cause,
}

/// Ends the families of an account but one, as many of them as one entry holds. The answer says whether there are more.
#[derive(Clone, Copy, Debug)]
pub struct EndOthers {
    /// The account.
    pub account: AccountId,
    /// The id of the family that stays; `None` ends all of them.
    pub except: Option<[u8; 16]>,
    /// Why they end.
    pub cause: Cause,
}

/// Moves a family from one epoch of its account to another.
#[derive(Clone, Copy, Debug)]
pub struct CarryOver {
    /// The family.
    pub family: FamilyId,
    /// The epoch it must have.
    pub from: u64,
    /// The epoch it gets.
    pub to: u64,
}

/// The result of a rotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rotated {
    /// The proposed successor is the live token now.
    Fresh(FamilyV1),
    /// The token was spent within the grace: its successor again, to be opened with the presented token.
    Again(FamilyV1, SealedSuccessor),
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No family has this id, or the secret is wrong.
    #[error("no such refresh token")]
    Unknown,
    /// The family or its live token is expired.
    #[error("refresh token has expired")]
    Expired,
    /// The family was ended before.
    #[error("refresh token was revoked")]
    Revoked,
    /// The token was spent before; this request ends its family.
    #[error("refresh token was already spent")]
    Reused,
    /// The family was ended by an earlier reuse.
    #[error("refresh token belongs to a family that was ended for reuse")]
    EndedForReuse,
}

/// All families of one engine.
pub struct Families {
    by_id: Buckets<[u8; 16], FamilyV1>,
    by_account: ByAccount,
    limits: Limits,
}

impl Families {
    /// Creates an empty set of families.
    pub fn new(limits: Limits) -> Self {
        Self { by_id: Buckets::new(), by_account: ByAccount::new(), limits }
    }

    /// Returns the family of `id`, alive or not.
    pub fn get(&self, id: FamilyId) -> Option<&FamilyV1> {
        self.by_id.get(&id.to_bytes())
    }

    /// Returns the number of families, including ended ones until they expire.
    pub const fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Says whether there is no family.
    pub const fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Decides the opening of a family at `now`.
    pub fn open(&self, open: &OpenFamily, now: Timestamp) -> Decision<FamilyV1> {
        let absolute_end = now + self.limits.absolute;
        let family = FamilyV1 {
            id: open.id,
            account: open.account,
            auth_epoch: open.auth_epoch,
            global_epoch: open.global_epoch,
            opened_ms: now.as_millis(),
            rotated_ms: now.as_millis(),
            idle_end_ms: (now + self.limits.idle).min(absolute_end).as_millis(),
            absolute_end_ms: absolute_end.as_millis(),
            generation: 0,
            digest: open.digest.0,
            spent: None,
            ended: None,
            client: format!("{} {}", open.network, open.user_agent).into(),
        };
        Decision::put(family.clone(), family)
    }

    /// Decides what a presented token gets at `now`.
    ///
    /// Security: a false grant gives a thief a token; a false [`Refusal::Reused`] logs an honest user out.
    /// Source: RFC 9700 §4.14.2.
    pub fn rotate(&self, rotate: &Rotate, now: Timestamp) -> Decision<Result<Rotated, Refusal>> {
        let Some(family) = self.get(rotate.id) else {
            return Decision::unchanged(Err(Refusal::Unknown));
        };
        let newest = family.generation;
        if rotate.generation == newest {
            if SecretDigest(family.digest) != rotate.digest {
                return Decision::unchanged(Err(Refusal::Unknown));
            }
            if let Err(refusal) = alive(family, now) {
                return Decision::unchanged(Err(refusal));
            }
            let Some(generation) = newest.checked_add(1) else {
                return Decision::unchanged(Err(Refusal::Expired));
            };
            let mut next = family.clone();
            next.generation = generation;
            next.digest = rotate.next_digest.0;
            next.spent = Some(Box::new(SpentV1 { digest: rotate.digest.0, successor: rotate.next_sealed }));
            next.rotated_ms = now.as_millis().max(family.rotated_ms);
            next.idle_end_ms = (now + self.limits.idle).as_millis().min(family.absolute_end_ms);
            return Decision::put(next.clone(), Ok(Rotated::Fresh(next)));
        }
        if rotate.generation > newest {
            return Decision::unchanged(Err(Refusal::Unknown));
        }
        // The token is spent. The secret of the one spent last can still be checked; of an older one it is only known
        // that it was minted here.
        let last = family.spent.as_ref().filter(|_| rotate.generation.checked_add(1) == Some(newest));
        if let Some(spent) = last
            && SecretDigest(spent.digest) != rotate.digest
        {
            return Decision::unchanged(Err(Refusal::Unknown));
        }
        if let Err(refusal) = alive(family, now) {
            return Decision::unchanged(Err(refusal));
        }
        let within_grace = now.since(Timestamp(family.rotated_ms)) < self.limits.grace;
        match last {
            Some(spent) if within_grace => {
                Decision::unchanged(Ok(Rotated::Again(family.clone(), spent.successor)))
            }
            _ => Decision::put(ended(family, Cause::Reuse), Err(Refusal::Reused)),
        }
    }

    /// Decides the end of a family. Idempotent: the first cause stays.
    pub fn end(&self, end: End) -> Decision<()> {
        match self.get(end.id) {
            Some(family) if family.ended.is_none() => Decision::put(ended(family, end.cause), ()),
            _ => Decision::unchanged(()),
        }
    }

    /// Decides the end of the families of an account but one, at most [`ENDED_AT_ONCE`] of them. The verdict says
    /// whether there are more.
    pub fn end_others(&self, end_others: EndOthers, now: Timestamp) -> Decision<bool> {
        let EndOthers { account, except, cause } = end_others;
        let mut others =
            self.of_account(account, now).into_iter().filter(|family| Some(family.key()) != except);
        let writes =
            others.by_ref().take(ENDED_AT_ONCE).map(|family| Write::Put(ended(&family, cause))).collect();
        Decision { writes, verdict: others.next().is_some() }
    }

    /// Returns the families that give nothing any more and whose last access token may have been issued since `since`,
    /// each with the latest time at which it may have been issued. A rotation that is answered again within the grace
    /// issues one as well. A family gives nothing if it was ended, or if `is_valid` says no: its account's epoch may
    /// have been raised just before a crash, before the family was ended.
    pub fn dead_since(
        &self,
        since: Timestamp,
        is_valid: impl Fn(&FamilyV1) -> bool,
    ) -> impl Iterator<Item = (FamilyId, Timestamp)> {
        let families = self.by_id.iter().map(|(_, family)| family);
        let grace = self.limits.grace;
        let issued = families.map(move |family| (family, Timestamp(family.rotated_ms) + grace));
        let is_dead = move |family: &FamilyV1| family.ended.is_some() || !is_valid(family);
        let dead = issued.filter(move |(family, issued)| *issued >= since && is_dead(family));
        dead.map(|(family, issued)| (family.id, issued))
    }

    /// Decides that a family goes on under another epoch of its account: the one family that changed the password.
    pub fn carry_over(&self, carry_over: CarryOver) -> Decision<()> {
        let CarryOver { family, from, to } = carry_over;
        match self.get(family) {
            Some(family) if family.ended.is_none() && family.auth_epoch == from => {
                Decision::put(FamilyV1 { auth_epoch: to, ..family.clone() }, ())
            }
            _ => Decision::unchanged(()),
        }
    }

    /// Begins recovery. The families of an account cannot be found until [`Families::recovered`].
    pub fn recover(&mut self) {
        self.by_account.suspend();
    }

    /// Ends recovery and builds the index.
    pub fn recovered(&mut self) {
        let all = self.by_id.iter();
        self.by_account.build(all.map(|(id, family)| (family.account.to_bytes(), *id)));
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<FamilyV1>) {
        match write {
            Write::Put(family) => {
                let id = family.key();
                let account = family.account.to_bytes();
                if self.by_id.insert(id, family).is_none() {
                    self.by_account.insert(account, id);
                }
            }
            Write::Remove(id) => self.forget(id),
        }
    }

    fn forget(&mut self, id: [u8; 16]) {
        let Some(family) = self.by_id.remove(&id) else { return };
        self.by_account.remove(family.account.to_bytes(), id);
    }

    /// Returns the families of `account` that may still be alive.
    pub fn of_account(&self, account: AccountId, now: Timestamp) -> Vec<FamilyV1> {
        let families = self.by_account.of(account.to_bytes()).filter_map(|id| self.by_id.get(id));
        families.filter(|family| alive(family, now).is_ok()).cloned().collect()
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], FamilyV1> {
        &self.by_id
    }

    /// Removes the families of one bucket that are past their absolute end, and returns how many there were.
    ///
    /// Writes nothing to the journal: the end is in the record, so a replayed record is still expired. An ended family
    /// stays until then, so that its tokens can be told from unknown ones.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let is_over = |family: &FamilyV1| now.as_millis() >= family.absolute_end_ms;
        let keys: Vec<_> =
            self.by_id.bucket(bucket).filter(|(_, family)| is_over(family)).map(|(key, _)| *key).collect();
        for key in &keys {
            self.forget(*key);
        }
        keys.len()
    }
}

/// Returns the family that a write ends, if it ends one. Each family is returned once, since an ended family is not
/// written again.
pub(super) fn ended_by(write: &Write<FamilyV1>) -> Option<[u8; 16]> {
    match write {
        Write::Put(family) => family.ended.map(|_| family.key()),
        Write::Remove(_) => None,
    }
}

/// Checks that a family is alive at `now`. The gate checks the epochs.
pub fn alive(family: &FamilyV1, now: Timestamp) -> Result<(), Refusal> {
    match family.ended {
        Some(Cause::Reuse) => Err(Refusal::EndedForReuse),
        Some(Cause::LogOut | Cause::Revoked) => Err(Refusal::Revoked),
        None if family.is_expired(now) => Err(Refusal::Expired),
        None => Ok(()),
    }
}

fn ended(family: &FamilyV1, cause: Cause) -> FamilyV1 {
    // The successor must not be handed out again.
    let spent = family.spent.clone().map(|spent| Box::new(SpentV1 { successor: [0; 40], ..*spent }));
    FamilyV1 { ended: Some(cause), spent, ..family.clone() }
}

#[cfg(test)]
mod tests;
