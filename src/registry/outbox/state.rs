//! The whole rule of the outbox. Knows no actor, file, clock or randomness.

use std::collections::BTreeSet;
use std::time::Duration;

use super::record::MailV1;
use crate::registry::buckets::Buckets;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;

/// A decision about mails with verdict `V`.
pub type Decision<V> = record::Decision<MailV1, V>;

const FIRST_RETRY: Duration = Duration::from_secs(30);
const LAST_RETRY: Duration = Duration::from_hours(1);
const GIVE_UP_AFTER: Duration = Duration::from_hours(72);

/// The most mails to nobody that wait. Further ones are not written.
const NOBODYS_MAX: usize = 10_000;

/// Posts a mail, or does the same work without one.
#[derive(Clone, Debug)]
pub struct Post {
    /// The id of the mail, also when nothing is to be sent.
    pub id: [u8; 16],
    /// The mail; `None` when nothing is to be sent.
    pub mail: Option<MailV1>,
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
}

/// Notes how a try to deliver a mail ended.
#[derive(Clone, Copy, Debug)]
pub struct Settle {
    /// The mail.
    pub id: [u8; 16],
    /// How the try ended.
    pub outcome: DeliveryOutcome,
}

/// All mails that wait.
#[derive(Default)]
pub struct Outbox {
    by_id: Buckets<[u8; 16], MailV1>,
    due: BTreeSet<(u64, [u8; 16])>,
    /// The number of mails to nobody.
    nobodys: usize,
}

impl Outbox {
    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], MailV1> {
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
        let mail = post.mail.filter(|mail| !mail.is_to_nobody() || self.nobodys < NOBODYS_MAX);
        let write = mail.map_or(Write::Remove(post.id), Write::Put);
        Decision { writes: vec![write], verdict: () }
    }

    /// Decides a write that changes nothing: it removes id 0, which is never used, so that the journal gains an entry.
    pub fn blank() -> Decision<()> {
        Decision::remove([0; 16], ())
    }

    /// Returns the mails to be tried at `now`, the longest waiting first.
    pub fn due(&self, limit: usize, now: Timestamp) -> Vec<MailV1> {
        let due = self.due.iter().take_while(|(next, _)| *next <= now.as_millis()).take(limit);
        due.filter_map(|(_, id)| self.by_id.get(id)).cloned().collect()
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
        let next = MailV1 { tries: mail.tries + 1, next_ms: (now + delay).as_millis(), ..mail.clone() };
        Decision::put(next, ())
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<MailV1>) {
        let id = match &write {
            Write::Put(mail) => mail.id,
            Write::Remove(id) => *id,
        };
        if let Some(before) = self.by_id.remove(&id) {
            self.due.remove(&(before.next_ms, id));
            self.nobodys -= usize::from(before.is_to_nobody());
        }
        if let Write::Put(mail) = write {
            self.due.insert((mail.next_ms, id));
            self.nobodys += usize::from(mail.is_to_nobody());
            self.by_id.insert(id, mail);
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

    fn apply(outbox: &mut Outbox, decision: Decision<()>) {
        decision.writes.into_iter().for_each(|write| outbox.apply(write));
    }

    #[test]
    fn a_mail_is_retried_with_growing_delays_for_three_days() {
        let mut outbox = Outbox::default();
        let mail = MailV1 {
            id: [1; 16],
            to: "ada@example.org".into(),
            kind: Kind::Reset,
            token: None,
            written_ms: START.as_millis(),
            next_ms: START.as_millis(),
            tries: 0,
        };
        let posted = outbox.post(Post { id: mail.id, mail: Some(mail.clone()) });
        apply(&mut outbox, posted);
        let mut now = START;
        let mut waits = Vec::new();
        while let Some(due) = outbox.due(9, now).pop() {
            let failed = outbox.settle(Settle { id: due.id, outcome: DeliveryOutcome::Failed }, now);
            apply(&mut outbox, failed);
            let Some(next) = outbox.by_id.get(&due.id) else { break };
            waits.push(next.next_ms / 1000 - now.as_secs());
            assert!(outbox.due(9, Timestamp(next.next_ms - 1)).is_empty());
            now = Timestamp(next.next_ms);
        }
        assert_eq!(waits[..8], [30, 60, 120, 240, 480, 960, 1920, 3600]);
        assert!(outbox.is_empty());
        assert!(now.since(START) >= GIVE_UP_AFTER);
        let nothing = outbox.post(Post { id: [2; 16], mail: None });
        assert_eq!(nothing.writes.len(), 1);
        apply(&mut outbox, nothing);
        assert!(outbox.is_empty());
        assert!(outbox.due.is_empty());
    }

    #[test]
    fn mails_to_nobody_wait_like_others_but_are_bounded_in_time_and_number() {
        let mut outbox = Outbox::default();
        for number in 0..NOBODYS_MAX as u64 + 10 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            let to = if number == 0 { "ada@example.org".into() } else { MailV1::to_nobody(15) };
            let now = START.as_millis();
            let kind = Kind::Reset;
            let mail = MailV1 { id, to, kind, token: None, written_ms: now, next_ms: now, tries: 0 };
            assert!(mail.is_sound());
            assert_eq!(mail.to.len(), 15);
            let posted = outbox.post(Post { id, mail: Some(mail) });
            assert_eq!(posted.writes.len(), 1);
            apply(&mut outbox, posted);
        }
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox.by_id.len(), NOBODYS_MAX + 1);
        assert!(outbox.due(9, START).iter().any(MailV1::is_to_nobody));
        let swept: usize =
            (0..BUCKETS).map(|bucket| outbox.sweep(bucket, START + Duration::from_hours(1))).sum();
        assert_eq!(swept, NOBODYS_MAX);
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox.by_id.len(), 1);
        assert_eq!(outbox.due.len(), 1);
    }
}
