//! `[events]`: how long events for other programs are kept.

pub mod webhook;

use std::path::Path;
use std::time::Duration;

use crate::config::key::{Key, number};
use crate::config::reader::Reader;
use crate::journal::event_log::Keep;
use crate::system::volume;

pub(in crate::config) const KEYS: &[Key] = &[
    number("events.keep_days", "7", 1..=90, "Days for which events are kept for programs that ask for them."),
    number(
        "events.bytes_max",
        "268435456",
        1 << 20..=1 << 40,
        "Bytes of all of them. Beyond it the oldest are removed; on a small volume it is at most a 32nd of it.",
    ),
];

/// The smallest log, on any volume.
const BYTES_MIN: u64 = 1 << 20;

/// The settings of `[events]`.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    /// How long events are kept.
    pub keep: Duration,
    /// Maximum size of all files together.
    pub bytes_max: u64,
}

impl Events {
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        Self {
            keep: Duration::from_secs(86_400 * reader.number("events.keep_days")),
            bytes_max: reader.number("events.bytes_max"),
        }
    }

    /// Returns how much is kept on the volume of `dir`. Where its size is unknown, that is what is set.
    pub fn fitted_to(&self, dir: &Path) -> Keep {
        let total = volume::space(dir).map_or(u64::MAX, |space| space.total);
        Keep::new(self.keep, self.bytes_max.min((total / 32).max(BYTES_MIN)))
    }
}
