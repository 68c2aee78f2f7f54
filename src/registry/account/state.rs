//! The whole rule of accounts. Knows no actor, file, clock or randomness.

use std::collections::BTreeSet;

use super::command::{
    Administer, Alter, Altered, FormerChange, Holder, Origin, Refusal, Rehash, ReleaseUnprovenAddress,
    SignUp, SignedUp,
};
use super::extra::ExternalIds;
use super::foreign::Limits;
use super::record::{AccountExtraV1, AccountV4, FormerAddressV2, REPLACED_MAX, ReplacedPasswordV1, Status};
use super::stored_costs::StoredCosts;
use crate::journal::format::buckets::BUCKETS;
use crate::password::foreign::StoredCost;
use crate::registry::Revocation;
use crate::registry::buckets::Buckets;
use crate::registry::index::Index;
use crate::registry::record::{self, ENDED_AT_ONCE, Write};
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;

/// A decision about accounts with verdict `V`.
pub type Decision<V> = record::Decision<AccountV4, V>;

/// The role of administrators.
pub const ADMIN: &str = "admin";

/// Bytes of accounts that are written at once because they forget something: fewer than one entry holds.
const FORGOTTEN_BYTES_MAX: usize = 48 * 1024;

/// The most accounts that [`Accounts::read_from`] returns, unless a single bucket holds more.
const READ_AT_ONCE: usize = 128;
/// Bytes of accounts after which it reads no further bucket.
const READ_BYTES_MAX: usize = 256 * 1024;

/// All accounts of one engine.
pub struct Accounts {
    by_id: Buckets<[u8; 16], AccountV4>,
    by_name: Index<NameKey, AccountId>,
    by_external_id: ExternalIds,
    /// The active accounts with the role of administrators.
    admins: BTreeSet<AccountId>,
    /// The accounts that remember a former address or replaced passwords, or have a password that counts for a time only, by
    /// the time at which the first of these is over.
    to_forget: BTreeSet<(u64, AccountId)>,
    /// The former addresses whose change can be undone, each with its account. One that was just over may have been taken
    /// and left again by another account, so an address may have two.
    kept: BTreeSet<([u8; 16], [u8; 16])>,
    costs: StoredCosts,
    limits: Limits,
}

impl Default for Accounts {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Accounts {
    /// Creates a state without accounts.
    pub fn new(limits: Limits) -> Self {
        Self {
            by_id: Buckets::new(),
            by_name: Index::new(),
            by_external_id: ExternalIds::new(),
            admins: BTreeSet::new(),
            to_forget: BTreeSet::new(),
            kept: BTreeSet::new(),
            costs: StoredCosts::default(),
            limits,
        }
    }

    /// Returns the account of `id`.
    pub fn get(&self, id: AccountId) -> Option<&AccountV4> {
        self.by_id.get(&id.to_bytes())
    }

    /// Returns `account` as it counts at `now`: without a password whose time is over, which no sweep has removed yet.
    pub fn in_force(&self, account: &AccountV4, now: Timestamp) -> AccountV4 {
        let mut account = account.clone();
        if self.limits.is_password_over(&account, now) {
            account.phc = None;
        }
        account
    }

    /// Returns the account whose address has the key `name`.
    pub fn find(&self, name: NameKey) -> Option<&AccountV4> {
        self.get(*self.by_name.get(&name)?)
    }

    /// Returns the account that another program knows by `external_id`.
    pub fn find_external(&self, external_id: &str) -> Option<&AccountV4> {
        let account = self.get(self.by_external_id.get(external_id)?)?;
        Some(account).filter(|account| account.external_id() == Some(external_id))
    }

    /// Says whether another account than `own` has the id `external_id`.
    fn is_external_id_taken(&self, external_id: Option<&str>, own: Option<AccountId>) -> bool {
        let holder = external_id.and_then(|external_id| self.by_external_id.get(external_id));
        holder.is_some_and(|holder| Some(holder) != own)
    }

    /// Returns the account that has the address with the key `name` at `now`, or for which it is kept.
    pub fn holder(&self, name: NameKey, now: Timestamp) -> Option<Holder> {
        let present = self.find(name).map(|account| (account, false));
        let holder = present.or_else(|| self.kept_for(name, now).map(|account| (account, true)));
        holder.map(|(account, is_former)| Holder { account: account.clone(), is_former })
    }

    /// Returns the account whose former address has the key `name`, if its change can be undone at `now`.
    fn kept_for(&self, name: NameKey, now: Timestamp) -> Option<&AccountV4> {
        let accounts = self.kept.range((name.0, [0; 16])..=(name.0, [0xFF; 16]));
        let mut accounts = accounts.filter_map(|(_, id)| self.by_id.get(id));
        accounts.find(|account| account.former.as_ref().is_some_and(|former| now < former.end()))
    }

    /// Returns the index of external ids.
    #[cfg(test)]
    pub(super) const fn by_external_id(&self) -> &ExternalIds {
        &self.by_external_id
    }

    /// Returns the costs of the stored hashes.
    pub const fn stored_costs(&self) -> &StoredCosts {
        &self.costs
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], AccountV4> {
        &self.by_id
    }

    /// Decides the making of an account at `now`.
    pub fn sign_up(&self, sign_up: SignUp, now: Timestamp) -> Decision<SignedUp> {
        let before = self.find(sign_up.name_key);
        let is_taken = |account: &&AccountV4| match sign_up.origin {
            Origin::Mailbox => account.holds_its_address(),
            Origin::Administrator | Origin::Nobody => true,
        };
        if let Some(taken) = before.filter(is_taken) {
            // Nobody learns from this what they may not know: the answer says it, or the mailbox is proved.
            return Decision::unchanged(SignedUp::Taken(taken.clone()));
        }
        if before.is_none() && self.kept_for(sign_up.name_key, now).is_some() {
            return Decision::unchanged(SignedUp::Kept);
        }
        let external_id = sign_up.extra.as_ref().and_then(|extra| extra.external_id.as_deref());
        if self.is_external_id_taken(external_id, before.map(|account| account.id)) {
            return Decision::unchanged(SignedUp::ExternalIdTaken);
        }
        let mut account = sign_up.into_account(now);
        if let Some(before) = before {
            account.id = before.id;
            // A proof of the address does not reopen an account that an administrator has closed.
            account.status = before.status;
            account.auth_epoch = before.auth_epoch + 1;
            account.created_ms = before.created_ms;
            account.device_epoch = before.device_epoch.wrapping_add(1);
            account.tokens_from_secs = before.tokens_from_secs;
        }
        Decision::put(account.clone(), SignedUp::Created(account))
    }

    /// Decides a change of an account at `now`.
    pub fn alter(&self, alter: Alter, now: Timestamp) -> Decision<Result<AccountV4, Refusal>> {
        let Alter { id, change } = alter;
        let Some(account) = self.get(id) else {
            return Decision::unchanged(Err(Refusal::Unknown));
        };
        if change.if_epoch.is_some_and(|epoch| epoch != account.auth_epoch) {
            return Decision::unchanged(Err(Refusal::Outdated));
        }
        if let Some((_, key)) = &change.email
            && self.holder(*key, now).is_some_and(|holder| holder.account.id != account.id)
        {
            return Decision::unchanged(Err(Refusal::Taken));
        }
        if self.is_external_id_taken(change.extra.external_id.as_deref(), Some(account.id)) {
            return Decision::unchanged(Err(Refusal::ExternalIdTaken));
        }
        if let (Some(own), Some(phc)) = (change.foreign_beside, &change.phc)
            && let Some(cost) = StoredCost::of(phc)
            && let Err(too_dear) = self.stored_costs().log_in_cost().take(cost, own)
        {
            return Decision::unchanged(Err(too_dear.into()));
        }
        let mut next = account.clone();
        self.forget_over(&mut next, now);
        if change.phc.is_some() || change.clear_phc {
            remember_replaced(&mut next, now);
        }
        let other_status = change.status.is_some_and(|status| status != account.status);
        if change.phc.is_some()
            || change.clear_phc
            || change.raise_epoch
            || change.email.is_some()
            || other_status
        {
            next.auth_epoch += 1;
        }
        let raises = change.raise_epoch && !change.keep_devices;
        if change.phc.is_some() || change.clear_phc || raises || change.end_devices {
            next.device_epoch = next.device_epoch.wrapping_add(1);
        }
        next.mutes_new_device = change.mutes_new_device.unwrap_or(next.mutes_new_device);
        next.email_verified = (next.email_verified || change.verified) && !change.unproved;
        next.is_vouched |= change.vouched;
        next.status = change.status.unwrap_or(next.status);
        match change.former {
            Some(FormerChange::Keep { undo_end_ms }) => {
                let replaced = std::mem::take(&mut next.replaced).into_vec();
                let replaced = replaced.into_iter().map(|replaced| replaced.phc);
                next.former = Some(Box::new(FormerAddressV2 {
                    name_key: Some(account.name_key),
                    phcs: account.phc.clone().into_iter().chain(replaced).collect(),
                    undo_end_ms,
                    is_settled: false,
                }));
            }
            Some(FormerChange::Settle) => {
                if let Some(former) = &mut next.former {
                    former.is_settled = true;
                }
            }
            Some(FormerChange::Forget) => {
                // Some of these may be a thief's.
                next.former = None;
                next.replaced = Box::default();
            }
            None => {}
        }
        if let Some((email, key)) = change.email {
            next.email = email;
            next.name_key = key.0;
        }
        if change.clear_phc {
            next.phc = None;
        }
        if let Some(phc) = change.phc {
            next.phc = Some(phc);
        }
        if let Some(mut roles) = change.roles {
            roles.sort();
            roles.dedup();
            if next.roles.iter().any(|role| !roles.contains(role)) {
                // A token of the time since the last role was taken away may be issued at the very second from which they
                // were valid: further changes within one second end it too.
                next.tokens_from_secs = change.tokens_from_secs.max(next.tokens_from_secs + 1);
            }
            next.roles = roles;
        }
        let loses_admin = !is_admin(&next) || (can_log_in(account) && !can_log_in(&next));
        if change.spares_last_admin && loses_admin && self.is_last_admin(account) {
            return Decision::unchanged(Err(Refusal::LastAdmin));
        }
        if let Some(name) = change.name {
            next.name = Some(name).filter(|name| !name.is_empty());
        }
        next.extra = change.extra.applied_to(next.extra);
        // Who changes nothing again and again fills no journal.
        if next == *account {
            return Decision::unchanged(Ok(next));
        }
        Decision::put(next.clone(), Ok(next))
    }

    /// Decides a change like [`Accounts::alter`]. Nobody changes the account between its state before and after.
    pub fn administer(&self, administer: Administer, now: Timestamp) -> Decision<Result<Altered, Refusal>> {
        let before = self.get(administer.0.id).cloned();
        let Decision { writes, verdict } = self.alter(administer.0, now);
        let verdict =
            verdict.and_then(|after| Ok(Altered { before: before.ok_or(Refusal::Unknown)?, after }));
        Decision { writes, verdict }
    }

    /// Decides a rehash of the same password. The epoch stays, and only the PHC string that was checked is replaced.
    pub fn rehash(&self, rehash: Rehash) -> Decision<()> {
        match self.get(rehash.id) {
            Some(account) if account.phc.as_deref() == Some(&*rehash.checked) => {
                Decision::put(AccountV4 { phc: Some(rehash.phc), ..account.clone() }, ())
            }
            _ => Decision::unchanged(()),
        }
    }

    /// Returns the writes that forget former addresses and replaced passwords which nothing can ask for any more at `now`, and
    /// passwords whose time is over.
    /// Those of [`ENDED_AT_ONCE`] accounts at most, and of fewer where these carry much: one entry holds them.
    pub fn overdue(&self, now: Timestamp) -> Vec<Write<AccountV4>> {
        let over = self.to_forget.iter().take_while(|(end_ms, _)| *end_ms <= now.as_millis());
        let accounts = over.take(ENDED_AT_ONCE).filter_map(|(_, id)| self.get(*id));
        let mut room = FORGOTTEN_BYTES_MAX;
        let accounts = accounts.take_while(|account| {
            let bytes = stored_bytes(account);
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        });
        let forgotten = |account: &AccountV4| {
            let mut account = account.clone();
            self.forget_over(&mut account, now);
            Write::Put(account)
        };
        accounts.map(forgotten).collect()
    }

    /// Drops what `account` remembers no longer at `now`, and a password whose time is over.
    fn forget_over(&self, account: &mut AccountV4, now: Timestamp) {
        account.former = account.former.take().filter(|former| now < former.end());
        if account.replaced.iter().any(|replaced| now >= replaced.end()) {
            let mut replaced = std::mem::take(&mut account.replaced).into_vec();
            replaced.retain(|replaced| now < replaced.end());
            account.replaced = replaced.into();
        }
        if self.limits.is_password_over(account, now) {
            account.phc = None;
        }
    }

    /// Returns the place of an account among those of which something goes after a time.
    fn forgotten_at(&self, account: &AccountV4) -> Option<(u64, AccountId)> {
        let former = account.former.as_ref().map(|former| former.end());
        let replaced = account.replaced.iter().map(ReplacedPasswordV1::end);
        let ends = former.into_iter().chain(replaced).chain(self.limits.password_end(account));
        ends.min().map(|end| (end.as_millis(), account.id))
    }

    /// Says whether an account is an active administrator beside whom no other one can log in.
    fn is_last_admin(&self, account: &AccountV4) -> bool {
        // Who was invited and has not come yet helps nobody.
        let mut others = self.admins.iter().filter(|id| **id != account.id).filter_map(|id| self.get(*id));
        is_admin(account) && !others.any(can_log_in)
    }

    /// Decides the deletion of an account. The last administrator who can log in is spared if `spares_last_admin`.
    pub fn delete(&self, id: AccountId, spares_last_admin: bool) -> Decision<Result<(), Refusal>> {
        match self.get(id) {
            Some(account) if spares_last_admin && self.is_last_admin(account) => {
                Decision::unchanged(Err(Refusal::LastAdmin))
            }
            Some(_) => Decision::remove(id.to_bytes(), Ok(())),
            None => Decision::unchanged(Err(Refusal::Unknown)),
        }
    }

    /// Deletes another account that has the address which `release.owner` proves, unless that account has proved it
    /// too. Returns the deleted account, so that it can be notified.
    pub fn release_unproven_address(&self, release: ReleaseUnprovenAddress) -> Decision<Option<AccountV4>> {
        let is_squatter = |account: &&AccountV4| !account.email_verified && account.id != release.owner;
        match self.find(release.name).filter(is_squatter) {
            Some(account) => Decision::remove(account.id.to_bytes(), Some(account.clone())),
            None => Decision::unchanged(None),
        }
    }

    /// Returns up to `limit` accounts after `after` that `is_wanted` accepts, in the order of their ids.
    pub fn list(
        &self,
        after: Option<AccountId>,
        limit: usize,
        is_wanted: impl Fn(&AccountV4) -> bool,
    ) -> Vec<AccountV4> {
        let accounts = self.by_id.iter().map(|(_, account)| account);
        let mut page: Vec<_> = accounts
            .filter(|account| after.is_none_or(|after| account.id > after) && is_wanted(account))
            .collect();
        page.sort_unstable_by_key(|account| account.id);
        page.into_iter().take(limit).cloned().collect()
    }

    /// Returns the accounts of whole buckets, beginning with the bucket `from`, and the number of the next bucket: some at a
    /// time, so that no message takes long.
    pub fn read_from(&self, from: usize) -> (Vec<AccountV4>, usize) {
        let (mut accounts, mut bytes, mut next) = (Vec::new(), 0, from);
        while next < BUCKETS && accounts.len() < READ_AT_ONCE && bytes < READ_BYTES_MAX {
            for (_, account) in self.by_id.bucket(next) {
                bytes += stored_bytes(account);
                accounts.push(account.clone());
            }
            next += 1;
        }
        (accounts, next)
    }

    /// Returns at most `limit` active administrators, in the order of their ids.
    pub fn admins(&self, limit: usize) -> Vec<AccountV4> {
        self.admins.iter().take(limit).filter_map(|id| self.get(*id)).cloned().collect()
    }

    /// Removes nothing: accounts do not expire.
    pub const fn sweep(&mut self, _: usize, _: Timestamp) -> usize {
        0
    }

    /// Begins recovery. No account can be found by its address until [`Accounts::recovered`].
    pub fn recover(&mut self) {
        self.by_name.suspend();
        self.by_external_id.suspend();
    }

    /// Ends recovery and builds the indexes.
    pub fn recovered(&mut self) {
        let all = self.by_id.iter();
        self.by_name.build(all.map(|(_, account)| (NameKey(account.name_key), account.id)));
        let all = self.by_id.iter();
        self.by_external_id.build(all.filter_map(|(_, account)| Some((account.external_id()?, account.id))));
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<AccountV4>) {
        match write {
            Write::Put(account) => {
                // The address it had before no longer finds it.
                if !self.by_name.is_suspended() {
                    let before = self.get(account.id).map(|before| NameKey(before.name_key));
                    if let Some(before) = before.filter(|before| before.0 != account.name_key) {
                        self.by_name.remove(&before);
                    }
                    self.by_name.insert(NameKey(account.name_key), account.id);
                }
                if is_admin(&account) {
                    self.admins.insert(account.id);
                } else if !self.admins.is_empty() {
                    self.admins.remove(&account.id);
                }
                self.costs.add(account.phc.as_deref());
                if let Some(before) = self.by_id.get(&account.id.to_bytes()) {
                    if let Some(gone) = self.forgotten_at(before) {
                        self.to_forget.remove(&gone);
                    }
                    if let Some(free) = kept_address(before) {
                        self.kept.remove(&free);
                    }
                    if let Some(free) = before.external_id() {
                        self.by_external_id.remove(free);
                    }
                }
                if let Some(external_id) = account.external_id() {
                    self.by_external_id.insert(external_id, account.id);
                }
                self.to_forget.extend(self.forgotten_at(&account));
                self.kept.extend(kept_address(&account));
                if let Some(before) = self.by_id.insert(account.id.to_bytes(), account) {
                    self.costs.remove(before.phc.as_deref());
                }
            }
            Write::Remove(id) => {
                if let Some(account) = self.by_id.remove(&id) {
                    self.admins.remove(&account.id);
                    if let Some(gone) = self.forgotten_at(&account) {
                        self.to_forget.remove(&gone);
                    }
                    if let Some(free) = kept_address(&account) {
                        self.kept.remove(&free);
                    }
                    if let Some(free) = account.external_id() {
                        self.by_external_id.remove(free);
                    }
                    self.costs.remove(account.phc.as_deref());
                    self.by_name.remove(&NameKey(account.name_key));
                }
            }
        }
    }
}

impl Accounts {
    /// Returns what a write revokes: the access tokens of an account that has lost a role.
    pub(super) fn revoked_by(&self, write: &Write<AccountV4>) -> Option<Revocation> {
        let Write::Put(account) = write else { return None };
        let before = self.get(account.id).map_or(0, |before| before.tokens_from_secs);
        (account.tokens_from_secs > before).then(|| Revocation::Tokens {
            account: account.id.to_bytes(),
            issued_before: account.tokens_from_secs,
        })
    }

    /// Returns the accounts whose access tokens of since `since` may be invalid, each with the second before which they
    /// were issued.
    pub fn tokens_revoked_since(&self, since: Timestamp) -> impl Iterator<Item = (AccountId, u64)> {
        let accounts = self.by_id.iter().map(|(_, account)| account);
        let since = since.as_secs();
        let lately = accounts.filter(move |account| account.tokens_from_secs > since);
        lately.map(|account| (account.id, account.tokens_from_secs))
    }
}

/// Remembers the password of `account`, which is replaced or removed at `now`. Not one that a stranger may have typed.
fn remember_replaced(account: &mut AccountV4, now: Timestamp) {
    let is_owners = !account.has_doubtful_password();
    if let Some(phc) = account.phc.clone().filter(|_| is_owners && account.replaced.len() < REPLACED_MAX) {
        let mut replaced = std::mem::take(&mut account.replaced).into_vec();
        replaced.push(ReplacedPasswordV1 { phc, replaced_ms: now.as_millis() });
        account.replaced = replaced.into();
    }
}

/// Returns no fewer bytes than `account` takes in an entry.
pub(super) fn stored_bytes(account: &AccountV4) -> usize {
    // Numbers, ids, and a length before each text, a few bytes each.
    const REST: usize = 512;
    let texts = [&account.name, &account.phc].into_iter().flatten().map(|text| text.len());
    let roles = account.roles.iter().map(|role| role.len() + 8);
    let replaced = account.replaced.iter().map(|replaced| replaced.phc.len() + 16);
    let former = account.former.iter().flat_map(|former| former.phcs.iter().map(|phc| phc.len() + 8));
    let extra = account.extra.as_deref().into_iter().flat_map(|extra| {
        let AccountExtraV1 { external_id, locale, user_metadata, app_metadata, .. } = extra;
        [external_id, locale, user_metadata, app_metadata].into_iter().flatten().map(|text| text.len())
    });
    REST + account.email.len() + texts.chain(roles).chain(replaced).chain(former).chain(extra).sum::<usize>()
}

/// Returns the place of an account among those for which an address is kept.
fn kept_address(account: &AccountV4) -> Option<([u8; 16], [u8; 16])> {
    let name_key = account.former.as_ref().and_then(|former| former.name_key)?;
    Some((name_key, account.id.to_bytes()))
}

/// Says whether the owner of an account can log in, also where addresses must be proved.
fn can_log_in(account: &AccountV4) -> bool {
    account.status == Status::Active && account.phc.is_some() && account.email_verified
}

/// Says whether an account is an administrator who may act.
pub fn is_admin(account: &AccountV4) -> bool {
    account.status == Status::Active && account.roles.iter().any(|role| &**role == ADMIN)
}

#[cfg(test)]
mod tests;
