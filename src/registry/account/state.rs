//! The whole rule of accounts. Knows no actor, file, clock or randomness.

use super::record::{AccountV1, Status};
use crate::registry::buckets::Buckets;
use crate::registry::index::Index;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;

/// A decision about accounts with verdict `V`.
pub type Decision<V> = record::Decision<AccountV1, V>;

/// Somebody wants an account of that name.
#[derive(Clone, Debug)]
pub struct SignUp {
    /// Minted in the name's slot.
    pub id: AccountId,
    /// The address's key.
    pub name_key: NameKey,
    /// The address in its one form.
    pub email: Box<str>,
    /// What they want to be called.
    pub name: Option<Box<str>>,
    /// The PHC string of their password.
    pub phc: Option<Box<str>>,
    /// Sorted, each once.
    pub roles: Vec<Box<str>>,
    /// Whether the address needs no proof.
    pub verified: bool,
    /// Whether it is an administrator who makes the account.
    pub by_admin: bool,
}

/// What came of a sign-up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignedUp {
    /// The account is there now. A sign-up whose address was never proved is replaced by the next one, and what it was
    /// mailed is dead: an address that was only typed belongs to nobody.
    Created(AccountV1),
    /// Somebody has proved the address already; or it is kept for an account with roles; or, for whoever is no
    /// administrator, addresses need no proof.
    Taken(AccountV1),
}

/// A change of an account. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A new password. Raises the epoch.
    pub phc: Option<Box<str>>,
    /// Only while the epoch is still this one.
    pub if_epoch: Option<u64>,
    /// The address is proved.
    pub verified: bool,
    /// Everything that carries the present epoch dies.
    pub raise_epoch: bool,
    /// Who may do what.
    pub roles: Option<Vec<Box<str>>>,
    /// Whether it may log in. Another value raises the epoch.
    pub status: Option<Status>,
    /// What it is called.
    pub name: Option<Box<str>>,
    /// Another address, with its key.
    pub email: Option<(Box<str>, NameKey)>,
    /// The password is good no more: it must be set by mail. Raises the epoch.
    pub clear_phc: bool,
}

/// Changes the account `id`.
#[derive(Clone, Debug)]
pub struct Alter {
    /// The account.
    pub id: AccountId,
    /// What changes.
    pub change: Change,
}

/// Replaces the PHC string that was just checked by one of today's cost.
#[derive(Clone, Debug)]
pub struct Rehash {
    /// The account.
    pub id: AccountId,
    /// The PHC string that was checked.
    pub checked: Box<str>,
    /// What replaces it.
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
    /// There is no such account.
    #[error("no such account")]
    Unknown,
    /// It has changed since it was looked at.
    #[error("the account has changed meanwhile")]
    Outdated,
    /// Another account has the address.
    #[error("another account has this address")]
    Taken,
}

/// All accounts of an engine.
pub struct Accounts {
    by_id: Buckets<[u8; 16], AccountV1>,
    by_name: Index<NameKey, AccountId>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { by_id: Buckets::new(), by_name: Index::new() }
    }
}

impl Accounts {
    /// The account of that id.
    pub fn get(&self, id: AccountId) -> Option<&AccountV1> {
        self.by_id.get(&id.to_bytes())
    }

    /// The account of that name.
    pub fn find(&self, name: NameKey) -> Option<&AccountV1> {
        self.get(*self.by_name.get(&name)?)
    }

    /// All records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], AccountV1> {
        &self.by_id
    }

    /// What a sign-up at `now` means.
    pub fn sign_up(&self, sign_up: SignUp, now: Timestamp) -> Decision<SignedUp> {
        let before = self.find(sign_up.name_key);
        let is_taken = |account: &&AccountV1| match (sign_up.by_admin, sign_up.verified) {
            (true, false) => account.email_verified,
            (true, true) | (false, false) => account.holds_its_address(),
            (false, true) => true,
        };
        if let Some(taken) = before.filter(is_taken) {
            // Something is written, as for a free address: the id that was minted in vain.
            let nothing = Write::Remove(sign_up.id.to_bytes());
            return Decision { writes: vec![nothing], verdict: SignedUp::Taken(taken.clone()) };
        }
        let account = AccountV1 {
            id: before.map_or(sign_up.id, |account| account.id),
            name_key: sign_up.name_key.0,
            email: sign_up.email,
            email_verified: sign_up.verified,
            name: sign_up.name,
            phc: sign_up.phc,
            // Never those of before: who signs up over an account has none, and who makes one says which it has.
            roles: sign_up.roles,
            // A stranger does not open again what was closed.
            status: before.filter(|_| !sign_up.by_admin).map_or(Status::Active, |account| account.status),
            auth_epoch: before.map_or(0, |account| account.auth_epoch + 1),
            created_ms: before.map_or(now.as_millis(), |account| account.created_ms),
        };
        Decision::put(account.clone(), SignedUp::Created(account))
    }

    /// What a change means.
    pub fn alter(&self, alter: Alter) -> Decision<Result<AccountV1, Refusal>> {
        let Alter { id, change } = alter;
        let Some(account) = self.get(id) else {
            return Decision::unchanged(Err(Refusal::Unknown));
        };
        if change.if_epoch.is_some_and(|epoch| epoch != account.auth_epoch) {
            return Decision::unchanged(Err(Refusal::Outdated));
        }
        if let Some((_, key)) = &change.email
            && self.by_name.get(key).is_some_and(|holder| *holder != account.id)
        {
            return Decision::unchanged(Err(Refusal::Taken));
        }
        let mut next = account.clone();
        let other_status = change.status.is_some_and(|status| status != account.status);
        if change.phc.is_some() || change.clear_phc || change.raise_epoch || other_status {
            next.auth_epoch += 1;
        }
        next.email_verified |= change.verified;
        next.status = change.status.unwrap_or(next.status);
        if let Some((email, key)) = change.email {
            (next.email, next.name_key) = (email, key.0);
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
            next.roles = roles;
        }
        next.name = change.name.or(next.name);
        Decision::put(next.clone(), Ok(next))
    }

    /// What hashing the same password anew means: the epoch stays, and only the PHC string that was checked is replaced.
    pub fn rehash(&self, rehash: Rehash) -> Decision<()> {
        match self.get(rehash.id) {
            Some(account) if account.phc.as_deref() == Some(&*rehash.checked) => {
                Decision::put(AccountV1 { phc: Some(rehash.phc), ..account.clone() }, ())
            }
            _ => Decision::unchanged(()),
        }
    }

    /// What deleting an account means.
    pub fn delete(&self, id: AccountId) -> Decision<Result<(), Refusal>> {
        match self.get(id) {
            Some(_) => Decision { writes: vec![Write::Remove(id.to_bytes())], verdict: Ok(()) },
            None => Decision::unchanged(Err(Refusal::Unknown)),
        }
    }

    /// What it means that `owner` proves an address: who else has it and proved nothing is deleted, and told. An account
    /// that was proved a moment ago stays.
    pub fn release_unproven_address(&self, release: ReleaseUnprovenAddress) -> Decision<Option<AccountV1>> {
        let squatter = |account: &&AccountV1| !account.email_verified && account.id != release.owner;
        match self.find(release.name).filter(squatter) {
            Some(account) => Decision {
                writes: vec![Write::Remove(account.id.to_bytes())],
                verdict: Some(account.clone()),
            },
            None => Decision::unchanged(None),
        }
    }

    /// Up to `limit` accounts behind `after`, in the order of their ids, of which `wanted` says yes.
    pub fn list(
        &self,
        after: Option<AccountId>,
        limit: usize,
        wanted: impl Fn(&AccountV1) -> bool,
    ) -> Vec<AccountV1> {
        let accounts = self.by_id.iter().map(|(_, account)| account);
        let mut found: Vec<_> = accounts
            .filter(|account| after.is_none_or(|after| account.id > after) && wanted(account))
            .collect();
        found.sort_unstable_by_key(|account| account.id);
        found.into_iter().take(limit).cloned().collect()
    }

    /// Nothing of an account expires.
    pub const fn sweep(&mut self, _: usize, _: Timestamp) -> usize {
        0
    }

    /// Recovery begins: nobody asks for an account until [`Accounts::recovered`].
    pub fn recover(&mut self) {
        self.by_name.suspend();
    }

    /// Recovery is over.
    pub fn recovered(&mut self) {
        let all = self.by_id.iter();
        self.by_name.build(all.map(|(_, account)| (NameKey(account.name_key), account.id)));
    }

    /// Makes `write` true. Cannot fail: it was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<AccountV1>) {
        match write {
            Write::Put(account) => {
                // Under its address of before it is not found any more.
                if !self.by_name.is_suspended() {
                    let before = self.get(account.id).map(|before| NameKey(before.name_key));
                    if let Some(before) = before.filter(|before| before.0 != account.name_key) {
                        self.by_name.remove(&before);
                    }
                    self.by_name.insert(NameKey(account.name_key), account.id);
                }
                self.by_id.insert(account.id.to_bytes(), account);
            }
            Write::Remove(id) => {
                if let Some(account) = self.by_id.remove(&id) {
                    self.by_name.remove(&NameKey(account.name_key));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::account_name::AccountName;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn sign_up(random: u8, verified: bool) -> SignUp {
        let name = AccountName::parse("ada@example.org").unwrap();
        let name_key = name.key(&[1; 32]);
        SignUp {
            id: AccountId::mint(name_key.slot(), [random; 14]),
            name_key,
            email: name.as_str().into(),
            name: None,
            phc: Some("old".into()),
            roles: vec![],
            verified,
            by_admin: false,
        }
    }

    fn put<V>(accounts: &mut Accounts, decision: Decision<V>) -> V {
        decision.writes.into_iter().for_each(|write| accounts.apply(write));
        decision.verdict
    }

    #[test]
    fn a_proved_address_is_taken_and_an_unproved_one_goes_to_the_next_with_a_new_epoch() {
        let mut accounts = Accounts::default();
        let first = accounts.sign_up(sign_up(1, false), NOW);
        let SignedUp::Created(first) = put(&mut accounts, first) else { panic!() };
        let second = accounts.sign_up(sign_up(2, false), NOW);
        let SignedUp::Created(second) = put(&mut accounts, second) else { panic!() };
        assert_eq!((second.id, second.auth_epoch), (first.id, first.auth_epoch + 1));
        let verified = Change { verified: true, if_epoch: Some(first.auth_epoch), ..Change::default() };
        let outdated = accounts.alter(Alter { id: first.account_id(), change: verified.clone() });
        assert_eq!(put(&mut accounts, outdated), Err(Refusal::Outdated));
        let change = Change { if_epoch: Some(1), ..verified };
        let proved = accounts.alter(Alter { id: first.account_id(), change });
        assert!(put(&mut accounts, proved).unwrap().email_verified);
        assert!(matches!(accounts.sign_up(sign_up(3, false), NOW).verdict, SignedUp::Taken(_)));
    }

    #[test]
    fn roles_go_to_nobody_who_only_typed_the_address_and_an_administrator_says_which_there_are() {
        let mut accounts = Accounts::default();
        let made = |random: u8, role: &str| SignUp {
            roles: vec![role.into()],
            by_admin: true,
            ..sign_up(random, false)
        };
        let roles = |accounts: &Accounts| accounts.find(sign_up(1, false).name_key).unwrap().roles.clone();
        let stranger = accounts.sign_up(sign_up(1, false), NOW);
        put(&mut accounts, stranger);
        for (random, role) in [(2, "staff"), (3, "admin")] {
            let over = accounts.sign_up(made(random, role), NOW);
            assert!(matches!(put(&mut accounts, over), SignedUp::Created(_)));
            assert_eq!(roles(&accounts), [role.into()]);
        }
        let before = accounts.find(sign_up(1, false).name_key).unwrap().clone();
        let stranger = accounts.sign_up(sign_up(4, false), NOW);
        // As much is written as for a proved address.
        assert_eq!(stranger.writes, [Write::Remove(sign_up(4, false).id.to_bytes())]);
        assert_eq!(put(&mut accounts, stranger), SignedUp::Taken(before.clone()));
        assert_eq!(accounts.get(before.account_id()), Some(&before));
        // Nor is what an administrator has made with roles made again by mistake, as an account of a proved address.
        let proved = |random| SignUp { verified: true, ..made(random, "staff") };
        assert_eq!(accounts.sign_up(proved(5), NOW).verdict, SignedUp::Taken(before));
    }

    #[test]
    fn no_stranger_keeps_a_proved_address_from_an_administrator() {
        let mut accounts = Accounts::default();
        let typed = accounts.sign_up(sign_up(1, false), NOW);
        let SignedUp::Created(typed) = put(&mut accounts, typed) else { panic!() };
        let closed = Change { status: Some(Status::Disabled), ..Change::default() };
        let closed = accounts.alter(Alter { id: typed.account_id(), change: closed });
        let before = put(&mut accounts, closed).unwrap();
        let proved = |random| SignUp { by_admin: true, ..sign_up(random, true) };
        let over = accounts.sign_up(proved(2), NOW);
        let SignedUp::Created(account) = put(&mut accounts, over) else { panic!() };
        let is_new = (account.email_verified, account.status, account.auth_epoch);
        assert_eq!(is_new, (true, Status::Active, before.auth_epoch + 1));
        assert!(matches!(accounts.sign_up(proved(3), NOW).verdict, SignedUp::Taken(_)));
    }

    #[test]
    fn an_account_gives_way_only_to_another_and_only_while_it_is_unproved() {
        let mut accounts = Accounts::default();
        let name = sign_up(1, false).name_key;
        let release = |owner| ReleaseUnprovenAddress { name, owner };
        let other = release(sign_up(9, false).id);
        assert_eq!(accounts.release_unproven_address(other), Decision::unchanged(None));
        let created = accounts.sign_up(sign_up(1, false), NOW);
        let SignedUp::Created(account) = put(&mut accounts, created) else { panic!() };
        assert_eq!(
            accounts.release_unproven_address(release(account.account_id())),
            Decision::unchanged(None)
        );
        let change = Change { verified: true, ..Change::default() };
        let proved = accounts.alter(Alter { id: account.account_id(), change });
        let given = accounts.release_unproven_address(other);
        assert_eq!(given.verdict, Some(account));
        put(&mut accounts, proved).unwrap();
        assert_eq!(accounts.release_unproven_address(other), Decision::unchanged(None));
        put(&mut accounts, given);
        assert!(accounts.find(name).is_none());
    }

    #[test]
    fn passwords_and_status_raise_the_epoch_and_nothing_else_does() {
        let mut accounts = Accounts::default();
        let created = accounts.sign_up(sign_up(1, true), NOW);
        put(&mut accounts, created);
        let id = sign_up(1, true).id;
        for (change, raised) in [
            (Change { name: Some("Ada".into()), ..Change::default() }, 0),
            (Change { roles: Some(vec!["b".into(), "a".into(), "a".into()]), ..Change::default() }, 0),
            (Change { phc: Some("new".into()), ..Change::default() }, 1),
            (Change { status: Some(Status::Disabled), ..Change::default() }, 1),
            (Change { status: Some(Status::Disabled), ..Change::default() }, 0),
            (Change { raise_epoch: true, ..Change::default() }, 1),
        ] {
            let before = accounts.get(id).unwrap().auth_epoch;
            let changed = accounts.alter(Alter { id, change: change.clone() });
            assert_eq!(put(&mut accounts, changed).unwrap().auth_epoch, before + raised, "{change:?}");
        }
        assert_eq!(accounts.get(id).unwrap().roles, ["a".into(), "b".into()]);
        let stale = accounts.rehash(Rehash { id, checked: "old".into(), phc: "newer".into() });
        put(&mut accounts, stale);
        assert_eq!(accounts.get(id).unwrap().phc.as_deref(), Some("new"));
        let deleted = accounts.delete(id);
        put(&mut accounts, deleted).unwrap();
        assert!(accounts.find(sign_up(1, true).name_key).is_none());
    }
}
