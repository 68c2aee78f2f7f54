//! Both readers over the golden directories: they agree on sound ones, and a mistake of one is seen by the other.

use std::borrow::Cow;

use super::{Disproof, Proof, STRIPE_BYTES, buckets_of, prove, stripes_of};
use crate::journal::archive::inspect::verify;
use crate::journal::format::buckets::{BUCKETS, bucket_of};
use crate::journal::format::layout::{segment_path, snapshot_path};
use crate::journal::recovery;
use crate::journal::snapshot::Records;
use crate::journal::snapshot::run::{SnapshotRun, Unnamed};
use crate::simulation::golden::{Run, SIZES, damaged, disk_of, files, frozen, removal, values, verdicts};
use crate::storage::simulated::SimStorage;
use crate::system::seeded_bug::{self, Bug};

/// Runs the second reader, with no record that may have expired.
fn prove_it(disk: &SimStorage) -> Result<Proof, Disproof> {
    prove(disk, None, None, &|_, value, _| Some(Cow::Borrowed(value)), &|| ())
}

fn verify_it(disk: &SimStorage) -> Result<Proof, recovery::report::Refusal> {
    verify(disk, SIZES, &|_, value, _| Some(Cow::Borrowed(value))).map(|verified| verified.proof)
}

#[test]
fn both_readers_read_the_same_state_of_every_golden_directory() {
    for (base, paths) in [("clean", 1), ("fenced", 1), ("snapshots", 2)] {
        let disk = disk_of(&frozen(base));
        let proof = verify_it(&disk).unwrap();
        let state = Run::begin(&disk).unwrap().state;
        assert_eq!(proof.records, state.records.len() as u64, "{base}");
        assert_eq!(proof.paths, paths, "{base}");
        // The same holds after the next start.
        let again = prove_it(&disk.after_kill()).unwrap();
        assert_eq!(again.seq, proof.seq, "{base}, started again");
        assert_eq!(again.digest, proof.digest, "{base}, started again");
    }
}

#[test]
fn damage_that_recovery_accepts_is_no_other_state_to_the_second_reader() {
    let mut both = 0;
    let mut neither = 0;
    for [what, base, edits, expected] in &verdicts() {
        if base == "forming" {
            continue;
        }
        let disk = damaged(base, edits);
        let refused = verify_it(&disk).err().map(|refusal| refusal.to_string());
        both += u64::from(refused.is_none());
        neither += u64::from(refused.is_some() && expected.starts_with("refuses"));
        let differs =
            refused.as_ref().is_some_and(|why| why.contains("second reader: ") && why.contains("differ"));
        assert!(!differs, "{what}: {refused:?}");
        assert!(!expected.starts_with("refuses") || refused.is_some(), "{what}: not refused");
    }
    assert!(both > 5, "{both} are accepted by both");
    assert!(neither > 30, "{neither} are refused by both");
}

#[test]
fn a_snapshot_without_one_record_is_disproved_and_set_aside() {
    let disk = disk_of(&frozen("snapshots"));
    let mut run = Run::begin(&disk).unwrap();
    let (lost, _) = run.state.records.pop_first().unwrap();
    run.append(&[values()[4].clone()]);
    run.sync();
    let before = files(&disk);
    let context = run.journal.context().clone();
    let handle = run.journal.handle.clone();
    let mut snapshot_run = SnapshotRun::begin(&context, &handle).unwrap();
    for table in [1, 3, 4, 5, 6, 7] {
        let mut records = Records::default();
        for ((_, key), value) in run.state.records.iter().filter(|((of, _), _)| *of == table) {
            records.add(1, key, value);
        }
        snapshot_run.add((table, 1), 0, records, BUCKETS).unwrap();
    }
    let Err(Unnamed::Disproved(disproof)) =
        snapshot_run.finish().unwrap().name(&|_, value, _| Some(Cow::Borrowed(value)))
    else {
        panic!("named although a record is missing")
    };
    let at = bucket_of(&lost.1);
    assert!(matches!(&disproof, Disproof::Differ { bucket, .. } if *bucket == at), "{disproof}");
    let mut after = files(&disk);
    assert!(after.remove("IDENTITY").is_some());
    assert!(before.iter().all(|(path, bytes)| path == "IDENTITY" || after.get(path) == Some(bytes)));
    assert_eq!(after.len() + 1, before.len());
    // If it had a name all the same, `verify` would find it.
    let aside = disk.peek("quarantine/disproved.snap").unwrap();
    assert!(verify_it(&disk).is_ok());
    disk.plant(&snapshot_path(handle.assigned()), aside);
    assert!(verify_it(&disk).unwrap_err().to_string().contains("differ"));
}

#[test]
fn the_second_reader_sees_a_mistake_of_recovery() {
    // Here the first entry after the newest snapshot matters.
    let disk = disk_of(&frozen("snapshots"));
    let mut run = Run::begin(&disk).unwrap();
    run.snapshot();
    run.append(&[removal(&values()[0])]);
    run.sync();
    drop(run);
    for (bug, disk) in
        [(Bug::RemovalNotReplayed, disk_of(&frozen("clean"))), (Bug::ReplayOneLate, disk.after_kill())]
    {
        assert!(verify_it(&disk).is_ok());
        let refusal = seeded_bug::with(Some(bug), || verify_it(&disk)).unwrap_err().to_string();
        assert!(refusal.contains("differ"), "{bug:?}: {refusal}");
    }
}

#[test]
fn stripes_grow_with_the_journal_and_have_every_bucket_once() {
    for (segments, len, stripes) in [
        (1, 0, 1),
        (1, STRIPE_BYTES - 1, 1),
        (1, STRIPE_BYTES, 2),
        (2, STRIPE_BYTES / 2, 2),
        (3, 2 * STRIPE_BYTES, 7),
        (70, STRIPE_BYTES, 64),
    ] {
        assert_eq!(stripes_of(segments, len), stripes, "{segments} of {len}");
    }
    for stripes in [1, 2, 3, 7, 64] {
        let all: Vec<u32> = (0..stripes).flat_map(|stripe| buckets_of(stripe, stripes)).collect();
        assert_eq!(all, (0..BUCKETS as u32).collect::<Vec<_>>(), "{stripes}");
        let most = (0..stripes).map(|stripe| buckets_of(stripe, stripes).len()).max().unwrap();
        assert!(most <= BUCKETS / stripes as usize + 1, "{stripes}");
    }
}

#[test]
fn a_snapshot_right_before_the_first_segment_is_a_beginning() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk).unwrap();
    run.append(&values()[..2]);
    run.sync();
    run.snapshot();
    // Without this frame the next start would carry the last one over.
    run.journal.writer.attest().unwrap();
    drop(run);
    // The next start begins a segment, and nothing before it is needed any more.
    let disk = disk.after_kill();
    let mut run = Run::begin(&disk).unwrap();
    run.append(&[values()[4].clone()]);
    run.sync();
    drop(run);
    disk.lose(&segment_path(1));
    let proof = prove_it(&disk).unwrap();
    assert_eq!(proof.seq, 2);
    assert_eq!(proof.records, 3);
    assert_eq!(proof.paths, 1);
}
