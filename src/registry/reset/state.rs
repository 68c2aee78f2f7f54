//! The whole rule of mailed tokens. Knows no actor, file, clock or randomness.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::first_asks::Asker;
use super::quotas::{Cause, MailLimits, Quotas, Wish};
use super::record::{MailedV2, Purpose};
use crate::registry::buckets::Buckets;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::system::seeded_bug::{Bug, seeded};
use crate::token::opaque::{SealedSuccessor, SecretDigest};
use crate::value::id::{AccountId, MailedId};

/// A decision about mailed tokens with verdict `V`.
pub type Decision<V> = record::Decision<MailedV2, V>;

/// The most tokens for unknown names that are kept. After that a smaller record is written for an unknown name. Only
/// under a flood does this tell a known name from an unknown one, and only to an attacker who can measure a write of 4
/// KiB by its content.
const NOBODYS_MAX: usize = 50_000;
/// How long the use of a link can be repeated. A page may post it twice, and a client repeats what was not answered.
const REPEATS_FOR: Duration = Duration::from_mins(10);
/// The most used links that are remembered. Older ones are forgotten first.
const USED_MAX: usize = 10_000;
/// How long a change of the address can be undone.
pub const UNDO_FOR: Duration = Duration::from_hours(72);

/// The lifetimes of tokens, and the quotas of mails.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The lifetime of a token that resets a password or lifts a lockout.
    pub reset: Duration,
    /// The lifetime of a token that proves an address.
    pub verify: Duration,
    /// The lifetime of a token that sets the first password.
    pub invitation: Duration,
    /// The most mails to one account in an hour, for each purpose.
    pub mails_per_hour: u32,
    /// The most mails that one network may ask for in an hour.
    pub mails_per_network: u32,
    /// The most mails to one domain in an hour. Beyond it only the first mail to each account is sent.
    pub mails_per_domain: u32,
}

impl Limits {
    /// Returns the lifetime of a token for `purpose`.
    pub const fn life(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::Verify | Purpose::EmailChange => self.verify,
            Purpose::Reset | Purpose::Unlock => self.reset,
            Purpose::EmailUndo => UNDO_FOR,
            Purpose::Invitation => self.invitation,
        }
    }

    const fn mails(&self) -> MailLimits {
        MailLimits {
            recipient: self.mails_per_hour,
            network: self.mails_per_network,
            domain: self.mails_per_domain,
        }
    }
}

/// Mints a token that is to be mailed, or finds the live one. Does the same work for an unknown name.
#[derive(Clone, Debug)]
pub struct Mint {
    /// The id of a new token, minted in the account's slot.
    pub id: MailedId,
    /// The account; for an unknown name, an id that no account has, always the same for one name.
    pub account: AccountId,
    /// The key of the address, if the account is none yet: the quotas count all sign-ups of an address together.
    pub pending: Option<[u8; 16]>,
    /// The account's epoch, as it was read.
    pub auth_epoch: u64,
    /// The global epoch.
    pub global_epoch: u64,
    /// The purpose of the token.
    pub purpose: Purpose,
    /// SHA-256 of the secret of a new token.
    pub digest: SecretDigest,
    /// The key that secrets are derived from.
    pub kid: u8,
    /// The key of the address together with which alone the token is valid.
    pub bound_to: Option<[u8; 16]>,
    /// Who causes the mail.
    pub cause: Cause,
    /// A digest of the domain that the mail goes to.
    pub domain: [u8; 8],
    /// Whether the name is unknown: the work is the same, but no secret redeems the token.
    pub for_nobody: bool,
    /// The end of what the token belongs to, if that has one: the token ends with it.
    pub end_max: Option<Timestamp>,
    /// When the account was made, if it asks for another address.
    pub asker_since: Option<Timestamp>,
}

impl Mint {
    /// Returns the end of a token that is given a life of `life` at `now`.
    fn end(&self, life: Duration, now: Timestamp) -> Timestamp {
        let end = now + life;
        self.end_max.map_or(end, |end_max| end.min(end_max))
    }

    /// Returns the mail as the quotas count it.
    pub(super) fn wish(&self) -> Wish {
        Wish {
            recipient: self.pending.unwrap_or(self.account.to_bytes()),
            purpose: self.purpose,
            cause: self.cause,
            domain: self.domain,
            address: self.bound_to.filter(|_| self.purpose == Purpose::EmailChange),
            asker: self.asker_since.map(|since| Asker { account: self.account.to_bytes(), since }),
            for_nobody: self.for_nobody,
            lacks_link: false,
        }
    }
}

/// What a mail is to hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Minted {
    /// The new token.
    New,
    /// The live token of this id, whose life is extended.
    Again(MailedId),
    /// Nothing: a quota is used up, and no mail is to be sent.
    NotSent,
    /// Nothing, and nothing is to be written either: strangers have had too many entries written for nothing.
    NotWritten,
}

impl Minted {
    /// Says whether a mail is to be sent.
    pub const fn is_sent(self) -> bool {
        matches!(self, Self::New | Self::Again(_))
    }
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

/// All mailed tokens of one engine.
pub struct MailedTokens {
    by_id: Buckets<[u8; 16], MailedV2>,
    /// The newest token of each account and purpose.
    by_use: HashMap<([u8; 16], Purpose), [u8; 16]>,
    quotas: Quotas,
    /// Tokens for unknown names.
    nobodys: usize,
    /// Links that were used lately, the oldest first. In memory alone: after a restart a repeated use is refused.
    used: VecDeque<Used>,
    limits: Limits,
}

/// Remembers that the request which redeemed a token did what it was to do.
#[derive(Clone, Copy, Debug)]
pub struct RememberUse {
    /// The token.
    pub redeem: Redeem,
    /// What was done.
    pub done: LinkUse,
}

/// What a link has done.
#[derive(Clone, Copy, Debug)]
pub struct LinkUse {
    /// The account.
    pub account: AccountId,
    /// The credential that its client got in place of the one it had, so that it gets the same one again.
    pub renewal: Option<Renewal>,
}

impl LinkUse {
    /// Says that a link was used for `account`, and that its client got no credential.
    pub const fn of(account: AccountId) -> Self {
        Self { account, renewal: None }
    }
}

/// A credential that has replaced another one. Its secret is sealed, so that the record gives nobody more than they have.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// The session or family.
    pub sid: [u8; 16],
    /// Its secret, sealed under a key derived from the link and the credential that was replaced.
    pub sealed: SealedSuccessor,
    /// When the credential that was replaced would have expired.
    pub until: Timestamp,
    /// The nonce of the device cookie that came with it.
    pub device_nonce: [u8; 16],
}

/// A link that did what it is for.
struct Used {
    redeem: Redeem,
    done: LinkUse,
    at: Timestamp,
}

impl MailedTokens {
    /// Creates an empty set of tokens.
    pub fn new(limits: Limits) -> Self {
        let used = VecDeque::new();
        let by_use = HashMap::new();
        Self { by_id: Buckets::new(), by_use, quotas: Quotas::default(), nobodys: 0, used, limits }
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], MailedV2> {
        &self.by_id
    }

    /// Decides what a mail holds that is asked for at `now`: the live token, whose life is extended, or a new one. A link
    /// that was mailed is never ended by a request for another. Beyond the quota nothing is minted, but something is
    /// written. An unknown name is treated alike, quota included.
    ///
    /// Entries that are only written so that every request takes as long fill the disk in a flood. So they have a rate; in a
    /// flood beyond it, who measures the time of a commit can tell a name that is sent a mail from another.
    pub fn mint(&self, mint: &Mint, now: Timestamp) -> Decision<Minted> {
        let is_within_quota = self.is_within_quota(mint, now);
        if is_decoy(mint, is_within_quota) && !self.quotas.admits_decoy(now) {
            return Decision::unchanged(Minted::NotWritten);
        }
        if !is_within_quota {
            return Decision::remove(mint.id.to_bytes(), Minted::NotSent);
        }
        let life = self.limits.life(mint.purpose);
        let before = self.newest(mint.account, mint.purpose);
        if let Some(live) = before.filter(|before| can_be_mailed_again(before, mint, life, now))
            && let Some(id) = MailedId::from_bytes(live.id)
        {
            let end_ms = live.end_ms.max(mint.end(life, now).as_millis());
            return Decision::put(MailedV2 { end_ms, ..live.clone() }, Minted::Again(id));
        }
        if mint.for_nobody && self.nobodys >= NOBODYS_MAX {
            return Decision::remove(mint.id.to_bytes(), Minted::New);
        }
        Decision { writes: self.put_new(mint, now), verdict: Minted::New }
    }

    /// Decides the minting of a token at `now` that an answer hands out. No mail is sent, so no quota holds it back.
    pub fn hand_out(&self, mint: &Mint, now: Timestamp) -> Decision<()> {
        Decision { writes: self.put_new(mint, now), verdict: () }
    }

    /// Returns the writes that add a new token.
    fn put_new(&self, mint: &Mint, now: Timestamp) -> Vec<Write<MailedV2>> {
        let put = Write::Put(MailedV2 {
            id: mint.id.to_bytes(),
            account: mint.account.to_bytes(),
            purpose: mint.purpose,
            auth_epoch: mint.auth_epoch,
            global_epoch: mint.global_epoch,
            digest: if mint.for_nobody { MailedV2::NOBODYS } else { mint.digest.0 },
            minted_ms: now.as_millis(),
            end_ms: mint.end(self.limits.life(mint.purpose), now).as_millis(),
            kid: mint.kid,
            bound_to: mint.bound_to,
        });
        // One that is still valid, but cannot be mailed again, lives to its end.
        let before = self
            .newest(mint.account, mint.purpose)
            .filter(|before| seeded(Bug::LiveLinkReplaced) || !lives_on(before, mint, now));
        let removed = before.map(|before| Write::Remove(before.id));
        removed.into_iter().chain([put]).collect()
    }

    fn is_within_quota(&self, mint: &Mint, now: Timestamp) -> bool {
        if mint.purpose == Purpose::EmailUndo && !mint.cause.is_stranger() {
            // Sent outside every quota. One at most, so that the link of the first owner is never replaced.
            return !self.has_live(mint.account, mint.purpose, mint.global_epoch, now);
        }
        self.admits(&Wish { lacks_link: self.lacks_link(mint, now), ..mint.wish() }, now)
    }

    /// Says whether the account is without a link that would be good. Sign-ups, and addresses that are asked for, are not
    /// meant: each new one would lack a link. Nor is an unknown name for which no token can be kept.
    fn lacks_link(&self, mint: &Mint, now: Timestamp) -> bool {
        let is_kept = !mint.for_nobody || self.nobodys < NOBODYS_MAX;
        let is_for_account = mint.pending.is_none() && mint.bound_to.is_none() && is_kept;
        let newest = self.newest(mint.account, mint.purpose);
        is_for_account && !newest.is_some_and(|newest| is_valid(newest, mint, now))
    }

    /// Says whether the quotas allow a mail.
    pub fn admits(&self, wish: &Wish, now: Timestamp) -> bool {
        self.quotas.admits(wish, self.limits.mails(), now)
    }

    /// Counts a request for a mail, which was answered by `minted`.
    pub fn count_mint(&mut self, mint: &Mint, minted: Minted, now: Timestamp) {
        self.count(&mint.wish(), minted.is_sent(), now);
        if is_decoy(mint, minted.is_sent()) && minted != Minted::NotWritten {
            self.quotas.count_decoy(now);
        }
    }

    /// Counts a mail and the request for it. `is_sent` says whether the quotas allowed it.
    pub fn count(&mut self, wish: &Wish, is_sent: bool, now: Timestamp) {
        if !is_sent {
            self.quotas.count_refused(wish, self.limits.mails(), now);
        } else if wish.purpose != Purpose::EmailUndo || wish.cause.is_stranger() {
            self.quotas.count_sent(wish, self.limits.mails(), now);
        }
        self.quotas.count_asked(wish.cause, self.limits.mails(), now);
    }

    fn newest(&self, account: AccountId, purpose: Purpose) -> Option<&MailedV2> {
        self.by_use.get(&(account.to_bytes(), purpose)).and_then(|id| self.by_id.get(id))
    }

    /// Says whether `account` has a live token for `purpose`. A token of another global epoch is invalid.
    pub fn has_live(&self, account: AccountId, purpose: Purpose, global_epoch: u64, now: Timestamp) -> bool {
        let token = self.newest(account, purpose);
        token.is_some_and(|token| token.global_epoch == global_epoch && now.as_millis() < token.end_ms)
    }

    /// Returns the purposes of the newest links of `account` that are good, each with its end.
    pub fn links_of(
        &self,
        account: AccountId,
        auth_epoch: u64,
        global_epoch: u64,
        now: Timestamp,
    ) -> Vec<(Purpose, Timestamp)> {
        let newest = Purpose::ALL.into_iter().filter_map(|purpose| self.newest(account, purpose));
        let is_good = |token: &&MailedV2| {
            token.global_epoch == global_epoch
                && now.as_millis() < token.end_ms
                && (token.auth_epoch == auth_epoch || token.purpose == Purpose::EmailUndo)
        };
        newest.filter(is_good).map(|token| (token.purpose, Timestamp(token.end_ms))).collect()
    }

    /// Returns the token that would be redeemed. It stays usable.
    pub fn peek(&self, redeem: Redeem, now: Timestamp) -> Result<&MailedV2, Invalid> {
        self.by_id
            .get(&redeem.id.to_bytes())
            .filter(|token| {
                let is_right = SecretDigest(token.digest) == redeem.digest;
                is_right
                    && !token.is_nobodys()
                    && token.purpose.serves(redeem.purpose)
                    && now.as_millis() < token.end_ms
            })
            .ok_or(Invalid)
    }

    /// Decides the redemption of a token, which succeeds once.
    pub fn redeem(&self, redeem: Redeem, now: Timestamp) -> Decision<Result<MailedV2, Invalid>> {
        match self.peek(redeem, now) {
            Ok(token) => Decision::remove(token.id, Ok(token.clone())),
            Err(invalid) => Decision::unchanged(Err(invalid)),
        }
    }

    /// Remembers that the request which redeemed a token did what it was to do.
    pub fn remember_use(&mut self, RememberUse { redeem, done }: RememberUse, now: Timestamp) {
        while self.used.len() >= USED_MAX {
            self.used.pop_front();
        }
        self.used.push_back(Used { redeem, done, at: now });
    }

    /// Returns what a token has done that was redeemed a short while ago, for whoever presents it again.
    pub fn used_lately(&self, redeem: Redeem, now: Timestamp) -> Option<LinkUse> {
        let mut lately = self.used.iter().rev().take_while(|used| now < used.at + REPEATS_FOR);
        let used = lately.find(|used| {
            used.redeem.id == redeem.id
                && used.redeem.digest == redeem.digest
                && used.redeem.purpose == redeem.purpose
        });
        used.map(|used| used.done)
    }

    /// Returns the token `id` of a mail that is about to leave, if it is still live.
    pub fn find_live(&self, id: MailedId, now: Timestamp) -> Option<&MailedV2> {
        self.by_id.get(&id.to_bytes()).filter(|token| now.as_millis() < token.end_ms)
    }

    /// Lets the life of the token `id` begin anew, to `end_max` at most: its mail has waited, and the reader must have the
    /// usual time.
    pub fn restart(&self, id: MailedId, end_max: Option<Timestamp>, now: Timestamp) -> Decision<()> {
        match self.find_live(id, now) {
            Some(token) if token.purpose != Purpose::EmailUndo => {
                let usual = now + self.limits.life(token.purpose);
                let end = end_max.map_or(usual, |end_max| usual.min(end_max));
                let end_ms = token.end_ms.max(end.as_millis());
                Decision::put(MailedV2 { end_ms, ..token.clone() }, ())
            }
            _ => Decision::unchanged(()),
        }
    }

    /// Decides the end of all tokens of an account.
    pub fn end_all(&self, account: AccountId) -> Decision<()> {
        // The undo of a change of the address stays: it is for the case that a thief did all of this.
        let all =
            [Purpose::Reset, Purpose::Verify, Purpose::Unlock, Purpose::EmailChange, Purpose::Invitation];
        let ids = all.into_iter().filter_map(|purpose| self.by_use.get(&(account.to_bytes(), purpose)));
        Decision { writes: ids.map(|id| Write::Remove(*id)).collect(), verdict: () }
    }

    /// Decides the end of the tokens by which the last change of an account's address could be undone: there may be an older
    /// one, whose secret was derived from an earlier key.
    pub fn end_undo(&self, account: AccountId) -> Decision<()> {
        let all = self.by_id.iter().map(|(_, token)| token);
        let ended =
            all.filter(|token| token.purpose == Purpose::EmailUndo && token.account == account.to_bytes());
        Decision { writes: ended.map(|token| Write::Remove(token.id)).collect(), verdict: () }
    }

    /// Forgets which links of an account were used: something has changed since, and who repeats such a request must not be
    /// told that it is done.
    pub fn forget_uses(&mut self, account: AccountId) {
        self.used.retain(|used| used.done.account != account);
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<MailedV2>) {
        match write {
            Write::Put(token) => {
                let used = (token.account, token.purpose);
                let newest = self.by_use.get(&used).and_then(|id| self.by_id.get(id));
                if newest.is_none_or(|newest| newest.minted_ms <= token.minted_ms) {
                    self.by_use.insert(used, token.id);
                }
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
            self.quotas.sweep(now);
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

/// Says whether a stranger's request is written for nothing: no mail leaves.
const fn is_decoy(mint: &Mint, is_sent: bool) -> bool {
    mint.cause.is_stranger() && (mint.for_nobody || !is_sent)
}

/// Says whether `before` is a valid token for the same use as the one that `mint` asks for.
fn is_valid(before: &MailedV2, mint: &Mint, now: Timestamp) -> bool {
    now.as_millis() < before.end_ms
        && before.auth_epoch == mint.auth_epoch
        && before.global_epoch == mint.global_epoch
        && before.bound_to == mint.bound_to
}

/// Says whether `before` outlives the minting of another token for the same use. A link that undoes a change of address
/// belongs to the first owner, whatever the epoch of the account.
fn lives_on(before: &MailedV2, mint: &Mint, now: Timestamp) -> bool {
    if mint.purpose == Purpose::EmailUndo {
        now.as_millis() < before.end_ms
            && before.global_epoch == mint.global_epoch
            && before.bound_to == mint.bound_to
    } else {
        is_valid(before, mint, now)
    }
}

/// Says whether `before` is mailed again in place of a new token.
fn can_be_mailed_again(before: &MailedV2, mint: &Mint, life: Duration, now: Timestamp) -> bool {
    if mint.purpose == Purpose::EmailUndo {
        // Its life is not extended beyond that of the change.
        lives_on(before, mint, now) && before.kid == mint.kid
    } else {
        is_same(before, mint, life, now)
    }
}

/// Says whether `before` can be mailed again in place of a new token with a life of `life`. No token is mailed again once
/// it is as old as that: otherwise a stranger who asks again and again would keep the link of an old mail alive.
fn is_same(before: &MailedV2, mint: &Mint, life: Duration, now: Timestamp) -> bool {
    !seeded(Bug::LiveLinkReplaced)
        && is_valid(before, mint, now)
        && before.kid == mint.kid
        && before.is_nobodys() == mint.for_nobody
        && now.since(Timestamp(before.minted_ms)) < life
}

#[cfg(test)]
mod tests;
