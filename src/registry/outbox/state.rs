//! The whole rule of the outbox. Knows no actor, file, clock or randomness.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::record::MailV2;
use super::slots::{Speed, Speeds, Taken, group};
use crate::journal::append::handle::Class;
use crate::registry::buckets::Buckets;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;

/// A decision about mails with verdict `V`.
pub type Decision<V> = record::Decision<MailV2, V>;

const FIRST_RETRY: Duration = Duration::from_secs(30);
const LAST_RETRY: Duration = Duration::from_hours(1);
const GIVE_UP_AFTER: Duration = Duration::from_hours(72);

/// The most mails to nobody that wait. Further ones are not written.
const NOBODYS_MAX: usize = 10_000;
/// The most mails that wait. Further ones are not written, unless they are urgent.
const WAITING_MAX: usize = 100_000;

/// How many mails that were refused for good are remembered, for an operator who waits for one.
const REFUSED_KEPT: usize = 64;

/// Posts a mail, or does the same work without one.
#[derive(Clone, Debug)]
pub struct Post {
    /// The id of the mail, also when nothing is to be sent.
    pub id: [u8; 16],
    /// The mail; `None` when nothing is to be sent.
    pub mail: Option<MailV2>,
    /// The class of journal space that it takes.
    pub class: Class,
}

/// Reads the mails that get the free slots for deliveries.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// The mails that are being sent, with their domains. They keep their slots and are not read again.
    pub sending: Vec<([u8; 16], Box<str>)>,
}

/// How a try to deliver a mail ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryOutcome {
    /// The mail server has accepted it.
    Sent,
    /// It can be tried again later.
    Failed,
    /// The mail server refuses it for good.
    Refused,
    /// Its link has died while it waited.
    Dead,
}

/// Notes how a try to deliver a mail ended.
#[derive(Clone, Debug)]
pub struct Settle {
    /// The mail.
    pub id: [u8; 16],
    /// How the try ended.
    pub outcome: DeliveryOutcome,
    /// The domain and how long its mail server took, if the try got as far as that.
    pub took: Option<(Box<str>, Duration)>,
}

/// Mails of one domain and rank: the longest waiting first.
#[derive(Default)]
struct Line {
    mails: BTreeSet<(u64, [u8; 16])>,
    /// The speed of the domain under which the head of the line is found.
    filed: Speed,
}

/// Which mails go first: fresh ones before those that were tried, and within these the urgent ones. A mail that was tried
/// may be one of many whose domain takes its time with each.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Rank(usize);

impl Rank {
    const ALL: [Self; 4] = [Self(0), Self(1), Self(2), Self(3)];

    const fn of(mail: &MailV2) -> Self {
        Self((mail.tries > 0) as usize * 2 + !mail.kind.is_urgent() as usize)
    }
}

/// When the first mail of each line is due.
type Heads = BTreeSet<(u64, Box<str>)>;

/// All mails that wait.
#[derive(Default)]
pub struct Outbox {
    by_id: Buckets<[u8; 16], MailV2>,
    /// A line for each domain and rank.
    lines: HashMap<(Rank, Box<str>), Line>,
    /// When the first mail of each line is due, by rank and by the speed of the domain: mails whose speed has no slot left
    /// are not looked at, and a line whose domain is busy costs one step, however many mails are in it.
    heads: [[Heads; 3]; 4],
    /// How quick domains are, in memory alone.
    speeds: Speeds,
    /// The number of mails to nobody.
    nobodys: usize,
    /// The last mails that were refused for good.
    refused: VecDeque<[u8; 16]>,
}

/// What has become of a mail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It waits, after some failed tries.
    Waits {
        /// How many tries have failed.
        tries: u32,
    },
    /// The mail server has taken it.
    Sent,
    /// The mail server has refused it for good.
    Refused,
}

impl Outbox {
    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], MailV2> {
        &self.by_id
    }

    /// Returns the number of waiting mails, without those to nobody.
    pub const fn len(&self) -> usize {
        self.by_id.len() - self.nobodys
    }

    /// Says whether no mail waits, other than to nobody.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decides a post: one write, with or without a mail.
    pub fn post(&self, post: Post) -> Decision<()> {
        let mail = post.mail.filter(|mail| {
            let has_room = !mail.is_to_nobody() || self.nobodys < NOBODYS_MAX;
            has_room && (mail.kind.is_urgent() || self.by_id.len() < WAITING_MAX)
        });
        let write = mail.map_or(Write::Remove(post.id), Write::Put);
        Decision { writes: vec![write], verdict: () }
    }

    /// Decides a write that changes nothing: it removes id 0, which is never used, so that the journal gains an entry.
    pub fn blank() -> Decision<()> {
        Decision::remove([0; 16], ())
    }

    /// Returns the mails to be tried at `now`: fresh ones first, within these urgent ones, then those to quick domains, then
    /// the longest waiting; and none that [`Taken`] does not admit.
    pub fn due(&self, due: &Due, now: Timestamp) -> Vec<MailV2> {
        let mut found = Vec::new();
        let mut taken = Taken::default();
        for (_, domain) in &due.sending {
            let group = group(domain);
            taken.take(self.speeds.of(group), group);
        }
        for (rank, by_speed) in Rank::ALL.into_iter().zip(&self.heads) {
            for (speed, heads) in Speed::ALL.into_iter().zip(by_speed) {
                for (next, group) in heads {
                    if *next > now.as_millis() || !taken.admits(speed) {
                        break;
                    }
                    let Some(line) = self.lines.get(&(rank, group.clone())) else { continue };
                    let ready = line.mails.iter().take_while(|(next, _)| *next <= now.as_millis());
                    let ready = ready.filter(|(_, id)| due.sending.iter().all(|(sending, _)| sending != id));
                    for (_, id) in ready {
                        if !taken.admits_to(speed, group) {
                            break;
                        }
                        taken.take(speed, group);
                        found.extend(self.by_id.get(id).cloned());
                    }
                }
            }
        }
        found
    }

    /// Returns what has become of a mail that was posted a moment ago.
    pub fn fate(&self, id: [u8; 16]) -> Fate {
        match self.by_id.get(&id) {
            Some(mail) => Fate::Waits { tries: mail.tries },
            None if self.refused.contains(&id) => Fate::Refused,
            None => Fate::Sent,
        }
    }

    /// Remembers at `now` a mail that was refused for good, and how long a domain took, in memory alone.
    pub fn note(&mut self, settle: &Settle, now: Timestamp) {
        if settle.outcome == DeliveryOutcome::Refused {
            self.refused.push_back(settle.id);
            self.refused.drain(..self.refused.len().saturating_sub(REFUSED_KEPT));
        }
        if let Some((domain, took)) = &settle.took {
            let is_sent = settle.outcome == DeliveryOutcome::Sent;
            for group in self.speeds.note(group(domain), *took, is_sent, now) {
                self.refile(&group);
            }
        }
    }

    /// Files the lines of a domain under its present speed.
    fn refile(&mut self, group: &str) {
        let speed = self.speeds.of(group);
        for (rank, by_speed) in Rank::ALL.into_iter().zip(&mut self.heads) {
            let Some(line) = self.lines.get_mut(&(rank, group.into())) else { continue };
            let Some((next, _)) = line.mails.first() else { continue };
            let head = (*next, Box::from(group));
            if let Some(heads) = by_speed.get_mut(line.filed as usize) {
                heads.remove(&head);
            }
            if let Some(heads) = by_speed.get_mut(speed as usize) {
                heads.insert(head);
            }
            line.filed = speed;
        }
    }

    /// Decides what follows from a try. After a failure the mail is tried again in 30 s, and with twice the delay each
    /// time up to an hour, for three days.
    pub fn settle(&self, settle: &Settle, now: Timestamp) -> Decision<()> {
        let Settle { id, outcome, .. } = *settle;
        let Some(mail) = self.by_id.get(&id) else { return Decision::unchanged(()) };
        let is_too_old = now.since(Timestamp(mail.written_ms)) >= GIVE_UP_AFTER;
        if outcome != DeliveryOutcome::Failed || is_too_old {
            return Decision::remove(id, ());
        }
        let factor = 1_u32.checked_shl(mail.tries).unwrap_or(u32::MAX);
        let delay = FIRST_RETRY.saturating_mul(factor).min(LAST_RETRY);
        let next = MailV2 {
            tries: mail.tries.saturating_add(1),
            next_ms: (now + delay).as_millis(),
            ..mail.clone()
        };
        Decision::put(next, ())
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<MailV2>) {
        let id = match &write {
            Write::Put(mail) => mail.id,
            Write::Remove(id) => *id,
        };
        if let Some(before) = self.by_id.remove(&id) {
            self.in_line(&before, |mails| mails.remove(&(before.next_ms, id)));
            self.nobodys -= usize::from(before.is_to_nobody());
        }
        if let Write::Put(mail) = write {
            self.in_line(&mail, |mails| mails.insert((mail.next_ms, id)));
            self.nobodys += usize::from(mail.is_to_nobody());
            self.by_id.insert(id, mail);
        }
    }

    /// Changes the line of `mail`, and notes when its first mail is due.
    fn in_line(&mut self, mail: &MailV2, change: impl FnOnce(&mut BTreeSet<(u64, [u8; 16])>) -> bool) {
        let rank = Rank::of(mail);
        let group = group(mail.domain());
        let key = (rank, Box::from(group));
        let speed = self.speeds.of(group);
        let line =
            self.lines.entry(key.clone()).or_insert_with(|| Line { mails: BTreeSet::new(), filed: speed });
        let before = line.mails.first().map(|(next, _)| *next);
        change(&mut line.mails);
        let after = line.mails.first().map(|(next, _)| *next);
        let heads = self.heads.get_mut(rank.0).and_then(|by_speed| by_speed.get_mut(line.filed as usize));
        if let Some(heads) = heads
            && before != after
        {
            if let Some(before) = before {
                heads.remove(&(before, key.1.clone()));
            }
            if let Some(after) = after {
                heads.insert((after, key.1.clone()));
            }
        }
        if after.is_none() {
            self.lines.remove(&key);
        }
    }

    /// Removes old mails to nobody of one bucket, which would pile up if no thread sends mails, and returns how many
    /// there were. Other mails do not expire.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let expired = self.by_id.bucket(bucket).filter(|(_, mail)| mail.may_be_forgotten(now));
        let ids: Vec<_> = expired.map(|(id, _)| *id).collect();
        for id in &ids {
            self.apply(Write::Remove(*id));
        }
        ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::buckets::BUCKETS;
    use crate::registry::outbox::record::Kind;

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
    fn sent_in_order(
        outbox: &mut Outbox,
        now: Timestamp,
        took: impl Fn(&MailV2) -> Duration,
    ) -> Vec<[u8; 16]> {
        let mut order = Vec::new();
        while let Some(mail) = outbox.due(&Due::default(), now).into_iter().next() {
            order.push(mail.id);
            settle(outbox, &mail, DeliveryOutcome::Sent, took(&mail), now);
        }
        order
    }

    fn settle(outbox: &mut Outbox, mail: &MailV2, outcome: DeliveryOutcome, took: Duration, now: Timestamp) {
        let settle = Settle { id: mail.id, outcome, took: Some((mail.domain().into(), took)) };
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
        let swept: usize =
            (0..BUCKETS).map(|bucket| outbox.sweep(bucket, START + Duration::from_hours(1))).sum();
        assert_eq!(swept, NOBODYS_MAX);
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox.by_id.len(), 1);
        assert_eq!(outbox.lines.len(), 1);
    }
}
