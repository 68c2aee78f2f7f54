#![doc = include_str!("README.md")]

pub mod event;
pub mod line;
pub mod log;
pub mod read;
pub mod verify;

use std::sync::atomic::{AtomicU64, Ordering};

pub use line::Line;

use crate::audit::event::{Event, Note};
use crate::system::clock::Clock;

/// Records security events and counts how often each one happened since the start.
#[derive(Debug)]
pub struct AuditLog {
    /// Counts in the order of [`Event::ALL`].
    counts: [AtomicU64; Event::ALL.len()],
    clock: Clock,
    /// The chained files.
    pub log: log::Log,
}

impl AuditLog {
    /// Returns a log in which nothing has happened yet. Its files are opened by [`log::Log::start`].
    pub fn new(clock: Clock) -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), clock, log: log::Log::default() }
    }

    /// Counts an event and queues its line.
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

    /// Counts an event, queues its line, and returns once the line is synced. For events that change permissions or
    /// credentials.
    pub async fn record_durably(&self, note: Note) {
        self.record(note);
        self.log.written().await;
    }

    /// Counts an event without writing a line. A flood of refusals must not become a flood of writes.
    pub fn count(&self, event: Event) {
        if let Some(count) = self.counts.get(event as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the name and count of each event that has happened.
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
