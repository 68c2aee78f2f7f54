//! Time. This is the only file that reads the clocks of the operating system.
//!
//! Pure rules take `now: Timestamp`, and actors are built with a [`Clock`]. Time never runs back behind the latest time
//! in the journal: `now = max(system, floor + monotonic time since start)`.
#![expect(clippy::disallowed_methods, reason = "this file alone reads the clocks of the operating system")]

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    System { started: Instant, floor_ms: AtomicU64 },
    Manual { now_ms: AtomicU64, floor_ms: AtomicU64, origin: Instant, elapsed_ns: AtomicU64 },
}

impl Clock {
    /// Returns the clock of the operating system.
    pub fn system() -> Self {
        Self(Arc::new(Source::System { started: Instant::now(), floor_ms: AtomicU64::new(0) }))
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

    /// Returns the current time. It is never below the floor plus the time that has passed since the floor was raised.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { started, floor_ms } => {
                let floor = floor_ms.load(Ordering::Relaxed);
                let system = system_ms();
                if floor == 0 {
                    Timestamp(system)
                } else {
                    Timestamp(system.max(floor + millis(started.elapsed())))
                }
            }
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

    /// Raises the floor: from now on [`Clock::now`] is at least `floor` plus the monotonic time that passes.
    pub fn raise_floor(&self, floor: Timestamp) {
        match &*self.0 {
            Source::System { started, floor_ms } => {
                // The floor is stored as of the start, since `now` adds the whole monotonic time since then.
                floor_ms.fetch_max(floor.0.saturating_sub(millis(started.elapsed())), Ordering::Relaxed);
            }
            Source::Manual { floor_ms, .. } => {
                floor_ms.fetch_max(floor.0, Ordering::SeqCst);
            }
        }
    }

    /// Returns the time of the operating system regardless of the floor. Recovery compares the two and warns.
    pub fn system_now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { .. } => Timestamp(system_ms()),
            Source::Manual { now_ms, .. } => Timestamp(now_ms.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// On a system clock, which cannot be moved.
    pub fn advance(&self, by: Duration) {
        match &*self.0 {
            Source::System { .. } => panic!("the system clock cannot be advanced"),
            Source::Manual { now_ms, floor_ms, elapsed_ns, .. } => {
                now_ms.fetch_add(millis(by), Ordering::SeqCst);
                floor_ms.fetch_add(millis(by), Ordering::SeqCst);
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
        assert_eq!(clock.now(), start + hour * 2);
        assert_eq!(clock.system_now(), start - hour);
        clock.set_system(start + hour * 3);
        assert_eq!(clock.now(), start + hour * 3);
    }

    #[test]
    fn rfc3339_goes_both_ways() {
        let at = Timestamp::from_secs(1_795_000_000);
        assert_eq!(Timestamp::parse_rfc3339(&at.rfc3339()), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }
}
