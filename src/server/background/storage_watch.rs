//! Tells operators that requests are refused since the disk is full: at most once a minute while it lasts, and once when it
//! is over.

use std::time::Duration;

use crate::system::clock::Timestamp;

/// How often the log says that requests are refused.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// A line for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Told {
    /// So many entries were refused since the last line.
    Refusing(u64),
    /// There is room again. So many were refused in all.
    Over(u64),
}

/// What there is to tell, and whether it is worth an alert.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Verdict {
    pub(super) told: Option<Told>,
    pub(super) is_alert: bool,
}

/// Decides from the count of refused entries what to tell. Pure.
#[derive(Debug, Default)]
pub(super) struct StorageWatch {
    /// The count when it was last looked at.
    seen: u64,
    /// Refused since the last line.
    untold: u64,
    /// Refused since the trouble began.
    in_all: u64,
    /// When the log last said that requests are refused.
    told_at: Option<Timestamp>,
    /// Whether the log has said so, and not yet that it is over.
    is_open: bool,
    alerted_at: Option<Timestamp>,
}

impl StorageWatch {
    /// Takes the count of entries that were `refused` since the start, and whether the disk `is_full` now. An alert is raised
    /// once within `quiet`.
    pub(super) fn observe(
        &mut self,
        refused: u64,
        is_full: bool,
        quiet: Duration,
        now: Timestamp,
    ) -> Verdict {
        let new = refused.saturating_sub(self.seen);
        self.seen = refused;
        self.untold += new;
        self.in_all += new;
        if self.untold > 0 && self.told_at.is_none_or(|at| now.since(at) >= TELL_EVERY) {
            self.told_at = Some(now);
            self.is_open = true;
            let is_alert = self.alerted_at.is_none_or(|at| now.since(at) >= quiet);
            if is_alert {
                self.alerted_at = Some(now);
            }
            return Verdict { told: Some(Told::Refusing(std::mem::take(&mut self.untold))), is_alert };
        }
        if self.is_open && new == 0 && !is_full {
            self.is_open = false;
            self.untold = 0;
            return Verdict { told: Some(Told::Over(std::mem::take(&mut self.in_all))), is_alert: false };
        }
        Verdict::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const QUIET: Duration = Duration::from_mins(30);

    /// Kind: a refusal of every request that no line, no alert and no figure tells of.
    #[test]
    fn a_full_disk_is_told_once_a_minute_alerted_on_once_and_its_end_is_told() {
        let mut watch = StorageWatch::default();
        let mut look = |secs: u64, refused, is_full| {
            watch.observe(refused, is_full, QUIET, NOW + Duration::from_secs(secs))
        };
        let quiet = Verdict::default();
        let line = |told| Verdict { told: Some(told), is_alert: false };
        // A full disk on which nobody writes refuses nothing.
        assert_eq!([look(0, 0, false), look(5, 0, true)], [quiet, quiet]);
        assert_eq!(look(10, 3, true), Verdict { told: Some(Told::Refusing(3)), is_alert: true });
        for secs in [15, 20, 65] {
            assert_eq!(look(secs, 3 + secs, true), quiet, "{secs}");
        }
        assert_eq!(look(70, 100, true), line(Told::Refusing(97)));
        assert_eq!(look(75, 100, true), quiet);
        assert_eq!(look(80, 100, false), line(Told::Over(100)));
        assert_eq!(look(85, 100, false), quiet);
        // Soon again, and later again.
        assert_eq!(look(100, 101, true), quiet);
        assert_eq!(look(130, 102, true), line(Told::Refusing(2)));
        assert_eq!(look(140, 102, false), line(Told::Over(2)));
        assert_eq!(look(3000, 103, true), Verdict { told: Some(Told::Refusing(1)), is_alert: true });
    }
}
