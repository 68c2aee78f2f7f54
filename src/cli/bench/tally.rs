//! Counts the answers and their latencies. A latency counts from the moment the request was due, not from when it was
//! sent, so that a server that stops answering cannot hide it (coordinated omission).

use std::time::Duration;

use hdrhistogram::Histogram;

/// The kinds of requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A log-in with a name and password from a leak elsewhere, each from a new network.
    Stuffing,
    /// A log-in that guesses the password of one of a few names, from many networks.
    Guessing,
    /// A log-in with the right password, from a new browser.
    Honest,
    /// A log-in with the right password, from a known device.
    Known,
    /// Rotation of a refresh token.
    Refresh,
    /// A check of a session.
    Session,
    /// A health check.
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

/// The kinds of answers.
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

/// The answers to one kind of request.
#[derive(Clone, Debug)]
pub(super) struct OfKind {
    pub(super) counts: [u64; 6],
    /// Latencies in microseconds.
    pub(super) latency: Histogram<u64>,
}

impl OfKind {
    fn new() -> Self {
        // It fails only for more than five digits.
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

    /// Returns the latency at `quantile`, such as 0.99.
    pub(super) fn at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(quantile))
    }

    pub(super) fn longest(&self) -> Duration {
        Duration::from_micros(self.latency.max())
    }
}

/// The answers in one interval of time, by kind.
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
    /// Adds one answer.
    pub(super) fn note(&mut self, kind: Kind, outcome: Outcome, latency: Duration) {
        let Some(of) = self.kinds.get_mut(kind as usize) else { return };
        if let Some(count) = of.counts.get_mut(outcome as usize) {
            *count += 1;
        }
        // An auto-resizing histogram takes every value.
        let _ = of.latency.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds the answers of a later interval.
    pub(super) fn add(&mut self, later: &Self) {
        for (of, later) in self.kinds.iter_mut().zip(&later.kinds) {
            for (count, more) in of.counts.iter_mut().zip(later.counts) {
                *count += more;
            }
            // An auto-resizing histogram takes every value.
            let _ = of.latency.add(&later.latency);
        }
    }

    /// Returns the answers to requests of `kind`.
    pub(super) fn of(&self, kind: Kind) -> &OfKind {
        self.kinds.get(kind as usize).unwrap_or_else(|| unreachable!("every kind has its place"))
    }

    /// Returns how many log-ins of all kinds got this answer.
    pub(super) fn log_ins(&self, outcome: Outcome) -> u64 {
        [Kind::Stuffing, Kind::Guessing, Kind::Honest, Kind::Known]
            .map(|kind| self.of(kind).count(outcome))
            .iter()
            .sum()
    }

    /// Returns the longest latency of all log-ins.
    pub(super) fn longest_log_in(&self) -> Duration {
        let of =
            [Kind::Stuffing, Kind::Guessing, Kind::Honest, Kind::Known].map(|kind| self.of(kind).longest());
        of.into_iter().max().unwrap_or_default()
    }
}
