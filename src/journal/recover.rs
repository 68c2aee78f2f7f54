//! The one way up: what the directory holds becomes the state again, or the server refuses to start and says why.
//!
//! Nothing is ever appended to an old segment: a new life begins with a segment of its own, which carries over the one
//! frame of which it cannot be told whether it was acknowledged or only stood in the page cache.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Change, Entries};
use super::frame::{self, FrameHeader, Kind};
use super::handle::Handle;
use super::header::{FileKind, HEADER_BYTES, Header};
use super::layout::{
    IDENTITY, IdentityFile, JOURNAL_DIR, QUARANTINE_DIR, SNAPSHOT_DIR, SegmentFields, Sizes, State, numbers,
    segment_path, snapshot_path,
};
use super::segment::{Begun, Chain, Life, Log, Spares, fill, salt_tag};
use super::snapshot;
use super::storage::{Storage, write_whole};
use super::walk::{Broken, Walk, Walked};
use super::writer::{Preparer, Running, Writer};
use crate::clock::{Clock, Timestamp};
use crate::fail_stop::FailStop;
use crate::secret::Chance;

/// Why the server does not start. Never offers deletion.
#[derive(Debug)]
pub struct Refusal {
    /// The file it is about.
    pub path: String,
    /// Where in it.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What to do next.
    pub next: &'static str,
}

impl Refusal {
    fn new(path: &str, offset: Option<u64>, what: impl fmt::Display, next: &'static str) -> Self {
        Self { path: path.to_owned(), offset, what: what.to_string(), next }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}; {}", self.what, self.next)
    }
}

impl std::error::Error for Refusal {}

const INSPECT: &str = "nothing was changed; look at it with `portcullis data inspect`, and restore a backup if it is \
     really damaged";
const FIX_DISK: &str = "mend the disk or its permissions and start again";

fn unreadable(path: &str) -> impl FnOnce(io::Error) -> Refusal {
    move |error| Refusal::new(path, None, error, FIX_DISK)
}

/// What recovery stands on.
pub struct Options {
    /// Where files are.
    pub storage: Arc<dyn Storage>,
    /// Sizes of the format.
    pub sizes: Sizes,
    /// Time; its floor is raised to what the journal has seen.
    pub clock: Clock,
    /// Chance.
    pub chance: Arc<Chance>,
    /// Start although the journal is more than a day ahead of the system's clock.
    pub accept_clock_floor: bool,
}

/// Calls of recovery into whoever owns the state.
pub trait Past {
    /// Makes one write true: total, in order, no rule, clock or chance. An error when no version of ours wrote it.
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String>;
    /// The installation is new and nothing has been acknowledged: keys are made now. May be called again after a
    /// crash of the first start.
    fn first_start(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Whether keys are there, which a new installation cannot have.
    fn has_keys(&self) -> bool {
        false
    }
}

/// A journal that is ready for its first entry.
pub struct Recovered {
    /// For the actors.
    pub handle: Handle,
    /// Turns entries into frames. A thread once [`Recovered::start`] was called.
    pub writer: Writer,
    /// What was found.
    pub found: Found,
    pub(super) preparer: Preparer,
    pub(super) lock: Box<dyn Send + Sync>,
}

/// What recovery found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// There was nothing before.
    pub first_start: bool,
    /// Entries replayed from segments.
    pub entries: u64,
    /// Records read from a snapshot.
    pub records: u64,
    /// The last sequence.
    pub seq: u64,
    /// Bytes of a torn tail that were cut off.
    pub torn: u64,
    /// Things an operator should know.
    pub warnings: Vec<String>,
}

/// A running journal: keeps the directory locked until it is closed or dropped.
pub struct Journal {
    writer: Option<Running>,
    life: Life,
    _lock: Box<dyn Send + Sync>,
}

impl Journal {
    /// Marks a clean stop. Nothing can be appended any more.
    pub fn close(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.close();
        }
    }

    /// What files of this life have in common: for snapshots.
    pub const fn life(&self) -> &Life {
        &self.life
    }
}

impl Recovered {
    /// Starts the journal's threads.
    pub fn start(self, fail_stop: &FailStop) -> io::Result<(Handle, Journal, Found)> {
        let life = self.preparer.life.clone();
        self.preparer.run()?;
        let writer = self.writer.run(fail_stop)?;
        Ok((self.handle, Journal { writer: Some(writer), life, _lock: self.lock }, self.found))
    }

    /// Makes one spare segment, as the thread of its own would: for the simulator.
    #[cfg(any(test, feature = "sim"))]
    pub fn prepare(&self) -> io::Result<()> {
        self.preparer.step()
    }

    /// What files of this life have in common.
    pub const fn life(&self) -> &Life {
        &self.preparer.life
    }
}

/// Reads the past into `past` and begins a new life.
pub fn recover(options: Options, past: &mut dyn Past) -> Result<Recovered, Refusal> {
    let Options { storage, sizes, clock, chance, accept_clock_floor } = options;
    let lock = storage.lock().map_err(|error| {
        Refusal::new("LOCK", None, error, "stop the other process, or give this one a --data-dir of its own")
    })?;
    for dir in [JOURNAL_DIR, SNAPSHOT_DIR] {
        storage.create_dir(dir).map_err(unreadable(dir))?;
        sweep_temporaries(&*storage, dir).map_err(unreadable(dir))?;
    }
    let segments = numbers(&*storage, JOURNAL_DIR, ".log").map_err(unreadable(JOURNAL_DIR))?;
    let snapshots = numbers(&*storage, SNAPSHOT_DIR, ".snap").map_err(unreadable(SNAPSHOT_DIR))?;
    let identity = match IdentityFile::open(&*storage).map_err(unreadable(IDENTITY))? {
        Some(read) => Some(read.map_err(|error| Refusal::new(IDENTITY, None, error, INSPECT))?),
        None if segments.is_empty() && snapshots.is_empty() && !past.has_keys() => None,
        None => {
            return Err(Refusal::new(
                IDENTITY,
                None,
                "missing, although this directory holds a journal, snapshots or keys",
                INSPECT,
            ));
        }
    };
    let mut reading = Reading {
        storage: &*storage,
        sizes,
        past,
        cluster: identity.as_ref().map_or([0; 16], IdentityFile::cluster),
        timeline: identity.as_ref().map_or(1, IdentityFile::timeline),
        found: Found { first_start: false, entries: 0, records: 0, seq: 0, torn: 0, warnings: Vec::new() },
        wall_ms: 0,
    };
    let (identity, end) = match identity {
        Some(identity) if identity.newest().state != State::Forming => {
            let end = reading.all(&segments, &snapshots, identity.newest())?;
            (identity, end)
        }
        forming => {
            reading.refuse_a_used_one(&segments, &snapshots)?;
            reading.found.first_start = true;
            let identity = match forming {
                Some(identity) => identity,
                None => {
                    let cluster = chance.bytes().map_err(|e| Refusal::new(IDENTITY, None, e, FIX_DISK))?;
                    IdentityFile::form(&*storage, cluster, clock.now().as_millis())
                        .map_err(unreadable(IDENTITY))?
                }
            };
            reading.past.first_start().map_err(unreadable("keys"))?;
            for segno in &segments {
                storage.unlink(&segment_path(*segno)).map_err(unreadable(JOURNAL_DIR))?;
            }
            (identity, End::of_nothing())
        }
    };
    let Reading { mut found, wall_ms, .. } = reading;
    raise_floor(&clock, Timestamp(wall_ms), accept_clock_floor, &mut found)?;
    if end.torn > 0 {
        keep_torn(&*storage, &end).map_err(unreadable(QUARANTINE_DIR))?;
    }
    found.seq = end.seq;
    found.torn = end.torn;

    let life = Life {
        storage: Arc::clone(&storage),
        sizes,
        clock,
        chance,
        cluster: identity.cluster(),
        timeline: identity.timeline(),
        epoch: end.epoch + 1,
    };
    let spares = Arc::new(Spares::default());
    let begun = begin(&life, &end, wall_ms).map_err(unreadable(&segment_path(end.segno + 1)))?;
    let mut identity = identity;
    let segno = begun.segno;
    // Both slots: after a first start neither may say *forming* any more.
    for _ in 0..2 {
        identity.write(life.epoch, segno, end.seq, State::Live).map_err(unreadable(IDENTITY))?;
    }
    let handle = Handle::new(sizes, end.seq);
    let preparer =
        Preparer { life: life.clone(), spares: Arc::clone(&spares), shared: Arc::clone(&handle.shared) };
    let writer = Writer::new(&handle, Log::new(life, identity, spares, begun));
    // Without one prepared segment nothing but what is essential could be written.
    if let Err(error) = preparer.step() {
        found.warnings.push(format!("cannot prepare a segment of the journal: {error}"));
    }
    Ok(Recovered { handle, writer, found, preparer, lock })
}

fn sweep_temporaries(storage: &dyn Storage, dir: &str) -> io::Result<()> {
    for name in storage.list(dir)? {
        if name.ends_with(".tmp") {
            storage.unlink(&format!("{dir}/{name}"))?;
        }
    }
    Ok(())
}

fn raise_floor(clock: &Clock, floor: Timestamp, accept: bool, found: &mut Found) -> Result<(), Refusal> {
    let ahead = floor.since(clock.system_now());
    if ahead > Duration::from_hours(24) && !accept {
        return Err(Refusal::new(
            JOURNAL_DIR,
            None,
            format!(
                "the journal has seen {floor}, which is {} h ahead of the system's clock",
                ahead.as_secs() / 3600
            ),
            "set the clock right, or start with --accept-clock-floor if the clock is right now",
        ));
    }
    if ahead > Duration::from_mins(5) {
        found.warnings.push(format!("the journal is {} s ahead of the system's clock", ahead.as_secs()));
    }
    clock.raise_floor(floor);
    Ok(())
}

/// Where the past ends.
struct End {
    segno: u64,
    epoch: u64,
    /// The last sequence, unproven entries included.
    seq: u64,
    /// Where the proven part ends.
    valid_len: u64,
    /// What the fence continues.
    chain: Chain,
    /// Entries of the unproven frame.
    carry: Option<Carried>,
    torn_at: u64,
    torn: u64,
    torn_bytes: Vec<u8>,
}

impl End {
    fn of_nothing() -> Self {
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

fn keep_torn(storage: &dyn Storage, end: &End) -> io::Result<()> {
    storage.create_dir(QUARANTINE_DIR)?;
    let name = format!("{:016x}-at-{}.torn", end.segno, end.torn_at);
    write_whole(storage, QUARANTINE_DIR, &name, &end.torn_bytes)
}

/// Makes the segment of a new life, with fence and carry in it before it has its name.
fn begin(life: &Life, end: &End, wall_ms: u64) -> io::Result<Begun> {
    let segno = end.segno + 1;
    let align = life.sizes.align;
    let carried = end.carry.as_ref().map_or(0, |(_, body)| frame::padded(body.len(), align));
    let born_len = (HEADER_BYTES + frame::padded(0, align) + carried) as u64;
    let fields = SegmentFields {
        segno,
        segment_len: life.sizes.segment,
        first_seq: end.chain.next_seq,
        first_batch: end.chain.next_batch,
        prev_segno: end.segno,
        prev_valid_len: end.valid_len,
        prev_last_crc: end.chain.last_crc,
        align: align as u32,
        born_len,
    };
    let header = life.header(FileKind::Segment, &fields.to_bytes())?;
    let salt_tag = salt_tag(&header);
    let mut bytes = header.to_bytes();
    let mut chain = end.chain;
    chain.wall_ms = wall_ms.max(life.clock.now().as_millis());
    let fence = Some((Kind::Fence, 0, &[][..]));
    let carry = end.carry.as_ref().map(|(count, body)| (Kind::Carry, *count, body.as_slice()));
    for (kind, count, body) in fence.into_iter().chain(carry) {
        let header = FrameHeader {
            salt_tag,
            batch_no: chain.next_batch,
            first_seq: chain.next_seq,
            count,
            durable_off: HEADER_BYTES as u64,
            durable_seq: chain.next_seq - 1,
            wall_ms: chain.wall_ms,
            epoch: life.epoch,
            prev_crc: chain.last_crc,
            kind,
        };
        chain.last_crc = frame::write(&header, body, align, &mut bytes).map_err(io::Error::other)?;
        chain.next_batch += 1;
        chain.next_seq += u64::from(count);
    }
    let path = segment_path(segno);
    let temporary = format!("{path}.tmp");
    let file = life.storage.create_new(&temporary)?;
    file.write_at(&bytes, 0)?;
    fill(&*file, born_len, life.sizes.segment)?;
    file.sync_data()?;
    life.storage.rename(&temporary, &path)?;
    life.storage.sync_dir(JOURNAL_DIR)?;
    Ok(Begun { file, segno, salt_tag, offset: born_len, chain })
}

struct Reading<'a> {
    storage: &'a dyn Storage,
    sizes: Sizes,
    past: &'a mut dyn Past,
    cluster: [u8; 16],
    timeline: u32,
    found: Found,
    wall_ms: u64,
}

/// The count and the bytes of a frame's entries.
type Carried = (u32, Vec<u8>);

struct Segment {
    bytes: Vec<u8>,
    header: Header,
    fields: SegmentFields,
}

impl Reading<'_> {
    fn all(
        &mut self,
        segments: &[u64],
        snapshots: &[u64],
        identity: super::layout::Identity,
    ) -> Result<End, Refusal> {
        let start_seq = self.newest_snapshot(snapshots, segments)?;
        let end = self.segments(segments, start_seq, identity.head_segno)?;
        let reach = |path: &str, needed: u64| {
            if end.seq >= needed {
                return Ok(());
            }
            let what = format!("the journal ends at sequence {}, but reached {needed} once", end.seq);
            Err(Refusal::new(path, None, what, INSPECT))
        };
        reach(IDENTITY, identity.min_seq)?;
        snapshots.iter().try_for_each(|end_seq| reach(&snapshot_path(*end_seq), *end_seq))?;
        Ok(end)
    }

    /// A directory that is still forming has acknowledged nothing; one that holds entries is no such directory.
    fn refuse_a_used_one(&self, segments: &[u64], snapshots: &[u64]) -> Result<(), Refusal> {
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
            let bytes = file.read_all().map_err(unreadable(&path))?;
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
            let verified = snapshot::read(&*file, Some(self.cluster), &mut |_, _, _, _| Ok(()));
            let verified = verified.and_then(|summary| {
                let named = summary.end_seq == *end_seq;
                if named { Ok(summary) } else { Err(snapshot::Unreadable::Damaged(0, "another file's name")) }
            });
            match verified {
                Ok(summary) => {
                    let past = &mut *self.past;
                    snapshot::read(&*file, Some(self.cluster), &mut |table, schema, key, value| {
                        past.apply(table, schema, key, Some(value))
                    })
                    .map_err(|error| Refusal::new(&path, None, error, INSPECT))?;
                    self.found.records = summary.records;
                    self.wall_ms = summary.max_wall_ms;
                    return Ok(summary.start_seq);
                }
                Err(error) => {
                    self.found.warnings.push(format!("{path} cannot be used: {error}; trying an older one"));
                    newest_refused.get_or_insert((path, error));
                }
            }
        }
        match newest_refused {
            Some((path, error)) if segments.first() != Some(&1) => {
                Err(Refusal::new(&path, None, error, INSPECT))
            }
            _ => Ok(0),
        }
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
        for (before, segno) in segments.iter().zip(segments.iter().skip(1)) {
            if before + 1 != *segno {
                return Err(Refusal::new(&segment_path(before + 1), None, "missing", INSPECT));
            }
        }
        // Back from the last one to the one that holds the first entry behind the snapshot.
        let mut needed = Vec::new();
        for segno in segments.iter().rev() {
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
                && segment.fields.prev_last_crc == from.last_crc
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
        Ok(Segment { bytes: file.read_all().map_err(unreadable(&path))?, header, fields })
    }

    fn walk(
        &mut self,
        path: &str,
        segment: &Segment,
        named_end: Option<(u64, u32)>,
        from: Chain,
        start_seq: u64,
    ) -> Result<(Walked, Option<Carried>), Refusal> {
        let walk = Walk {
            bytes: &segment.bytes,
            sizes: self.sizes,
            salt_tag: salt_tag(&segment.header),
            epoch: segment.header.epoch,
            born_len: segment.fields.born_len,
            named_end,
        };
        let mut last_body = None;
        let (past, found) = (&mut *self.past, &mut self.found);
        let walked = walk.run(from, |frame| {
            let header = &frame.header;
            last_body = (header.count > 0).then(|| (header.count, frame.body.to_vec()));
            let mut seq = header.first_seq;
            for entry in Entries::new(frame.body) {
                let changes = entry.map_err(|error| error.to_string())?;
                if seq > start_seq {
                    found.entries += 1;
                    for Change { table, schema, key, value } in &changes {
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

    fn end(segno: u64, segment: &Segment, walked: &Walked, body: Option<Carried>) -> End {
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
        {
            end.valid_len = at;
            end.chain = Chain { wall_ms: walked.chain.wall_ms, ..before };
            end.carry = body;
        }
        end
    }
}

/// Deletes, oldest first, the segments that hold nothing behind `needed_from`; a segment is known to end where the
/// next one begins, so the last one always stays.
pub fn drop_segments(storage: &dyn Storage, needed_from: u64) -> io::Result<()> {
    let segments = numbers(storage, JOURNAL_DIR, ".log")?;
    let mut dropped = false;
    for (segno, next) in segments.iter().zip(segments.iter().skip(1)) {
        let mut block = [0; HEADER_BYTES];
        storage.open(&segment_path(*next))?.read_at(&mut block, 0)?;
        let header = Header::read(FileKind::Segment, &block).map_err(io::Error::other)?;
        let first_seq = SegmentFields::read(&header.by_kind).map_or(0, |fields| fields.first_seq);
        if first_seq > needed_from + 1 || first_seq == 0 {
            break;
        }
        storage.unlink(&segment_path(*segno))?;
        dropped = true;
    }
    if dropped { storage.sync_dir(JOURNAL_DIR) } else { Ok(()) }
}

/// Reads the past of a directory that is in use, without locking or changing it.
pub fn look(storage: &dyn Storage, sizes: Sizes, past: &mut dyn Past) -> Result<Found, Refusal> {
    let segments = numbers(storage, JOURNAL_DIR, ".log").map_err(unreadable(JOURNAL_DIR))?;
    let snapshots = numbers(storage, SNAPSHOT_DIR, ".snap").map_err(unreadable(SNAPSHOT_DIR))?;
    let none = || Refusal::new(IDENTITY, None, "there is none: this is no data directory in use", INSPECT);
    let identity = IdentityFile::open(storage).map_err(unreadable(IDENTITY))?.ok_or_else(none)?;
    let identity = identity.map_err(|error| Refusal::new(IDENTITY, None, error, INSPECT))?;
    let found = Found { first_start: false, entries: 0, records: 0, seq: 0, torn: 0, warnings: Vec::new() };
    let (cluster, timeline) = (identity.cluster(), identity.timeline());
    let mut reading = Reading { storage, sizes, past, cluster, timeline, found, wall_ms: 0 };
    let end = reading.all(&segments, &snapshots, identity.newest())?;
    Ok(Found { seq: end.seq, torn: end.torn, ..reading.found })
}
