//! The commands that test mails and alerts, the transport of mails, and whether receivers of calls can be reached.

pub(super) mod alert;
pub(super) mod mail;
pub(super) mod receivers;
pub(super) mod webhook;

use super::Failure;

/// Runs `work` on a runtime of its own.
fn run_async<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::fault)?;
    let done = runtime.block_on(work);
    // Do not wait for a DNS look-up that is still running.
    runtime.shutdown_background();
    Ok(done)
}
