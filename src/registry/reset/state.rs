//! The whole rule of mailed tokens. Knows no actor, file, clock or randomness.

use std::collections::HashMap;
use std::time::Duration;

use super::record::{MailedV1, Purpose};
use crate::registry::buckets::Buckets;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::token::opaque::SecretDigest;
use crate::value::id::{AccountId, MailedId};
use crate::value::network::Network;

/// A decision about mailed tokens with verdict `V`.
pub type Decision<V> = record::Decision<MailedV1, V>;

const HOUR: Duration = Duration::from_hours(1);
/// Mails that one network may ask for in an hour.
const MAILS_PER_NETWORK: usize = 10;
/// Mails in an hour beyond which only the first of an account goes out.
const MAILS_IN_ALL: usize = 1000;
/// Networks that are remembered.
const ASKED_MAX: usize = 100_000;
/// Tokens of nobody that are kept. Beyond it something smaller is written for them: only under a flood does that tell a
/// name with an account from one without, and only to whoever can weigh a write of 4 KiB by its content.
const NOBODYS_MAX: usize = 50_000;
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
    /// For whom; where there is no such account, an id that none has, the same for one name each time.
    pub account: AccountId,
    /// The account's epoch as it was looked up.
    pub auth_epoch: u64,
    /// The global epoch.
    pub global_epoch: u64,
    /// What it will be good for.
    pub purpose: Purpose,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
    /// Who asks for it; none where nobody does.
    pub network: Option<Network>,
    /// There is no such account: everything is the same, but no secret redeems what is written.
    pub for_nobody: bool,
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
pub struct MailedTokens {
    by_id: Buckets<[u8; 16], MailedV1>,
    by_use: HashMap<([u8; 16], Purpose), [u8; 16]>,
    /// When mails went out in the last hour. In memory alone: a restart forgives at most one hour's quota.
    mails: HashMap<([u8; 16], Purpose), Vec<Timestamp>>,
    /// When networks asked for mails in the last hour. In memory alone as well.
    asked: HashMap<Network, Vec<Timestamp>>,
    /// Mails in all since then.
    hour_began: Timestamp,
    in_hour: usize,
    /// Tokens that are nobody's.
    nobodys: usize,
    limits: Limits,
}

impl MailedTokens {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            by_id: Buckets::new(),
            by_use: HashMap::new(),
            mails: HashMap::new(),
            asked: HashMap::new(),
            hour_began: Timestamp::ZERO,
            in_hour: 0,
            nobodys: 0,
            limits,
        }
    }

    /// All records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], MailedV1> {
        &self.by_id
    }

    /// What minting at `now` means; true when the mail is to go out. A new token ends the one before. Beyond the quota
    /// nothing is minted, yet something is written. For nobody it is all the same, quota included.
    pub fn mint(&self, mint: &Mint, now: Timestamp) -> Decision<bool> {
        let nothing = Write::Remove(mint.id.to_bytes());
        let used = (mint.account.to_bytes(), mint.purpose);
        if !self.is_within_quota(mint, now) {
            return Decision { writes: vec![nothing], verdict: false };
        }
        if mint.for_nobody && self.nobodys >= NOBODYS_MAX {
            return Decision { writes: vec![nothing], verdict: true };
        }
        let life = match mint.purpose {
            Purpose::Verify | Purpose::EmailChange => self.limits.verify,
            Purpose::Reset | Purpose::Unlock => self.limits.reset,
            Purpose::EmailUndo => UNDO_FOR,
        };
        let put = Write::Put(MailedV1 {
            id: mint.id.to_bytes(),
            account: mint.account.to_bytes(),
            purpose: mint.purpose,
            auth_epoch: mint.auth_epoch,
            global_epoch: mint.global_epoch,
            digest: if mint.for_nobody { MailedV1::NOBODYS } else { mint.digest.0 },
            minted_ms: now.as_millis(),
            end_ms: (now + life).as_millis(),
        });
        let before = self.by_use.get(&used).map(|id| Write::Remove(*id));
        Decision { writes: before.into_iter().chain([put]).collect(), verdict: true }
    }

    /// Whether a mail may go out: so many of a purpose to an account, so many that a network asks for, and so many in
    /// all. What is asked for in all never keeps back the first mail of an account: that lane is reserved.
    fn is_within_quota(&self, mint: &Mint, now: Timestamp) -> bool {
        if mint.purpose == Purpose::EmailUndo {
            // Told whatever else was; one at most, so that the first owner's link is never replaced.
            return !self.has_live(mint.account, mint.purpose, mint.global_epoch, now);
        }
        let used = (mint.account.to_bytes(), mint.purpose);
        let lately = |mails: Option<&Vec<Timestamp>>| {
            mails.into_iter().flatten().filter(|at| now.since(**at) < HOUR).count()
        };
        let own = lately(self.mails.get(&used));
        let of_network = mint.network.map_or(0, |network| lately(self.asked.get(&network)));
        let in_all = if now.since(self.hour_began) < HOUR { self.in_hour } else { 0 };
        own < self.limits.mails_per_hour as usize
            && of_network < MAILS_PER_NETWORK
            && (own == 0 || in_all < MAILS_IN_ALL)
    }

    /// Whether an account has a live token of a purpose. One of another global epoch is dead.
    pub fn has_live(&self, account: AccountId, purpose: Purpose, global_epoch: u64, now: Timestamp) -> bool {
        let id = self.by_use.get(&(account.to_bytes(), purpose));
        let token = id.and_then(|id| self.by_id.get(id));
        token.is_some_and(|token| token.global_epoch == global_epoch && now.as_millis() < token.end_ms)
    }

    /// Counts a mail that goes out, or for nobody would have.
    pub fn count_mail(&mut self, mint: &Mint, now: Timestamp) {
        let used = (mint.account.to_bytes(), mint.purpose);
        if mint.for_nobody && self.mails.len() >= ASKED_MAX && !self.mails.contains_key(&used) {
            return;
        }
        let mails = self.mails.entry(used).or_default();
        mails.retain(|at| now.since(*at) < HOUR);
        mails.push(now);
        if mint.for_nobody {
            // What goes out in all must not be used up by names that nobody has.
            return;
        }
        if now.since(self.hour_began) >= HOUR {
            (self.hour_began, self.in_hour) = (now, 0);
        }
        self.in_hour += 1;
    }

    /// Counts what a network asked for, whether or not there was an account and a mail.
    pub fn count_asked(&mut self, network: Network, now: Timestamp) {
        if self.asked.len() >= ASKED_MAX && !self.asked.contains_key(&network) {
            // The limiter has let a hundred thousand networks through within the hour: what counts now is the quota of each
            // account. The sweep makes room; to look for it here would cost each request a walk through all of them.
            return;
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
                right
                    && !token.is_nobodys()
                    && token.purpose == redeem.purpose
                    && now.as_millis() < token.end_ms
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
                self.nobodys += usize::from(token.is_nobodys());
                let before = self.by_id.insert(token.id, token);
                self.nobodys -= usize::from(before.is_some_and(|before| before.is_nobodys()));
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
        self.nobodys -= usize::from(token.is_nobodys());
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
    use crate::journal::format::buckets::BUCKETS;
    use crate::value::id::Slot;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn mailed() -> MailedTokens {
        let hour = Duration::from_hours(1);
        MailedTokens::new(Limits { reset: hour / 2, verify: hour * 24, mails_per_hour: 3 })
    }

    fn account() -> AccountId {
        AccountId::mint(Slot::FIRST, [1; 14])
    }

    fn wish(number: u8, purpose: Purpose) -> Mint {
        Mint {
            id: MailedId::mint(Slot::FIRST, [number; 14]),
            account: account(),
            auth_epoch: 0,
            global_epoch: 0,
            purpose,
            digest: SecretDigest([number + 1; 32]),
            network: None,
            for_nobody: false,
        }
    }

    /// Does what a wish means, as the owner does. Says what was written, and whether a mail goes out.
    fn settle(mailed: &mut MailedTokens, mint: &Mint, now: Timestamp) -> (Vec<Write<MailedV1>>, bool) {
        let Decision { writes, verdict } = mailed.mint(mint, now);
        writes.iter().cloned().for_each(|write| mailed.apply(write));
        if verdict {
            mailed.count_mail(mint, now);
        }
        if let Some(network) = mint.network {
            mailed.count_asked(network, now);
        }
        (writes, verdict)
    }

    fn mint(mailed: &mut MailedTokens, number: u8, purpose: Purpose, now: Timestamp) -> (Redeem, bool) {
        let mint = wish(number, purpose);
        let (_, sent) = settle(mailed, &mint, now);
        (Redeem { id: mint.id, digest: mint.digest, purpose }, sent)
    }

    fn redeem(mailed: &mut MailedTokens, redeem: Redeem, now: Timestamp) -> bool {
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
    }

    #[test]
    fn one_network_gets_ten_mails_an_hour_and_a_flood_never_holds_back_an_accounts_first() {
        let mut mailed = mailed();
        let network = Network::of(std::net::Ipv4Addr::LOCALHOST.into());
        let ask = |mailed: &mut MailedTokens, number: u16, network: Option<Network>| {
            let mut random = [0; 14];
            random[..2].copy_from_slice(&number.to_le_bytes());
            let account = AccountId::mint(Slot::FIRST, random);
            let id = MailedId::mint(Slot::FIRST, random);
            settle(mailed, &Mint { id, account, network, ..wish(1, Purpose::Reset) }, START).1
        };
        let sent = (0..40).filter(|number| ask(&mut mailed, *number, Some(network))).count();
        assert_eq!(sent, 10);
        let flood: usize = (100..1100).map(|number| usize::from(ask(&mut mailed, number, None))).sum();
        assert_eq!(flood, 1000);
        assert!(!ask(&mut mailed, 100, None), "a second mail of an account, beyond what goes out in all");
        assert!(ask(&mut mailed, 5000, None), "the first mail of an account that had none");
    }

    #[test]
    fn a_full_table_of_networks_is_cleared_by_the_sweep_and_by_no_request() {
        let mut mailed = mailed();
        let network = |number: u32| Network::of(std::net::Ipv4Addr::from_bits(number).into());
        (0..ASKED_MAX as u32).for_each(|number| mailed.count_asked(network(number), START));
        let later = START + HOUR;
        mailed.count_asked(network(u32::MAX), later);
        assert_eq!(mailed.asked.len(), ASKED_MAX, "a request looked through all of them");
        // Whoever is known is counted on.
        mailed.count_asked(network(7), later);
        (0..BUCKETS).for_each(|bucket| {
            mailed.sweep(bucket, later);
        });
        assert_eq!(mailed.asked.len(), 1);
        mailed.count_asked(network(u32::MAX), later);
        assert_eq!(mailed.asked.len(), 2);
    }

    #[test]
    fn for_nobody_the_same_is_written_and_no_secret_redeems_it() {
        use crate::journal::format::codec::encode;
        let size = |writes: &[Write<MailedV1>]| -> Vec<usize> {
            let bytes = |write: &Write<MailedV1>| match write {
                Write::Put(token) => encode(token).unwrap().len(),
                Write::Remove(_) => 0,
            };
            writes.iter().map(bytes).collect()
        };
        let (mut with, mut without) = (mailed(), mailed());
        for number in 0..9 {
            let now = START + Duration::from_mins(10) * number.into();
            let known = wish(number, Purpose::Reset);
            let unknown = Mint { for_nobody: true, ..known.clone() };
            let (one, other) = (settle(&mut with, &known, now), settle(&mut without, &unknown, now));
            assert_eq!((size(&one.0), one.1), (size(&other.0), other.1), "{number}");
            for digest in [unknown.digest, SecretDigest([0; 32])] {
                let token = Redeem { id: unknown.id, digest, purpose: Purpose::Reset };
                assert!(!redeem(&mut without, token, now));
            }
        }
        assert_eq!((with.nobodys, without.nobodys), (0, 1));
    }

    #[test]
    fn a_flood_for_nobody_is_bounded_and_uses_up_nothing_of_what_goes_out_in_all() {
        let mut mailed = mailed();
        for number in 0..NOBODYS_MAX as u64 + 10 {
            let mut random = [0; 14];
            random[..8].copy_from_slice(&number.to_le_bytes());
            let (id, account) = (MailedId::mint(Slot::FIRST, random), AccountId::mint(Slot::FIRST, random));
            let nobody = Mint { id, account, for_nobody: true, ..wish(1, Purpose::Reset) };
            assert!(settle(&mut mailed, &nobody, START).1);
        }
        assert_eq!((mailed.nobodys, mailed.by_id.len(), mailed.in_hour), (NOBODYS_MAX, NOBODYS_MAX, 0));
        assert!(
            mint(&mut mailed, 1, Purpose::Reset, START).1 && mint(&mut mailed, 2, Purpose::Reset, START).1
        );
        (0..BUCKETS).for_each(|bucket| {
            mailed.sweep(bucket, START + Duration::from_hours(1));
        });
        assert_eq!((mailed.nobodys, mailed.by_id.len()), (0, 0));
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
