//! Reading the past: the newest snapshot that verifies, then the segments behind it.

use super::report::{INSPECT, RecoveryReport, Refusal, ReplayTarget, unreadable};
use super::segment_scan::{Broken, Scanned, SegmentScan};
use crate::journal::append::segment_log::Chain;
use crate::journal::context::salt_tag;
use crate::journal::format::entry::{Change, Entries};
use crate::journal::format::frame;
use crate::journal::format::header::{FileKind, HEADER_BYTES, Header, HeaderError};
use crate::journal::format::identity_file::{IdentityFile, State};
use crate::journal::format::layout::{
    IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR, SegmentFields, Sizes, numbers, segment_path, snapshot_path,
};
use crate::journal::snapshot;
use crate::storage::Storage;
use crate::system::clock::Timestamp;
use crate::system::seeded_bug::{Bug, seeded};

/// Where the past ends.
pub(in crate::journal) struct End {
    pub(in crate::journal) segno: u64,
    pub(in crate::journal) epoch: u64,
    /// The last sequence, unproven entries included.
    pub(in crate::journal) seq: u64,
    /// Where the proven part ends.
    pub(in crate::journal) valid_len: u64,
    /// What the fence continues.
    pub(in crate::journal) chain: Chain,
    /// Entries of the unproven frame.
    pub(in crate::journal) carry: Option<Carried>,
    pub(in crate::journal) torn_at: u64,
    pub(in crate::journal) torn: u64,
    pub(in crate::journal) torn_bytes: Vec<u8>,
}

impl End {
    pub(in crate::journal) fn of_nothing() -> Self {
        Self {
            segno: 0,
            epoch: 0,
            seq: 0,
            valid_len: 0,
            chain: Chain { next_batch: 1, next_seq: 1, last_crc: 0, wall_ms: 0 },
            carry: None,
            torn_at: 0,
            torn: 0,
            torn_bytes: Vec::new(),
        }
    }
}

pub(in crate::journal) struct Replay<'a> {
    pub(in crate::journal) storage: &'a dyn Storage,
    pub(in crate::journal) sizes: Sizes,
    pub(in crate::journal) past: &'a mut dyn ReplayTarget,
    pub(in crate::journal) cluster: [u8; 16],
    pub(in crate::journal) timeline: u32,
    pub(in crate::journal) found: RecoveryReport,
    pub(in crate::journal) wall_ms: u64,
    pub(in crate::journal) until: RecoveryTarget,
}

/// How far a reader goes: for a restore to a point in the past.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveryTarget {
    /// Not behind this sequence.
    pub seq: Option<u64>,
    /// Not behind this time.
    pub time: Option<Timestamp>,
}

impl RecoveryTarget {
    fn holds(self, seq: u64, wall_ms: u64) -> bool {
        self.seq.is_none_or(|last| seq <= last) && self.time.is_none_or(|last| wall_ms <= last.as_millis())
    }
}

/// The count and the bytes of a frame's entries.
type Carried = (u32, Vec<u8>);

struct Segment {
    bytes: Vec<u8>,
    header: Header,
    fields: SegmentFields,
}

impl Replay<'_> {
    pub(in crate::journal) fn all(
        &mut self,
        segments: &[u64],
        snapshots: &[u64],
        identity: crate::journal::format::identity_file::Identity,
    ) -> Result<End, Refusal> {
        let start_seq = self.newest_snapshot(snapshots, segments)?;
        self.found.tail.segments = self.begun_behind(segments, start_seq);
        let end = self.segments(segments, start_seq, identity.head_segno)?;
        let reach = |path: &str, needed: u64| {
            if end.seq >= needed {
                return Ok(());
            }
            let what = format!("the journal ends at sequence {}, but reached {needed} once", end.seq);
            Err(Refusal::new(path, None, what, INSPECT))
        };
        reach(IDENTITY, identity.min_seq)?;
        self.found.clean_stop = identity.state == State::Closed;
        if !seeded(Bug::EndNotChecked) {
            snapshots.iter().try_for_each(|end_seq| reach(&snapshot_path(*end_seq), *end_seq))?;
        }
        Ok(end)
    }

    /// Bytes of the last segments that begin behind a sequence. One that cannot be read counts for none before it.
    fn begun_behind(&self, segments: &[u64], seq: u64) -> u64 {
        let headers = segments.iter().rev().map_while(|segno| self.header_of(*segno).ok());
        headers.take_while(|(_, fields)| fields.first_seq > seq).map(|(_, fields)| fields.segment_len).sum()
    }

    /// A directory that is still forming has acknowledged nothing; one that holds entries is no such directory.
    pub(in crate::journal) fn refuse_a_used_one(
        &self,
        segments: &[u64],
        snapshots: &[u64],
    ) -> Result<(), Refusal> {
        let used = |path: &str| {
            let what = "holds entries, although IDENTITY says that the first start was not over";
            Err(Refusal::new(path, None, what, INSPECT))
        };
        if let Some(end_seq) = snapshots.first() {
            return used(&snapshot_path(*end_seq));
        }
        for segno in segments {
            let path = segment_path(*segno);
            let file = self.storage.open(&path).map_err(unreadable(&path))?;
            let bytes = file.read_written(self.sizes.frame_max()).map_err(unreadable(&path))?;
            let frames = bytes.chunks(self.sizes.align).filter_map(frame::read_header);
            if frames.into_iter().any(|header| header.count > 0) {
                return used(&path);
            }
        }
        Ok(())
    }

    fn newest_snapshot(&mut self, snapshots: &[u64], segments: &[u64]) -> Result<u64, Refusal> {
        let mut newest_refused = None;
        for end_seq in snapshots.iter().rev() {
            let path = snapshot_path(*end_seq);
            let file = self.storage.open(&path).map_err(unreadable(&path))?;
            // First without applying anything: a file that is damaged at its end must not have changed the state.
            let verified = snapshot::verify(&*file, Some(self.cluster));
            let verified = verified.and_then(|summary| {
                let named = summary.end_seq == *end_seq;
                if named { Ok(summary) } else { Err(snapshot::Unreadable::Damaged(0, "another file's name")) }
            });
            match verified {
                // It may hold effects of everything up to its end.
                Ok(summary) if !self.until.holds(summary.end_seq, summary.max_wall_ms) => {}
                Ok(summary) => {
                    let past = &mut *self.past;
                    snapshot::read_verified(&*file, Some(self.cluster), &mut |table, schema, key, value| {
                        past.apply(table, schema, key, Some(value))
                    })
                    .map_err(|error| Refusal::new(&path, None, error, INSPECT))?;
                    self.found.records = summary.records;
                    self.found.seq = summary.end_seq;
                    self.wall_ms = summary.max_wall_ms;
                    return Ok(summary.start_seq);
                }
                // What a newer version wrote is not passed over for something older.
                Err(error @ snapshot::Unreadable::Header(HeaderError::Newer { .. })) => {
                    return Err(Refusal::new(&path, Some(0), error, INSPECT));
                }
                Err(error) if seeded(Bug::OlderSnapshotNotTried) => {
                    return Err(Refusal::new(&path, None, error, INSPECT));
                }
                Err(error) => {
                    self.found.warnings.push(format!("{path} cannot be used: {error}; trying an older one"));
                    newest_refused.get_or_insert((path, error));
                }
            }
        }
        match newest_refused {
            Some((path, error)) if !self.begin_at_the_beginning(segments) => {
                Err(Refusal::new(&path, None, error, INSPECT))
            }
            _ => Ok(0),
        }
    }

    /// Whether nothing but a snapshot that cannot be read would be missed: the journal holds every entry.
    fn begin_at_the_beginning(&self, segments: &[u64]) -> bool {
        let first = segments.first().map(|segno| self.header_of(*segno));
        first.is_some_and(|header| header.is_ok_and(|(_, fields)| fields.first_seq == 1))
    }

    fn segments(&mut self, segments: &[u64], start_seq: u64, head_segno: u64) -> Result<End, Refusal> {
        let last = segments.last().copied().unwrap_or(0);
        if last < head_segno {
            return Err(Refusal::new(
                &segment_path(head_segno),
                None,
                "missing, although IDENTITY names it",
                INSPECT,
            ));
        }
        // Back from the last one to the one that holds the first entry behind the snapshot.
        let mut needed = Vec::new();
        for segno in segments.iter().rev() {
            // A gap behind what is needed is what a crash has left of a deletion of several.
            if needed.last().is_some_and(|later| segno + 1 != *later) {
                return Err(Refusal::new(&segment_path(segno + 1), None, "missing", INSPECT));
            }
            let header = self.header_of(*segno)?;
            let holds_it = header.1.first_seq <= start_seq + 1;
            needed.push(*segno);
            if holds_it {
                break;
            }
            if *segno == 1 || Some(segno) == segments.first() {
                let what =
                    format!("begins at sequence {}, but {} is needed", header.1.first_seq, start_seq + 1);
                return Err(Refusal::new(&segment_path(*segno), None, what, INSPECT));
            }
        }
        needed.reverse();

        let mut chain: Option<Chain> = None;
        let mut epoch = 0;
        let mut end = None;
        for (at, segno) in needed.iter().enumerate() {
            let path = segment_path(*segno);
            let segment = self.read(*segno, at + 1 == needed.len())?;
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
            let named_end = next.map(|(_, fields)| (fields.prev_valid_len, fields.prev_last_crc));
            let (walked, last_body) = self.walk(&path, &segment, named_end, from, start_seq)?;
            chain = Some(walked.chain);
            if at + 1 == needed.len() {
                end = Some(Self::end(*segno, &segment, &walked, last_body));
            }
        }
        end.ok_or_else(|| Refusal::new(JOURNAL_DIR, None, "no segment, although IDENTITY names one", INSPECT))
    }

    fn header_of(&self, segno: u64) -> Result<(Header, SegmentFields), Refusal> {
        let path = segment_path(segno);
        let file = self.storage.open(&path).map_err(unreadable(&path))?;
        let mut block = [0; HEADER_BYTES];
        file.read_at(&mut block, 0).map_err(|error| Refusal::new(&path, Some(0), error, INSPECT))?;
        let header = Header::read(FileKind::Segment, &block)
            .map_err(|error| Refusal::new(&path, Some(0), error, INSPECT))?;
        let wrong = |what: &str| Refusal::new(&path, Some(0), what, INSPECT);
        let fields = SegmentFields::read(&header.by_kind)
            .ok_or_else(|| wrong("header fields that no version wrote"))?;
        if header.cluster != self.cluster || header.timeline != self.timeline {
            return Err(wrong("belongs to another installation or to another past of it"));
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

    fn read(&self, segno: u64, is_last: bool) -> Result<Segment, Refusal> {
        let (header, fields) = self.header_of(segno)?;
        let path = segment_path(segno);
        let file = self.storage.open(&path).map_err(unreadable(&path))?;
        if is_last {
            // The page cache can show what the disk never got.
            file.forget_cache().map_err(unreadable(&path))?;
        }
        // No frame goes further behind the last byte that is not zero, and behind the bytes are zeros.
        let bytes = file.read_written(self.sizes.frame_max()).map_err(unreadable(&path))?;
        Ok(Segment { bytes, header, fields })
    }

    fn walk(
        &mut self,
        path: &str,
        segment: &Segment,
        named_end: Option<(u64, u32)>,
        from: Chain,
        start_seq: u64,
    ) -> Result<(Scanned, Option<Carried>), Refusal> {
        let walk = SegmentScan {
            bytes: &segment.bytes,
            sizes: self.sizes,
            salt_tag: salt_tag(&segment.header),
            epoch: segment.header.epoch,
            born_len: segment.fields.born_len,
            named_end,
        };
        let mut last_body = None;
        let (past, found, until) = (&mut *self.past, &mut self.found, self.until);
        let walked = walk.run(from, |frame| {
            let header = &frame.header;
            if header.first_seq + u64::from(header.count) > start_seq + 1 {
                found.tail.replayed += frame.len as u64;
            }
            last_body = (header.count > 0).then(|| (header.count, frame.body.to_vec()));
            let mut seq = header.first_seq;
            for entry in Entries::new(frame.body) {
                let changes = entry.map_err(|error| error.to_string())?;
                let wanted = until.holds(seq, header.wall_ms);
                found.seq = if wanted { seq } else { found.seq };
                if wanted && seq > start_seq + u64::from(seeded(Bug::ReplayOneLate)) {
                    found.entries += 1;
                    for Change { table, schema, key, value } in &changes {
                        if value.is_none() && seeded(Bug::RemovalNotReplayed) {
                            continue;
                        }
                        past.apply(*table, *schema, key, value.as_deref())?;
                    }
                }
                seq += 1;
            }
            let counted = seq - header.first_seq == u64::from(header.count);
            if counted { Ok(()) } else { Err(String::from("the frame holds another number of entries")) }
        });
        let walked = walked.map_err(|broken| match broken {
            Broken::Judged(at, reason) => Refusal::new(path, Some(at), reason, INSPECT),
            Broken::Apply(at, why) => Refusal::new(path, Some(at), why, INSPECT),
        })?;
        self.wall_ms = self.wall_ms.max(walked.chain.wall_ms);
        Ok((walked, last_body))
    }

    fn end(segno: u64, segment: &Segment, walked: &Scanned, body: Option<Carried>) -> End {
        let rest = segment.bytes.get(walked.end as usize..).unwrap_or_default();
        let torn_len = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let torn_bytes =
            if walked.torn { rest.get(..torn_len).unwrap_or_default().to_vec() } else { Vec::new() };
        let mut end = End {
            segno,
            epoch: segment.header.epoch,
            seq: walked.chain.next_seq - 1,
            valid_len: walked.end,
            chain: walked.chain,
            carry: None,
            torn_at: walked.end,
            torn: torn_bytes.len() as u64,
            torn_bytes,
        };
        // Perhaps acknowledged, perhaps only in the page cache: written again in the new life, and no longer relied on.
        if let Some((at, before)) = walked.last
            && at >= segment.fields.born_len
            && !seeded(Bug::UnprovenFrameCounted)
        {
            end.valid_len = at;
            end.chain = before;
            end.carry = body.filter(|_| !seeded(Bug::CarryLeftOut));
        }
        end
    }
}

/// Reads the past of a directory that is in use, without locking or changing it.
pub fn replay_read_only(
    storage: &dyn Storage,
    sizes: Sizes,
    past: &mut dyn ReplayTarget,
) -> Result<RecoveryReport, Refusal> {
    replay_read_only_until(storage, sizes, past, RecoveryTarget::default())
}

/// Likewise, up to a point of it. What lies behind is checked as well, and not applied.
pub fn replay_read_only_until(
    storage: &dyn Storage,
    sizes: Sizes,
    past: &mut dyn ReplayTarget,
    until: RecoveryTarget,
) -> Result<RecoveryReport, Refusal> {
    let segments = numbers(storage, JOURNAL_DIR, ".log").map_err(unreadable(JOURNAL_DIR))?;
    let snapshots = numbers(storage, SNAPSHOT_DIR, ".snap").map_err(unreadable(SNAPSHOT_DIR))?;
    let none = || Refusal::new(IDENTITY, None, "there is none: this is no data directory in use", INSPECT);
    let identity = IdentityFile::open(storage).map_err(unreadable(IDENTITY))?.ok_or_else(none)?;
    let identity = identity.map_err(|error| Refusal::new(IDENTITY, None, error, INSPECT))?;
    let (cluster, timeline) = (identity.cluster(), identity.timeline());
    let mut reading = Replay {
        storage,
        sizes,
        past,
        cluster,
        timeline,
        found: RecoveryReport::default(),
        wall_ms: 0,
        until,
    };
    if identity.newest().state == State::Forming {
        reading.refuse_a_used_one(&segments, &snapshots)?;
        return Ok(RecoveryReport { first_start: true, ..reading.found });
    }
    let end = reading.all(&segments, &snapshots, identity.newest())?;
    let seq = if until.seq.is_none() && until.time.is_none() { end.seq } else { reading.found.seq };
    Ok(RecoveryReport { seq, torn: end.torn, wall_ms: reading.wall_ms, ..reading.found })
}

#[cfg(test)]
mod tests;
