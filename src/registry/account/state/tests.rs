use std::time::Duration;

use super::super::command::Change;
use super::*;
use crate::journal::append::handle::Class;
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
        extra: None,
    }
}

/// Returns an account that an earlier version has made of a mere sign-up.
fn of_earlier_version(random: u8) -> AccountV4 {
    let made = Accounts::default().sign_up(sign_up(random, false), NOW);
    let SignedUp::Created(account) = made.verdict else { panic!() };
    AccountV4 { is_vouched: false, ..account }
}

fn put<V>(accounts: &mut Accounts, decision: Decision<V>) -> V {
    decision.writes.into_iter().for_each(|write| accounts.apply(write));
    decision.verdict
}

#[test]
fn the_proof_of_an_address_replaces_what_an_earlier_version_made_of_a_mere_sign_up() {
    let mut accounts = Accounts::default();
    let before = AccountV4 { status: Status::Disabled, auth_epoch: 3, ..of_earlier_version(1) };
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
    let vouched = AccountV4 { is_vouched: true, ..of_earlier_version(1) };
    let with_roles = AccountV4 { roles: vec!["staff".into()], ..of_earlier_version(1) };
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
    for before in [of_earlier_version(1), AccountV4 { email_verified: true, ..of_earlier_version(1) }] {
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
    assert!(!AccountV4 { phc: None, ..of_earlier_version(1) }.has_doubtful_password());
    assert!(!AccountV4 { email_verified: true, ..of_earlier_version(1) }.has_doubtful_password());
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
        let is_undone = change.former == Some(FormerChange::Forget);
        let changed = accounts.alter(Alter { id, change }, NOW);
        let account = put(&mut accounts, changed).unwrap();
        let kept = account.former.as_ref().map(|former| (&*former.phcs[0], former.is_settled));
        assert_eq!(kept, expected);
        assert!(!is_undone || account.replaced.is_empty());
    }
}

/// Changes the address of an account at `now`, so that it can be undone for three days. Returns it as it is then.
fn move_away(accounts: &mut Accounts, id: AccountId, key: NameKey, now: Timestamp) -> AccountV4 {
    let undo_end_ms = (now + Duration::from_hours(72)).as_millis();
    let former = Some(FormerChange::Keep { undo_end_ms });
    let change = Change { email: Some(("eva@example.org".into(), key)), former, ..Change::default() };
    let moved = accounts.alter(Alter { id, change }, now);
    put(accounts, moved).unwrap()
}

#[test]
fn every_password_of_the_three_days_before_a_change_undoes_it_and_the_oldest_stay() {
    let at = |hours: u64| NOW + Duration::from_hours(hours);
    // The hours at which a password was replaced, the hour of the change, and the numbers of those that undo it.
    let cases: [(&[u64], u64, &[u64]); 6] = [
        (&[], 0, &[0]),
        (&[0], 71, &[1, 0]),
        (&[0], 72, &[1]),
        (&[0, 1, 2], 73, &[3, 2]),
        // A thief changes it again and again.
        (&[5, 5, 5, 5, 5, 5, 5], 5, &[7, 0, 1, 2, 3]),
        // What is over makes room.
        (&[0, 0, 0, 0, 72], 72, &[5, 4]),
    ];
    for (replaced, change, expected) in cases {
        let mut accounts = Accounts::default();
        let created = accounts.sign_up(SignUp { phc: Some("0".into()), ..sign_up(1, true) }, NOW);
        put(&mut accounts, created);
        let id = sign_up(1, true).id;
        for (number, hour) in replaced.iter().enumerate() {
            let phc = Some((number + 1).to_string().into());
            let changed =
                accounts.alter(Alter { id, change: Change { phc, ..Change::default() } }, at(*hour));
            assert!(put(&mut accounts, changed).unwrap().is_sound());
        }
        let moved = move_away(&mut accounts, id, NameKey([9; 16]), at(change));
        let phcs = moved.former.as_ref().unwrap().phcs.iter().map(|phc| phc.parse().unwrap());
        assert_eq!(phcs.collect::<Vec<u64>>(), expected, "{replaced:?}, {change}");
        assert!(moved.is_sound() && moved.replaced.is_empty());
        // One that is set after the change does not belong to it.
        let settle = Some(FormerChange::Settle);
        let reset = Change { phc: Some("thief's".into()), former: settle, ..Change::default() };
        let reset = accounts.alter(Alter { id, change: reset }, at(change));
        let reset = put(&mut accounts, reset).unwrap();
        assert_eq!(reset.former.unwrap().phcs, moved.former.unwrap().phcs);
    }
}

#[test]
fn a_password_that_a_stranger_may_have_typed_is_not_remembered() {
    for (before, is_remembered) in
        [(of_earlier_version(1), false), (AccountV4 { email_verified: true, ..of_earlier_version(1) }, true)]
    {
        let mut accounts = Accounts::default();
        let id = before.account_id();
        accounts.apply(Write::Put(before));
        let change = Change { verified: true, clear_phc: true, ..Change::default() };
        let cleared = accounts.alter(Alter { id, change }, NOW);
        assert_eq!(put(&mut accounts, cleared).unwrap().replaced.len(), usize::from(is_remembered));
    }
}

#[test]
fn a_former_address_is_kept_for_its_account_as_long_as_the_change_can_be_undone() {
    let end = NOW + Duration::from_hours(72);
    let just_before = Timestamp(end.0 - 1);
    let name = sign_up(1, true).name_key;
    let other = SignUp { name_key: NameKey([7; 16]), ..sign_up(7, true) };
    let there = |id| {
        let change = Change { email: Some(("ada@example.org".into(), name)), ..Change::default() };
        Alter { id, change }
    };
    let mut accounts = Accounts::default();
    let mut journal = Vec::new();
    for made in [sign_up(1, true), other.clone()] {
        let created = accounts.sign_up(made, NOW);
        journal.extend(created.writes.clone());
        put(&mut accounts, created);
    }
    let id = sign_up(1, true).id;
    let moved = move_away(&mut accounts, id, NameKey([9; 16]), NOW);
    journal.push(Write::Put(moved.clone()));
    let mut read_back = Accounts::default();
    read_back.recover();
    for write in journal {
        read_back.apply(write);
    }
    read_back.recovered();
    for mut accounts in [accounts, read_back] {
        for origin in [Origin::Mailbox, Origin::Administrator, Origin::Nobody] {
            let again = accounts.sign_up(SignUp { origin, ..sign_up(2, true) }, just_before);
            assert_eq!(again, Decision::unchanged(SignedUp::Kept));
        }
        let holder = Holder { account: moved.clone(), is_former: true };
        assert_eq!(accounts.holder(name, just_before), Some(holder));
        assert!(accounts.find(name).is_none());
        assert_eq!(accounts.alter(there(other.id), just_before).verdict, Err(Refusal::Taken));
        // The account itself goes back.
        assert!(accounts.alter(there(id), just_before).verdict.is_ok());
        assert_eq!(accounts.holder(name, end), None);
        // Another account takes it, before the memory of the first one is gone, and leaves it.
        let taken = accounts.alter(there(other.id), end);
        put(&mut accounts, taken).unwrap();
        assert!(!accounts.holder(name, end).unwrap().is_former);
        move_away(&mut accounts, other.id, NameKey([8; 16]), end);
        assert_eq!(accounts.holder(name, end).unwrap().account.account_id(), other.id);
        for write in accounts.overdue(end) {
            accounts.apply(write);
        }
        assert_eq!(accounts.holder(name, end).unwrap().account.account_id(), other.id);
        let deleted = accounts.delete(other.id, false);
        put(&mut accounts, deleted).unwrap();
        assert_eq!(accounts.holder(name, end), None);
        assert!(accounts.kept.is_empty() && accounts.to_forget.is_empty());
    }
}

#[test]
fn former_and_replaced_passwords_go_once_no_change_can_be_undone_by_them_also_after_a_restart() {
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
        let change = if number % 2 == 0 {
            Change { former: keep, ..Change::default() }
        } else {
            Change { phc: Some("new".into()), ..Change::default() }
        };
        let kept = accounts.alter(Alter { id, change }, NOW);
        journal.extend(kept.writes.clone());
        put(&mut accounts, kept).unwrap();
    }
    let just_before = Timestamp(end.0 - 1);
    assert_eq!(accounts.overdue(just_before), []);
    // The next write of an account takes its own with it.
    for (number, now, is_kept) in
        [(0, just_before, true), (1, just_before, true), (0, end, false), (1, end, false)]
    {
        let id = sign_up(number, true).id;
        let renamed = Change { name: Some("Ada".into()), ..Change::default() };
        let renamed = accounts.alter(Alter { id, change: renamed }, now);
        let renamed = put(&mut accounts, renamed).unwrap();
        assert_eq!(renamed.former.is_some() || !renamed.replaced.is_empty(), is_kept);
    }
    // So does a look at those whose time is over, also in what a start has read back.
    let mut read_back = Accounts::default();
    read_back.recover();
    for write in journal {
        read_back.apply(write);
    }
    read_back.recovered();
    for (mut accounts, mut left) in [(accounts, 148), (read_back, 150)] {
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
        let is_over = |account: &AccountV4| account.former.is_none() && account.replaced.is_empty();
        assert!(accounts.buckets().iter().all(|(_, account)| is_over(account)));
        assert!(accounts.to_forget.is_empty() && accounts.kept.is_empty());
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
    // A token that was issued between is of second 8, and ends as well.
    let more = accounts.alter(alter(roles(&[ADMIN, "staff"], 8)), NOW);
    put(&mut accounts, more).unwrap();
    let again = accounts.alter(alter(roles(&[ADMIN], 8)), NOW);
    assert_eq!(put(&mut accounts, again).unwrap().tokens_from_secs, 9);
    assert_eq!(accounts.alter(alter(roles(&[], 9)), NOW).verdict, Err(Refusal::LastAdmin));
    let closed = Change { status: Some(Status::Disabled), spares_last_admin: true, ..Change::default() };
    assert_eq!(accounts.alter(alter(closed.clone()), NOW).verdict, Err(Refusal::LastAdmin));
    assert_eq!(accounts.delete(id, true).verdict, Err(Refusal::LastAdmin));
    let second = AccountId::mint(id.slot(), [7; 14]);
    let other = AccountV4 { id: second, name_key: [7; 16], ..accounts.get(id).unwrap().clone() };
    accounts.apply(Write::Put(other));
    assert!(accounts.delete(id, true).verdict.is_ok());
    let closed = accounts.alter(alter(closed), NOW);
    put(&mut accounts, closed).unwrap();
    // Only the other one is left.
    assert_eq!(accounts.delete(second, true).verdict, Err(Refusal::LastAdmin));
    assert!(accounts.delete(second, false).verdict.is_ok());
}

#[test]
fn an_administrator_who_cannot_log_in_is_not_the_one_who_is_left() {
    let admin = SignUp { roles: vec![ADMIN.into()], origin: Origin::Administrator, ..sign_up(1, true) };
    let SignedUp::Created(admin) = Accounts::default().sign_up(admin, NOW).verdict else { panic!() };
    let other = |number: u8| AccountV4 {
        id: AccountId::mint(admin.id.slot(), [number; 14]),
        name_key: [number; 16],
        ..admin.clone()
    };
    let demoted = Change { roles: Some(vec![]), spares_last_admin: true, ..Change::default() };
    let named = Change { name: Some("Ada".into()), spares_last_admin: true, ..Change::default() };
    for (other, is_enough) in [
        (other(7), true),
        (AccountV4 { phc: None, ..other(7) }, false),
        (AccountV4 { email_verified: false, ..other(7) }, false),
        (AccountV4 { status: Status::Disabled, ..other(7) }, false),
        (AccountV4 { roles: vec![], ..other(7) }, false),
    ] {
        let mut accounts = Accounts::default();
        accounts.apply(Write::Put(admin.clone()));
        accounts.apply(Write::Put(other.clone()));
        let alter = |id, change: &Change| {
            accounts.alter(Alter { id, change: change.clone() }, NOW).verdict.map(|_| ())
        };
        let expected = if is_enough { Ok(()) } else { Err(Refusal::LastAdmin) };
        assert_eq!(alter(admin.id, &demoted), expected, "{other:?}");
        assert_eq!(accounts.delete(admin.id, true).verdict, expected, "{other:?}");
        assert_eq!(alter(admin.id, &named), Ok(()), "{other:?}");
        // The one who can log in may take the other away.
        assert_eq!(alter(other.id, &demoted), Ok(()), "{other:?}");
        assert_eq!(accounts.delete(other.id, true).verdict, Ok(()), "{other:?}");
    }
}

#[test]
fn a_change_that_changes_nothing_is_not_written() {
    let mut accounts = Accounts::default();
    let made = accounts.sign_up(sign_up(1, true), NOW);
    let SignedUp::Created(account) = put(&mut accounts, made) else { panic!("taken") };
    let alter = |change: Change| Alter { id: account.account_id(), change };
    for change in [
        Change::default(),
        Change { mutes_new_device: Some(account.mutes_new_device), ..Change::default() },
        Change { verified: account.email_verified, status: Some(account.status), ..Change::default() },
        Change { roles: Some(account.roles.clone()), name: account.name.clone(), ..Change::default() },
    ] {
        let decided = accounts.alter(alter(change.clone()), NOW);
        assert_eq!(decided, Decision::unchanged(Ok(account.clone())), "{change:?}");
    }
    let muted = Change { mutes_new_device: Some(!account.mutes_new_device), ..Change::default() };
    assert_eq!(accounts.alter(alter(muted), NOW).writes.len(), 1);
}

#[test]
fn an_administrator_vouches_for_an_address_and_its_proof_can_be_taken_back() {
    let before = of_earlier_version(1);
    assert!(!before.holds_its_address());
    let mut accounts = Accounts::default();
    accounts.apply(Write::Put(before.clone()));
    let alter = |change| Alter { id: before.id, change };
    // What a flow asks for: a stranger may have typed the password.
    let vouched = Change { vouched: true, verified: true, clear_phc: true, ..Change::default() };
    let proved = accounts.alter(alter(vouched), NOW);
    let proved = put(&mut accounts, proved).unwrap();
    assert_eq!((proved.email_verified, proved.is_vouched, &proved.phc), (true, true, &None));
    assert!(proved.replaced.is_empty(), "a stranger's password undoes nothing");
    assert_eq!(proved.auth_epoch, before.auth_epoch + 1);
    let unproved = accounts.alter(alter(Change { unproved: true, ..Change::default() }), NOW);
    let unproved = put(&mut accounts, unproved).unwrap();
    assert!(!unproved.email_verified);
    assert!(unproved.holds_its_address(), "nobody else can sign up with it");
    assert!(!unproved.has_doubtful_password());
}

#[test]
fn an_empty_name_takes_the_name_away() {
    let mut accounts = Accounts::default();
    let made = accounts.sign_up(sign_up(1, true), NOW);
    let SignedUp::Created(account) = put(&mut accounts, made) else { panic!("taken") };
    for (name, left) in [(Some("Ada"), Some("Ada")), (None, Some("Ada")), (Some(""), None), (Some(""), None)]
    {
        let change = Change { name: name.map(Box::from), ..Change::default() };
        let named = accounts.alter(Alter { id: account.id, change }, NOW);
        assert_eq!(put(&mut accounts, named).unwrap().name.as_deref(), left, "{name:?}");
    }
}

#[test]
fn the_last_administrator_is_not_moved_to_where_it_cannot_log_in() {
    let admin = SignUp { roles: vec![ADMIN.into()], origin: Origin::Administrator, ..sign_up(1, true) };
    let SignedUp::Created(admin) = Accounts::default().sign_up(admin, NOW).verdict else { panic!() };
    let mut accounts = Accounts::default();
    accounts.apply(Write::Put(admin.clone()));
    let moved = |unproved| Change {
        email: Some(("other@example.org".into(), NameKey([9; 16]))),
        unproved,
        spares_last_admin: true,
        ..Change::default()
    };
    for (change, verdict) in [
        (moved(true), Err(Refusal::LastAdmin)),
        (moved(false), Ok(())),
        (Change { clear_phc: true, ..moved(false) }, Err(Refusal::LastAdmin)),
        (Change { spares_last_admin: false, ..moved(true) }, Ok(())),
    ] {
        let decided = accounts.alter(Alter { id: admin.id, change: change.clone() }, NOW);
        assert_eq!(decided.verdict.map(|_| ()), verdict, "{change:?}");
    }
}

#[test]
fn what_an_owner_only_likes_to_have_otherwise_uses_no_room_that_is_kept_for_an_end() {
    let of = |change: Change| change.class();
    for setting in [
        Change { name: Some("Ada".into()), ..Change::default() },
        Change { mutes_new_device: Some(true), ..Change::default() },
        Change::default(),
    ] {
        assert_eq!(of(setting.clone()), Class::Ordinary, "{setting:?}");
    }
    for end in [
        Change { phc: Some("$argon2id$".into()), ..Change::default() },
        Change { raise_epoch: true, name: Some("Ada".into()), ..Change::default() },
        Change { roles: Some(Vec::new()), ..Change::default() },
        Change { status: Some(Status::Disabled), ..Change::default() },
        Change { clear_phc: true, ..Change::default() },
        Change { end_devices: true, ..Change::default() },
        Change { former: Some(FormerChange::Forget), ..Change::default() },
    ] {
        assert_eq!(of(end.clone()), Class::Essential, "{end:?}");
    }
}
