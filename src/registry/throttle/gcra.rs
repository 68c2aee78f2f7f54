//! One cell of the generic cell rate algorithm.

use std::time::Duration;

use crate::system::clock::Timestamp;

/// How much a network may do: `burst` requests at once, then one request each period.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Requests that pass at once.
    burst: u32,
    /// Microseconds for each further request.
    period_us: u64,
}

impl Policy {
    /// Returns a policy of `burst` requests at once and `per_minute` evenly after them; `None` when either is zero, or
    /// when the rate is above one request a microsecond.
    pub const fn new(burst: u32, per_minute: u32) -> Option<Self> {
        if burst == 0 || per_minute == 0 || per_minute > 60_000_000 {
            None
        } else {
            Some(Self { burst, period_us: 60_000_000 / per_minute as u64 })
        }
    }

    const fn span_us(self, requests: u32) -> u64 {
        self.period_us.saturating_mul(requests as u64)
    }
}

/// The theoretical arrival time of a network's next request, in microseconds since 1970: 8 bytes for each network.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cell(u64);

/// A refusal, with the time after which the same request would pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("throttled for {} ms", wait.as_millis())]
pub struct Throttled {
    /// How long to wait.
    pub wait: Duration,
}

impl Cell {
    /// Returns a cell with half of its burst spent: the state of a network after a restart that found no saved cell.
    pub const fn half_spent(policy: Policy, now: Timestamp) -> Self {
        Self(micros(now).saturating_add(policy.span_us(policy.burst) / 2))
    }

    /// Returns the cell with no more than its whole burst spent. For a cell that was read from a file, which may have
    /// been written under another clock or policy.
    #[must_use]
    pub fn bounded(self, policy: Policy, now: Timestamp) -> Self {
        Self(self.0.min(micros(now).saturating_add(policy.span_us(policy.burst))))
    }

    /// Returns whichever of the two cells owes more.
    #[must_use]
    pub fn or_more(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// Returns the cell after one more request.
    ///
    /// Units: `cost` is in requests. A request that costs more than the burst would never pass, so it costs the burst.
    /// Errors: [`Throttled`], with the wait; a refused request leaves the cell as it was.
    /// Security: a false refusal costs a client one wait; a false grant gives an attacker one guess.
    /// Source: ITU-T I.371, virtual scheduling.
    pub fn take(self, policy: Policy, cost: u32, now: Timestamp) -> Result<Self, Throttled> {
        let now = micros(now);
        let after = self.0.max(now).saturating_add(policy.span_us(cost.min(policy.burst)));
        let allowed = now.saturating_add(policy.span_us(policy.burst));
        if after > allowed {
            return Err(Throttled { wait: Duration::from_micros(after - allowed) });
        }
        Ok(Self(after))
    }

    /// Returns the cell with one charge given back, less what time may have paid off since the charge was `taken`.
    ///
    /// Security: what time has paid is not given back again, or a slow success would pay for the failures after it.
    #[must_use]
    pub fn refund(self, policy: Policy, cost: u32, taken: Timestamp, now: Timestamp) -> Self {
        let passed = micros(now).saturating_sub(micros(taken));
        let unpaid = policy.span_us(cost.min(policy.burst)).saturating_sub(passed);
        Self(self.0.saturating_sub(unpaid))
    }

    /// Returns the cell as microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Reads a cell from microseconds since 1970.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns how many requests would pass at once at `now`.
    pub fn remaining(self, policy: Policy, now: Timestamp) -> u32 {
        let owed = self.0.saturating_sub(micros(now));
        let free = policy.span_us(policy.burst).saturating_sub(owed) / policy.period_us;
        u32::try_from(free).unwrap_or(policy.burst).min(policy.burst)
    }

    /// Says whether no request would pass at `now`.
    pub const fn is_spent(self, policy: Policy, now: Timestamp) -> bool {
        let owed = self.0.saturating_sub(micros(now));
        owed.saturating_add(policy.period_us) > policy.span_us(policy.burst)
    }

    /// Returns the free share of the burst in 65,536ths, which can be compared between policies.
    pub fn free_share(self, policy: Policy, now: Timestamp) -> u32 {
        let owed = self.0.saturating_sub(micros(now)) as f32;
        let span = policy.span_us(policy.burst) as f32;
        ((1.0 - owed / span).max(0.0) * 65_536.0) as u32
    }

    /// Says whether the cell equals an absent one at `now`, so that it can be dropped.
    pub const fn is_idle(self, now: Timestamp) -> bool {
        self.0 <= micros(now)
    }
}

const fn micros(at: Timestamp) -> u64 {
    at.as_millis().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_burst_passes_then_one_each_period_after_exactly_the_returned_wait() {
        let policy = Policy::new(20, 20).unwrap();
        let mut cell = Cell::default();
        for left in (0..20).rev() {
            cell = cell.take(policy, 1, START).unwrap();
            assert_eq!(cell.remaining(policy, START), left);
        }
        let refused = cell.take(policy, 1, START).unwrap_err();
        assert_eq!(refused.wait, Duration::from_secs(3));
        assert!(cell.take(policy, 1, START + refused.wait - Duration::from_millis(1)).is_err());
        assert!(cell.take(policy, 1, START + refused.wait).is_ok());
        assert_eq!(cell.refund(policy, 1, START, START).remaining(policy, START), 1);
        assert!(!cell.is_idle(START));
        assert!(cell.is_idle(START + Duration::from_mins(1)));
        assert_eq!(Cell::half_spent(policy, START).remaining(policy, START), 10);
    }

    #[test]
    fn what_time_has_paid_is_not_given_back_again() {
        let policy = Policy::new(20, 20).unwrap();
        let success = Cell::default().take(policy, 1, START).unwrap();
        let later = START + Duration::from_secs(4);
        let failure = success.take(policy, 1, later).unwrap();
        assert_eq!(failure.refund(policy, 1, START, later), failure);
        let at_once = success.take(policy, 1, START).unwrap();
        assert_eq!(at_once.refund(policy, 1, START, START), success);
        let expensive = Cell::default().take(policy, 8, START).unwrap();
        assert_eq!(expensive.remaining(policy, START), 12);
        // A cost above the burst is cut to the burst.
        assert_eq!(Policy::new(3, 3).unwrap().burst, 3);
        assert!(Cell::default().take(Policy::new(3, 3).unwrap(), 8, START).is_ok());
    }

    #[test]
    fn a_policy_that_lets_nothing_or_everything_pass_is_none() {
        assert_eq!([(0, 1), (1, 0)].map(|(burst, rate)| Policy::new(burst, rate)), [None, None]);
        assert!(Policy::new(1, 60_000_000).is_some());
        assert!(Policy::new(1, 60_000_001).is_none());
    }

    proptest! {
        /// Invariant: successes, at whatever time they are given back, never make the cell owe less than the failures
        /// alone.
        #[test]
        fn a_refund_gives_back_no_more_than_its_own_charge(
            steps in prop::collection::vec((any::<bool>(), 0_u64..4000, 0_u64..9000), 1..60),
        ) {
            let policy = Policy::new(1000, 20).unwrap();
            let mut cell = Cell::default();
            let mut alone = Cell::default();
            let mut now = START;
            let mut open = Vec::new();
            for (fails, pause, holds) in steps {
                now = now + Duration::from_millis(pause);
                open.retain(|(taken, until): &(Timestamp, Timestamp)| {
                    if now < *until {
                        return true;
                    }
                    cell = cell.refund(policy, 1, *taken, now);
                    false
                });
                cell = cell.take(policy, 1, now).unwrap();
                if fails {
                    alone = alone.take(policy, 1, now).unwrap();
                } else {
                    open.push((now, now + Duration::from_millis(holds)));
                }
                prop_assert!(cell.0.max(micros(now)) >= alone.0.max(micros(now)));
            }
        }

        /// Invariant: for any order of requests and pauses, no window of time lets more pass than the burst and the
        /// requests that its length has earned.
        #[test]
        fn no_window_lets_more_pass_than_burst_and_rate(
            burst in 1_u32..40, per_minute in 1_u32..600, pauses in prop::collection::vec(0_u64..4000, 1..200),
        ) {
            let policy = Policy::new(burst, per_minute).unwrap();
            let mut cell = Cell::default();
            let mut now = START;
            let mut passed = Vec::new();
            for pause in pauses {
                now = now + Duration::from_millis(pause);
                if let Ok(after) = cell.take(policy, 1, now) {
                    cell = after;
                    passed.push(now);
                }
            }
            for (first, begin) in passed.iter().enumerate() {
                for (last, end) in passed.iter().enumerate().skip(first) {
                    let earned = micros(*end) - micros(*begin);
                    let most = u64::from(burst) + earned / policy.period_us;
                    prop_assert!((last - first + 1) as u64 <= most);
                }
            }
        }
    }
}
