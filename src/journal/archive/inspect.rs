//! Lists and checks what a data directory holds, for an operator, without changing anything.

use std::collections::HashMap;
use std::io;

use crate::journal::format::frame;
use crate::journal::format::header::{FileKind, HEADER_BYTES, Header};
use crate::journal::format::identity_file::IdentityFile;
use crate::journal::format::layout::{
    JOURNAL_DIR, SNAPSHOT_DIR, SegmentFields, Sizes, numbers, segment_path, snapshot_path,
};
use crate::journal::recovery::replay::replay_read_only;
use crate::journal::recovery::report::{RecoveryReport, Refusal, ReplayTarget};
use crate::journal::snapshot;
use crate::journal::snapshot::proof::{Form, KeptRecord, Proof, prove};
use crate::storage::Storage;
use crate::value::counted::counted;

/// Lists the files, headers and frames of a directory, one line each. Takes no lock, so the last frames of a running
/// server may be in flight and show as damaged.
pub fn inspect(storage: &dyn Storage) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    lines.push(match IdentityFile::open(storage)? {
        None => String::from("IDENTITY: none"),
        Some(Err(error)) => format!("IDENTITY: {error}"),
        Some(Ok(identity)) => {
            let cluster = u128::from_be_bytes(identity.cluster());
            format!(
                "IDENTITY: cluster {cluster:032x}, timeline {}, {:?}",
                identity.timeline(),
                identity.newest()
            )
        }
    });
    for number in numbers(storage, SNAPSHOT_DIR, ".snap")? {
        let path = snapshot_path(number);
        let file = storage.open(&path)?;
        let read = snapshot::read(&*file, None, &mut |_, _, _, _| Ok(()));
        lines.push(
            read.map_or_else(|error| format!("{path}: {error}"), |summary| format!("{path}: {summary:?}")),
        );
    }
    for number in numbers(storage, JOURNAL_DIR, ".log")? {
        inspect_segment(storage, &segment_path(number), &mut lines)?;
    }
    Ok(lines)
}

/// Adds the lines of one segment.
fn inspect_segment(storage: &dyn Storage, path: &str, lines: &mut Vec<String>) -> io::Result<()> {
    let bytes = storage.open(path)?.read_all()?;
    let Some(block) = bytes.first_chunk::<HEADER_BYTES>() else {
        lines.push(format!("{path}: shorter than its header"));
        return Ok(());
    };
    let fields = match Header::read(FileKind::Segment, block) {
        Ok(header) => SegmentFields::read(&header.by_kind).map(|fields| (header.epoch, fields)),
        Err(error) => {
            lines.push(format!("{path}: {error}"));
            None
        }
    };
    let Some((epoch, fields)) = fields else { return Ok(()) };
    lines.push(format!("{path}: epoch {epoch}, {fields:?}"));
    let align = (fields.align as usize).max(512);
    let mut at = HEADER_BYTES;
    while let Some(rest) = bytes.get(at..) {
        match frame::read(rest, align) {
            frame::Seen::End => break,
            frame::Seen::Bad => {
                lines.push(format!("  {at}: not a frame"));
                at += align;
            }
            frame::Seen::Frame(frame) => {
                let header = &frame.header;
                lines.push(format!(
                    "  {at}: {:?} batch {}, {} from {}, {} bytes",
                    header.kind,
                    header.batch_no,
                    counted(header.count.into(), "entry", "entries"),
                    header.first_seq,
                    frame.len
                ));
                at += frame.len;
            }
        }
    }
    Ok(())
}

/// A target that keeps the digest of each record, to compare the result of recovery with that of the second reader.
struct Digests<'a> {
    cluster: [u8; 16],
    /// Records that may have expired by this time are left out.
    at_ms: u64,
    kept: &'a KeptRecord<'a>,
    /// The digest of each record; `None` of one that may have expired.
    by_key: HashMap<(u16, Vec<u8>), Option<u128>>,
}

impl ReplayTarget for Digests<'_> {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let place = (table, key.to_vec());
        let Some(value) = value else {
            self.by_key.remove(&place);
            return Ok(());
        };
        let kept = (self.kept)(Form { table, schema }, value, self.at_ms);
        let digest = kept.map(|value| snapshot::record_digest(&self.cluster, table, key, &value));
        self.by_key.insert(place, digest);
        Ok(())
    }
}

/// A directory that was read twice, with the same result.
#[derive(Debug)]
pub struct Verified {
    /// What recovery found.
    pub report: RecoveryReport,
    /// What the second reader found.
    pub proof: Proof,
    /// The number of records, also of those that may have expired: what a backup of the directory holds.
    pub records: u64,
}

/// Reads the whole directory as recovery would, and again by the
/// [second reader](crate::journal::snapshot::proof), and compares the results. Changes nothing. The caller holds the
/// lock. `kept` returns the records that no sweep may have removed.
///
/// Errors: the refusal with which a start would end; or the two readers disagree.
pub fn verify(storage: &dyn Storage, sizes: Sizes, kept: &KeptRecord<'_>) -> Result<Verified, Refusal> {
    const STARTS: &str = "nothing was changed; recovery itself finds no fault, so look at it with `portcullis data inspect` \
         before the next start";
    // First read as a start would, so that its refusal comes in its own words.
    let mut nothing = Digests { cluster: [0; 16], at_ms: 0, kept: &|_, _, _| None, by_key: HashMap::new() };
    let report = replay_read_only(storage, sizes, &mut nothing)?;
    if report.first_start {
        return Ok(Verified { report, proof: Proof::default(), records: 0 });
    }
    let proof = prove(storage, None, None, kept, &|| ())
        .map_err(|disproof| Refusal::new("second reader", None, disproof, STARTS))?;
    let cluster = match IdentityFile::open(storage) {
        Ok(Some(Ok(identity))) => identity.cluster(),
        _ => [0; 16],
    };
    let mut digests = Digests { cluster, at_ms: proof.at_ms, kept, by_key: HashMap::new() };
    replay_read_only(storage, sizes, &mut digests)?;
    let kept = || digests.by_key.values().flatten();
    let digest = kept().fold(0, |sum: u128, digest| sum.wrapping_add(*digest));
    let records = kept().count() as u64;
    if (report.seq, records, digest) != (proof.seq, proof.records, proof.digest) {
        let what = format!(
            "recovery restores {} at sequence {}, the second reader {} at sequence {}, and they differ",
            counted(records, "record", "records"),
            report.seq,
            proof.records,
            proof.seq
        );
        return Err(Refusal::new("second reader", None, what, STARTS));
    }
    Ok(Verified { report, proof, records: digests.by_key.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::golden::{damaged, disk_of, frozen};
    use crate::storage::simulated::SimStorage;

    const FIRST: &str = "journal/0000000000000001.log";

    /// Returns the offsets of the frames of the first segment, as the lines name them.
    fn frames(lines: &[String]) -> Vec<usize> {
        let of_first = lines.iter().skip_while(|line| !line.starts_with(FIRST)).skip(1);
        of_first
            .take_while(|line| line.starts_with("  "))
            .map(|line| line.trim_start().split_once(':').unwrap().0.parse().unwrap())
            .collect()
    }

    #[test]
    fn every_file_and_every_frame_has_its_line() {
        let disk = disk_of(&frozen("clean"));
        let lines = inspect(&disk).unwrap();
        assert!(lines[0].starts_with("IDENTITY: cluster "), "{lines:?}");
        assert!(lines[0].contains(", timeline 1, "), "{lines:?}");
        assert!(lines[0].contains("state: Closed"), "{lines:?}");
        let cluster = match IdentityFile::open(&disk) {
            Ok(Some(Ok(identity))) => crate::value::id::hex(&identity.cluster()),
            _ => panic!("an identity"),
        };
        assert!(lines[0].contains(&cluster), "{lines:?}");
        assert!(lines[1].starts_with(&format!("{FIRST}: epoch 1, SegmentFields {{ segno: 1,")), "{lines:?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("journal/")).count(), 3);
        let offsets = frames(&lines);
        assert!(offsets.len() > 4, "{offsets:?}");
        assert_eq!(offsets[0], HEADER_BYTES);
        let first = &lines[2];
        assert!(first.contains(": Fence batch 1, 0 entries from 1, 512 bytes"), "{first}");
        let data = &lines[3];
        assert!(data.contains(": Data batch 2, 1 entry from 1, 512 bytes"), "{data}");
        assert!(lines.last().unwrap().contains(": Close batch "), "{lines:?}");
        // Frames follow each other without a gap.
        for (pair, line) in offsets.windows(2).zip(&lines[2..]) {
            let len: usize = line.rsplit(' ').nth(1).unwrap().parse().unwrap();
            assert_eq!(pair[0] + len, pair[1], "{line}");
        }
        let snapshots = inspect(&disk_of(&frozen("snapshots"))).unwrap();
        let of_snapshots: Vec<_> = snapshots.iter().filter(|line| line.starts_with("snapshot/")).collect();
        assert_eq!(of_snapshots.len(), 2);
        assert!(of_snapshots[1].contains("end_seq: 21"), "{of_snapshots:?}");
    }

    #[test]
    fn damaged_bytes_are_listed_with_their_offset() {
        let lines_of = |edits: &str| inspect(&damaged("clean", edits)).unwrap();
        let whole = frames(&inspect(&disk_of(&frozen("clean"))).unwrap());
        let second = whole[1];
        let third = whole[2];
        let lines = lines_of(&format!("flip {FIRST} {}", second + 100));
        assert!(lines.contains(&format!("  {second}: not a frame")), "{lines:?}");
        // The frames after it are read all the same.
        assert!(lines.iter().any(|line| line.starts_with(&format!("  {third}: Data"))), "{lines:?}");
        let lines = lines_of(&format!("cut {FIRST} 4095"));
        assert!(lines.contains(&format!("{FIRST}: shorter than its header")), "{lines:?}");
        let lines = lines_of(&format!("flip {FIRST} 100"));
        assert!(
            lines.iter().any(|line| line.starts_with(&format!("{FIRST}: ")) && line.contains("checksum"))
        );
        assert_eq!(frames(&lines), Vec::<usize>::new());
        let lines = lines_of("flip IDENTITY 100; flip IDENTITY 4196");
        assert!(lines[0].starts_with("IDENTITY: "), "{lines:?}");
        assert!(!lines[0].contains("cluster"), "{lines:?}");
        assert_eq!(inspect(&SimStorage::new()).unwrap(), ["IDENTITY: none"]);
        // A segment without zeros at its end is read to its last byte.
        let lines = lines_of(&format!("fill {FIRST} 4096 8192"));
        assert_eq!(frames(&lines), (4_096..8_192).step_by(512).collect::<Vec<_>>());
    }
}
