//! The whole rule of sign-ups. Knows no actor, file, clock or randomness.

use std::collections::BTreeSet;
use std::time::Duration;

use super::record::{SignUpV2, Stage};
use crate::registry::buckets::Buckets;
use crate::registry::record::{self, Write};
use crate::system::clock::Timestamp;
use crate::token::opaque::SecretDigest;
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;

/// A decision about sign-ups with verdict `V`.
pub type Decision<V> = record::Decision<SignUpV2, V>;

/// The most records of one address.
pub const PER_ADDRESS_MAX: usize = 3;
/// The most records of all addresses. Beyond it the oldest gives way.
pub const SIGN_UPS_MAX: usize = if cfg!(test) { 100 } else { 100_000 };
/// How long a link that was used gets the same answer again.
const REPEATS_FOR: Duration = Duration::from_hours(1);

/// The lifetime of a sign-up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long it waits for the proof of its address.
    pub ttl: Duration,
}

/// Begins a sign-up, or does the same work for an address that has an account.
pub struct Begin {
    /// The id that the account will have, minted in the slot of the address.
    pub id: AccountId,
    /// The key of the address.
    pub name_key: NameKey,
    /// The address in its canonical form.
    pub email: Box<str>,
    /// The name that the owner wants to be called by.
    pub name: Option<Box<str>>,
    /// The language of the owner.
    pub locale: Option<Box<str>>,
    /// The PHC string of the password.
    pub phc: Box<str>,
    /// SHA-256 of the secret of the browser's half.
    pub half: SecretDigest,
    /// The global epoch.
    pub global_epoch: u64,
    /// Whether the address has an account: the work is the same, but nothing opens the record.
    pub is_taken: bool,
}

/// A half that a browser shows.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    /// The sign-up that it names.
    pub id: AccountId,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
}

/// Proves the address of a sign-up by its link, which the caller has checked.
#[derive(Clone, Copy, Debug)]
pub struct Prove {
    /// The sign-up that the link belongs to.
    pub id: AccountId,
    /// The half that the browser shows, if it shows one.
    pub half: Option<Half>,
    /// The global epoch. A sign-up of another one is invalid.
    pub global_epoch: u64,
}

/// What follows from a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// Both halves belong together: the account is to be made with the password of this sign-up, unless that has been
    /// done already.
    Open(SignUpV2),
    /// Both halves belong together, and the account exists.
    Opened,
    /// The mailbox alone has proved the address: the owner is to set a password. The record holds none.
    SetPassword(SignUpV2),
    /// The link belongs to an account that was there before, and was used within the hour. Says whether the account had
    /// a password that the link made usable.
    Confirmed {
        /// Whether it had such a password.
        has_password: bool,
    },
    /// The sign-up was opened by another half than this one.
    Refused,
    /// There is no such sign-up.
    Unknown,
}

/// Notes that the owner of an account proves its address by a link.
#[derive(Clone, Debug)]
pub struct Confirm {
    /// The account.
    pub id: AccountId,
    /// The key of its address.
    pub name_key: NameKey,
    /// The address.
    pub email: Box<str>,
    /// The global epoch.
    pub global_epoch: u64,
    /// Whether the account has a password that the link makes usable.
    pub has_password: bool,
}

/// All sign-ups of one engine.
pub struct SignUps {
    by_id: Buckets<[u8; 16], SignUpV2>,
    /// The ids of the records of each address, the oldest first.
    by_name: BTreeSet<([u8; 16], u64, [u8; 16])>,
    /// The ids of all records, the oldest first.
    by_age: BTreeSet<(u64, [u8; 16])>,
    limits: Limits,
}

impl SignUps {
    /// Creates an empty set of sign-ups.
    pub fn new(limits: Limits) -> Self {
        Self { by_id: Buckets::new(), by_name: BTreeSet::new(), by_age: BTreeSet::new(), limits }
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], SignUpV2> {
        &self.by_id
    }

    /// Decides a sign-up at `now`. Returns the sign-up whose link is to be mailed: the new one, or the last one if the
    /// address has no place for another; `None` if the address has an account.
    ///
    /// Security: which of these it is shows neither in the number of writes nor in their length, as long as the address
    /// has a place. When it has none, taken and free addresses are alike again.
    pub fn begin(&self, begin: Begin, now: Timestamp) -> Decision<Option<SignUpV2>> {
        let key = begin.id.to_bytes();
        let alive: Vec<&SignUpV2> = self.of_name(begin.name_key, begin.global_epoch, now).collect();
        let is_full = alive.len() >= PER_ADDRESS_MAX;
        if begin.is_taken && is_full {
            return Decision::remove(key, None);
        }
        let waiting = || alive.iter().filter(|sign_up| sign_up.stage == Stage::Waiting);
        if let Some(last) = waiting().next_back()
            && waiting().count() >= PER_ADDRESS_MAX
        {
            return Decision::remove(key, Some((*last).clone()));
        }
        let mut writes = Vec::new();
        // The address had an account until lately. What is left of that gives way.
        let leftover = alive.iter().find(|sign_up| sign_up.stage != Stage::Waiting);
        if let Some(leftover) = leftover.filter(|_| is_full) {
            writes.push(Write::Remove(leftover.id.to_bytes()));
        } else if self.by_id.len() >= SIGN_UPS_MAX
            && let Some((_, oldest)) = self.by_age.first()
        {
            writes.push(Write::Remove(*oldest));
        }
        let is_taken = begin.is_taken;
        let nobodys = |text: Box<str>| if is_taken { "-".repeat(text.len()).into() } else { text };
        let sign_up = SignUpV2 {
            id: begin.id,
            name_key: begin.name_key.0,
            email: begin.email,
            name: begin.name.map(nobodys),
            locale: begin.locale.map(nobodys),
            phc: Some(nobodys(begin.phc)),
            half: Some(begin.half.0),
            global_epoch: begin.global_epoch,
            begun_ms: now.as_millis(),
            end_ms: (now + self.limits.ttl).as_millis(),
            stage: if is_taken { Stage::Nobodys } else { Stage::Waiting },
        };
        writes.push(Write::Put(sign_up.clone()));
        Decision { writes, verdict: (!is_taken).then_some(sign_up) }
    }

    /// Decides what follows from a link, with or without a half. Every other sign-up of the address ends with it.
    pub fn prove(&self, prove: Prove, now: Timestamp) -> Decision<Proof> {
        let Prove { id, half, global_epoch } = prove;
        let sign_up = self.by_id.get(&id.to_bytes());
        let Some(sign_up) = sign_up.filter(|sign_up| is_alive(sign_up, global_epoch, now)) else {
            return Decision::unchanged(Proof::Unknown);
        };
        let Some(own) = sign_up.half.map(SecretDigest) else {
            return Decision::unchanged(Proof::Confirmed { has_password: sign_up.stage == Stage::Opened });
        };
        let is_own = half.is_some_and(|half| half.id == sign_up.id && half.digest == own);
        match sign_up.stage {
            Stage::Waiting => {
                let stage = if is_own { Stage::Opening } else { Stage::Proved };
                let phc = sign_up.phc.clone().filter(|_| is_own);
                // A stranger may have chosen name and language, too.
                let name = sign_up.name.clone().filter(|_| is_own);
                let locale = sign_up.locale.clone().filter(|_| is_own);
                let end_ms = (now + REPEATS_FOR).as_millis();
                let next = SignUpV2 { name, phc, end_ms, stage, locale, ..sign_up.clone() };
                let others = self.ids_of(sign_up.name_key).filter(|other| *other != id.to_bytes());
                let writes = others.map(Write::Remove).chain([Write::Put(next.clone())]).collect();
                let verdict = if is_own { Proof::Open(next) } else { Proof::SetPassword(next) };
                Decision { writes, verdict }
            }
            Stage::Proved => Decision::unchanged(Proof::SetPassword(sign_up.clone())),
            Stage::Opening if is_own => Decision::unchanged(Proof::Open(sign_up.clone())),
            Stage::Opened if is_own => Decision::unchanged(Proof::Opened),
            Stage::Opening | Stage::Opened | Stage::Nobodys => Decision::unchanged(Proof::Refused),
        }
    }

    /// Decides that the account of a sign-up exists: the record gives up the password. Its end stays.
    pub fn settle(&self, id: AccountId) -> Decision<()> {
        match self.by_id.get(&id.to_bytes()) {
            Some(sign_up) if sign_up.stage == Stage::Opening => {
                let stage = Stage::Opened;
                let settled = SignUpV2 { stage, phc: None, name: None, locale: None, ..sign_up.clone() };
                Decision::put(settled, ())
            }
            _ => Decision::unchanged(()),
        }
    }

    /// Decides the end of a sign-up.
    pub fn discard(&self, id: AccountId) -> Decision<()> {
        match self.by_id.get(&id.to_bytes()) {
            Some(_) => Decision::remove(id.to_bytes(), ()),
            None => Decision::unchanged(()),
        }
    }

    /// Decides that the address of an account is proved by a link, which gets the same answer for an hour.
    pub fn confirm(&self, confirm: Confirm, now: Timestamp) -> Decision<()> {
        let confirmed = SignUpV2 {
            id: confirm.id,
            name_key: confirm.name_key.0,
            email: confirm.email,
            name: None,
            locale: None,
            phc: None,
            half: None,
            global_epoch: confirm.global_epoch,
            begun_ms: now.as_millis(),
            end_ms: (now + REPEATS_FOR).as_millis(),
            stage: if confirm.has_password { Stage::Opened } else { Stage::Proved },
        };
        let others = self.ids_of(confirm.name_key.0).filter(|other| *other != confirm.id.to_bytes());
        let writes = others.map(Write::Remove).chain([Write::Put(confirmed)]).collect();
        Decision { writes, verdict: () }
    }

    /// Decides the end of all sign-ups of an address.
    pub fn end_all(&self, name: NameKey) -> Decision<()> {
        Decision { writes: self.ids_of(name.0).map(Write::Remove).collect(), verdict: () }
    }

    /// Says whether an address has a sign-up, alive or not.
    pub fn has_any(&self, name: NameKey) -> bool {
        self.ids_of(name.0).next().is_some()
    }

    /// Returns the sign-up of an address whose link is to be mailed again: that of `half`, or else the last one.
    pub fn waiting(
        &self,
        name: NameKey,
        half: Option<Half>,
        global_epoch: u64,
        now: Timestamp,
    ) -> Option<&SignUpV2> {
        let is_own = |sign_up: &&SignUpV2| {
            let digest = sign_up.half.map(SecretDigest);
            half.is_some_and(|half| half.id == sign_up.id && Some(half.digest) == digest)
        };
        let waiting = || self.all_waiting(name, global_epoch, now);
        waiting().find(is_own).or_else(|| waiting().next_back())
    }

    /// Returns up to `limit` sign-ups after `after` that wait for the proof of their address and that `is_wanted` accepts,
    /// in the order of their ids.
    pub fn list_waiting(
        &self,
        after: Option<AccountId>,
        limit: usize,
        global_epoch: u64,
        now: Timestamp,
        is_wanted: impl Fn(&SignUpV2) -> bool,
    ) -> Vec<SignUpV2> {
        let all = self.by_id.iter().map(|(_, sign_up)| sign_up);
        let waiting = all.filter(|sign_up| is_waiting(sign_up, global_epoch, now));
        let mut page: Vec<_> = waiting
            .filter(|sign_up| after.is_none_or(|after| sign_up.id > after) && is_wanted(sign_up))
            .collect();
        page.sort_unstable_by_key(|sign_up| sign_up.id);
        page.into_iter().take(limit).cloned().collect()
    }

    /// Returns the sign-ups of an address that wait for its proof, the oldest first.
    pub fn all_waiting(
        &self,
        name: NameKey,
        global_epoch: u64,
        now: Timestamp,
    ) -> impl DoubleEndedIterator<Item = &SignUpV2> {
        self.of_name(name, global_epoch, now).filter(|sign_up| sign_up.stage == Stage::Waiting)
    }

    /// Returns the sign-up `id`, if it waits for the proof of its address.
    pub fn waiting_by_id(&self, id: AccountId, global_epoch: u64, now: Timestamp) -> Option<&SignUpV2> {
        self.by_id.get(&id.to_bytes()).filter(|sign_up| is_waiting(sign_up, global_epoch, now))
    }

    /// Returns the end of the sign-up `id`; `None` if it is over, or was made for an address that has an account.
    pub fn end_of(&self, id: AccountId, global_epoch: u64, now: Timestamp) -> Option<Timestamp> {
        let sign_up = self.by_id.get(&id.to_bytes())?;
        let is_open = is_alive(sign_up, global_epoch, now) && sign_up.stage != Stage::Nobodys;
        is_open.then_some(Timestamp(sign_up.end_ms))
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<SignUpV2>) {
        match write {
            Write::Put(sign_up) => {
                let key = sign_up.id.to_bytes();
                self.forget(key);
                self.by_name.insert((sign_up.name_key, sign_up.begun_ms, key));
                self.by_age.insert((sign_up.begun_ms, key));
                self.by_id.insert(key, sign_up);
            }
            Write::Remove(key) => self.forget(key),
        }
    }

    /// Removes the expired records of one bucket and returns how many there were. Writes nothing to the journal: the end
    /// is in the record.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let expired = self.by_id.bucket(bucket).filter(|(_, sign_up)| now.as_millis() >= sign_up.end_ms);
        let keys: Vec<_> = expired.map(|(key, _)| *key).collect();
        for key in &keys {
            self.forget(*key);
        }
        keys.len()
    }

    fn forget(&mut self, key: [u8; 16]) {
        let Some(sign_up) = self.by_id.remove(&key) else { return };
        self.by_name.remove(&(sign_up.name_key, sign_up.begun_ms, key));
        self.by_age.remove(&(sign_up.begun_ms, key));
    }

    /// Returns the ids of the records of an address, also of those that have expired, the oldest first.
    fn ids_of(&self, name: [u8; 16]) -> impl DoubleEndedIterator<Item = [u8; 16]> {
        self.by_name.range((name, 0, [0; 16])..=(name, u64::MAX, [0xFF; 16])).map(|(_, _, id)| *id)
    }

    /// Returns the records of an address that are alive, the oldest first.
    fn of_name(
        &self,
        name: NameKey,
        global_epoch: u64,
        now: Timestamp,
    ) -> impl DoubleEndedIterator<Item = &SignUpV2> {
        let all = self.ids_of(name.0).filter_map(|id| self.by_id.get(&id));
        all.filter(move |sign_up| is_alive(sign_up, global_epoch, now))
    }
}

/// Says whether a record has neither expired nor been left behind by a restore.
const fn is_alive(sign_up: &SignUpV2, global_epoch: u64, now: Timestamp) -> bool {
    now.as_millis() < sign_up.end_ms && sign_up.global_epoch == global_epoch
}

fn is_waiting(sign_up: &SignUpV2, global_epoch: u64, now: Timestamp) -> bool {
    is_alive(sign_up, global_epoch, now) && sign_up.stage == Stage::Waiting
}

#[cfg(test)]
mod tests;
