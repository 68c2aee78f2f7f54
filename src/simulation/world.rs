//! One life of a server in the simulator: the real journal and three real owners around pure states.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::oracle::{Fold, Oracle, Place};
use crate::journal::append::handle::{Class, NoRoom, Permit, Sealed};
use crate::journal::format::buckets::BUCKETS;
use crate::journal::format::codec::{self, Stored};
use crate::journal::format::entry::Change;
use crate::journal::format::frame;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::report::{Refusal, ReplayTarget};
use crate::journal::recovery::{Options, Recovered, recover};
use crate::journal::snapshot::Records;
use crate::journal::snapshot::run::{Finished, SnapshotRun};
use crate::registry::record::{BY_PASSWORD, Decision, Record, Write};
use crate::registry::refresh::record::SpentByV1;
use crate::registry::refresh::state::{Limits, OpenFamily, Rotate};
use crate::registry::refresh::{Audience, Families};
use crate::registry::{Answer, Owner, OwnerContext, Registry};
use crate::simulation::toys::{TOY_A, TOY_B};
use crate::simulation::toys::{Toys, kept};
use crate::storage::simulated::SimStorage;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::random::Random;
use crate::system::seeded_bug::{Bug, seeded};
use crate::token::Feed;
use crate::token::opaque::SecretDigest;
use crate::value::id::{AccountId, FamilyId, Slot};

const FAMILIES: u16 = 5;

/// The states that recovery fills.
pub(super) struct States {
    a: Toys<TOY_A>,
    b: Toys<TOY_B>,
    families: Families,
}

impl ReplayTarget for States {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        match table {
            TOY_A => self.a.restore(schema, key, value),
            TOY_B => self.b.restore(schema, key, value),
            FAMILIES => self.families.restore(schema, key, value),
            other => Err(format!("table {other} is not known")),
        }
    }
}

/// A snapshot run that is under way.
pub(super) enum Saving {
    /// Owners are asked for buckets: the table, the bucket, and records that were read but not handed over yet.
    Asking(Box<SnapshotRun>, usize, usize, Option<(Records, usize)>),
    /// The snapshot waits for its end to be durable.
    Waiting(Finished),
}

type Opening = Pin<Box<dyn Future<Output = Result<(), NoRoom>>>>;

/// One life of a server.
pub(super) struct World {
    pub journal: Recovered,
    pub clock: Clock,
    a: Owner<Toys<TOY_A>>,
    b: Owner<Toys<TOY_B>>,
    families: Owner<Families>,
    /// Answers that wait for their sequence to be durable, each with the sequence that it rests on.
    openings: Vec<(Opening, u64)>,
    /// Permits that are held without an entry.
    pub held: Vec<Permit>,
    pub saving: Option<Saving>,
    /// Whether the snapshot under way was damaged.
    pub rotten: bool,
    /// Whether the emergency reserve was used since an ordinary entry was last let in.
    reserve_used: bool,
}

/// Returns the options of a recovery over a simulated disk.
pub(super) fn options(disk: &SimStorage, sizes: Sizes, clock: Clock, seed: u64) -> Options {
    let random = Arc::new(Random::seeded(seed));
    Options { storage: Arc::new(disk.clone()), sizes, clock, random, accept_clock_floor: false }
}

impl World {
    /// Recovers from `disk` and builds the owners, as a start does.
    pub(super) fn start(disk: &SimStorage, sizes: Sizes, clock: &Clock, seed: u64) -> Result<Self, Refusal> {
        let day = Duration::from_hours(24);
        let limits = Limits {
            grace: Duration::from_secs(10),
            idle: day * 1000,
            absolute: day * 2000,
            remember_ended: day * 1000,
        };
        let mut states = States { a: Toys::default(), b: Toys::default(), families: Families::new(limits) };
        let journal = recover(options(disk, sizes, clock.clone(), seed), &mut states)?;
        let context = OwnerContext {
            journal: journal.handle.clone(),
            clock: clock.clone(),
            fail_stop: FailStop::new(|why| panic!("{why}")),
            write_counts: Arc::default(),
            feed: Arc::new(Feed::new(journal.context().epoch, day)),
            events: None,
        };
        Ok(Self {
            journal,
            clock: clock.clone(),
            a: Owner::new(states.a, context.clone()),
            b: Owner::new(states.b, context.clone()),
            families: Owner::new(states.families, context),
            openings: Vec::new(),
            held: Vec::new(),
            saving: None,
            rotten: false,
            reserve_used: false,
        })
    }

    /// Returns the state that is served, in its plainest form.
    pub(super) fn fold(&self) -> Fold {
        let mut fold = Fold::default();
        into(&mut fold, self.a.state());
        into(&mut fold, self.b.state());
        into(&mut fold, self.families.state());
        fold
    }

    /// Sends a wish to the toys of its table.
    ///
    /// Errors: a broken promise, which the run reports as a loss.
    pub(super) fn toy(&mut self, oracle: &mut Oracle, wish: &Wish, class: Class) -> Result<(), String> {
        match wish.table {
            TOY_A => ask(
                &mut self.a,
                oracle,
                wish,
                class,
                &self.journal,
                &mut self.openings,
                &mut self.reserve_used,
            ),
            _ => ask(
                &mut self.b,
                oracle,
                wish,
                class,
                &self.journal,
                &mut self.openings,
                &mut self.reserve_used,
            ),
        }
    }

    /// Opens a refresh family, or rotates its token: the real rule in the real owner.
    pub(super) fn family(&mut self, oracle: &mut Oracle, number: u8, secret: u64) -> Result<(), String> {
        let slot = Slot::FIRST;
        let id = FamilyId::mint(slot, [number; 14]);
        let account = AccountId::mint(slot, [9; 14]);
        let digest = |n: u64| SecretDigest([n as u8; 32]);
        let mut writes = Vec::new();
        let place: Place = (FAMILIES, id.to_bytes().to_vec());
        let answer: Answer<()> = self.families.decide(Class::Ordinary, |families, now| {
            let decision = match families.get(id) {
                None => {
                    let decision = families.open(
                        &OpenFamily {
                            id,
                            account,
                            auth_epoch: 1,
                            global_epoch: 0,
                            digest: digest(0),
                            network: "192.0.2.0/24".into(),
                            user_agent: "sim".into(),
                            audience: Audience::App,
                            proved: None,
                            methods: BY_PASSWORD,
                            replaces: false,
                        },
                        now,
                    );
                    Decision { writes: decision.writes, verdict: () }
                }
                Some(family) => {
                    // Mostly the live token; sometimes one that was spent long ago, which ends the family.
                    let back = u32::from(secret.is_multiple_of(7)) * 2;
                    let generation = family.generation.saturating_sub(back);
                    let rotate = Rotate {
                        id,
                        generation,
                        digest: digest(u64::from(generation)),
                        next_digest: digest(u64::from(generation) + 1),
                        next_sealed: [secret as u8; 40],
                        by: SpentByV1 { network: 0xC000_0200, is_v6: false, agent: 1 },
                    };
                    let decision = families.rotate(&rotate, now);
                    Decision { writes: decision.writes, verdict: () }
                }
            };
            writes.extend(decision.writes.iter().map(change));
            decision
        });
        note_answer(&self.journal, &mut self.openings, oracle, answer, writes, &place).map(|_| ())
    }

    /// Lets out every answer that may leave by now. Returns how many left.
    pub(super) fn let_out(&mut self, oracle: &mut Oracle) -> u64 {
        let mut facts = 0;
        let mut context = Context::from_waker(Waker::noop());
        self.openings.retain_mut(|(opening, rests_on)| match opening.as_mut().poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready(opened) => {
                if opened.is_ok() {
                    facts += 1;
                    oracle.answered = oracle.answered.max(*rests_on);
                }
                false
            }
        });
        facts
    }

    /// Takes the next step of the snapshot run. After an error the next call begins again.
    pub(super) fn save(&mut self, oracle: &mut Oracle) -> Result<(), String> {
        let handle = self.journal.handle.clone();
        let step = match self.saving.take() {
            None => SnapshotRun::begin(self.journal.context(), &handle)
                .map(|run| Saving::Asking(Box::new(run), 0, 0, None))
                .map_err(|e| e.to_string()),
            Some(Saving::Asking(run, table, from, None)) if table < 3 => {
                let read = match table {
                    0 => self.a.read_buckets(from),
                    1 => self.b.read_buckets(from),
                    _ => self.families.read_buckets(from),
                };
                Ok(Saving::Asking(run, table, from, Some(read)))
            }
            Some(Saving::Asking(run, _, _, None)) => {
                run.finish().map(Saving::Waiting).map_err(|e| e.to_string())
            }
            Some(Saving::Asking(mut run, table, from, Some((records, next)))) => {
                let tag = [TOY_A, TOY_B, FAMILIES].get(table).copied().unwrap_or_default();
                let added = run.add((tag, 1), from, records, next).map_err(|e| e.to_string());
                let (table, next) = if next >= BUCKETS { (table + 1, 0) } else { (table, next) };
                added.map(|()| Saving::Asking(run, table, next, None))
            }
            Some(Saving::Waiting(finished))
                if finished.end_seq() > handle.durable() && !seeded(Bug::NamedBeforeEndIsDurable) =>
            {
                Ok(Saving::Waiting(finished))
            }
            Some(Saving::Waiting(finished)) => {
                return match finished.name(&kept) {
                    Ok(_) => {
                        oracle.named += 1;
                        Ok(())
                    }
                    Err(error) => Err(error.to_string()),
                };
            }
        };
        match step {
            Ok(saving) => self.saving = Some(saving),
            Err(why) => {
                SnapshotRun::abandon(self.journal.context());
                return Err(why);
            }
        }
        Ok(())
    }

    /// Has every toy owner sweep expired records.
    pub(super) fn sweep(&mut self) {
        for _ in 0..8 {
            self.a.sweep();
            self.b.sweep();
        }
    }
}

/// A request of a client of the toys.
pub(super) struct Wish {
    pub table: u16,
    pub key: [u8; 16],
    pub what: What,
}

pub(super) enum What {
    Put { end_ms: u64, fill: Vec<u8> },
    Remove,
    Refuse,
    Read,
}

fn into<S: Registry>(fold: &mut Fold, state: &S) {
    for (key, record) in (0..BUCKETS).flat_map(|bucket| state.buckets().bucket(bucket)) {
        fold.0.insert((S::Record::TABLE, key.to_vec()), codec::encode(record).unwrap());
    }
}

fn change<R: Record>(write: &Write<R>) -> Change {
    write.to_change().unwrap()
}

/// Tells the oracle what was written, and keeps the answer until it opens. Says whether there was room.
fn note_answer(
    journal: &Recovered,
    openings: &mut Vec<(Opening, u64)>,
    oracle: &mut Oracle,
    answer: Answer<()>,
    writes: Vec<Change>,
    place: &Place,
) -> Result<bool, String> {
    let sealed: Sealed<()> = match answer {
        Ok(sealed) => sealed,
        Err(_) => return Ok(false),
    };
    if !writes.is_empty() {
        let sizes = journal.context().sizes;
        let len =
            8 + writes.iter().map(|c| 12 + c.key.len() + c.value.as_ref().map_or(0, Vec::len)).sum::<usize>();
        oracle.waiting += frame::padded(len, sizes.align) as u64;
        if oracle.waiting > sizes.window {
            return Err(String::from("more waits for the disk than the window allows"));
        }
        oracle.entered(writes);
        if journal.handle.assigned() != oracle.assigned() {
            return Err(format!("sequence {} for entry {}", journal.handle.assigned(), oracle.assigned()));
        }
    }
    let rests_on = oracle.rests_on(place);
    let handle = journal.handle.clone();
    openings.push((Box::pin(async move { handle.open(sealed).await }), rests_on));
    Ok(true)
}

fn ask<const TABLE: u16>(
    owner: &mut Owner<Toys<TABLE>>,
    oracle: &mut Oracle,
    wish: &Wish,
    class: Class,
    journal: &Recovered,
    openings: &mut Vec<(Opening, u64)>,
    reserve_used: &mut bool,
) -> Result<(), String> {
    let place = (TABLE, wish.key.to_vec());
    let mut writes: Vec<Change> = Vec::new();
    let mut unwritten = None;
    let before = owner.state().0.get(&wish.key).cloned();
    let answer = match &wish.what {
        What::Read => owner.read_of(&wish.key, |toys, _| drop(toys.0.get(&wish.key).cloned())),
        _ => owner.decide(class, |toys, _| {
            let mut decision = match &wish.what {
                What::Put { end_ms, fill } => toys.put(wish.key, *end_ms, fill.clone()),
                What::Remove => toys.remove(wish.key),
                What::Refuse | What::Read => Decision::unchanged(()),
            };
            writes.extend(decision.writes.iter().map(change));
            if seeded(Bug::EvictionNotWritten) && decision.writes.len() > 1 {
                unwritten = Some(decision.writes.remove(0));
            }
            decision
        }),
    };
    if let Some(unwritten) = unwritten.filter(|_| answer.is_ok()) {
        owner.state_mut().apply(unwritten);
    }
    let refused = answer.as_ref().err().copied();
    let wrote = !writes.is_empty();
    note_answer(journal, openings, oracle, answer, writes, &place)?;
    match (refused, class) {
        (None, Class::Ordinary) => *reserve_used &= !wrote,
        (None, _) => *reserve_used |= wrote,
        (Some(refused), class) => {
            if owner.state().0.get(&wish.key) != before.as_ref() {
                return Err(format!("{refused} for a wish that was granted in memory"));
            }
            // The reserve for log-out and revocation must be there, until these have used it themselves.
            if refused == NoRoom::StorageFull
                && class == Class::Ordinary
                && !*reserve_used
                && journal.handle.reserve(64, Class::Essential).is_err_and(|why| why == NoRoom::StorageFull)
            {
                return Err(String::from("no reserve was kept for essential entries"));
            }
        }
    }
    Ok(())
}
