//! The whole rule of the outbox. Knows no actor, file, clock or randomness.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::record::MailV2;
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
}

/// Reads mails that are due, of every domain in turn.
#[derive(Clone, Debug)]
pub struct Due {
    /// How many mails at most.
    pub limit: usize,
    /// The most mails of one domain, with those that are being sent.
    pub per_domain: usize,
    /// The mails that are being sent, with their domains. They are not read again.
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
#[derive(Clone, Copy, Debug)]
pub struct Settle {
    /// The mail.
    pub id: [u8; 16],
    /// How the try ended.
    pub outcome: DeliveryOutcome,
}

/// The mails of one domain that wait, and are urgent or not: the longest waiting first.
type Line = BTreeSet<(u64, [u8; 16])>;

/// All mails that wait.
#[derive(Default)]
pub struct Outbox {
    by_id: Buckets<[u8; 16], MailV2>,
    /// A line for each domain and urgency.
    lines: HashMap<(bool, Box<str>), Line>,
    /// When the first mail of each line is due: of the urgent lines, and of the others. A line whose domain is busy costs
    /// one step, however many mails are in it.
    heads: [BTreeSet<(u64, Box<str>)>; 2],
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

    /// Returns the mails to be tried at `now`: urgent ones first, then the longest waiting, and of no domain more than
    /// `due.per_domain`.
    pub fn due(&self, due: &Due, now: Timestamp) -> Vec<MailV2> {
        let mut found = Vec::new();
        let mut of_domain: HashMap<&str, usize> = HashMap::new();
        for (_, domain) in &due.sending {
            *of_domain.entry(domain).or_default() += 1;
        }
        for (is_urgent, heads) in [true, false].into_iter().zip(&self.heads) {
            for (next, domain) in heads {
                if *next > now.as_millis() || found.len() >= due.limit {
                    break;
                }
                let busy = of_domain.entry(domain).or_default();
                let Some(line) = self.lines.get(&(is_urgent, domain.clone())) else { continue };
                let ready = line.iter().take_while(|(next, _)| *next <= now.as_millis()).map(|(_, id)| id);
                let ready = ready.filter(|id| due.sending.iter().all(|(sending, _)| sending != *id));
                for id in ready.take(due.per_domain.saturating_sub(*busy)) {
                    if found.len() < due.limit {
                        found.extend(self.by_id.get(id).cloned());
                        *busy += 1;
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

    /// Remembers a mail that was refused for good, in memory alone.
    pub fn note(&mut self, settle: Settle) {
        if settle.outcome == DeliveryOutcome::Refused {
            self.refused.push_back(settle.id);
            self.refused.drain(..self.refused.len().saturating_sub(REFUSED_KEPT));
        }
    }

    /// Decides what follows from a try. After a failure the mail is tried again in 30 s, and with twice the delay each
    /// time up to an hour, for three days.
    pub fn settle(&self, settle: Settle, now: Timestamp) -> Decision<()> {
        let Settle { id, outcome } = settle;
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
            self.in_line(&before, |line| line.remove(&(before.next_ms, id)));
            self.nobodys -= usize::from(before.is_to_nobody());
        }
        if let Write::Put(mail) = write {
            self.in_line(&mail, |line| line.insert((mail.next_ms, id)));
            self.nobodys += usize::from(mail.is_to_nobody());
            self.by_id.insert(id, mail);
        }
    }

    /// Changes the line of `mail`, and notes when its first mail is due.
    fn in_line(&mut self, mail: &MailV2, change: impl FnOnce(&mut Line) -> bool) {
        let is_urgent = mail.kind.is_urgent();
        let key = (is_urgent, Box::from(mail.domain()));
        let line = self.lines.entry(key.clone()).or_default();
        let before = line.first().map(|(next, _)| *next);
        change(line);
        let after = line.first().map(|(next, _)| *next);
        let [urgent, others] = &mut self.heads;
        let heads = if is_urgent { urgent } else { others };
        if before != after {
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

    fn few() -> Due {
        Due { limit: 9, per_domain: 9, sending: Vec::new() }
    }

    fn post(outbox: &mut Outbox, number: u8, to: &str, kind: Kind, next_ms: u64) -> [u8; 16] {
        let id = [number; 16];
        let mail = MailV2 { id, to: to.into(), kind, next_ms, ..mail() };
        let posted = outbox.post(Post { id, mail: Some(mail) });
        apply(outbox, posted);
        id
    }

    #[test]
    fn a_domain_that_is_busy_delays_no_other_and_urgent_mails_go_first() {
        let mut outbox = Outbox::default();
        let now = START.as_millis();
        for number in 1..100 {
            post(&mut outbox, number, "eve@slow.test", Kind::Verify, now);
        }
        let near = post(&mut outbox, 100, "ada@near.test", Kind::Verify, now + 1);
        let urgent = post(&mut outbox, 101, "bob@far.test", Kind::Reset, now + 2);
        post(&mut outbox, 102, "late@far.test", Kind::Reset, now + 60_000);
        let later = START + Duration::from_secs(1);
        let mut due = Due { limit: 4, per_domain: 2, sending: Vec::new() };
        let domains = |outbox: &Outbox, due: &Due| -> Vec<String> {
            outbox.due(due, later).iter().map(|mail| mail.domain().to_owned()).collect()
        };
        assert_eq!(domains(&outbox, &due), ["far.test", "slow.test", "slow.test", "near.test"]);
        due.sending = vec![([1; 16], "slow.test".into()), ([2; 16], "slow.test".into())];
        due.limit = 2;
        assert_eq!(domains(&outbox, &due), ["far.test", "near.test"]);
        due.sending.extend([(urgent, "far.test".into()), (near, "near.test".into())]);
        assert!(domains(&outbox, &due).is_empty());
        // One of them is done: the next of its domain follows, and none that is being sent is read twice.
        apply(&mut outbox, Decision::remove([1; 16], ()));
        due.sending.remove(0);
        assert_eq!(outbox.due(&due, later).iter().map(|mail| mail.id).collect::<Vec<_>>(), [[3; 16]]);
    }

    #[test]
    fn a_full_outbox_takes_urgent_mails_alone() {
        let mut outbox = Outbox::default();
        for number in 0..WAITING_MAX as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            outbox.apply(Write::Put(MailV2 { id, ..mail() }));
        }
        let post =
            |kind| outbox.post(Post { id: [9; 16], mail: Some(MailV2 { id: [9; 16], kind, ..mail() }) });
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
        let posted = outbox.post(Post { id: mail.id, mail: Some(mail.clone()) });
        apply(&mut outbox, posted);
        let mut now = START;
        let mut waits = Vec::new();
        while let Some(due) = outbox.due(&few(), now).pop() {
            let failed = outbox.settle(Settle { id: due.id, outcome: DeliveryOutcome::Failed }, now);
            apply(&mut outbox, failed);
            let Some(next) = outbox.by_id.get(&due.id) else { break };
            waits.push(next.next_ms / 1000 - now.as_secs());
            assert!(outbox.due(&few(), Timestamp(next.next_ms - 1)).is_empty());
            now = Timestamp(next.next_ms);
        }
        assert_eq!(waits[..8], [30, 60, 120, 240, 480, 960, 1920, 3600]);
        assert!(outbox.is_empty());
        assert!(now.since(START) >= GIVE_UP_AFTER);
        let nothing = outbox.post(Post { id: [2; 16], mail: None });
        assert_eq!(nothing.writes.len(), 1);
        apply(&mut outbox, nothing);
        assert!(outbox.is_empty());
        assert!(outbox.lines.is_empty());
        assert_eq!(outbox.heads, [BTreeSet::new(), BTreeSet::new()]);
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
            let posted = outbox.post(Post { id, mail: Some(mail) });
            assert_eq!(posted.writes.len(), 1);
            apply(&mut outbox, posted);
        }
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox.by_id.len(), NOBODYS_MAX + 1);
        assert!(outbox.due(&few(), START).iter().any(MailV2::is_to_nobody));
        let swept: usize =
            (0..BUCKETS).map(|bucket| outbox.sweep(bucket, START + Duration::from_hours(1))).sum();
        assert_eq!(swept, NOBODYS_MAX);
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox.by_id.len(), 1);
        assert_eq!(outbox.lines.len(), 1);
    }
}
