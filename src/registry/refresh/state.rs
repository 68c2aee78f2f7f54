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
        // The token is spent. The secret of the one spent last can still be checked; of an older one it is only known that
        // it was minted here.
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

    /// Decides the end of the families of an account but one, at most [`ENDED_AT_ONCE`] of them. The verdict says whether
    /// there are more.
    pub fn end_others(&self, end_others: EndOthers, now: Timestamp) -> Decision<bool> {
        let EndOthers { account, except, cause } = end_others;
        let mut others =
            self.of_account(account, now).into_iter().filter(|family| Some(family.key()) != except);
        let writes =
            others.by_ref().take(ENDED_AT_ONCE).map(|family| Write::Put(ended(&family, cause))).collect();
        Decision { writes, verdict: others.next().is_some() }
    }

    /// Returns the families that give nothing any more and whose last access token may have been issued since `since`, each
    /// with the latest time at which it may have been issued. A rotation that is answered again within the grace issues one
    /// as well. A family gives nothing if it was ended, or if `is_valid` says no: its account's epoch may have been raised
    /// just before a crash, before the family was ended.
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
    /// Writes nothing to the journal: the end is in the record, so a replayed record is still expired. An ended family stays
    /// until then, so that its tokens can be told from unknown ones.
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

/// Returns the family that a write ends, if it ends one. Each family is returned once, since an ended family is not written
/// again.
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::id::{AccountId, Slot};

    const LIMITS: Limits = Limits {
        grace: Duration::from_secs(10),
        idle: Duration::from_hours(720),
        absolute: Duration::from_hours(2160),
    };

    /// A token as its holder sees it: its generation, and its secret of one byte, whose digest is that byte 32 times.
    type Token = (u32, u8);

    struct World {
        families: Families,
        now: Timestamp,
        minted: u8,
        journal: Vec<Write<FamilyV1>>,
    }

    fn id() -> FamilyId {
        FamilyId::mint(Slot::new(9).unwrap(), [1; 14])
    }

    impl World {
        fn new() -> (Self, Token) {
            let mut world = Self {
                families: Families::new(LIMITS),
                now: Timestamp::from_secs(1_800_000_000),
                minted: 0,
                journal: Vec::new(),
            };
            let account = AccountId::mint(Slot::new(9).unwrap(), [2; 14]);
            let open = OpenFamily {
                id: id(),
                account,
                auth_epoch: 1,
                global_epoch: 0,
                digest: SecretDigest([0; 32]),
                network: "192.0.2.1/32".into(),
                user_agent: "test".into(),
            };
            let decision = world.families.open(&open, world.now);
            world.apply(decision.writes);
            (world, (0, 0))
        }

        fn apply(&mut self, writes: Vec<Write<FamilyV1>>) {
            for write in writes {
                if let Write::Put(family) = &write {
                    assert!(family.is_sound(), "{family:?}");
                }
                self.journal.push(write.clone());
                self.families.apply(write);
            }
        }

        fn rotate(&mut self, token: Token) -> Result<Token, Refusal> {
            self.minted += 1;
            let rotate = Rotate {
                id: id(),
                generation: token.0,
                digest: SecretDigest([token.1; 32]),
                next_digest: SecretDigest([self.minted; 32]),
                next_sealed: [self.minted; 40],
            };
            let decision = self.families.rotate(&rotate, self.now);
            self.apply(decision.writes);
            decision.verdict.map(|rotated| match rotated {
                Rotated::Fresh(family) => (family.generation, self.minted),
                Rotated::Again(family, sealed) => (family.generation, sealed[0]),
            })
        }

        fn end(&mut self, cause: Cause) {
            let decision = self.families.end(End { id: id(), cause });
            self.apply(decision.writes);
        }

        fn restart(&mut self) {
            self.families = Families::new(LIMITS);
            for write in self.journal.clone() {
                self.families.apply(write);
            }
        }

        fn advance(&mut self, secs: u64) {
            self.now = self.now + Duration::from_secs(secs);
        }
    }

    #[test]
    fn a_spent_token_returns_the_same_successor_and_later_ends_the_family() {
        let (mut world, first) = World::new();
        let second = world.rotate(first).unwrap();
        for _ in 0..50 {
            assert_eq!(world.rotate(first), Ok(second));
        }
        world.advance(10);
        assert_eq!(world.rotate(first), Err(Refusal::Reused));
        assert_eq!(world.rotate(second), Err(Refusal::EndedForReuse));
    }

    #[test]
    fn a_used_successor_ends_the_grace_of_the_token_before() {
        let (mut world, first) = World::new();
        let second = world.rotate(first).unwrap();
        let third = world.rotate(second).unwrap();
        assert_eq!(world.rotate(first), Err(Refusal::Reused));
        assert_eq!(world.rotate(third), Err(Refusal::EndedForReuse));
    }

    #[test]
    fn log_out_also_ends_tokens_in_grace_and_its_cause_stays() {
        let (mut world, first) = World::new();
        let second = world.rotate(first).unwrap();
        world.end(Cause::LogOut);
        world.end(Cause::Revoked);
        assert_eq!(world.rotate(first), Err(Refusal::Revoked));
        assert_eq!(world.rotate(second), Err(Refusal::Revoked));
    }

    #[test]
    fn a_wrong_secret_neither_rotates_nor_ends_the_family() {
        let (mut world, first) = World::new();
        assert_eq!(world.rotate((0, 99)), Err(Refusal::Unknown));
        let second = world.rotate(first).unwrap();
        assert_eq!(world.rotate((0, 99)), Err(Refusal::Unknown));
        assert_eq!(world.rotate((7, second.1)), Err(Refusal::Unknown));
        assert!(world.rotate(second).is_ok());
    }

    #[test]
    fn a_family_ends_idle_and_at_its_absolute_end_however_busy() {
        let (mut idle, token) = World::new();
        idle.advance(LIMITS.idle.as_secs());
        assert_eq!(idle.rotate(token), Err(Refusal::Expired));

        let (mut busy, mut token) = World::new();
        for _ in 0..89 {
            busy.advance(86_400);
            token = busy.rotate(token).unwrap();
        }
        busy.advance(86_400);
        assert_eq!(busy.rotate(token), Err(Refusal::Expired));
        let swept: usize =
            (0..crate::journal::format::buckets::BUCKETS).map(|at| busy.families.sweep(at, busy.now)).sum();
        assert_eq!(swept, 1);
        assert!(busy.families.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Present(usize),
        Wait(u64),
        LogOut,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => any::<prop::sample::Index>().prop_map(|at| Step::Present(at.index(64))),
            3 => (0_u64..15).prop_map(Step::Wait),
            1 => Just(Step::LogOut),
            2 => Just(Step::Restart),
        ]
    }

    #[test]
    fn families_of_an_account_but_one_end_entry_by_entry_and_are_listed_as_dead() {
        let (mut world, _) = World::new();
        let account = AccountId::mint(Slot::new(9).unwrap(), [2; 14]);
        let open = |world: &mut World, number: u8, epoch: u64| {
            let id = FamilyId::mint(Slot::new(9).unwrap(), [number; 14]);
            let digest = SecretDigest([0; 32]);
            let (network, user_agent) = ("192.0.2.1/32".into(), "\u{1F600}".repeat(120).into());
            let open =
                OpenFamily { id, account, auth_epoch: epoch, global_epoch: 0, digest, network, user_agent };
            let decision = world.families.open(&open, world.now);
            world.apply(decision.writes);
        };
        (2..=150).for_each(|number| open(&mut world, number, 1));
        let mut entries = Vec::new();
        loop {
            let others = EndOthers { account, except: Some(id().to_bytes()), cause: Cause::LogOut };
            let Decision { writes, verdict } = world.families.end_others(others, world.now);
            assert!(writes.iter().all(|write| ended_by(write).is_some()));
            let changes: Vec<_> = writes.iter().map(|write| write.to_change().unwrap()).collect();
            assert!(crate::journal::format::entry::Entry::encode(&changes).is_ok());
            entries.push(writes.len());
            world.apply(writes);
            if !verdict {
                break;
            }
        }
        assert_eq!(entries, [64, 64, 21]);
        assert_eq!(world.families.of_account(account, world.now).len(), 1);
        open(&mut world, 200, 0);
        let dead =
            |world: &World, since| world.families.dead_since(since, |family| family.auth_epoch == 1).count();
        assert_eq!(dead(&world, world.now), 150);
        // Within the grace the last rotation may have been answered again, which issues a token at that time.
        assert_eq!(dead(&world, world.now + LIMITS.grace), 150);
        assert_eq!(dead(&world, world.now + LIMITS.grace + Duration::from_secs(1)), 0);
    }

    proptest! {
        /// Owner and thief hold copies of all tokens ever issued and use them in any order. Invariants: each generation
        /// has one token only; once a family is ended no token gets anything again; a restart that replays the writes
        /// changes no answer.
        #[test]
        fn two_holders_never_get_two_tokens_of_one_generation(steps in prop::collection::vec(step(), 1..60)) {
            let (mut world, first) = World::new();
            let mut given = vec![first];
            let mut over = false;
            for step in steps {
                match step {
                    Step::Present(at) => {
                        let token = given[at % given.len()];
                        match world.rotate(token) {
                            Ok(next) => {
                                prop_assert!(!over);
                                prop_assert_eq!(next.0, token.0 + 1);
                                if given.len() > next.0 as usize {
                                    prop_assert_eq!(given[next.0 as usize], next);
                                } else {
                                    given.push(next);
                                }
                            }
                            Err(_) => over = true,
                        }
                    }
                    Step::Wait(secs) => world.advance(secs),
                    Step::LogOut => {
                        world.end(Cause::LogOut);
                        over = true;
                    }
                    Step::Restart => world.restart(),
                }
            }
        }
    }
}
