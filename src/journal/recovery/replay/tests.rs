//! How far a reader goes, where it begins, and what it says of a directory.

use std::io::ErrorKind;
use std::time::Duration;

use super::*;
use crate::journal::archive::Records;
use crate::simulation::Fold;
use crate::simulation::golden::{Run, SIZES, damaged, disk_of, frozen, values};
use crate::storage::simulated::{Failure, Kind, SimStorage};

fn looked(disk: &SimStorage, until: RecoveryTarget) -> (RecoveryReport, Fold) {
    let mut fold = Fold::default();
    let found = replay_read_only_until(disk, SIZES, &mut fold, until).unwrap();
    (found, fold)
}

#[test]
fn a_point_in_time_is_kept_to_the_millisecond() {
    let disk = SimStorage::new();
    let mut life = Run::begin(&disk).unwrap();
    let clock = life.journal.life().clock.clone();
    let mut times = Vec::new();
    for value in values() {
        clock.advance(Duration::from_secs(1));
        times.push(clock.now());
        life.append(&[value]);
        life.sync();
    }
    life.journal.writer.close().unwrap();
    let until = |time| looked(&disk, RecoveryTarget { seq: None, time: Some(time) }).0.seq;
    for (before, time) in times.iter().enumerate() {
        assert_eq!(until(*time), before as u64 + 1);
        assert_eq!(until(*time - Duration::from_millis(1)), before as u64);
    }
    // Both bounds hold.
    let last = times[times.len() - 1];
    assert_eq!(looked(&disk, RecoveryTarget { seq: Some(2), time: Some(last) }).0.seq, 2);
    assert_eq!(looked(&disk, RecoveryTarget { seq: Some(2), time: Some(times[0]) }).0.seq, 1);
}

#[test]
fn a_snapshot_that_goes_further_than_is_wanted_is_not_begun_with() {
    let disk = disk_of(&frozen("snapshots"));
    // The older ends at 14, the newer at 21, and the journal begins with 8.
    let at = |seq| looked(&disk, RecoveryTarget { seq: Some(seq), time: None });
    let (found, of_20) = at(20);
    assert_eq!((found.seq, found.entries), (20, 6));
    let (found, of_21) = at(21);
    assert_eq!((found.seq, found.entries), (21, 0), "nothing behind the snapshot is wanted");
    assert!(of_20 != of_21 && of_21.0.len() == 5);
    let mut nothing = Records::default();
    let early =
        replay_read_only_until(&disk, SIZES, &mut nothing, RecoveryTarget { seq: Some(13), time: None });
    assert!(early.is_err() && nothing.is_empty(), "what is needed for it was deleted");
}

#[test]
fn a_directory_is_told_for_what_it_is() {
    let (forming, _) = looked(&disk_of(&frozen("forming")), RecoveryTarget::default());
    assert_eq!((forming.first_start, forming.seq), (true, 0));
    let disk = disk_of(&frozen("snapshots"));
    assert!(!looked(&disk, RecoveryTarget::default()).0.first_start);
    // Everything is in a snapshot: the last sequence is what it was.
    let mut life = Run::begin(&disk).unwrap();
    life.append(&[values()[0].clone()]);
    life.sync();
    life.snapshot();
    let seq = life.journal.handle.assigned();
    drop(life);
    let (found, _) = looked(&disk.after_kill(), RecoveryTarget::default());
    assert_eq!((found.seq, found.entries), (seq, 0));
    // Also where a life that wrote nothing has come since, and whatever was asked for.
    let disk = disk.after_kill();
    drop(Run::begin(&disk).unwrap());
    for until in [RecoveryTarget::default(), RecoveryTarget { seq: Some(seq + 9), time: None }] {
        let (found, _) = looked(&disk, until);
        assert_eq!((found.seq, found.entries), (seq, 0));
    }
    let torn = damaged("fenced", "fill journal/0000000000000002.log 5632 5800");
    assert_eq!(looked(&torn, RecoveryTarget::default()).0.torn, 779);
}

#[test]
fn what_the_page_cache_holds_of_the_last_segment_is_not_believed() {
    // Of the operations that looking needs, only that of letting the cache go is of this kind.
    let disk = disk_of(&frozen("clean"));
    let (lasting, only, error) = (false, Some(Kind::Other), ErrorKind::PermissionDenied);
    disk.fail(Some(Failure { at: 0, lasting, only, error }));
    let refusal = replay_read_only(&disk, SIZES, &mut Fold::default()).unwrap_err();
    assert_eq!(refusal.path, segment_path(3));
    assert!(replay_read_only(&disk, SIZES, &mut Fold::default()).is_ok(), "once is enough");
}
