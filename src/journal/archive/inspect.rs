//! What a data directory holds, for an operator's eyes: without applying or changing anything.

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
use crate::journal::snapshot::proof::{MayBeGone, Proof, prove};
use crate::storage::Storage;

/// Files, headers and frames, a line each. Takes no lock, so on a running server the last frames may be in flight.
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
                    "  {at}: {:?} batch {}, {} entries from {}, {} bytes",
                    header.kind, header.batch_no, header.count, header.first_seq, frame.len
                ));
                at += frame.len;
            }
        }
    }
    Ok(())
}

/// What recovery would bring back, as digests: to be compared with what the second path says.
struct Digests<'a> {
    cluster: [u8; 16],
    at_ms: u64,
    may_be_gone: &'a MayBeGone<'a>,
    kept: HashMap<(u16, Vec<u8>), u128>,
}

impl ReplayTarget for Digests<'_> {
    fn apply(&mut self, table: u16, _: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let value = value.filter(|value| !(self.may_be_gone)(table, value, self.at_ms));
        let place = (table, key.to_vec());
        match value {
            Some(value) => {
                self.kept.insert(place, snapshot::record_digest(&self.cluster, table, key, value));
            }
            None => drop(self.kept.remove(&place)),
        }
        Ok(())
    }
}

/// Reads the whole past as recovery would, and again by a [second path](crate::journal::snapshot::proof), and changes nothing. The
/// caller holds the lock.
pub fn verify(
    storage: &dyn Storage,
    sizes: Sizes,
    may_be_gone: &MayBeGone<'_>,
) -> Result<(RecoveryReport, Proof), Refusal> {
    const STARTS: &str = "nothing was changed; recovery itself finds no fault, so look at it with `portcullis data inspect` \
         before the next start";
    // First what a start would say, in its own words.
    let mut nothing =
        Digests { cluster: [0; 16], at_ms: 0, may_be_gone: &|_, _, _| true, kept: HashMap::new() };
    let found = replay_read_only(storage, sizes, &mut nothing)?;
    if found.first_start {
        return Ok((found, Proof::default()));
    }
    let proof = prove(storage, None, None, may_be_gone, &|| ())
        .map_err(|disproof| Refusal::new("second path", None, disproof, STARTS))?;
    let cluster = match IdentityFile::open(storage) {
        Ok(Some(Ok(identity))) => identity.cluster(),
        _ => [0; 16],
    };
    let mut digests = Digests { cluster, at_ms: proof.at_ms, may_be_gone, kept: HashMap::new() };
    replay_read_only(storage, sizes, &mut digests)?;
    let digest = digests.kept.values().fold(0, |sum: u128, digest| sum.wrapping_add(*digest));
    let records = digests.kept.len() as u64;
    if (found.seq, records, digest) != (proof.seq, proof.records, proof.digest) {
        let what = format!(
            "recovery would bring back {records} records at sequence {}, the second path {} at {}, and they differ",
            found.seq, proof.records, proof.seq
        );
        return Err(Refusal::new("second path", None, what, STARTS));
    }
    Ok((found, proof))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::golden::{damaged, disk_of, frozen};
    use crate::storage::simulated::SimStorage;

    const FIRST: &str = "journal/0000000000000001.log";

    /// Where the frames of the first segment begin, as they are told.
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
        assert!(
            lines[0].starts_with("IDENTITY: cluster ") && lines[0].contains(", timeline 1, "),
            "{lines:?}"
        );
        assert!(lines[0].contains("state: Closed"), "{lines:?}");
        let cluster = match IdentityFile::open(&disk) {
            Ok(Some(Ok(identity))) => crate::value::id::hex(&identity.cluster()),
            _ => panic!("an identity"),
        };
        assert!(lines[0].contains(&cluster), "{lines:?}");
        assert!(lines[1].starts_with(&format!("{FIRST}: epoch 1, SegmentFields {{ segno: 1,")), "{lines:?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("journal/")).count(), 3);
        let told = frames(&lines);
        assert!(told.len() > 4 && told[0] == HEADER_BYTES, "{told:?}");
        let first = &lines[2];
        assert!(first.contains(": Fence batch 1, 0 entries from 1, 512 bytes"), "{first}");
        let data = &lines[3];
        assert!(data.contains(": Data batch 2, 1 entries from 1, 512 bytes"), "{data}");
        assert!(lines.last().unwrap().contains(": Close batch "), "{lines:?}");
        // Frames follow each other to the byte.
        for (pair, line) in told.windows(2).zip(&lines[2..]) {
            let len: usize = line.rsplit(' ').nth(1).unwrap().parse().unwrap();
            assert_eq!(pair[0] + len, pair[1], "{line}");
        }
        let snapshots = inspect(&disk_of(&frozen("snapshots"))).unwrap();
        let of_snapshots: Vec<_> = snapshots.iter().filter(|line| line.starts_with("snapshot/")).collect();
        assert!(of_snapshots.len() == 2 && of_snapshots[1].contains("end_seq: 21"), "{of_snapshots:?}");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        let said = |edits: &str| inspect(&damaged("clean", edits)).unwrap();
        let whole = frames(&inspect(&disk_of(&frozen("clean"))).unwrap());
        let (second, third) = (whole[1], whole[2]);
        let lines = said(&format!("flip {FIRST} {}", second + 100));
        assert!(lines.contains(&format!("  {second}: not a frame")), "{lines:?}");
        // And what follows is read all the same.
        assert!(lines.iter().any(|line| line.starts_with(&format!("  {third}: Data"))), "{lines:?}");
        let lines = said(&format!("cut {FIRST} 4095"));
        assert!(lines.contains(&format!("{FIRST}: shorter than its header")), "{lines:?}");
        let lines = said(&format!("flip {FIRST} 100"));
        assert!(
            lines.iter().any(|line| line.starts_with(&format!("{FIRST}: ")) && line.contains("checksum"))
        );
        assert_eq!(frames(&lines), Vec::<usize>::new());
        let lines = said("flip IDENTITY 100; flip IDENTITY 4196");
        assert!(lines[0].starts_with("IDENTITY: ") && !lines[0].contains("cluster"), "{lines:?}");
        assert_eq!(inspect(&SimStorage::new()).unwrap(), ["IDENTITY: none"]);
        // A whole segment without zeros ends where its bytes do.
        let lines = said(&format!("fill {FIRST} 4096 8192"));
        assert_eq!(frames(&lines), (4_096..8_192).step_by(512).collect::<Vec<_>>());
    }
}
