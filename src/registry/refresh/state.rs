//! The whole rule of refresh-token families. Knows no actor, file, clock or randomness.

mod presented;
mod told;

use std::time::Duration;

use self::presented::Judged;
pub use self::presented::{LogOut, LoggedOut, Presented};
use super::pauses::Pauses;
use super::record::{Audience, Cause, FamilyV3, SpentByV1, SpentV2};
use super::tombstones::Tombstones;
use crate::registry::Revocation;
use crate::registry::buckets::Buckets;
use crate::registry::index::ByAccount;
use crate::registry::record::{self, AAL1, ENDED_AT_ONCE, EXAMINED_AT_ONCE, LastUse, Record, Write};
use crate::system::clock::Timestamp;
use crate::token::opaque::{SealedSuccessor, SecretDigest};
use crate::value::id::{AccountId, FamilyId};

/// A decision about families with verdict `V`.
pub type Decision<V> = record::Decision<FamilyV3, V>;

/// The lifetimes of families and tokens.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a spent token gets its successor again.
    pub grace: Duration,
    /// How long a token lives unused.
    pub idle: Duration,
    /// How long a family lives at most.
    pub absolute: Duration,
    /// How long an ended family is remembered: longer than its last access token lives.
    pub remember_ended: Duration,
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
    /// What its access tokens are for.
    pub audience: Audience,
    /// When the user proved who they are; `None` if they have just done it.
    pub proved: Option<Timestamp>,
    /// The methods by which they did, as bits.
    pub methods: u16,
    /// Whether it takes the place of another credential, with a change that is done already.
    pub replaces: bool,
}

/// A family that was opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenedFamily {
    /// The family.
    pub family: FamilyV3,
    /// The number of families that the account has open, with this one.
    pub open: usize,
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
    /// Who presents it.
    pub by: SpentByV1,
}

/// Ends a family. The first cause stays.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The family.
    pub id: FamilyId,
    /// Why it ends.
    pub cause: Cause,
    /// The client that ends it by a log-out. Nobody else is suspected if a spent token comes back.
    pub by: Option<SpentByV1>,
}

/// Ends the families of an account but one, as many of them as one entry holds. The answer says where to go on.
#[derive(Clone, Copy, Debug)]
pub struct EndOthers {
    /// The account.
    pub account: AccountId,
    /// The id of the family that stays; `None` ends all of them.
    pub except: Option<[u8; 16]>,
    /// Why they end.
    pub cause: Cause,
    /// The client that ends them by a log-out.
    pub by: Option<SpentByV1>,
    /// Where the message before has stopped; `None` for the first one.
    pub after: Option<[u8; 16]>,
}

/// Ends some families of an account, which give way to a new one.
#[derive(Clone, Debug)]
pub struct EndThese {
    /// Their ids, at most [`ENDED_AT_ONCE`].
    pub ids: Vec<[u8; 16]>,
}

/// Reads a page of the families that are open for an account, in the order of their ids.
#[derive(Clone, Copy, Debug)]
pub struct PageOf {
    /// The account.
    pub account: AccountId,
    /// The epoch of the account that they must have.
    pub auth_epoch: u64,
    /// The global epoch. What was opened under another one is dead.
    pub global_epoch: u64,
    /// The last family of the page before; `None` for the first page.
    pub after: Option<[u8; 16]>,
    /// How many families at most.
    pub limit: usize,
}

/// Records that an access token is issued now, since the user has just proved again who they are.
#[derive(Clone, Copy, Debug)]
pub struct Issue {
    /// The family.
    pub id: FamilyId,
    /// The epoch of the account that it must have.
    pub auth_epoch: u64,
}

/// The result of a rotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rotated {
    /// The proposed successor is the live token now.
    Fresh(FamilyV3),
    /// The token was spent within the grace: its successor again, to be opened with the presented token.
    Again(FamilyV3, SealedSuccessor),
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
    by_id: Buckets<[u8; 16], FamilyV3>,
    /// Those that were not ended.
    by_account: ByAccount,
    /// Those that were ended.
    tombstones: Tombstones,
    limits: Limits,
    pauses: Pauses,
}

impl Families {
    /// Creates an empty set of families.
    pub fn new(limits: Limits) -> Self {
        Self {
            by_id: Buckets::new(),
            by_account: ByAccount::new(),
            tombstones: Tombstones::default(),
            limits,
            pauses: Pauses::default(),
        }
    }

    /// Returns the family of `id`, alive or not.
    pub fn get(&self, id: FamilyId) -> Option<&FamilyV3> {
        self.by_id.get(&id.to_bytes())
    }

    /// Returns the number of families, including ended ones until they are forgotten.
    pub const fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Says whether there is no family.
    pub const fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Decides the opening of a family at `now`.
    pub fn open(&self, open: &OpenFamily, now: Timestamp) -> Decision<OpenedFamily> {
        let absolute_end = now + self.limits.absolute;
        let family = FamilyV3 {
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
            methods: open.methods,
            level: AAL1,
            proved_ms: open.proved.unwrap_or(now).as_millis(),
            device: [0; 8],
            audience: open.audience,
            second_network: None,
            issued_ms: now.as_millis(),
            log_out: None,
        };
        let others = self.open_count(open.account, now);
        Decision::put(family.clone(), OpenedFamily { family, open: others + 1 })
    }

    /// Decides what a presented token gets at `now`.
    ///
    /// Security: a false grant gives a thief a token; a false [`Refusal::Reused`] logs an honest user out.
    /// Source: RFC 9700 §4.14.2.
    pub fn rotate(&self, rotate: &Rotate, now: Timestamp) -> Decision<Result<Rotated, Refusal>> {
        let Rotate { id, generation, digest, by, .. } = *rotate;
        match self.judge(&Presented { id, generation, digest, by }, now) {
            Judged::Live(family) => self.spend(family, rotate, now),
            Judged::Again { family, spent, served } => self.replay(family, spent, by, now - served),
            Judged::Reused(family) => {
                Decision { writes: self.reused(family, now), verdict: Err(Refusal::Reused) }
            }
            Judged::Refused(refusal) => Decision::unchanged(Err(refusal)),
        }
    }

    /// Decides the rotation of a live token.
    fn spend(
        &self,
        family: &FamilyV3,
        rotate: &Rotate,
        now: Timestamp,
    ) -> Decision<Result<Rotated, Refusal>> {
        let Some(generation) = family.generation.checked_add(1) else {
            return Decision::unchanged(Err(Refusal::Expired));
        };
        let spent = SpentV2 { digest: rotate.digest.0, successor: rotate.next_sealed, by: Some(rotate.by) };
        let next = FamilyV3 {
            generation,
            digest: rotate.next_digest.0,
            spent: Some(Box::new(spent)),
            rotated_ms: now.as_millis().max(family.rotated_ms),
            idle_end_ms: (now + self.limits.idle).as_millis().min(family.absolute_end_ms),
            ..family.clone()
        };
        Decision::put(next.clone(), Ok(Rotated::Fresh(next)))
    }

    /// Decides that a spent token gets its successor again. `rotated` is when it was spent, less the pauses since.
    fn replay(
        &self,
        family: &FamilyV3,
        spent: &SpentV2,
        by: SpentByV1,
        rotated: Timestamp,
    ) -> Decision<Result<Rotated, Refusal>> {
        let mut next = family.clone();
        if spent.by.is_some_and(|spent_by| !spent_by.shares_network(by)) {
            next.second_network = Some(by.network_text());
        }
        // An access token is issued later than the time of the rotation says: what is known of the last one moves on.
        next.rotated_ms = next.rotated_ms.max(rotated.as_millis());
        let again = Rotated::Again(next.clone(), spent.successor);
        if next == *family { Decision::unchanged(Ok(again)) } else { Decision::put(next, Ok(again)) }
    }

    /// Decides that an access token is issued for a proof. `None` if the family is not alive under this epoch.
    ///
    /// Security: the proof is that token's alone. Whoever holds a copy of the refresh token must not become fresh with it.
    pub fn issue(&self, issue: Issue, now: Timestamp) -> Decision<Option<FamilyV3>> {
        let family = self.get(issue.id).filter(|family| alive(family, now).is_ok());
        match family.filter(|family| family.auth_epoch == issue.auth_epoch) {
            Some(family) => {
                let issued = FamilyV3 { issued_ms: now.as_millis(), ..family.clone() };
                Decision::put(issued.clone(), Some(issued))
            }
            None => Decision::unchanged(None),
        }
    }

    /// Decides the end of a family. Idempotent: the first cause stays.
    pub fn end(&self, end: End, now: Timestamp) -> Decision<()> {
        let open = self.get(end.id).filter(|family| family.ended.is_none());
        Decision { writes: self.ended(open, end.cause, end.by, now), verdict: () }
    }

    /// Decides the end of some families, at most [`ENDED_AT_ONCE`].
    pub fn end_these(&self, these: &EndThese, now: Timestamp) -> Decision<()> {
        let families = these.ids.iter().take(ENDED_AT_ONCE).filter_map(|id| self.by_id.get(id));
        let open = families.filter(|family| family.ended.is_none());
        Decision { writes: self.ended(open, Cause::GaveWay, None, now), verdict: () }
    }

    /// Decides the end of the families of an account but one, at most [`ENDED_AT_ONCE`] of them. The verdict says where
    /// to go on, if there may be more.
    pub fn end_others(&self, end_others: EndOthers, now: Timestamp) -> Decision<Option<[u8; 16]>> {
        let mut ids = self.by_account.after(end_others.account.to_bytes(), end_others.after).peekable();
        let mut others = Vec::new();
        let mut last = None;
        for id in ids.by_ref().take(EXAMINED_AT_ONCE) {
            last = Some(*id);
            let family = self.by_id.get(id).filter(|family| alive(family, now).is_ok());
            others.extend(family.filter(|_| Some(*id) != end_others.except));
            if others.len() == ENDED_AT_ONCE {
                break;
            }
        }
        let more = last.filter(|_| ids.peek().is_some());
        Decision { writes: self.ended(others, end_others.cause, end_others.by, now), verdict: more }
    }

    /// Returns the writes that end `families` of one account for `cause`, by a log-out of `by` if it is one.
    fn ended<'a>(
        &self,
        families: impl IntoIterator<Item = &'a FamilyV3>,
        cause: Cause,
        by: Option<SpentByV1>,
        now: Timestamp,
    ) -> Vec<Write<FamilyV3>> {
        let until = now + self.limits.remember_ended;
        let ended: Vec<_> = families.into_iter().map(|family| family.tombstone(cause, by, until)).collect();
        let account = ended.first().map(|family| family.account.to_bytes());
        let count = ended.len();
        let excess = account.into_iter().flat_map(|account| self.tombstones.excess(account, count));
        excess.map(Write::Remove).chain(ended.into_iter().map(Write::Put)).collect()
    }

    /// Returns the families that give nothing any more and whose last access token may have been issued since `since`,
    /// each with its account and the latest time at which it may have been issued. A rotation that is answered again
    /// within the grace issues one as well, and so does a new proof of the user. A family gives nothing if it was ended, or if `is_valid` says no: its account's epoch may
    /// have been raised just before a crash, before the family was ended.
    pub fn dead_since(
        &self,
        since: Timestamp,
        is_valid: impl Fn(&FamilyV3) -> bool,
    ) -> impl Iterator<Item = (FamilyId, AccountId, Timestamp)> {
        let families = self.by_id.iter().map(|(_, family)| family);
        let grace = self.limits.grace;
        let issued = families.map(move |family| {
            (family, (Timestamp(family.rotated_ms) + grace).max(Timestamp(family.issued_ms)))
        });
        let is_dead = move |family: &FamilyV3| family.ended.is_some() || !is_valid(family);
        let dead = issued.filter(move |(family, issued)| *issued >= since && is_dead(family));
        dead.map(|(family, issued)| (family.id, family.account, issued))
    }

    /// Begins recovery. The families of an account cannot be found until [`Families::recovered`].
    pub fn recover(&mut self) {
        self.by_account.suspend();
    }

    /// Ends recovery and builds the index.
    pub fn recovered(&mut self) {
        let all = || self.by_id.iter().map(|(id, family)| (family.account.to_bytes(), family, *id));
        let open = all().filter(|(_, family, _)| family.ended.is_none());
        self.by_account.build(open.map(|(account, _, id)| (account, id)));
        let ended = all().filter(|(_, family, _)| family.ended.is_some());
        self.tombstones.build(ended.map(|(account, family, id)| (account, family.absolute_end_ms, id)));
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<FamilyV3>) {
        match write {
            Write::Put(family) => {
                let (id, account, is_ended) =
                    (family.key(), family.account.to_bytes(), family.ended.is_some());
                let before = self.by_id.insert(id, family).map(|before| before.ended.is_some());
                match (before, is_ended) {
                    (None, false) => self.by_account.insert(account, id),
                    (None | Some(false), true) => {
                        self.by_account.remove(account, id);
                        if !self.by_account.is_suspended() {
                            self.tombstones.add(account, id);
                        }
                    }
                    (Some(_), false) | (Some(true), true) => {}
                }
            }
            Write::Remove(id) => self.forget(id),
        }
    }

    fn forget(&mut self, id: [u8; 16]) {
        let Some(family) = self.by_id.remove(&id) else { return };
        let account = family.account.to_bytes();
        if family.ended.is_some() {
            self.tombstones.remove(account, id);
        } else {
            self.by_account.remove(account, id);
        }
    }

    /// Notes that no answer could leave between two times.
    pub fn note_pause(&mut self, from: Timestamp, to: Timestamp) {
        self.pauses.add(from, to);
    }

    /// Returns the families of `account` that are alive at `now`, in the order of their ids, those after `after`.
    fn open_of(
        &self,
        account: AccountId,
        after: Option<[u8; 16]>,
        now: Timestamp,
    ) -> impl Iterator<Item = &FamilyV3> {
        let families = self.by_account.after(account.to_bytes(), after).filter_map(|id| self.by_id.get(id));
        families.filter(move |family| alive(family, now).is_ok())
    }

    /// Returns the number of families that are open for an account.
    pub fn open_count(&self, account: AccountId, now: Timestamp) -> usize {
        self.open_of(account, None, now).count()
    }

    /// Returns a page of the families that are open for an account.
    pub fn page(&self, page: PageOf, now: Timestamp) -> Vec<FamilyV3> {
        let families = self.open_of(page.account, page.after, now);
        let current = families.filter(|family| {
            family.auth_epoch == page.auth_epoch && family.global_epoch == page.global_epoch
        });
        current.take(page.limit).cloned().collect()
    }

    /// Returns when each open family of an account was used last.
    pub fn last_uses(&self, account: AccountId, now: Timestamp) -> Vec<LastUse> {
        let last_use = |family: &FamilyV3| LastUse { ms: family.rotated_ms, id: family.key() };
        self.open_of(account, None, now).map(last_use).collect()
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], FamilyV3> {
        &self.by_id
    }

    /// Removes the families of one bucket that are past their absolute end, and returns how many there were.
    ///
    /// Writes nothing to the journal: the end is in the record, so a replayed record is still expired. What is left of
    /// an ended family stays for a day at least, so that its tokens can be told from unknown ones.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let is_over = |family: &FamilyV3| now.as_millis() >= family.absolute_end_ms;
        let keys: Vec<_> =
            self.by_id.bucket(bucket).filter(|(_, family)| is_over(family)).map(|(key, _)| *key).collect();
        for key in &keys {
            self.forget(*key);
        }
        keys.len()
    }
}

impl Families {
    /// Returns the family that a write ends, if it ends one. Each family is returned once.
    pub(super) fn revoked_by(&self, write: &Write<FamilyV3>) -> Option<Revocation> {
        match write {
            Write::Put(family) => {
                let had_ended = self.get(family.id).is_some_and(|before| before.ended.is_some());
                (family.ended.is_some() && !had_ended)
                    .then(|| Revocation::Session { id: family.key(), account: family.account.to_bytes() })
            }
            Write::Remove(_) => None,
        }
    }
}

/// Checks that a family is alive at `now`. The gate checks the epochs.
pub fn alive(family: &FamilyV3, now: Timestamp) -> Result<(), Refusal> {
    match family.ended {
        Some(Cause::Reuse) => Err(Refusal::EndedForReuse),
        Some(Cause::LogOut | Cause::Revoked | Cause::GaveWay) => Err(Refusal::Revoked),
        None if family.is_expired(now) => Err(Refusal::Expired),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
