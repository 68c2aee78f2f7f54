//! What came of each request: latencies from the moment it was due, not from when it was sent, so that a server that stops
//! answering cannot hide it.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Names and passwords of other people's leaks, from ever new networks.
    Stuffing,
    /// Passwords for a few names, from many networks.
    Guessing,
    /// The right password, from a browser that is new.
    Honest,
    /// The right password, from a known device.
    Known,
    /// Rotation of a refresh token.
    Refresh,
    /// A check of a session.
    Session,
    /// A probe of health.
    Probe,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Stuffing,
        Self::Guessing,
        Self::Honest,
        Self::Known,
        Self::Refresh,
        Self::Session,
        Self::Probe,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stuffing => "stuffing",
            Self::Guessing => "guessing",
            Self::Honest => "honest",
            Self::Known => "known",
            Self::Refresh => "refresh",
            Self::Session => "session",
            Self::Probe => "probe",
        }
    }

    pub(super) const fn is_log_in(self) -> bool {
        matches!(self, Self::Stuffing | Self::Guessing | Self::Honest | Self::Known)
    }
}

/// What was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// 2xx.
    Done,
    /// 401.
    Wrong,
    /// 429.
    Limited,
    /// 503.
    Shed,
    /// Anything else.
    Other,
    /// No answer.
    Failed,
}

impl Outcome {
    pub(super) const ALL: [Self; 6] =
        [Self::Done, Self::Wrong, Self::Limited, Self::Shed, Self::Other, Self::Failed];

    pub(super) const fn of(status: Option<u16>) -> Self {
        match status {
            Some(200..=299) => Self::Done,
            Some(401) => Self::Wrong,
            Some(429) => Self::Limited,
            Some(503) => Self::Shed,
            Some(_) => Self::Other,
            None => Self::Failed,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Done => "2xx",
            Self::Wrong => "401",
            Self::Limited => "429",
            Self::Shed => "503",
            Self::Other => "other",
            Self::Failed => "no answer",
        }
    }
}

/// What one kind was answered.
#[derive(Clone, Debug)]
pub(super) struct OfKind {
    pub(super) counts: [u64; 6],
    /// In microseconds.
    pub(super) latency: Histogram<u64>,
}

impl OfKind {
    fn new() -> Self {
        // Three digits need no bound given beforehand; this cannot fail.
        let latency =
            Histogram::new(3).unwrap_or_else(|_| unreachable!("three significant digits are valid"));
        Self { counts: [0; 6], latency }
    }

    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.counts.get(outcome as usize).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(quantile))
    }

    pub(super) fn longest(&self) -> Duration {
        Duration::from_micros(self.latency.max())
    }
}

/// A stretch of time.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    kinds: Vec<OfKind>,
}

impl Default for Phase {
    fn default() -> Self {
        Self { kinds: Kind::ALL.iter().map(|_| OfKind::new()).collect() }
    }
}

impl Phase {
    pub(super) fn note(&mut self, kind: Kind, outcome: Outcome, latency: Duration) {
        let Some(of) = self.kinds.get_mut(kind as usize) else { return };
        if let Some(count) = of.counts.get_mut(outcome as usize) {
            *count += 1;
        }
        // It grows to whatever is recorded.
        let _ = of.latency.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// With what came of a stretch of time after it.
    pub(super) fn add(&mut self, later: &Self) {
        for (of, later) in self.kinds.iter_mut().zip(&later.kinds) {
            for (count, more) in of.counts.iter_mut().zip(later.counts) {
                *count += more;
            }
            // It grows to whatever is recorded.
            let _ = of.latency.add(&later.latency);
        }
    }

    pub(super) fn of(&self, kind: Kind) -> &OfKind {
        self.kinds.get(kind as usize).unwrap_or_else(|| unreachable!("every kind has its place"))
    }

    /// Log-ins of all kinds that were answered so.
    pub(super) fn log_ins(&self, outcome: Outcome) -> u64 {
        [Kind::Stuffing, Kind::Guessing, Kind::Honest, Kind::Known]
            .map(|kind| self.of(kind).count(outcome))
            .iter()
            .sum()
    }

    /// The longest that any log-in of those kinds waited.
    pub(super) fn longest_log_in(&self) -> Duration {
        let of =
            [Kind::Stuffing, Kind::Guessing, Kind::Honest, Kind::Known].map(|kind| self.of(kind).longest());
        of.into_iter().max().unwrap_or_default()
    }
}
