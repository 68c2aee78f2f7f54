//! Both readers over the golden directories: they agree on sound ones, and a mistake of one shows.

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

/// The second path knows nothing of time here: no record may be gone.
fn prove_it(disk: &SimStorage) -> Result<Proof, Disproof> {
    prove(disk, None, None, &|_, _, _| false, &|| ())
}

fn verify_it(disk: &SimStorage) -> Result<Proof, recovery::report::Refusal> {
    verify(disk, SIZES, &|_, _, _| false).map(|(_, proof)| proof)
}

#[test]
fn a_second_path_comes_to_the_same_state_of_every_golden_directory() {
    for (base, paths) in [("clean", 1), ("fenced", 1), ("snapshots", 2)] {
        let disk = disk_of(&frozen(base));
        let proof = verify_it(&disk).unwrap();
        let state = Run::begin(&disk).unwrap().state;
        assert_eq!((proof.records, proof.paths), (state.records.len() as u64, paths), "{base}");
        // And of what the next start makes of it.
        let again = prove_it(&disk.after_kill()).unwrap();
        assert_eq!((again.seq, again.digest), (proof.seq, proof.digest), "{base}, started again");
    }
}

#[test]
fn a_damage_that_recovery_passes_over_is_no_other_state_to_the_second_path() {
    let (mut both, mut neither) = (0, 0);
    for [what, base, edits, expected] in &verdicts() {
        if base == "forming" {
            continue;
        }
        let disk = damaged(base, edits);
        let refused = verify_it(&disk).err().map(|refusal| refusal.to_string());
        both += u64::from(refused.is_none());
        neither += u64::from(refused.is_some() && expected.starts_with("refuses"));
        let differs =
            refused.as_ref().is_some_and(|why| why.contains("second path: ") && why.contains("differ"));
        assert!(!differs, "{what}: {refused:?}");
        assert!(!expected.starts_with("refuses") || refused.is_some(), "{what}: not refused");
    }
    assert!(both > 5 && neither > 30, "{both} pass both, {neither} neither");
}

#[test]
fn a_snapshot_that_leaves_a_record_out_is_disproved_and_set_aside() {
    let disk = disk_of(&frozen("snapshots"));
    let mut life = Run::begin(&disk).unwrap();
    let (lost, _) = life.state.records.pop_first().unwrap();
    life.append(&[values()[4].clone()]);
    life.sync();
    let before = files(&disk);
    let (doors, handle) = (life.journal.context().clone(), life.journal.handle.clone());
    let mut round = SnapshotRun::begin(&doors, &handle).unwrap();
    for table in [1, 3, 4, 5, 6, 7] {
        let mut records = Records::default();
        for ((_, key), value) in life.state.records.iter().filter(|((of, _), _)| *of == table) {
            records.add(1, key, value);
        }
        round.add((table, 1), 0, records, BUCKETS).unwrap();
    }
    let Err(Unnamed::Disproved(disproof)) = round.finish().unwrap().name(&|_, _, _| false) else {
        panic!("named although a record is missing")
    };
    let at = bucket_of(&lost.1);
    assert!(matches!(&disproof, Disproof::Differ { bucket, .. } if *bucket == at), "{disproof}");
    let mut after = files(&disk);
    assert!(
        after.remove("IDENTITY").is_some()
            && before.iter().all(|(path, bytes)| { path == "IDENTITY" || after.get(path) == Some(bytes) })
    );
    assert_eq!(after.len() + 1, before.len());
    // Once it has a name all the same, it is found out by whoever verifies.
    let aside = disk.peek("quarantine/disproved.snap").unwrap();
    assert!(verify_it(&disk).is_ok());
    disk.plant(&snapshot_path(handle.assigned()), aside);
    assert!(verify_it(&disk).unwrap_err().to_string().contains("differ"));
}

#[test]
fn a_mistake_of_recovery_does_not_hide_from_the_second_path() {
    // The first entry behind the newest snapshot matters here.
    let disk = disk_of(&frozen("snapshots"));
    let mut life = Run::begin(&disk).unwrap();
    life.snapshot();
    life.append(&[removal(&values()[0])]);
    life.sync();
    drop(life);
    for (bug, disk) in
        [(Bug::RemovalNotReplayed, disk_of(&frozen("clean"))), (Bug::ReplayOneLate, disk.after_kill())]
    {
        assert!(verify_it(&disk).is_ok());
        let refusal = seeded_bug::with(Some(bug), || verify_it(&disk)).unwrap_err().to_string();
        assert!(refusal.contains("differ"), "{bug:?}: {refusal}");
    }
}

#[test]
fn stripes_grow_with_the_journal_and_share_out_every_bucket_once() {
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
fn a_snapshot_that_the_journal_begins_right_behind_is_a_beginning() {
    let disk = SimStorage::new();
    let mut life = Run::begin(&disk).unwrap();
    life.append(&values()[..2]);
    life.sync();
    life.snapshot();
    // Or the next life would write the last frame again.
    life.journal.writer.attest().unwrap();
    drop(life);
    // The next life begins a segment: nothing before it is needed any more.
    let disk = disk.after_kill();
    let mut life = Run::begin(&disk).unwrap();
    life.append(&[values()[4].clone()]);
    life.sync();
    drop(life);
    disk.lose(&segment_path(1));
    let proof = prove_it(&disk).unwrap();
    assert_eq!((proof.seq, proof.records, proof.paths), (2, 3, 1));
}
