//! Time. This is the only file that reads the clocks of the operating system.
//!
//! Pure rules take `now: Timestamp`, and actors are built with a [`Clock`]. Time never runs back behind the latest time
//! in the journal, so that nothing that has expired is valid again.
//!
//! If the clock of the system is behind that time, because it was wrong for a while, [`Clock::now`] goes on from there at
//! half speed until the system has caught up:
//!
//! ```text
//!        now   ─────────▶ at full speed: as the system
//!          ╱▔▔▔▔▔▔▔▔▔▔▔▔  at half speed: ahead of the system
//!   ─────╱    ╱           the system, set back
//! ```
//!
//! At full speed it would stay ahead for ever. If it stood still, nothing would expire meanwhile, no limit would be
//! lifted and no lock would end. Other machines see the time of the system ([`Clock::system_now`]), which is in tokens.
#![expect(clippy::disallowed_methods, reason = "this file alone reads the clocks of the operating system")]

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Operators are told of a clock that is ahead of the system's by more. Steps of time servers are smaller.
pub const FAR_AHEAD: Duration = Duration::from_mins(1);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The start of 1970.
    pub const ZERO: Self = Self(0);

    /// Returns the time that is `secs` seconds after the start of 1970.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Returns the whole seconds since 1970, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Returns the milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to this, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns the time as RFC 3339 in UTC with whole seconds, as the API and the logs show it.
    pub fn rfc3339(self) -> String {
        use time::format_description::well_known::Rfc3339;
        i64::try_from(self.as_secs())
            .ok()
            .and_then(|secs| time::OffsetDateTime::from_unix_timestamp(secs).ok())
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| String::from("9999-12-31T23:59:59Z"))
    }

    /// Returns the time as RFC 3339 in UTC with milliseconds, which reads back as the same time.
    pub fn rfc3339_millis(self) -> String {
        let text = self.rfc3339();
        text.strip_suffix('Z').map_or(text.clone(), |secs| format!("{secs}.{:03}Z", self.0 % 1000))
    }

    /// Parses RFC 3339 text. Returns `None` if it is something else or lies before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        use time::format_description::well_known::Rfc3339;
        let at = time::OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// The source of time. Cheap to clone; clones share the floor.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System { started: Instant, floor: Floor },
    Manual { now_ms: AtomicU64, floor_ms: AtomicU64, origin: Instant, elapsed_ns: AtomicU64 },
}

impl Clock {
    /// Returns the clock of the operating system.
    pub fn system() -> Self {
        Self(Arc::new(Source::System { started: Instant::now(), floor: Floor::default() }))
    }

    /// Returns a clock that only [`Clock::advance`] moves, for tests and the simulator.
    pub fn manual(now: Timestamp) -> Self {
        Self(Arc::new(Source::Manual {
            now_ms: AtomicU64::new(now.0),
            floor_ms: AtomicU64::new(0),
            origin: Instant::now(),
            elapsed_ns: AtomicU64::new(0),
        }))
    }

    /// Returns a clock that starts at `secs` seconds after the start of 1970, and that only [`Clock::advance`] moves.
    pub fn manual_at_secs(secs: u64) -> Self {
        Self::manual(Timestamp::from_secs(secs))
    }

    /// Says whether only [`Clock::advance`] moves it.
    pub fn is_manual(&self) -> bool {
        matches!(&*self.0, Source::Manual { .. })
    }

    /// Returns the current time: that of the system, or, while that is behind the floor, the floor plus half of the time
    /// that passes.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { started, floor } => Timestamp(floor.now(system_ms(), millis(started.elapsed()))),
            Source::Manual { now_ms, floor_ms, .. } => {
                Timestamp(now_ms.load(Ordering::SeqCst).max(floor_ms.load(Ordering::SeqCst)))
            }
        }
    }

    /// Returns a monotonic reading, for measuring durations.
    pub fn steady(&self) -> Instant {
        match &*self.0 {
            Source::System { .. } => Instant::now(),
            Source::Manual { origin, elapsed_ns, .. } => {
                *origin + Duration::from_nanos(elapsed_ns.load(Ordering::SeqCst))
            }
        }
    }

    /// Raises the floor: from now on [`Clock::now`] is at least `to`.
    pub fn raise_floor(&self, to: Timestamp) {
        match &*self.0 {
            Source::System { started, floor } => floor.raise(to.0, millis(started.elapsed())),
            Source::Manual { floor_ms, .. } => {
                floor_ms.fetch_max(to.0, Ordering::SeqCst);
            }
        }
    }

    /// Returns how far [`Clock::now`] is ahead of the system's clock: zero unless that was ahead once, or is behind now.
    pub fn ahead(&self) -> Duration {
        match &*self.0 {
            // The system's clock is read once: what passes between two readings is not ahead.
            Source::System { started, floor } => {
                let system = system_ms();
                Timestamp(floor.now(system, millis(started.elapsed()))).since(Timestamp(system))
            }
            Source::Manual { .. } => self.now().since(self.system_now()),
        }
    }

    /// Returns how far it is ahead if that is so much that operators should know.
    pub fn far_ahead(&self) -> Option<Duration> {
        Some(self.ahead()).filter(|ahead| *ahead >= FAR_AHEAD)
    }

    /// Returns the time of the operating system regardless of the floor, for times that other machines compare with their
    /// own.
    pub fn system_now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { .. } => Timestamp(system_ms()),
            Source::Manual { now_ms, .. } => Timestamp(now_ms.load(Ordering::SeqCst)),
        }
    }

    /// Returns what the clock of the system shows when [`Clock::now`] is `at`: for times of ours that other machines compare
    /// with their own. What lies behind is not in their future.
    ///
    /// While this clock is ahead it goes at half speed, so that what is left takes twice as long, until the system has caught
    /// up.
    pub fn in_system(&self, at: Timestamp) -> Timestamp {
        let left = at.since(self.now());
        at.min(self.system_now() + left * 2)
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// On a system clock, which cannot be moved.
    pub fn advance(&self, by: Duration) {
        match &*self.0 {
            Source::System { .. } => panic!("the system clock cannot be advanced"),
            Source::Manual { now_ms, floor_ms, elapsed_ns, .. } => {
                let before = now_ms.fetch_add(millis(by), Ordering::SeqCst);
                let is_ahead = floor_ms.load(Ordering::SeqCst) > before;
                floor_ms.fetch_add(millis(if is_ahead { by / 2 } else { by }), Ordering::SeqCst);
                elapsed_ns.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
            }
        }
    }

    /// Sets the system time of a manual clock, also back. The floor stays.
    ///
    /// # Panics
    /// On a system clock, which cannot be set.
    pub fn set_system(&self, to: Timestamp) {
        match &*self.0 {
            Source::System { .. } => panic!("the system clock cannot be set"),
            Source::Manual { now_ms, .. } => now_ms.store(to.0, Ordering::SeqCst),
        }
    }
}

/// The latest time that is known to have been, in terms of the monotonic time since the start of the process.
#[derive(Debug, Default)]
struct Floor {
    /// The time at the start of the process by which the floor is reached at full speed; 0 without a floor.
    at_start_ms: AtomicU64,
    /// Since when the system's clock has been seen to be behind, by the monotonic time plus one; 0 while it is not.
    behind_since_ms: AtomicU64,
}

impl Floor {
    /// Returns the time, where the system's clock shows `system` and `elapsed` have passed since the start.
    fn now(&self, system: u64, elapsed: u64) -> u64 {
        let at_start = self.at_start_ms.load(Ordering::Relaxed);
        let at_full_speed = at_start + elapsed;
        if at_start == 0 || at_full_speed <= system {
            if self.behind_since_ms.load(Ordering::Relaxed) != 0 {
                self.behind_since_ms.store(0, Ordering::Relaxed);
            }
            return system;
        }
        let marked =
            self.behind_since_ms.compare_exchange(0, elapsed + 1, Ordering::Relaxed, Ordering::Relaxed);
        let behind_since = marked.map_or_else(|since| since - 1, |_| elapsed);
        let now = at_full_speed - elapsed.saturating_sub(behind_since) / 2;
        if now > system {
            return now;
        }
        // The system has caught up. A floor that another thread raises at this moment is no later than its time.
        self.at_start_ms.store(system.saturating_sub(elapsed), Ordering::Relaxed);
        self.behind_since_ms.store(0, Ordering::Relaxed);
        system
    }

    /// Raises the floor to `to`, where `elapsed` have passed since the start.
    fn raise(&self, to: u64, elapsed: u64) {
        let at_start = to.saturating_sub(elapsed);
        if at_start > self.at_start_ms.load(Ordering::Relaxed) {
            // A floor that is ahead goes on from its own height, however long an earlier one has been ahead.
            self.behind_since_ms.store(0, Ordering::Relaxed);
            self.at_start_ms.fetch_max(at_start, Ordering::Relaxed);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn system_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_holds_when_the_system_clock_is_behind() {
        let clock = Clock::system();
        let ahead = clock.now() + Duration::from_hours(1);
        clock.raise_floor(ahead);
        assert!(clock.now() >= ahead - Duration::from_millis(1));
        assert!(clock.system_now() < ahead);
    }

    #[test]
    fn the_floor_of_a_manual_clock_rises_with_its_time() {
        let start = Timestamp::from_secs(1_800_000_000);
        let hour = Duration::from_hours(1);
        let clock = Clock::manual(start);
        clock.raise_floor(start + hour);
        assert_eq!(clock.now(), start + hour);
        assert_eq!(clock.system_now(), start);
        clock.advance(hour);
        clock.set_system(start - hour);
        assert_eq!(clock.now(), start + hour + hour / 2);
        assert_eq!(clock.system_now(), start - hour);
        assert_eq!(clock.ahead(), hour * 2 + hour / 2);
        clock.set_system(start + hour * 3);
        assert_eq!(clock.now(), start + hour * 3);
    }

    #[test]
    fn a_time_of_ours_is_told_as_the_system_will_show_it() {
        let start = Timestamp::from_secs(1_800_000_000);
        let hour = Duration::from_hours(1);
        let clock = Clock::manual(start);
        for at in [start - hour, start, start + hour] {
            assert_eq!(clock.in_system(at), at);
        }
        clock.raise_floor(start + hour * 3);
        for (at, expected) in [
            (start - hour, start - hour),
            (start + hour, start),
            (start + hour * 3, start),
            (start + hour * 4, start + hour * 2),
            // The system has caught up when both show six hours.
            (start + hour * 6, start + hour * 6),
            (start + hour * 9, start + hour * 9),
        ] {
            assert_eq!(clock.in_system(at), expected);
        }
        let four = start + hour * 4;
        clock.advance(hour * 2);
        assert_eq!((clock.now(), clock.system_now()), (four, start + hour * 2));
    }

    /// A clock that was hours ahead once must not stay ahead for ever, nor may time stand still or run back meanwhile.
    #[test]
    fn a_floor_that_is_ahead_goes_on_at_half_speed_until_the_system_has_caught_up() {
        const HOUR: u64 = 3_600_000;
        const START: u64 = 1_800_000_000_000;
        let floor = Floor::default();
        // Monotonic time is `at`; the system shows `START + at`, and three hours more for a moment.
        let right = |at: u64| START + at;
        assert_eq!(floor.now(right(0), 0), START);
        assert_eq!(floor.now(right(HOUR) + 3 * HOUR, HOUR), START + 4 * HOUR);
        floor.raise(START + 4 * HOUR, HOUR);
        // Every hour a frame is written, by the time that was read.
        let mut before = START + 4 * HOUR;
        for at in (HOUR..7 * HOUR).step_by(60_000) {
            let now = floor.now(right(at), at);
            assert_eq!(now, START + 4 * HOUR + (at - HOUR) / 2);
            assert!(now >= before);
            floor.raise(now, at);
            before = now;
        }
        for at in [7 * HOUR, 8 * HOUR, 9 * HOUR] {
            assert_eq!(floor.now(right(at), at), right(at));
            floor.raise(right(at), at);
        }
        // The next wrong hour begins at its own height.
        floor.raise(right(9 * HOUR) + HOUR, 9 * HOUR);
        assert_eq!(floor.now(right(9 * HOUR), 9 * HOUR), right(10 * HOUR));
        assert_eq!(floor.now(right(10 * HOUR), 10 * HOUR), right(10 * HOUR) + HOUR / 2);
        // So does one during another, however long that has been.
        floor.raise(right(10 * HOUR) + 5 * HOUR, 10 * HOUR);
        assert_eq!(floor.now(right(10 * HOUR), 10 * HOUR), right(15 * HOUR));
        assert_eq!(floor.now(right(20 * HOUR), 20 * HOUR), right(20 * HOUR));
        // And one that is set back by less than a floor that is an hour old is noticed as well.
        floor.raise(right(21 * HOUR), 21 * HOUR);
        assert_eq!(floor.now(right(22 * HOUR) - HOUR / 2, 22 * HOUR), right(22 * HOUR));
    }

    #[test]
    fn rfc3339_goes_both_ways() {
        let at = Timestamp::from_secs(1_795_000_000);
        assert_eq!(Timestamp::parse_rfc3339(&at.rfc3339()), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }
}
