//! Flips every bit of a journal and of a snapshot, one at a time: each must be detected or harmless.

use std::sync::Arc;

use super::oracle::{Fold, Oracle};
use super::toys::TOY_A;
use super::toys::kept;
use super::world::{What, Wish, World};
use crate::journal::append::handle::Class;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::replay::replay_read_only;
use crate::journal::snapshot;
use crate::journal::snapshot::proof::prove;
use crate::storage::Storage;
use crate::storage::simulated::{Dice, SimStorage};
use crate::system::clock::{Clock, Timestamp};

const SIZES: Sizes = Sizes { segment: 32_768, body: 4_000, align: 512, window: 65_536 };
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Makes a directory with at least 64 KiB of journal that was stopped cleanly, and returns its state.
fn stopped_directory(records: u64) -> (SimStorage, Fold) {
    let disk = SimStorage::new();
    let clock = Clock::manual(NOW);
    let mut world = World::start(&disk, SIZES, &clock, 1).unwrap();
    let mut oracle = Oracle::new();
    let mut dice = Dice::new(1);
    for number in 0..records {
        let _ = world.journal.prepare();
        let mut key = [0; 16];
        key[8..].copy_from_slice(&(number % 20).to_be_bytes());
        let what = What::Put { end_ms: u64::MAX, fill: vec![number as u8; 100 + dice.below(900) as usize] };
        world.toy(&mut oracle, &Wish { table: TOY_A, key, what }, Class::Ordinary).unwrap();
        if dice.once_in(2) {
            world.journal.writer.step().unwrap();
            oracle.waiting = 0;
        }
    }
    world.journal.writer.step().unwrap();
    let fold = world.fold();
    world.journal.writer.close().unwrap();
    (disk, fold)
}

/// Returns the state that recovery would read, if it would start.
fn read(disk: &SimStorage) -> Option<Fold> {
    let mut fold = Fold::default();
    replay_read_only(disk, SIZES, &mut fold).ok().map(|_| fold)
}

/// Flips each `stride`-th bit of every segment. Returns how many were flipped and how many were harmless.
fn sweep_journal(stride: usize) -> (u64, u64) {
    let (disk, right) = stopped_directory(90);
    assert_eq!(read(&disk).as_ref(), Some(&right));
    let prove_again = || prove(&disk, None, None, &kept, &|| ()).ok();
    let proof = prove_again();
    assert!(proof.is_some());
    let segments: Vec<_> = disk.paths().into_iter().filter(|path| path.starts_with("journal")).collect();
    let bytes: usize = segments.iter().map(|path| disk.peek(path).unwrap().len()).sum();
    assert!(bytes >= 65_536, "{bytes} bytes of journal");
    let mut flipped = 0;
    let mut harmless = 0;
    for path in &segments {
        let len = disk.peek(path).unwrap().len();
        for bit in (0..len * 8).step_by(stride) {
            let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
            disk.damage(path, flip);
            if let Some(fold) = read(&disk) {
                assert_eq!(fold, right, "bit {bit} of {path} led to another state");
                harmless += 1;
            }
            let proved = prove_again();
            assert!(
                proved.is_none() || proved == proof,
                "bit {bit} of {path} gave the second reader another state"
            );
            flipped += 1;
            disk.damage(path, flip);
        }
    }
    (flipped, harmless)
}

/// Flips each `stride`-th bit of a snapshot of at least 64 KiB. None is harmless, since a checksum covers every byte.
fn sweep_snapshot(stride: usize) -> u64 {
    let disk = SimStorage::new();
    let clock = Clock::manual(NOW);
    let world = World::start(&disk, SIZES, &clock, 1).unwrap();
    let context = world.journal.context().clone();
    let mut writer = snapshot::SnapshotWriter::begin(&context, 0).unwrap();
    for table in [TOY_A, 10, 11] {
        for (from, to) in [(0, 1000), (1000, 4096)] {
            let mut records = snapshot::Records::default();
            for number in 0..40_u8 {
                records.add(1, &[number; 16], &vec![number; 280]);
            }
            writer.chunk(table, 1, from, to, &records).unwrap();
        }
    }
    writer.finish(0, NOW.as_millis()).unwrap().name(0).unwrap();
    let path = "snapshot/0000000000000000.snap";
    let file = disk.open(path).unwrap();
    let is_readable = || snapshot::read(&*file, None, &mut |_, _, _, _| Ok(())).is_ok();
    let len = disk.peek(path).unwrap().len();
    assert!(is_readable());
    assert!(len >= 65_536, "{len} bytes of snapshot");
    let mut flipped = 0;
    for bit in (0..len * 8).step_by(stride) {
        let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
        disk.damage(path, flip);
        assert!(!is_readable(), "bit {bit} of a snapshot was not detected");
        flipped += 1;
        disk.damage(path, flip);
    }
    flipped
}

/// A stride that has no factor in common with the bits of a byte, so that it meets each of them.
const SHORT: usize = 1_009;

#[test]
fn a_flipped_bit_of_a_journal_is_detected_or_harmless() {
    let (flipped, harmless) = sweep_journal(SHORT);
    assert!(flipped > 500, "{flipped}");
    assert!(harmless < flipped / 2, "{harmless} of {flipped} were harmless");
}

#[test]
fn a_flipped_bit_of_a_snapshot_is_detected() {
    assert!(sweep_snapshot(SHORT) > 500);
}

#[test]
#[ignore = "long: see src/simulation/README.md"]
fn every_flipped_bit_is_detected_or_harmless() {
    let (flipped, harmless) = sweep_journal(1);
    eprintln!("journal: {flipped} bits, {harmless} harmless, the others refused; none led to another state");
    eprintln!("snapshot: {} bits, every one refused", sweep_snapshot(1));
}

#[test]
fn reading_changes_nothing() {
    let (disk, _) = stopped_directory(20);
    let before: Vec<_> = disk.paths().into_iter().map(|path| (disk.peek(&path), path)).collect();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    replay_read_only(&*storage, SIZES, &mut Fold::default()).unwrap();
    let after: Vec<_> = disk.paths().into_iter().map(|path| (disk.peek(&path), path)).collect();
    assert_eq!(before, after);
}
