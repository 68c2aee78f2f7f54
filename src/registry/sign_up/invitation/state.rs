//! The whole rule of invitations. Knows no actor, file, clock or randomness.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::record::{InvitationV1, Inviter};
use crate::registry::buckets::Buckets;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::token::opaque::SecretDigest;
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;

/// A decision about invitations with verdict `V`.
pub type Decision<V> = record::Decision<InvitationV1, V>;

/// The most invitations that are open at once. At this bound no more are sent.
pub const INVITATIONS_MAX: usize = if cfg!(test) { 20 } else { 10_000 };
/// The most invitations that one administrator mails in an hour.
pub const MAILS_PER_HOUR: usize = 100;
/// The most administrators that are remembered at a time. Each other one gets its whole number.
const INVITERS_MAX: usize = 10_000;
const HOUR: Duration = Duration::from_hours(1);

/// Sends an invitation.
#[derive(Clone)]
pub struct Invite {
    /// The id that the account will have, minted in the slot of the address.
    pub id: AccountId,
    /// The key of the address.
    pub name_key: NameKey,
    /// The address in its canonical form.
    pub email: Box<str>,
    /// The name that the account will have.
    pub name: Option<Box<str>>,
    /// Its roles, sorted, each once.
    pub roles: Vec<Box<str>>,
    /// The language of its owner.
    pub locale: Option<Box<str>>,
    /// Who sends it.
    pub inviter: Inviter,
    /// SHA-256 of the secret of its link.
    pub digest: SecretDigest,
    /// The global epoch.
    pub global_epoch: u64,
}

/// Why an invitation is not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// [`INVITATIONS_MAX`] are open.
    TooMany,
    /// Its sender has sent [`MAILS_PER_HOUR`] within the hour.
    TooManyMails,
}

/// An invitation by its link.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The invitation.
    pub id: AccountId,
    /// SHA-256 of the secret of its link.
    pub digest: SecretDigest,
    /// The global epoch. An invitation of another one is invalid.
    pub global_epoch: u64,
}

/// All invitations of one engine.
pub struct Invitations {
    by_id: Buckets<[u8; 16], InvitationV1>,
    /// The ids of the invitations of each address.
    by_name: BTreeSet<([u8; 16], [u8; 16])>,
    /// When each administrator has sent the last ones, the oldest first. In memory alone: a restart forgives an hour.
    sent: HashMap<Inviter, Vec<Timestamp>>,
    life: Duration,
}

impl Invitations {
    /// Creates an empty set of invitations that live for `life`.
    pub fn new(life: Duration) -> Self {
        Self { by_id: Buckets::new(), by_name: BTreeSet::new(), sent: HashMap::new(), life }
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], InvitationV1> {
        &self.by_id
    }

    /// Decides the sending of an invitation at `now`. It takes the place of another one for the same address.
    pub fn invite(&self, invite: Invite, now: Timestamp) -> Decision<Result<InvitationV1, Refused>> {
        let lately = self.sent.get(&invite.inviter).map_or(0, |times| count_lately(times, now));
        if lately >= MAILS_PER_HOUR {
            return Decision::unchanged(Err(Refused::TooManyMails));
        }
        let before: Vec<_> = self.ids_of(invite.name_key).collect();
        if before.is_empty() && self.by_id.len() >= INVITATIONS_MAX {
            return Decision::unchanged(Err(Refused::TooMany));
        }
        let invitation = InvitationV1 {
            id: invite.id,
            name_key: invite.name_key.0,
            email: invite.email,
            name: invite.name,
            roles: invite.roles,
            locale: invite.locale,
            inviter: invite.inviter,
            digest: invite.digest.0,
            global_epoch: invite.global_epoch,
            sent_ms: now.as_millis(),
            end_ms: (now + self.life).as_millis(),
        };
        let writes = before.into_iter().map(Write::Remove).chain([Write::Put(invitation.clone())]).collect();
        Decision { writes, verdict: Ok(invitation) }
    }

    /// Notes that an invitation was sent at `now`.
    pub fn count_sent(&mut self, inviter: Inviter, now: Timestamp) {
        if self.sent.len() >= INVITERS_MAX {
            self.sent.retain(|_, times| count_lately(times, now) > 0);
        }
        if self.sent.len() < INVITERS_MAX || self.sent.contains_key(&inviter) {
            let times = self.sent.entry(inviter).or_default();
            times.retain(|time| now < *time + HOUR);
            times.push(now);
        }
    }

    /// Returns the invitation of a link, if it is open at `now`. It stays open.
    pub fn peek(&self, link: Link, now: Timestamp) -> Option<&InvitationV1> {
        let invitation = self.open(link.id, link.global_epoch, now)?;
        (SecretDigest(invitation.digest) == link.digest).then_some(invitation)
    }

    /// Decides the use of a link, which succeeds once.
    pub fn accept(&self, link: Link, now: Timestamp) -> Decision<Option<InvitationV1>> {
        match self.peek(link, now) {
            Some(invitation) => Decision::remove(invitation.id.to_bytes(), Some(invitation.clone())),
            None => Decision::unchanged(None),
        }
    }

    /// Decides the end of an invitation. The verdict is what it was.
    pub fn withdraw(
        &self,
        id: AccountId,
        global_epoch: u64,
        now: Timestamp,
    ) -> Decision<Option<InvitationV1>> {
        match self.open(id, global_epoch, now) {
            Some(invitation) => Decision::remove(id.to_bytes(), Some(invitation.clone())),
            None => Decision::unchanged(None),
        }
    }

    /// Returns the invitation `id`, if it is open.
    pub fn open(&self, id: AccountId, global_epoch: u64, now: Timestamp) -> Option<&InvitationV1> {
        self.by_id.get(&id.to_bytes()).filter(|invitation| is_open(invitation, global_epoch, now))
    }

    /// Returns up to `limit` open invitations after `after`, in the order of their ids.
    pub fn list(
        &self,
        after: Option<AccountId>,
        limit: usize,
        global_epoch: u64,
        now: Timestamp,
    ) -> Vec<InvitationV1> {
        let all = self.by_id.iter().map(|(_, invitation)| invitation);
        let is_wanted = |invitation: &&InvitationV1| {
            is_open(invitation, global_epoch, now) && after.is_none_or(|after| invitation.id > after)
        };
        let mut page: Vec<_> = all.filter(is_wanted).collect();
        page.sort_unstable_by_key(|invitation| invitation.id);
        page.into_iter().take(limit).cloned().collect()
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<InvitationV1>) {
        match write {
            Write::Put(invitation) => {
                let key = invitation.id.to_bytes();
                self.forget(key);
                self.by_name.insert((invitation.name_key, key));
                self.by_id.insert(key, invitation);
            }
            Write::Remove(key) => self.forget(key),
        }
    }

    /// Removes the expired records of one bucket and returns how many there were. Writes nothing to the journal: the end
    /// is in the record.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let expired = self.by_id.bucket(bucket).filter(|(_, invitation)| now >= invitation.end());
        let keys: Vec<_> = expired.map(|(key, _)| *key).collect();
        for key in &keys {
            self.forget(*key);
        }
        keys.len()
    }

    fn forget(&mut self, key: [u8; 16]) {
        if let Some(invitation) = self.by_id.remove(&key) {
            self.by_name.remove(&(invitation.name_key, key));
        }
    }

    fn ids_of(&self, name: NameKey) -> impl Iterator<Item = [u8; 16]> {
        self.by_name.range((name.0, [0; 16])..=(name.0, [0xFF; 16])).map(|(_, id)| *id)
    }
}

/// Says whether `invitation` has neither expired nor been left behind by a restore.
const fn is_open(invitation: &InvitationV1, global_epoch: u64, now: Timestamp) -> bool {
    now.as_millis() < invitation.end_ms && invitation.global_epoch == global_epoch
}

fn count_lately(times: &[Timestamp], now: Timestamp) -> usize {
    times.iter().filter(|time| now < **time + HOUR).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::buckets::BUCKETS;
    use crate::value::id::Slot;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const WEEK: Duration = Duration::from_hours(7 * 24);
    const EPOCH: u64 = 3;

    fn invite(number: u8, name: u8) -> Invite {
        Invite {
            id: AccountId::mint(Slot::of_name(&[0; 32], "ada@test.org"), [number; 14]),
            name_key: NameKey([name; 16]),
            email: "ada@test.org".into(),
            name: None,
            roles: vec!["editor".into()],
            locale: None,
            inviter: Inviter::Account([1; 16]),
            digest: SecretDigest([number; 32]),
            global_epoch: EPOCH,
        }
    }

    fn sent(all: &mut Invitations, invite: Invite, now: Timestamp) -> Result<InvitationV1, Refused> {
        let inviter = invite.inviter;
        let decision = all.invite(invite, now);
        decision.writes.into_iter().for_each(|write| all.apply(write));
        if decision.verdict.is_ok() {
            all.count_sent(inviter, now);
        }
        decision.verdict
    }

    fn link(invitation: &InvitationV1) -> Link {
        Link { id: invitation.id, digest: SecretDigest(invitation.digest), global_epoch: EPOCH }
    }

    #[test]
    fn a_link_is_good_once_with_its_secret_until_its_end() {
        let mut all = Invitations::new(WEEK);
        let invitation = sent(&mut all, invite(1, 1), START).unwrap();
        let good = link(&invitation);
        for bad in [
            Link { digest: SecretDigest([9; 32]), ..good },
            Link { global_epoch: EPOCH + 1, ..good },
            Link { id: AccountId::from_bytes([2; 16]).unwrap(), ..good },
        ] {
            assert!(all.accept(bad, START).verdict.is_none());
        }
        assert!(all.accept(good, START + WEEK).verdict.is_none());
        let last = Timestamp((START + WEEK).as_millis() - 1);
        assert!(all.peek(good, last).is_some());
        let accepted = all.accept(good, last);
        assert_eq!(accepted.verdict, Some(invitation));
        accepted.writes.into_iter().for_each(|write| all.apply(write));
        assert!(all.accept(good, last).verdict.is_none());
    }

    #[test]
    fn another_invitation_of_the_address_takes_the_place_of_the_first() {
        let mut all = Invitations::new(WEEK);
        let first = sent(&mut all, invite(1, 1), START).unwrap();
        let other = sent(&mut all, invite(2, 2), START).unwrap();
        let second = sent(&mut all, invite(3, 1), START).unwrap();
        assert!(all.peek(link(&first), START).is_none());
        assert!(all.peek(link(&second), START).is_some());
        assert!(all.peek(link(&other), START).is_some());
        assert_eq!(all.list(None, 10, EPOCH, START).len(), 2);
        assert_eq!(all.list(None, 1, EPOCH, START), std::slice::from_ref(&other));
        assert_eq!(all.list(Some(other.id), 10, EPOCH, START), std::slice::from_ref(&second));
        let withdrawn = all.withdraw(second.id, EPOCH, START);
        withdrawn.writes.into_iter().for_each(|write| all.apply(write));
        assert!(all.peek(link(&second), START).is_none());
        assert_eq!(all.withdraw(second.id, EPOCH, START).verdict, None);
    }

    #[test]
    fn one_administrator_mails_so_many_in_an_hour_and_others_go_on() {
        let mut all = Invitations::new(WEEK);
        for _ in 0..MAILS_PER_HOUR {
            // Withdrawn ones count too.
            assert!(sent(&mut all, invite(1, 1), START).is_ok());
        }
        assert_eq!(sent(&mut all, invite(1, 1), START).err(), Some(Refused::TooManyMails));
        let of_other = Invite { inviter: Inviter::Operator, ..invite(1, 1) };
        assert!(sent(&mut all, of_other, START).is_ok());
        assert!(sent(&mut all, invite(1, 1), START + HOUR).is_ok());
    }

    #[test]
    fn so_many_are_open_and_the_sweep_makes_room() {
        let mut all = Invitations::new(WEEK);
        for number in 0..INVITATIONS_MAX {
            let number = u8::try_from(number).unwrap();
            assert!(sent(&mut all, invite(number, number), START).is_ok());
        }
        assert_eq!(sent(&mut all, invite(200, 200), START).err(), Some(Refused::TooMany));
        // One that takes the place of another needs no room.
        assert!(sent(&mut all, invite(201, 1), START).is_ok());
        let swept: usize = (0..BUCKETS).map(|bucket| all.sweep(bucket, START + WEEK)).sum();
        assert_eq!(swept, INVITATIONS_MAX);
        assert!(sent(&mut all, invite(200, 200), START + WEEK).is_ok());
    }
}
