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

/// Mails to nobody that wait. Beyond it they are not written down.
const NOBODYS_MAX: usize = 10_000;

/// A mail to be written, or only the same work done.
#[derive(Clone, Debug)]
pub struct Post {
    /// Its id, also when nothing is to be sent.
    pub id: [u8; 16],
    /// The mail; none when nobody is to get one.
    pub mail: Option<MailV1>,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tried {
    /// The other side has it.
    Sent,
    /// Not now.
    Failed,
    /// Never.
    Refused,
}

/// Takes down how a try to send a mail ended.
#[derive(Clone, Copy, Debug)]
pub struct Settle {
    /// The mail.
    pub id: [u8; 16],
    /// How the try ended.
    pub tried: Tried,
}

/// All mails that wait.
#[derive(Default)]
pub struct Outbox {
    by_id: Buckets<[u8; 16], MailV1>,
    due: BTreeSet<(u64, [u8; 16])>,
    /// Mails to nobody.
    nobodys: usize,
}

impl Outbox {
    /// All records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], MailV1> {
        &self.by_id
    }

    /// Mails that wait for somebody.
    pub const fn len(&self) -> usize {
        self.by_id.len() - self.nobodys
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What posting means: one write, mail or not.
    pub fn post(&self, post: Post) -> Decision<()> {
        let mail = post.mail.filter(|mail| !mail.is_to_nobody() || self.nobodys < NOBODYS_MAX);
        let write = mail.map_or(Write::Remove(post.id), Write::Put);
        Decision { writes: vec![write], verdict: () }
    }

    /// What changing nothing means: one write, of a mail that there never is.
    pub fn blank() -> Decision<()> {
        Decision { writes: vec![Write::Remove([0; 16])], verdict: () }
    }

    /// Mails to be tried now, the longest waiting first.
    pub fn due(&self, limit: usize, now: Timestamp) -> Vec<MailV1> {
        let due = self.due.iter().take_while(|(next, _)| *next <= now.as_millis()).take(limit);
        due.filter_map(|(_, id)| self.by_id.get(id)).cloned().collect()
    }

    /// What a try means. A mail is tried again after 30 s, then twice as long each time up to an hour, for three days.
    pub fn settle(&self, settle: Settle, now: Timestamp) -> Decision<()> {
        let Settle { id, tried } = settle;
        let Some(mail) = self.by_id.get(&id) else { return Decision::unchanged(()) };
        let over = now.since(Timestamp(mail.written_ms)) >= GIVE_UP_AFTER;
        if tried != Tried::Failed || over {
            return Decision { writes: vec![Write::Remove(id)], verdict: () };
        }
        let wait =
            FIRST_RETRY.saturating_mul(1_u32.checked_shl(mail.tries).unwrap_or(u32::MAX)).min(LAST_RETRY);
        let next = MailV1 { tries: mail.tries + 1, next_ms: (now + wait).as_millis(), ..mail.clone() };
        Decision::put(next, ())
    }

    /// Makes `write` true. Cannot fail: it was just decided, or it was read back.
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

    /// Nothing of a mail to somebody expires in silence. Those to nobody would gather where no thread sends any.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let over = self.by_id.bucket(bucket).filter(|(_, mail)| mail.may_be_forgotten(now));
        let ids: Vec<_> = over.map(|(id, _)| *id).collect();
        for id in &ids {
            self.apply(Write::Remove(*id));
        }
        ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Kind;
    use super::*;
    use crate::journal::format::buckets::BUCKETS;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn settle(outbox: &mut Outbox, decision: Decision<()>) {
        decision.writes.into_iter().for_each(|write| outbox.apply(write));
    }

    #[test]
    fn a_mail_is_tried_again_ever_later_until_it_is_sent_or_three_days_old() {
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
        settle(&mut outbox, posted);
        let (mut now, mut waits) = (START, Vec::new());
        while let Some(due) = outbox.due(9, now).pop() {
            let failed = outbox.settle(Settle { id: due.id, tried: Tried::Failed }, now);
            settle(&mut outbox, failed);
            let Some(next) = outbox.by_id.get(&due.id) else { break };
            waits.push(next.next_ms / 1000 - now.as_secs());
            assert!(outbox.due(9, Timestamp(next.next_ms - 1)).is_empty());
            now = Timestamp(next.next_ms);
        }
        assert_eq!(waits[..8], [30, 60, 120, 240, 480, 960, 1920, 3600]);
        assert!(outbox.is_empty() && now.since(START) >= GIVE_UP_AFTER);
        let nothing = outbox.post(Post { id: [2; 16], mail: None });
        assert_eq!(nothing.writes.len(), 1);
        settle(&mut outbox, nothing);
        assert!(outbox.is_empty() && outbox.due.is_empty());
    }

    #[test]
    fn mails_to_nobody_wait_like_others_but_not_for_ever_and_not_without_number() {
        let mut outbox = Outbox::default();
        for number in 0..NOBODYS_MAX as u64 + 10 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            let to = if number == 0 { "ada@example.org".into() } else { MailV1::to_nobody(15) };
            let now = START.as_millis();
            let kind = Kind::Reset;
            let mail = MailV1 { id, to, kind, token: None, written_ms: now, next_ms: now, tries: 0 };
            assert!(mail.is_sound() && mail.to.len() == 15);
            let posted = outbox.post(Post { id, mail: Some(mail) });
            assert_eq!(posted.writes.len(), 1);
            settle(&mut outbox, posted);
        }
        assert_eq!((outbox.len(), outbox.by_id.len()), (1, NOBODYS_MAX + 1));
        assert!(outbox.due(9, START).iter().any(MailV1::is_to_nobody));
        let swept: usize =
            (0..BUCKETS).map(|bucket| outbox.sweep(bucket, START + Duration::from_hours(1))).sum();
        assert_eq!((swept, outbox.len(), outbox.by_id.len()), (NOBODYS_MAX, 1, 1));
        assert_eq!(outbox.due.len(), 1);
    }
}
