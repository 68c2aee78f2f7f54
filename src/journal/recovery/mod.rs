//! The one way up: what the directory holds becomes the state again, or the server refuses to start and says why.
//!
//! Nothing is ever appended to an old segment: a new life begins with a segment of its own, which carries over the one
//! frame of which it cannot be told whether it was acknowledged or only stood in the page cache.

pub mod replay;
pub mod report;
pub(crate) mod segment_scan;
pub mod verdict;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::append::handle::Handle;
use super::append::preparer::Preparer;
use super::append::segment_log::{Begun, Log, Spares, fill};
use super::append::writer::{Running, Writer};
use super::context::{JournalContext, salt_tag};
use super::format::frame::{self, FrameHeader, Kind};
use super::format::header::{FileKind, HEADER_BYTES};
use super::format::identity_file::{IdentityFile, State};
use super::format::layout::{
    BUILDING, IDENTITY, JOURNAL_DIR, QUARANTINE_DIR, SNAPSHOT_DIR, SegmentFields, Sizes, numbers,
    segment_path,
};
use super::recovery::replay::{End, RecoveryTarget, Replay};
use super::snapshot;
use crate::journal::recovery::report::{
    FIX_DISK, INSPECT, RecoveryReport, Refusal, ReplayTarget, unreadable,
};
use crate::journal::snapshot::status::Tail;
use crate::storage::{Storage, write_whole};
use crate::system::clock::{Clock, Timestamp};
use crate::system::fail_stop::FailStop;
use crate::system::random::Random;
use crate::system::scheduling::Machine;
use crate::system::seeded_bug::{Bug, seeded};

/// What recovery stands on.
pub struct Options {
    /// Where files are.
    pub storage: Arc<dyn Storage>,
    /// Sizes of the format.
    pub sizes: Sizes,
    /// Time; its floor is raised to what the journal has seen.
    pub clock: Clock,
    /// Chance.
    pub random: Arc<Random>,
    /// Start although the journal is more than a day ahead of the system's clock.
    pub accept_clock_floor: bool,
}

/// A journal that is ready for its first entry.
pub struct Recovered {
    /// For the actors.
    pub handle: Handle,
    /// Turns entries into frames. A thread once [`Recovered::start`] was called.
    pub writer: Writer,
    /// What was found.
    pub found: RecoveryReport,
    pub(super) preparer: Preparer,
    pub(super) lock: Box<dyn Send + Sync>,
}

/// A running journal: keeps the directory locked until it is closed or dropped.
pub struct Journal {
    writer: Option<Running>,
    life: JournalContext,
    _lock: Box<dyn Send + Sync>,
}

impl Journal {
    /// Marks a clean stop. Nothing can be appended any more.
    pub fn close(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.close();
        }
    }

    /// Ends without the mark of a clean stop, after a fault of the engine. Entries that were appended are still written.
    pub fn abandon(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abandon();
        }
    }

    /// What files of this life have in common: for snapshots.
    pub const fn life(&self) -> &JournalContext {
        &self.life
    }
}

impl Recovered {
    /// Starts the journal's threads.
    pub fn start(
        self,
        fail_stop: &FailStop,
        machine: Machine,
    ) -> io::Result<(Handle, Journal, RecoveryReport)> {
        let life = self.preparer.life.clone();
        self.preparer.run()?;
        let writer = self.writer.run(fail_stop, machine)?;
        Ok((self.handle, Journal { writer: Some(writer), life, _lock: self.lock }, self.found))
    }

    /// Makes one spare segment, as the thread of its own would: for whoever steps the writer by hand.
    pub fn prepare(&self) -> io::Result<()> {
        self.preparer.step()
    }

    /// What files of this life have in common.
    pub const fn life(&self) -> &JournalContext {
        &self.preparer.life
    }
}

/// Reads the past into `past` and begins a new life.
pub fn recover(options: Options, past: &mut dyn ReplayTarget) -> Result<Recovered, Refusal> {
    let Options { storage, sizes, clock, random, accept_clock_floor } = options;
    let lock = storage.lock().map_err(|error| {
        Refusal::new("LOCK", None, error, "stop the other process, or give this one a --data-dir of its own")
    })?;
    // A process that was killed may have left names that the disk does not have yet; what is built on them must not
    // outlive them.
    for dir in [JOURNAL_DIR, SNAPSHOT_DIR] {
        storage.create_dir(dir).map_err(unreadable(dir))?;
        sweep_temporaries(&*storage, dir).map_err(unreadable(dir))?;
        storage.sync_dir(dir).map_err(unreadable(dir))?;
    }
    storage.sync_dir("").map_err(unreadable(IDENTITY))?;
    let segments = numbers(&*storage, JOURNAL_DIR, ".log").map_err(unreadable(JOURNAL_DIR))?;
    let snapshots = numbers(&*storage, SNAPSHOT_DIR, ".snap").map_err(unreadable(SNAPSHOT_DIR))?;
    let identity = match IdentityFile::open_to_write(&*storage).map_err(unreadable(IDENTITY))? {
        Some(read) => Some(read.map_err(|error| Refusal::new(IDENTITY, None, error, INSPECT))?),
        None if !storage.list(BUILDING).map_err(unreadable(BUILDING))?.is_empty() => {
            let what = "a restore or salvage into this directory was not finished";
            return Err(Refusal::new(
                BUILDING,
                None,
                what,
                "run the same command again: it goes on with it or begins anew",
            ));
        }
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
    let mut reading = Replay {
        storage: &*storage,
        sizes,
        past,
        cluster: identity.as_ref().map_or([0; 16], IdentityFile::cluster),
        timeline: identity.as_ref().map_or(1, IdentityFile::timeline),
        found: RecoveryReport::default(),
        wall_ms: 0,
        until: RecoveryTarget::default(),
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
                    let cluster = random.bytes().map_err(|e| Refusal::new(IDENTITY, None, e, FIX_DISK))?;
                    IdentityFile::form(&*storage, cluster, 1, clock.now().as_millis())
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
    let Replay { mut found, wall_ms, .. } = reading;
    raise_floor(&clock, Timestamp(wall_ms), accept_clock_floor, &mut found)?;
    if end.torn > 0 {
        keep_torn(&*storage, &end).map_err(unreadable(QUARANTINE_DIR))?;
    }
    found.seq = end.seq;
    found.torn = end.torn;
    found.wall_ms = wall_ms;

    let life = JournalContext {
        storage: Arc::clone(&storage),
        sizes,
        clock,
        random,
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
    found.newest = snapshot::newest(&*storage);
    let handle = Handle::new(sizes, end.seq, found.newest.map_or(0, |newest| newest.bytes));
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

fn raise_floor(
    clock: &Clock,
    floor: Timestamp,
    accept: bool,
    found: &mut RecoveryReport,
) -> Result<(), Refusal> {
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
    if !seeded(Bug::FloorNotRaised) {
        clock.raise_floor(floor);
    }
    Ok(())
}

fn keep_torn(storage: &dyn Storage, end: &End) -> io::Result<()> {
    storage.create_dir(QUARANTINE_DIR)?;
    let name = format!("{:016x}-at-{}.torn", end.segno, end.torn_at);
    write_whole(storage, QUARANTINE_DIR, &name, &end.torn_bytes)
}

/// Makes the segment of a new life, with fence and carry in it before it has its name.
fn begin(life: &JournalContext, end: &End, wall_ms: u64) -> io::Result<Begun> {
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
    let file = life.storage.open_log(&temporary)?;
    life.storage.rename(&temporary, &path)?;
    life.storage.sync_dir(JOURNAL_DIR)?;
    Ok(Begun { file, segno, salt_tag, offset: born_len, chain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::append::segment_log::usable;
    use crate::simulation::golden::{Run, SIZES, damaged, disk_of, frozen};
    use crate::storage::simulated::SimStorage;

    #[test]
    fn what_was_cut_off_is_kept_and_nothing_else() {
        let torn = damaged("fenced", "fill journal/0000000000000002.log 5632 5800");
        let found = Run::begin(&torn).unwrap().journal.found;
        let kept = torn.peek("quarantine/0000000000000002-at-5632.torn").unwrap();
        assert_eq!((found.torn, kept.len(), &kept[..168]), (779, 779, &[0xA5; 168][..]));
        let sound = disk_of(&frozen("fenced"));
        assert_eq!(Run::begin(&sound).unwrap().journal.found.torn, 0);
        assert_eq!(sound.list(QUARANTINE_DIR).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_start_has_the_room_of_its_segment_and_of_one_that_stands_ready() {
        let life = Run::begin(&SimStorage::new()).unwrap();
        // Behind header and fence, less what the switch to the next segment can waste.
        let here = SIZES.segment - HEADER_BYTES as u64 - SIZES.align as u64 - SIZES.frame_max();
        assert_eq!(usable(SIZES), SIZES.segment - HEADER_BYTES as u64 - SIZES.frame_max());
        assert_eq!(life.journal.handle.stats().room, here + usable(SIZES));
    }
}
