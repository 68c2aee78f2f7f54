//! Decides when a snapshot is due.
//!
//! A snapshot is due when the journal after the newest one has grown to the threshold, when the server stops and something
//! was written since, and when space is low: segments can be deleted once two snapshots hold what they hold.

use std::time::Duration;

use super::status::Tail;

/// The delay before a snapshot that failed is taken again.
const RETRY: Duration = Duration::from_secs(30);
/// Multiplies the retry delay after a snapshot that disagrees with the journal: retrying soon cannot help.
const DISPROVED_BACKOFF: u32 = 20;
/// A running snapshot hurries once the journal has grown by this multiple of the threshold.
const HURRY_TIMES: u64 = 2;
/// While space is low, this many snapshots are taken at once. If they make no room, more would not either.
const TAKEN_WHILE_LOW_MAX: u32 = 2;

/// The state of the journal and of its snapshots, as far as the rule asks for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Situation {
    /// Bytes of frames written since the start.
    pub framed: u64,
    /// Whether space for the journal is low.
    pub is_low: bool,
    /// Bytes of the newest snapshot; 0 if there is none.
    pub newest_bytes: u64,
    /// The journal that recovery read after the newest snapshot.
    pub tail: Tail,
    /// Whether the server is stopping, so that this is the last chance.
    pub is_stopping: bool,
}

/// A snapshot is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Due {
    /// Whether nothing was written since the last one, so that the journal needs a blank entry first.
    pub needs_entry: bool,
    /// The snapshot hurries once this many bytes of frames were written since the start.
    pub hurry_at: u64,
}

/// The rule and what it remembers. Pure: `now` is the time that the caller has waited in all.
#[derive(Debug)]
pub struct SnapshotSchedule {
    /// The fewest bytes of journal that make a snapshot due (`journal.snapshot_bytes`).
    threshold_min: u64,
    /// `framed` when the last snapshot was finished.
    framed_at_last: u64,
    /// No retry before this time, unless the server stops.
    retry_at: Duration,
    /// Snapshots taken since space became low.
    taken_while_low: u32,
    /// After [`TAKEN_WHILE_LOW_MAX`] snapshots, none for the sake of space before this time.
    rest_until: Duration,
}

impl SnapshotSchedule {
    /// Builds the rule for a journal of which `framed` bytes were written since the start.
    pub const fn new(threshold_min: u64, framed: u64) -> Self {
        Self {
            threshold_min,
            framed_at_last: framed,
            retry_at: Duration::ZERO,
            taken_while_low: 0,
            rest_until: Duration::ZERO,
        }
    }

    /// Says whether a snapshot is due at `now`.
    pub fn due(&mut self, situation: &Situation, now: Duration) -> Option<Due> {
        if !situation.is_low {
            self.taken_while_low = 0;
            self.rest_until = Duration::ZERO;
        }
        let threshold = self.threshold_min.max(situation.newest_bytes);
        let written = situation.framed - self.framed_at_last;
        let since_last = written + situation.tail.replayed;
        let on_disk = written + situation.tail.segments.max(situation.tail.replayed);
        let has_grown = on_disk >= threshold;
        let is_last_chance = situation.is_stopping && since_last > 0;
        let may_make_room =
            self.taken_while_low < TAKEN_WHILE_LOW_MAX || (since_last > 0 && now >= self.rest_until);
        let makes_room = situation.is_low && !situation.is_stopping && may_make_room;
        if !(has_grown || is_last_chance || makes_room) {
            return None;
        }
        if now < self.retry_at && !situation.is_stopping {
            return None;
        }
        Some(Due { needs_entry: since_last == 0, hurry_at: situation.framed + HURRY_TIMES * threshold })
    }

    /// Notes a snapshot that was taken when `framed` bytes had been written.
    pub fn taken(&mut self, framed: u64, was_low: bool, now: Duration) {
        self.framed_at_last = framed;
        self.taken_while_low += u32::from(was_low);
        self.rest_until = now + RETRY;
    }

    /// Notes a snapshot that could not be taken; `is_disproved` if it disagreed with the journal.
    pub fn failed(&mut self, is_disproved: bool, now: Duration) {
        let times = if is_disproved { DISPROVED_BACKOFF } else { 1 };
        self.retry_at = now + RETRY * times;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: u64 = 1000;
    const START: Duration = Duration::ZERO;

    fn schedule() -> SnapshotSchedule {
        SnapshotSchedule::new(THRESHOLD, 0)
    }

    fn written(framed: u64) -> Situation {
        Situation { framed, ..Situation::default() }
    }

    #[test]
    fn the_journal_has_to_grow_to_the_threshold() {
        let mut schedule = schedule();
        assert_eq!(schedule.due(&written(999), START), None);
        let due = Due { needs_entry: false, hurry_at: 1000 + 2 * THRESHOLD };
        assert_eq!(schedule.due(&written(1000), START), Some(due));
        schedule.taken(1000, false, START);
        assert_eq!(schedule.due(&written(1999), START), None);
        assert!(schedule.due(&written(2000), START).is_some());
    }

    #[test]
    fn a_large_snapshot_raises_the_threshold() {
        let mut schedule = schedule();
        let large = |framed| Situation { newest_bytes: 5000, ..written(framed) };
        assert_eq!(schedule.due(&large(4999), START), None);
        assert!(schedule.due(&large(5000), START).is_some());
    }

    #[test]
    fn replayed_frames_count_and_so_do_their_segments() {
        let replayed = Situation { tail: Tail { replayed: 1000, segments: 0 }, ..written(0) };
        assert_eq!(schedule().due(&replayed, START).map(|due| due.needs_entry), Some(false));
        let segments = Situation { tail: Tail { replayed: 0, segments: 1000 }, ..written(0) };
        assert_eq!(schedule().due(&segments, START).map(|due| due.needs_entry), Some(true));
    }

    #[test]
    fn a_stop_takes_one_if_anything_was_written() {
        let stopping = |framed| Situation { is_stopping: true, ..written(framed) };
        assert_eq!(schedule().due(&stopping(0), START), None);
        assert!(schedule().due(&stopping(1), START).is_some());
    }

    #[test]
    fn a_stop_does_not_wait_for_the_retry() {
        let mut schedule = schedule();
        schedule.failed(true, START);
        assert_eq!(schedule.due(&written(1000), START), None);
        assert!(schedule.due(&Situation { is_stopping: true, ..written(1) }, START).is_some());
    }

    #[test]
    fn a_failed_one_is_retried_after_half_a_minute_and_a_disproved_one_after_ten() {
        for (is_disproved, secs) in [(false, 30), (true, 600)] {
            let mut schedule = schedule();
            schedule.failed(is_disproved, START);
            assert_eq!(schedule.due(&written(1000), Duration::from_secs(secs - 1)), None);
            assert!(schedule.due(&written(1000), Duration::from_secs(secs)).is_some());
        }
    }

    #[test]
    fn low_space_takes_two_at_once_and_then_rests_until_something_was_written() {
        let mut schedule = schedule();
        let low = |framed| Situation { is_low: true, ..written(framed) };
        for _ in 0..2 {
            assert!(schedule.due(&low(0), START).is_some());
            schedule.taken(0, true, START);
        }
        assert_eq!(schedule.due(&low(0), Duration::from_hours(1)), None);
        assert_eq!(schedule.due(&low(1), Duration::from_secs(29)), None);
        assert!(schedule.due(&low(1), Duration::from_secs(30)).is_some());
    }

    #[test]
    fn space_that_was_made_ends_the_rest() {
        let mut schedule = schedule();
        let low = |framed| Situation { is_low: true, ..written(framed) };
        for _ in 0..2 {
            schedule.taken(0, true, START);
        }
        assert_eq!(schedule.due(&low(0), START), None);
        assert_eq!(schedule.due(&written(0), START), None);
        assert!(schedule.due(&low(0), START).is_some());
    }
}
