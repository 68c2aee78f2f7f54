//! How far the reader goes, with which snapshot it begins, and what it reports of a directory.

use std::io::ErrorKind;
use std::time::Duration;

use super::*;
use crate::journal::archive::Records;
use crate::journal::format::layout::segment_path;
use crate::simulation::Fold;
use crate::simulation::golden::{Run, SIZES, damaged, disk_of, frozen, values};
use crate::storage::simulated::{Failure, Kind, SimStorage};

fn replayed(disk: &SimStorage, until: RecoveryTarget) -> (RecoveryReport, Fold) {
    let mut fold = Fold::default();
    let report = replay_read_only_until(disk, SIZES, &mut fold, until).unwrap();
    (report, fold)
}

fn up_to(seq: u64) -> RecoveryTarget {
    RecoveryTarget { seq: Some(seq), time: None }
}

#[test]
fn a_point_in_time_is_kept_to_the_millisecond() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk).unwrap();
    let clock = run.journal.context().clock.clone();
    let mut times = Vec::new();
    for value in values() {
        clock.advance(Duration::from_secs(1));
        times.push(clock.now());
        run.append(&[value]);
        run.sync();
    }
    run.journal.writer.close().unwrap();
    let reached = |until| replayed(&disk, until).0.seq;
    let by_time = |time| reached(RecoveryTarget { seq: None, time: Some(time) });
    for (before, time) in times.iter().enumerate() {
        assert_eq!(by_time(*time), before as u64 + 1);
        assert_eq!(by_time(*time - Duration::from_millis(1)), before as u64);
    }
    // Both bounds hold.
    let last = times[times.len() - 1];
    assert_eq!(reached(RecoveryTarget { seq: Some(2), time: Some(last) }), 2);
    assert_eq!(reached(RecoveryTarget { seq: Some(2), time: Some(times[0]) }), 1);
}

#[test]
fn a_snapshot_beyond_the_recovery_target_is_not_used() {
    let disk = disk_of(&frozen("snapshots"));
    // The older snapshot ends at 14, the newer at 21, and the journal begins with 8.
    let (report, of_20) = replayed(&disk, up_to(20));
    assert_eq!((report.seq, report.entries), (20, 6));
    let (report, of_21) = replayed(&disk, up_to(21));
    assert_eq!((report.seq, report.entries), (21, 0), "no entry after the snapshot is wanted");
    assert!(of_20 != of_21);
    assert_eq!(of_21.0.len(), 5);
    let mut records = Records::default();
    let early = replay_read_only_until(&disk, SIZES, &mut records, up_to(13));
    assert!(early.is_err(), "the segments that it needs were deleted");
    assert!(records.is_empty());
}

#[test]
fn a_directory_is_reported_for_what_it_is() {
    let (forming, _) = replayed(&disk_of(&frozen("forming")), RecoveryTarget::default());
    assert_eq!((forming.first_start, forming.seq), (true, 0));
    let disk = disk_of(&frozen("snapshots"));
    assert!(!replayed(&disk, RecoveryTarget::default()).0.first_start);
    // With everything in a snapshot, the last sequence is still reported.
    let mut run = Run::begin(&disk).unwrap();
    run.append(&[values()[0].clone()]);
    run.sync();
    run.snapshot();
    let seq = run.journal.handle.assigned();
    drop(run);
    let (report, _) = replayed(&disk.after_kill(), RecoveryTarget::default());
    assert_eq!((report.seq, report.entries), (seq, 0));
    // So it is after a run that wrote nothing, and with a recovery target that was not reached.
    let disk = disk.after_kill();
    drop(Run::begin(&disk).unwrap());
    for until in [RecoveryTarget::default(), up_to(seq + 9)] {
        let (report, _) = replayed(&disk, until);
        assert_eq!((report.seq, report.entries), (seq, 0));
    }
    let torn = damaged("fenced", "fill journal/0000000000000002.log 5632 5800");
    assert_eq!(replayed(&torn, RecoveryTarget::default()).0.torn, 779);
}

#[test]
fn the_last_segment_is_read_past_the_page_cache() {
    // Of the operations that reading needs, only dropping the page cache is of this kind.
    let disk = disk_of(&frozen("clean"));
    let only = Some(Kind::Other);
    disk.fail(Some(Failure { at: 0, lasting: false, only, error: ErrorKind::PermissionDenied }));
    let refusal = replay_read_only(&disk, SIZES, &mut Fold::default()).unwrap_err();
    assert_eq!(refusal.path, segment_path(3));
    assert!(replay_read_only(&disk, SIZES, &mut Fold::default()).is_ok(), "the fault was for one operation");
}
