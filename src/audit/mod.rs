#![doc = include_str!("README.md")]

pub mod copy;
pub mod ends;
pub mod event;
pub mod fold;
pub mod line;
pub mod log;
pub mod names;
pub mod read;
pub mod tail;
pub mod top;
pub mod tops;
pub mod verify;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};

pub use line::Line;

use crate::audit::event::{Event, Note};
use crate::audit::tops::{TopCounts, Tops, is_watched};
use crate::system::clock::Clock;
use crate::system::lock::Mutex;
use crate::value::network::Network;

/// Records security events and counts how often each one happened since the start.
#[derive(Debug)]
pub struct AuditLog {
    /// Counts in the order of [`Event::ALL`].
    counts: [AtomicU64; Event::ALL.len()],
    /// How many of them named an account that exists.
    at_accounts: [AtomicU64; Event::ALL.len()],
    tops: Mutex<TopCounts>,
    clock: Clock,
    /// The chained files.
    pub log: log::Log,
}

impl AuditLog {
    /// Returns a log in which nothing has happened yet. Its files are opened by [`log::Log::start`].
    pub fn new(clock: Clock) -> Self {
        let log = log::Log::new(clock.steady());
        let [counts, at_accounts] = [(); 2].map(|()| std::array::from_fn(|_| AtomicU64::new(0)));
        Self { counts, at_accounts, tops: Mutex::default(), clock, log }
    }

    /// Counts an event. Queues its line, or adds it to a sum if its lines have used up their bound.
    pub fn record(&self, note: Note) {
        self.tally(note.event);
        self.write(note, false);
    }

    /// Does the second half of [`AuditLog::record`], for an event that [`AuditLog::tally`] has counted.
    pub fn record_tallied(&self, note: Note) {
        self.write(note, false);
    }

    /// Counts an event, queues its line, and returns once the line is synced. For events that change permissions or
    /// credentials.
    ///
    /// Errors: the line is not on disk yet.
    pub async fn record_durably(&self, note: Note) -> Result<(), log::Unwritable> {
        self.tally(note.event);
        if self.write(note, true) { self.log.written().await } else { Ok(()) }
    }

    /// Counts an event of `network` that has no line of its own, only one sum of its minute. A flood of refusals must not
    /// become a flood of writes.
    pub fn count(&self, event: Event, network: Option<Network>) {
        self.tally(event);
        self.log.add_to_sum(event);
        // Skips the count if another thread holds the lock: in a flood, a sample of the networks is enough.
        if let Some(network) = network
            && let Some(mut tops) = self.tops.try_lock()
        {
            tops.add_network(event, network);
        }
    }

    /// Returns the accounts and networks that `event` named most often within the last one or two windows.
    pub fn tops(&self, event: Event) -> Tops {
        self.tops.lock().of(event)
    }

    /// Begins a new window of [`AuditLog::tops`].
    pub fn turn_tops(&self) {
        self.tops.lock().turn();
    }

    /// Counts an event.
    pub fn tally(&self, event: Event) {
        if let Some(count) = self.counts.get(event as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the name and count of each event, also of those that never happened.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        named(&self.counts)
    }

    /// Returns how many of [`AuditLog::counts`] named an account that exists.
    pub fn counts_at_accounts(&self) -> Vec<(&'static str, u64)> {
        named(&self.at_accounts)
    }

    /// Queues the line of an event, if it has one, and returns whether it has. `is_change` says that it changes
    /// permissions or credentials.
    fn write(&self, note: Note, is_change: bool) -> bool {
        if note.names_account
            && let Some(count) = self.at_accounts.get(note.event as usize)
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if is_watched(note.event) {
            self.tops.lock().add(&note);
        }
        if !self.log.admits(&note, is_change, self.clock.steady()) {
            return false;
        }
        let line = note.into_line(self.clock.now());
        line.announce();
        self.log.note(line);
        true
    }
}

fn named(counts: &[AtomicU64]) -> Vec<(&'static str, u64)> {
    let counted = Event::ALL.iter().zip(counts);
    counted.map(|(event, count)| (event.name(), count.load(Ordering::Relaxed))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_counted_in_its_own_place() {
        assert!(Event::ALL.iter().enumerate().all(|(place, event)| *event as usize == place));
    }

    /// The page lists what a stranger can cause to be written. Its numbers are those of the code, and no event is
    /// missing.
    #[test]
    fn the_page_bounds_every_event_by_its_cause_with_the_numbers_of_the_code() {
        use crate::audit::event::Cause;
        let page = include_str!("README.md");
        let table = page.split("## What a stranger can cause to be written").nth(1).unwrap();
        let row = |begins: &str| {
            let row = table.lines().find(|line| line.starts_with(&format!("| {begins}")));
            row.unwrap_or_else(|| panic!("no row begins with {begins:?}"))
        };
        for (cause, begins) in [
            (Cause::Stranger, "a line of a stranger's event"),
            (Cause::AtAccount, "a line of an event at an account"),
            (Cause::Holder, "a line of a holder's event"),
            (Cause::Operator, "a line of an operator's event"),
        ] {
            let row = row(begins);
            let named = row.split('`').skip(1).step_by(2);
            let named: std::collections::BTreeSet<&str> = named.filter(|name| name.contains('.')).collect();
            let events = Event::ALL.into_iter().filter(|event| event.cause() == cause);
            let events: std::collections::BTreeSet<&str> = events.map(Event::name).collect();
            assert_eq!(named, events, "the row {begins:?} names other events than those with this cause");
        }
        for (begins, numbers) in [
            (
                "a line of a stranger's event",
                &[fold::NETWORK_LINES, fold::SITE_LINES, fold::STRANGERS_LINES, fold::LINES_A_SECOND][..],
            ),
            (
                "a line of an event at an account",
                &[fold::ACCOUNT_LINES, fold::ACCOUNTS_LINES, fold::LINES_A_SECOND],
            ),
            ("a line of a holder's event", &[fold::HOLDER_LINES, fold::HOLDERS_LINES]),
        ] {
            for number in numbers {
                let words: Vec<&str> = row(begins).split(|c: char| !c.is_ascii_digit()).collect();
                assert!(words.contains(&number.to_string().as_str()), "{begins}: {number}");
            }
        }
        for begins in
            ["a file of this log", "a line of the process's log", "a journal entry", "a mail", "a cell"]
        {
            row(begins);
        }
    }
}
