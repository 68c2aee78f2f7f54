//! Saves the rate limiter's table, so that a restart forgives nobody.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{AnyError, TICK};
use crate::engine::Engine;
use crate::registry::throttle::actor::ReadPiece;
use crate::registry::throttle::file::Saver;

/// Ticks between two saves.
const TICKS: u32 = 300;
/// The fewest ticks between two saves. A snapshot brings a save with it; frequent snapshots must not make it write more.
const TICKS_MIN: u32 = 100;

/// Saves the table now and then, and once more when `ending` is set.
pub(super) async fn run(engine: &Engine, mut saver: Saver, ending: &AtomicBool) {
    let (mut ticks, mut seen) = (TICKS_MIN, 0);
    loop {
        let last = ending.load(Ordering::Relaxed);
        let taken = engine.saved.lock().taken;
        if last || ticks >= TICKS || (taken != seen && ticks >= TICKS_MIN) {
            (ticks, seen) = (0, taken);
            match save_limiter(engine, &mut saver, last).await {
                Ok(bytes) => tracing::debug!(bytes, "limiter saved"),
                Err(error) => tracing::warn!(%error, "the limiter could not be saved; it is tried again"),
            }
        }
        if last {
            return;
        }
        ticks += 1;
        tokio::time::sleep(TICK).await;
    }
}

async fn save_limiter(engine: &Engine, saver: &mut Saver, must: bool) -> Result<usize, AnyError> {
    let at = engine.clock.now();
    let (mut records, mut from) = (Vec::new(), Some(0));
    while let Some(begin) = from {
        let piece = engine.services.throttle.send(ReadPiece { from: begin }).await?;
        records.extend_from_slice(&piece.bytes);
        from = piece.next;
    }
    Ok(saver.save(&records, at, must)?)
}
