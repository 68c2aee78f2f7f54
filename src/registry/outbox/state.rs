//! The whole rule of the outbox. Knows no actor, file, clock or randomness.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::record::{Kind, MailV2};
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

/// How many answers of the mail server are remembered, and how many mails that were refused for good, for an operator who waits for one.
const REFUSED_KEPT: usize = 64;
/// How many mails that have left are remembered, for an operator who is asked where a mail is.
const GONE_KEPT: usize = 4096;

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
    /// The address and the subject of the mail.
    pub of: (Box<str>, Kind),
    /// Why it has not left, in words without a secret.
    pub why: Option<Box<str>>,
}

/// The last mail to an address, as far as that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastMail {
    /// Its subject.
    pub kind: Kind,
    /// What has become of it.
    pub fate: Fate,
    /// When it was written, if it waits; otherwise when that happened.
    pub at: Timestamp,
    /// When it is tried next, if it waits.
    pub next: Option<Timestamp>,
    /// What the mail server said of it last, as far as memory has it.
    pub why: Option<Box<str>>,
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
    /// Why the last mails have not left that were tried in vain.
    answers: VecDeque<([u8; 16], Box<str>)>,
    /// The last mails that have left the outbox, each with its address.
    gone: VecDeque<(Box<str>, LastMail)>,
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
    /// It was dropped: its link had died while it waited.
    Dropped,
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

    /// Returns why a mail has not left that was tried in vain a moment ago.
    pub fn answer(&self, id: [u8; 16]) -> Option<Box<str>> {
        self.answers.iter().rev().find(|(of, _)| *of == id).map(|(_, why)| why.clone())
    }

    /// Returns the last mail to an address, as far as memory has it: one that waits, or one of the last that have left.
    pub fn last_to(&self, address: &str) -> Option<LastMail> {
        let waiting = self.by_id.iter().map(|(_, mail)| mail).filter(|mail| *mail.to == *address);
        let waiting = waiting.max_by_key(|mail| mail.written_ms).map(|mail| LastMail {
            kind: mail.kind,
            fate: Fate::Waits { tries: mail.tries },
            at: Timestamp(mail.written_ms),
            next: Some(Timestamp(mail.next_ms)),
            why: self.answer(mail.id),
        });
        let gone = self.gone.iter().rev().find(|(to, _)| **to == *address).map(|(_, last)| last.clone());
        waiting.into_iter().chain(gone).max_by_key(|last| last.at)
    }

    /// Remembers at `now` what has become of a mail, and how long a domain took, in memory alone.
    pub fn note(&mut self, settle: &Settle, now: Timestamp) {
        let fate = match settle.outcome {
            DeliveryOutcome::Sent => Some(Fate::Sent),
            DeliveryOutcome::Refused => Some(Fate::Refused),
            DeliveryOutcome::Dead => Some(Fate::Dropped),
            DeliveryOutcome::Failed => None,
        };
        let (to, kind) = &settle.of;
        // Strangers could push all others out by mails to nobody.
        if let Some(fate) = fate.filter(|_| !to.starts_with('@')) {
            self.gone.push_back((
                to.clone(),
                LastMail { kind: *kind, fate, at: now, next: None, why: settle.why.clone() },
            ));
            self.gone.drain(..self.gone.len().saturating_sub(GONE_KEPT));
        }
        if let Some(why) = &settle.why {
            self.answers.push_back((settle.id, why.clone()));
            self.answers.drain(..self.answers.len().saturating_sub(REFUSED_KEPT));
        }
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
mod tests;
