//! What only some accounts carry: how it changes, and how an account is found by its external id.
//!
//! **The attack:** an account is filled with data until memory is full; an owner gives the account what administrators
//! alone may give; two accounts pass for the same user of another program.
//!
//! **The rule:** each text is bounded before it comes here (`value/`). An account that carries nothing has no place for it:
//! it costs 8 bytes that were there before, and one on disk. No two accounts have the same external id: who comes second is
//! refused.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::record::AccountExtraV1;
use crate::registry::index::Index;
use crate::value::id::AccountId;

/// A change of what an account carries. `None` leaves a field as it is, an empty text takes it away.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExtraChange {
    /// The id that another program knows the account by.
    pub external_id: Option<Box<str>>,
    /// The language of the owner, in its canonical case.
    pub locale: Option<Box<str>>,
    /// The JSON object that the owner may change, as compact text. It replaces the whole object.
    pub user_metadata: Option<Box<str>>,
    /// The JSON object that administrators alone may change, as compact text. It replaces the whole object.
    pub app_metadata: Option<Box<str>>,
    /// When it was imported, in milliseconds since 1970.
    pub imported_ms: Option<u64>,
}

impl ExtraChange {
    /// Says whether it leaves everything as it is.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Returns what an account carries after the change of `extra`.
    pub(super) fn applied_to(self, extra: Option<Arc<AccountExtraV1>>) -> Option<Arc<AccountExtraV1>> {
        if self.is_none() {
            return extra;
        }
        let mut next = extra.map(Arc::unwrap_or_clone).unwrap_or_default();
        let Self { external_id, locale, user_metadata, app_metadata, imported_ms } = self;
        next.imported_ms = imported_ms.unwrap_or(next.imported_ms);
        for (field, change) in [
            (&mut next.external_id, external_id),
            (&mut next.locale, locale),
            (&mut next.user_metadata, user_metadata),
            (&mut next.app_metadata, app_metadata),
        ] {
            if let Some(text) = change {
                *field = Some(text).filter(|text| !text.is_empty());
            }
        }
        (!next.is_empty()).then(|| Arc::new(next))
    }

    /// Returns what a new account carries; `None` if that is nothing.
    pub fn made(self) -> Option<Arc<AccountExtraV1>> {
        self.applied_to(None)
    }
}

/// Finds accounts by the ids that another program knows them by. Those without one take no place in it.
///
/// The index has digests, which are shorter than most ids. They need no key: it is a tree, in which no choice of ids makes
/// a look-up slower, and whoever finds an account by a digest compares the id itself.
#[derive(Debug)]
pub(super) struct ExternalIds(Index<[u8; 16], AccountId>);

impl ExternalIds {
    /// Creates an empty index.
    pub(super) const fn new() -> Self {
        Self(Index::new())
    }

    /// Ignores insertions and removals until [`Self::build`] is called.
    pub(super) fn suspend(&mut self) {
        self.0.suspend();
    }

    /// Replaces the contents by `all`.
    pub(super) fn build<'a>(&mut self, all: impl Iterator<Item = (&'a str, AccountId)>) {
        self.0.build(all.map(|(external_id, account)| (digest(external_id), account)));
    }

    /// Returns the account that has `external_id`.
    pub(super) fn get(&self, external_id: &str) -> Option<AccountId> {
        self.0.get(&digest(external_id)).copied()
    }

    pub(super) fn insert(&mut self, external_id: &str, account: AccountId) {
        if !self.0.is_suspended() {
            self.0.insert(digest(external_id), account);
        }
    }

    pub(super) fn remove(&mut self, external_id: &str) {
        if !self.0.is_suspended() {
            self.0.remove(&digest(external_id));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Returns the first half of the SHA-256 of an id.
fn digest(external_id: &str) -> [u8; 16] {
    Sha256::digest(external_id).first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::append::handle::Class;
    use crate::journal::format::codec::encode;
    use crate::journal::format::entry::Entry;
    use crate::registry::account::actor::Alter;
    use crate::registry::account::record::{AccountV3, AccountV4, Status};
    use crate::registry::account::state;
    use crate::registry::account::state::{Accounts, Decision};
    use crate::registry::account::{Change, Origin, Refusal, SignUp, SignedUp};
    use crate::registry::record::Write;
    use crate::system::clock::Timestamp;
    use crate::value::account_name::NameKey;
    use crate::value::id::Slot;
    use crate::value::json_object::OBJECT_BYTES_MAX;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn id(number: u8) -> AccountId {
        AccountId::mint(Slot::FIRST, [number; 14])
    }

    fn external(external_id: &str) -> ExtraChange {
        ExtraChange { external_id: Some(external_id.into()), ..ExtraChange::default() }
    }

    fn sign_up(number: u8, extra: ExtraChange, origin: Origin) -> SignUp {
        SignUp {
            id: id(number),
            name_key: NameKey([number; 16]),
            email: format!("user{number}@example.org").into(),
            name: None,
            phc: Some("old".into()),
            roles: Vec::new(),
            verified: origin == Origin::Mailbox,
            origin,
            extra: extra.made(),
        }
    }

    fn put<V>(accounts: &mut Accounts, decision: Decision<V>) -> V {
        decision.writes.into_iter().for_each(|write| accounts.apply(write));
        decision.verdict
    }

    fn make(accounts: &mut Accounts, number: u8, extra: ExtraChange) -> SignedUp {
        let made = accounts.sign_up(sign_up(number, extra, Origin::Administrator), NOW);
        put(accounts, made)
    }

    fn alter(accounts: &mut Accounts, number: u8, extra: ExtraChange) -> Result<AccountV4, Refusal> {
        let change = Change { extra, ..Change::default() };
        let altered = accounts.alter(Alter { id: id(number), change }, NOW);
        put(accounts, altered)
    }

    #[test]
    fn an_account_that_carries_nothing_is_no_larger_than_before() {
        assert_eq!(size_of::<AccountV4>(), size_of::<AccountV3>());
        let mut accounts = Accounts::default();
        let SignedUp::Created(account) = make(&mut accounts, 1, ExtraChange::default()) else { panic!() };
        assert_eq!(account.extra, None);
        assert_eq!(accounts.by_external_id().len(), 0);
    }

    #[test]
    fn each_field_is_set_and_taken_away_by_itself_and_nothing_is_left_of_an_empty_rest() {
        let mut accounts = Accounts::default();
        make(&mut accounts, 1, ExtraChange::default());
        let text = |text: &str| Some(Box::from(text));
        let all = ExtraChange {
            external_id: text("7"),
            locale: text("en-GB"),
            user_metadata: text("{\"a\":1}"),
            app_metadata: text("{\"b\":2}"),
            imported_ms: None,
        };
        let account = alter(&mut accounts, 1, all.clone()).unwrap();
        assert_eq!(account.external_id(), Some("7"));
        assert_eq!(account.locale(), Some("en-GB"));
        assert_eq!(account.user_metadata(), Some("{\"a\":1}"));
        assert_eq!(account.app_metadata(), Some("{\"b\":2}"));
        assert_eq!(account.auth_epoch, 0, "it ends no session");
        assert!(account.is_sound());
        // The same again is not written.
        let change = Change { extra: all, ..Change::default() };
        assert_eq!(accounts.alter(Alter { id: id(1), change }, NOW).writes, []);
        let account =
            alter(&mut accounts, 1, ExtraChange { locale: text(""), ..ExtraChange::default() }).unwrap();
        assert_eq!(account.locale(), None);
        assert_eq!(account.user_metadata(), Some("{\"a\":1}"));
        let none = ExtraChange {
            external_id: text(""),
            user_metadata: text(""),
            app_metadata: text(""),
            ..ExtraChange::default()
        };
        assert_eq!(alter(&mut accounts, 1, none).unwrap().extra, None);
    }

    #[test]
    fn an_external_id_finds_one_account_also_after_a_restart_and_is_free_after_it() {
        let mut accounts = Accounts::default();
        let mut journal = Vec::new();
        for number in 1..=3 {
            let extra = if number == 3 { ExtraChange::default() } else { external(&format!("x{number}")) };
            let made = accounts.sign_up(sign_up(number, extra, Origin::Administrator), NOW);
            journal.extend(made.writes.clone());
            put(&mut accounts, made);
        }
        assert_eq!(make(&mut accounts, 4, external("x1")), SignedUp::ExternalIdTaken);
        assert_eq!(alter(&mut accounts, 3, external("x1")), Err(Refusal::ExternalIdTaken));
        // Its own account keeps it, whatever else changes.
        assert!(alter(&mut accounts, 1, external("x1")).is_ok());
        // Two accounts exchange theirs, by way of a third one.
        for (number, external_id) in [(1, "x3"), (2, "x1"), (1, "x2")] {
            let change = Change { extra: external(external_id), ..Change::default() };
            let altered = accounts.alter(Alter { id: id(number), change }, NOW);
            journal.extend(altered.writes.clone());
            put(&mut accounts, altered).unwrap();
        }
        let mut read_back = Accounts::default();
        read_back.recover();
        for write in journal {
            read_back.apply(write);
        }
        read_back.recovered();
        for mut accounts in [accounts, read_back] {
            let found =
                |accounts: &Accounts, external_id| accounts.find_external(external_id).map(|found| found.id);
            assert_eq!(found(&accounts, "x1"), Some(id(2)));
            assert_eq!(found(&accounts, "x2"), Some(id(1)));
            assert_eq!(found(&accounts, "x3"), None);
            assert_eq!(accounts.by_external_id().len(), 2);
            let deleted = accounts.delete(id(2), false);
            put(&mut accounts, deleted).unwrap();
            assert_eq!(found(&accounts, "x1"), None);
            assert!(alter(&mut accounts, 3, external("x1")).is_ok());
            assert!(alter(&mut accounts, 3, external("")).is_ok());
            assert_eq!(accounts.by_external_id().len(), 1);
        }
    }

    #[test]
    fn what_an_administrator_gave_goes_to_nobody_who_only_reads_mail_to_the_address() {
        let given = ExtraChange { app_metadata: Some("{\"plan\":\"pro\"}".into()), ..ExtraChange::default() };
        let own = ExtraChange { user_metadata: Some("{\"plan\":\"pro\"}".into()), ..ExtraChange::default() };
        for (extra, is_kept) in
            [(external("7"), true), (given, true), (own, false), (ExtraChange::default(), false)]
        {
            let mut accounts = Accounts::default();
            // An account that nobody has proved and no administrator has made.
            let before = accounts.sign_up(sign_up(1, extra.clone(), Origin::Nobody), NOW);
            let SignedUp::Created(before) = put(&mut accounts, before) else { panic!() };
            let proved = SignUp {
                id: id(2),
                name_key: NameKey([1; 16]),
                ..sign_up(2, ExtraChange::default(), Origin::Mailbox)
            };
            let proved = accounts.sign_up(proved, NOW);
            match put(&mut accounts, proved) {
                SignedUp::Taken(account) if is_kept => assert_eq!(account, before),
                SignedUp::Created(account) if !is_kept => assert_eq!(account.extra, None, "a stranger's"),
                other => panic!("{extra:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_record_that_no_version_wrote_is_not_believed() {
        let SignedUp::Created(account) = make(&mut Accounts::default(), 1, external("7")) else { panic!() };
        assert!(account.is_sound());
        let text = |text: &str| Some(Box::from(text));
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(OBJECT_BYTES_MAX));
        for wrong in [
            AccountExtraV1::default(),
            AccountExtraV1 { external_id: text(""), ..AccountExtraV1::default() },
            AccountExtraV1 { external_id: text("a\nb"), ..AccountExtraV1::default() },
            AccountExtraV1 { locale: text("en-gb"), ..AccountExtraV1::default() },
            AccountExtraV1 { user_metadata: text("{}"), ..AccountExtraV1::default() },
            AccountExtraV1 { app_metadata: text("[1]"), ..AccountExtraV1::default() },
            AccountExtraV1 { app_metadata: text(&long), ..AccountExtraV1::default() },
        ] {
            assert!(
                !AccountV4 { extra: Some(Arc::new(wrong.clone())), ..account.clone() }.is_sound(),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_change_of_what_an_account_carries_uses_no_room_that_is_kept_for_an_end() {
        let change = Change { extra: external("7"), ..Change::default() };
        assert_eq!(change.class(), Class::Ordinary);
        let end = Change { status: Some(Status::Disabled), ..change };
        assert_eq!(end.class(), Class::Essential);
    }

    #[test]
    fn accounts_that_carry_much_and_forget_at_once_fit_into_their_entries() {
        let long =
            |name: &str| Some(format!("{{\"{name}\":\"{}\"}}", "x".repeat(OBJECT_BYTES_MAX - 8)).into());
        let full = ExtraChange {
            external_id: None,
            locale: Some("en-GB".into()),
            user_metadata: long("u"),
            app_metadata: long("a"),
            imported_ms: None,
        };
        let mut accounts = Accounts::default();
        for number in 0..100 {
            make(&mut accounts, number, full.clone());
            let change = Change { phc: Some("new".into()), ..Change::default() };
            let changed = accounts.alter(Alter { id: id(number), change }, NOW);
            put(&mut accounts, changed).unwrap();
        }
        let later = NOW + crate::registry::account::record::REPLACED_FOR;
        let mut rounds = 0;
        loop {
            let forgotten = accounts.overdue(later);
            if forgotten.is_empty() {
                break;
            }
            for write in &forgotten {
                let Write::Put(account) = write else { panic!() };
                assert!(encode(account).unwrap().len() <= state::stored_bytes(account));
            }
            let changes: Vec<_> = forgotten.iter().map(|write| write.to_change().unwrap()).collect();
            assert!(Entry::encode(&changes).is_ok());
            put(&mut accounts, Decision { writes: forgotten, verdict: () });
            rounds += 1;
        }
        assert!((20..=25).contains(&rounds), "{rounds}");
        assert!(accounts.buckets().iter().all(|(_, account)| account.replaced.is_empty()));
    }
}
