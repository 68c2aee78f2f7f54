//! Tests of the rule.

use super::*;
use crate::journal::format::buckets::BUCKETS;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

fn mail() -> MailV2 {
    MailV2 {
        id: [1; 16],
        to: "ada@example.org".into(),
        kind: Kind::Reset,
        token: None,
        written_ms: START.as_millis(),
        next_ms: START.as_millis(),
        tries: 0,
        kid: 1,
        about: None,
    }
}

/// Sends all that is due at `now`, one after the other, and says in which order.
fn sent_in_order(outbox: &mut Outbox, now: Timestamp, took: impl Fn(&MailV2) -> Duration) -> Vec<[u8; 16]> {
    let mut order = Vec::new();
    while let Some(mail) = outbox.due(&Due::default(), now).into_iter().next() {
        order.push(mail.id);
        settle(outbox, &mail, DeliveryOutcome::Sent, took(&mail), now);
    }
    order
}

fn settle(outbox: &mut Outbox, mail: &MailV2, outcome: DeliveryOutcome, took: Duration, now: Timestamp) {
    let of = (mail.to.clone(), mail.kind);
    let settle = Settle { id: mail.id, outcome, took: Some((mail.domain().into(), took)), of, why: None };
    let decided = outbox.settle(&settle, now);
    apply(outbox, decided);
    outbox.note(&settle, now);
}

const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_mins(1);

fn post(outbox: &mut Outbox, number: u8, to: &str, kind: Kind, next_ms: u64) -> [u8; 16] {
    let id = [number; 16];
    let mail = MailV2 { id, to: to.into(), kind, next_ms, ..mail() };
    let posted = outbox.post(Post { id, mail: Some(mail), class: Class::Ordinary });
    apply(outbox, posted);
    id
}

#[test]
fn fresh_mails_go_before_those_that_were_tried_and_urgent_ones_before_others() {
    let mut outbox = Outbox::default();
    let now = START.as_millis();
    let tried = post(&mut outbox, 1, "eve@a.test", Kind::Verify, now);
    let urgent_tried = post(&mut outbox, 2, "eve@b.test", Kind::Reset, now);
    for id in [tried, urgent_tried] {
        let mail = outbox.by_id.get(&id).unwrap().clone();
        settle(&mut outbox, &mail, DeliveryOutcome::Failed, SOON, START);
    }
    let later = now + 60_000;
    let fresh = post(&mut outbox, 3, "ada@c.test", Kind::Verify, later);
    let fresher = post(&mut outbox, 4, "ada@c.test", Kind::Verify, later + 1);
    let urgent = post(&mut outbox, 5, "bob@d.test", Kind::Reset, later + 2);
    post(&mut outbox, 6, "late@d.test", Kind::Reset, later + 60_000);
    let order = sent_in_order(&mut outbox, Timestamp(later + 1000), |_| SOON);
    assert_eq!(order, [urgent, fresh, fresher, urgent_tried, tried]);
}

#[test]
fn a_domain_that_is_busy_delays_no_other_and_no_mail_is_read_twice() {
    let mut outbox = Outbox::default();
    let now = START.as_millis();
    for number in 1..100 {
        post(&mut outbox, number, &format!("eve@d{number}.slow.test"), Kind::Verify, now);
    }
    let near = post(&mut outbox, 100, "ada@near.test", Kind::Verify, now + 1);
    let later = START + Duration::from_secs(1);
    let ids = |outbox: &Outbox, due: &Due| -> Vec<[u8; 16]> {
        outbox.due(due, later).iter().map(|mail| mail.id).collect()
    };
    assert_eq!(ids(&outbox, &Due::default()), [[1; 16], [2; 16], near]);
    let sending = |id: u8| ([id; 16], Box::from(format!("d{id}.slow.test")));
    let mut due = Due { sending: vec![sending(1), sending(2)] };
    assert_eq!(ids(&outbox, &due), [near]);
    due.sending.push((near, "near.test".into()));
    assert!(ids(&outbox, &due).is_empty());
    // One of them is done: the next of its domain follows.
    apply(&mut outbox, Decision::remove([1; 16], ()));
    due.sending.remove(0);
    assert_eq!(ids(&outbox, &due), [[3; 16]]);
}

/// What the mail servers of the property below are like.
#[derive(Clone, Debug)]
enum Step {
    /// A stranger has a mail sent to a domain of theirs.
    Post { domain: u8, name: u8, is_urgent: bool },
    /// The oldest delivery ends after this many seconds, with a mail that was taken or not.
    End { took: u8, is_taken: bool },
    /// Time passes.
    Wait { secs: u16 },
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let step = prop_oneof![
        4 => (0..12_u8, any::<u8>(), any::<bool>())
            .prop_map(|(domain, name, is_urgent)| Step::Post { domain, name, is_urgent }),
        3 => (0..70_u8, any::<bool>()).prop_map(|(took, is_taken)| Step::End { took, is_taken }),
        1 => (0..2000_u16).prop_map(|secs| Step::Wait { secs }),
    ];
    proptest::collection::vec(step, 0..250)
}

proptest::proptest! {
    /// Invariant: whatever strangers have sent to domains of theirs, and however long these take, half of the slots are
    /// begun for quick domains alone, slow ones begin one, a domain has two; and an urgent mail to a quick domain gets a
    /// slot as soon as one is free.
    #[test]
    #[test]
    fn no_mails_of_strangers_keep_an_urgent_one_from_a_free_slot(steps in steps()) {
        use crate::registry::outbox::slots::{AT_ONCE, PER_DOMAIN, SLOW, UNPROVEN};
        let mut outbox = Outbox::default();
        let mut sending: VecDeque<MailV2> = VecDeque::new();
        let mut now = START;
        let mut id = 0_u128;
        for step in steps {
            match step {
                Step::Post { domain, name, is_urgent } => {
                    id += 1;
                    let kind = if is_urgent { Kind::Reset } else { Kind::Verify };
                    let to = format!("u@n{name}.evil{domain}.test");
                    let (written_ms, next_ms) = (now.as_millis(), now.as_millis());
                    let mail = MailV2 { id: id.to_be_bytes(), to: to.into(), kind, written_ms, next_ms, ..mail() };
                    let posted = outbox.post(Post { id: mail.id, mail: Some(mail), class: Class::Ordinary });
                    apply(&mut outbox, posted);
                }
                Step::End { took, is_taken } => {
                    let Some(mail) = sending.pop_front() else { continue };
                    let took = Duration::from_secs(took.into());
                    let outcome = if is_taken { DeliveryOutcome::Sent } else { DeliveryOutcome::Failed };
                    now = now + took;
                    settle(&mut outbox, &mail, outcome, took, now);
                }
                Step::Wait { secs } => now = now + Duration::from_secs(secs.into()),
            }
            let speed = |mail: &MailV2| outbox.speeds.of(group(mail.domain()));
            let of = |list: &mut dyn Iterator<Item = &MailV2>, is: &dyn Fn(Speed) -> bool| {
                list.filter(|mail| is(speed(mail))).count()
            };
            let key = |mail: &MailV2| (mail.id, Box::from(mail.domain()));
            let due = Due { sending: sending.iter().map(key).collect() };
            // Somebody who has always had their mails at once asks for a reset now.
            let mut asked = Outbox::default();
            for (_, mail) in outbox.by_id.iter() {
                asked.apply(Write::Put(mail.clone()));
            }
            for number in 0..12_u8 {
                let group = format!("evil{number}.test");
                match outbox.speeds.of(&group) {
                    Speed::Quick => drop(asked.speeds.note(&group, SOON, true, now)),
                    Speed::Slow => drop(asked.speeds.note(&group, LONG, false, now)),
                    Speed::Unknown => {}
                }
                asked.refile(&group);
            }
            asked.speeds.note("near.test", SOON, true, now);
            let reset = post(&mut asked, 255, "ada@near.test", Kind::Reset, now.as_millis());
            let found = asked.due(&due, now);
            let is_found = found.iter().any(|mail| mail.id == reset);
            let quicker = found.iter().filter(|mail| {
                mail.tries == 0 && mail.kind.is_urgent() && asked.speeds.of(group(mail.domain())) == Speed::Quick
            });
            proptest::prop_assert!(
                is_found || quicker.count() + sending.len() >= AT_ONCE,
                "{} on their way, {} begin", sending.len(), found.len()
            );
            // What begins keeps to the shares.
            let begun = outbox.due(&due, now);
            let is_unproven = |speed| speed != Speed::Quick;
            let is_slow = |speed| speed == Speed::Slow;
            let held = of(&mut sending.iter(), &is_unproven);
            let begun_unproven = of(&mut begun.iter(), &is_unproven);
            proptest::prop_assert!(begun_unproven == 0 || held + begun_unproven <= UNPROVEN);
            let begun_slow = of(&mut begun.iter(), &is_slow);
            proptest::prop_assert!(begun_slow == 0 || of(&mut sending.iter(), &is_slow) + begun_slow <= SLOW);
            proptest::prop_assert!(sending.len() + begun.len() <= AT_ONCE);
            for mail in &begun {
                let same = sending.iter().chain(&begun);
                let same = same.filter(|other| group(other.domain()) == group(mail.domain())).count();
                proptest::prop_assert!(same <= PER_DOMAIN);
            }
            // No line is lost, whatever it was filed under.
            let heads: usize = outbox.heads.iter().flatten().map(BTreeSet::len).sum();
            proptest::prop_assert_eq!(heads, outbox.lines.len());
            for ((rank, group), line) in &outbox.lines {
                let head = (line.mails.first().unwrap().0, group.clone());
                let speed = outbox.speeds.of(group) as usize;
                proptest::prop_assert!(outbox.heads[rank.0][speed].contains(&head));
            }
            sending.extend(begun);
        }
    }
}

#[test]
fn a_full_outbox_takes_urgent_mails_alone() {
    let mut outbox = Outbox::default();
    for number in 0..WAITING_MAX as u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        outbox.apply(Write::Put(MailV2 { id, ..mail() }));
    }
    let post = |kind| {
        outbox.post(Post {
            id: [9; 16],
            mail: Some(MailV2 { id: [9; 16], kind, ..mail() }),
            class: Class::Ordinary,
        })
    };
    assert_eq!(post(Kind::Verify).writes, [Write::Remove([9; 16])]);
    assert!(matches!(post(Kind::Lockout).writes[..], [Write::Put(_)]));
}

fn apply(outbox: &mut Outbox, decision: Decision<()>) {
    decision.writes.into_iter().for_each(|write| outbox.apply(write));
}

#[test]
fn a_mail_is_retried_with_growing_delays_for_three_days() {
    let mut outbox = Outbox::default();
    let mail = mail();
    let posted = outbox.post(Post { id: mail.id, mail: Some(mail.clone()), class: Class::Ordinary });
    apply(&mut outbox, posted);
    let mut now = START;
    let mut waits = Vec::new();
    while let Some(due) = outbox.due(&Due::default(), now).pop() {
        settle(&mut outbox, &due, DeliveryOutcome::Failed, SOON, now);
        let Some(next) = outbox.by_id.get(&due.id) else { break };
        waits.push(next.next_ms / 1000 - now.as_secs());
        assert!(outbox.due(&Due::default(), Timestamp(next.next_ms - 1)).is_empty());
        now = Timestamp(next.next_ms);
    }
    assert_eq!(waits[..8], [30, 60, 120, 240, 480, 960, 1920, 3600]);
    assert!(outbox.is_empty());
    assert!(now.since(START) >= GIVE_UP_AFTER);
    let nothing = outbox.post(Post { id: [2; 16], mail: None, class: Class::Ordinary });
    assert_eq!(nothing.writes.len(), 1);
    apply(&mut outbox, nothing);
    assert!(outbox.is_empty());
    assert!(outbox.lines.is_empty());
    assert!(outbox.heads.iter().flatten().all(BTreeSet::is_empty));
}

#[test]
fn mails_to_nobody_wait_like_others_but_are_bounded_in_time_and_number() {
    let mut outbox = Outbox::default();
    for number in 0..NOBODYS_MAX as u64 + 10 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let to = if number == 0 { "ada@example.org".into() } else { MailV2::to_nobody(15) };
        let now = START.as_millis();
        let kind = Kind::Reset;
        let mail = MailV2 { id, to, kind, written_ms: now, next_ms: now, ..mail() };
        assert!(mail.is_sound());
        assert_eq!(mail.to.len(), 15);
        let posted = outbox.post(Post { id, mail: Some(mail), class: Class::Ordinary });
        assert_eq!(posted.writes.len(), 1);
        apply(&mut outbox, posted);
    }
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox.by_id.len(), NOBODYS_MAX + 1);
    assert!(outbox.due(&Due::default(), START).iter().any(MailV2::is_to_nobody));
    let swept: usize = (0..BUCKETS).map(|bucket| outbox.sweep(bucket, START + Duration::from_hours(1))).sum();
    assert_eq!(swept, NOBODYS_MAX);
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox.by_id.len(), 1);
    assert_eq!(outbox.lines.len(), 1);
}

#[test]
fn the_last_mail_to_an_address_is_known_while_it_waits_and_after() {
    let mut outbox = Outbox::default();
    let of = |outbox: &Outbox| outbox.last_to("ada@a.test").map(|last| (last.kind, last.fate));
    assert_eq!(of(&outbox), None);
    let now = START.as_millis();
    let first = post(&mut outbox, 1, "ada@a.test", Kind::Verify, now);
    post(&mut outbox, 2, "bob@a.test", Kind::Reset, now);
    assert_eq!(of(&outbox), Some((Kind::Verify, Fate::Waits { tries: 0 })));
    for (outcome, at, fate) in [
        (DeliveryOutcome::Failed, START, Fate::Waits { tries: 1 }),
        (DeliveryOutcome::Refused, START + LONG, Fate::Refused),
    ] {
        let mail = outbox.by_id.get(&first).unwrap().clone();
        settle(&mut outbox, &mail, outcome, SOON, at);
        assert_eq!(of(&outbox), Some((Kind::Verify, fate)));
    }
    // Of nobody, of whom a stranger can have as many as they like, none is remembered.
    for number in 0..10_u8 {
        let nobody = MailV2 { id: [9; 16], to: MailV2::to_nobody(10), ..mail() };
        let posted = outbox.post(Post { id: [9; 16], mail: Some(nobody.clone()), class: Class::Ordinary });
        apply(&mut outbox, posted);
        settle(&mut outbox, &nobody, DeliveryOutcome::Sent, SOON, START + LONG * u32::from(number));
    }
    assert_eq!(outbox.gone.len(), 1);
    for _ in 0..=GONE_KEPT {
        let bob = MailV2 { to: "bob@a.test".into(), ..mail() };
        settle(&mut outbox, &bob, DeliveryOutcome::Dead, SOON, START + LONG);
    }
    assert_eq!(outbox.gone.len(), GONE_KEPT);
    assert_eq!(of(&outbox), None, "pushed out by younger ones");
}
