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
/// The most mails that one network may ask for in an hour.
const MAILS_PER_NETWORK: usize = 10;
/// The number of mails in an hour after which only the first mail of each account is sent.
const MAILS_IN_ALL: usize = 1000;
/// The most networks that are remembered.
const ASKED_MAX: usize = 100_000;
/// The most tokens for unknown names that are kept. After that a smaller record is written for an unknown name. Only
/// under a flood does this tell a known name from an unknown one, and only to an attacker who can measure a write of 4
/// KiB by its content.
const NOBODYS_MAX: usize = 50_000;
/// How long a change of the address can be undone.
const UNDO_FOR: Duration = Duration::from_hours(72);

/// The lifetimes of tokens, and the quota of mails.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The lifetime of a token that resets a password or lifts a lockout.
    pub reset: Duration,
    /// The lifetime of a token that proves an address.
    pub verify: Duration,
    /// The most mails to one account in an hour, for each purpose.
    pub mails_per_hour: u32,
}

/// Mints a token that is to be mailed, or does the same work for an unknown name.
#[derive(Clone, Debug)]
pub struct Mint {
    /// The id of the new token, minted in the account's slot.
    pub id: MailedId,
    /// The account; for an unknown name, an id that no account has, always the same for one name.
    pub account: AccountId,
    /// The account's epoch, as it was read.
    pub auth_epoch: u64,
    /// The global epoch.
    pub global_epoch: u64,
    /// The purpose of the token.
    pub purpose: Purpose,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
    /// The network of the client that asks for the mail; `None` if the server itself does.
    pub network: Option<Network>,
    /// Whether the name is unknown: the work is the same, but no secret redeems the token.
    pub for_nobody: bool,
}

/// Redeems a token.
#[derive(Clone, Copy, Debug)]
pub struct Redeem {
    /// The id that it names.
    pub id: MailedId,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
    /// The purpose it is used for.
    pub purpose: Purpose,
}

/// The token is unknown, redeemed, replaced or expired, or has another secret or purpose. A client is never told which.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid or expired token")]
pub struct Invalid;

/// All mailed tokens of one engine: at most one for each account and purpose.
pub struct MailedTokens {
    by_id: Buckets<[u8; 16], MailedV1>,
    by_use: HashMap<([u8; 16], Purpose), [u8; 16]>,
    /// When mails were sent in the last hour. In memory alone: a restart forgives at most one hour's quota.
    mails: HashMap<([u8; 16], Purpose), Vec<Timestamp>>,
    /// When networks asked for mails in the last hour. Also in memory alone.
    asked: HashMap<Network, Vec<Timestamp>>,
    /// When the hour began in which mails of all accounts are counted.
    hour_began: Timestamp,
    /// Mails of all accounts since then.
    in_hour: usize,
    /// Tokens for unknown names.
    nobodys: usize,
    limits: Limits,
}

impl MailedTokens {
    /// Creates an empty set of tokens.
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

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], MailedV1> {
        &self.by_id
    }

    /// Decides the minting of a token at `now`. The verdict says whether the mail is to be sent. A new token ends the
    /// one before. Beyond the quota nothing is minted, but something is written. An unknown name is treated alike,
    /// quota included.
    pub fn mint(&self, mint: &Mint, now: Timestamp) -> Decision<bool> {
        if !self.is_within_quota(mint, now) {
            return Decision::remove(mint.id.to_bytes(), false);
        }
        if mint.for_nobody && self.nobodys >= NOBODYS_MAX {
            return Decision::remove(mint.id.to_bytes(), true);
        }
        Decision { writes: self.replace(mint, now), verdict: true }
    }

    /// Decides the minting of a token at `now` that an answer hands out. No mail is sent, so no quota holds it back. It
    /// ends the one before, as a mailed one does.
    pub fn hand_out(&self, mint: &Mint, now: Timestamp) -> Decision<()> {
        Decision { writes: self.replace(mint, now), verdict: () }
    }

    /// Returns the writes that put a new token in the place of the one before.
    fn replace(&self, mint: &Mint, now: Timestamp) -> Vec<Write<MailedV1>> {
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
        let used = (mint.account.to_bytes(), mint.purpose);
        let before = self.by_use.get(&used).map(|id| Write::Remove(*id));
        before.into_iter().chain([put]).collect()
    }

    /// Says whether a mail may be sent. There is a quota for each account and purpose, one for each network, and one
    /// for all mails. The last one never holds back the first mail of an account.
    fn is_within_quota(&self, mint: &Mint, now: Timestamp) -> bool {
        if mint.purpose == Purpose::EmailUndo {
            // Sent outside every quota. One at most, so that the link of the first owner is never replaced.
            return !self.has_live(mint.account, mint.purpose, mint.global_epoch, now);
        }
        let used = (mint.account.to_bytes(), mint.purpose);
        let count_in_hour = |mails: Option<&Vec<Timestamp>>| {
            mails.into_iter().flatten().filter(|at| now.since(**at) < HOUR).count()
        };
        let own = count_in_hour(self.mails.get(&used));
        let of_network = mint.network.map_or(0, |network| count_in_hour(self.asked.get(&network)));
        let in_all = if now.since(self.hour_began) < HOUR { self.in_hour } else { 0 };
        own < self.limits.mails_per_hour as usize
            && of_network < MAILS_PER_NETWORK
            && (own == 0 || in_all < MAILS_IN_ALL)
    }

    /// Says whether `account` has a live token for `purpose`. A token of another global epoch is invalid.
    pub fn has_live(&self, account: AccountId, purpose: Purpose, global_epoch: u64, now: Timestamp) -> bool {
        let id = self.by_use.get(&(account.to_bytes(), purpose));
        let token = id.and_then(|id| self.by_id.get(id));
        token.is_some_and(|token| token.global_epoch == global_epoch && now.as_millis() < token.end_ms)
    }

    /// Counts a mail that is sent, or would be if the name were known.
    pub fn count_mail(&mut self, mint: &Mint, now: Timestamp) {
        let used = (mint.account.to_bytes(), mint.purpose);
        if mint.for_nobody && self.mails.len() >= ASKED_MAX && !self.mails.contains_key(&used) {
            return;
        }
        let mails = self.mails.entry(used).or_default();
        mails.retain(|at| now.since(*at) < HOUR);
        mails.push(now);
        if mint.for_nobody {
            // Unknown names must not use up the quota of all mails.
            return;
        }
        if now.since(self.hour_began) >= HOUR {
            self.hour_began = now;
            self.in_hour = 0;
        }
        self.in_hour += 1;
    }

    /// Counts a request of `network`, whether or not there was an account and a mail.
    pub fn count_asked(&mut self, network: Network, now: Timestamp) {
        if self.asked.len() >= ASKED_MAX && !self.asked.contains_key(&network) {
            // The rate limit has let a hundred thousand networks through within the hour; the quota of each account
            // still holds. The sweep makes room. Making room here would cost each request a scan of all networks.
            return;
        }
        let asked = self.asked.entry(network).or_default();
        asked.retain(|at| now.since(*at) < HOUR);
        if asked.len() < MAILS_PER_NETWORK {
            asked.push(now);
        }
    }

    /// Returns the token that would be redeemed. It stays usable.
    pub fn peek(&self, redeem: Redeem, now: Timestamp) -> Result<&MailedV1, Invalid> {
        self.by_id
            .get(&redeem.id.to_bytes())
            .filter(|token| {
                let is_right = SecretDigest(token.digest) == redeem.digest;
                is_right
                    && !token.is_nobodys()
                    && token.purpose == redeem.purpose
                    && now.as_millis() < token.end_ms
            })
            .ok_or(Invalid)
    }

    /// Decides the redemption of a token, which succeeds once.
    pub fn redeem(&self, redeem: Redeem, now: Timestamp) -> Decision<Result<MailedV1, Invalid>> {
        match self.peek(redeem, now) {
            Ok(token) => Decision::remove(token.id, Ok(token.clone())),
            Err(invalid) => Decision::unchanged(Err(invalid)),
        }
    }

    /// Decides the end of all tokens of an account.
    pub fn end_all(&self, account: AccountId) -> Decision<()> {
        // The undo of a change of the address stays: it is for the case that a thief did all of this.
        let all = [Purpose::Reset, Purpose::Verify, Purpose::Unlock, Purpose::EmailChange].into_iter();
        let ids = all.filter_map(|purpose| self.by_use.get(&(account.to_bytes(), purpose)));
        Decision { writes: ids.map(|id| Write::Remove(*id)).collect(), verdict: () }
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
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

    /// Removes the expired tokens of one bucket and returns how many there were. Writes nothing to the journal: the end
    /// is in the record.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let expired = self.by_id.bucket(bucket).filter(|(_, token)| now.as_millis() >= token.end_ms);
        let ids: Vec<_> = expired.map(|(id, _)| *id).collect();
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
mod tests;
