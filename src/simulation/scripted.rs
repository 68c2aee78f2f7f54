//! Scripted stories over the simulated disk, in which every operation is the one that stops the machine or fails.
//!
//! The oracle: after a crash the state equals the fold of some prefix of all entries, and that prefix holds every entry
//! that was acknowledged.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::journal::append::handle::{Class, NoRoom};
use crate::journal::append::segment_log::drop_segments;
use crate::journal::append::writer::Stepped;
use crate::journal::format::buckets::{BUCKETS, bucket_of};
use crate::journal::format::entry::{Change, EncodedEntry, Entry};
use crate::journal::format::layout::{
    IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR, Sizes, numbers, segment_path, snapshot_path,
};
use crate::journal::recovery::report::{Refusal, ReplayTarget};
use crate::journal::recovery::{Options, Recovered, recover};
use crate::journal::snapshot::{Records, SnapshotWriter, keep_two};
use crate::storage::Storage;
use crate::storage::simulated::{Failure, Kind, SimStorage};
use crate::system::clock::{Clock, Timestamp};
use crate::system::random::Random;

const SIZES: Sizes = Sizes { segment: 16_384, body: 2_048, align: 512, window: 65_536 };
const TABLE: u16 = 9;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The simplest state: the last value of each key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Toy {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl ReplayTarget for Toy {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        if table != TABLE || schema > 1 {
            return Err(format!("unknown table {table} with schema {schema}"));
        }
        match value {
            Some(value) => self.values.insert(key.to_vec(), value.to_vec()),
            None => self.values.remove(key),
        };
        Ok(())
    }
}

/// Returns the writes of entry `seq`. They follow from the number, so that the state after any prefix can be computed.
fn entry(seq: u64) -> (Vec<Change>, EncodedEntry) {
    let key = |n: u64| vec![0, 0, (n % 7) as u8];
    let mut changes = vec![Change {
        table: TABLE,
        schema: 1,
        key: key(seq),
        value: Some([&seq.to_le_bytes()[..], &vec![7; (seq % 5 * 90) as usize]].concat()),
    }];
    if seq.is_multiple_of(3) {
        changes.push(Change { table: TABLE, schema: 0, key: key(seq + 1), value: None });
    }
    let encoded = Entry::encode(&changes).unwrap();
    (changes, encoded)
}

/// Returns the state after the first `seqs` entries.
fn fold(seqs: u64) -> Toy {
    let mut toy = Toy::default();
    for seq in 1..=seqs {
        apply_all(&mut toy, seq);
    }
    toy
}

fn apply_all(toy: &mut Toy, seq: u64) {
    for change in entry(seq).0 {
        toy.apply(change.table, change.schema, &change.key, change.value.as_deref()).unwrap();
    }
}

/// A server of toys.
struct World {
    journal: Recovered,
    toy: Toy,
}

fn options(disk: &SimStorage) -> Options {
    Options {
        storage: Arc::new(disk.clone()),
        sizes: SIZES,
        clock: Clock::manual(NOW),
        random: Arc::new(Random::seeded(disk.operations())),
        accept_clock_floor: false,
    }
}

impl World {
    fn start(disk: &SimStorage) -> Result<Self, Refusal> {
        let mut toy = Toy::default();
        let journal = recover(options(disk), &mut toy)?;
        Ok(Self { journal, toy })
    }

    /// Appends the next entry and applies it.
    fn put(&mut self) -> Result<(), NoRoom> {
        let permit = self.journal.handle.reserve(600, Class::Ordinary)?;
        let seq = self.journal.handle.assigned() + 1;
        assert_eq!(self.journal.handle.append(permit, &entry(seq).1), seq);
        apply_all(&mut self.toy, seq);
        Ok(())
    }

    /// Writes what was appended. Returns false if the writer has failed, which ends the process.
    fn sync(&mut self) -> bool {
        self.journal.writer.step().is_ok()
    }

    /// Takes and names a snapshot, appending entries meanwhile, and deletes what it makes superfluous.
    fn snapshot(&mut self) -> io::Result<()> {
        let handle = self.journal.handle.clone();
        let context = self.journal.context().clone();
        let mut writer = SnapshotWriter::begin(&context, handle.assigned())?;
        let mut from = 0;
        for to in [1000, 3000, BUCKETS] {
            let mut records = Records::default();
            for (key, value) in &self.toy.values {
                if (from..to).contains(&bucket_of(key)) {
                    records.add(1, key, value);
                }
            }
            writer.chunk(TABLE, 1, from, to, &records)?;
            from = to;
            // The server continues meanwhile.
            if self.put().is_ok() && !self.sync() {
                return Err(io::Error::other("over"));
            }
        }
        let unnamed = writer.finish(handle.assigned(), NOW.as_millis()).map_err(io::Error::other)?;
        unnamed.name(handle.durable())?;
        self.journal.writer.persist_low_bound().map_err(io::Error::other)?;
        let needed = keep_two(&*context.storage, context.cluster).map_err(io::Error::other)?;
        drop_segments(&*context.storage, needed)
    }

    /// Runs a story with switches of segments, batches of several entries, attest frames and snapshots.
    fn story(&mut self, steps: u64) {
        for step in 0..steps {
            let _ = self.journal.prepare();
            for _ in 0..=step % 4 {
                let _ = self.put();
            }
            if !self.sync() || (step % 5 == 0 && self.journal.writer.attest().is_err()) {
                return;
            }
            if step % 6 == 5 && self.snapshot().is_err() && self.journal.writer.step().is_err() {
                return;
            }
        }
    }
}

/// Restarts, compares with the oracle, and returns the sequence that was reached.
fn check(disk: &SimStorage, acknowledged: u64, assigned: u64, what: &str) -> u64 {
    let world = World::start(disk).unwrap_or_else(|refusal| panic!("{what}: refused: {refusal}"));
    let reached = world.journal.report.seq;
    assert!(
        (acknowledged..=assigned).contains(&reached),
        "{what}: {acknowledged}..{assigned}, got {reached}"
    );
    assert!(world.toy == fold(reached), "{what}: not the state of the first {reached} entries");
    reached
}

#[test]
fn no_crash_at_any_operation_loses_what_was_acknowledged() {
    let whole = SimStorage::new();
    World::start(&whole).unwrap().story(40);
    let operations = whole.operations();
    assert!(operations > 250, "the story is too short: {operations}");
    let mut crashes = 0;
    for stop in 1..=operations {
        let disk = SimStorage::new();
        disk.stop_at(stop);
        let (acknowledged, assigned) = match World::start(&disk) {
            Ok(mut world) => {
                world.story(40);
                (world.journal.handle.durable(), world.journal.handle.assigned())
            }
            Err(_) => (0, 0),
        };
        for seed in 0..6 {
            let what = format!("stopped at operation {stop}, crash {seed}");
            let mut after = disk.after_crash(stop * 31 + seed);
            // Then crash during recovery, up to twice, each time at another operation.
            for deep in 0..seed.min(2) {
                after.stop_at(1 + (stop * 7 + seed * 13 + deep * 5) % 40);
                let _ = World::start(&after);
                after = after.after_crash(stop + seed);
            }
            let reached = check(&after, acknowledged, assigned, &what);
            // The state that a restart has shown is true from then on.
            check(&after.after_crash(seed), reached, reached, &what);
            check(&after.after_kill(), reached, reached, &what);
            crashes += 1;
        }
    }
    assert!(crashes > 1500);
}

/// The acknowledged and the last assigned sequence at the end of a story.
type Reached = (u64, u64);

/// A short story; there is one for each thing that touches the disk. `None` if it failed before anything was assigned.
type Story = fn(&SimStorage) -> Option<Reached>;

fn reached(world: &World) -> Reached {
    (world.journal.handle.durable(), world.journal.handle.assigned())
}

/// Starts on a disk that may fail, runs `story`, and returns what was reached.
fn start_and(disk: &SimStorage, story: impl FnOnce(&mut World)) -> Option<Reached> {
    let mut world = World::start(disk).ok()?;
    story(&mut world);
    Some(reached(&world))
}

const STORIES: [(&str, Story); 6] = [
    ("first start and a few entries", |disk| start_and(disk, |world| world.story(2))),
    ("switches, attests and snapshots", |disk| start_and(disk, |world| world.story(14))),
    ("a snapshot and the files it deletes", |disk| {
        start_and(disk, |world| {
            world.story(4);
            for _ in 0..3 {
                if world.snapshot().is_err() && world.journal.writer.step().is_err() {
                    return;
                }
            }
        })
    }),
    ("a clean stop", |disk| {
        let mut world = World::start(disk).ok()?;
        world.story(3);
        let handle = world.journal.handle.clone();
        // Frames that a stop has written before it failed are durable all the same.
        let _ = world.journal.writer.close();
        Some((handle.durable(), handle.assigned()))
    }),
    ("a restart over an unproven frame", |disk| {
        let first = start_and(disk, |world| world.story(3))?;
        disk.unlock();
        // A start that fails does not undo anything.
        Some(start_and(disk, |world| world.story(2)).unwrap_or(first))
    }),
    ("a disk that fills up", |disk| {
        disk.set_free(5 * SIZES.segment);
        let reached = start_and(disk, |world| world.story(12));
        disk.set_free(u64::MAX);
        reached
    }),
];

/// Fails the first operation, then the second, until the story runs without a failure: once, or for good.
#[test]
fn nothing_acknowledged_is_lost_whichever_operation_fails() {
    let mut failed = 0;
    for (name, story) in STORIES {
        for error in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            for lasting in [false, true] {
                for at in 1.. {
                    let disk = SimStorage::new();
                    disk.fail(Some(Failure { at, lasting, only: None, error }));
                    let reached = story(&disk);
                    if !disk.has_failed() {
                        assert!(at > 20, "{name} is over after {at} operations");
                        break;
                    }
                    failed += 1;
                    let (least, most) = reached.unwrap_or((0, u64::MAX));
                    let what = format!("{name}: operation {at} failed ({error:?}, lasting: {lasting})");
                    for after in [disk.after_kill(), disk.after_crash(at), disk.after_crash(at + 1_000_000)] {
                        check(&after, least, most, &what);
                    }
                }
            }
        }
    }
    assert!(failed > 1_000, "{failed}");
}

#[test]
fn a_writer_does_nothing_after_its_first_fault() {
    let disk = SimStorage::new();
    let mut world = World::start(&disk).unwrap();
    world.put().unwrap();
    let only = Some(Kind::Sync);
    disk.fail(Some(Failure { at: 0, lasting: false, only, error: io::ErrorKind::Other }));
    assert!(world.journal.writer.step().is_err());
    let operations = disk.operations();
    assert!(world.journal.writer.step().is_err());
    assert!(world.journal.writer.attest().is_err());
    assert_eq!(disk.operations(), operations);
    assert_eq!(world.put(), Err(NoRoom::Stopped));
}

#[test]
fn a_full_disk_refuses_before_anything_changes_and_keeps_a_reserve() {
    let disk = SimStorage::new();
    let mut world = World::start(&disk).unwrap();
    disk.set_free(0);
    let refused = loop {
        let before = world.toy.clone();
        if let Err(refused) = world.put() {
            assert_eq!(world.toy, before);
            break refused;
        }
        assert_eq!(world.journal.writer.step().unwrap(), Stepped::Wrote);
    };
    assert_eq!(refused, NoRoom::StorageFull);
    let handle = world.journal.handle.clone();
    drop(handle.reserve(600, Class::Lockout).unwrap());
    let mut lockouts = Vec::new();
    while let Ok(permit) = handle.reserve(600, Class::Lockout) {
        lockouts.push(permit);
    }
    assert!(!lockouts.is_empty());
    assert!(handle.reserve(600, Class::Essential).is_ok());
    drop(lockouts);
    // If a snapshot would no longer fit, ordinary entries are refused even though a segment is prepared.
    disk.set_free(SIZES.segment);
    let _ = world.journal.prepare();
    assert_eq!(world.put(), Err(NoRoom::StorageFull));
    disk.set_free(1 << 20);
    world.journal.prepare().unwrap();
    assert_eq!(world.put(), Ok(()));
}

#[test]
fn entries_that_wait_for_a_slow_disk_are_bounded() {
    let disk = SimStorage::new();
    let mut world = World::start(&disk).unwrap();
    for _ in 0..64 {
        let _ = world.journal.writer.step();
        let _ = world.journal.prepare();
    }
    let mut waiting = 0;
    let refused = loop {
        match world.put() {
            Ok(()) => waiting += 1,
            Err(refused) => break refused,
        }
    };
    assert!(waiting > 4, "{waiting}");
    assert!(matches!(refused, NoRoom::Busy | NoRoom::StorageFull), "{refused:?}");
    assert!(world.sync());
    assert_eq!(world.put(), Ok(()));
}

/// Makes a directory with several segments and snapshots that was stopped cleanly.
fn stopped_directory() -> SimStorage {
    let disk = SimStorage::new();
    let mut world = World::start(&disk).unwrap();
    world.story(20);
    let _ = world.journal.writer.close();
    disk.after_kill()
}

/// Returns the refusal of a start, or "started".
fn refusal(disk: &SimStorage) -> String {
    World::start(disk).err().map_or_else(|| String::from("started"), |refusal| refusal.to_string())
}

#[test]
fn damage_is_refused_with_its_place_and_never_taken_for_an_end() {
    let sound = stopped_directory();
    let segments = numbers(&sound, JOURNAL_DIR, ".log").unwrap();
    let [first, .., last] = segments.as_slice() else { panic!("too few segments") };
    let first = *first;
    let last = *last;
    for offset in [0, 20, 100, 3000, 4096, 4100, 4200, 5000] {
        let disk = sound.after_kill();
        disk.damage(&segment_path(last), |bytes| bytes[offset] ^= 0x10);
        let refusal = refusal(&disk);
        assert!(refusal.starts_with(&segment_path(last)), "byte {offset}: {refusal}");
    }
    for (what, act) in [
        ("cut", (|disk, path| disk.damage(path, |bytes| bytes.truncate(8192))) as fn(&SimStorage, &str)),
        ("lost", |disk, path| disk.lose(path)),
        ("zeroed", |disk, path| disk.damage(path, |bytes| bytes[4096..].fill(0))),
    ] {
        let disk = sound.after_kill();
        act(&disk, &segment_path(last));
        assert_ne!(refusal(&disk), "started", "{what}");
    }
    let disk = sound.after_kill();
    disk.damage(&segment_path(last), |_| ());
    let swapped = disk.open(&segment_path(first)).unwrap().read_all().unwrap();
    disk.damage(&segment_path(last), |bytes| *bytes = swapped);
    assert!(refusal(&disk).contains("its name is not the one"), "{}", refusal(&disk));
    let disk = sound.after_kill();
    disk.lose(IDENTITY);
    assert!(refusal(&disk).contains("IDENTITY: missing"));
}

#[test]
fn a_damaged_snapshot_gives_way_to_the_older_one() {
    let disk = SimStorage::new();
    let mut world = World::start(&disk).unwrap();
    world.story(40);
    let reached = world.journal.handle.durable();
    let snapshots = numbers(&disk, SNAPSHOT_DIR, ".snap").unwrap();
    assert_eq!(snapshots.len(), 2);
    for offset in [9, 60, 4100, 4200] {
        let after = disk.after_kill();
        after.damage(&snapshot_path(snapshots[1]), |bytes| bytes[offset] ^= 1);
        let world = World::start(&after).unwrap();
        assert_eq!(world.journal.report.seq, reached);
        assert_eq!(world.toy, fold(reached));
        assert_eq!(world.journal.report.warnings.len(), 1);
    }
    let after = disk.after_kill();
    for snapshot in snapshots {
        after.damage(&snapshot_path(snapshot), |bytes| bytes.truncate(5000));
    }
    assert_ne!(refusal(&after), "started");
}

#[test]
fn a_clock_that_is_a_day_behind_needs_a_flag() {
    let disk = stopped_directory();
    let with_clock = |now: Timestamp, accept| {
        let mut options = options(&disk.after_kill());
        options.clock = Clock::manual(now);
        options.accept_clock_floor = accept;
        let clock = options.clock.clone();
        recover(options, &mut Toy::default()).map(|started| (clock.now(), started.report.warnings.len()))
    };
    let day = std::time::Duration::from_hours(25);
    assert!(with_clock(NOW - day, false).unwrap_err().to_string().contains("--accept-clock-floor"));
    assert_eq!(with_clock(NOW - day, true).unwrap(), (NOW, 1));
    let exactly = std::time::Duration::from_hours(24);
    assert_eq!(with_clock(NOW - exactly, false).unwrap(), (NOW, 1));
    let moment = std::time::Duration::from_millis(1);
    assert!(with_clock(NOW - exactly - moment, false).is_err());
    let little = std::time::Duration::from_mins(5);
    assert_eq!(with_clock(NOW - little - moment, false).unwrap(), (NOW, 1));
    assert_eq!(with_clock(NOW - little, false).unwrap(), (NOW, 0));
    assert_eq!(with_clock(NOW + day, false).unwrap(), (NOW + day, 0));
}
