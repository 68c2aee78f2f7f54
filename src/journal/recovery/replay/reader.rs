//! The reader: replays the newest snapshot that verifies, then the segments after it.

use super::directory::{Directory, read_last_segment};
use super::recovery_target::RecoveryTarget;
use crate::journal::append::segment_log::Chain;
use crate::journal::context::salt_tag;
use crate::journal::format::entry::{Change, Entries, STATELESS};
use crate::journal::format::frame::{self, Frame};
use crate::journal::format::header::{FileKind, HEADER_BYTES, Header, HeaderError};
use crate::journal::format::identity_file::IdentityFile;
use crate::journal::format::identity_file::{Identity, State};
use crate::journal::format::layout::{
    IDENTITY, JOURNAL_DIR, SegmentFields, Sizes, segment_path, snapshot_path,
};
use crate::journal::recovery::report::{
    INSPECT, RecoveryReport, Refusal, ReplayTarget, START_NEWER, next_step, unreadable,
};
use crate::journal::recovery::segment_scan::{Broken, NamedEnd, Scanned, SegmentScan};
use crate::journal::snapshot;
use crate::storage::Storage;
use crate::system::seeded_bug::{Bug, seeded};

/// The end of a journal: what the segment of the next run continues.
pub(in crate::journal::recovery) struct End {
    /// Number of the last segment; 0 when there is none.
    pub(in crate::journal::recovery) segno: u64,
    /// Epoch of the last segment.
    pub(in crate::journal::recovery) epoch: u64,
    /// The last sequence, entries of the unproven frame included.
    pub(in crate::journal::recovery) seq: u64,
    /// Offset in the last segment at which the proven frames end.
    pub(in crate::journal::recovery) valid_len: u64,
    /// What the fence continues: the chain after the last proven frame.
    pub(in crate::journal::recovery) chain: Chain,
    /// Entries of the unproven frame, which the next run writes again.
    pub(in crate::journal::recovery) carry: Option<Carried>,
    /// Offset in the last segment of the torn frame.
    pub(in crate::journal::recovery) torn_at: u64,
    /// Bytes of the torn frame; empty when there is none.
    pub(in crate::journal::recovery) torn_bytes: Vec<u8>,
}

impl End {
    /// The end of an empty journal.
    pub(super) const NOTHING: Self = Self {
        segno: 0,
        epoch: 0,
        seq: 0,
        valid_len: 0,
        chain: Chain { next_batch: 1, next_seq: 1, last_crc: 0, wall_ms: 0 },
        carry: None,
        torn_at: 0,
        torn_bytes: Vec::new(),
    };

    /// Returns the end of the last segment, whose last frame held `entries`.
    fn of(segment: &Segment, scanned: &Scanned, entries: Option<Carried>) -> Self {
        let rest = segment.bytes.get(scanned.end as usize..).unwrap_or_default();
        let torn_len = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let torn = rest.get(..torn_len).filter(|_| scanned.torn).unwrap_or_default();
        let mut end = Self {
            segno: segment.fields.segno,
            epoch: segment.header.epoch,
            seq: scanned.chain.next_seq - 1,
            valid_len: scanned.end,
            chain: scanned.chain,
            carry: None,
            torn_at: scanned.end,
            torn_bytes: torn.to_vec(),
        };
        // The last frame is unproven: perhaps acknowledged, perhaps only in the page cache. The next run writes its
        // entries again, and its segment does not rely on this frame.
        if let Some((at, before)) = scanned.last
            && at >= segment.fields.born_len
            && !seeded(Bug::UnprovenFrameCounted)
        {
            end.valid_len = at;
            end.chain = before;
            end.carry = entries.filter(|_| !seeded(Bug::CarryLeftOut));
        }
        end
    }
}

/// The entries of an unproven frame.
pub(in crate::journal::recovery) struct Carried {
    /// Number of entries.
    pub(in crate::journal::recovery) count: u32,
    /// The body of the frame.
    pub(in crate::journal::recovery) body: Vec<u8>,
}

/// One reading of a directory into a target. Changes nothing on the disk.
pub(super) struct Replay<'a> {
    storage: &'a dyn Storage,
    sizes: Sizes,
    target: &'a mut dyn ReplayTarget,
    until: RecoveryTarget,
    cluster: [u8; 16],
    timeline: u32,
    /// The facts that the reading has shown so far.
    pub(super) report: RecoveryReport,
    /// Checksum of what the last segment holds; `None` when there is no segment.
    pub(super) last_segment_crc: Option<u32>,
    /// Whether the last write was refused since only a later version writes such records.
    met_newer: bool,
}

struct Segment {
    bytes: Vec<u8>,
    header: Header,
    fields: SegmentFields,
}

impl<'a> Replay<'a> {
    /// Prepares to read `directory` into `target`.
    pub(super) fn new(
        storage: &'a dyn Storage,
        sizes: Sizes,
        directory: &Directory,
        target: &'a mut dyn ReplayTarget,
        until: RecoveryTarget,
    ) -> Self {
        let identity = directory.identity.as_ref();
        Self {
            storage,
            sizes,
            target,
            until,
            cluster: identity.map_or([0; 16], IdentityFile::cluster),
            timeline: identity.map_or(1, IdentityFile::timeline),
            report: RecoveryReport::default(),
            last_segment_crc: None,
            met_newer: false,
        }
    }

    /// Replays everything and checks that the journal reaches what `IDENTITY` and the snapshots demand.
    pub(super) fn run(&mut self, directory: &Directory, identity: Identity) -> Result<End, Refusal> {
        let Directory { segments, snapshots, .. } = directory;
        let start_seq = self.replay_newest_snapshot(snapshots, segments)?;
        self.report.tail.segments = self.bytes_of_segments_after(segments, start_seq);
        let needed = self.needed_segments(segments, start_seq, identity.head_segno)?;
        let end = self.replay_segments(&needed, start_seq)?;
        let check_reaches = |path: &str, needed: u64| {
            if end.seq >= needed {
                return Ok(());
            }
            let what = format!("the journal ends at sequence {}, but reached {needed} once", end.seq);
            Err(Refusal::new(path, None, what, INSPECT))
        };
        check_reaches(IDENTITY, identity.min_seq)?;
        self.report.clean_stop = identity.state == State::Closed;
        if !seeded(Bug::EndNotChecked) {
            for end_seq in snapshots {
                check_reaches(&snapshot_path(*end_seq), *end_seq)?;
            }
        }
        Ok(end)
    }

    /// Refuses a directory in which the first start did not finish, but which holds entries: nothing can have been
    /// acknowledged in a forming directory.
    pub(super) fn refuse_entries_while_forming(&mut self, directory: &Directory) -> Result<(), Refusal> {
        let used = |path: &str| {
            let what = "holds entries, although IDENTITY says that the first start was not over";
            Err(Refusal::new(path, None, what, INSPECT))
        };
        if let Some(end_seq) = directory.snapshots.first() {
            return used(&snapshot_path(*end_seq));
        }
        for segno in &directory.segments {
            let path = segment_path(*segno);
            let file = self.storage.open(&path).map_err(unreadable(&path))?;
            let bytes = file.read_written(self.sizes.frame_max()).map_err(unreadable(&path))?;
            self.last_segment_crc = Some(crc32c::crc32c(&bytes));
            let mut frames = bytes.chunks(self.sizes.align).filter_map(frame::read_header);
            if frames.any(|header| header.count > 0) {
                return used(&path);
            }
        }
        Ok(())
    }

    /// Returns how many bytes the last segments take that begin after `seq`. A segment whose header cannot be read ends
    /// the count.
    fn bytes_of_segments_after(&self, segments: &[u64], seq: u64) -> u64 {
        let headers = segments.iter().rev().map_while(|segno| self.header_of(*segno).ok());
        headers.take_while(|(_, fields)| fields.first_seq > seq).map(|(_, fields)| fields.segment_len).sum()
    }

    /// Applies the newest snapshot that verifies and lies within the recovery target. Returns the sequence after which
    /// segments must be replayed: 0 when no snapshot was applied, and then the journal must hold every entry.
    fn replay_newest_snapshot(&mut self, snapshots: &[u64], segments: &[u64]) -> Result<u64, Refusal> {
        let mut newest_refused = None;
        for end_seq in snapshots.iter().rev() {
            let path = snapshot_path(*end_seq);
            let file = self.storage.open(&path).map_err(unreadable(&path))?;
            // Verify before applying: a file that is damaged at its end must not have changed the state.
            let verified = snapshot::verify(&*file, Some(self.cluster)).and_then(|summary| {
                if summary.end_seq == *end_seq {
                    Ok(summary)
                } else {
                    Err(snapshot::Unreadable::Damaged(0, "another file's name"))
                }
            });
            match verified {
                // The snapshot may hold effects of everything up to its end.
                Ok(summary) if !self.until.includes(summary.end_seq, summary.max_wall_ms) => {}
                Ok(summary) => {
                    snapshot::read_verified(&*file, Some(self.cluster), &mut |table, schema, key, value| {
                        self.apply_one(table, schema, key, Some(value))
                    })
                    .map_err(|error| Refusal::new(&path, None, error, self.after_refused_record()))?;
                    self.report.records = summary.records;
                    self.report.seq = summary.end_seq;
                    self.report.wall_ms = summary.max_wall_ms;
                    return Ok(summary.start_seq);
                }
                // A snapshot of a newer version must not be passed over for an older one.
                Err(error @ snapshot::Unreadable::Header(HeaderError::Newer { .. })) => {
                    return Err(Refusal::new(&path, Some(0), error, START_NEWER));
                }
                Err(error) if seeded(Bug::OlderSnapshotNotTried) => {
                    return Err(Refusal::new(&path, None, error, INSPECT));
                }
                Err(error) => {
                    let warning = format!("{path} cannot be used: {error}; trying an older one");
                    self.report.warnings.push(warning);
                    newest_refused.get_or_insert((path, error));
                }
            }
        }
        match newest_refused {
            Some((path, error)) if !self.journal_is_complete(segments) => {
                Err(Refusal::new(&path, None, error, INSPECT))
            }
            _ => Ok(0),
        }
    }

    /// Returns the sequence of the first entry that the journal may hold; `None` without a segment.
    pub(super) fn first_seq_of(&self, segments: &[u64]) -> Result<Option<u64>, Refusal> {
        let first = segments.first().map(|segno| self.header_of(*segno)).transpose()?;
        Ok(first.map(|(_, fields)| fields.first_seq))
    }

    /// Returns whether the journal holds every entry from the first on, so that no snapshot is needed.
    fn journal_is_complete(&self, segments: &[u64]) -> bool {
        let first = segments.first().map(|segno| self.header_of(*segno));
        first.is_some_and(|header| header.is_ok_and(|(_, fields)| fields.first_seq == 1))
    }

    /// Returns the segments to replay, ascending: from the one that holds the first entry after the snapshot to the
    /// last.
    fn needed_segments(
        &self,
        segments: &[u64],
        start_seq: u64,
        head_segno: u64,
    ) -> Result<Vec<u64>, Refusal> {
        let last = segments.last().copied().unwrap_or(0);
        if last < head_segno {
            let path = segment_path(head_segno);
            return Err(Refusal::new(&path, None, "missing, although IDENTITY names it", INSPECT));
        }
        let mut needed = Vec::new();
        for segno in segments.iter().rev() {
            // A gap before the needed segments is harmless: a crash while several were deleted leaves one.
            if needed.last().is_some_and(|later| segno + 1 != *later) {
                return Err(Refusal::new(&segment_path(segno + 1), None, "missing", INSPECT));
            }
            let (_, fields) = self.header_of(*segno)?;
            needed.push(*segno);
            if fields.first_seq <= start_seq + 1 {
                break;
            }
            if *segno == 1 || Some(segno) == segments.first() {
                let what =
                    format!("begins at sequence {}, but {} is needed", fields.first_seq, start_seq + 1);
                return Err(Refusal::new(&segment_path(*segno), None, what, INSPECT));
            }
        }
        needed.reverse();
        Ok(needed)
    }

    /// Replays the entries after `start_seq` of the `needed` segments.
    fn replay_segments(&mut self, needed: &[u64], start_seq: u64) -> Result<End, Refusal> {
        let mut chain: Option<Chain> = None;
        let mut epoch = 0;
        let mut end = None;
        for (at, segno) in needed.iter().enumerate() {
            let path = segment_path(*segno);
            let is_last = at + 1 == needed.len();
            let segment = self.read_segment(*segno, is_last)?;
            let next = needed.get(at + 1).map(|segno| self.header_of(*segno)).transpose()?;
            let from = chain.unwrap_or(Chain {
                next_batch: segment.fields.first_batch,
                next_seq: segment.fields.first_seq,
                last_crc: segment.fields.prev_last_crc,
                wall_ms: 0,
            });
            let continues = segment.fields.first_batch == from.next_batch
                && segment.fields.first_seq == from.next_seq
                && (segment.fields.prev_last_crc == from.last_crc || seeded(Bug::ChainNotChecked))
                && segment.header.epoch >= epoch;
            if !continues {
                return Err(Refusal::new(&path, Some(0), "does not continue the segment before it", INSPECT));
            }
            epoch = segment.header.epoch;
            let named_end = next
                .map(|(_, fields)| NamedEnd { len: fields.prev_valid_len, last_crc: fields.prev_last_crc });
            let (scanned, last_entries) = self.replay_segment(&path, &segment, named_end, from, start_seq)?;
            chain = Some(scanned.chain);
            if is_last {
                end = Some(End::of(&segment, &scanned, last_entries));
            }
        }
        end.ok_or_else(|| Refusal::new(JOURNAL_DIR, None, "no segment, although IDENTITY names one", INSPECT))
    }

    /// Reads and checks the header of a segment.
    fn header_of(&self, segno: u64) -> Result<(Header, SegmentFields), Refusal> {
        let path = segment_path(segno);
        let file = self.storage.open(&path).map_err(unreadable(&path))?;
        let mut block = [0; HEADER_BYTES];
        file.read_at(&mut block, 0).map_err(|error| Refusal::new(&path, Some(0), error, INSPECT))?;
        let header = Header::read(FileKind::Segment, &block)
            .map_err(|error| Refusal::new(&path, Some(0), error, next_step(&error)))?;
        let wrong = |what: &str| Refusal::new(&path, Some(0), what, INSPECT);
        let fields = SegmentFields::read(&header.by_kind)
            .ok_or_else(|| wrong("header fields that no version wrote"))?;
        if header.cluster != self.cluster || header.timeline != self.timeline {
            return Err(wrong("belongs to another installation or to another timeline of it"));
        }
        if fields.segno != segno || fields.prev_segno + 1 != segno {
            return Err(wrong("its name is not the one its header gives it"));
        }
        let len = file.length().map_err(unreadable(&path))?;
        if fields.segment_len != len || fields.align as usize != self.sizes.align {
            return Err(wrong("its length or alignment is not the one its header gives it"));
        }
        Ok((header, fields))
    }

    /// Reads a segment without most of the zeros after its last byte: those that one frame could reach stay.
    fn read_segment(&mut self, segno: u64, is_last: bool) -> Result<Segment, Refusal> {
        let (header, fields) = self.header_of(segno)?;
        let path = segment_path(segno);
        let bytes = if is_last {
            read_last_segment(self.storage, self.sizes, &path)
        } else {
            self.storage.open(&path).and_then(|file| file.read_written(self.sizes.frame_max()))
        };
        let bytes = bytes.map_err(unreadable(&path))?;
        if is_last {
            self.last_segment_crc = Some(crc32c::crc32c(&bytes));
        }
        Ok(Segment { bytes, header, fields })
    }

    /// Replays one segment. Returns how its frames ended, and the entries of the last frame if it has any.
    fn replay_segment(
        &mut self,
        path: &str,
        segment: &Segment,
        named_end: Option<NamedEnd>,
        from: Chain,
        start_seq: u64,
    ) -> Result<(Scanned, Option<Carried>), Refusal> {
        let scan = SegmentScan {
            bytes: &segment.bytes,
            sizes: self.sizes,
            salt_tag: salt_tag(&segment.header),
            epoch: segment.header.epoch,
            born_len: segment.fields.born_len,
            named_end,
        };
        let mut last_entries = None;
        let scanned = scan.run(from, |frame| {
            let count = frame.header.count;
            last_entries = (count > 0).then(|| Carried { count, body: frame.body.to_vec() });
            self.replay_frame(frame, start_seq)
        });
        let scanned = scanned.map_err(|broken| match broken {
            Broken::Judged(at, reason) => Refusal::new(path, Some(at), reason, INSPECT),
            Broken::Apply(at, why) => Refusal::new(path, Some(at), why, self.after_refused_record()),
        })?;
        self.report.wall_ms = self.report.wall_ms.max(scanned.chain.wall_ms);
        Ok((scanned, last_entries))
    }

    /// Decodes every entry of a frame, and applies those after `start_seq` that lie within the recovery target.
    fn replay_frame(&mut self, frame: &Frame<'_>, start_seq: u64) -> Result<(), String> {
        let header = &frame.header;
        if header.first_seq + u64::from(header.count) > start_seq + 1 {
            self.report.tail.replayed += frame.len as u64;
        }
        let mut seq = header.first_seq;
        for entry in Entries::new(frame.body) {
            let changes = entry.map_err(|error| error.to_string())?;
            if self.until.includes(seq, header.wall_ms) {
                self.report.seq = seq;
                if seq > start_seq + u64::from(seeded(Bug::ReplayOneLate)) {
                    self.report.entries += 1;
                    self.apply(&changes)?;
                }
            }
            seq += 1;
        }
        if seq - header.first_seq == u64::from(header.count) {
            Ok(())
        } else {
            Err(String::from("the frame holds another number of entries"))
        }
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), String> {
        for Change { table, schema, key, value } in changes {
            if *table >= STATELESS {
                continue;
            }
            if value.is_none() && seeded(Bug::RemovalNotReplayed) {
                continue;
            }
            self.apply_one(*table, *schema, key, value.as_deref())?;
        }
        Ok(())
    }

    /// Applies one write. Notes if it is refused because only a later version writes such records.
    fn apply_one(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let applied = self.target.apply(table, schema, key, value);
        self.met_newer = applied.is_err() && self.target.is_newer(table, schema);
        let newer = |why| format!("written by a newer version of Portcullis: {why}");
        if self.met_newer { applied.map_err(newer) } else { applied }
    }

    /// Returns what to do after a record or an entry was refused.
    fn after_refused_record(&self) -> &'static str {
        if self.met_newer { START_NEWER } else { INSPECT }
    }
}
