//! Security events: counted for the metrics, one line each in the log and in the chained files of `audit.dir`.
//!
//! Never in an event: a password, a token, a whole address of an unknown name, a body.

pub mod event;
pub mod line;
pub mod log;
pub mod read;
pub mod verify;

use std::sync::atomic::{AtomicU64, Ordering};

pub use line::Line;

use crate::audit::event::{Event, Note};
use crate::system::clock::Clock;

/// Takes down events, and knows how often each happened since the start.
#[derive(Debug)]
pub struct AuditLog {
    /// In the order of [`Event::ALL`].
    counts: [AtomicU64; Event::ALL.len()],
    clock: Clock,
    /// The chained files.
    pub log: log::Log,
}

impl AuditLog {
    /// Nothing happened yet.
    pub fn new(clock: Clock) -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), clock, log: log::Log::default() }
    }

    /// Counts an event and writes its line.
    pub fn record(&self, Note { event, line }: Note) {
        self.count(event);
        tracing::info!(
            target: "portcullis::event",
            event = event.name(),
            subject = line.subject,
            network = line.network,
            request.id = line.request_id,
            reason = line.reason,
            "security event"
        );
        self.log.note(Line { time: self.clock.now(), ..line });
    }

    /// As [`AuditLog::record`], and waits until the line is on the disk: for what changes who may do what.
    pub async fn record_durably(&self, note: Note) {
        self.record(note);
        self.log.written().await;
    }

    /// Counts an event without a line of its own: what a flood of refusals must not turn into a flood of writes.
    pub fn count(&self, event: Event) {
        if let Some(count) = self.counts.get(event as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All counts that are not zero.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let counted = Event::ALL.iter().zip(&self.counts);
        let counts = counted.map(|(event, count)| (event.name(), count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_counted_in_its_own_place() {
        assert!(Event::ALL.iter().enumerate().all(|(place, event)| *event as usize == place));
    }
}
