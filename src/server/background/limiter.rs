//! Saves the rate limiter's table, so that a restart resets no limit.

use std::sync::atomic::{AtomicBool, Ordering};

use super::task::{AnyError, TICK};
use crate::engine::Engine;
use crate::registry::throttle::actor::ReadPiece;
use crate::registry::throttle::file::Saver;

/// Ticks between two saves.
const SAVE_TICKS: u32 = 300;
/// Minimum ticks between two saves. Each snapshot is followed by a save, but frequent snapshots must not cause more
/// writes.
const SAVE_TICKS_MIN: u32 = 100;

/// Saves the table at intervals and after snapshots, and a last time when `ending` is set.
pub(super) async fn run(engine: &Engine, mut saver: Saver, ending: &AtomicBool) {
    let mut ticks = SAVE_TICKS_MIN;
    let mut snapshots_seen = 0;
    loop {
        let is_last = ending.load(Ordering::Relaxed);
        let snapshots = engine.saved.lock().taken;
        let has_new_snapshot = snapshots != snapshots_seen;
        if is_last || ticks >= SAVE_TICKS || (has_new_snapshot && ticks >= SAVE_TICKS_MIN) {
            ticks = 0;
            snapshots_seen = snapshots;
            match save_table(engine, &mut saver, is_last).await {
                Ok(bytes) => tracing::debug!(bytes, "table of the rate limiter saved"),
                Err(error) => tracing::warn!(%error, "cannot save the table of the rate limiter, retrying"),
            }
        }
        if is_last {
            return;
        }
        ticks += 1;
        tokio::time::sleep(TICK).await;
    }
}

/// Reads the table piece by piece and writes its file. With `must` it writes even if nothing changed.
async fn save_table(engine: &Engine, saver: &mut Saver, must: bool) -> Result<usize, AnyError> {
    let at = engine.clock.now();
    let mut records = Vec::new();
    let mut from = Some(0);
    while let Some(begin) = from {
        let piece = engine.services.throttle.send(ReadPiece { from: begin }).await?;
        records.extend_from_slice(&piece.bytes);
        from = piece.next;
    }
    Ok(saver.save(&records, at, must)?)
}
