//! Decoders of files: each one by itself, and whole directories by both readers.

use std::path::Path;

use portcullis::journal::archive::Records;
use portcullis::journal::archive::inspect::{inspect, verify};
use portcullis::journal::format::codec::{Stored, decode, encode};
use portcullis::journal::format::entry::{Entries, Entry};
use portcullis::journal::format::frame::{self, Seen};
use portcullis::journal::format::header::{FileKind, HEADER_BYTES, Header};
use portcullis::journal::format::layout::{SegmentFields, Sizes};
use portcullis::journal::recovery::replay::replay_read_only;
use portcullis::journal::snapshot;
use portcullis::journal::snapshot::proof::Form;
use portcullis::registry::account::AccountV4;
use portcullis::registry::account::record::{AccountV1, AccountV2, AccountV3};
use portcullis::registry::api_key::ApiKeyV1;
use portcullis::registry::event::EventV1;
use portcullis::registry::file_check::FileCheckV1;
use portcullis::registry::lockout::{CountV1, CountV2};
use portcullis::registry::outbox::{MailV1, MailV2};
use portcullis::registry::refresh::FamilyV3;
use portcullis::registry::refresh::record::{FamilyV1, FamilyV2};
use portcullis::registry::reset::{MailedV1, MailedV2};
use portcullis::registry::session::SessionV2;
use portcullis::registry::session::record::SessionV1;
use portcullis::registry::sign_up::SignUpV2;
use portcullis::registry::sign_up::invitation::InvitationV1;
use portcullis::registry::sign_up::record::SignUpV1;
use portcullis::registry::tables::kept;
use portcullis::registry::throttle;
use portcullis::registry::throttle::saved::{RECORD_BYTES, SavedRecord};

use crate::Reader;
use crate::memory::{Bytes, Directory};
use crate::mutate::Input;
use crate::values::{from_hex, hex};

/// The sizes with which the golden directories were written.
const SIZES: Sizes = Sizes { segment: 8_192, body: 1_024, align: 512, window: 16_384 };
const FOOTER: usize = 4096;
const CHUNK_HEADER: usize = 48;

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden/v1")
}

/// Returns every file of a golden directory by its path.
fn directory(base: &str) -> Input {
    let mut files = Vec::new();
    for dir in ["", "journal/", "snapshot/"] {
        let Ok(entries) = std::fs::read_dir(golden().join(base).join(dir)) else { continue };
        for entry in entries.map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            let path = format!("{dir}{}", entry.file_name().to_str().unwrap());
            files.push((path, std::fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

/// Returns the files of all golden directories whose path begins with `begin`, each as an input of its own.
fn files(begin: &str) -> Vec<Input> {
    let all = ["clean", "fenced", "snapshots", "forming"].into_iter().flat_map(directory);
    all.filter(|(path, _)| path.starts_with(begin)).map(|file| vec![file]).collect()
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    for (to, from) in bytes.iter_mut().skip(at).zip(number.to_le_bytes()) {
        *to = from;
    }
}

fn get(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_le_bytes(four.try_into().unwrap()))
}

fn repair_header(bytes: &mut [u8]) {
    if let Some(checked) = bytes.get(12..HEADER_BYTES) {
        let crc = crc32c::crc32c(checked);
        put(bytes, 8, crc);
    }
}

/// Corrects body and header checksums of the frame at the start of `bytes`. Returns the header's checksum and the
/// frame's length.
fn repair_frame(bytes: &mut [u8]) -> Option<(u32, usize)> {
    let end = (get(bytes, 36) as usize).checked_add(96)?;
    let crc = crc32c::crc32c(bytes.get(96..end)?);
    put(bytes, 76, crc);
    let crc = crc32c::crc32c(bytes.get(8..96)?);
    put(bytes, 4, crc);
    Some((crc, end.next_multiple_of(SIZES.align)))
}

/// Corrects the frames of a segment, each of which names the checksum of the one before it.
fn repair_segment(bytes: &mut [u8]) {
    repair_header(bytes);
    let mut at = HEADER_BYTES;
    let mut before = None;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.starts_with(b"PCF1")) {
        if let Some(crc) = before {
            put(rest, 72, crc);
        }
        let Some((crc, end)) = repair_frame(rest) else { return };
        before = Some(crc);
        at += end;
    }
}

/// Corrects a snapshot's chunks and its footer, but not its digest.
fn repair_snapshot(bytes: &mut [u8]) {
    repair_header(bytes);
    let footer = bytes.len().saturating_sub(FOOTER);
    let mut at = HEADER_BYTES;
    while at + CHUNK_HEADER < footer {
        let end = at + CHUNK_HEADER + get(bytes, at + 36) as usize;
        let Some(body) = bytes.get(at + CHUNK_HEADER..end) else { break };
        let crc = crc32c::crc32c(body);
        put(bytes, at + 40, crc);
        let crc = crc32c::crc32c(&bytes[at + 8..at + CHUNK_HEADER]);
        put(bytes, at + 4, crc);
        at = end;
    }
    if footer >= HEADER_BYTES {
        let crc = crc32c::crc32c(&bytes[footer + 8..]);
        put(bytes, footer + 4, crc);
    }
}

fn repair(path: &str, bytes: &mut [u8]) {
    if path.starts_with("journal/") {
        repair_segment(bytes);
    } else if path.starts_with("snapshot/") {
        repair_snapshot(bytes);
    } else if path == "IDENTITY" {
        for slot in bytes.chunks_mut(HEADER_BYTES) {
            repair_header(slot);
        }
    }
}

/// A header that is read is written back as the same header.
pub fn header_blocks() -> Reader {
    fn read(input: &Input) -> bool {
        let Some(block) = input[0].1.first_chunk::<HEADER_BYTES>() else { return false };
        let mut believed = false;
        for kind in [FileKind::Segment, FileKind::Snapshot, FileKind::Identity, FileKind::Throttle] {
            if let Ok(header) = Header::read(kind, block) {
                believed = true;
                let again: [u8; HEADER_BYTES] = header.to_bytes().try_into().unwrap();
                assert_eq!(Header::read(kind, &again), Ok(header.clone()));
                if let Some(fields) = SegmentFields::read(&header.by_kind) {
                    assert_eq!(fields.to_bytes(), header.by_kind);
                }
            }
        }
        believed
    }
    let mut seeds = files("");
    seeds.push(vec![(String::from("throttle.bin"), std::fs::read(golden().join("throttle.bin")).unwrap())]);
    for seed in &mut seeds {
        seed[0].1.truncate(HEADER_BYTES);
    }
    Reader { name: "header_blocks", seeds, repair: |_, bytes| repair_header(bytes), read }
}

/// A frame that is read is written back byte for byte.
pub fn frames() -> Reader {
    fn fix(_: &str, bytes: &mut [u8]) {
        let _ = repair_frame(bytes);
    }
    fn read(input: &Input) -> bool {
        let bytes = &input[0].1;
        let _ = frame::read_header(bytes);
        if let Seen::Frame(seen) = frame::read(bytes, SIZES.align) {
            let mut again = Vec::new();
            let crc = frame::write(&seen.header, seen.body, SIZES.align, &mut again).unwrap();
            assert_eq!(crc, seen.header_crc);
            assert_eq!(again, bytes[..seen.len]);
            for entry in Entries::new(seen.body) {
                let _ = entry;
            }
            return true;
        }
        false
    }
    Reader { name: "frames", seeds: golden_frames(), repair: fix, read }
}

/// Returns every frame of the golden segments.
fn golden_frames() -> Vec<Input> {
    let mut found = Vec::new();
    for file in files("journal/") {
        let mut rest = &file[0].1[HEADER_BYTES..];
        while let Seen::Frame(seen) = frame::read(rest, SIZES.align) {
            found.push(vec![(String::from("frame"), rest[..seen.len].to_vec())]);
            rest = &rest[seen.len..];
        }
    }
    found
}

/// An entry that is read is written back byte for byte.
pub fn entries() -> Reader {
    fn read(input: &Input) -> bool {
        let mut rest = &input[0].1[..];
        while let Ok((changes, after)) = Entry::decode(rest) {
            let len = rest.len() - after.len();
            assert_eq!(Entry::encode(&changes).unwrap().as_bytes(), &rest[..len]);
            rest = after;
        }
        let decoded = Entries::new(&input[0].1).flatten().count();
        assert!(decoded <= input[0].1.len() / 22);
        decoded > 0
    }
    let bodies =
        golden_frames().into_iter().filter_map(|input| match frame::read(&input[0].1, SIZES.align) {
            Seen::Frame(seen) if !seen.body.is_empty() => {
                Some(vec![(String::from("body"), seen.body.to_vec())])
            }
            _ => None,
        });
    Reader { name: "entries", seeds: bodies.collect(), repair: |_, _| (), read }
}

/// A value of any table that is read can be stored, and reads back as the same.
pub fn values() -> Reader {
    fn check<T: Stored>(bytes: &[u8]) -> bool {
        let Ok(value) = decode::<T>(bytes) else { return false };
        if let Ok(stored) = encode(&value) {
            let again = encode(&decode::<T>(&stored).unwrap()).unwrap();
            assert_eq!(hex(&again), hex(&stored));
        }
        true
    }
    fn read(input: &Input) -> bool {
        let bytes = &input[0].1;
        for table in 0..20 {
            for schema in 0..5 {
                let _ = kept(Form { table, schema }, bytes, u64::MAX);
            }
        }
        let believed = [
            check::<AccountV1>(bytes),
            check::<AccountV2>(bytes),
            check::<AccountV3>(bytes),
            check::<AccountV4>(bytes),
            check::<CountV1>(bytes),
            check::<CountV2>(bytes),
            check::<SessionV1>(bytes),
            check::<SessionV2>(bytes),
            check::<FamilyV1>(bytes),
            check::<FamilyV2>(bytes),
            check::<FamilyV3>(bytes),
            check::<MailedV1>(bytes),
            check::<MailedV2>(bytes),
            check::<MailV1>(bytes),
            check::<MailV2>(bytes),
            check::<SignUpV1>(bytes),
            check::<SignUpV2>(bytes),
            check::<InvitationV1>(bytes),
            check::<ApiKeyV1>(bytes),
            check::<FileCheckV1>(bytes),
            check::<EventV1>(bytes),
        ];
        believed.contains(&true)
    }
    let mut text = std::fs::read_to_string(golden().join("values.txt")).unwrap();
    let files = std::fs::read_dir(golden().join("../v2")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    // In the same order everywhere, so that a seed finds the same inputs.
    files.sort();
    for file in files {
        text += &std::fs::read_to_string(file).unwrap();
    }
    for file in ["api_key.txt", "../v5/sign_up.txt"] {
        text += &std::fs::read_to_string(golden().join(file)).unwrap();
    }
    let value = |line: &str| vec![(String::from("value"), from_hex(line.rsplit(' ').next().unwrap()))];
    Reader { name: "values", seeds: text.lines().map(value).collect(), repair: |_, _| (), read }
}

/// Snapshots without the rest of their directory.
pub fn snapshots() -> Reader {
    fn read(input: &Input) -> bool {
        let file = Bytes::new(&input[0].1);
        let mut read_bytes = 0;
        let read = snapshot::read(&file, None, &mut |_, _, key, value| {
            read_bytes += key.len() + value.len();
            Ok(())
        });
        assert!(read_bytes <= input[0].1.len());
        read.is_ok_and(|summary| {
            assert_eq!(summary.bytes, input[0].1.len() as u64);
            true
        })
    }
    Reader { name: "snapshots", seeds: files("snapshot/"), repair, read }
}

/// The file of the rate limiter, record by record.
pub fn limiter_files() -> Reader {
    fn fix(_: &str, bytes: &mut [u8]) {
        if let Some(body) = bytes.get(HEADER_BYTES..) {
            let crc = crc32c::crc32c(body);
            let len = body.len() as u32;
            put(bytes, 112, crc);
            put(bytes, 104, len);
        }
        repair_header(bytes);
    }
    fn read(input: &Input) -> bool {
        throttle::file::read(&input[0].1).is_ok_and(|saved| {
            assert_eq!(saved.records.len() * RECORD_BYTES, input[0].1.len() - HEADER_BYTES);
            for record in saved.records {
                assert_eq!(SavedRecord::read(record.to_bytes()), Some(record));
            }
            true
        })
    }
    let seed = vec![(String::from("throttle.bin"), std::fs::read(golden().join("throttle.bin")).unwrap())];
    Reader { name: "limiter_files", seeds: vec![seed], repair: fix, read }
}

/// Both readers over a whole directory: if both accept it, they agree on its content.
pub fn directories() -> Reader {
    fn read(input: &Input) -> bool {
        let directory = Directory::of(input);
        let _ = inspect(&directory);
        let is_accepted = replay_read_only(&directory, SIZES, &mut Records::default()).is_ok();
        if let Err(refusal) = verify(&directory, SIZES, &kept) {
            assert!(!refusal.to_string().contains("and they differ"), "{refusal}");
        }
        is_accepted
    }
    let seeds = ["clean", "fenced", "snapshots", "forming"].map(directory);
    Reader { name: "directories", seeds: seeds.into(), repair, read }
}
