//! Sums up warnings and errors of one kind, so that a fault which every request meets does not fill the disk.
//!
//! A kind is the place in the code that makes the line. Their number is bounded by the code. The first lines of a
//! minute are written; then one line tells how many more there were. Lines of other crates are summed up from `info` on:
//! a stranger may be able to cause them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis::system::clock::Clock;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_mins(1);
/// Lines of one kind within [`WINDOW`].
const LINES: u32 = 5;
/// The target of the lines that tell the numbers.
const TARGET: &str = "portcullis::log";
/// Targets whose lines are all written. Something else bounds them: the number of kinds; the quiet time of an alert; the
/// number of starts.
const UNBOUNDED: [&str; 3] = [TARGET, "portcullis::alert", super::START];

/// Counts lines by their kind. Clones share the counts.
#[derive(Clone)]
pub(super) struct LogFold {
    kinds: Arc<Mutex<HashMap<Identifier, Kind>>>,
    folded: Arc<AtomicU64>,
    clock: Clock,
}

/// The lines of one kind in the present minute.
struct Kind {
    since: Instant,
    lines: u32,
    folded: u64,
    /// The target and the place in the code.
    name: String,
}

impl LogFold {
    pub(super) fn new(clock: Clock) -> Self {
        Self { kinds: Arc::default(), folded: Arc::default(), clock }
    }

    /// Returns how many lines were summed up in others.
    pub(super) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }

    /// Says whether a line of this kind is written. Otherwise it is counted.
    fn admits(&self, kind: &'static Metadata<'static>) -> bool {
        let is_own = kind.target().starts_with("portcullis");
        let bounded = if is_own { Level::WARN } else { Level::INFO };
        // An operator asks for finer levels explicitly, and then wants all lines.
        if UNBOUNDED.contains(&kind.target()) || *kind.level() > bounded {
            return true;
        }
        let now = self.clock.steady();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = kinds.entry(kind.callsite()).or_insert_with(|| Kind {
            since: now,
            lines: 0,
            folded: 0,
            name: format!("{} line {}", kind.target(), kind.line().unwrap_or_default()),
        });
        // A number that was not told yet keeps its minute open until `sum_up` tells it.
        if counted.folded == 0 && now.duration_since(counted.since) >= WINDOW {
            counted.since = now;
            counted.lines = 0;
        }
        if counted.lines < LINES {
            counted.lines += 1;
            return true;
        }
        counted.folded += 1;
        self.folded.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Writes a line for each kind whose minute is over and that has lines which were not written. `is_last` does not
    /// wait for the end of the minute.
    pub(super) fn sum_up(&self, is_last: bool) {
        let now = self.clock.steady();
        let mut told = Vec::new();
        for kind in self.kinds.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            if kind.folded > 0 && (is_last || now.duration_since(kind.since) >= WINDOW) {
                told.push((kind.name.clone(), std::mem::take(&mut kind.folded)));
                kind.since = now;
                kind.lines = 0;
            }
        }
        // Not under the lock: these lines come here as well.
        for (of, folded) in told {
            tracing::warn!(target: TARGET, of, folded, "more lines like an earlier one were left out");
        }
    }
}

impl<S: Subscriber> Filter<S> for LogFold {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use portcullis::system::clock::Timestamp;
    use tracing_subscriber::prelude::*;

    use super::*;

    /// Counts the lines that reach it.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicU64>);

    impl<S: Subscriber> tracing_subscriber::Layer<S> for Lines {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn lines_of_one_kind_are_summed_up_and_other_kinds_are_written() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let fold = LogFold::new(clock.clone());
        let lines = Lines::default();
        let seen = || lines.0.swap(0, Ordering::Relaxed);
        let subscriber = tracing_subscriber::registry().with(lines.clone().with_filter(fold.clone()));
        let _default = tracing::subscriber::set_default(subscriber);
        let flood = |count| (0..count).for_each(|number| tracing::error!(number, "a fault"));
        flood(1000);
        assert_eq!(seen(), 5);
        assert_eq!(fold.folded(), 995);
        tracing::warn!("another");
        (0..50).for_each(|_| tracing::info!("an ordinary line of ours"));
        assert_eq!(seen(), 51);
        (0..50).for_each(|_| tracing::info!(target: "another_crate", "a line"));
        assert_eq!(seen(), 5);
        fold.sum_up(false);
        assert_eq!(seen(), 0);
        clock.advance(WINDOW);
        fold.sum_up(false);
        assert_eq!(seen(), 2);
        flood(7);
        assert_eq!(seen(), 5);
        fold.sum_up(true);
        assert_eq!(seen(), 1);
    }
}
