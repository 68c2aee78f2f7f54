use std::time::Duration;

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
        origin: if verified { Origin::Mailbox } else { Origin::Administrator },
    }
}

/// Returns an account that an earlier version has made of a mere sign-up.
fn of_earlier_version(random: u8) -> AccountV2 {
    let made = Accounts::default().sign_up(sign_up(random, false), NOW);
    let SignedUp::Created(account) = made.verdict else { panic!() };
    AccountV2 { is_vouched: false, ..account }
}

fn put<V>(accounts: &mut Accounts, decision: Decision<V>) -> V {
    decision.writes.into_iter().for_each(|write| accounts.apply(write));
    decision.verdict
}

#[test]
fn the_proof_of_an_address_replaces_what_an_earlier_version_made_of_a_mere_sign_up() {
    let mut accounts = Accounts::default();
    let before = AccountV2 { status: Status::Disabled, auth_epoch: 3, ..of_earlier_version(1) };
    accounts.apply(Write::Put(before.clone()));
    let proved = SignUp { phc: Some("new".into()), ..sign_up(2, true) };
    let proved = accounts.sign_up(proved, NOW);
    let SignedUp::Created(account) = put(&mut accounts, proved) else { panic!() };
    assert_eq!(account.account_id(), before.account_id());
    assert_eq!(account.auth_epoch, before.auth_epoch + 1);
    assert_eq!(account.device_epoch, before.device_epoch + 1);
    assert_eq!(account.phc.as_deref(), Some("new"));
    assert!(account.email_verified);
    // It does not reopen what an administrator has closed.
    assert_eq!(account.status, Status::Disabled);
    // The same again, by the same sign-up or another one, leaves the account as it is.
    for random in [1, 2, 3] {
        let again = accounts.sign_up(sign_up(random, true), NOW);
        assert_eq!(again, Decision::unchanged(SignedUp::Taken(account.clone())));
    }
}

#[test]
fn an_account_that_an_administrator_made_or_gave_roles_holds_its_address() {
    let vouched = AccountV2 { is_vouched: true, ..of_earlier_version(1) };
    let with_roles = AccountV2 { roles: vec!["staff".into()], ..of_earlier_version(1) };
    for before in [vouched, with_roles] {
        let mut accounts = Accounts::default();
        accounts.apply(Write::Put(before.clone()));
        let proved = accounts.sign_up(sign_up(2, true), NOW);
        assert_eq!(proved, Decision::unchanged(SignedUp::Taken(before.clone())));
        assert_eq!(accounts.get(before.account_id()), Some(&before));
    }
}

#[test]
fn an_account_that_is_there_is_never_made_again() {
    let mut accounts = Accounts::default();
    let made = |origin, verified| SignUp {
        roles: vec!["admin".into()],
        phc: Some("another".into()),
        origin,
        ..sign_up(2, verified)
    };
    for before in [of_earlier_version(1), AccountV2 { email_verified: true, ..of_earlier_version(1) }] {
        accounts.apply(Write::Put(before.clone()));
        for origin in [Origin::Administrator, Origin::Nobody] {
            for verified in [true, false] {
                let again = accounts.sign_up(made(origin, verified), NOW);
                assert_eq!(put(&mut accounts, again), SignedUp::Taken(before.clone()));
                assert_eq!(accounts.get(before.account_id()), Some(&before));
            }
        }
    }
}

#[test]
fn only_an_administrator_vouches_for_a_password_whose_address_is_not_proved() {
    assert!(of_earlier_version(1).has_doubtful_password());
    let made = Accounts::default().sign_up(sign_up(1, false), NOW).verdict;
    let SignedUp::Created(made) = made else { panic!() };
    assert!(!made.has_doubtful_password());
    assert!(!AccountV2 { phc: None, ..of_earlier_version(1) }.has_doubtful_password());
    assert!(!AccountV2 { email_verified: true, ..of_earlier_version(1) }.has_doubtful_password());
}

#[test]
fn an_account_releases_an_address_only_to_another_and_while_unproved() {
    let mut accounts = Accounts::default();
    let name = sign_up(1, false).name_key;
    let release = |owner| ReleaseUnprovenAddress { name, owner };
    let other = release(sign_up(9, false).id);
    assert_eq!(accounts.release_unproven_address(other), Decision::unchanged(None));
    let created = accounts.sign_up(sign_up(1, false), NOW);
    let SignedUp::Created(account) = put(&mut accounts, created) else { panic!() };
    assert_eq!(accounts.release_unproven_address(release(account.account_id())), Decision::unchanged(None));
    let change = Change { verified: true, ..Change::default() };
    let proved = accounts.alter(Alter { id: account.account_id(), change }, NOW);
    let given = accounts.release_unproven_address(other);
    assert_eq!(given.verdict, Some(account));
    put(&mut accounts, proved).unwrap();
    assert_eq!(accounts.release_unproven_address(other), Decision::unchanged(None));
    put(&mut accounts, given);
    assert!(accounts.find(name).is_none());
}

#[test]
fn the_former_password_is_remembered_until_the_change_is_undone() {
    let mut accounts = Accounts::default();
    let created = accounts.sign_up(sign_up(1, true), NOW);
    put(&mut accounts, created);
    let id = sign_up(1, true).id;
    let former = |change: FormerChange| Change { former: Some(change), ..Change::default() };
    let keep =
        Change { raise_epoch: true, ..former(FormerChange::Keep { undo_end_ms: NOW.as_millis() + 7 }) };
    let reset = Change { phc: Some("new".into()), ..former(FormerChange::Settle) };
    for (change, expected) in [
        (former(FormerChange::Settle), None),
        (keep, Some(("old", false))),
        (Change { name: Some("Ada".into()), ..Change::default() }, Some(("old", false))),
        (reset, Some(("old", true))),
        (former(FormerChange::Forget), None),
    ] {
        let changed = accounts.alter(Alter { id, change }, NOW);
        let account = put(&mut accounts, changed).unwrap();
        let kept = account.former.as_ref().map(|former| (former.phc.as_deref().unwrap(), former.is_settled));
        assert_eq!(kept, expected);
    }
}

#[test]
fn a_former_password_goes_once_the_change_cannot_be_undone_also_after_a_restart() {
    let end = NOW + Duration::from_hours(72);
    let mut accounts = Accounts::default();
    let mut journal = Vec::new();
    for number in 0..150 {
        let named = SignUp { name_key: NameKey([number; 16]), ..sign_up(number, true) };
        let created = accounts.sign_up(named, NOW);
        let id = sign_up(number, true).id;
        journal.extend(created.writes.clone());
        put(&mut accounts, created);
        let keep = Some(FormerChange::Keep { undo_end_ms: end.as_millis() });
        let kept = accounts.alter(Alter { id, change: Change { former: keep, ..Change::default() } }, NOW);
        journal.extend(kept.writes.clone());
        put(&mut accounts, kept).unwrap();
    }
    let just_before = Timestamp(end.0 - 1);
    assert_eq!(accounts.overdue(just_before), []);
    // The next write of an account takes its own with it.
    let id = sign_up(0, true).id;
    for (now, is_kept) in [(just_before, true), (end, false)] {
        let renamed = Change { name: Some("Ada".into()), ..Change::default() };
        let renamed = accounts.alter(Alter { id, change: renamed }, now);
        assert_eq!(put(&mut accounts, renamed).unwrap().former.is_some(), is_kept);
    }
    // So does a look at those whose time is over, also in what a start has read back.
    let mut read_back = Accounts::default();
    read_back.recover();
    for write in journal {
        read_back.apply(write);
    }
    read_back.recovered();
    for (mut accounts, mut left) in [(accounts, 149), (read_back, 150)] {
        loop {
            let forgotten = accounts.overdue(end);
            if forgotten.is_empty() {
                break;
            }
            assert!(forgotten.len() <= ENDED_AT_ONCE);
            left -= forgotten.len();
            put(&mut accounts, Decision { writes: forgotten, verdict: () });
        }
        assert_eq!(left, 0);
        assert!(accounts.buckets().iter().all(|(_, account)| account.former.is_none()));
        assert!(accounts.formers.is_empty());
    }
}

#[test]
fn only_passwords_addresses_and_status_raise_the_epoch() {
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
        (
            Change {
                email: Some(("eva@example.org".into(), sign_up(1, true).name_key)),
                ..Change::default()
            },
            1,
        ),
        (Change { end_devices: true, ..Change::default() }, 0),
        (Change { mutes_new_device: Some(true), ..Change::default() }, 0),
    ] {
        let before = accounts.get(id).unwrap().auth_epoch;
        let changed = accounts.alter(Alter { id, change: change.clone() }, NOW);
        assert_eq!(put(&mut accounts, changed).unwrap().auth_epoch, before + raised, "{change:?}");
    }
    assert_eq!(accounts.get(id).unwrap().roles, ["a".into(), "b".into()]);
    // A password, the word of an owner and a log-out everywhere, and neither roles nor the status.
    assert_eq!(accounts.get(id).unwrap().device_epoch, 3);
    assert!(accounts.get(id).unwrap().mutes_new_device);
    let stale = accounts.rehash(Rehash { id, checked: "old".into(), phc: "newer".into() });
    put(&mut accounts, stale);
    assert_eq!(accounts.get(id).unwrap().phc.as_deref(), Some("new"));
    let deleted = accounts.delete(id, false);
    put(&mut accounts, deleted).unwrap();
    assert!(accounts.find(sign_up(1, true).name_key).is_none());
}

#[test]
fn tokens_age_when_a_role_is_taken_away_and_the_last_administrator_stays_one() {
    let mut accounts = Accounts::default();
    let admin = SignUp { roles: vec![ADMIN.into()], origin: Origin::Administrator, ..sign_up(1, true) };
    let id = admin.id;
    let created = accounts.sign_up(admin, NOW);
    put(&mut accounts, created);
    let roles = |roles: &[&str], secs| Change {
        roles: Some(roles.iter().map(|role| Box::from(*role)).collect()),
        tokens_from_secs: secs,
        spares_last_admin: true,
        ..Change::default()
    };
    let alter = |change| Alter { id, change };
    let more = accounts.alter(alter(roles(&[ADMIN, "staff"], 7)), NOW);
    assert_eq!(accounts.revoked_by(&more.writes[0]), None);
    assert_eq!(put(&mut accounts, more).unwrap().tokens_from_secs, 0);
    let fewer = accounts.alter(alter(roles(&[ADMIN], 8)), NOW);
    let revoked = Revocation::Tokens { account: id.to_bytes(), issued_before: 8 };
    assert_eq!(accounts.revoked_by(&fewer.writes[0]), Some(revoked));
    assert_eq!(put(&mut accounts, fewer).unwrap().tokens_from_secs, 8);
    assert_eq!(accounts.alter(alter(roles(&[], 9)), NOW).verdict, Err(Refusal::LastAdmin));
    let closed = Change { status: Some(Status::Disabled), spares_last_admin: true, ..Change::default() };
    assert_eq!(accounts.alter(alter(closed.clone()), NOW).verdict, Err(Refusal::LastAdmin));
    assert_eq!(accounts.delete(id, true).verdict, Err(Refusal::LastAdmin));
    let second = AccountId::mint(id.slot(), [7; 14]);
    let other = AccountV2 { id: second, name_key: [7; 16], ..accounts.get(id).unwrap().clone() };
    accounts.apply(Write::Put(other));
    assert!(accounts.delete(id, true).verdict.is_ok());
    let closed = accounts.alter(alter(closed), NOW);
    put(&mut accounts, closed).unwrap();
    // Only the other one is left.
    assert_eq!(accounts.delete(second, true).verdict, Err(Refusal::LastAdmin));
    assert!(accounts.delete(second, false).verdict.is_ok());
}
