//! How long the hash of another system counts as a password.
//!
//! **The attack:** an import brings a million hashes of a system that was given up because its table was stolen. Those whose
//! owners never come here stay what they were: passwords that an attacker has long guessed.
//!
//! **The rule:** a hash of another system is replaced at the first log-in. One that is not is no password any more after a time
//! from the import on, if a time is set: a log-in is refused like one with a wrong password, with the same work. The next sweep
//! removes it. Its owner sets a new password by mail.

use std::time::Duration;

use super::record::AccountV4;
use crate::password::foreign::StoredCost;
use crate::system::clock::Timestamp;

/// The settings of the rule of accounts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// How long after the import a hash of another system counts as a password; `None` for ever.
    pub foreign_for: Option<Duration>,
}

impl Limits {
    /// Returns when the password of `account` counts no longer; `None` if it stays.
    pub fn password_end(&self, account: &AccountV4) -> Option<Timestamp> {
        let foreign_for = self.foreign_for?;
        let imported_ms = account.extra.as_ref().map(|extra| extra.imported_ms).filter(|ms| *ms > 0)?;
        is_foreign(account.phc.as_deref()?).then(|| Timestamp(imported_ms) + foreign_for)
    }

    /// Says whether the password of `account` counts no longer at `now`.
    pub fn is_password_over(&self, account: &AccountV4, now: Timestamp) -> bool {
        self.password_end(account).is_some_and(|end| now >= end)
    }
}

/// Says whether a stored text is the hash of another system, or holds a digest of one.
fn is_foreign(phc: &str) -> bool {
    matches!(StoredCost::of(phc), Some(StoredCost::Foreign(_) | StoredCost::Wrapped(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::account::actor::{Alter, Rehash};
    use crate::registry::account::state::{Accounts, Decision};
    use crate::registry::account::{Change, ExtraChange, Origin, SignUp, SignedUp};
    use crate::registry::record::Write;
    use crate::value::account_name::NameKey;
    use crate::value::id::{AccountId, Slot};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_hours(24);
    const BCRYPT: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    const NATIVE: &str = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$bm8";

    fn id(number: u8) -> AccountId {
        AccountId::mint(Slot::FIRST, [number; 14])
    }

    fn put<V>(accounts: &mut Accounts, decision: Decision<V>) -> V {
        decision.writes.into_iter().for_each(|write| accounts.apply(write));
        decision.verdict
    }

    fn make(accounts: &mut Accounts, number: u8, phc: &str, is_imported: bool) {
        let imported_ms = is_imported.then_some(NOW.as_millis());
        let sign_up = SignUp {
            id: id(number),
            name_key: NameKey([number; 16]),
            email: format!("user{number}@example.org").into(),
            name: None,
            phc: Some(phc.into()),
            roles: Vec::new(),
            verified: true,
            origin: Origin::Administrator,
            extra: ExtraChange { imported_ms, ..ExtraChange::default() }.made(),
        };
        let made = accounts.sign_up(sign_up, NOW);
        assert!(matches!(put(accounts, made), SignedUp::Created(_)));
    }

    fn has_password(accounts: &Accounts, number: u8, now: Timestamp) -> bool {
        let account = accounts.in_force(accounts.get(id(number)).unwrap(), now);
        account.phc.is_some()
    }

    #[test]
    fn a_hash_of_another_system_is_no_password_after_its_time_and_is_removed_then() {
        let mut accounts = Accounts::new(Limits { foreign_for: Some(30 * DAY) });
        make(&mut accounts, 1, BCRYPT, true);
        make(&mut accounts, 2, NATIVE, true);
        make(&mut accounts, 3, BCRYPT, false);
        make(&mut accounts, 4, BCRYPT, true);
        let rehash = Rehash { id: id(4), checked: BCRYPT.into(), phc: NATIVE.into() };
        let rehashed = accounts.rehash(rehash);
        put(&mut accounts, rehashed);
        let before = NOW + 30 * DAY - Duration::from_millis(1);
        assert!((1..=4).all(|number| has_password(&accounts, number, before)));
        assert_eq!(accounts.overdue(before), []);
        let end = NOW + 30 * DAY;
        let kept: Vec<bool> = (1..=4).map(|number| has_password(&accounts, number, end)).collect();
        assert_eq!(kept, [false, true, true, true]);
        let writes = accounts.overdue(end);
        let [Write::Put(dropped)] = &writes[..] else { panic!("{writes:?}") };
        assert_eq!((dropped.id, &dropped.phc, dropped.auth_epoch), (id(1), &None, 0));
        assert_eq!(dropped.replaced.len(), 0, "a dropped hash is not remembered either");
        put(&mut accounts, Decision { writes, verdict: () });
        assert_eq!(accounts.overdue(end), []);
        assert_eq!(accounts.stored_costs().foreign_count(), 1);
    }

    #[test]
    fn without_a_time_it_stays_for_ever() {
        let mut accounts = Accounts::default();
        make(&mut accounts, 1, BCRYPT, true);
        let late = NOW + 10_000 * DAY;
        assert!(has_password(&accounts, 1, late));
        assert_eq!(accounts.overdue(late), []);
    }

    #[test]
    fn a_change_of_the_account_after_its_time_drops_it_as_well() {
        let mut accounts = Accounts::new(Limits { foreign_for: Some(DAY) });
        make(&mut accounts, 1, BCRYPT, true);
        let change = Change { name: Some("Ada".into()), ..Change::default() };
        let altered = accounts.alter(Alter { id: id(1), change }, NOW + DAY);
        assert_eq!(put(&mut accounts, altered).unwrap().phc, None);
    }
}
