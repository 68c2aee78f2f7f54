//! The whole rule of accounts. Knows no actor, file, clock or randomness.

use std::collections::BTreeSet;

use super::record::{AccountV3, FormerAddressV2, REPLACED_MAX, ReplacedPasswordV1, Status};
use super::stored_costs::StoredCosts;
use crate::registry::Revocation;
use crate::registry::buckets::Buckets;
use crate::registry::index::Index;
use crate::registry::record::{self, ENDED_AT_ONCE, Write};
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;

/// A decision about accounts with verdict `V`.
pub type Decision<V> = record::Decision<AccountV3, V>;

/// Signs up for an account with an address.
#[derive(Clone, Debug)]
pub struct SignUp {
    /// The id of the new account, minted in the slot of the address.
    pub id: AccountId,
    /// The key of the address.
    pub name_key: NameKey,
    /// The address in its canonical form.
    pub email: Box<str>,
    /// The name that the owner wants to be called by.
    pub name: Option<Box<str>>,
    /// The PHC string of the password.
    pub phc: Option<Box<str>>,
    /// Roles, sorted, each once.
    pub roles: Vec<Box<str>>,
    /// Whether the address counts as proved.
    pub verified: bool,
    /// Who vouches for it.
    pub origin: Origin,
}

/// Who vouches for a new account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// An administrator.
    Administrator,
    /// The mailbox of the address, by a link.
    Mailbox,
    /// Nobody: addresses need no proof here.
    Nobody,
}

/// The result of a sign-up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignedUp {
    /// The account was created. By a proof of the address it replaces an account that an earlier version made of a mere
    /// sign-up and that nobody has proved: its password goes, and its epoch rises.
    Created(AccountV3),
    /// This account has the address.
    Taken(AccountV3),
    /// The address is kept for an account that can undo the change to another one.
    Kept,
}

/// The account that has an address, or for which it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// The account.
    pub account: AccountV3,
    /// Whether the address is the former one of the account, kept as long as its change can be undone.
    pub is_former: bool,
}

impl Holder {
    /// Says whether nobody else can have the address.
    pub fn holds(&self) -> bool {
        self.is_former || self.account.holds_its_address()
    }
}

/// A change of an account. A field that is `None` or false changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The PHC string of a new password. Raises the epoch.
    pub phc: Option<Box<str>>,
    /// Refuse the change unless the epoch is still this one.
    pub if_epoch: Option<u64>,
    /// Mark the address as proved.
    pub verified: bool,
    /// Mark the address as not proved.
    pub unproved: bool,
    /// Note that an administrator vouches for the account.
    pub vouched: bool,
    /// Raise the epoch, which invalidates every credential of the present one.
    pub raise_epoch: bool,
    /// Let the known devices stay known although the epoch is raised.
    pub keep_devices: bool,
    /// The new roles, in any order.
    pub roles: Option<Vec<Box<str>>>,
    /// If a role is taken away: access tokens issued before this second since 1970 are invalid.
    pub tokens_from_secs: u64,
    /// Refuse the change if it takes the last administrator who can log in.
    pub spares_last_admin: bool,
    /// The new status. A value other than the present one raises the epoch.
    pub status: Option<Status>,
    /// The new name; an empty one takes the name away.
    pub name: Option<Box<str>>,
    /// A new address, with its key. Raises the epoch.
    pub email: Option<(Box<str>, NameKey)>,
    /// Remove the password, so that it must be set by mail. Raises the epoch.
    pub clear_phc: bool,
    /// Raise the device epoch, which makes every known device a stranger. Whatever raises the epoch, but for the status,
    /// does that too.
    pub end_devices: bool,
    /// Switch the mail about a log-in from a new device off or on.
    pub mutes_new_device: Option<bool>,
    /// What becomes of the memory of the address before.
    pub former: Option<FormerChange>,
}

/// What a change does to the memory of the address that the account had before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FormerChange {
    /// The present address becomes the former one: the change can be undone until a time, in milliseconds since 1970.
    Keep {
        /// When it can be undone no longer.
        undo_end_ms: u64,
    },
    /// A password was set by a mail to the present address, so that undoing the change takes the former password too.
    Settle,
    /// The change was undone.
    Forget,
}

/// Changes the account `id`.
#[derive(Clone, Debug)]
pub struct Alter {
    /// The account.
    pub id: AccountId,
    /// The change.
    pub change: Change,
}

/// Changes an account like [`Alter`], and says what it was before.
#[derive(Clone, Debug)]
pub struct Administer(pub Alter);

/// An account before and after a change.
#[derive(Clone, Debug)]
pub struct Altered {
    /// Before.
    pub before: AccountV3,
    /// After.
    pub after: AccountV3,
}

/// Replaces the PHC string that was just checked by one of today's cost.
#[derive(Clone, Debug)]
pub struct Rehash {
    /// The account.
    pub id: AccountId,
    /// The PHC string that was checked.
    pub checked: Box<str>,
    /// The PHC string that replaces it.
    pub phc: Box<str>,
}

/// Takes an address from an account that never proved it, for an account that does.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseUnprovenAddress {
    /// The address.
    pub name: NameKey,
    /// The account that is to have it.
    pub owner: AccountId,
}

/// Why an account was not changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No account has this id.
    #[error("no such account")]
    Unknown,
    /// The epoch is not the expected one.
    #[error("the account has changed meanwhile")]
    Outdated,
    /// Another account has the address.
    #[error("another account has this address")]
    Taken,
    /// No administrator who can log in would be left.
    #[error("this is the last administrator")]
    LastAdmin,
}

/// The role of administrators.
pub const ADMIN: &str = "admin";

/// All accounts of one engine.
pub struct Accounts {
    by_id: Buckets<[u8; 16], AccountV3>,
    by_name: Index<NameKey, AccountId>,
    /// The active accounts with the role of administrators.
    admins: BTreeSet<AccountId>,
    /// The accounts that remember a former address or replaced passwords, by the time at which the first of these is over.
    to_forget: BTreeSet<(u64, AccountId)>,
    /// The former addresses whose change can be undone, each with its account. One that was just over may have been taken
    /// and left again by another account, so an address may have two.
    kept: BTreeSet<([u8; 16], [u8; 16])>,
    costs: StoredCosts,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            by_id: Buckets::new(),
            by_name: Index::new(),
            admins: BTreeSet::new(),
            to_forget: BTreeSet::new(),
            kept: BTreeSet::new(),
            costs: StoredCosts::default(),
        }
    }
}

impl Accounts {
    /// Returns the account of `id`.
    pub fn get(&self, id: AccountId) -> Option<&AccountV3> {
        self.by_id.get(&id.to_bytes())
    }

    /// Returns the account whose address has the key `name`.
    pub fn find(&self, name: NameKey) -> Option<&AccountV3> {
        self.get(*self.by_name.get(&name)?)
    }

    /// Returns the account that has the address with the key `name` at `now`, or for which it is kept.
    pub fn holder(&self, name: NameKey, now: Timestamp) -> Option<Holder> {
        let present = self.find(name).map(|account| (account, false));
        let holder = present.or_else(|| self.kept_for(name, now).map(|account| (account, true)));
        holder.map(|(account, is_former)| Holder { account: account.clone(), is_former })
    }

    /// Returns the account whose former address has the key `name`, if its change can be undone at `now`.
    fn kept_for(&self, name: NameKey, now: Timestamp) -> Option<&AccountV3> {
        let accounts = self.kept.range((name.0, [0; 16])..=(name.0, [0xFF; 16]));
        let mut accounts = accounts.filter_map(|(_, id)| self.by_id.get(id));
        accounts.find(|account| account.former.as_ref().is_some_and(|former| now < former.end()))
    }

    /// Returns the costs of the stored hashes.
    pub const fn stored_costs(&self) -> &StoredCosts {
        &self.costs
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], AccountV3> {
        &self.by_id
    }

    /// Decides the making of an account at `now`.
    pub fn sign_up(&self, sign_up: SignUp, now: Timestamp) -> Decision<SignedUp> {
        let before = self.find(sign_up.name_key);
        let is_taken = |account: &&AccountV3| match sign_up.origin {
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
        let account = AccountV3 {
            id: before.map_or(sign_up.id, |account| account.id),
            name_key: sign_up.name_key.0,
            email: sign_up.email,
            email_verified: sign_up.verified,
            name: sign_up.name,
            phc: sign_up.phc,
            roles: sign_up.roles,
            // A proof of the address does not reopen an account that an administrator has closed.
            status: before.map_or(Status::Active, |account| account.status),
            auth_epoch: before.map_or(0, |account| account.auth_epoch + 1),
            created_ms: before.map_or(now.as_millis(), |account| account.created_ms),
            device_epoch: before.map_or(0, |account| account.device_epoch.wrapping_add(1)),
            tokens_from_secs: before.map_or(0, |account| account.tokens_from_secs),
            former: None,
            mutes_new_device: false,
            is_vouched: sign_up.origin == Origin::Administrator,
            replaced: Vec::new(),
        };
        Decision::put(account.clone(), SignedUp::Created(account))
    }

    /// Decides a change of an account at `now`.
    pub fn alter(&self, alter: Alter, now: Timestamp) -> Decision<Result<AccountV3, Refusal>> {
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
        let mut next = account.clone();
        forget_over(&mut next, now);
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
                let replaced = std::mem::take(&mut next.replaced).into_iter().map(|replaced| replaced.phc);
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
                next.replaced.clear();
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
                next.tokens_from_secs = next.tokens_from_secs.max(change.tokens_from_secs);
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
                Decision::put(AccountV3 { phc: Some(rehash.phc), ..account.clone() }, ())
            }
            _ => Decision::unchanged(()),
        }
    }

    /// Returns the writes that forget former addresses and replaced passwords which nothing can ask for any more at `now`.
    /// Those of [`ENDED_AT_ONCE`] accounts at most.
    pub fn overdue(&self, now: Timestamp) -> Vec<Write<AccountV3>> {
        let over = self.to_forget.iter().take_while(|(end_ms, _)| *end_ms <= now.as_millis());
        let accounts = over.take(ENDED_AT_ONCE).filter_map(|(_, id)| self.get(*id));
        let forgotten = |account: &AccountV3| {
            let mut account = account.clone();
            forget_over(&mut account, now);
            Write::Put(account)
        };
        accounts.map(forgotten).collect()
    }

    /// Says whether an account is an active administrator beside whom no other one can log in.
    fn is_last_admin(&self, account: &AccountV3) -> bool {
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
    pub fn release_unproven_address(&self, release: ReleaseUnprovenAddress) -> Decision<Option<AccountV3>> {
        let is_squatter = |account: &&AccountV3| !account.email_verified && account.id != release.owner;
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
        is_wanted: impl Fn(&AccountV3) -> bool,
    ) -> Vec<AccountV3> {
        let accounts = self.by_id.iter().map(|(_, account)| account);
        let mut page: Vec<_> = accounts
            .filter(|account| after.is_none_or(|after| account.id > after) && is_wanted(account))
            .collect();
        page.sort_unstable_by_key(|account| account.id);
        page.into_iter().take(limit).cloned().collect()
    }

    /// Returns at most `limit` active administrators, in the order of their ids.
    pub fn admins(&self, limit: usize) -> Vec<AccountV3> {
        self.admins.iter().take(limit).filter_map(|id| self.get(*id)).cloned().collect()
    }

    /// Removes nothing: accounts do not expire.
    pub const fn sweep(&mut self, _: usize, _: Timestamp) -> usize {
        0
    }

    /// Begins recovery. No account can be found by its address until [`Accounts::recovered`].
    pub fn recover(&mut self) {
        self.by_name.suspend();
    }

    /// Ends recovery and builds the index.
    pub fn recovered(&mut self) {
        let all = self.by_id.iter();
        self.by_name.build(all.map(|(_, account)| (NameKey(account.name_key), account.id)));
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<AccountV3>) {
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
                    if let Some(gone) = forgotten_at(before) {
                        self.to_forget.remove(&gone);
                    }
                    if let Some(free) = kept_address(before) {
                        self.kept.remove(&free);
                    }
                }
                self.to_forget.extend(forgotten_at(&account));
                self.kept.extend(kept_address(&account));
                if let Some(before) = self.by_id.insert(account.id.to_bytes(), account) {
                    self.costs.remove(before.phc.as_deref());
                }
            }
            Write::Remove(id) => {
                if let Some(account) = self.by_id.remove(&id) {
                    self.admins.remove(&account.id);
                    if let Some(gone) = forgotten_at(&account) {
                        self.to_forget.remove(&gone);
                    }
                    if let Some(free) = kept_address(&account) {
                        self.kept.remove(&free);
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
    pub(super) fn revoked_by(&self, write: &Write<AccountV3>) -> Option<Revocation> {
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
fn remember_replaced(account: &mut AccountV3, now: Timestamp) {
    let is_owners = !account.has_doubtful_password();
    if let Some(phc) = account.phc.clone().filter(|_| is_owners && account.replaced.len() < REPLACED_MAX) {
        account.replaced.push(ReplacedPasswordV1 { phc, replaced_ms: now.as_millis() });
    }
}

/// Drops what `account` remembers no longer at `now`.
fn forget_over(account: &mut AccountV3, now: Timestamp) {
    account.former = account.former.take().filter(|former| now < former.end());
    account.replaced.retain(|replaced| now < replaced.end());
}

/// Returns the place of an account among those that remember something for a time.
fn forgotten_at(account: &AccountV3) -> Option<(u64, AccountId)> {
    let former = account.former.as_ref().map(|former| former.end().as_millis());
    let replaced = account.replaced.iter().map(|replaced| replaced.end().as_millis());
    former.into_iter().chain(replaced).min().map(|end_ms| (end_ms, account.id))
}

/// Returns the place of an account among those for which an address is kept.
fn kept_address(account: &AccountV3) -> Option<([u8; 16], [u8; 16])> {
    let name_key = account.former.as_ref().and_then(|former| former.name_key)?;
    Some((name_key, account.id.to_bytes()))
}

/// Says whether the owner of an account can log in, also where addresses must be proved.
fn can_log_in(account: &AccountV3) -> bool {
    account.status == Status::Active && account.phc.is_some() && account.email_verified
}

/// Says whether an account is an administrator who may act.
pub fn is_admin(account: &AccountV3) -> bool {
    account.status == Status::Active && account.roles.iter().any(|role| &**role == ADMIN)
}

#[cfg(test)]
mod tests;
