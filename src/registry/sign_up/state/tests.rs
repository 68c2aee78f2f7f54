use super::*;
use crate::journal::format::buckets::BUCKETS;
use crate::value::account_name::AccountName;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_hours(24);

fn sign_ups() -> SignUps {
    SignUps::new(Limits { ttl: DAY })
}

fn name(text: &str) -> AccountName {
    AccountName::parse(text).unwrap()
}

fn key(text: &str) -> NameKey {
    name(text).key(&[1; 32])
}

fn id(text: &str, number: u16) -> AccountId {
    let mut random = [0; 14];
    random[..2].copy_from_slice(&number.to_be_bytes());
    AccountId::mint(key(text).slot(), random)
}

fn digest(number: u16) -> SecretDigest {
    SecretDigest([number as u8; 32])
}

/// Sign-up number `number`, with a password and a half of that number.
fn begin(address: &str, number: u16, is_taken: bool) -> Begin {
    Begin {
        id: id(address, number),
        name_key: key(address),
        email: address.into(),
        name: Some("Ada".into()),
        locale: Some("de-AT".into()),
        phc: format!("password {number:05}").into(),
        half: digest(number),
        global_epoch: 0,
        is_taken,
    }
}

fn prove(address: &str, number: u16, half: Option<u16>) -> Prove {
    let half = half.map(|number| Half { id: id(address, number), digest: digest(number) });
    Prove { id: id(address, number), half, global_epoch: 0 }
}

fn put<V>(sign_ups: &mut SignUps, decision: Decision<V>) -> V {
    decision.writes.into_iter().for_each(|write| sign_ups.apply(write));
    decision.verdict
}

fn signed_up(sign_ups: &mut SignUps, address: &str, number: u16, now: Timestamp) -> Option<SignUpV2> {
    let begun = sign_ups.begin(begin(address, number, false), now);
    put(sign_ups, begun)
}

const ADA: &str = "ada@example.org";

#[test]
fn only_the_half_of_the_same_sign_up_opens_it_with_its_password() {
    for (half, opens) in [(Some(1), true), (Some(2), false), (None, false)] {
        let mut sign_ups = sign_ups();
        signed_up(&mut sign_ups, ADA, 1, NOW);
        signed_up(&mut sign_ups, ADA, 2, NOW);
        let decision = sign_ups.prove(prove(ADA, 1, half), NOW);
        let first = put(&mut sign_ups, decision);
        match &first {
            Proof::Open(sign_up) => assert_eq!(sign_up.phc.as_deref(), Some("password 00001")),
            Proof::SetPassword(sign_up) => assert_eq!((&sign_up.phc, &sign_up.name), (&None, &None)),
            other => panic!("{other:?}"),
        }
        assert_eq!(matches!(first, Proof::Open(_)), opens);
        // No other password waits for the address, and the same question gets the same answer.
        assert_eq!(sign_ups.buckets().len(), 1);
        assert_eq!(sign_ups.prove(prove(ADA, 1, half), NOW).verdict, first);
        for half in [None, Some(1), Some(2)] {
            let late = sign_ups.prove(prove(ADA, 2, half), NOW);
            assert_eq!(late, Decision::unchanged(Proof::Unknown));
        }
        let last = NOW + REPEATS_FOR;
        assert_eq!(sign_ups.prove(prove(ADA, 1, half), Timestamp(last.0 - 1)).verdict, first);
        assert_eq!(sign_ups.prove(prove(ADA, 1, half), last).verdict, Proof::Unknown);
    }
}

#[test]
fn a_sign_up_that_was_opened_gives_up_its_password_and_knows_its_half() {
    let mut sign_ups = sign_ups();
    signed_up(&mut sign_ups, ADA, 1, NOW);
    let opened = sign_ups.prove(prove(ADA, 1, Some(1)), NOW);
    put(&mut sign_ups, opened);
    for settled in [false, true] {
        for half in [None, Some(2)] {
            assert_eq!(sign_ups.prove(prove(ADA, 1, half), NOW), Decision::unchanged(Proof::Refused));
        }
        let again = sign_ups.prove(prove(ADA, 1, Some(1)), NOW).verdict;
        assert_eq!(matches!(again, Proof::Opened), settled);
        let settle = sign_ups.settle(id(ADA, 1));
        put(&mut sign_ups, settle);
        assert_eq!(sign_ups.buckets().get(&id(ADA, 1).to_bytes()).unwrap().phc, None);
    }
    let discard = sign_ups.discard(id(ADA, 1));
    put(&mut sign_ups, discard);
    assert_eq!(sign_ups.prove(prove(ADA, 1, Some(1)), NOW).verdict, Proof::Unknown);
}

#[test]
fn a_fourth_sign_up_of_an_address_pushes_nobody_out() {
    let mut sign_ups = sign_ups();
    for number in 1..=3 {
        let own = signed_up(&mut sign_ups, ADA, number, NOW + Duration::from_secs(number.into()));
        assert_eq!(own.unwrap().id, id(ADA, number));
    }
    for number in 4..=9 {
        let late = sign_ups.begin(begin(ADA, number, false), NOW + Duration::from_mins(1));
        assert_eq!(late.writes, [Write::Remove(id(ADA, number).to_bytes())]);
        assert_eq!(put(&mut sign_ups, late).unwrap().id, id(ADA, 3));
    }
    assert_eq!(sign_ups.buckets().len(), 3);
    // Another address has places of its own, and the places are free again when their time is over.
    assert!(signed_up(&mut sign_ups, "eve@example.org", 1, NOW).is_some());
    let own = signed_up(&mut sign_ups, ADA, 10, NOW + DAY + Duration::from_secs(3));
    assert_eq!(own.unwrap().id, id(ADA, 10));
}

#[test]
fn a_taken_address_writes_as_much_as_a_free_one_and_nothing_opens_it() {
    let mut sign_ups = sign_ups();
    for number in 1..=5 {
        let taken = sign_ups.begin(begin(ADA, number, true), NOW);
        let free = sign_ups.begin(begin("bob@example.org", number, false), NOW);
        let bytes = |decision: &Decision<Option<SignUpV2>>| -> Vec<usize> {
            let change =
                |write: &Write<SignUpV2>| write.to_change().unwrap().value.map_or(0, |value| value.len());
            decision.writes.iter().map(change).collect()
        };
        assert_eq!(bytes(&taken), bytes(&free), "{number}");
        assert_eq!(put(&mut sign_ups, taken), None);
        assert!(put(&mut sign_ups, free).is_some());
        for half in [None, Some(number)] {
            let proof = sign_ups.prove(prove(ADA, number, half), NOW).verdict;
            assert!(matches!(proof, Proof::Refused | Proof::Unknown), "{proof:?}");
        }
    }
    assert!(sign_ups.waiting(key(ADA), None, 0, NOW).is_none());
    let kept = sign_ups.buckets().iter().filter(|(_, sign_up)| sign_up.stage == Stage::Nobodys);
    for (_, sign_up) in kept {
        assert_eq!(sign_up.phc.as_deref(), Some("--------------"));
    }
    // The account was deleted: its address is free, and what was written for nobody gives way.
    for number in 6..=8 {
        assert_eq!(signed_up(&mut sign_ups, ADA, number, NOW).unwrap().id, id(ADA, number));
    }
    assert_eq!(
        sign_ups.by_name.range((key(ADA).0, 0, [0; 16])..=(key(ADA).0, u64::MAX, [0xFF; 16])).count(),
        3
    );
}

#[test]
fn sign_ups_without_end_stay_within_their_bounds_and_leave_nothing_behind() {
    let mut sign_ups = sign_ups();
    let mut now = NOW;
    for number in 0..3 * SIGN_UPS_MAX as u16 {
        now = now + Duration::from_secs(1);
        let address = format!("user{number}@example.org");
        let begun = sign_ups.begin(begin(&address, number, number.is_multiple_of(3)), now);
        // At most one gives way for one that comes.
        assert!(begun.writes.len() <= 2);
        put(&mut sign_ups, begun);
        assert!(sign_ups.buckets().len() <= SIGN_UPS_MAX);
    }
    let last = 3 * SIGN_UPS_MAX as u16 - 1;
    let oldest = (SIGN_UPS_MAX * 2) as u16;
    let has = |number: u16| {
        sign_ups.buckets().get(&id(&format!("user{number}@example.org"), number).to_bytes()).is_some()
    };
    assert!(has(last));
    assert!(has(oldest));
    assert!(!has(oldest - 1));
    let swept: usize = (0..BUCKETS).map(|bucket| sign_ups.sweep(bucket, now + DAY)).sum();
    assert_eq!(swept, SIGN_UPS_MAX);
    assert!(sign_ups.buckets().is_empty());
    assert!(sign_ups.by_name.is_empty());
    assert!(sign_ups.by_age.is_empty());
}

#[test]
fn a_link_is_mailed_again_for_the_half_that_asks_or_else_for_the_last_sign_up() {
    let mut sign_ups = sign_ups();
    for number in 1..=2 {
        signed_up(&mut sign_ups, ADA, number, NOW + Duration::from_secs(number.into()));
    }
    let later = NOW + Duration::from_mins(1);
    let half = |number: u16, secret: u16| Some(Half { id: id(ADA, number), digest: digest(secret) });
    let found = |half| sign_ups.waiting(key(ADA), half, 0, later).map(|sign_up| sign_up.id);
    assert_eq!(found(half(1, 1)), Some(id(ADA, 1)));
    for other in [None, half(1, 2), half(9, 9)] {
        assert_eq!(found(other), Some(id(ADA, 2)));
    }
    assert!(sign_ups.waiting(key("eve@example.org"), half(1, 1), 0, later).is_none());
    assert!(sign_ups.waiting(key(ADA), half(1, 1), 0, NOW + DAY + DAY).is_none());
}

#[test]
fn a_restore_leaves_no_half_that_opens_and_no_place_that_is_taken() {
    let mut sign_ups = sign_ups();
    for number in 1..=3 {
        signed_up(&mut sign_ups, ADA, number, NOW);
    }
    let proof = sign_ups.prove(Prove { global_epoch: 1, ..prove(ADA, 1, Some(1)) }, NOW);
    assert_eq!(proof.verdict, Proof::Unknown);
    assert!(sign_ups.waiting(key(ADA), None, 1, NOW).is_none());
    let begun = sign_ups.begin(Begin { global_epoch: 1, ..begin(ADA, 4, false) }, NOW);
    assert_eq!(put(&mut sign_ups, begun).unwrap().id, id(ADA, 4));
}

#[test]
fn an_account_that_is_made_ends_what_waits_for_its_address() {
    let mut sign_ups = sign_ups();
    for number in 1..=3 {
        signed_up(&mut sign_ups, ADA, number, NOW);
    }
    signed_up(&mut sign_ups, "eve@example.org", 1, NOW);
    let ended = sign_ups.end_all(key(ADA));
    put(&mut sign_ups, ended);
    assert_eq!(sign_ups.prove(prove(ADA, 1, Some(1)), NOW).verdict, Proof::Unknown);
    assert_eq!(sign_ups.buckets().len(), 1);
}

#[test]
fn the_link_of_an_account_gets_the_same_answer_for_an_hour() {
    for has_password in [true, false] {
        let mut sign_ups = sign_ups();
        signed_up(&mut sign_ups, ADA, 1, NOW);
        let account = id(ADA, 7);
        let confirm =
            Confirm { id: account, name_key: key(ADA), email: ADA.into(), global_epoch: 0, has_password };
        let confirmed = sign_ups.confirm(confirm, NOW);
        put(&mut sign_ups, confirmed);
        // What waits for the address ends here, too.
        assert_eq!(sign_ups.buckets().len(), 1);
        let asked = Prove { id: account, half: None, global_epoch: 0 };
        assert_eq!(sign_ups.prove(asked, NOW).verdict, Proof::Confirmed { has_password });
        assert_eq!(sign_ups.prove(asked, NOW + REPEATS_FOR).verdict, Proof::Unknown);
    }
}

#[test]
fn those_that_wait_are_listed_page_by_page_and_nothing_else_is() {
    let mut sign_ups = sign_ups();
    for number in 1..=3 {
        signed_up(&mut sign_ups, ADA, number, NOW);
    }
    let taken = sign_ups.begin(begin("taken@example.org", 4, true), NOW);
    put(&mut sign_ups, taken);
    signed_up(&mut sign_ups, "proved@example.org", 5, NOW);
    let proved = sign_ups.prove(prove("proved@example.org", 5, None), NOW);
    put(&mut sign_ups, proved);
    let page = |after, limit, now| {
        let page = sign_ups.list_waiting(after, limit, 0, now, |sign_up| sign_up.email.contains("example"));
        page.iter().map(|sign_up| sign_up.id).collect::<Vec<_>>()
    };
    let all = [1, 2, 3].map(|number| id(ADA, number));
    assert_eq!(page(None, 9, NOW), all);
    assert_eq!(page(None, 2, NOW), all[..2]);
    assert_eq!(page(Some(all[1]), 2, NOW), all[2..]);
    assert_eq!(page(None, 9, NOW + DAY), []);
    assert!(sign_ups.list_waiting(None, 9, 1, NOW, |_| true).is_empty(), "a restore ends them");
    assert!(sign_ups.list_waiting(None, 9, 0, NOW, |_| false).is_empty());
    assert!(sign_ups.waiting_by_id(all[0], 0, NOW).is_some());
    assert!(sign_ups.waiting_by_id(id("proved@example.org", 5), 0, NOW).is_none());
}
