//! How long an import waits for its lines: it has the only place for one.
//!
//! **The attack:** a client sends a byte now and then, and keeps others from importing.
//!
//! **The rule:** the time that is spent waiting for parts is bounded by the bytes that have come, and all of it is over within an
//! hour. So a trickle loses the place within a minute, and a slow line keeps it. What the import itself takes for a part does
//! not count.

use std::time::{Duration, Instant};

use crate::system::clock::Clock;

/// The time for all parts.
const WHOLE: Duration = Duration::from_hours(1);
/// The time that all waiting together may take before the rate counts.
const PATIENCE: Duration = Duration::from_secs(30);
/// The least rate from then on, in bytes for each second that is spent waiting.
const RATE_MIN: u64 = 4 * 1024;

/// The next part did not come in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the next lines did not arrive in time: send all again, what was taken is not taken twice")]
pub struct TooSlow;

/// The patience with one sender.
#[derive(Debug)]
pub struct Patience {
    /// The longest wait for one part.
    part_max: Duration,
    begin: Option<Instant>,
    read: u64,
    waited: Duration,
}

impl Patience {
    /// Begins with a sender, each of whose parts may take `part_max` and no longer.
    pub const fn new(part_max: Duration) -> Self {
        Self { part_max, begin: None, read: 0, waited: Duration::ZERO }
    }

    /// Returns the bytes that have come.
    pub const fn read(&self) -> u64 {
        self.read
    }

    /// Notes that `bytes` have come.
    pub const fn note(&mut self, bytes: usize) {
        self.read += bytes as u64;
    }

    /// Waits for the next part.
    ///
    /// Errors: [`TooSlow`].
    pub async fn wait<T>(&mut self, clock: &Clock, part: impl Future<Output = T>) -> Result<T, TooSlow> {
        let now = clock.steady();
        let begin = *self.begin.get_or_insert(now);
        let rest = WHOLE.saturating_sub(now.saturating_duration_since(begin));
        let at_most = rest.min(self.next());
        if at_most.is_zero() {
            return Err(TooSlow);
        }
        let part = tokio::time::timeout(at_most, part).await;
        self.waited += clock.steady().saturating_duration_since(now);
        part.map_err(|_| TooSlow)
    }

    /// Returns how long the next part may take, after what has come and for how long was waited.
    fn next(&self) -> Duration {
        let earned = PATIENCE + Duration::from_millis(self.read.saturating_mul(1000) / RATE_MIN);
        self.part_max.min(earned.saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Duration = Duration::from_secs(10);

    /// Returns for how long a sender keeps its place that sends `bytes` every `pause`, up to an hour.
    fn kept(bytes: usize, pause: Duration, part_max: Duration) -> Duration {
        let mut patience = Patience::new(part_max);
        while patience.waited < WHOLE && pause <= patience.next() {
            patience.waited += pause;
            patience.note(bytes);
        }
        patience.waited
    }

    #[test]
    fn a_trickle_loses_its_place_within_a_minute_and_a_slow_line_keeps_it() {
        for part_max in [PART, WHOLE] {
            for (bytes, pause_ms) in [(1, 1), (100, 1_500), (1, 9_999), (200, 60_000), (2_000, 1_000)] {
                let kept = kept(bytes, Duration::from_millis(pause_ms), part_max);
                assert!(kept < Duration::from_mins(1), "{bytes} bytes each {pause_ms} ms: {kept:?}");
            }
            // Modems of 56 kbit/s, a burst after a pause, and a line that sends all it has now and then.
            for (bytes, pause_ms) in [(1_400, 200), (65_536, 9_000), (8_192, 1_900)] {
                let kept = kept(bytes, Duration::from_millis(pause_ms), part_max);
                assert_eq!(kept.as_secs(), 3_600, "{bytes} {pause_ms}");
            }
        }
        assert_eq!(Patience::new(PART).next(), PART);
        assert_eq!(Patience::new(WHOLE).next(), PATIENCE);
        let spent = Patience { waited: PATIENCE, ..Patience::new(PART) };
        assert_eq!(spent.next(), Duration::ZERO);
    }

    #[tokio::test]
    async fn nobody_sends_for_more_than_an_hour() {
        let clock = Clock::manual_at_secs(1_800_000_000);
        let mut patience = Patience::new(PART);
        for _ in 0..60 {
            assert_eq!(patience.wait(&clock, std::future::ready(())).await, Ok(()));
            patience.note(1 << 20);
            clock.advance(Duration::from_mins(1));
        }
        assert_eq!(patience.wait(&clock, std::future::pending::<()>()).await, Err(TooSlow));
    }
}
