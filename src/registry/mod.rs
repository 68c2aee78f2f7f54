#![doc = include_str!("README.md")]

pub mod account;
pub mod api_key;
pub mod buckets;
pub mod event;
pub mod file_check;
pub(crate) mod index;
pub mod lockout;
mod messages;
pub mod outbox;
pub mod record;
pub mod refresh;
pub mod reset;
pub mod session;
pub(crate) mod sharded_map;
pub mod sign_up;
mod stored_id;
pub mod stuffing;
pub mod tables;
pub mod throttle;
pub mod write_counts;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult};

use crate::journal::append::handle::{Class, Handle, NoRoom, Sealed};
use crate::journal::event_log::EventLog;
use crate::journal::format::buckets::BUCKETS;
use crate::journal::format::codec::{self, Stored};
use crate::journal::format::entry::{Change, Entry};
use crate::journal::snapshot::Records;
use crate::registry::buckets::Buckets;
use crate::registry::event::{EVENTS, Told};
use crate::registry::record::{Decision, Record, Write};
use crate::registry::write_counts::WriteCounts;
use crate::system::clock::{Clock, Timestamp};
use crate::system::fail_stop::FailStop;
use crate::system::seeded_bug::{Bug, seeded};
use crate::token::Feed;
use crate::value::id::hex;

pub(crate) use messages::{handles, reads, registry};

/// The answer to a message: a sealed verdict, or no room in the journal, in which case nothing has changed.
pub type Answer<V> = Result<Sealed<V>, NoRoom>;

/// A pure state that an actor is built around: the records of one table and their rule.
pub trait Registry: Send + Unpin + 'static {
    /// The records of the table.
    type Record: Record<Key = [u8; 16]> + Clone;
    /// Names the registry in errors, and in the last log line if it panics.
    const NAME: &'static str;
    /// Applies `write`.
    fn apply(&mut self, write: Write<Self::Record>);
    /// Returns the records in their buckets.
    fn buckets(&self) -> &Buckets<[u8; 16], Self::Record>;
    /// Says whether some version may have written `record`, which was read back.
    fn is_sound(record: &Self::Record) -> bool;
    /// Removes the expired records of one bucket and returns how many there were.
    fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize;
    /// Returns what a write revokes that resource servers may still accept. Called before it is applied.
    fn revoked_by(&self, _: &Write<Self::Record>) -> Option<Revocation> {
        None
    }
    /// Returns the events that writes of one decision make true, in their order. Called before these are applied.
    fn events_of(&self, _writes: &[Write<Self::Record>]) -> Vec<Told> {
        Vec::new()
    }
    /// Returns the writes that time alone demands at `now`, as many as one entry holds: a part of a record that must not
    /// stay, where a sweep removes whole records alone.
    fn overdue(&self, _now: Timestamp) -> Vec<Write<Self::Record>> {
        Vec::new()
    }
    /// Notes that no answer could leave between two times, because the disk stalled.
    fn note_pause(&mut self, _from: Timestamp, _to: Timestamp) {}

    /// Applies a write of the journal or a record of a snapshot.
    ///
    /// Errors: a key, schema or value that no version wrote.
    fn restore(&mut self, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let key =
            <[u8; 16]>::try_from(key).map_err(|_| format!("{}: key of {} bytes", Self::NAME, key.len()))?;
        let Some(value) = value else {
            self.apply(Write::Remove(key));
            return Ok(());
        };
        let record = Self::Record::read(schema, value).map_err(|error| format!("{}: {error}", Self::NAME))?;
        if record.key() != key || !Self::is_sound(&record) {
            return Err(format!("{}: no version wrote such a record", Self::NAME));
        }
        self.apply(Write::Put(record));
        Ok(())
    }
}

/// What a write revokes, of which resource servers are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Revocation {
    /// A session or family, with all its access tokens.
    Session {
        /// Its id.
        id: [u8; 16],
        /// The account that it belongs to.
        account: [u8; 16],
    },
    /// The access tokens of an account that were issued before a time.
    Tokens {
        /// The account.
        account: [u8; 16],
        /// The time, in seconds since 1970.
        issued_before: u64,
    },
}

/// The parts that every actor around a registry is built with.
#[derive(Clone, Debug)]
pub struct OwnerContext {
    /// The journal that its writes go to.
    pub journal: Handle,
    /// The clock that it reads.
    pub clock: Clock,
    /// Ends the process if the actor panics.
    pub fail_stop: FailStop,
    /// Counts every write, which invalidates cached verdicts.
    pub write_counts: Arc<WriteCounts>,
    /// Tells resource servers of every session that ends. They may learn of it before it is durable: if a crash undoes
    /// the end, they refuse the session's tokens all the same.
    pub feed: Arc<Feed>,
    /// Takes the events of every entry. `None`: entries carry none.
    pub events: Option<EventLog>,
}

/// The actor around a [`Registry`].
pub struct Owner<S> {
    state: S,
    context: OwnerContext,
    /// The number of the last entry that this actor appended.
    seq: u64,
    pending_writes: PendingWrites,
    /// The bucket that the next sweep begins with.
    next_swept: usize,
}

/// Writes that were not durable when the latest one was appended, oldest first. The journal's window bounds their
/// number.
#[derive(Debug, Default)]
struct PendingWrites(VecDeque<(u64, [u8; 16], Timestamp)>);

/// The time that a write may take to become durable before it counts as a stall of the disk.
const STALL: Duration = Duration::from_secs(1);

impl PendingWrites {
    fn note(&mut self, seq: u64, key: [u8; 16], durable: u64, now: Timestamp) {
        self.drop_durable(durable);
        self.0.push_back((seq, key, now));
    }

    fn drop_durable(&mut self, durable: u64) {
        while self.0.front().is_some_and(|(seq, ..)| *seq <= durable) {
            self.0.pop_front();
        }
    }

    /// Returns since when no answer can leave, if the disk stalls. Asked twice a second, so that the end of a stall is
    /// known as exactly.
    fn stalled_since(&mut self, durable: u64, now: Timestamp) -> Option<Timestamp> {
        self.drop_durable(durable);
        self.0.front().map(|(.., at)| *at).filter(|at| now.since(*at) > STALL)
    }

    /// Returns the number of the last pending write of a record: a reading of that record depends on it. 0 if no write
    /// of the record can be lost any more.
    fn of(&self, key: &[u8; 16]) -> u64 {
        self.0.iter().rev().find(|(_, written, _)| written == key).map_or(0, |(seq, ..)| *seq)
    }
}

/// The most messages that wait for one actor.
pub(crate) const MAILBOX: usize = 4096;
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Buckets of one sweep: a whole table is swept every 32 s.
const SWEEP_BUCKETS: usize = 64;

impl<S: Registry> Owner<S> {
    /// Creates the actor around a state that recovery has filled.
    pub fn new(state: S, context: OwnerContext) -> Self {
        let seq = context.journal.assigned();
        Self { state, context, seq, pending_writes: PendingWrites::default(), next_swept: 0 }
    }

    /// Returns the state, for the simulator's comparison.
    #[cfg(any(test, feature = "sim"))]
    pub const fn state(&self) -> &S {
        &self.state
    }

    /// Returns the state, for the seeded mistake of a change that is not journalled.
    #[cfg(test)]
    pub(crate) const fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// Decides, appends the writes to the journal, applies them and seals the verdict. No other message comes between.
    ///
    /// Errors: [`NoRoom`] if the journal has no space of `class` for the writes; then nothing has changed.
    pub fn decide<V>(
        &mut self,
        class: Class,
        decide: impl FnOnce(&S, Timestamp) -> Decision<S::Record, V>,
    ) -> Answer<V> {
        self.decide_and(class, decide, |_, _, _| ())
    }

    /// Does what [`Owner::decide`] does, and then calls `note`, which may change what the state keeps in memory alone.
    pub fn decide_and<V>(
        &mut self,
        class: Class,
        decide: impl FnOnce(&S, Timestamp) -> Decision<S::Record, V>,
        note: impl FnOnce(&mut S, &V, Timestamp),
    ) -> Answer<V> {
        self.decide_and_tell(class, decide, |_| None, note)
    }

    /// Does what [`Owner::decide_and`] does. `tell` returns an event that the verdict shows and the writes do not.
    pub fn decide_and_tell<V>(
        &mut self,
        class: Class,
        decide: impl FnOnce(&S, Timestamp) -> Decision<S::Record, V>,
        tell: impl FnOnce(&V) -> Option<Told>,
        note: impl FnOnce(&mut S, &V, Timestamp),
    ) -> Answer<V> {
        let Self { state, context, seq, pending_writes, .. } = self;
        context.fail_stop.guard(S::NAME, || {
            let now = context.clock.now();
            if let Some(since) = pending_writes.stalled_since(context.journal.durable(), now) {
                state.note_pause(since, now);
            }
            let Decision { writes, verdict } = decide(state, now);
            let is_unsealed = writes.is_empty() && seeded(Bug::RefusalNotSealed);
            if !writes.is_empty() {
                let changes: Result<Vec<Change>, _> = writes.iter().map(Write::to_change).collect();
                let mut changes =
                    changes.unwrap_or_else(|error| panic!("a write that cannot be stored: {error}"));
                let told = context.events.as_ref().map(|log| {
                    let told = state.events_of(&writes).into_iter().chain(tell(&verdict));
                    let told: Vec<Change> = told.map(|told| told.to_change(now)).collect();
                    changes.extend_from_slice(&told);
                    (log, told.into_iter().filter(|change| change.table == EVENTS).collect::<Vec<_>>())
                });
                let entry = Entry::encode(&changes)
                    .unwrap_or_else(|error| panic!("writes that make no entry: {error}"));
                if seeded(Bug::ApplyBeforeReserve) {
                    for write in &writes {
                        state.apply(write.clone());
                    }
                }
                let permit = context.journal.reserve(entry.as_bytes().len(), class)?;
                *seq = context.journal.append_and(permit, &entry, |seq| match told {
                    Some((log, told)) if !told.is_empty() => log.push(seq, told),
                    _ => {}
                });
                for write in writes {
                    let key = write.key();
                    let revoked = state.revoked_by(&write);
                    state.apply(write);
                    match revoked {
                        None => {}
                        Some(Revocation::Session { id, account }) => {
                            context.feed.push_session(hex(&id), account, context.clock.system_now());
                        }
                        Some(Revocation::Tokens { account, issued_before }) => {
                            let now = context.clock.system_now();
                            context.feed.push_account(account, issued_before, now);
                        }
                    }
                    context.write_counts.note(&key);
                    pending_writes.note(*seq, key, context.journal.durable(), now);
                }
            }
            note(state, &verdict, now);
            Ok(Sealed::new(verdict, if is_unsealed { 0 } else { *seq }))
        })
    }

    /// Reads, and seals the answer with the last write of this actor.
    #[expect(clippy::unnecessary_wraps, reason = "answers of readings and of decisions are awaited alike")]
    pub fn read<V>(&self, read: impl FnOnce(&S, Timestamp) -> V) -> Answer<V> {
        Ok(self.sealed(read, self.seq))
    }

    /// Reads the record of `key` and nothing else, and seals the answer with the last write of that record: it waits
    /// for no write of another record.
    #[expect(clippy::unnecessary_wraps, reason = "answers of readings and of decisions are awaited alike")]
    pub fn read_of<V>(&self, key: &[u8; 16], read: impl FnOnce(&S, Timestamp) -> V) -> Answer<V> {
        Ok(self.sealed(read, self.pending_writes.of(key)))
    }

    fn sealed<V>(&self, read: impl FnOnce(&S, Timestamp) -> V, seq: u64) -> Sealed<V> {
        let value = self.context.fail_stop.guard(S::NAME, || read(&self.state, self.context.clock.now()));
        Sealed::new(value, if seeded(Bug::ReadNotSealed) { 0 } else { seq })
    }
}

impl<S: Registry> Actor for Owner<S> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(MAILBOX);
        context.run_interval(SWEEP_EVERY, |owner, _| owner.sweep());
    }
}

/// Reads whole buckets for a snapshot, a few at a time, so that no message holds up the actor for long.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "(Records, usize)")]
pub struct ReadBuckets {
    /// The first bucket.
    pub from: usize,
}

/// Returns the number of records of a table.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "usize")]
pub struct CountRecords;

impl<S: Registry> Handler<CountRecords> for Owner<S> {
    type Result = usize;

    fn handle(&mut self, _: CountRecords, _: &mut Context<Self>) -> usize {
        self.context.fail_stop.guard(S::NAME, || self.state.buckets().len())
    }
}

/// The most records that one message reads, unless a single bucket holds more.
const RECORDS_PER_MESSAGE: usize = if cfg!(any(test, feature = "sim")) { 4 } else { 128 };
/// Bytes of records after which a message reads no further bucket: some records are much longer than most.
const BYTES_PER_MESSAGE: usize = 128 * 1024;

impl<S: Registry> Handler<ReadBuckets> for Owner<S> {
    type Result = MessageResult<ReadBuckets>;

    fn handle(&mut self, read: ReadBuckets, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.read_buckets(read.from))
    }
}

impl<S: Registry> Owner<S> {
    /// Returns the records of whole buckets, beginning with the bucket `from`, and the number of the next bucket.
    pub fn read_buckets(&self, from: usize) -> (Records, usize) {
        let Self { state, context, .. } = self;
        context.fail_stop.guard(S::NAME, || {
            let mut records = Records::default();
            let mut next = from;
            if from > 0 && seeded(Bug::BucketSkipped) {
                next += 200;
            }
            let mut count = 0;
            while next < BUCKETS && count < RECORDS_PER_MESSAGE && records.len() < BYTES_PER_MESSAGE {
                for (key, record) in state.buckets().bucket(next) {
                    let value = codec::encode(record)
                        .unwrap_or_else(|error| panic!("a record that cannot be stored: {error}"));
                    records.add(S::Record::SCHEMA, key, &value);
                    count += 1;
                }
                next += 1;
            }
            (records, next)
        })
    }

    /// Removes the expired records of the next few buckets, makes the writes that are overdue, and looks whether the disk
    /// stalls.
    pub fn sweep(&mut self) {
        let Self { state, context, next_swept, pending_writes, .. } = self;
        let overdue = context.fail_stop.guard(S::NAME, || {
            let now = context.clock.now();
            if let Some(since) = pending_writes.stalled_since(context.journal.durable(), now) {
                state.note_pause(since, now);
            }
            for _ in 0..SWEEP_BUCKETS {
                state.sweep(*next_swept, context.clock.now());
                *next_swept = (*next_swept + 1) % BUCKETS;
            }
            state.overdue(now)
        });
        if !overdue.is_empty() {
            // Without room in the journal they are made by a later sweep.
            let _ = self.decide(Class::Ordinary, |_, _| Decision { writes: overdue, verdict: () });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::account::Accounts;
    use super::record::BY_PASSWORD;
    use super::refresh::record::SpentByV1;
    use super::refresh::{Audience, Families, Limits, OpenFamily, Rotate, Rotated};
    use super::*;
    use crate::journal::format::layout::Sizes;
    use crate::journal::recovery::report::ReplayTarget;
    use crate::journal::recovery::{Options, recover};
    use crate::storage::simulated::SimStorage;
    use crate::system::random::Random;
    use crate::token::opaque::SecretDigest;
    use crate::value::id::{AccountId, FamilyId};

    impl ReplayTarget for Accounts {
        fn apply(&mut self, _: u16, _: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
            Ok(())
        }
    }

    fn is_open<T>(journal: &Handle, sealed: Answer<T>) -> bool {
        let mut opening = pin!(journal.open(sealed.unwrap()));
        matches!(opening.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_)))
    }

    /// Starts a journal on a simulated disk, and an owner of families that writes to it.
    fn started() -> (Clock, crate::journal::recovery::Recovered, Owner<Families>) {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let random = Arc::new(Random::seeded(1));
        let options = Options {
            storage: Arc::new(SimStorage::new()),
            sizes: Sizes { segment: 65_536, body: 8_192, align: 512, window: 65_536 },
            clock: clock.clone(),
            random: Arc::clone(&random),
            accept_clock_floor: false,
        };
        let journal = recover(options, &mut Accounts::default()).unwrap();
        journal.prepare().unwrap();
        let day = Duration::from_hours(24);
        let context = OwnerContext {
            journal: journal.handle.clone(),
            clock: clock.clone(),
            fail_stop: FailStop::new(|why| panic!("{why}")),
            write_counts: Arc::default(),
            feed: Arc::new(Feed::new(1, day)),
            events: None,
        };
        let limits = Limits { grace: Duration::from_secs(10), idle: day, absolute: day, remember_ended: day };
        (clock, journal, Owner::new(Families::new(limits), context))
    }

    #[test]
    fn a_reading_waits_for_writes_of_its_record_and_of_no_other() {
        let (_, mut journal, mut owner) = started();
        let account = AccountId::from_bytes([1; 16]).unwrap();
        let mut number = 0;
        let mut open = |owner: &mut Owner<Families>| {
            number += 1;
            let id = FamilyId::mint(account.slot(), [number; 14]);
            let open = OpenFamily {
                id,
                account,
                auth_epoch: 1,
                global_epoch: 0,
                digest: SecretDigest([0; 32]),
                network: "192.0.2.0/24".into(),
                user_agent: "test".into(),
                audience: Audience::App,
                proved: None,
                methods: BY_PASSWORD,
                replaces: false,
            };
            let written = owner.decide(Class::Ordinary, |families, now| families.open(&open, now));
            assert!(written.is_ok());
            id.to_bytes()
        };
        let can_read =
            |owner: &Owner<Families>, key| is_open(&journal.handle, owner.read_of(&key, |_, _| ()));
        let can_read_all = |owner: &Owner<Families>| is_open(&journal.handle, owner.read(|_, _| ()));
        let absent = [9; 16];
        let first = open(&mut owner);
        assert!(!can_read(&owner, first));
        assert!(can_read(&owner, absent));
        assert!(!can_read_all(&owner));
        journal.writer.step().unwrap();
        assert!(can_read(&owner, first));
        let second = open(&mut owner);
        assert!(can_read(&owner, first));
        assert!(!can_read(&owner, second));
        assert!(can_read(&owner, absent));
        // The next write drops the writes that have become durable.
        assert_eq!(owner.pending_writes.0.len(), 1);
        journal.writer.step().unwrap();
        assert!(can_read(&owner, second));
        assert!(can_read_all(&owner));
    }

    /// The disk stalls between a rotation and its answer, for longer than the grace.
    #[test]
    fn a_stall_of_the_disk_longer_than_the_grace_is_no_reuse() {
        for is_over in [false, true] {
            let (clock, mut journal, mut owner) = started();
            let account = AccountId::from_bytes([1; 16]).unwrap();
            let id = FamilyId::mint(account.slot(), [2; 14]);
            let open = OpenFamily {
                id,
                account,
                auth_epoch: 1,
                global_epoch: 0,
                digest: SecretDigest([0; 32]),
                network: "192.0.2.0/24".into(),
                user_agent: "test".into(),
                audience: Audience::App,
                proved: None,
                methods: BY_PASSWORD,
                replaces: false,
            };
            let rotate = Rotate {
                id,
                generation: 0,
                digest: SecretDigest([0; 32]),
                next_digest: SecretDigest([1; 32]),
                next_sealed: [1; 40],
                by: SpentByV1 { network: 1, is_v6: false, agent: 1 },
            };
            assert!(owner.decide(Class::Ordinary, |families, now| families.open(&open, now)).is_ok());
            journal.writer.step().unwrap();
            let present = |owner: &mut Owner<Families>| {
                let mut verdict = None;
                let decided = owner.decide(Class::Ordinary, |families, now| {
                    let decision = families.rotate(&rotate, now);
                    verdict = Some(decision.verdict.clone());
                    decision
                });
                assert!(decided.is_ok());
                verdict.unwrap()
            };
            assert!(matches!(present(&mut owner), Ok(Rotated::Fresh(_))));
            clock.advance(Duration::from_secs(20));
            if is_over {
                owner.sweep();
                journal.writer.step().unwrap();
                clock.advance(Duration::from_secs(5));
            }
            // The answer could not leave, so the client asks again.
            assert!(matches!(present(&mut owner), Ok(Rotated::Again(..))), "{is_over}");
            journal.writer.step().unwrap();
            clock.advance(Duration::from_secs(11));
            assert_eq!(present(&mut owner), Err(refresh::Refusal::Reused));
        }
    }
}
