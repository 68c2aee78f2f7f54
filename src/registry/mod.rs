//! The mailbox around a state: one owner per fact, one message at a time, nothing awaited.
//!
//! A verdict leaves sealed with the last sequence its owner has handed out, whether it is a yes, a no or a reading; a
//! reading of a single record with the last one of that record. If there is no room to write it down, nothing has
//! changed. A panic ends the process before the next message.

pub mod account;
pub mod buckets;
pub(crate) mod index;
pub mod lockout;
pub mod outbox;
pub mod record;
pub mod refresh;
pub mod reset;
pub mod session;
pub(crate) mod sharded_map;
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
use crate::journal::format::buckets::BUCKETS;
use crate::journal::format::codec;
use crate::journal::format::entry::{Change, Entry};
use crate::journal::snapshot::Records;
use crate::registry::buckets::Buckets;
use crate::registry::record::{Decision, Record, Write};
use crate::registry::write_counts::WriteCounts;
use crate::system::clock::{Clock, Timestamp};
use crate::system::fail_stop::FailStop;
use crate::system::seeded_bug::{Bug, seeded};
use crate::token::Feed;
use crate::token::feed::Ended;
use crate::value::id::hex;

/// What a message to an owner is answered with.
pub type Answer<V> = Result<Sealed<V>, NoRoom>;

/// A pure state that an owner is built around.
pub trait Registry: Send + Unpin + 'static {
    /// What it keeps.
    type Record: Record<Key = [u8; 16]> + Clone;
    /// For the last line, should it panic.
    const NAME: &'static str;
    /// Makes a write true.
    fn apply(&mut self, write: Write<Self::Record>);
    /// Its records.
    fn buckets(&self) -> &Buckets<[u8; 16], Self::Record>;
    /// Whether a record that was read back can be one.
    fn is_sound(record: &Self::Record) -> bool;
    /// Forgets what is out of time in one bucket.
    fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize;
    /// The session that a write ends, if it ends one.
    fn ended(_: &Write<Self::Record>) -> Option<[u8; 16]> {
        None
    }

    /// Makes a write of the journal or a record of a snapshot true.
    fn restore(&mut self, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let key =
            <[u8; 16]>::try_from(key).map_err(|_| format!("{}: key of {} bytes", Self::NAME, key.len()))?;
        let Some(value) = value else {
            self.apply(Write::Remove(key));
            return Ok(());
        };
        if schema != <Self::Record as codec::Stored>::SCHEMA {
            return Err(format!("{}: schema {schema} is not known to this version", Self::NAME));
        }
        let record: Self::Record =
            codec::decode(value).map_err(|error| format!("{}: {error}", Self::NAME))?;
        if record.key() != key || !Self::is_sound(&record) {
            return Err(format!("{}: a record that no version wrote", Self::NAME));
        }
        self.apply(Write::Put(record));
        Ok(())
    }
}

/// What every owner is built with.
#[derive(Clone, Debug)]
pub struct OwnerContext {
    /// Where its writes go.
    pub journal: Handle,
    /// Its time.
    pub clock: Clock,
    /// What ends the process should it panic.
    pub fail_stop: FailStop,
    /// Who keeps verdicts learns here of every write.
    pub write_counts: Arc<WriteCounts>,
    /// Resource servers learn here of every session that ends. They may hear of it before it is durable: should a crash
    /// undo it, they refuse its tokens all the same.
    pub feed: Arc<Feed>,
}

/// The actor around a [`Registry`].
pub struct Owner<S> {
    state: S,
    context: OwnerContext,
    seq: u64,
    pending_writes: PendingWrites,
    swept: usize,
}

/// Writes that were not durable when the last one came, oldest first. What the window of the journal holds bounds them.
#[derive(Debug, Default)]
struct PendingWrites(VecDeque<(u64, [u8; 16])>);

impl PendingWrites {
    fn note(&mut self, seq: u64, key: [u8; 16], durable: u64) {
        while self.0.front().is_some_and(|(seq, _)| *seq <= durable) {
            self.0.pop_front();
        }
        self.0.push_back((seq, key));
    }

    /// What a reading of that record has seen: its last write, or nothing that could still be lost.
    fn of(&self, key: &[u8; 16]) -> u64 {
        self.0.iter().rev().find(|(_, written)| written == key).map_or(0, |(seq, _)| *seq)
    }
}

/// Messages that wait for one actor at most.
pub(crate) const MAILBOX: usize = 4096;
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// A whole table is swept every 32 s.
const SWEEP_BUCKETS: usize = 64;

impl<S: Registry> Owner<S> {
    /// Around a state that recovery has filled.
    pub fn new(state: S, context: OwnerContext) -> Self {
        let seq = context.journal.assigned();
        Self { state, context, seq, pending_writes: PendingWrites::default(), swept: 0 }
    }

    /// What it owns: for the simulator's comparison.
    #[cfg(any(test, feature = "sim"))]
    pub const fn state(&self) -> &S {
        &self.state
    }

    /// Likewise, for the mistake of a change that is not written down.
    #[cfg(test)]
    pub(crate) const fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// Decides, writes down, applies, and seals the verdict, in one breath.
    pub fn decide<V>(
        &mut self,
        class: Class,
        decide: impl FnOnce(&S, Timestamp) -> Decision<S::Record, V>,
    ) -> Answer<V> {
        self.decide_and(class, decide, |_, _, _| ())
    }

    /// As [`Owner::decide`], with a note in memory afterwards that needs no journal.
    pub fn decide_and<V>(
        &mut self,
        class: Class,
        decide: impl FnOnce(&S, Timestamp) -> Decision<S::Record, V>,
        note: impl FnOnce(&mut S, &V, Timestamp),
    ) -> Answer<V> {
        let Self { state, context, seq, pending_writes, .. } = self;
        context.fail_stop.guard(S::NAME, || {
            let now = context.clock.now();
            let Decision { writes, verdict } = decide(state, now);
            let unsealed = writes.is_empty() && seeded(Bug::RefusalNotSealed);
            if !writes.is_empty() {
                let changes: Result<Vec<Change>, _> = writes.iter().map(Write::to_change).collect();
                let changes =
                    changes.unwrap_or_else(|error| panic!("a write that cannot be stored: {error}"));
                let entry = Entry::encode(&changes)
                    .unwrap_or_else(|error| panic!("writes that make no entry: {error}"));
                if seeded(Bug::ApplyBeforeReserve) {
                    for write in &writes {
                        state.apply(write.clone());
                    }
                }
                let permit = context.journal.reserve(entry.as_bytes().len(), class)?;
                *seq = context.journal.append(permit, &entry);
                for write in writes {
                    let (key, ended) = (write.key(), S::ended(&write));
                    state.apply(write);
                    if let Some(id) = ended {
                        context.feed.push(Ended::Sid(hex(&id)), now);
                    }
                    context.write_counts.note(&key);
                    pending_writes.note(*seq, key, context.journal.durable());
                }
            }
            note(state, &verdict, now);
            Ok(Sealed::new(verdict, if unsealed { 0 } else { *seq }))
        })
    }

    /// A reading, sealed like any verdict.
    #[expect(clippy::unnecessary_wraps, reason = "answers of readings and of decisions are awaited alike")]
    pub fn read<V>(&self, read: impl FnOnce(&S, Timestamp) -> V) -> Answer<V> {
        Ok(self.sealed(read, self.seq))
    }

    /// A reading of that record and of nothing else: it waits for what was written of it, and for no write of others.
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

/// Reads whole buckets for a snapshot, a few at a time, so that no message holds up the owner.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "(Records, usize)")]
pub struct ReadBuckets {
    /// The first bucket.
    pub from: usize,
}

/// Records in one message, unless a single bucket holds more.
const RECORDS_PER_MESSAGE: usize = if cfg!(any(test, feature = "sim")) { 4 } else { 128 };

impl<S: Registry> Handler<ReadBuckets> for Owner<S> {
    type Result = MessageResult<ReadBuckets>;

    fn handle(&mut self, read: ReadBuckets, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.read_buckets(read.from))
    }
}

impl<S: Registry> Owner<S> {
    /// Records of whole buckets from `from` on, and the bucket that comes next.
    pub fn read_buckets(&self, from: usize) -> (Records, usize) {
        let Self { state, context, .. } = self;
        context.fail_stop.guard(S::NAME, || {
            let mut records = Records::default();
            let (mut next, mut count) =
                (from + if from > 0 && seeded(Bug::BucketSkipped) { 200 } else { 0 }, 0);
            while next < BUCKETS && count < RECORDS_PER_MESSAGE {
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

    /// Forgets what is out of time in some buckets.
    pub fn sweep(&mut self) {
        let Self { state, context, swept, .. } = self;
        context.fail_stop.guard(S::NAME, || {
            for _ in 0..SWEEP_BUCKETS {
                state.sweep(*swept, context.clock.now());
                *swept = (*swept + 1) % BUCKETS;
            }
        });
    }
}

use codec::Stored as _;

/// Implements the handlers of messages that decide something. Each line names the message, the type of its answer, the
/// class of journal space that its writes may take, and the pure rule:
///
/// `Message => Answer, Class, |state, message, now| decision;`
///
/// `by(|message| class)` in place of the class computes it from the message. `after |state, message, answer, now| ()` at
/// the end of a line notes in memory what needs no journal; it runs once the writes are applied.
macro_rules! handles {
    ($state:ty {
        $($message:ty => $verdict:ty, $class:ident $(($class_of:expr))?, $decide:expr $(, after $note:expr)?;)*
    }) => {
        $(
            impl actix::Message for $message {
                type Result = $crate::registry::Answer<$verdict>;
            }
            impl actix::Handler<$message> for $crate::registry::Owner<$state> {
                type Result = actix::MessageResult<$message>;
                fn handle(&mut self, message: $message, _: &mut actix::Context<Self>) -> Self::Result {
                    let decide: fn(&$state, $message, $crate::system::clock::Timestamp) -> _ = $decide;
                    let class = $crate::registry::handles!(@class $class, message, $message $(, $class_of)?);
                    actix::MessageResult($crate::registry::handles!(
                        @decide self, class, decide, message, $state, $message, $verdict $(, $note)?
                    ))
                }
            }
        )*
    };
    (@class by, $message:ident, $type:ty, $class_of:expr) => {{
        let class_of: fn(&$type) -> $crate::journal::append::handle::Class = $class_of;
        class_of(&$message)
    }};
    (@class $class:ident, $message:ident, $type:ty) => {
        $crate::journal::append::handle::Class::$class
    };
    (@decide $owner:ident, $class:ident, $decide:ident, $message:ident, $state:ty, $type:ty, $verdict:ty) => {
        $owner.decide($class, |state, now| $decide(state, $message, now))
    };
    (
        @decide $owner:ident, $class:ident, $decide:ident, $message:ident, $state:ty, $type:ty, $verdict:ty, $note:expr
    ) => {{
        let note: fn(&mut $state, &$type, &$verdict, $crate::system::clock::Timestamp) = $note;
        let noted = $message.clone();
        $owner.decide_and(
            $class,
            |state, now| $decide(state, $message, now),
            |state, verdict, now| note(state, &noted, verdict, now),
        )
    }};
}

/// Likewise for readings. One that looks at a single record names it: `Command, of key => ...`.
macro_rules! reads {
    ($state:ty { $($command:ty $(, of $key:expr)? => $verdict:ty, $read:expr;)* }) => {
        $(
            impl actix::Message for $command {
                type Result = $crate::registry::Answer<$verdict>;
            }
            impl actix::Handler<$command> for $crate::registry::Owner<$state> {
                type Result = actix::MessageResult<$command>;
                fn handle(&mut self, command: $command, _: &mut actix::Context<Self>) -> Self::Result {
                    let read: fn(&$state, $command, $crate::system::clock::Timestamp) -> $verdict = $read;
                    actix::MessageResult($crate::registry::reads!(@ self, read, command $(, $command, $key)?))
                }
            }
        )*
    };
    (@ $owner:expr, $read:expr, $command:expr) => {
        $owner.read(|state, now| $read(state, $command, now))
    };
    (@ $owner:expr, $read:expr, $command:expr, $type:ty, $key:expr) => {{
        let key: fn(&$type) -> [u8; 16] = $key;
        let key = key(&$command);
        $owner.read_of(&key, |state, now| $read(state, $command, now))
    }};
}

/// Ties a state to its record.
macro_rules! registry {
    ($state:ty, $record:ty, $name:literal $(, ends $ended:path)?) => {
        impl $crate::registry::Registry for $state {
            type Record = $record;
            const NAME: &'static str = $name;
            fn apply(&mut self, write: $crate::registry::record::Write<$record>) {
                <$state>::apply(self, write);
            }
            fn buckets(&self) -> &$crate::registry::buckets::Buckets<[u8; 16], $record> {
                <$state>::buckets(self)
            }
            fn is_sound(record: &$record) -> bool {
                record.is_sound()
            }
            fn sweep(&mut self, bucket: usize, now: $crate::system::clock::Timestamp) -> usize {
                <$state>::sweep(self, bucket, now)
            }
            $(
                fn ended(write: &$crate::registry::record::Write<$record>) -> Option<[u8; 16]> {
                    $ended(write)
                }
            )?
        }
    };
}

pub(crate) use {handles, reads, registry};

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::account::Accounts;
    use super::refresh::{Families, Limits, OpenFamily};
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

    #[test]
    fn a_reading_waits_for_what_was_written_of_its_record_and_for_no_write_of_others() {
        let (clock, random) =
            (Clock::manual(Timestamp::from_secs(1_800_000_000)), Arc::new(Random::seeded(1)));
        let options = Options {
            storage: Arc::new(SimStorage::new()),
            sizes: Sizes { segment: 65_536, body: 8_192, align: 512, window: 65_536 },
            clock: clock.clone(),
            random: Arc::clone(&random),
            accept_clock_floor: false,
        };
        let mut journal = recover(options, &mut Accounts::default()).unwrap();
        journal.prepare().unwrap();
        let day = Duration::from_hours(24);
        let context = OwnerContext {
            journal: journal.handle.clone(),
            clock: clock.clone(),
            fail_stop: FailStop::new(|why| panic!("{why}")),
            write_counts: Arc::default(),
            feed: Arc::new(Feed::new(1, day)),
        };
        let limits = Limits { grace: Duration::from_secs(10), idle: day, absolute: day };
        let mut owner = Owner::new(Families::new(limits), context);
        let account = AccountId::from_bytes([1; 16]).unwrap();
        let mut number = 0;
        let mut open = |owner: &mut Owner<Families>| {
            number += 1;
            let id = FamilyId::mint(account.slot(), [number; 14]);
            let (network, user_agent) = ("192.0.2.0/24".into(), "test".into());
            let digest = SecretDigest([0; 32]);
            let opened =
                OpenFamily { id, account, auth_epoch: 1, global_epoch: 0, digest, network, user_agent };
            let written = owner.decide(Class::Ordinary, |families, now| families.open(&opened, now));
            assert!(written.is_ok());
            id.to_bytes()
        };
        let of = |owner: &Owner<Families>, key| is_open(&journal.handle, owner.read_of(&key, |_, _| ()));
        let (first, nobody) = (open(&mut owner), [9; 16]);
        assert!(!of(&owner, first) && of(&owner, nobody));
        assert!(!is_open(&journal.handle, owner.read(|_, _| ())));
        journal.writer.step().unwrap();
        assert!(of(&owner, first));
        let second = open(&mut owner);
        assert!(of(&owner, first) && !of(&owner, second) && of(&owner, nobody));
        // What has become durable is forgotten with the next write.
        assert_eq!(owner.pending_writes.0.len(), 1);
        journal.writer.step().unwrap();
        assert!(of(&owner, second) && is_open(&journal.handle, owner.read(|_, _| ())));
    }
}
