//! What a snapshot is written with, over the simulated disk: lengths, syncs between, where it goes when it is disproved.

use std::io::ErrorKind;

use super::*;
use crate::simulation::golden::Run as Begun;
use crate::storage::simulated::{Failure, Kind, SimStorage};

fn records(count: usize, len: usize) -> Records {
    let mut records = Records::default();
    for number in 0..count {
        records.add(1, &(number as u64).to_be_bytes(), &vec![7; len]);
    }
    records
}

fn life(disk: &SimStorage) -> JournalContext {
    Begun::begin(disk).unwrap().journal.context().clone()
}

fn taken(life: &JournalContext) -> UnnamedSnapshot {
    let mut taking = SnapshotWriter::begin(life, 0).unwrap();
    taking.chunk(9, 1, 0, BUCKETS, &records(3, 10)).unwrap();
    taking.finish(0, 5).unwrap()
}

#[test]
fn records_know_how_many_bytes_they_are() {
    let (one, none) = (records(1, 10), Records::default());
    assert_eq!((one.len(), one.is_empty()), (2 + 2 + 4 + 8 + 10, false));
    assert_eq!((none.len(), none.is_empty()), (0, true));
    let mut both = records(2, 10);
    both.join(one);
    assert_eq!((both.len(), both.count), (3 * 26, 3));
}

#[test]
fn long_files_are_synced_between_and_short_ones_at_the_end() {
    let disk = SimStorage::new();
    let life = life(&disk);
    let mut taking = SnapshotWriter::begin(&life, 0).unwrap();
    let failing = |fails: bool| {
        let (lasting, only, error) = (true, Some(Kind::Sync), ErrorKind::PermissionDenied);
        disk.fail(fails.then_some(Failure { at: 0, lasting, only, error }));
    };
    failing(true);
    // Just below two MiB nothing is synced, and the chunk that goes over is.
    let chunk = records(1, 200_000);
    let mut at = 0;
    while taking.offset + 200_064 < SYNC_EVERY {
        taking.chunk(9, 1, at, at + 1, &chunk).unwrap();
        at += 1;
    }
    assert!(at > 5);
    failing(false);
    taking.chunk(9, 1, at, at + 1, &chunk).unwrap();
    assert_eq!((taking.synced, taking.offset > SYNC_EVERY), (taking.offset, true));
    failing(true);
    taking.chunk(9, 1, at + 1, at + 2, &chunk).unwrap();
    let synced = taking.synced;
    while taking.offset + 200_064 < synced + SYNC_EVERY {
        at += 1;
        taking.chunk(9, 1, at + 1, at + 2, &chunk).unwrap();
    }
    assert!(taking.chunk(9, 1, at + 2, at + 3, &chunk).is_err(), "not synced at four MiB");
}

#[test]
fn a_bucket_that_is_longer_than_a_chunk_goes_into_several() {
    let disk = SimStorage::new();
    let life = life(&disk);
    let mut taking = SnapshotWriter::begin(&life, 0).unwrap();
    // One record fills a chunk to its last byte, and the next does not go in.
    let mut long = records(1, CHUNK_BYTES_MAX - 16);
    assert_eq!(long.len(), CHUNK_BYTES_MAX);
    taking.chunk(9, 1, 0, 1, &long).unwrap();
    assert_eq!(taking.chunks, 1);
    long.add(1, b"another", b"");
    taking.chunk(9, 1, 1, BUCKETS, &long).unwrap();
    assert_eq!(taking.chunks, 3);
    let taken = taking.finish(0, 5).unwrap();
    let file = disk.open(taken.path()).unwrap();
    let mut found = 0;
    let summary = read(&*file, Some(life.cluster), &mut |_, _, _, _| {
        found += 1;
        Ok(())
    });
    assert_eq!((summary.unwrap().records, found), (3, 3));
    // On several cores it is the same.
    assert_eq!(verify(&*file, Some(life.cluster)).unwrap().records, 3);
    assert!(matches!(verify(&*file, Some([9; 16])), Err(Unreadable::Foreign)));
}

#[test]
fn one_of_several_cores_sees_damage_in_its_part() {
    let disk = SimStorage::new();
    let life = life(&disk);
    let mut taking = SnapshotWriter::begin(&life, 0).unwrap();
    for at in 0..40 {
        let to = if at == 39 { BUCKETS } else { at + 1 };
        taking.chunk(9, 1, at, to, &records(1, 150_000)).unwrap();
    }
    let taken = taking.finish(0, 5).unwrap();
    let path = taken.path().to_owned();
    let len = taken.bytes() as usize;
    let whole = verify(&*disk.open(&path).unwrap(), Some(life.cluster)).unwrap();
    assert_eq!((whole.records, whole.bytes), (40, len as u64));
    for at in [HEADER_BYTES + 100_000, len / 2, len - FOOTER - 100] {
        let damaged = disk.after_kill();
        damaged.damage(&path, |bytes| bytes[at] ^= 1);
        assert!(verify(&*damaged.open(&path).unwrap(), Some(life.cluster)).is_err(), "{at} of {len}");
    }
}

#[test]
fn the_first_of_several_that_are_disproved_is_kept() {
    let disk = SimStorage::new();
    let life = life(&disk);
    let kept = format!("{QUARANTINE_DIR}/{DISPROVED}");
    // What else lies there is no such file.
    disk.plant(&format!("{QUARANTINE_DIR}/other"), vec![1]);
    let first = taken(&life);
    let bytes = disk.peek(first.path()).unwrap();
    assert_eq!(bytes.len() as u64, first.bytes());
    first.set_aside().unwrap();
    assert_eq!(disk.peek(&kept), Some(bytes.clone()));
    let second = taken(&life);
    let path = second.path().to_owned();
    second.set_aside().unwrap();
    assert_eq!((disk.peek(&kept), disk.peek(&path)), (Some(bytes), None));
}

#[test]
fn a_snapshot_is_named_once_its_end_is_durable_and_its_size_and_time_are_known() {
    let disk = SimStorage::new();
    let life = life(&disk);
    let mut taking = SnapshotWriter::begin(&life, 3).unwrap();
    taking.chunk(9, 1, 0, BUCKETS, &records(3, 10)).unwrap();
    let taken = taking.finish(7, 5).unwrap();
    assert_eq!((taken.end_seq(), newest(&disk)), (7, None));
    let bytes = taken.bytes();
    taken.name(7).unwrap();
    assert_eq!(newest(&disk), Some(Named { bytes, begun: life.clock.now() }));
    assert!(self::taken(&life).name(0).is_ok());
    let mut early = SnapshotWriter::begin(&life, 3).unwrap();
    early.chunk(9, 1, 0, BUCKETS, &records(3, 10)).unwrap();
    assert!(early.finish(9, 5).unwrap().name(8).is_err());
    abandon(&disk);
    assert!(disk.paths().iter().all(|path| !path.contains("0009")));
    // Two are kept, and the older of them begins at 0.
    assert_eq!(keep_two(&disk, life.cluster).unwrap(), 0);
    assert_eq!(numbers(&disk, SNAPSHOT_DIR, ".snap").unwrap(), [0, 7]);
}

#[test]
fn what_is_wrong_with_a_footer_is_told_with_its_place() {
    let disk = SimStorage::new();
    let life = life(&disk);
    let taken = taken(&life);
    let (path, len) = (taken.path().to_owned(), taken.bytes() as usize);
    let footer = len - FOOTER;
    let told = |edit: &dyn Fn(&mut [u8])| {
        let disk = disk.after_kill();
        disk.damage(&path, |bytes| {
            edit(bytes);
            let crc = crc32c::crc32c(&bytes[footer + 8..]).to_le_bytes();
            bytes[footer + 4..footer + 8].copy_from_slice(&crc);
        });
        let file = disk.open(&path).unwrap();
        match read(&*file, Some(life.cluster), &mut |_, _, _, _| Ok(())) {
            Err(Unreadable::Damaged(at, what)) => (at as usize, what),
            other => panic!("{other:?}"),
        }
    };
    let disagrees = (footer, "footer does not agree with the chunks");
    // The digest, the records of a table, and one chunk more than there is.
    assert_eq!(told(&|bytes| bytes[footer + 56] ^= 1), disagrees);
    assert_eq!(told(&|bytes| bytes[footer + 88] ^= 1), disagrees);
    assert_eq!(told(&|bytes| bytes[footer + 40] += 1), (footer, "chunk missing"));
    assert_eq!(told(&|bytes| bytes[footer + 40] = 0), disagrees);
    assert_eq!(told(&|bytes| bytes[footer + 16] = 9), (footer, "footer and header disagree"));
}

#[test]
fn a_table_whose_last_bucket_goes_on_is_not_whole() {
    let disk = SimStorage::new();
    let life = life(&disk);
    let taken = taken(&life);
    let path = taken.path().to_owned();
    disk.damage(&path, |bytes| {
        bytes[HEADER_BYTES + 26] = 1;
        let crc = crc32c::crc32c(&bytes[HEADER_BYTES + 8..HEADER_BYTES + CHUNK_HEADER]).to_le_bytes();
        bytes[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&crc);
    });
    assert!(verify(&*disk.open(&path).unwrap(), None).is_err());
}
