//! What nobody waits for takes only a share of a core, in slices that are shorter than those of the system's scheduler: a
//! request that comes in between waits for one of them at most.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use super::clock::Clock;

/// Work goes on for so long, or for one step where that is longer.
const SLICE: Duration = Duration::from_micros(250);
/// Idle for so many times as long as it worked.
const IDLE_TIMES: u32 = 3;
/// And never for longer: what was counted as work may have been a wait.
const IDLE_MAX: Duration = Duration::from_millis(20);

/// The pace of one thread.
pub(crate) struct Pace<H> {
    clock: Clock,
    since: Cell<Instant>,
    hurry: H,
}

impl<H: Fn() -> bool> Pace<H> {
    /// From now on, until `hurry` says that somebody waits after all.
    pub(crate) fn new(clock: Clock, hurry: H) -> Self {
        Self { since: Cell::new(clock.steady()), clock, hurry }
    }

    /// Called between two steps: idles when a slice is over.
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
    fn idles_once_a_slice_is_over_and_not_when_somebody_waits() {
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
