//! Accounts that another system has made: many at once, in one entry of the journal.
//!
//! **The attack:** a file that is imported twice, or holds an address twice, makes accounts that pass for each other; a file of
//! a million lines keeps everybody else from logging in.
//!
//! **The rule:** an account is created as a whole or not at all, and never instead of another one: an address, an external id
//! or an id that is taken is named with the account that has it. A batch is one entry with its events, of [`BATCH_MAX`] accounts
//! at most, which takes the actor a few milliseconds; whoever sends the next one lets others have their turn before.

use std::collections::{BTreeMap, BTreeSet};

use super::record::AccountV4;
use super::state::{Accounts, Decision};
use super::told::created_bytes;
use crate::journal::format::codec::{CodecError, encode};
use crate::journal::format::entry::ENTRY_BYTES_MAX;
use crate::password::Cost;
use crate::password::foreign::{LogInCost, StoredCost, TooDear};
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;

/// The most accounts of one batch.
pub const BATCH_MAX: usize = 256;
/// Bytes that an entry needs for a record beside its value, no fewer: its key, and the numbers in front of it.
const WRITE_BYTES: usize = 64;

/// An account that is to be created as it is.
#[derive(Clone, Debug)]
pub struct ToImport {
    /// The account.
    pub account: AccountV4,
    /// Whether its id follows from the line that it was read from, so that the same line again has the same one.
    pub has_given_id: bool,
}

/// Accounts that fit into one entry.
#[derive(Clone, Debug)]
pub struct Batch {
    items: Vec<ToImport>,
    bytes: usize,
    own: Cost,
    beside: LogInCost,
}

impl Batch {
    /// Returns an empty batch. `own` is the cost of new hashes, and `beside` what counts as stored beside what is: the earlier
    /// lines of a dry run.
    pub const fn new(own: Cost, beside: LogInCost) -> Self {
        Self { items: Vec::new(), bytes: 0, own, beside }
    }

    /// Adds an account, or returns it if there is no room for it. An empty batch has room for any account.
    ///
    /// Errors: an account that cannot be stored.
    pub fn push(&mut self, item: ToImport) -> Result<Option<ToImport>, CodecError> {
        let bytes = encode(&item.account)?.len() + WRITE_BYTES + created_bytes(&item.account);
        let is_full = self.items.len() >= BATCH_MAX || self.bytes + bytes + WRITE_BYTES > ENTRY_BYTES_MAX;
        if is_full && !self.items.is_empty() {
            return Ok(Some(item));
        }
        self.bytes += bytes;
        self.items.push(item);
        Ok(None)
    }

    /// Says whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns how many accounts it holds.
    pub const fn len(&self) -> usize {
        self.items.len()
    }
}

/// What became of an account of a [`Batch`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Imported {
    /// It was created.
    Created,
    /// It was not, since another account has something that no two have.
    Taken {
        /// What the other one has.
        what: Taken,
        /// The other account.
        by: AccountId,
        /// Whether the other one comes from the same line: it has the same address and the same ids, as far as the line
        /// gives some.
        is_same: bool,
    },
    /// It was not, since its hash would make every log-in take too long.
    TooDear(TooDear),
}

/// What no two accounts have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// The address.
    Email,
    /// An address that is kept for an account whose change of address can be undone.
    KeptEmail,
    /// The external id.
    ExternalId,
    /// The id.
    Id,
}

impl Accounts {
    /// Decides the creation of the accounts of `batch`, in their order, at `now`. Returns what becomes of each.
    pub fn import(&self, batch: Batch, now: Timestamp) -> Decision<Vec<Imported>> {
        let mut new = New { costs: batch.beside, ..New::default() };
        new.costs.note_all(&self.stored_costs().log_in_cost());
        let mut writes = Vec::with_capacity(batch.items.len());
        let mut verdict = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            let mut imported = self.judge(&new, &item, now);
            let cost = item.account.phc.as_deref().and_then(StoredCost::of);
            if let Some(cost) = cost.filter(|_| imported == Imported::Created)
                && let Err(too_dear) = new.costs.take(cost, batch.own)
            {
                imported = Imported::TooDear(too_dear);
            }
            if imported == Imported::Created {
                new.note(&item.account);
                writes.push(Write::Put(item.account));
            }
            verdict.push(imported);
        }
        record::Decision { writes, verdict }
    }

    fn judge(&self, new: &New, item: &ToImport, now: Timestamp) -> Imported {
        let ToImport { account, has_given_id } = item;
        let name = NameKey(account.name_key);
        let taken = |what, by| Imported::Taken { what, by, is_same: false };
        let new_one = || {
            let (id, external_id) = new.names.get(&account.name_key)?;
            Some((*id, external_id.as_deref()))
        };
        if let Some((by, external_id)) =
            self.find(name).map(|other| (other.id, other.external_id())).or_else(new_one)
        {
            let is_same = external_id == account.external_id() && (!has_given_id || by == account.id);
            return Imported::Taken { what: Taken::Email, by, is_same };
        }
        if let Some(other) = self.holder(name, now) {
            return taken(Taken::KeptEmail, other.account.id);
        }
        if let Some(external_id) = account.external_id() {
            let other = self.find_external(external_id).map(|other| other.id);
            if let Some(other) = other.or_else(|| new.external_ids.get(external_id).copied()) {
                return taken(Taken::ExternalId, other);
            }
        }
        if self.get(account.id).is_some() || new.ids.contains(&account.id) {
            return taken(Taken::Id, account.id);
        }
        Imported::Created
    }
}

/// The accounts of a batch that were found good, by what no two may have.
#[derive(Default)]
struct New {
    names: BTreeMap<[u8; 16], (AccountId, Option<Box<str>>)>,
    external_ids: BTreeMap<Box<str>, AccountId>,
    ids: BTreeSet<AccountId>,
    /// What log-ins cost with them.
    costs: LogInCost,
}

impl New {
    fn note(&mut self, account: &AccountV4) {
        let external_id = account.external_id().map(Into::into);
        self.names.insert(account.name_key, (account.id, external_id));
        if let Some(external_id) = account.external_id() {
            self.external_ids.insert(external_id.into(), account.id);
        }
        self.ids.insert(account.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::format::entry::Entry;
    use crate::registry::account::record::{AccountExtraV1, Status};
    use crate::registry::account::{ExtraChange, Origin, SignUp};
    use crate::value::id::Slot;
    use crate::value::json_object::OBJECT_BYTES_MAX;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn item(number: u16, external_id: Option<&str>) -> ToImport {
        let mut random = [0; 14];
        random[..2].copy_from_slice(&number.to_be_bytes());
        let mut key = [0; 16];
        key[..2].copy_from_slice(&number.to_be_bytes());
        let account = AccountV4 {
            id: AccountId::mint(Slot::FIRST, random),
            name_key: key,
            email: format!("user{number}@example.org").into(),
            email_verified: true,
            name: None,
            phc: None,
            roles: Vec::new(),
            status: Status::Active,
            auth_epoch: 0,
            created_ms: 1,
            device_epoch: 0,
            tokens_from_secs: 0,
            former: None,
            mutes_new_device: false,
            is_vouched: true,
            replaced: Box::default(),
            extra: Some(Arc::new(AccountExtraV1 {
                external_id: external_id.map(Into::into),
                imported_ms: NOW.as_millis(),
                ..AccountExtraV1::default()
            })),
        };
        ToImport { account, has_given_id: true }
    }

    fn batch(items: impl IntoIterator<Item = ToImport>) -> Batch {
        let mut batch = Batch::new(Cost::SAFE, LogInCost::default());
        for item in items {
            assert!(batch.push(item).unwrap().is_none());
        }
        batch
    }

    fn import(accounts: &mut Accounts, items: Vec<ToImport>) -> (usize, Vec<Imported>) {
        let decision = accounts.import(batch(items), NOW);
        let made = decision.writes.len();
        decision.writes.into_iter().for_each(|write| accounts.apply(write));
        (made, decision.verdict)
    }

    #[test]
    fn what_is_taken_is_named_with_the_account_that_has_it() {
        let mut accounts = Accounts::default();
        let first = item(1, Some("x1"));
        let id = first.account.id;
        let taken = |what, is_same| Imported::Taken { what, by: id, is_same };
        assert_eq!(import(&mut accounts, vec![first.clone()]), (1, vec![Imported::Created]));
        let same_address = |external_id| {
            let mut other = item(2, external_id);
            other.account.name_key = first.account.name_key;
            other
        };
        let same_external_id = item(3, Some("x1"));
        let mut same_id = item(4, None);
        same_id.account.id = id;
        let mut minted = first.clone();
        minted.account.id = item(5, None).account.id;
        minted.has_given_id = false;
        let items = vec![
            first.clone(),
            same_address(Some("x2")),
            same_address(None),
            same_external_id,
            same_id,
            minted,
        ];
        let (made, verdict) = import(&mut accounts, items);
        assert_eq!(made, 0);
        let expected = [
            taken(Taken::Email, true),
            taken(Taken::Email, false),
            taken(Taken::Email, false),
            taken(Taken::ExternalId, false),
            taken(Taken::Id, false),
            taken(Taken::Email, true),
        ];
        assert_eq!(verdict, expected);
        assert_eq!(accounts.buckets().len(), 1);
    }

    #[test]
    fn of_two_that_are_alike_in_one_batch_the_first_is_created() {
        let mut accounts = Accounts::default();
        let first = item(1, Some("x1"));
        let mut same_address = item(2, None);
        same_address.account.name_key = first.account.name_key;
        let mut same_id = item(3, None);
        same_id.account.id = first.account.id;
        let items = vec![first.clone(), same_address, item(4, Some("x1")), same_id, item(5, None)];
        let (made, verdict) = import(&mut accounts, items);
        assert_eq!(made, 2);
        let what: Vec<_> = verdict
            .iter()
            .map(|imported| match imported {
                Imported::Created => None,
                Imported::TooDear(too_dear) => panic!("{too_dear}"),
                Imported::Taken { what, by, .. } => {
                    assert_eq!(*by, first.account.id);
                    Some(*what)
                }
            })
            .collect();
        assert_eq!(what, [None, Some(Taken::Email), Some(Taken::ExternalId), Some(Taken::Id), None]);
        assert_eq!(accounts.find_external("x1").map(|found| found.id), Some(first.account.id));
    }

    #[test]
    fn one_that_is_in_a_batch_twice_is_the_same_and_one_with_another_id_is_not() {
        let mut accounts = Accounts::default();
        let first = item(1, Some("x1"));
        let mut other = first.clone();
        other.account = item(2, Some("x2")).account;
        other.account.name_key = first.account.name_key;
        let (made, verdict) = import(&mut accounts, vec![first.clone(), first.clone(), other]);
        assert_eq!(made, 1);
        let taken = |is_same| Imported::Taken { what: Taken::Email, by: first.account.id, is_same };
        assert_eq!(verdict, [Imported::Created, taken(true), taken(false)]);
    }

    /// The account of a sign-up that nobody has proved is an account all the same: what an import knows must not replace it.
    #[test]
    fn an_account_that_nobody_has_proved_is_not_replaced() {
        let mut accounts = Accounts::default();
        let first = item(1, None).account;
        let sign_up = SignUp {
            id: item(9, None).account.id,
            name_key: NameKey(first.name_key),
            email: first.email.clone(),
            name: None,
            phc: Some("old".into()),
            roles: Vec::new(),
            verified: false,
            origin: Origin::Nobody,
            extra: ExtraChange::default().made(),
        };
        let made = accounts.sign_up(sign_up, NOW);
        made.writes.into_iter().for_each(|write| accounts.apply(write));
        let (made, verdict) = import(&mut accounts, vec![item(1, None)]);
        assert_eq!(made, 0);
        assert!(matches!(verdict[..], [Imported::Taken { what: Taken::Email, is_same: false, .. }]));
    }

    #[test]
    fn a_full_batch_is_one_entry_whatever_the_accounts_carry() {
        let long = |name: &str| {
            let text = format!("{{\"{name}\":\"{}\"}}", "x".repeat(OBJECT_BYTES_MAX - 8));
            Some(text.into())
        };
        for is_long in [false, true] {
            let mut batch = Batch::new(Cost::SAFE, LogInCost::default());
            let mut number = 0;
            loop {
                let mut next = item(number, Some(&format!("x{number}")));
                if is_long {
                    let extra = AccountExtraV1 {
                        user_metadata: long("u"),
                        app_metadata: long("a"),
                        ..AccountExtraV1::default()
                    };
                    next.account.extra = Some(Arc::new(extra));
                }
                if batch.push(next).unwrap().is_some() {
                    break;
                }
                number += 1;
            }
            let least = if is_long { 7 } else { 100 };
            assert!((least..=BATCH_MAX).contains(&batch.len()), "{}", batch.len());
            let accounts = Accounts::default();
            let decision = accounts.import(batch, NOW);
            let events = accounts.events_of(&decision.writes);
            assert!(events.len() >= decision.writes.len());
            let writes = decision.writes.iter().map(|write| write.to_change().unwrap());
            let changes: Vec<_> = writes.chain(events.iter().map(|event| event.to_change(NOW))).collect();
            assert!(Entry::encode(&changes).is_ok());
        }
    }
}
