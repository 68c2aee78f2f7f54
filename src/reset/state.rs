//! The whole rule of mailed tokens. Knows no actor, file, clock or randomness.

use std::collections::HashMap;
use std::time::Duration;

use super::record::{MailedV1, Purpose};
use crate::clock::Timestamp;
use crate::id::{AccountId, MailedId};
use crate::journal::buckets::Buckets;
use crate::journal::record::{self, Write};
use crate::secret::SecretDigest;

/// A decision about mailed tokens with verdict `V`.
pub type Decision<V> = record::Decision<MailedV1, V>;

/// How long tokens live, and how many are mailed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A reset token, and one that unlocks.
    pub reset: Duration,
    /// One that proves an address.
    pub verify: Duration,
    /// Mails to one account in an hour, of each purpose.
    pub mails_per_hour: u32,
}

/// A token is to be mailed, or for an unknown name only the same work done.
#[derive(Clone, Debug)]
pub struct Mint {
    /// Minted in the account's slot.
    pub id: MailedId,
    /// For whom: with the epoch as it was looked up. None when there is no such account.
    pub account: Option<(AccountId, u64)>,
    /// The global epoch.
    pub global_epoch: u64,
    /// What it will be good for.
    pub purpose: Purpose,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
}

/// A token comes back.
#[derive(Clone, Copy, Debug)]
pub struct Redeem {
    /// Which one it names.
    pub id: MailedId,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
    /// What it is used for.
    pub purpose: Purpose,
}

/// No such token, another one's secret, another purpose, redeemed, replaced or out of time: told apart to nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid or expired token")]
pub struct Invalid;

/// All mailed tokens of an engine: one at most of each account and purpose.
pub struct Mailed {
    by_id: Buckets<[u8; 16], MailedV1>,
    by_use: HashMap<([u8; 16], Purpose), [u8; 16]>,
    /// When mails went out in the last hour. In memory alone: a restart forgives at most one hour's quota.
    mails: HashMap<([u8; 16], Purpose), Vec<Timestamp>>,
    limits: Limits,
}

impl Mailed {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self { by_id: Buckets::new(), by_use: HashMap::new(), mails: HashMap::new(), limits }
    }

    /// All records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], MailedV1> {
        &self.by_id
    }

    /// What minting at `now` means; true when the mail is to go out. A new token ends the one before. Nothing is minted
    /// beyond the quota, nor for an unknown name, yet something of the same size is written.
    pub fn mint(&self, mint: &Mint, now: Timestamp) -> Decision<bool> {
        let nothing = Write::Remove(mint.id.to_bytes());
        let Some((account, auth_epoch)) = mint.account else {
            return Decision { writes: vec![nothing], verdict: false };
        };
        let used = (account.to_bytes(), mint.purpose);
        let hour = Duration::from_hours(1);
        let lately = self.mails.get(&used).into_iter().flatten().filter(|at| now.since(**at) < hour).count();
        if lately >= self.limits.mails_per_hour as usize {
            return Decision { writes: vec![nothing], verdict: false };
        }
        let life = if mint.purpose == Purpose::Verify { self.limits.verify } else { self.limits.reset };
        let put = Write::Put(MailedV1 {
            id: mint.id.to_bytes(),
            account: account.to_bytes(),
            purpose: mint.purpose,
            auth_epoch,
            global_epoch: mint.global_epoch,
            digest: mint.digest.0,
            minted_ms: now.as_millis(),
            end_ms: (now + life).as_millis(),
        });
        let before = self.by_use.get(&used).map(|id| Write::Remove(*id));
        Decision { writes: before.into_iter().chain([put]).collect(), verdict: true }
    }

    /// Counts a mail that goes out.
    pub fn count_mail(&mut self, account: AccountId, purpose: Purpose, now: Timestamp) {
        let mails = self.mails.entry((account.to_bytes(), purpose)).or_default();
        mails.retain(|at| now.since(*at) < Duration::from_hours(1));
        mails.push(now);
    }

    /// The token that would be redeemed, which stays usable.
    pub fn look(&self, redeem: Redeem, now: Timestamp) -> Result<&MailedV1, Invalid> {
        self.by_id
            .get(&redeem.id.to_bytes())
            .filter(|token| {
                let right = SecretDigest(token.digest) == redeem.digest;
                right && token.purpose == redeem.purpose && now.as_millis() < token.end_ms
            })
            .ok_or(Invalid)
    }

    /// What redeeming means: once, and never again.
    pub fn redeem(&self, redeem: Redeem, now: Timestamp) -> Decision<Result<MailedV1, Invalid>> {
        match self.look(redeem, now) {
            Ok(token) => Decision { writes: vec![Write::Remove(token.id)], verdict: Ok(token.clone()) },
            Err(invalid) => Decision::unchanged(Err(invalid)),
        }
    }

    /// What ending all tokens of an account means.
    pub fn end_all(&self, account: AccountId) -> Decision<()> {
        let all = [Purpose::Reset, Purpose::Verify, Purpose::Unlock].into_iter();
        let ids = all.filter_map(|purpose| self.by_use.get(&(account.to_bytes(), purpose)));
        Decision { writes: ids.map(|id| Write::Remove(*id)).collect(), verdict: () }
    }

    /// Makes `write` true. Cannot fail: it was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<MailedV1>) {
        match write {
            Write::Put(token) => {
                self.by_use.insert((token.account, token.purpose), token.id);
                self.by_id.insert(token.id, token);
            }
            Write::Remove(id) => self.forget(id),
        }
    }

    /// Forgets the tokens of one bucket that are out of time. No write: the end stands in the record.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let over = self.by_id.bucket(bucket).filter(|(_, token)| now.as_millis() >= token.end_ms);
        let ids: Vec<_> = over.map(|(id, _)| *id).collect();
        for id in &ids {
            self.forget(*id);
        }
        if bucket == 0 {
            self.mails.retain(|_, at| at.iter().any(|at| now.since(*at) < Duration::from_hours(1)));
        }
        ids.len()
    }

    fn forget(&mut self, id: [u8; 16]) {
        let Some(token) = self.by_id.remove(&id) else { return };
        let used = (token.account, token.purpose);
        if self.by_use.get(&used) == Some(&id) {
            self.by_use.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Slot;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn mailed() -> Mailed {
        let hour = Duration::from_hours(1);
        Mailed::new(Limits { reset: hour / 2, verify: hour * 24, mails_per_hour: 3 })
    }

    fn account() -> AccountId {
        AccountId::mint(Slot::FIRST, [1; 14])
    }

    fn mint(mailed: &mut Mailed, number: u8, purpose: Purpose, now: Timestamp) -> (Redeem, bool) {
        let id = MailedId::mint(Slot::FIRST, [number; 14]);
        let digest = SecretDigest([number; 32]);
        let decision =
            mailed.mint(&Mint { id, account: Some((account(), 0)), global_epoch: 0, purpose, digest }, now);
        decision.writes.into_iter().for_each(|write| mailed.apply(write));
        if decision.verdict {
            mailed.count_mail(account(), purpose, now);
        }
        (Redeem { id, digest, purpose }, decision.verdict)
    }

    fn redeem(mailed: &mut Mailed, redeem: Redeem, now: Timestamp) -> bool {
        let decision = mailed.redeem(redeem, now);
        decision.writes.into_iter().for_each(|write| mailed.apply(write));
        decision.verdict.is_ok()
    }

    #[test]
    fn a_token_is_good_once_for_one_purpose_and_in_its_time() {
        let mut mailed = mailed();
        let (token, _) = mint(&mut mailed, 1, Purpose::Reset, START);
        assert!(!redeem(&mut mailed, Redeem { purpose: Purpose::Unlock, ..token }, START));
        assert!(!redeem(&mut mailed, Redeem { digest: SecretDigest([9; 32]), ..token }, START));
        assert!(!redeem(&mut mailed, token, START + Duration::from_mins(30)));
        assert!(redeem(&mut mailed, token, START + Duration::from_mins(29)));
        assert!(!redeem(&mut mailed, token, START + Duration::from_mins(29)));
    }

    #[test]
    fn a_new_token_ends_the_one_before_and_the_quota_is_silent() {
        let mut mailed = mailed();
        let (first, _) = mint(&mut mailed, 1, Purpose::Reset, START);
        let (second, sent) = mint(&mut mailed, 2, Purpose::Reset, START);
        assert!(sent && !redeem(&mut mailed, first, START));
        assert!(mint(&mut mailed, 3, Purpose::Reset, START).1);
        let (_, sent) = mint(&mut mailed, 4, Purpose::Reset, START);
        assert!(!sent && !redeem(&mut mailed, second, START));
        assert!(mint(&mut mailed, 5, Purpose::Reset, START + Duration::from_hours(1)).1);
        let unknown = Mint {
            id: MailedId::mint(Slot::FIRST, [7; 14]),
            account: None,
            global_epoch: 0,
            purpose: Purpose::Reset,
            digest: SecretDigest([7; 32]),
        };
        let decision = mailed.mint(&unknown, START);
        assert_eq!((decision.writes.len(), decision.verdict), (1, false));
    }

    proptest! {
        /// Invariant: whatever the order of calls, no token is redeemed that was not minted for that purpose, and none
        /// twice; a restart changes nothing.
        #[test]
        fn no_order_of_calls_redeems_what_was_not_minted(
            steps in prop::collection::vec((0_u8..4, 0_u8..6, 0_u64..20), 1..60),
        ) {
            let (mut mailed, mut now, mut live) = (mailed(), START, HashMap::new());
            let mut minted: Vec<Redeem> = Vec::new();
            for (act, number, minutes) in steps {
                now = now + Duration::from_mins(minutes);
                let purpose = if number % 2 == 0 { Purpose::Reset } else { Purpose::Unlock };
                let any = minted.iter().rev().nth(number.into()).copied();
                if act == 0 {
                    let (token, sent) = mint(&mut mailed, minted.len() as u8, purpose, now);
                    minted.push(token);
                    if sent {
                        live.insert(purpose, (token, now + Duration::from_mins(30)));
                    }
                } else if let Some(token) = any {
                    let token = if act == 1 { Redeem { purpose, ..token } } else { token };
                    let expected = live.get(&token.purpose).is_some_and(|(live, end): &(Redeem, Timestamp)| {
                        live.id == token.id && now < *end
                    });
                    prop_assert_eq!(redeem(&mut mailed, token, now), expected);
                    if expected {
                        live.remove(&token.purpose);
                    }
                }
            }
        }
    }
}
