//! Requests, counted by route and status, and their durations. The HTTP layer says which routes and statuses there are.
//!
//! A request costs three additions to atomic numbers, without a lock or an allocation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of durations, in seconds. A password takes some tens of milliseconds; all else takes less
/// than one.
pub const BOUNDS_SECS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The name of what is on no list: an unknown path, another status.
pub const OTHER: &str = "other";

/// Counters of requests: a row for each route, and one for all unknown paths.
pub struct RequestFigures {
    /// Sorted.
    routes: Box<[&'static str]>,
    statuses: &'static [u16],
    /// In the order of `routes`; the last one is of unknown paths.
    rows: Box<[Row]>,
}

struct Row {
    /// In the order of the statuses; the last one is of others.
    by_status: Box<[AtomicU64]>,
    /// In the order of [`BOUNDS_SECS`]; the last one has no upper bound.
    by_duration: [AtomicU64; BOUNDS_SECS.len() + 1],
    nanos: AtomicU64,
}

/// The requests of one route.
pub struct RouteFigures<'a> {
    /// The pattern of the route, or [`OTHER`].
    pub route: &'static str,
    /// The number of answers with each status; `None` is any other status.
    pub by_status: Vec<(Option<u16>, u64)>,
    /// The number of requests in each bucket; the last one has no upper bound.
    pub by_duration: &'a [AtomicU64],
    /// All durations together.
    pub total: Duration,
}

impl RequestFigures {
    /// Creates counters at zero. `statuses` are sorted.
    pub fn new(mut routes: Vec<&'static str>, statuses: &'static [u16]) -> Self {
        routes.sort_unstable();
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let row = |_| Row {
            by_status: zeros(statuses.len() + 1),
            by_duration: std::array::from_fn(|_| AtomicU64::new(0)),
            nanos: AtomicU64::new(0),
        };
        let rows = (0..=routes.len()).map(row).collect();
        Self { routes: routes.into(), statuses, rows }
    }

    /// Counts a request of `route` that was answered with `status` after `took`.
    pub fn count(&self, route: Option<&str>, status: u16, took: Duration) {
        let known = route.and_then(|route| self.routes.binary_search(&route).ok());
        let Some(row) = self.rows.get(known.unwrap_or(self.routes.len())) else { return };
        let status = self.statuses.binary_search(&status).unwrap_or(self.statuses.len());
        let secs = took.as_secs_f64();
        let bucket = BOUNDS_SECS.iter().position(|bound| secs <= *bound).unwrap_or(BOUNDS_SECS.len());
        for counter in [row.by_status.get(status), row.by_duration.get(bucket)].into_iter().flatten() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        row.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the figures of every route.
    pub fn routes(&self) -> impl Iterator<Item = RouteFigures<'_>> {
        let names = self.routes.iter().copied().chain([OTHER]);
        names.zip(&self.rows).map(|(route, row)| {
            let statuses = self.statuses.iter().copied().map(Some).chain([None]);
            let counts = row.by_status.iter().map(|count| count.load(Ordering::Relaxed));
            RouteFigures {
                route,
                by_status: statuses.zip(counts).collect(),
                by_duration: &row.by_duration,
                total: Duration::from_nanos(row.nanos.load(Ordering::Relaxed)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_once_whatever_its_route_and_status() {
        let figures = RequestFigures::new(vec!["/b", "/a"], &[200, 404]);
        for (route, status, micros) in [
            (Some("/a"), 200, 400),
            (Some("/a"), 200, 500),
            (Some("/a"), 418, 501),
            (Some("/c"), 404, 0),
            (None, 200, 9_000_000),
        ] {
            figures.count(route, status, Duration::from_micros(micros));
        }
        let rows: Vec<_> = figures
            .routes()
            .map(|row| {
                let durations: Vec<_> = row.by_duration.iter().map(|n| n.load(Ordering::Relaxed)).collect();
                (row.route, row.by_status, durations, row.total)
            })
            .collect();
        let [a, b, other] = &rows[..] else { panic!("{} rows", rows.len()) };
        assert_eq!(a.1, [(Some(200), 2), (Some(404), 0), (None, 1)]);
        assert_eq!(a.2[..3], [2, 1, 0]);
        assert_eq!(a.3, Duration::from_micros(1401));
        assert_eq!(b.1, [(Some(200), 0), (Some(404), 0), (None, 0)]);
        assert_eq!(other.0, OTHER);
        assert_eq!(other.1, [(Some(200), 1), (Some(404), 1), (None, 0)]);
        assert_eq!(other.2[BOUNDS_SECS.len()], 1);
    }
}
