//! Events for an embedding program, one after the other.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

use super::{Event, EventCursor, EventGap, PAGE_MAX, Wanted, read};
use crate::journal::event_log::EventLog;

/// The delay after the log could not be read.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Events as they happen: [`Engine::events`](crate::Engine::events). Ends with the engine.
pub struct Events {
    log: EventLog,
    watch: watch::Receiver<u64>,
    after: Option<EventCursor>,
    /// Events that were read and not given out.
    ready: VecDeque<Event>,
    gap: Option<EventGap>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("after", &self.after).finish_non_exhaustive()
    }
}

impl Events {
    pub(super) fn new(log: EventLog, after: Option<EventCursor>) -> Self {
        let watch = log.watch();
        Self { log, watch, after, ready: VecDeque::new(), gap: None }
    }

    /// Waits for the next event. `None` once the engine has stopped and all its events were given out.
    ///
    /// A future that is dropped loses none. Call it on a runtime of tokio, as those of actix are.
    ///
    /// Errors: events before the next one are missing. The one after them comes with the next call.
    pub async fn next(&mut self) -> Option<Result<Event, EventGap>> {
        loop {
            if let Some(gap) = self.gap.take() {
                return Some(Err(gap));
            }
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            // First of all: whatever happens from here on, the end of the log too, wakes this.
            self.watch.mark_unchanged();
            let has_ended = self.log.has_ended();
            match read(&self.log, self.after, Wanted::ALL, PAGE_MAX).await {
                Ok(page) => {
                    let has_moved = self.after != page.next;
                    self.after = page.next;
                    self.gap = page.gap;
                    self.ready = page.events.into();
                    if has_moved || self.gap.is_some() || !self.ready.is_empty() {
                        continue;
                    }
                }
                // Its directory may be gone with it.
                Err(_) if has_ended => return None,
                Err(error) => {
                    tracing::error!(%error, "cannot read the log of events, retrying");
                    tokio::time::sleep(RETRY_DELAY).await;
                    continue;
                }
            }
            if has_ended || self.watch.changed().await.is_err() {
                return None;
            }
        }
    }
}
