//! `portcullis data backup` of a running server: the part that the server does itself.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::audit::event::Event;
use crate::engine::{Engine, Fault, MayChange};
use crate::flow::admin::Admin;
use crate::flow::refusal::FlowError;
use crate::journal::recovery::report::RecoveryReport;

/// Copies the data directory into `to` on a blocking thread. A log line says how it ended, also if the command that has asked
/// is gone by then.
///
/// Security: who has such a copy, and the keys, can forge tokens, so the log of security events names the operator and the
/// place before anything is copied. A log that cannot be written refuses no backup: a failing disk needs one most.
pub(super) async fn back_up(
    engine: &Arc<Engine>,
    operator: &Admin,
    to: PathBuf,
    with_keys: bool,
) -> Result<Value, FlowError> {
    let keys = if with_keys { "with the keys" } else { "without the keys" };
    let place = to.display().to_string();
    let what = format!("to {place}, {keys}");
    let event = Event::BackedUp;
    if let Err(error) = operator.record_what(engine, MayChange::LINE_ALONE, event, &"data", &what).await {
        tracing::warn!(%error, "no line of the log of security events says that a backup is made {what}");
    }
    let copier = Arc::clone(engine);
    let finished = tokio::task::spawn_blocking(move || copy(&copier, &to)).await;
    let copied = finished.map_err(|_| Fault::Ending)?;
    match &copied {
        Ok(copied) => tracing::info!(sequence = copied.seq, "copied the data for a backup to {place}"),
        Err(error) => tracing::warn!(%error, "cannot copy the data for a backup to {place}"),
    }
    let copied = copied.map_err(Fault::Backup)?;
    Ok(json!({"sequence": copied.seq, "records": copied.records, "entries": copied.entries}))
}

/// Copies into `to`, which is locked meanwhile: a command that was interrupted leaves this at work, and the next one must not
/// clear the directory under it.
fn copy(engine: &Engine, to: &Path) -> std::io::Result<RecoveryReport> {
    let lock = File::open(to)?;
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => {
            return Err(std::io::Error::other("another backup into this directory is at work"));
        }
        // Some network file systems lock no directories.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    engine.back_up(to)
}
