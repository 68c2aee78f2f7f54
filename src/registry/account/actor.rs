//! The mailbox around [`Accounts`].

use super::state::{Change, Refusal, SignUp, SignedUp};
use super::{AccountV1, Accounts};
use crate::registry::{handles, reads, registry};
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;

registry!(Accounts, AccountV1, "account");

/// Changes an account.
#[derive(Clone, Debug)]
pub struct Alter(pub AccountId, pub Change);

/// Replaces the PHC string that was just checked by one of today's cost.
#[derive(Clone, Debug)]
pub struct Rehash {
    /// Whose.
    pub id: AccountId,
    /// The PHC string that was checked.
    pub checked: Box<str>,
    /// What replaces it.
    pub phc: Box<str>,
}

/// Deletes an account.
#[derive(Clone, Copy, Debug)]
pub struct Delete(pub AccountId);

/// Takes an address from whoever signed up with it and proved nothing, for an account that proves it.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseUnprovenAddress {
    /// The address.
    pub name: NameKey,
    /// The account that is to have it.
    pub owner: AccountId,
}

/// Finds an account by its name.
#[derive(Clone, Copy, Debug)]
pub struct Find(pub NameKey);

/// Finds an account by its id.
#[derive(Clone, Copy, Debug)]
pub struct ById(pub AccountId);

/// A page of accounts in the order of their ids.
#[derive(Clone, Debug)]
pub struct List {
    /// Behind this one.
    pub after: Option<AccountId>,
    /// How many.
    pub limit: usize,
    /// Part of the address or name.
    pub q: Option<String>,
    /// Only those.
    pub status: Option<super::Status>,
}

handles!(Accounts {
    SignUp => SignedUp, Ordinary, |accounts, command, now| accounts.sign_up(command, now);
    Alter => Result<AccountV1, Refusal>, Essential, |accounts, command, _| accounts.change(command.0, command.1);
    Rehash => (), Ordinary, |accounts, command, _| accounts.rehash(command.id, &command.checked, command.phc);
    ReleaseUnprovenAddress => Option<AccountV1>, Essential, |accounts, way, _| accounts.give_way(way.name, way.owner);
    Delete => Result<(), Refusal>, Essential, |accounts, command, _| accounts.delete(command.0);
});

reads!(Accounts {
    Find => Option<AccountV1>, |accounts, command, _| accounts.find(command.0).cloned();
    ById, of |by_id| by_id.0.to_bytes() => Option<AccountV1>, |accounts, command, _| accounts.get(command.0).cloned();
    List => Vec<AccountV1>, |accounts, list, _| accounts.list(list.after, list.limit, |account| {
        let named = |text: &str| list.q.as_deref().is_none_or(|q| text.contains(q));
        let is_named = named(&account.email) || account.name.as_deref().is_some_and(named);
        is_named && list.status.is_none_or(|status| status == account.status)
    });
});
