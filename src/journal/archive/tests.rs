//! Backups, restores and salvages over the simulated disk: what is copied, what a new past is made of, what is told.

use std::io::ErrorKind;

use super::inspect::{inspect, verify};
use super::*;
use crate::journal::format::entry::Entries;
use crate::journal::format::frame::{self, Seen};
use crate::journal::format::header::HEADER_BYTES;
use crate::journal::format::layout::{JOURNAL_DIR, SNAPSHOT_DIR, numbers, segment_path, snapshot_path};
use crate::journal::recovery::Recovered;
use crate::journal::recovery::replay::replay_read_only;
use crate::journal::recovery::report::RecoveryReport;
use crate::simulation::Fold;
use crate::simulation::golden::{SIZES, disk_of, frozen};
use crate::storage::simulated::{Failure, Kind, SimStorage};

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

/// Entry `number`, in a frame of its own, writes the record of that number.
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

/// A closed directory of `entries` entries.
pub(super) fn directory(entries: u64) -> SimStorage {
    let disk = SimStorage::new();
    let mut journal = begin(&disk);
    (1..=entries).for_each(|number| put(&mut journal, TABLE, number));
    journal.writer.close().unwrap();
    disk.after_kill()
}

/// Where each entry's frame begins: the segment's path, the place in it, its length.
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

/// The numbers of the records that are there.
pub(super) fn kept(disk: &SimStorage) -> Vec<u64> {
    state_of(disk).0.0.keys().map(|(_, key)| u64::from_be_bytes(key[..].try_into().unwrap())).collect()
}

fn restored(from: &SimStorage, until: RecoveryTarget) -> (Result<Restored, Refusal>, SimStorage, Clock) {
    let (to, clock) = (SimStorage::new(), Clock::manual(Timestamp::from_secs(1)));
    let random = Arc::new(Random::seeded(1));
    (restore(from, Arc::new(to.clone()), SIZES, until, clock.clone(), random), to, clock)
}

pub(super) fn salvaged(from: &SimStorage) -> (Result<Salvaged, Refusal>, SimStorage, Clock) {
    let (to, clock) = (SimStorage::new(), Clock::manual(Timestamp::from_secs(1)));
    let random = Arc::new(Random::seeded(1));
    (salvage(from, Arc::new(to.clone()), SIZES, clock.clone(), random), to, clock)
}

fn cluster(disk: &SimStorage) -> ([u8; 16], u32) {
    origin(disk).unwrap()
}

#[test]
fn a_backup_holds_every_file_and_reaches_what_was_durable() {
    let from = disk_of(&frozen("snapshots"));
    let to = SimStorage::new();
    // What lies there of an older backup is no part of the new one.
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
    assert!(named.contains(&IDENTITY) && named.contains(&"journal/0000000000000003.log"), "{sums}");
    check_sums(&to).unwrap();
}

#[test]
fn a_file_that_goes_away_meanwhile_makes_the_copy_begin_anew() {
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
fn a_backup_that_was_changed_is_refused_by_its_file() {
    let to = SimStorage::new();
    back_up(&directory(3), &to, SIZES).unwrap();
    let log = "journal/0000000000000001.log";
    let said = |disk: &SimStorage| check_sums(disk).unwrap_err().to_string();
    let changed = to.after_kill();
    changed.damage(log, |bytes| bytes[5_000] ^= 1);
    assert!(
        said(&changed).starts_with(log) && said(&changed).contains("its sum differs"),
        "{}",
        said(&changed)
    );
    let missing = to.after_kill();
    missing.lose(log);
    assert!(said(&missing).starts_with(log) && !said(&missing).contains("sum"), "{}", said(&missing));
    let cut = to.after_kill();
    cut.damage(SUMS, |bytes| bytes.truncate(30));
    assert!(said(&cut).contains("a line without a sum"), "{}", said(&cut));
    cut.lose(SUMS);
    assert!(said(&cut).starts_with(SUMS), "{}", said(&cut));
}

#[test]
fn a_backup_on_a_disk_that_cannot_be_read_is_not_called_wrong() {
    let to = SimStorage::new();
    back_up(&directory(3), &to, SIZES).unwrap();
    let next = |disk: &SimStorage| check_sums(disk).unwrap_err().next;
    let log = "journal/0000000000000001.log";
    let unreadable = to.after_kill();
    unreadable.lose_sector(log, 5_000);
    assert!(next(&unreadable).contains("may be sound") && next(&unreadable).contains("mend the disk"));
    unreadable.lose_sector(SUMS, 0);
    assert!(next(&unreadable).contains("may be sound"));
    for path in [log, SUMS] {
        let missing = to.after_kill();
        missing.lose(path);
        assert_eq!(next(&missing), "take another backup");
    }
}

#[test]
fn a_disk_gone_read_only_is_read_in_every_way() {
    let disk = disk_of(&frozen("snapshots"));
    let copy = SimStorage::new();
    back_up(&disk, &copy, SIZES).unwrap();
    for disk in [&disk, &copy] {
        disk.set_read_only();
        let _lock = disk.lock_to_read().unwrap();
        assert!(disk.create_new("x").is_err() && disk.open_to_write(IDENTITY).is_err());
        let found = state_of(disk).1;
        let lines = inspect(disk).unwrap();
        assert!(lines.len() > 10 && !lines.iter().any(|line| line.contains("ReadOnly")), "{lines:?}");
        assert_eq!(verify(disk, SIZES, &|_, _, _| false).unwrap().0.seq, found.seq);
        assert_eq!(back_up(disk, &SimStorage::new(), SIZES).unwrap().seq, found.seq);
        assert_eq!(restored(disk, RecoveryTarget::default()).0.unwrap().seq, found.seq);
        assert_eq!(salvaged(disk).0.unwrap().passed_over, Vec::<String>::new());
        assert!(recover(options_of(disk, Random::counting()), &mut Fold::default()).is_err());
    }
    check_sums(&copy).unwrap();
}

#[test]
fn a_restore_is_a_new_past_of_the_same_records_without_waiting_mails() {
    let disk = SimStorage::new();
    let mut journal = begin(&disk);
    // More than may wait for the disk at once, and more than a segment holds.
    (1..=400).for_each(|number| put(&mut journal, TABLE, number));
    (1..=2).for_each(|number| put(&mut journal, OUTBOX, number));
    journal.writer.close().unwrap();
    let (old, found) = state_of(&disk);
    let (made, to, clock) = restored(&disk, RecoveryTarget::default());
    let made = made.unwrap();
    assert_eq!((made.records, made.mails, made.seq, made.timeline), (400, 2, found.seq, 2));
    assert_eq!((cluster(&to).0, cluster(&to).1), (cluster(&disk).0, 2));
    // Time went on where the old past ended.
    assert_eq!(clock.now(), NOW);
    let mut new = state_of(&to).0;
    assert_eq!(new.0.len(), 400);
    assert!(new.0.iter().all(|(place, value)| old.0.get(place) == Some(value)));
    assert!(state_of(&to).1.clean_stop);
    // And it is lived on in.
    let mut journal = begin(&to);
    put(&mut journal, TABLE, 500);
    new.0.insert((TABLE, key(500)), vec![500_u64 as u8; 20]);
    assert_eq!(state_of(&to).0, new);

    let mut records = Records::default();
    assert!(records.is_empty());
    replay_read_only(&disk, SIZES, &mut records).unwrap();
    assert_eq!((records.len(), records.is_empty(), records.iter().count()), (402, false, 402));
    let (table, schema, first, value) = records.iter().last().unwrap();
    assert_eq!((table, schema, first, value), (TABLE, 1, &key(400)[..], &[400_u64 as u8; 20][..]));
    records.apply(TABLE, 1, &key(400), None).unwrap();
    assert_eq!(records.len(), 401);
}

#[test]
fn a_restore_stops_at_the_sequence_it_is_told() {
    let disk = directory(9);
    for last in [1, 5, 9] {
        let (made, to, _) = restored(&disk, RecoveryTarget { seq: Some(last), time: None });
        assert_eq!((made.unwrap().seq, kept(&to)), (last, (1..=last).collect()));
    }
}

#[test]
fn whichever_operation_of_its_disk_fails_a_restore_says_so() {
    let disk = directory(9);
    let mut failed = 0;
    for at in 1.. {
        let to = SimStorage::new();
        to.fail(Some(Failure { at, lasting: true, only: None, error: ErrorKind::StorageFull }));
        let random = Arc::new(Random::seeded(1));
        let made = restore(
            &disk,
            Arc::new(to.clone()),
            SIZES,
            RecoveryTarget::default(),
            Clock::manual(NOW),
            random,
        );
        if !to.has_failed() {
            assert_eq!(made.unwrap().records, 9);
            break;
        }
        failed += 1;
        assert!(made.is_err(), "operation {at} failed, and nobody was told");
    }
    assert!(failed > 20, "{failed}");
    let small = SimStorage::new();
    small.set_free(3 * SIZES.segment);
    let random = Arc::new(Random::seeded(1));
    let made = restore(
        &directory(90),
        Arc::new(small),
        SIZES,
        RecoveryTarget::default(),
        Clock::manual(NOW),
        random,
    );
    assert!(made.unwrap_err().next.contains("into an empty directory"));
}

#[test]
fn what_is_no_data_directory_is_not_restored() {
    let empty = SimStorage::new();
    assert!(origin(&empty).unwrap_err().next.contains("name a data directory"));
    assert!(restored(&empty, RecoveryTarget::default()).0.is_err());
    assert!(salvaged(&empty).0.is_err());
    let damaged = directory(1);
    damaged.damage(IDENTITY, |bytes| bytes.fill(1));
    assert_eq!(origin(&damaged).unwrap_err().path, IDENTITY);
}

#[test]
fn of_a_sound_directory_everything_is_salvaged_and_nothing_told() {
    let disk = disk_of(&frozen("snapshots"));
    let (made, to, clock) = salvaged(&disk);
    let made = made.unwrap();
    assert_eq!((made.lost, made.passed_over), (vec![], vec![]));
    let (mut old, found) = state_of(&disk);
    old.0.retain(|(table, _), _| *table != OUTBOX);
    assert_eq!(state_of(&to).0, old);
    assert_eq!((made.restored.seq, made.restored.records), (found.seq, old.0.len()));
    assert_eq!((cluster(&to).0, cluster(&to).1), (cluster(&disk).0, 2));
    assert_eq!(clock.now(), NOW);
}

#[test]
fn what_lies_between_readable_frames_is_told_as_lost() {
    let disk = directory(12);
    let frames = frames(&disk);
    for seq in [1, 4, 5, 9] {
        let (path, at, _) = &frames[&seq];
        disk.damage(path, |bytes| bytes[at + 100] ^= 1);
    }
    let (made, to, _) = salvaged(&disk);
    let made = made.unwrap();
    assert_eq!(made.lost, [(1, 1), (4, 5), (9, 9)]);
    let told = |seq: u64| format!("{} at byte {}: not a frame of it", frames[&seq].0, frames[&seq].1);
    assert_eq!(made.passed_over, [told(1), told(4), told(5), told(9)]);
    assert_eq!((made.restored.seq, made.restored.records), (12, 8));
    assert_eq!(kept(&to), [2, 3, 6, 7, 8, 10, 11, 12]);
}

/// Gives the first entry of a frame an operation that no version wrote, with both checksums made right again.
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
fn a_frame_of_another_segment_and_an_entry_that_no_version_wrote_are_passed_over() {
    let disk = directory(4);
    let frames = frames(&disk);
    let other = {
        let other = SimStorage::new();
        // Another salt.
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
    assert_eq!((made.lost, kept(&to)), (vec![(2, 3)], vec![1, 4]));
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
    assert_eq!((made.lost, second), (vec![], whole));
    assert!(made.passed_over.len() == 1 && made.passed_over[0].starts_with(&snapshot_path(newest)));
    disk.damage(&snapshot_path(older), |bytes| bytes[5_000] ^= 1);
    let (made, rest) = state(&disk);
    let first = *frames(&disk).keys().next().unwrap();
    assert!(first > 1, "no segment was dropped");
    assert_eq!((made.lost, made.passed_over.len()), (vec![(1, first - 1)], 2));
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
fn without_identity_a_header_says_whose_it_was_and_without_its_header_a_segment_is_read_all_the_same() {
    let disk = directory(9);
    let before = cluster(&disk);
    disk.lose(IDENTITY);
    let first = segment_path(1);
    disk.damage(&first, |bytes| bytes[200] ^= 1);
    let (made, to, _) = salvaged(&disk);
    let made = made.unwrap();
    assert_eq!((made.lost, kept(&to)), (vec![], (1..=9).collect()));
    assert_eq!(
        made.passed_over,
        [String::from("IDENTITY: missing"), format!("{first}: its header block cannot be read")]
    );
    assert_eq!(cluster(&to), (before.0, before.1 + 1));
    // An identity that is there counts.
    let disk = directory(1);
    disk.damage(&first, |bytes| {
        bytes[32] = 9; // the timeline, with the checksum made right again
        let crc = crc32c::crc32c(&bytes[12..HEADER_BYTES]).to_le_bytes();
        bytes[8..12].copy_from_slice(&crc);
    });
    let (made, to, _) = salvaged(&disk);
    assert_eq!((made.unwrap().restored.timeline, cluster(&to).1), (2, 2));
    disk.lose(IDENTITY);
    assert_eq!(salvaged(&disk).0.unwrap().restored.timeline, 10);
}
