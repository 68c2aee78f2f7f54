//! The events of accounts: what the writes of a decision make true that was not.

use super::record::{AccountV4, Status};
use super::state::Accounts;
use crate::registry::event::{Metadata, Told, What};
use crate::registry::record::Write;

impl Accounts {
    /// Returns the events that `writes` make true, in their order.
    pub(super) fn events_of(&self, writes: &[Write<AccountV4>]) -> Vec<Told> {
        let mut told = Vec::new();
        for write in writes {
            let key = write.key();
            let before = self.buckets().get(&key);
            let mut tell = |what| told.push(Told::new(key, what));
            match (before, write) {
                (None, Write::Remove(_)) => {}
                (Some(_), Write::Remove(_)) => tell(What::Deleted),
                (None, Write::Put(account)) => {
                    tell(What::Created {
                        email: account.email.clone(),
                        name: account.name.clone(),
                        roles: account.roles.clone(),
                    });
                    if account.email_verified {
                        tell(What::Verified);
                    }
                    if account.status == Status::Disabled {
                        tell(What::Disabled);
                    }
                }
                (Some(before), Write::Put(after)) => changes(before, after, &mut tell),
            }
        }
        told
    }
}

/// Bytes that an event takes in an entry beside its texts, no fewer.
const EVENT_BYTES: usize = 72;

/// Returns no fewer bytes than the events take in an entry that creates `account`: for whoever puts many accounts into one.
pub fn created_bytes(account: &AccountV4) -> usize {
    let roles: usize = account.roles.iter().map(|role| role.len() + 9).sum();
    3 * EVENT_BYTES + account.email.len() + account.name.as_ref().map_or(0, |name| name.len()) + roles
}

/// Tells what differs between two states of an account.
fn changes(before: &AccountV4, after: &AccountV4, tell: &mut impl FnMut(What)) {
    if before.email != after.email {
        tell(What::EmailChanged { email: after.email.clone() });
    }
    let proves_another = before.name_key != after.name_key;
    if after.email_verified && (!before.email_verified || proves_another) {
        tell(What::Verified);
    }
    if before.name != after.name {
        tell(What::NameChanged { name: after.name.clone() });
    }
    if before.roles != after.roles {
        tell(What::RolesChanged { roles: after.roles.clone() });
    }
    // The same password under another hash is no other password: then the epoch stays.
    if before.phc != after.phc && after.phc.is_some() && before.auth_epoch != after.auth_epoch {
        tell(What::PasswordChanged);
    }
    match (before.status, after.status) {
        (Status::Active, Status::Disabled) => tell(What::Disabled),
        (Status::Disabled, Status::Active) => tell(What::Enabled),
        (Status::Active, Status::Active) | (Status::Disabled, Status::Disabled) => {}
    }
    let metadata = metadata(before, after);
    if metadata != Metadata::default() {
        tell(What::MetadataChanged(metadata));
    }
}

/// Returns what of the further data differs.
fn metadata(before: &AccountV4, after: &AccountV4) -> Metadata {
    let of = |account: &AccountV4| {
        let texts =
            [account.user_metadata(), account.app_metadata(), account.locale(), account.external_id()];
        texts.map(|text| text.map(ToOwned::to_owned))
    };
    if before.extra == after.extra {
        return Metadata::default();
    }
    let differs = of(before).into_iter().zip(of(after)).map(|(before, after)| before != after);
    let bits = Metadata::NAMES.iter().zip(differs).filter(|(_, differs)| *differs).map(|((bit, _), _)| bit);
    Metadata(bits.fold(0, |all, bit| all | bit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::id::{AccountId, Slot};

    fn account() -> AccountV4 {
        AccountV4 {
            id: AccountId::mint(Slot::FIRST, [1; 14]),
            name_key: [1; 16],
            email: "ada@example.org".into(),
            email_verified: false,
            name: None,
            phc: Some("one".into()),
            roles: Vec::new(),
            status: Status::Active,
            auth_epoch: 0,
            created_ms: 0,
            device_epoch: 0,
            tokens_from_secs: 0,
            former: None,
            mutes_new_device: false,
            is_vouched: false,
            replaced: Box::default(),
            extra: None,
        }
    }

    fn told(after: Write<AccountV4>) -> Vec<What> {
        let mut accounts = Accounts::default();
        accounts.apply(Write::Put(account()));
        accounts.events_of(&[after]).into_iter().map(|told| told.what).collect()
    }

    #[test]
    fn an_account_is_told_of_when_it_is_made_and_when_it_is_gone() {
        let made =
            Accounts::default().events_of(&[Write::Put(AccountV4 { email_verified: true, ..account() })]);
        let email = "ada@example.org".into();
        let what = [What::Created { email, name: None, roles: Vec::new() }, What::Verified];
        assert_eq!(made, what.map(|what| Told::new(account().id.to_bytes(), what)));
        assert_eq!(told(Write::Remove(account().id.to_bytes())), [What::Deleted]);
        assert_eq!(Accounts::default().events_of(&[Write::Remove([9; 16])]), []);
    }

    #[test]
    fn the_events_of_a_new_account_take_no_more_than_was_reckoned() {
        let small = AccountV4 { email_verified: true, status: Status::Disabled, ..account() };
        let large = AccountV4 {
            name: Some("N".repeat(400).into()),
            roles: (0..32).map(|at| format!("{at}").repeat(30).into()).collect(),
            ..small.clone()
        };
        for account in [account(), small, large] {
            let reckoned = created_bytes(&account);
            let told = Accounts::default().events_of(&[Write::Put(account)]);
            let now = crate::system::clock::Timestamp::from_secs(1_800_000_000);
            let changes: Vec<_> = told.iter().map(|told| told.to_change(now)).collect();
            let entry = crate::journal::format::entry::Entry::encode(&changes).unwrap();
            assert!(entry.as_bytes().len() <= reckoned, "{} {reckoned}", entry.as_bytes().len());
        }
    }

    #[test]
    fn each_change_is_told_of_and_nothing_else() {
        let put = |change: fn(&mut AccountV4)| {
            let mut after = account();
            change(&mut after);
            told(Write::Put(after))
        };
        assert_eq!(put(|_| ()), []);
        assert_eq!(put(|account| account.email_verified = true), [What::Verified]);
        assert_eq!(put(|account| account.status = Status::Disabled), [What::Disabled]);
        assert_eq!(
            put(|account| account.roles = vec!["a".into()]),
            [What::RolesChanged { roles: vec!["a".into()] }]
        );
        assert_eq!(
            put(|account| account.name = Some("Ada".into())),
            [What::NameChanged { name: Some("Ada".into()) }]
        );
        let other = |account: &mut AccountV4| {
            account.email = "b@example.org".into();
            account.name_key = [2; 16];
            account.email_verified = true;
        };
        assert_eq!(put(other), [What::EmailChanged { email: "b@example.org".into() }, What::Verified]);
        // A rehash, a new password, and none any more.
        assert_eq!(put(|account| account.phc = Some("two".into())), []);
        let new = |account: &mut AccountV4| {
            account.phc = Some("two".into());
            account.auth_epoch = 1;
        };
        assert_eq!(put(new), [What::PasswordChanged]);
        let none = |account: &mut AccountV4| {
            account.phc = None;
            account.auth_epoch = 1;
        };
        assert_eq!(put(none), []);
        let locale = |account: &mut AccountV4| {
            let extra =
                super::super::record::AccountExtraV1 { locale: Some("de".into()), ..Default::default() };
            account.extra = Some(std::sync::Arc::new(extra));
        };
        let [What::MetadataChanged(metadata)] = put(locale)[..] else { panic!("another event") };
        assert_eq!(metadata.names().collect::<Vec<_>>(), ["locale"]);
    }
}
