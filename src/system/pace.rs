//! Pacing of background work: it uses only a share of a core, in slices shorter than those of the kernel's scheduler. A
//! request that arrives in between waits for one slice at most.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use super::clock::Clock;

/// Length of a slice of work. A step that takes longer is one slice.
const SLICE: Duration = Duration::from_micros(250);
/// Length of the pause after a slice, as a multiple of the slice.
const IDLE_TIMES: u32 = 3;
/// Maximum length of a pause. A long slice may have been a wait and not work.
const IDLE_MAX: Duration = Duration::from_millis(20);

/// The pace of one thread.
pub(crate) struct Pace<H> {
    clock: Clock,
    since: Cell<Instant>,
    hurry: H,
}

impl<H: Fn() -> bool> Pace<H> {
    /// Starts the first slice now. While `hurry` returns true there are no pauses, because something waits for the
    /// work.
    pub(crate) fn new(clock: Clock, hurry: H) -> Self {
        Self { since: Cell::new(clock.steady()), clock, hurry }
    }

    /// Pauses if the slice is over. Call it between two steps of the work.
    pub(crate) fn step(&self) {
        let worked = self.clock.steady().saturating_duration_since(self.since.get());
        if worked < SLICE {
            return;
        }
        if !(self.hurry)() {
            thread::sleep((worked * IDLE_TIMES).min(IDLE_MAX));
        }
        self.since.set(self.clock.steady());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::Timestamp;

    #[test]
    fn a_pause_comes_after_each_slice_and_not_in_a_hurry() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let asked = Cell::new(0);
        let pace = Pace::new(clock.clone(), || {
            asked.set(asked.get() + 1);
            true
        });
        pace.step();
        assert_eq!(asked.get(), 0);
        for slices in 1..4 {
            clock.advance(SLICE);
            pace.step();
            pace.step();
            assert_eq!(asked.get(), slices);
        }
    }
}
