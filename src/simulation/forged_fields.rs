//! Fields that no version wrote, in golden directories, with every checksum and the chain corrected: recovery and the
//! second reader refuse each of them by a check of their own.

use super::Fold;
use super::golden::{SIZES, disk_of, frozen};
use crate::journal::format::header::HEADER_BYTES;
use crate::journal::recovery::replay::replay_read_only;
use crate::journal::snapshot;
use crate::journal::snapshot::proof::{Disproof, Proof, prove};
use crate::storage::Storage;
use crate::storage::simulated::SimStorage;

const SEGMENTS: [&str; 3] =
    ["journal/0000000000000001.log", "journal/0000000000000002.log", "journal/0000000000000003.log"];
const SNAPSHOT: &str = "snapshot/0000000000000015.snap";

fn u32_of(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Returns the begin and end of each frame of a sound segment.
fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    while bytes.get(at..at + 4) == Some(b"PCF1") {
        let end = (at + 96 + u32_of(bytes, at + 36) as usize).next_multiple_of(SIZES.align);
        found.push((at, end));
        at = end;
    }
    found
}

/// The checksums that are left wrong after a change, instead of being corrected.
#[derive(Clone, Copy, Default)]
struct LeftWrong {
    body_crc: bool,
    prev_crc: bool,
    block_crc: bool,
}

/// Returns `clean` with `edit` applied to one segment and with the chain and the checksums corrected. Frames begin
/// where they did.
fn with_segment(which: usize, left_wrong: LeftWrong, edit: impl Fn(&mut [u8])) -> SimStorage {
    let disk = disk_of(&frozen("clean"));
    let mut last = 0;
    for (number, path) in SEGMENTS.into_iter().enumerate() {
        let here = number == which;
        disk.damage(path, |bytes| {
            let frames = frames(bytes);
            let before: Vec<u8> = bytes.clone();
            if here {
                edit(bytes);
            }
            if !(here && left_wrong.block_crc) {
                if bytes[144..148] == before[144..148] {
                    put(bytes, 144, last);
                }
                let crc = crc32c::crc32c(&bytes[12..HEADER_BYTES]);
                put(bytes, 8, crc);
            }
            for (at, end) in frames {
                let is_changed = bytes[at..end] != before[at..end];
                if !(is_changed && left_wrong.prev_crc) {
                    put(bytes, at + 72, last);
                }
                if !(is_changed && left_wrong.body_crc) {
                    let len = u32_of(&before, at + 36) as usize;
                    let crc = crc32c::crc32c(&bytes[at + 96..at + 96 + len]);
                    put(bytes, at + 76, crc);
                }
                let crc = crc32c::crc32c(&bytes[at + 8..at + 96]);
                put(bytes, at + 4, crc);
                last = crc;
            }
        });
    }
    disk
}

/// Returns the state that recovery would read, if it would start.
fn recovered(disk: &SimStorage) -> Option<Fold> {
    let mut fold = Fold::default();
    replay_read_only(disk, SIZES, &mut fold).ok().map(|_| fold)
}

/// Runs the second reader.
fn proved(disk: &SimStorage) -> Result<Proof, Disproof> {
    prove(disk, None, None, &|_, value, _| Some(std::borrow::Cow::Borrowed(value)), &|| ())
}

#[test]
fn correcting_checksums_without_a_change_changes_nothing() {
    let right = disk_of(&frozen("clean"));
    for which in 0..3 {
        let same = with_segment(which, LeftWrong::default(), |_| ());
        assert!(recovered(&right).is_some());
        assert!(recovered(&same) == recovered(&right));
        assert_eq!(proved(&same).unwrap(), proved(&right).unwrap());
        for path in SEGMENTS {
            assert_eq!(same.peek(path), right.peek(path));
        }
    }
}

#[test]
fn no_reader_believes_a_header_block_that_no_version_wrote() {
    // Magic, checksum, versions, installation, timeline, epoch, salt and flags; then a segment's own fields: number,
    // length, first sequence, first frame, the segment before, its end, its last frame, alignment.
    let both: [(usize, usize, u8); 17] = [
        (1, 0, 0),
        (1, 12, 0),
        (1, 14, 0),
        (1, 14, 2),
        (1, 40, 9),
        (1, 56, 0xEE),
        (1, 88, 1),
        (1, 95, 1),
        (1, 96, 7),
        (1, 105, 1),
        (1, 112, 99),
        (1, 120, 99),
        (1, 136, 1),
        (1, 144, 0),
        (1, 148, 3),
        (1, 149, 0),
        (2, 40, 0),
    ];
    for (which, at, byte) in both {
        let disk = with_segment(which, LeftWrong::default(), |bytes| bytes[at] = byte);
        assert!(recovered(&disk).is_none(), "recovery believes {byte} at {at} of segment {which}");
        assert!(proved(&disk).is_err(), "the second reader believes {byte} at {at} of segment {which}");
    }
    let newer = with_segment(1, LeftWrong::default(), |bytes| {
        bytes[12] = 2;
        bytes[14] = 2;
    });
    assert!(recovered(&newer).is_none());
    assert!(proved(&newer).is_err());
    // A newer version that this version can still read.
    let readable = with_segment(1, LeftWrong::default(), |bytes| bytes[12] = 2);
    assert!(recovered(&readable).is_some());
    assert!(proved(&readable).is_ok());
    let unchecked =
        with_segment(1, LeftWrong { block_crc: true, ..LeftWrong::default() }, |bytes| bytes[4000] ^= 1);
    assert!(recovered(&unchecked).is_none());
    assert!(proved(&unchecked).is_err());
}

#[test]
fn no_reader_believes_a_frame_that_no_version_wrote() {
    let bytes = frozen("clean").remove(SEGMENTS[0]).unwrap();
    let data: Vec<_> =
        frames(&bytes).into_iter().filter(|(at, _)| bytes[at + 80] == 1 && bytes[at + 32] > 0).collect();
    assert!(data.len() > 1);
    let (at, end) = data[data.len() / 2];
    let body = u32_of(&bytes, at + 36) as usize;
    let fields = [0, 8, 15, 16, 24, 32, 36, 63, 64, 80, 81, 82, 83, 84, 95];
    for field in fields {
        for change in [1, 2, 0x80] {
            let disk = with_segment(0, LeftWrong::default(), |bytes| bytes[at + field] ^= change);
            assert!(recovered(&disk).is_none(), "recovery believes field {field} changed by {change}");
            assert!(proved(&disk).is_err(), "the second reader believes field {field} changed by {change}");
        }
    }
    for kind in [0, 2, 3, 5, 6] {
        let disk = with_segment(0, LeftWrong::default(), |bytes| bytes[at + 80] = kind);
        assert!(recovered(&disk).is_none(), "kind {kind}");
        assert!(proved(&disk).is_err(), "kind {kind}");
    }
    // The chain, the body's checksum, the padding.
    let prev = LeftWrong { prev_crc: true, ..LeftWrong::default() };
    let crc = LeftWrong { body_crc: true, ..LeftWrong::default() };
    for (left_wrong, place) in [
        (prev, at + 72),
        (crc, at + 76),
        (crc, at + 96),
        (LeftWrong::default(), end - 1),
        (LeftWrong::default(), at + 96 + body),
    ] {
        let disk = with_segment(0, left_wrong, |bytes| bytes[place] ^= 1);
        assert!(recovered(&disk).is_none(), "recovery believes {}", place - at);
        assert!(proved(&disk).is_err(), "the second reader believes {}", place - at);
    }
    // These two fields name the durable part of the journal when the frame was composed. They are a witness for
    // recovery, and no part of the journal's content.
    for field in [40, 48] {
        let disk = with_segment(0, LeftWrong::default(), |bytes| bytes[at + field] ^= 1);
        assert!(recovered(&disk).is_some(), "field {field}");
        assert!(proved(&disk).is_ok(), "field {field}");
    }
}

#[test]
fn no_reader_believes_an_entry_that_no_version_wrote() {
    let bytes = frozen("clean").remove(SEGMENTS[0]).unwrap();
    let (at, _) = *frames(&bytes).iter().find(|(at, _)| bytes[at + 80] == 1).unwrap();
    let entry = at + 96;
    // The length and the count of the entry; the operation and the lengths of its first write.
    for (place, change) in [(0, 1), (0, 2), (4, 1), (4, 2), (12, 7), (14, 1), (14, 0x40), (16, 1), (17, 1)] {
        let disk = with_segment(0, LeftWrong::default(), |bytes| bytes[entry + place] ^= change);
        assert!(recovered(&disk).is_none(), "recovery believes {place} changed by {change}");
        assert!(proved(&disk).is_err(), "the second reader believes {place} changed by {change}");
    }
}

/// Returns `snapshots` with `edit` applied to its newest snapshot, and the checksums of header, footer and chunks
/// corrected; those of chunk bodies only if `body_crc`.
fn with_snapshot(body_crc: bool, edit: impl Fn(&mut [u8])) -> SimStorage {
    let disk = disk_of(&frozen("snapshots"));
    disk.damage(SNAPSHOT, |bytes| {
        let chunks = chunks(bytes);
        let footer = bytes.len() - 4096;
        edit(bytes);
        let crc = crc32c::crc32c(&bytes[12..HEADER_BYTES]);
        put(bytes, 8, crc);
        for (at, end) in chunks {
            if body_crc {
                let crc = crc32c::crc32c(&bytes[at + 48..end]);
                put(bytes, at + 40, crc);
            }
            let crc = crc32c::crc32c(&bytes[at + 8..at + 48]);
            put(bytes, at + 4, crc);
        }
        let crc = crc32c::crc32c(&bytes[footer + 8..]);
        put(bytes, footer + 4, crc);
    });
    disk
}

/// Returns the begin and end of each chunk.
fn chunks(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    while bytes.get(at..at + 4) == Some(b"PCC1") {
        let end = at + 48 + u32_of(bytes, at + 36) as usize;
        found.push((at, end));
        at = end;
    }
    found
}

/// Says whether recovery would use the snapshot.
fn is_read(disk: &SimStorage) -> bool {
    let file = disk.open(SNAPSHOT).unwrap();
    let cluster = disk.peek(SNAPSHOT).unwrap()[16..32].try_into().unwrap();
    let read = snapshot::read(&*file, Some(cluster), &mut |_, _, _, _| Ok(())).is_ok();
    assert_eq!(read, snapshot::verify(&*file, Some(cluster)).is_ok());
    read
}

#[test]
fn no_reader_believes_a_snapshot_that_no_version_wrote() {
    let sound = with_snapshot(true, |_| ());
    assert_eq!(sound.peek(SNAPSHOT), disk_of(&frozen("snapshots")).peek(SNAPSHOT));
    assert!(is_read(&sound));
    assert!(proved(&sound).is_ok());
    let bytes = sound.peek(SNAPSHOT).unwrap();
    let footer = bytes.len() - 4096;
    let (at, end) = *chunks(&bytes).iter().find(|(at, end)| end - at > 48).unwrap();
    let both = [
        // The header: magic, versions, flags, start, buckets.
        (0, 1),
        (12, 1),
        (14, 1),
        (14, 2),
        (88, 1),
        (95, 1),
        (96, 1),
        (104, 1),
        (105, 1),
        // A chunk: magic, salt, number, table, first and last bucket, records, length.
        (at, 1),
        (at + 8, 1),
        (at + 15, 1),
        (at + 16, 1),
        (at + 24, 8),
        (at + 26, 1),
        (at + 28, 1),
        (at + 30, 1),
        (at + 32, 1),
        (at + 32, 2),
        (at + 36, 1),
        (at + 36, 2),
        // A record: the lengths of key and value, the key, the value.
        (at + 50, 1),
        (at + 52, 1),
        (at + 56, 1),
        (end - 1, 1),
        // The footer: magic, salt, start, chunks, length, digest, tables; the number and the records of the first
        // table.
        (footer, 1),
        (footer + 8, 1),
        (footer + 16, 1),
        (footer + 40, 1),
        (footer + 48, 1),
        (footer + 56, 1),
        (footer + 71, 1),
        (footer + 72, 1),
        (footer + 80, 8),
        (footer + 88, 1),
    ];
    for (place, change) in both {
        let disk = with_snapshot(true, |bytes| bytes[place] ^= change);
        assert!(!is_read(&disk), "recovery believes {place} changed by {change}");
        assert!(proved(&disk).is_err(), "the second reader believes {place} changed by {change}");
    }
    let body = with_snapshot(false, |bytes| bytes[end - 1] ^= 1);
    assert!(!is_read(&body));
    assert!(proved(&body).is_err());
    // Zeros that are reserved for later versions, and an end before the start.
    for (place, change) in [
        (at + 26, 2),
        (at + 44, 1),
        (footer + 76, 1),
        (footer + 84, 1),
        (footer + 4095, 1),
        (footer + 16, 0x80),
    ] {
        assert!(!is_read(&with_snapshot(true, |bytes| bytes[place] ^= change)), "recovery believes {place}");
    }
    // A snapshot of another installation.
    let foreign = with_snapshot(true, |bytes| bytes[16] ^= 1);
    assert!(proved(&foreign).is_err());
    let file = foreign.open(SNAPSHOT).unwrap();
    let cluster = bytes[16..32].try_into().unwrap();
    assert!(snapshot::verify(&*file, Some(cluster)).is_err());
    assert!(snapshot::read_verified(&*file, Some(cluster), &mut |_, _, _, _| Ok(())).is_err());
}
