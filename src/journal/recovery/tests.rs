//! What a start makes of a directory, and what may come between reading it and owning it.

use std::collections::BTreeMap;

use super::*;
use crate::journal::append::segment_log::usable;
use crate::journal::format::header::HEADER_BYTES;
use crate::journal::format::layout::{
    BUILDING, IDENTITY, JOURNAL_DIR, QUARANTINE_DIR, SNAPSHOT_DIR, numbers, segment_path, snapshot_path,
};
use crate::simulation::Fold;
use crate::simulation::golden::{Run, SIZES, damaged, disk_of, frozen, values};
use crate::storage::simulated::SimStorage;
use crate::system::clock::Timestamp;

#[test]
fn the_torn_bytes_are_kept_and_nothing_else() {
    let torn = damaged("fenced", "fill journal/0000000000000002.log 5632 5800");
    let report = Run::begin(&torn).unwrap().journal.report;
    let kept = torn.peek("quarantine/0000000000000002-at-5632.torn").unwrap();
    assert_eq!(report.torn, 779);
    assert_eq!(kept.len(), 779);
    assert_eq!(kept[..168], [0xA5; 168]);
    let sound = disk_of(&frozen("fenced"));
    assert_eq!(Run::begin(&sound).unwrap().journal.report.torn, 0);
    assert_eq!(sound.list(QUARANTINE_DIR).unwrap(), Vec::<String>::new());
}

#[test]
fn a_start_has_the_room_of_its_segment_and_of_one_spare() {
    let run = Run::begin(&SimStorage::new()).unwrap();
    // The segment after header and fence, less what the switch to the next segment can waste.
    let here = SIZES.segment - HEADER_BYTES as u64 - SIZES.align as u64 - SIZES.frame_max();
    assert_eq!(usable(SIZES), SIZES.segment - HEADER_BYTES as u64 - SIZES.frame_max());
    assert_eq!(run.journal.handle.stats().room, here + usable(SIZES));
}

/// The surroundings of [`Run::begin`], with the same clock and the same random bytes.
fn options(disk: &SimStorage) -> Options {
    Options {
        storage: Arc::new(disk.clone()),
        sizes: SIZES,
        clock: Clock::manual(Timestamp::from_secs(1_800_000_000)),
        random: Arc::new(Random::counting()),
        accept_clock_floor: false,
    }
}

/// A target that may have keys, and counts how often it was to make them.
#[derive(Default)]
struct Keys {
    fold: Fold,
    made: u32,
    exist: bool,
}

impl ReplayTarget for Keys {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        self.fold.apply(table, schema, key, value)
    }

    fn first_start(&mut self) -> io::Result<()> {
        self.made += 1;
        Ok(())
    }

    fn has_keys(&self) -> bool {
        self.exist
    }
}

/// A target of an earlier version, which knows the schemas of its tables up to `schema_max`.
struct Earlier {
    schema_max: u16,
}

impl ReplayTarget for Earlier {
    fn apply(&mut self, _: u16, schema: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
        if schema <= self.schema_max { Ok(()) } else { Err(format!("schema {schema} is not known")) }
    }

    fn is_newer(&self, _: u16, schema: u16) -> bool {
        schema > self.schema_max
    }
}

#[test]
fn records_of_a_newer_version_are_no_damage_and_that_version_is_to_be_started() {
    // The records are in segments, and in a snapshot.
    for base in ["clean", "snapshots"] {
        let disk = disk_of(&frozen(base));
        let before = files(&disk);
        let refusal = recover(options(&disk), &mut Earlier { schema_max: 0 }).err().unwrap().to_string();
        assert!(refusal.contains("written by a newer version of Portcullis: "), "{base}: {refusal}");
        assert!(refusal.contains("start that version"), "{base}: {refusal}");
        assert!(!refusal.contains("salvage") && !refusal.contains("backup"), "{base}: {refusal}");
        assert_eq!(files(&disk), before, "{base}: a refusal changes nothing");
        assert!(recover(options(&disk), &mut Earlier { schema_max: u16::MAX }).is_ok(), "{base}");
    }
}

/// Every named file with its bytes, and the temporary ones, which a lock removes, aside.
fn files(disk: &SimStorage) -> BTreeMap<String, Vec<u8>> {
    disk.paths().into_iter().map(|path| (path.clone(), disk.peek(&path).unwrap())).collect()
}

/// Directories that differ in what recovery must do with them.
fn directories() -> Vec<(&'static str, SimStorage)> {
    let frozen_ones = ["forming", "clean", "fenced", "snapshots"].map(|base| (base, disk_of(&frozen(base))));
    let torn = damaged("fenced", "fill journal/0000000000000002.log 5632 5800");
    // The first start was killed after its segment had its name.
    let mut killed = SimStorage::new();
    for operation in 1.. {
        killed = SimStorage::new();
        killed.stop_at(operation);
        assert!(recover(options(&killed), &mut Fold::default()).is_err());
        if killed.peek(&segment_path(1)).is_some() {
            break;
        }
    }
    let mut all = vec![("empty", SimStorage::new()), ("torn", torn), ("killed", killed.after_kill())];
    all.extend(frozen_ones);
    all
}

#[test]
fn a_past_that_is_read_and_then_owned_is_what_recovery_makes_of_it() {
    for (name, disk) in directories() {
        let whole = disk.after_kill();
        let mut expected = Keys::default();
        let recovered = recover(options(&whole), &mut expected).unwrap();

        let parted = disk.after_kill();
        let before = files(&parted);
        let mut target = Keys::default();
        let past = replay::read(&parted, SIZES, &mut target).unwrap();
        assert_eq!(files(&parted), before, "{name}: reading changes nothing");
        assert_eq!(target.made, 0, "{name}");
        assert_eq!(past.report().seq, recovered.report.seq, "{name}");
        let owned = Ownership::lock(options(&parted)).unwrap().own(past, &mut target).unwrap();

        assert_eq!(owned.report, recovered.report, "{name}");
        assert_eq!(owned.context().epoch, recovered.context().epoch, "{name}");
        assert_eq!(owned.context().cluster, recovered.context().cluster, "{name}");
        assert_eq!(owned.handle.stats(), recovered.handle.stats(), "{name}");
        assert!(target.fold == expected.fold, "{name}: another state");
        assert_eq!(target.made, expected.made, "{name}");
        assert_eq!(files(&parted), files(&whole), "{name}: other bytes on the disk");
    }
}

#[test]
fn owning_a_past_compares_it_and_does_not_read_it_again() {
    let disk = disk_of(&frozen("clean"));
    let whole = disk.after_kill();
    recover(options(&whole), &mut Fold::default()).unwrap();
    let parted = disk.after_kill();
    let past = replay::read(&parted, SIZES, &mut Fold::default()).unwrap();
    let read = parted.operations();
    Ownership::lock(options(&parted)).unwrap().own(past, &mut Fold::default()).unwrap();
    assert!(parted.operations() > whole.operations(), "what was read without the lock is compared");
    assert!(parted.operations() - read < whole.operations(), "and not read again");
}

/// Reads `disk` without its lock, lets `meanwhile` happen, and returns the refusal to own what was read.
fn refused_after(disk: &SimStorage, meanwhile: impl FnOnce(&SimStorage)) -> Refusal {
    let mut target = Keys::default();
    let past = replay::read(disk, SIZES, &mut target).unwrap();
    meanwhile(disk);
    disk.unlock();
    let options = options(disk);
    let clock = options.clock.clone();
    let now = clock.now();
    let before = files(disk);
    let Err(refusal) = Ownership::lock(options).unwrap().own(past, &mut target) else {
        panic!("a past that is not the directory's any more was owned")
    };
    assert_eq!(files(disk), before, "the refusal changed something");
    assert_eq!(target.made, 0);
    assert_eq!(clock.now(), now);
    // The lock is free again, and the next reading is owned.
    let past = replay::read(disk, SIZES, &mut Keys::default()).unwrap();
    Ownership::lock(self::options(disk)).unwrap().own(past, &mut Keys::default()).unwrap();
    refusal
}

#[test]
fn a_past_that_another_run_continued_is_not_owned() {
    let grown = |refusal: &Refusal, path: &str| {
        assert_eq!(refusal.path, path, "{refusal}");
        assert_eq!(refusal.what, "the journal has grown since it was read");
        assert_eq!(refusal.next, "read it again");
    };
    for base in ["clean", "fenced", "snapshots"] {
        let refusal = refused_after(&disk_of(&frozen(base)), |disk| {
            let mut run = Run::begin(disk).unwrap();
            run.append(&[values()[0].clone()]);
            run.sync();
        });
        grown(&refusal, IDENTITY);
    }
    // The first start of another process.
    let refusal = refused_after(&SimStorage::new(), |disk| drop(Run::begin(disk).unwrap()));
    grown(&refusal, IDENTITY);
    let refusal = refused_after(&disk_of(&frozen("forming")), |disk| drop(Run::begin(disk).unwrap()));
    grown(&refusal, IDENTITY);
}

#[test]
fn a_past_is_not_owned_after_any_change_of_the_run_it_was_read_from() {
    let running = || {
        let disk = SimStorage::new();
        let mut run = Run::begin(&disk).unwrap();
        run.append(&[values()[0].clone()]);
        run.sync();
        (disk, run)
    };
    let another = |run: &mut Run| {
        run.append(&[values()[1].clone()]);
        run.sync();
    };
    // One more frame in the same segment, and one that says that the last one is durable.
    let (disk, mut run) = running();
    assert_eq!(refused_after(&disk, |_| another(&mut run)).path, JOURNAL_DIR);
    let (disk, mut run) = running();
    assert_eq!(refused_after(&disk, |_| run.journal.writer.attest().unwrap()).path, JOURNAL_DIR);
    // A new segment, of which `IDENTITY` knows.
    let (disk, mut run) = running();
    let switched = refused_after(&disk, |disk| {
        while disk.peek(&segment_path(2)).is_none() {
            another(&mut run);
        }
    });
    assert_eq!(switched.path, IDENTITY);
    // A higher bound, which a snapshot or a clean stop writes.
    let (disk, mut run) = running();
    let raised = refused_after(&disk, |_| run.journal.writer.persist_low_bound().unwrap());
    assert_eq!(raised.path, IDENTITY);
    // A named snapshot whose bound is not written yet, and a segment that is gone.
    let (disk, mut run) = running();
    let with_snapshot = disk_of(&frozen("snapshots"));
    run.snapshot();
    let name = snapshot_path(1);
    let bytes = disk.peek(&name).unwrap();
    let (disk, _run) = running();
    assert_eq!(refused_after(&disk, |disk| disk.plant(&name, bytes)).path, SNAPSHOT_DIR);
    let first = numbers(&with_snapshot, JOURNAL_DIR, ".log").unwrap()[0];
    assert_eq!(refused_after(&with_snapshot, |disk| disk.lose(&segment_path(first))).path, JOURNAL_DIR);
}

#[test]
fn bytes_that_a_power_cut_took_from_the_last_segment_are_seen() {
    let disk = disk_of(&frozen("fenced"));
    // The last frame of the last segment, which was read, is not on the disk.
    let refusal = refused_after(&disk, |disk| {
        disk.damage(&segment_path(2), |bytes| {
            let frames = (HEADER_BYTES..SIZES.segment as usize).step_by(SIZES.align);
            let last = frames.rev().find(|at| bytes[*at] != 0).unwrap();
            bytes[last..].fill(0);
        });
    });
    assert_eq!(refusal.path, JOURNAL_DIR);
}

#[test]
fn a_directory_that_was_read_empty_is_not_formed_over_keys_or_a_restore() {
    let disk = SimStorage::new();
    let own = |target: &mut Keys| {
        let past = replay::read(&disk, SIZES, &mut Keys::default()).unwrap();
        if !target.exist {
            disk.plant(&format!("{BUILDING}/{IDENTITY}"), vec![1]);
        }
        Ownership::lock(options(&disk)).unwrap().own(past, target).err().unwrap()
    };
    assert_eq!(own(&mut Keys { exist: true, ..Keys::default() }).path, IDENTITY);
    assert_eq!(own(&mut Keys::default()).path, BUILDING);
    assert_eq!(disk.paths(), [format!("{BUILDING}/{IDENTITY}")]);
}

#[test]
fn a_past_that_was_read_under_another_lock_is_compared_with_the_directory() {
    let disk = disk_of(&frozen("clean"));
    let mut target = Fold::default();
    let ownership = Ownership::lock(options(&disk)).unwrap();
    let past = ownership.read(&mut target).unwrap();
    assert!(Ownership::lock(options(&disk)).is_err(), "the directory is locked");
    drop(ownership);
    drop(Run::begin(&disk).unwrap());
    let refusal = Ownership::lock(options(&disk)).unwrap().own(past, &mut target).err().unwrap();
    assert_eq!(refusal.path, IDENTITY);
}

#[test]
fn a_directory_is_read_by_others_while_it_is_owned() {
    let disk = disk_of(&frozen("fenced"));
    let mut run = Run::begin(&disk).unwrap();
    run.append(&[values()[0].clone()]);
    run.sync();
    let read = || {
        let mut fold = Fold::default();
        let past = replay::read(&disk, SIZES, &mut fold).unwrap();
        (past, fold)
    };
    let before = files(&disk);
    let (first, first_state) = read();
    let (second, second_state) = read();
    assert_eq!(files(&disk), before);
    assert_eq!(first.report(), second.report());
    assert_eq!(first.report().seq, run.journal.handle.durable());
    assert!(first_state == second_state);
    // Neither kept the owner from going on, and a third reading shows what it has written since.
    run.append(&[values()[1].clone()]);
    run.sync();
    assert_eq!(read().0.report().seq, first.report().seq + 1);
    assert!(Ownership::lock(options(&disk)).is_err(), "the owner still holds the lock");
}
