//! Makes a new data directory of whatever can still be read of a damaged one, and lists what is lost.

use std::collections::BTreeMap;
use std::io;

use super::records::Records;
use super::restore::{Destination, Origin, Restored, begin_anew};
use crate::journal::context::salt_tag;
use crate::journal::format::entry::{Change, Entries, STATELESS};
use crate::journal::format::frame::{self, Seen};
use crate::journal::format::header::{FileKind, HEADER_BYTES, Header};
use crate::journal::format::identity_file::{Identity, IdentityFile};
use crate::journal::format::layout::{
    IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR, SegmentFields, numbers, segment_path, snapshot_path,
};
use crate::journal::recovery::report::{Refusal, ReplayTarget as _};
use crate::journal::snapshot;
use crate::storage::{File, Storage};
use crate::system::clock::{Clock, Timestamp};

/// The number of bytes that are read at once where all of them are readable.
const PIECE: usize = 256 << 10;

/// A directory that was salvaged, and what is lost.
#[derive(Debug)]
pub struct Salvaged {
    /// The new directory.
    pub restored: Restored,
    /// The ranges of sequences that no readable frame holds, each by its first and last, in ascending order.
    pub lost: Vec<(u64, u64)>,
    /// Whether more entries may be lost after the last sequence that any file names: the end of the journal is damaged
    /// or missing.
    pub open_end: bool,
    /// The files and places that could not be used, one line each.
    pub passed_over: Vec<String>,
}

/// Makes a new directory of every record and entry of `from` whose checksums are right, in order.
///
/// Security: an account may have an older password than its owner knows of, so the operator reads the list of losses
/// before serving the directory.
///
/// Errors: `from` cannot be listed, or names no installation; or `to` cannot be written.
pub fn salvage(from: &dyn Storage, to: Destination<'_>) -> Result<Salvaged, Refusal> {
    // Unless the files can be listed, it is unknown which are missing.
    let named = |dir: &str, extension| {
        numbers(from, dir, extension)
            .map_err(|error| Refusal::new(dir, None, error, "mend the disk or its permissions first"))
    };
    let snapshots = named(SNAPSHOT_DIR, ".snap")?;
    let segments = named(JOURNAL_DIR, ".log")?;
    let mut found = Findings::of(from);
    // The segment and the sequence that the journal must reach.
    let bound = found.identity();
    found.newest_sound_snapshot(&snapshots);
    let mut last_damaged = bound.is_none();
    let mut before = None;
    for segno in segments {
        let lines_before = found.passed_over.len();
        let first_seq = found.segment(segno, to.sizes.align, &to.clock);
        last_damaged = bound.is_none() || found.passed_over.len() > lines_before;
        // Segments that end before the snapshot begins were deleted, in any order if a crash came in between.
        if let Some(before) = before
            && before + 1 < segno
            && may_lack_entries(first_seq, found.start_seq)
        {
            found.missing(before + 1, segno - 1);
        }
        before = Some(segno);
    }
    let head = bound.as_ref().map_or(0, |bound| bound.head_segno);
    let min_seq = bound.as_ref().map_or(0, |bound| bound.min_seq);
    if before.unwrap_or(0) < head {
        found.missing(before.map_or(head, |last| last + 1), head);
        last_damaged = true;
    }
    let known = snapshots.into_iter().chain([min_seq, found.known_seq]).max().unwrap_or(0);
    let origin_of_header = found.origin;
    let Findings { mut records, start_seq, entries, passed_over, .. } = found;
    let mut lost = Vec::new();
    let mut reached = start_seq;
    for (seq, changes) in entries.range(start_seq + 1..) {
        if *seq > reached + 1 {
            lost.push((reached + 1, seq - 1));
        }
        reached = *seq;
        for Change { table, schema, key, value } in changes.iter().filter(|change| change.table < STATELESS) {
            // No rule to break here, so this cannot fail: the registries judge the records at the next start.
            let _ = records.apply(*table, *schema, key, value.as_deref());
        }
    }
    if reached < known {
        lost.push((reached + 1, known));
    }
    let open_end = last_damaged || reached < known;
    let origin = match origin_of_header {
        Some(origin) => origin,
        None => Origin::read(from)?,
    };
    let restored = begin_anew(to, &records, origin, reached)?;
    Ok(Salvaged { restored, lost, open_end, passed_over })
}

/// Says whether entries are missing if the segment before one that begins with `first_seq` is missing: those after the
/// snapshot's `start_seq` are needed.
fn may_lack_entries(first_seq: Option<u64>, start_seq: u64) -> bool {
    first_seq.is_none_or(|first| first > start_seq + 1)
}

/// Everything that was read of the damaged directory so far.
struct Findings<'a> {
    from: &'a dyn Storage,
    /// The origin that `IDENTITY` names, or else the first header that can be read.
    origin: Option<Origin>,
    /// The records of a snapshot, which hold every entry up to `start_seq`.
    records: Records,
    start_seq: u64,
    /// The entries of readable frames, by sequence.
    entries: BTreeMap<u64, Vec<Change>>,
    /// The last sequence that a header or a frame names.
    known_seq: u64,
    passed_over: Vec<String>,
}

impl<'a> Findings<'a> {
    fn of(from: &'a dyn Storage) -> Self {
        Self {
            from,
            origin: None,
            records: Records::default(),
            start_seq: 0,
            entries: BTreeMap::new(),
            known_seq: 0,
            passed_over: Vec::new(),
        }
    }

    /// Reads `IDENTITY`: which installation it is, and the last sequence that the journal must reach. Returns `None`, and notes
    /// why, if it cannot be read.
    fn identity(&mut self) -> Option<Identity> {
        let problem = match IdentityFile::open(self.from) {
            Ok(Some(Ok(identity))) => {
                self.origin = Some(Origin { cluster: identity.cluster(), timeline: identity.timeline() });
                return Some(identity.newest());
            }
            Ok(Some(Err(error))) => error.to_string(),
            Ok(None) => String::from("missing"),
            Err(error) => format!("cannot be read: {error}"),
        };
        self.passed_over.push(format!("{IDENTITY}: {problem}"));
        None
    }

    /// Notes that the segments `first..=last` are missing.
    fn missing(&mut self, first: u64, last: u64) {
        let up_to = if first == last { String::new() } else { format!(" to {}", segment_path(last)) };
        self.passed_over.push(format!("{}{up_to}: missing", segment_path(first)));
    }

    /// Takes the records of the newest snapshot that is sound.
    fn newest_sound_snapshot(&mut self, numbers: &[u64]) {
        for number in numbers.iter().rev() {
            let path = snapshot_path(*number);
            let mut records = Records::default();
            let read = self.from.open(&path).map_err(snapshot::Unreadable::from).and_then(|file| {
                snapshot::read(&*file, None, &mut |table, schema, key, value| {
                    records.apply(table, schema, key, Some(value))
                })
            });
            match read {
                Ok(summary) => {
                    self.records = records;
                    self.start_seq = summary.start_seq;
                    return;
                }
                Err(snapshot::Unreadable::Io(error)) => {
                    self.passed_over.push(format!("{path}: cannot be read: {error}"));
                }
                Err(error) => self.passed_over.push(format!("{path}: {error}")),
            }
        }
    }

    /// Takes the entries of every sound frame of a segment. Returns the segment's first sequence, if its header is
    /// sound.
    fn segment(&mut self, segno: u64, align: usize, clock: &Clock) -> Option<u64> {
        let path = segment_path(segno);
        let bytes = match self.from.open(&path).and_then(|file| readable(&*file, align)) {
            Ok((bytes, holes)) => {
                for (begin, end) in holes {
                    self.passed_over.push(format!("{path} at bytes {begin} to {}: cannot be read", end - 1));
                }
                bytes
            }
            Err(error) => {
                self.passed_over.push(format!("{path}: cannot be read: {error}"));
                return None;
            }
        };
        let header =
            bytes.first_chunk::<HEADER_BYTES>().and_then(|block| Header::read(FileKind::Segment, block).ok());
        let mut first_seq = None;
        if let Some(header) = &header {
            self.origin.get_or_insert(Origin { cluster: header.cluster, timeline: header.timeline });
            first_seq = SegmentFields::read(&header.by_kind).map(|fields| fields.first_seq);
            self.known_seq = self.known_seq.max(first_seq.unwrap_or(0).saturating_sub(1));
        } else {
            self.passed_over.push(format!("{path}: its header block cannot be read"));
        }
        let tag = header.as_ref().map(salt_tag);
        let mut at = HEADER_BYTES;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match frame::read(rest, align) {
                Seen::End => break,
                Seen::Frame(frame) if tag.is_none_or(|tag| tag == frame.header.salt_tag) => {
                    clock.raise_floor(Timestamp(frame.header.wall_ms));
                    let next_seq = frame.header.first_seq.saturating_add(u64::from(frame.header.count));
                    self.known_seq = self.known_seq.max(next_seq.saturating_sub(1));
                    for (seq, entry) in (frame.header.first_seq..next_seq).zip(Entries::new(frame.body)) {
                        match entry {
                            Ok(changes) => drop(self.entries.insert(seq, changes)),
                            Err(error) => self.passed_over.push(format!("{path} at byte {at}: {error}")),
                        }
                    }
                    at += frame.len;
                }
                Seen::Frame(_) | Seen::Bad => {
                    self.passed_over.push(format!("{path} at byte {at}: not a frame of this segment"));
                    at += align;
                }
            }
        }
        first_seq
    }
}

/// The first offset of bytes that cannot be read, and the offset after the last one.
type Hole = (u64, u64);

/// Reads a file. Blocks that cannot be read are returned as zeros, and listed.
fn readable(file: &dyn File, block: usize) -> io::Result<(Vec<u8>, Vec<Hole>)> {
    let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    let mut holes: Vec<Hole> = Vec::new();
    let mut begin = 0;
    for piece in bytes.chunks_mut(PIECE) {
        let len = piece.len() as u64;
        if file.read_at(piece, begin).is_err() {
            let mut at = begin;
            for block in piece.chunks_mut(block) {
                let end = at + block.len() as u64;
                if file.read_at(block, at).is_err() {
                    block.fill(0);
                    match holes.last_mut() {
                        Some(hole) if hole.1 == at => hole.1 = end,
                        _ => holes.push((at, end)),
                    }
                }
                at = end;
            }
        }
        begin += len;
    }
    Ok((bytes, holes))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{directory, frames, kept, salvaged, spoil_entry};
    use super::*;
    use crate::journal::format::layout::IDENTITY;
    use crate::simulation::golden::{SIZES, disk_of, frozen};
    use crate::storage::simulated::{Failure, Kind, SimStorage};

    #[test]
    fn a_missing_tail_is_known_by_every_file_that_names_it() {
        // IDENTITY names it after a clean stop.
        let disk = directory(12);
        let last = frames(&disk)[&12].0.clone();
        let first_lost =
            frames(&disk).iter().find(|(_, (path, ..))| *path == last).map(|(seq, _)| *seq).unwrap();
        assert!((4..12).contains(&first_lost), "{first_lost}");
        let gone = directory(12);
        gone.lose(&last);
        let (made, to, _) = salvaged(&gone);
        let made = made.unwrap();
        assert_eq!(made.lost, [(first_lost, 12)]);
        assert!(made.open_end);
        assert_eq!(made.passed_over, [format!("{last}: missing")]);
        assert_eq!(made.restored.seq, first_lost - 1);
        assert_eq!(kept(&to), (1..first_lost).collect::<Vec<_>>());
        let zeroed = directory(12);
        zeroed.damage(&last, |bytes| bytes.fill(0));
        let made = salvaged(&zeroed).0.unwrap();
        assert_eq!(made.lost, [(first_lost, 12)]);
        assert!(made.open_end);
        assert_eq!(made.passed_over, [format!("{last}: its header block cannot be read")]);
        // If every file is sound, nothing more can be lost.
        let made = salvaged(&disk).0.unwrap();
        assert!(made.lost.is_empty());
        assert!(!made.open_end);
        assert!(made.passed_over.is_empty());
        // The header of a segment names it, even if nothing else of the segment is left.
        let headed = directory(12);
        headed.lose(IDENTITY);
        headed.damage(&last, |bytes| bytes[HEADER_BYTES..].fill(0));
        let before =
            frames(&headed).into_iter().filter(|(seq, _)| *seq + 1 == first_lost).map(|(_, place)| place);
        for (path, at, _) in before {
            headed.damage(&path, |bytes| bytes[at + 100] ^= 1);
        }
        let made = salvaged(&headed).0.unwrap();
        assert_eq!(made.lost, [(first_lost - 1, first_lost - 1)]);
        assert!(made.open_end);
        // The name of a snapshot that cannot be read names it.
        let named = directory(5);
        named.plant(&snapshot_path(9), vec![1; 9]);
        let made = salvaged(&named).0.unwrap();
        assert_eq!(made.lost, [(6, 9)]);
        assert!(made.open_end);
        assert_eq!(made.restored.seq, 5);
        // Without IDENTITY the end of the journal is unknown.
        let unknown = directory(5);
        unknown.lose(IDENTITY);
        let made = salvaged(&unknown).0.unwrap();
        assert!(made.lost.is_empty());
        assert!(made.open_end);
        assert_eq!(made.passed_over, ["IDENTITY: missing"]);
        unknown.plant(IDENTITY, vec![1; 9_000]);
        assert!(salvaged(&unknown).0.unwrap().passed_over[0].starts_with("IDENTITY: "));
    }

    #[test]
    fn an_unreadable_last_entry_of_a_frame_is_listed_as_lost() {
        let disk = directory(4);
        disk.lose(IDENTITY);
        let (path, at, len) = frames(&disk)[&4].clone();
        disk.damage(&path, |bytes| {
            spoil_entry(&mut bytes[at..at + len]);
            // The close frame after it goes too.
            bytes[at + len..].fill(0);
        });
        assert_eq!(salvaged(&disk).0.unwrap().lost, [(4, 4)]);
    }

    #[test]
    fn missing_segments_are_listed_unless_they_were_no_longer_needed() {
        let disk = directory(60);
        let all = numbers(&disk, JOURNAL_DIR, ".log").unwrap();
        assert!(all.len() > 6);
        for gone in [&[3][..], &[2, 3, 4]] {
            let disk = directory(60);
            for segno in gone {
                disk.lose(&segment_path(*segno));
            }
            let made = salvaged(&disk).0.unwrap();
            let [first, .., last] = [gone[0], gone[0], gone[gone.len() - 1]];
            let named = if first == last {
                format!("{}: missing", segment_path(first))
            } else {
                format!("{} to {}: missing", segment_path(first), segment_path(last))
            };
            assert_eq!(made.passed_over, [named]);
            assert!(!made.open_end);
            assert_eq!(made.lost.len(), 1);
        }
        // If no segment is left, only the last one is known, from IDENTITY.
        let disk = directory(60);
        for segno in &all {
            disk.lose(&segment_path(*segno));
        }
        let made = salvaged(&disk).0.unwrap();
        let last = all[all.len() - 1];
        assert_eq!(made.passed_over, [format!("{}: missing", segment_path(last))]);
        assert_eq!(made.lost, [(1, 60)]);
        assert!(made.open_end);
        // Segments that ended before the snapshot begins had been deleted.
        let disk = disk_of(&frozen("snapshots"));
        let second = disk.peek(&segment_path(2)).unwrap();
        disk.lose(&segment_path(2));
        disk.plant(&segment_path(1), second);
        assert_eq!(salvaged(&disk).0.unwrap().passed_over, Vec::<String>::new());
        let [_, newest] = numbers(&disk, SNAPSHOT_DIR, ".snap").unwrap()[..] else { panic!("two") };
        disk.damage(&snapshot_path(newest), |bytes| bytes[5_000] ^= 1);
        let passed_over = salvaged(&disk).0.unwrap().passed_over;
        assert_eq!(passed_over.len(), 2, "{passed_over:?}");
        assert_eq!(passed_over[1], format!("{}: missing", segment_path(2)));
        assert_eq!(
            [Some(14), Some(15), Some(16), None].map(|first| may_lack_entries(first, 14)),
            [false, false, true, true]
        );
    }

    #[test]
    fn unreadable_sectors_are_listed_and_everything_else_is_saved() {
        let disk = directory(12);
        let frames = frames(&disk);
        for seq in [4, 5, 9] {
            let (path, at, _) = &frames[&seq];
            disk.lose_sector(path, *at as u64 + 100);
        }
        let (made, to, _) = salvaged(&disk);
        let made = made.unwrap();
        assert_eq!(made.lost, [(4, 5), (9, 9)]);
        assert_eq!(kept(&to), [1, 2, 3, 6, 7, 8, 10, 11, 12]);
        let (path, at, len) = &frames[&4];
        let hole = format!("{path} at bytes {at} to {}: cannot be read", at + 2 * len - 1);
        assert_eq!(
            made.passed_over.iter().filter(|line| **line == hole).count(),
            1,
            "{:?}",
            made.passed_over
        );
        let (path, at, len) = &frames[&9];
        assert!(
            made.passed_over.contains(&format!("{path} at bytes {at} to {}: cannot be read", at + len - 1))
        );
        // A header of a segment, and a sector of a snapshot.
        let disk = disk_of(&frozen("snapshots"));
        let whole = state(&disk);
        disk.lose_sector(&segment_path(2), 0);
        disk.lose_sector(&snapshot_path(0x15), 5_000);
        let made = salvaged(&disk).0.unwrap();
        assert_eq!(state(&disk), whole);
        assert!(made.lost.is_empty());
        assert!(made.passed_over[0].starts_with(&format!("{}: cannot be read: ", snapshot_path(0x15))));
    }

    /// Returns a checksum of each record that is salvaged.
    fn state(disk: &SimStorage) -> Vec<u64> {
        let (made, to, _) = salvaged(disk);
        made.unwrap();
        let mut records = Records::default();
        crate::journal::recovery::replay::replay_read_only(&to, SIZES, &mut records).unwrap();
        records
            .iter()
            .map(|(table, _, key, value)| {
                u64::from(crc32c::crc32c(&[key, value].concat())) + u64::from(table)
            })
            .collect()
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_listed_and_the_others_are_saved() {
        let whole = salvaged(&directory(20)).0.unwrap().restored.records;
        let mut lines = Vec::new();
        for at in 1..60 {
            let disk = directory(20);
            let at = disk.operations() + at;
            disk.fail(Some(Failure {
                at,
                lasting: false,
                only: Some(Kind::Open),
                error: io::ErrorKind::Other,
            }));
            let made = salvaged(&disk).0.unwrap();
            if !disk.has_failed() {
                break;
            }
            let [line] = &made.passed_over[..] else { panic!("{:?}", made.passed_over) };
            assert!(line.contains(": cannot be read: "), "{line}");
            assert_eq!(made.restored.records == whole, line.starts_with(IDENTITY), "{line}");
            lines.push(line.clone());
        }
        lines.dedup();
        // IDENTITY, and each segment.
        assert_eq!(lines.len(), 1 + numbers(&directory(20), JOURNAL_DIR, ".log").unwrap().len(), "{lines:?}");
    }

    #[test]
    fn holes_are_whole_blocks_and_the_rest_is_as_it_was() {
        let disk = SimStorage::new();
        let bytes: Vec<u8> = (0..2 * PIECE + 700).map(|at| (at % 251) as u8 + 1).collect();
        disk.plant("a", bytes.clone());
        let read = |disk: &SimStorage| readable(&*disk.open("a").unwrap(), 512).unwrap();
        assert_eq!(read(&disk), (bytes.clone(), vec![]));
        for at in [PIECE + 511, 2 * PIECE + 699, PIECE - 1, PIECE, 1_024] {
            disk.lose_sector("a", at as u64);
        }
        let piece = PIECE as u64;
        let holes = [(1_024, 1_536), (piece - 512, piece + 512), (2 * piece + 512, 2 * piece + 700)];
        let mut expected = bytes;
        for (begin, end) in holes {
            expected[begin as usize..end as usize].fill(0);
        }
        let (found, listed) = read(&disk);
        assert_eq!(listed, holes);
        assert!(found == expected);
    }
}
