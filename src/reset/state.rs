//! The whole rule of mailed tokens. Knows no actor, file, clock or randomness.

use std::collections::HashMap;
use std::time::Duration;

use super::record::{MailedV1, Purpose};
use crate::clock::Timestamp;
use crate::id::{AccountId, MailedId};
use crate::journal::buckets::Buckets;
use crate::journal::record::{self, Write};
use crate::secret::SecretDigest;
use crate::throttle::Network;

/// A decision about mailed tokens with verdict `V`.
pub type Decision<V> = record::Decision<MailedV1, V>;

const HOUR: Duration = Duration::from_hours(1);
/// Mails that one network may ask for in an hour.
const MAILS_PER_NETWORK: usize = 10;
/// Mails in an hour beyond which only the first of an account goes out.
const MAILS_IN_ALL: usize = 1000;
/// Networks that are remembered.
const ASKED_MAX: usize = 100_000;
/// How long a change of address can be undone.
const UNDO_FOR: Duration = Duration::from_hours(72);

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
    /// Who asks for it; none where nobody does.
    pub network: Option<Network>,
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
    /// When networks asked for mails in the last hour. In memory alone as well.
    asked: HashMap<Network, Vec<Timestamp>>,
    /// Mails in all since then.
    hour_began: Timestamp,
    in_hour: usize,
    limits: Limits,
}

impl Mailed {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            by_id: Buckets::new(),
            by_use: HashMap::new(),
            mails: HashMap::new(),
            asked: HashMap::new(),
            hour_began: Timestamp::ZERO,
            in_hour: 0,
            limits,
        }
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
        if !self.is_within_quota(used, mint.network, now) {
            return Decision { writes: vec![nothing], verdict: false };
        }
        let life = match mint.purpose {
            Purpose::Verify | Purpose::EmailChange => self.limits.verify,
            Purpose::Reset | Purpose::Unlock => self.limits.reset,
            Purpose::EmailUndo => UNDO_FOR,
        };
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

    /// Whether a mail may go out: so many of a purpose to an account, so many that a network asks for, and so many in
    /// all. What is asked for in all never keeps back the first mail of an account: that lane is reserved.
    fn is_within_quota(&self, used: ([u8; 16], Purpose), network: Option<Network>, now: Timestamp) -> bool {
        if used.1 == Purpose::EmailUndo {
            // Told whatever else was; one at most, so that the first owner's link is never replaced.
            return !self.is_live(used, now);
        }
        let lately = |mails: Option<&Vec<Timestamp>>| {
            mails.into_iter().flatten().filter(|at| now.since(**at) < HOUR).count()
        };
        let own = lately(self.mails.get(&used));
        let of_network = network.map_or(0, |network| lately(self.asked.get(&network)));
        let in_all = if now.since(self.hour_began) < HOUR { self.in_hour } else { 0 };
        own < self.limits.mails_per_hour as usize
            && of_network < MAILS_PER_NETWORK
            && (own == 0 || in_all < MAILS_IN_ALL)
    }

    fn is_live(&self, used: ([u8; 16], Purpose), now: Timestamp) -> bool {
        let token = self.by_use.get(&used).and_then(|id| self.by_id.get(id));
        token.is_some_and(|token| now.as_millis() < token.end_ms)
    }

    /// Whether an account has a live token of a purpose.
    pub fn has_live(&self, account: AccountId, purpose: Purpose, now: Timestamp) -> bool {
        self.is_live((account.to_bytes(), purpose), now)
    }

    /// Counts a mail that goes out.
    pub fn count_mail(&mut self, account: AccountId, purpose: Purpose, now: Timestamp) {
        let mails = self.mails.entry((account.to_bytes(), purpose)).or_default();
        mails.retain(|at| now.since(*at) < HOUR);
        mails.push(now);
        if now.since(self.hour_began) >= HOUR {
            (self.hour_began, self.in_hour) = (now, 0);
        }
        self.in_hour += 1;
    }

    /// Counts what a network asked for, whether or not there was an account and a mail.
    pub fn count_asked(&mut self, network: Network, now: Timestamp) {
        if self.asked.len() >= ASKED_MAX && !self.asked.contains_key(&network) {
            self.asked.retain(|_, at| at.iter().any(|at| now.since(*at) < HOUR));
            if self.asked.len() >= ASKED_MAX {
                // The limiter has let a hundred thousand networks through within the hour: what counts now is the quota
                // of each account.
                return;
            }
        }
        let asked = self.asked.entry(network).or_default();
        asked.retain(|at| now.since(*at) < HOUR);
        if asked.len() < MAILS_PER_NETWORK {
            asked.push(now);
        }
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
        // The way back to an address of before stays: it is for the case that all of this was not its owner.
        let all = [Purpose::Reset, Purpose::Verify, Purpose::Unlock, Purpose::EmailChange].into_iter();
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
            self.mails.retain(|_, at| at.iter().any(|at| now.since(*at) < HOUR));
            self.asked.retain(|_, at| at.iter().any(|at| now.since(*at) < HOUR));
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
        let decision = mailed.mint(
            &Mint { id, account: Some((account(), 0)), global_epoch: 0, purpose, digest, network: None },
            now,
        );
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
            network: None,
        };
        let decision = mailed.mint(&unknown, START);
        assert_eq!((decision.writes.len(), decision.verdict), (1, false));
    }

    #[test]
    fn one_network_gets_ten_mails_an_hour_and_a_flood_never_holds_back_an_accounts_first() {
        let mut mailed = mailed();
        let network = Network::of(std::net::Ipv4Addr::LOCALHOST.into());
        let ask = |mailed: &mut Mailed, number: u16, network: Option<Network>| {
            let mut random = [0; 14];
            random[..2].copy_from_slice(&number.to_le_bytes());
            let account = AccountId::mint(Slot::FIRST, random);
            let id = MailedId::mint(Slot::FIRST, random);
            let (purpose, digest) = (Purpose::Reset, SecretDigest([1; 32]));
            let mint = Mint { id, account: Some((account, 0)), global_epoch: 0, purpose, digest, network };
            let decision = mailed.mint(&mint, START);
            decision.writes.into_iter().for_each(|write| mailed.apply(write));
            if decision.verdict {
                mailed.count_mail(account, purpose, START);
            }
            if let Some(network) = network {
                mailed.count_asked(network, START);
            }
            decision.verdict
        };
        let sent = (0..40).filter(|number| ask(&mut mailed, *number, Some(network))).count();
        assert_eq!(sent, 10);
        let flood: usize = (100..1100).map(|number| usize::from(ask(&mut mailed, number, None))).sum();
        assert_eq!(flood, 1000);
        assert!(!ask(&mut mailed, 100, None), "a second mail of an account, beyond what goes out in all");
        assert!(ask(&mut mailed, 5000, None), "the first mail of an account that had none");
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
