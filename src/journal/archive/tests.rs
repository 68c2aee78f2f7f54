//! Backups, restores and salvages over the simulated disk.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use super::inspect::{inspect, verify};
use super::restore::Origin;
use super::*;
use crate::journal::append::handle::Class;
use crate::journal::format::entry::{Change, Entries, Entry};
use crate::journal::format::frame::{self, Seen};
use crate::journal::format::header::HEADER_BYTES;
use crate::journal::format::layout::{
    IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR, numbers, segment_path, snapshot_path,
};
use crate::journal::recovery::replay::{Range, RecoveryTarget, replay_read_only};
use crate::journal::recovery::report::{RecoveryReport, Refusal, ReplayTarget};
use crate::journal::recovery::{Options, Recovered, recover};
use crate::registry::tables::OUTBOX;
use crate::simulation::Fold;
use crate::simulation::golden::{SIZES, disk_of, frozen};
use crate::storage::Storage;
use crate::storage::simulated::{Failure, Kind, SimStorage};
use crate::system::clock::{Clock, Timestamp};
use crate::system::random::Random;

const TABLE: u16 = 9;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(super) fn options_of(disk: &SimStorage, random: Random) -> Options {
    Options {
        storage: Arc::new(disk.clone()),
        sizes: SIZES,
        clock: Clock::manual(NOW),
        random: Arc::new(random),
        accept_clock_floor: false,
    }
}

fn begin(disk: &SimStorage) -> Recovered {
    recover(options_of(disk, Random::counting()), &mut Fold::default()).unwrap()
}

/// Appends entry `number`, which writes the record of that number, in a frame of its own.
fn put(journal: &mut Recovered, table: u16, number: u64) {
    let _ = journal.prepare();
    let change = Change { table, schema: 1, key: key(number), value: Some(vec![number as u8; 20]) };
    let entry = Entry::encode(&[change]).unwrap();
    let permit = journal.handle.reserve(entry.as_bytes().len(), Class::Essential).unwrap();
    journal.handle.append(permit, &entry);
    journal.writer.step().unwrap();
}

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Makes a directory of `entries` entries that was stopped cleanly.
pub(super) fn directory(entries: u64) -> SimStorage {
    let disk = SimStorage::new();
    let mut journal = begin(&disk);
    (1..=entries).for_each(|number| put(&mut journal, TABLE, number));
    journal.writer.close().unwrap();
    disk.after_kill()
}

/// Finds the frame of each entry: the segment's path, the offset in it, the length.
pub(super) fn frames(disk: &SimStorage) -> BTreeMap<u64, (String, usize, usize)> {
    let mut found = BTreeMap::new();
    for number in numbers(disk, JOURNAL_DIR, ".log").unwrap() {
        let bytes = disk.peek(&segment_path(number)).unwrap();
        let mut at = HEADER_BYTES;
        while let Seen::Frame(frame) = frame::read(&bytes[at..], SIZES.align) {
            for seq in (frame.header.first_seq..).take(frame.header.count as usize) {
                found.insert(seq, (segment_path(number), at, frame.len));
            }
            at += frame.len;
            if at == bytes.len() {
                break;
            }
        }
    }
    found
}

fn state_of(disk: &SimStorage) -> (Fold, RecoveryReport) {
    let mut fold = Fold::default();
    let found = replay_read_only(disk, SIZES, &mut fold).unwrap();
    (fold, found)
}

/// Returns the numbers of the records in a directory.
pub(super) fn kept(disk: &SimStorage) -> Vec<u64> {
    state_of(disk).0.0.keys().map(|(_, key)| u64::from_be_bytes(key[..].try_into().unwrap())).collect()
}

/// Returns a destination on `to`, and its clock, which is far earlier than that of the old directory.
fn destination(to: &SimStorage) -> (Destination<'static>, Clock) {
    let clock = Clock::manual(Timestamp::from_secs(1));
    let destination = Destination {
        storage: Arc::new(to.clone()),
        sizes: SIZES,
        clock: clock.clone(),
        random: Arc::new(Random::seeded(1)),
        left_out: &[OUTBOX],
        admit: &admit_all,
        added: &[],
    };
    (destination, clock)
}

fn restored(from: &SimStorage, until: RecoveryTarget) -> (Result<Restored, Refusal>, SimStorage, Clock) {
    let to = SimStorage::new();
    let (destination, clock) = destination(&to);
    (restore(from, destination, until), to, clock)
}

pub(super) fn salvaged(from: &SimStorage) -> (Result<Salvaged, Refusal>, SimStorage, Clock) {
    let to = SimStorage::new();
    let (destination, clock) = destination(&to);
    (salvage(from, destination), to, clock)
}

fn origin(disk: &SimStorage) -> Origin {
    Origin::read(disk).unwrap()
}

#[test]
fn a_backup_holds_every_file_and_reaches_what_was_durable() {
    let from = disk_of(&frozen("snapshots"));
    let to = SimStorage::new();
    // Files of an older backup are no part of the new one.
    to.plant("journal/00000000000000ff.log", vec![1]);
    to.plant("snapshot/00000000000000ff.snap", vec![1]);
    let found = back_up(&from, &to, SIZES).unwrap();
    assert_eq!(found.seq, state_of(&from).1.seq);
    let mut paths = from.paths();
    paths.push(SUMS.to_owned());
    paths.sort();
    assert_eq!(to.paths(), paths);
    for path in from.paths() {
        assert_eq!(to.peek(&path), from.peek(&path), "{path}");
    }
    let sums = String::from_utf8(to.peek(SUMS).unwrap()).unwrap();
    let named: Vec<&str> = sums.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(named.len(), from.paths().len());
    assert!(named.contains(&IDENTITY), "{sums}");
    assert!(named.contains(&"journal/0000000000000003.log"), "{sums}");
    check_sums(&to).unwrap();
}

#[test]
fn a_file_that_is_deleted_meanwhile_makes_the_copy_begin_again() {
    let from = directory(3);
    let failing = |error, lasting| {
        from.fail(Some(Failure { at: from.operations() + 2, lasting, only: Some(Kind::Open), error }));
        let before = from.operations();
        let copied = back_up(&from, &SimStorage::new(), SIZES).map(|found| found.seq);
        from.fail(None);
        (copied.map_err(|error| error.to_string()), from.operations() - before)
    };
    assert_eq!(failing(ErrorKind::NotFound, false).0, Ok(3));
    let (gone, tried) = failing(ErrorKind::NotFound, true);
    assert!(gone.unwrap_err().contains("faster than they could be copied"));
    let (failed, tried_once) = failing(ErrorKind::PermissionDenied, true);
    assert!(!failed.unwrap_err().contains("faster"));
    assert!(tried > tried_once);
}

#[test]
fn a_changed_file_of_a_backup_is_refused_by_name() {
    let to = SimStorage::new();
    back_up(&directory(3), &to, SIZES).unwrap();
    let log = "journal/0000000000000001.log";
    let refusal = |disk: &SimStorage| check_sums(disk).unwrap_err().to_string();
    let changed = to.after_kill();
    changed.damage(log, |bytes| bytes[5_000] ^= 1);
    assert!(refusal(&changed).starts_with(log), "{}", refusal(&changed));
    assert!(refusal(&changed).contains("its sum differs"), "{}", refusal(&changed));
    let missing = to.after_kill();
    missing.lose(log);
    assert!(refusal(&missing).starts_with(log), "{}", refusal(&missing));
    assert!(!refusal(&missing).contains("sum"), "{}", refusal(&missing));
    let cut = to.after_kill();
    cut.damage(SUMS, |bytes| bytes.truncate(30));
    assert!(refusal(&cut).contains("a line without a sum"), "{}", refusal(&cut));
    cut.lose(SUMS);
    assert!(refusal(&cut).starts_with(SUMS), "{}", refusal(&cut));
}

#[test]
fn an_unreadable_backup_is_not_called_wrong() {
    let to = SimStorage::new();
    back_up(&directory(3), &to, SIZES).unwrap();
    let next = |disk: &SimStorage| check_sums(disk).unwrap_err().next;
    let log = "journal/0000000000000001.log";
    let unreadable = to.after_kill();
    unreadable.lose_sector(log, 5_000);
    assert!(next(&unreadable).contains("may be sound"));
    assert!(next(&unreadable).contains("mend the disk"));
    unreadable.lose_sector(SUMS, 0);
    assert!(next(&unreadable).contains("may be sound"));
    for path in [log, SUMS] {
        let missing = to.after_kill();
        missing.lose(path);
        assert_eq!(next(&missing), "take another backup");
    }
}

#[test]
fn a_read_only_disk_can_be_read_by_every_tool() {
    let disk = disk_of(&frozen("snapshots"));
    let copy = SimStorage::new();
    back_up(&disk, &copy, SIZES).unwrap();
    for disk in [&disk, &copy] {
        disk.set_read_only();
        let _lock = disk.lock_to_read().unwrap();
        assert!(disk.create_new("x").is_err());
        assert!(disk.open_to_write(IDENTITY).is_err());
        let found = state_of(disk).1;
        let lines = inspect(disk).unwrap();
        assert!(lines.len() > 10, "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("ReadOnly")), "{lines:?}");
        assert_eq!(
            verify(disk, SIZES, &|_, value, _| Some(std::borrow::Cow::Borrowed(value))).unwrap().report.seq,
            found.seq
        );
        assert_eq!(back_up(disk, &SimStorage::new(), SIZES).unwrap().seq, found.seq);
        assert_eq!(restored(disk, RecoveryTarget::default()).0.unwrap().seq, found.seq);
        assert_eq!(salvaged(disk).0.unwrap().passed_over, Vec::<String>::new());
        assert!(recover(options_of(disk, Random::counting()), &mut Fold::default()).is_err());
    }
    check_sums(&copy).unwrap();
}

#[test]
fn a_restore_has_the_same_records_without_the_tables_left_out() {
    let disk = SimStorage::new();
    let mut journal = begin(&disk);
    // More entries than may wait for the disk at once, and more than a segment holds.
    (1..=400).for_each(|number| put(&mut journal, TABLE, number));
    (1..=2).for_each(|number| put(&mut journal, OUTBOX, number));
    journal.writer.close().unwrap();
    let (old, found) = state_of(&disk);
    let (made, to, clock) = restored(&disk, RecoveryTarget::default());
    let made = made.unwrap();
    assert_eq!(made.records, 400);
    assert_eq!(made.left_out, 2);
    assert_eq!(made.seq, found.seq);
    assert_eq!(made.timeline, 2);
    assert_eq!(origin(&to), Origin { timeline: 2, ..origin(&disk) });
    // Time continues where the old journal ended.
    assert_eq!(clock.now(), NOW);
    let mut new = state_of(&to).0;
    assert_eq!(new.0.len(), 400);
    assert!(new.0.iter().all(|(place, value)| old.0.get(place) == Some(value)));
    assert!(state_of(&to).1.clean_stop);
    // A server can continue in it.
    let mut journal = begin(&to);
    put(&mut journal, TABLE, 500);
    new.0.insert((TABLE, key(500)), vec![500_u64 as u8; 20]);
    assert_eq!(state_of(&to).0, new);

    let mut records = Records::default();
    assert!(records.is_empty());
    replay_read_only(&disk, SIZES, &mut records).unwrap();
    assert_eq!(records.len(), 402);
    assert!(!records.is_empty());
    assert_eq!(records.iter().count(), 402);
    let (table, schema, first, value) = records.iter().last().unwrap();
    assert_eq!(table, TABLE);
    assert_eq!(schema, 1);
    assert_eq!(first, &key(400)[..]);
    assert_eq!(value, &[400_u64 as u8; 20][..]);
    records.apply(TABLE, 1, &key(400), None).unwrap();
    assert_eq!(records.len(), 401);
}

#[test]
fn a_restore_stops_at_the_given_sequence() {
    let disk = directory(9);
    for last in [1, 5, 9] {
        let (made, to, _) = restored(&disk, RecoveryTarget { seq: Some(last), time: None });
        assert_eq!(made.unwrap().seq, last);
        assert_eq!(kept(&to), (1..=last).collect::<Vec<_>>());
    }
}

/// Kind: a mistyped point, up to which there is nothing or everything, and the restore says that it is done.
#[test]
fn a_point_that_the_directory_does_not_have_is_refused_with_the_range() {
    let golden = disk_of(&frozen("snapshots"));
    // Without its oldest segment, the oldest snapshot is the first point.
    let cut = golden.after_kill();
    let oldest = numbers(&cut, JOURNAL_DIR, ".log").unwrap()[0];
    cut.lose(&segment_path(oldest));
    for disk in [directory(9), golden, cut] {
        let Range { first, last } = Range::read(&disk, SIZES).unwrap().unwrap();
        assert!(first.seq < last.seq, "{first} {last}");
        for seq in first.seq..=last.seq {
            let target = RecoveryTarget { seq: Some(seq), time: None };
            check_target(&disk, SIZES, target).unwrap();
            assert_eq!(restored(&disk, target).0.unwrap().seq, seq);
        }
        for ms in [first.wall_ms, last.wall_ms] {
            // As a person writes it, in whole seconds.
            let time = Some(Timestamp::from_secs(ms.div_ceil(1000)));
            let target = RecoveryTarget { seq: None, time };
            check_target(&disk, SIZES, target).unwrap();
            assert!(restored(&disk, target).0.unwrap().seq >= first.seq);
        }
        let day = 86_400_000;
        for (seq, time) in [
            (Some(first.seq - 1), None),
            (Some(last.seq + 1), None),
            (Some(u64::MAX), None),
            (None, Some(Timestamp(first.wall_ms - day))),
            (None, Some(Timestamp(last.wall_ms + day))),
        ] {
            let refusal = check_target(&disk, SIZES, RecoveryTarget { seq, time }).unwrap_err().to_string();
            assert!(refusal.contains(&format!("{first} to {last}")), "{refusal}");
        }
        check_target(&disk, SIZES, RecoveryTarget::default()).unwrap();
    }
}

#[test]
fn a_restore_reports_the_failure_of_any_operation_of_its_disk() {
    let disk = directory(9);
    let mut failed = 0;
    for at in 1.. {
        let to = SimStorage::new();
        to.fail(Some(Failure { at, lasting: true, only: None, error: ErrorKind::StorageFull }));
        let made = restore(&disk, destination(&to).0, RecoveryTarget::default());
        if !to.has_failed() {
            assert_eq!(made.unwrap().records, 9);
            break;
        }
        failed += 1;
        assert!(made.is_err(), "operation {at} failed, and the restore did not say so");
    }
    assert!(failed > 20, "{failed}");
    let small = SimStorage::new();
    small.set_free(3 * SIZES.segment);
    let made = restore(&directory(90), destination(&small).0, RecoveryTarget::default());
    assert!(made.unwrap_err().next.contains("into an empty directory"));
}

#[test]
fn only_a_data_directory_can_be_restored() {
    let empty = SimStorage::new();
    assert!(Origin::read(&empty).unwrap_err().next.contains("name a data directory"));
    assert!(restored(&empty, RecoveryTarget::default()).0.is_err());
    assert!(salvaged(&empty).0.is_err());
    let damaged = directory(1);
    damaged.damage(IDENTITY, |bytes| bytes.fill(1));
    assert_eq!(Origin::read(&damaged).unwrap_err().path, IDENTITY);
}

#[test]
fn a_sound_directory_is_salvaged_completely() {
    let disk = disk_of(&frozen("snapshots"));
    let (made, to, clock) = salvaged(&disk);
    let made = made.unwrap();
    assert_eq!(made.lost, []);
    assert_eq!(made.passed_over, Vec::<String>::new());
    let (mut old, found) = state_of(&disk);
    old.0.retain(|(table, _), _| *table != OUTBOX);
    assert_eq!(state_of(&to).0, old);
    assert_eq!(made.restored.seq, found.seq);
    assert_eq!(made.restored.records, old.0.len());
    assert_eq!(origin(&to), Origin { timeline: 2, ..origin(&disk) });
    assert_eq!(clock.now(), NOW);
}

#[test]
fn entries_between_readable_frames_are_listed_as_lost() {
    let disk = directory(12);
    let frames = frames(&disk);
    for seq in [1, 4, 5, 9] {
        let (path, at, _) = &frames[&seq];
        disk.damage(path, |bytes| bytes[at + 100] ^= 1);
    }
    let (made, to, _) = salvaged(&disk);
    let made = made.unwrap();
    assert_eq!(made.lost, [(1, 1), (4, 5), (9, 9)]);
    let line = |seq: u64| {
        let (path, at, _) = &frames[&seq];
        format!("{path} at byte {at}: not a frame of this segment")
    };
    assert_eq!(made.passed_over, [line(1), line(4), line(5), line(9)]);
    assert_eq!(made.restored.seq, 12);
    assert_eq!(made.restored.records, 8);
    assert_eq!(kept(&to), [2, 3, 6, 7, 8, 10, 11, 12]);
}

/// Gives the first entry of a frame an operation that no version wrote, and corrects both checksums.
pub(super) fn spoil_entry(frame: &mut [u8]) {
    frame[96 + 12] = 7;
    let body = u32::from_le_bytes(frame[36..40].try_into().unwrap()) as usize;
    let crc = crc32c::crc32c(&frame[96..96 + body]).to_le_bytes();
    frame[76..80].copy_from_slice(&crc);
    let crc = crc32c::crc32c(&frame[8..96]).to_le_bytes();
    frame[4..8].copy_from_slice(&crc);
    assert!(matches!(frame::read(frame, SIZES.align), Seen::Frame(_)));
}

#[test]
fn foreign_frames_and_unknown_operations_are_passed_over() {
    let disk = directory(4);
    let frames = frames(&disk);
    let other = {
        let other = SimStorage::new();
        // It has another salt.
        let mut journal = recover(options_of(&other, Random::seeded(7)), &mut Fold::default()).unwrap();
        (1..=4).for_each(|number| put(&mut journal, TABLE, number));
        other
    };
    let (path, at, len) = &frames[&2];
    let foreign = other.peek(path).unwrap();
    assert_ne!(disk.peek(path).unwrap()[*at..at + len], foreign[*at..at + len]);
    disk.damage(path, |bytes| bytes[*at..at + len].copy_from_slice(&foreign[*at..at + len]));
    let (path, at, len) = &frames[&3];
    disk.damage(path, |bytes| spoil_entry(&mut bytes[*at..at + len]));
    let (made, to, _) = salvaged(&disk);
    let made = made.unwrap();
    assert_eq!(made.lost, [(2, 3)]);
    assert_eq!(kept(&to), [1, 4]);
    let places: Vec<String> =
        made.passed_over.iter().map(|line| line[..line.len().min(45)].to_owned()).collect();
    assert_eq!(places.len(), 2, "{places:?}");
    assert!(places[0].contains(&format!("at byte {}: ", frames[&2].1)), "{places:?}");
    assert!(places[1].contains(&format!("at byte {}: ", frames[&3].1)), "{places:?}");
}

#[test]
fn a_damaged_snapshot_gives_way_to_the_older_and_then_to_the_journal() {
    let disk = disk_of(&frozen("snapshots"));
    let state = |disk: &SimStorage| {
        let (made, to, _) = salvaged(disk);
        (made.unwrap(), state_of(&to).0)
    };
    let whole = state(&disk).1;
    let [older, newest] = numbers(&disk, SNAPSHOT_DIR, ".snap").unwrap()[..] else { panic!("two") };
    disk.damage(&snapshot_path(newest), |bytes| bytes[5_000] ^= 1);
    let (made, second) = state(&disk);
    assert!(made.lost.is_empty());
    assert_eq!(second, whole);
    assert_eq!(made.passed_over.len(), 1);
    assert!(made.passed_over[0].starts_with(&snapshot_path(newest)));
    disk.damage(&snapshot_path(older), |bytes| bytes[5_000] ^= 1);
    let (made, rest) = state(&disk);
    let first = *frames(&disk).keys().next().unwrap();
    assert!(first > 1, "no segment was dropped");
    assert_eq!(made.lost, [(1, first - 1)]);
    assert_eq!(made.passed_over.len(), 2);
    let mut of_segments = Fold::default();
    for (path, at, _) in frames(&disk).values() {
        let bytes = disk.peek(path).unwrap();
        let Seen::Frame(frame) = frame::read(&bytes[*at..], SIZES.align) else { panic!("a frame") };
        for change in
            Entries::new(frame.body).flat_map(Result::unwrap).filter(|change| change.table != OUTBOX)
        {
            of_segments.apply(change.table, change.schema, &change.key, change.value.as_deref()).unwrap();
        }
    }
    assert_eq!(rest, of_segments);
}

#[test]
fn without_identity_or_a_header_a_directory_is_read_all_the_same() {
    let disk = directory(9);
    let before = origin(&disk);
    disk.lose(IDENTITY);
    let first = segment_path(1);
    disk.damage(&first, |bytes| bytes[200] ^= 1);
    let (made, to, _) = salvaged(&disk);
    let made = made.unwrap();
    assert_eq!(made.lost, []);
    assert_eq!(kept(&to), (1..=9).collect::<Vec<_>>());
    assert_eq!(
        made.passed_over,
        [String::from("IDENTITY: missing"), format!("{first}: its header block cannot be read")]
    );
    assert_eq!(origin(&to), Origin { timeline: before.timeline + 1, ..before });
    // An IDENTITY that can be read has precedence over headers.
    let disk = directory(1);
    disk.damage(&first, |bytes| {
        bytes[32] = 9; // the timeline; the checksum is corrected
        let crc = crc32c::crc32c(&bytes[12..HEADER_BYTES]).to_le_bytes();
        bytes[8..12].copy_from_slice(&crc);
    });
    let (made, to, _) = salvaged(&disk);
    assert_eq!(made.unwrap().restored.timeline, 2);
    assert_eq!(origin(&to).timeline, 2);
    disk.lose(IDENTITY);
    assert_eq!(salvaged(&disk).0.unwrap().restored.timeline, 10);
}
