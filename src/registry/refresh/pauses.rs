//! Pauses: times in which no answer could leave, because the server was down or its disk stalled.
//!
//! A client whose answer was held up comes back with the spent token only after the pause. The grace counts the time in
//! which answers could leave, so that the outage does not look like a theft.

use std::collections::VecDeque;
use std::time::Duration;

use crate::system::clock::Timestamp;

/// The most pauses that are remembered. Beyond it the oldest is forgotten, which shortens a grace.
const PAUSES_MAX: usize = 8;

/// The latest pauses of one engine, oldest first. Kept in memory: each start adds the one before it.
#[derive(Debug, Default)]
pub(super) struct Pauses(VecDeque<(Timestamp, Timestamp)>);

impl Pauses {
    /// Adds a pause. One that overlaps the latest makes it longer.
    pub(super) fn add(&mut self, from: Timestamp, to: Timestamp) {
        if let Some((begin, end)) = self.0.back_mut()
            && from <= *end
        {
            *begin = (*begin).min(from);
            *end = (*end).max(to);
            return;
        }
        if self.0.len() == PAUSES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((from, to));
    }

    /// Returns how long answers could leave between two times.
    pub(super) fn served(&self, from: Timestamp, to: Timestamp) -> Duration {
        let overlap = |(begin, end): &(Timestamp, Timestamp)| (*end).min(to).since((*begin).max(from));
        to.since(from).saturating_sub(self.0.iter().map(overlap).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    #[test]
    fn only_the_time_outside_of_pauses_counts() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.served(at(0), at(30)), Duration::from_secs(30));
        pauses.add(at(10), at(20));
        // The same pause, which was not over when it was noticed first.
        pauses.add(at(10), at(25));
        pauses.add(at(40), at(50));
        for (from, to, served) in
            [(0, 30, 15), (0, 12, 10), (12, 20, 0), (12, 30, 5), (26, 30, 4), (0, 60, 35), (9, 5, 0)]
        {
            assert_eq!(pauses.served(at(from), at(to)), Duration::from_secs(served), "{from} to {to}");
        }
        for number in 0..20 {
            pauses.add(at(100 + number * 10), at(101 + number * 10));
        }
        assert_eq!(pauses.0.len(), PAUSES_MAX);
    }
}
