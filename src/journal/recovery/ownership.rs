//! Ownership: locks a directory, reads it, and begins a new run in it.
//!
//! ```text
//! lock ──▶ read ──▶ own: clock floor ▶ quarantine ▶ (first start) ▶ new segment ▶ IDENTITY ▶ handle and writer
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::new_segment::begin_segment;
use super::replay::{End, LockId, PastRead, read_locked};
use super::report::{FIX_DISK, RecoveryReport, Refusal, ReplayTarget, unreadable};
use super::{Options, Recovered};
use crate::journal::append::handle::Handle;
use crate::journal::append::preparer::Preparer;
use crate::journal::append::segment_log::{FirstSegment, Log, Spares};
use crate::journal::append::writer::Writer;
use crate::journal::context::JournalContext;
use crate::journal::format::identity_file::{IdentityFile, State};
use crate::journal::format::layout::{
    IDENTITY, JOURNAL_DIR, QUARANTINE_DIR, SNAPSHOT_DIR, START_ROOM, segment_path,
};
use crate::journal::snapshot;
use crate::storage::{Storage, unlink_if_there, write_whole};
use crate::system::clock::{Clock, Timestamp};
use crate::system::seeded_bug::{Bug, seeded};

/// A directory that this process has locked. The lock is held until this or what comes of it is dropped.
pub struct Ownership {
    options: Options,
    lock: Box<dyn Send + Sync>,
    lock_id: LockId,
}

impl Ownership {
    /// Locks a directory, removes the temporary files of the previous run and makes the names in it durable.
    ///
    /// Errors: another process holds the lock, or the directory cannot be written.
    pub fn lock(options: Options) -> Result<Self, Refusal> {
        let storage = &*options.storage;
        let lock = storage.lock().map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => {
                let next = "stop it first, or name a --data-dir of its own for this one";
                Refusal::new("LOCK", None, error, next)
            }
            _ => unreadable("LOCK")(error),
        })?;
        // A killed process may have left names that the disk does not have yet. Nothing may be built on a name that a
        // crash can still take away.
        for dir in [JOURNAL_DIR, SNAPSHOT_DIR] {
            storage.create_dir(dir).map_err(unreadable(dir))?;
            remove_temporaries(storage, dir).map_err(unreadable(dir))?;
            storage.sync_dir(dir).map_err(unreadable(dir))?;
        }
        storage.sync_dir("").map_err(unreadable(IDENTITY))?;
        Ok(Self { options, lock, lock_id: LockId::new() })
    }

    /// Reads everything that the directory holds into `target`. Changes nothing.
    pub fn read(&self, target: &mut dyn ReplayTarget) -> Result<PastRead, Refusal> {
        read_locked(&*self.options.storage, self.options.sizes, target, &self.lock_id)
    }

    /// Begins a new run after `past`: raises the clock's floor, moves a torn tail into quarantine, forms the
    /// installation at a first start, begins a segment, and writes both slots of `IDENTITY`. `target` is the one that
    /// `past` was read into.
    ///
    /// Errors: the past was read without this lock and the directory has changed since, or the clock is more than a day
    /// behind; nothing was changed then. Or the disk failed.
    pub fn own(self, past: PastRead, target: &mut dyn ReplayTarget) -> Result<Recovered, Refusal> {
        let Self { options, lock, lock_id } = self;
        let past = past.confirm(&*options.storage, &lock_id, target)?;
        let PastRead { mut report, end, directory, .. } = past;
        let floor = Timestamp(report.wall_ms);
        raise_floor(&options.clock, floor, options.accept_clock_floor, &mut report)?;
        keep_torn(&*options.storage, &end).map_err(unreadable(QUARANTINE_DIR))?;
        let identity = match directory.identity {
            Some(identity) if !report.first_start => identity,
            forming => form_installation(&options, forming, &directory.segments, target)?,
        };
        let context = JournalContext {
            storage: options.storage,
            sizes: options.sizes,
            clock: options.clock,
            random: options.random,
            cluster: identity.cluster(),
            timeline: identity.timeline(),
            epoch: end.epoch + 1,
        };
        let segment = begin_with_room(&context, &end, floor);
        let segment = segment.map_err(unreadable(&segment_path(end.segno + 1)))?;
        let identity = go_live(&context, identity, segment.segno, end.seq).map_err(unreadable(IDENTITY))?;
        report.newest = snapshot::newest(&*context.storage);
        Ok(build(context, identity, segment, end.seq, report, lock))
    }
}

fn remove_temporaries(storage: &dyn Storage, dir: &str) -> io::Result<()> {
    for name in storage.list(dir)? {
        let path = format!("{dir}/{name}");
        if name.ends_with(".tmp") && path != START_ROOM {
            storage.unlink(&path)?;
        }
    }
    Ok(())
}

/// Begins the first segment. On a full disk it takes the room that an earlier run has kept for this start.
fn begin_with_room(context: &JournalContext, end: &End, floor: Timestamp) -> io::Result<FirstSegment> {
    let full = match begin_segment(context, end, floor) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => error,
        begun => return begun,
    };
    let storage = &*context.storage;
    let path = segment_path(end.segno + 1);
    let has_name = storage.open(&path).is_ok();
    if has_name || storage.open(START_ROOM).is_err() {
        return Err(full);
    }
    unlink_if_there(storage, &format!("{path}.tmp"))?;
    storage.unlink(START_ROOM)?;
    storage.sync_dir(JOURNAL_DIR)?;
    begin_segment(context, end, floor)
}

/// Raises the clock's floor to the latest time that the journal has seen, so that nothing that had expired revives.
///
/// Errors: the journal is more than 24 h ahead of the system's clock, and this was not accepted.
fn raise_floor(
    clock: &Clock,
    floor: Timestamp,
    accept: bool,
    report: &mut RecoveryReport,
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
            "set the clock right; if it is right now, make a new directory with portcullis data reset-clock-floor, or start with \
             --accept-clock-floor, which leaves sessions, links and locks alive for longer",
        ));
    }
    if ahead > Duration::from_mins(5) {
        report.warnings.push(format!(
            "the journal is {} s ahead of the system's clock: sessions, links and locks last longer until it has caught up",
            ahead.as_secs()
        ));
    }
    if !seeded(Bug::FloorNotRaised) {
        clock.raise_floor(floor);
    }
    Ok(())
}

/// Keeps the bytes of a torn frame, if there is one, for a person to look at.
fn keep_torn(storage: &dyn Storage, end: &End) -> io::Result<()> {
    if end.torn_bytes.is_empty() {
        return Ok(());
    }
    storage.create_dir(QUARANTINE_DIR)?;
    let name = format!("{:016x}-at-{}.torn", end.segno, end.torn_at);
    write_whole(storage, QUARANTINE_DIR, &name, &end.torn_bytes)
}

/// Does what only a first start does: writes `IDENTITY` as *forming* unless an earlier first start already has, lets
/// `target` make its keys, and removes the segments of that earlier start, in which nothing was acknowledged.
fn form_installation(
    options: &Options,
    forming: Option<IdentityFile>,
    segments: &[u64],
    target: &mut dyn ReplayTarget,
) -> Result<IdentityFile, Refusal> {
    let storage = &*options.storage;
    let identity = match forming {
        Some(identity) => identity,
        None => {
            let cluster = options.random.bytes();
            let cluster = cluster.map_err(|error| Refusal::new(IDENTITY, None, error, FIX_DISK))?;
            let created_ms = options.clock.now().as_millis();
            IdentityFile::form(storage, cluster, 1, created_ms).map_err(unreadable(IDENTITY))?
        }
    };
    target.first_start().map_err(unreadable("keys"))?;
    for segno in segments {
        storage.unlink(&segment_path(*segno)).map_err(unreadable(JOURNAL_DIR))?;
    }
    Ok(identity)
}

/// Writes both slots of `IDENTITY`: after a first start neither may say *forming* any more.
fn go_live(
    context: &JournalContext,
    mut identity: IdentityFile,
    segno: u64,
    seq: u64,
) -> io::Result<IdentityFile> {
    for _ in 0..2 {
        identity.write(context.epoch, segno, seq, State::Live)?;
    }
    Ok(identity)
}

/// Builds handle and writer over the run's first segment, and prepares one spare segment: without one, only essential
/// entries could be written.
fn build(
    context: JournalContext,
    identity: IdentityFile,
    segment: FirstSegment,
    seq: u64,
    mut report: RecoveryReport,
    lock: Box<dyn Send + Sync>,
) -> Recovered {
    let handle = Handle::new(context.sizes, seq, report.newest.map_or(0, |newest| newest.bytes));
    let spares = Arc::new(Spares::default());
    let preparer = Preparer {
        context: context.clone(),
        spares: Arc::clone(&spares),
        shared: Arc::clone(&handle.shared),
    };
    let writer = Writer::new(&handle, Log::new(context, identity, spares, segment));
    if let Err(error) = preparer.step() {
        report.warnings.push(format!("cannot prepare the next journal segment: {error}"));
    }
    Recovered { handle, writer, report, preparer, lock }
}
