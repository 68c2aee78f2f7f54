//! Tests of the writer, over the simulated disk: lengths, syncs in between, quarantine of a disproved snapshot.

use std::io::ErrorKind;

use super::format::{CHUNK_HEADER, FOOTER};
use super::status::Named;
use super::writer::{DISPROVED, SYNC_EVERY};
use super::*;
use crate::journal::context::JournalContext;
use crate::journal::format::buckets::BUCKETS;
use crate::journal::format::header::HEADER_BYTES;
use crate::journal::format::layout::{QUARANTINE_DIR, SNAPSHOT_DIR, numbers};
use crate::simulation::golden::Run as Begun;
use crate::storage::Storage;
use crate::storage::simulated::{Failure, Kind, SimStorage};

fn records(count: usize, len: usize) -> Records {
    let mut records = Records::default();
    for number in 0..count {
        records.add(1, &(number as u64).to_be_bytes(), &vec![7; len]);
    }
    records
}

fn context_of(disk: &SimStorage) -> JournalContext {
    Begun::begin(disk).unwrap().journal.context().clone()
}

fn unnamed(context: &JournalContext) -> UnnamedSnapshot {
    let mut writer = SnapshotWriter::begin(context, 0).unwrap();
    writer.chunk(9, 1, 0, BUCKETS, &records(3, 10)).unwrap();
    writer.finish(0, 5).unwrap()
}

#[test]
fn records_know_how_many_bytes_they_are() {
    let one = records(1, 10);
    let none = Records::default();
    assert_eq!(one.len(), 2 + 2 + 4 + 8 + 10);
    assert!(!one.is_empty());
    assert_eq!(none.len(), 0);
    assert!(none.is_empty());
    let mut both = records(2, 10);
    both.join(one);
    assert_eq!(both.len(), 3 * 26);
    assert_eq!(both.count, 3);
}

#[test]
fn long_files_are_synced_between_and_short_ones_at_the_end() {
    let disk = SimStorage::new();
    let context = context_of(&disk);
    let mut writer = SnapshotWriter::begin(&context, 0).unwrap();
    let failing = |fails: bool| {
        let failure =
            Failure { at: 0, lasting: true, only: Some(Kind::Sync), error: ErrorKind::PermissionDenied };
        disk.fail(fails.then_some(failure));
    };
    failing(true);
    // Below two MiB nothing is synced; the chunk that crosses them is.
    let chunk = records(1, 200_000);
    let mut at = 0;
    while writer.offset + 200_064 < SYNC_EVERY {
        writer.chunk(9, 1, at, at + 1, &chunk).unwrap();
        at += 1;
    }
    assert!(at > 5);
    failing(false);
    writer.chunk(9, 1, at, at + 1, &chunk).unwrap();
    assert_eq!(writer.synced, writer.offset);
    assert!(writer.offset > SYNC_EVERY);
    failing(true);
    writer.chunk(9, 1, at + 1, at + 2, &chunk).unwrap();
    let synced = writer.synced;
    while writer.offset + 200_064 < synced + SYNC_EVERY {
        at += 1;
        writer.chunk(9, 1, at + 1, at + 2, &chunk).unwrap();
    }
    assert!(writer.chunk(9, 1, at + 2, at + 3, &chunk).is_err(), "not synced at four MiB");
}

#[test]
fn a_bucket_longer_than_a_chunk_goes_into_several() {
    let disk = SimStorage::new();
    let context = context_of(&disk);
    let mut writer = SnapshotWriter::begin(&context, 0).unwrap();
    // One record fills a chunk to its last byte; the next one does not fit.
    let mut long = records(1, CHUNK_BYTES_MAX - 16);
    assert_eq!(long.len(), CHUNK_BYTES_MAX);
    writer.chunk(9, 1, 0, 1, &long).unwrap();
    assert_eq!(writer.chunks, 1);
    long.add(1, b"another", b"");
    writer.chunk(9, 1, 1, BUCKETS, &long).unwrap();
    assert_eq!(writer.chunks, 3);
    let unnamed = writer.finish(0, 5).unwrap();
    let file = disk.open(unnamed.path()).unwrap();
    let mut found = 0;
    let summary = read(&*file, Some(context.cluster), &mut |_, _, _, _| {
        found += 1;
        Ok(())
    });
    assert_eq!(summary.unwrap().records, 3);
    assert_eq!(found, 3);
    // Checking with several threads finds the same.
    assert_eq!(verify(&*file, Some(context.cluster)).unwrap().records, 3);
    assert!(matches!(verify(&*file, Some([9; 16])), Err(Unreadable::Foreign)));
}

#[test]
fn each_of_several_threads_sees_damage_in_its_part() {
    let disk = SimStorage::new();
    let context = context_of(&disk);
    let mut writer = SnapshotWriter::begin(&context, 0).unwrap();
    for at in 0..40 {
        let to = if at == 39 { BUCKETS } else { at + 1 };
        writer.chunk(9, 1, at, to, &records(1, 150_000)).unwrap();
    }
    let unnamed = writer.finish(0, 5).unwrap();
    let path = unnamed.path().to_owned();
    let len = unnamed.bytes() as usize;
    let whole = verify(&*disk.open(&path).unwrap(), Some(context.cluster)).unwrap();
    assert_eq!(whole.records, 40);
    assert_eq!(whole.bytes, len as u64);
    for at in [HEADER_BYTES + 100_000, len / 2, len - FOOTER - 100] {
        let damaged = disk.after_kill();
        damaged.damage(&path, |bytes| bytes[at] ^= 1);
        assert!(verify(&*damaged.open(&path).unwrap(), Some(context.cluster)).is_err(), "{at} of {len}");
    }
}

#[test]
fn only_the_first_of_several_disproved_snapshots_is_kept() {
    let disk = SimStorage::new();
    let context = context_of(&disk);
    let kept = format!("{QUARANTINE_DIR}/{DISPROVED}");
    // Another file in the quarantine directory does not count.
    disk.plant(&format!("{QUARANTINE_DIR}/other"), vec![1]);
    let first = unnamed(&context);
    let bytes = disk.peek(first.path()).unwrap();
    assert_eq!(bytes.len() as u64, first.bytes());
    first.set_aside().unwrap();
    assert_eq!(disk.peek(&kept), Some(bytes.clone()));
    let second = unnamed(&context);
    let path = second.path().to_owned();
    second.set_aside().unwrap();
    assert_eq!(disk.peek(&kept), Some(bytes));
    assert_eq!(disk.peek(&path), None);
}

#[test]
fn a_snapshot_gets_its_name_once_its_end_is_durable() {
    let disk = SimStorage::new();
    let context = context_of(&disk);
    let mut writer = SnapshotWriter::begin(&context, 3).unwrap();
    writer.chunk(9, 1, 0, BUCKETS, &records(3, 10)).unwrap();
    let unnamed = writer.finish(7, 5).unwrap();
    assert_eq!(unnamed.end_seq(), 7);
    assert_eq!(newest(&disk), None);
    let bytes = unnamed.bytes();
    unnamed.name(7).unwrap();
    assert_eq!(newest(&disk), Some(Named { bytes, begun: context.clock.now() }));
    assert!(self::unnamed(&context).name(0).is_ok());
    let mut early = SnapshotWriter::begin(&context, 3).unwrap();
    early.chunk(9, 1, 0, BUCKETS, &records(3, 10)).unwrap();
    assert!(early.finish(9, 5).unwrap().name(8).is_err());
    abandon(&disk);
    assert!(disk.paths().iter().all(|path| !path.contains("0009")));
    // Two are kept; the older one begins at 0.
    assert_eq!(keep_two(&disk, context.cluster).unwrap(), 0);
    assert_eq!(numbers(&disk, SNAPSHOT_DIR, ".snap").unwrap(), [0, 7]);
}

#[test]
fn damage_to_a_footer_is_reported_with_its_offset() {
    let disk = SimStorage::new();
    let context = context_of(&disk);
    let unnamed = unnamed(&context);
    let path = unnamed.path().to_owned();
    let len = unnamed.bytes() as usize;
    let footer = len - FOOTER;
    let reported = |edit: &dyn Fn(&mut [u8])| {
        let disk = disk.after_kill();
        disk.damage(&path, |bytes| {
            edit(bytes);
            let crc = crc32c::crc32c(&bytes[footer + 8..]).to_le_bytes();
            bytes[footer + 4..footer + 8].copy_from_slice(&crc);
        });
        let file = disk.open(&path).unwrap();
        match read(&*file, Some(context.cluster), &mut |_, _, _, _| Ok(())) {
            Err(Unreadable::Damaged(at, what)) => (at as usize, what),
            other => panic!("{other:?}"),
        }
    };
    let disagrees = (footer, "footer does not agree with the chunks");
    // The digest; the records of a table; one chunk too many; none at all; another start.
    assert_eq!(reported(&|bytes| bytes[footer + 56] ^= 1), disagrees);
    assert_eq!(reported(&|bytes| bytes[footer + 88] ^= 1), disagrees);
    assert_eq!(reported(&|bytes| bytes[footer + 40] += 1), (footer, "chunk missing"));
    assert_eq!(reported(&|bytes| bytes[footer + 40] = 0), disagrees);
    assert_eq!(reported(&|bytes| bytes[footer + 16] = 9), (footer, "footer and header disagree"));
}

#[test]
fn a_table_whose_last_bucket_goes_on_is_not_whole() {
    let disk = SimStorage::new();
    let context = context_of(&disk);
    let unnamed = unnamed(&context);
    let path = unnamed.path().to_owned();
    disk.damage(&path, |bytes| {
        bytes[HEADER_BYTES + 26] = 1;
        let crc = crc32c::crc32c(&bytes[HEADER_BYTES + 8..HEADER_BYTES + CHUNK_HEADER]).to_le_bytes();
        bytes[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&crc);
    });
    assert!(verify(&*disk.open(&path).unwrap(), None).is_err());
}
