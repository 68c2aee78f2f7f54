//! The mailbox around [`Accounts`].

use actix::{Context, Handler, Message, MessageResult};

pub use super::command::{Administer, Alter, Rehash, ReleaseUnprovenAddress, SignUp};
use super::import::{Batch, Imported};
use super::{AccountV4, Accounts, Altered, Change, Holder, Refusal, SignedUp};
use crate::journal::append::handle::Class;
use crate::password::EqualWork;
use crate::password::foreign::LogInCost;
use crate::registry::{Owner, handles, reads, registry};
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;
use crate::value::search::Search;

registry!(Accounts, AccountV4, "account", revokes Accounts::revoked_by, tells Accounts::events_of, overdue Accounts::overdue);

/// Creates the accounts of a batch that was imported.
#[derive(Clone, Debug)]
pub struct Import {
    /// The accounts.
    pub batch: Batch,
}

/// Says what would become of a batch, and changes nothing.
#[derive(Clone, Debug)]
pub struct JudgeImport {
    /// The accounts.
    pub batch: Batch,
}

/// Reads all accounts, some at a time: whole buckets from the bucket `from` on.
#[derive(Clone, Copy, Debug)]
pub struct ReadAccounts {
    /// The first bucket.
    pub from: usize,
}

/// Counts the hashes of other systems, digests in argon2id included. The newest may not be durable yet.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "u64")]
pub struct CountForeign;

impl Handler<CountForeign> for Owner<Accounts> {
    type Result = u64;

    fn handle(&mut self, _: CountForeign, _: &mut Context<Self>) -> u64 {
        self.state.stored_costs().foreign_count()
    }
}

/// Reads what every log-in takes for the stored hashes. The newest may not be durable yet.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "LogInCost")]
pub struct ReadLogInCost;

impl Handler<ReadLogInCost> for Owner<Accounts> {
    type Result = MessageResult<ReadLogInCost>;

    fn handle(&mut self, _: ReadLogInCost, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.state.stored_costs().log_in_cost())
    }
}

/// Deletes an account.
#[derive(Clone, Copy, Debug)]
pub struct Delete {
    /// The account.
    pub id: AccountId,
    /// Whether the last administrator who can log in is not deleted.
    pub spares_last_admin: bool,
}

/// Finds an account by the key of its address.
#[derive(Clone, Copy, Debug)]
pub struct Find {
    /// The key of the address.
    pub name: NameKey,
}

/// Finds the account that has an address, or for which it is kept.
#[derive(Clone, Copy, Debug)]
pub struct FindHolder {
    /// The key of the address.
    pub name: NameKey,
}

/// Finds an account by the key of its address, to check a password.
#[derive(Clone, Copy, Debug)]
pub struct FindToCheck {
    /// The key of the address.
    pub name: NameKey,
}

/// What a password of a name is checked against.
#[derive(Clone, Debug)]
pub struct ToCheck {
    /// The account of the name; `None` if it has none.
    pub account: Option<AccountV4>,
    /// The work of the check, the same with and without an account.
    pub work: EqualWork,
}

/// Finds an account by the id that another program knows it by.
#[derive(Clone, Debug)]
pub struct FindExternal {
    /// The id.
    pub external_id: Box<str>,
}

/// Finds an account by its id.
#[derive(Clone, Copy, Debug)]
pub struct ById {
    /// The account.
    pub id: AccountId,
}

/// Reads a page of accounts in the order of their ids.
#[derive(Clone, Debug)]
pub struct List {
    /// The last account of the page before; `None` for the first page.
    pub after: Option<AccountId>,
    /// How many accounts at most.
    pub limit: usize,
    /// Text that the address or name must contain.
    pub q: Option<Search>,
    /// The status that they must have.
    pub status: Option<super::Status>,
    /// Whether their address must be proved, or must not.
    pub verified: Option<bool>,
}

/// Reads the active administrators.
#[derive(Clone, Copy, Debug)]
pub struct Admins {
    /// How many at most.
    pub limit: usize,
}

impl Change {
    /// Returns the class of journal space that the change may use. What its owner only likes to have otherwise must not use
    /// up the room that is kept for what ends something.
    pub(super) fn class(&self) -> Class {
        let Self { name, mutes_new_device, extra, .. } = self;
        let only_settings = Self {
            name: name.clone(),
            extra: extra.clone(),
            mutes_new_device: *mutes_new_device,
            if_epoch: self.if_epoch,
            spares_last_admin: self.spares_last_admin,
            tokens_from_secs: self.tokens_from_secs,
            ..Self::default()
        };
        if *self == only_settings { Class::Ordinary } else { Class::Essential }
    }
}

handles!(Accounts {
    SignUp => SignedUp, Ordinary, |accounts, sign_up, now| accounts.sign_up(sign_up, now);
    Alter => Result<AccountV4, Refusal>, by(|alter| alter.change.class()), |accounts, alter, now| accounts.alter(alter, now);
    Administer => Result<Altered, Refusal>, by(|administer| administer.0.change.class()), |accounts, administer, now| {
        accounts.administer(administer, now)
    };
    Import => Vec<Imported>, Ordinary, |accounts, import, now| accounts.import(import.batch, now);
    Rehash => (), Ordinary, |accounts, rehash, _| accounts.rehash(rehash);
    ReleaseUnprovenAddress => Option<AccountV4>, Essential, |accounts, release, _| {
        accounts.release_unproven_address(release)
    };
    Delete => Result<(), Refusal>, Essential, |accounts, delete, _| {
        accounts.delete(delete.id, delete.spares_last_admin)
    };
});

reads!(Accounts {
    Find => Option<AccountV4>, |accounts, find, now| {
        accounts.find(find.name).map(|account| accounts.in_force(account, now))
    };
    FindExternal => Option<AccountV4>, |accounts, find, now| {
        accounts.find_external(&find.external_id).map(|account| accounts.in_force(account, now))
    };
    FindHolder => Option<Holder>, |accounts, find, now| accounts.holder(find.name, now);
    FindToCheck => ToCheck, |accounts, find, now| ToCheck {
        account: accounts.find(find.name).map(|account| accounts.in_force(account, now)),
        work: accounts.stored_costs().equal_work(find.name),
    };
    ById, of |by_id| by_id.id.to_bytes() => Option<AccountV4>, |accounts, by_id, now| {
        accounts.get(by_id.id).map(|account| accounts.in_force(account, now))
    };
    JudgeImport => Vec<Imported>, |accounts, judge, now| accounts.import(judge.batch, now).verdict;
    ReadAccounts => (Vec<AccountV4>, usize), |accounts, read, _| accounts.read_from(read.from);
    Admins => Vec<AccountV4>, |accounts, admins, _| accounts.admins(admins.limit);
    List => Vec<AccountV4>, |accounts, list, _| accounts.list(list.after, list.limit, |account| {
        let is_named = list.q.as_ref().is_none_or(|q| {
            q.finds_address(&account.email) || account.name.as_deref().is_some_and(|name| q.finds_name(name))
        });
        let is_verified = list.verified.is_none_or(|verified| verified == account.email_verified);
        is_named && is_verified && list.status.is_none_or(|status| status == account.status)
    });
});
