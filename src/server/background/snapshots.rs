//! Takes snapshots when they are due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::task::{AnyError, TICK};
use crate::engine::Engine;
use crate::engine::mailbox::TableReader;
use crate::journal::context::JournalContext;
use crate::journal::format::buckets::BUCKETS;
use crate::journal::snapshot::run::{SnapshotRun, Unnamed};
use crate::journal::snapshot::schedule::{Situation, SnapshotSchedule};
use crate::journal::snapshot::status::{Named, Saved, Tail};
use crate::registry::ReadBuckets;
use crate::registry::outbox::actor::Blank;
use crate::registry::tables::kept;
use crate::system::pace::Pace;
use crate::system::scheduling::{self, BackgroundPolicy};

/// How long a snapshot waits for the event log. A disk on which that cannot be written must not fill with segments.
const EVENTS_WAIT: Duration = Duration::from_secs(10);
const EVENTS_WAIT_LOW: Duration = Duration::from_secs(2);

/// Takes snapshots when they are due, and a last one when `ending` is set.
pub(super) async fn run(engine: &Engine, context: &JournalContext, ending: &Arc<AtomicBool>) {
    if let Err(error) = scheduling::background(BackgroundPolicy::Nice) {
        tracing::debug!(%error, "cannot lower the priority of snapshots, they run at normal priority");
    }
    let config = &engine.services.config;
    let threshold = config.journal.fitted_to(&config.data_dir).snapshot_bytes;
    let mut schedule = SnapshotSchedule::new(threshold, engine.journal.stats().frame_bytes);
    let mut waited = Duration::ZERO;
    loop {
        let is_stopping = ending.load(Ordering::Relaxed);
        let stats = engine.journal.stats();
        let Saved { newest, tail, .. } = *engine.saved.lock();
        let situation = Situation {
            framed: stats.frame_bytes,
            is_low: stats.low,
            newest_bytes: newest.map_or(0, |newest| newest.bytes),
            tail,
            is_stopping,
        };
        if let Some(due) = schedule.due(&situation, waited) {
            if due.needs_entry && engine.outbox.ask(Blank).await.is_err() {
                // Not even a blank entry fits, so a snapshot would equal the last one.
                schedule.failed(false, waited);
            } else {
                let hurry = hurry_rule(engine, Arc::clone(ending), due.hurry_at);
                match save(engine, context, hurry).await {
                    Ok(framed) => schedule.taken(framed, situation.is_low, waited),
                    Err(is_disproved) => schedule.failed(is_disproved, waited),
                }
            }
        }
        if is_stopping {
            return;
        }
        waited += TICK;
        tokio::time::sleep(TICK).await;
    }
}

/// Says whether a snapshot that is being taken must hurry: space is low, the journal has grown to `hurry_at`, or the
/// server stops.
fn hurry_rule(engine: &Engine, ending: Arc<AtomicBool>, hurry_at: u64) -> impl Fn() -> bool + 'static {
    let journal = engine.journal.clone();
    move || {
        let stats = journal.stats();
        stats.low || stats.frame_bytes > hurry_at || ending.load(Ordering::Relaxed)
    }
}

/// Takes one snapshot and records how that went. Returns the bytes framed by then.
///
/// Errors: whether the snapshot disagreed with the journal.
async fn save(
    engine: &Engine,
    context: &JournalContext,
    hurry: impl Fn() -> bool + 'static,
) -> Result<u64, bool> {
    let begun = engine.clock.now();
    let started = engine.clock.steady();
    match take_snapshot(engine, context, Pace::new(engine.clock.clone(), hurry)).await {
        Ok(bytes) => {
            let took = engine.clock.steady().saturating_duration_since(started);
            let mut saved = engine.saved.lock();
            *saved = Saved {
                newest: Some(Named { bytes, begun }),
                taken: saved.taken + 1,
                took,
                failing: false,
                tail: Tail::default(),
            };
            Ok(engine.journal.stats().frame_bytes)
        }
        Err(error) => {
            SnapshotRun::abandon(context);
            engine.saved.lock().failing = true;
            let is_disproved = matches!(error.downcast_ref(), Some(Unnamed::Disproved(_)));
            tracing::error!(%error, disproved = is_disproved, "cannot take a snapshot, retrying");
            Err(is_disproved)
        }
    }
}

/// Writes all tables, waits until the journal is durable up to the end of the snapshot, and names it. Returns its size.
async fn take_snapshot(
    engine: &Engine,
    context: &JournalContext,
    pace: Pace<impl Fn() -> bool + 'static>,
) -> Result<u64, AnyError> {
    let mut run = SnapshotRun::begin(context, &engine.journal)?.paced(move || pace.step());
    for table in &engine.tables {
        save_table(&mut run, table).await?;
    }
    let finished = run.finish()?;
    let end = finished.end_seq();
    engine.journal.wait(end).await?;
    // Naming it deletes segments, from which the event log would be completed after a crash.
    let wait = if engine.journal.stats().low { EVENTS_WAIT_LOW } else { EVENTS_WAIT };
    if !engine.event_log.settle(end, wait).await {
        tracing::error!(
            "the log of events cannot be written: events may be lost, so that the journal keeps its room"
        );
    }
    let bytes = finished.name(&kept)?;
    tracing::info!(bytes, end, "snapshot taken");
    Ok(bytes)
}

/// Adds all buckets of one table to the snapshot.
async fn save_table(run: &mut SnapshotRun, table: &TableReader) -> Result<(), AnyError> {
    let mut from = 0;
    while from < BUCKETS {
        let (records, next) = table.owner.send(ReadBuckets { from }).await?;
        run.add((table.number, table.schema), from, records, next)?;
        from = next;
    }
    Ok(())
}
