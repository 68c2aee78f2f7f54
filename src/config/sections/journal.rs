//! `[journal]`: sizes of the journal's files, and how entries become durable.

use std::path::Path;

use crate::config::key::{Key, choice, flag, number, text};
use crate::config::reader::Reader;
use crate::storage::write_mode::WriteMode;
use crate::system::volume;

pub(in crate::config) const KEYS: &[Key] = &[
    number(
        "journal.segment_bytes",
        "16777216",
        SEGMENT_BYTES_MIN..=1 << 30,
        "Bytes of one file of the journal; on a small volume at most a 16th of it.",
    ),
    choice(
        "journal.write_mode",
        "\"auto\"",
        &["auto", "direct", "dsync", "fdatasync"],
        "How entries become durable: \"direct\" (bypassing the page cache), \"dsync\", \"fdatasync\", or \"auto\", the \
         first of them that the file system supports.",
    ),
    number(
        "journal.snapshot_bytes",
        "67108864",
        1 << 20..=1 << 40,
        "Bytes of journal after which a snapshot is taken; on a small volume at most an 8th of it.",
    ),
    text("journal.mirror_dir", "", "Not available in this version."),
    flag("journal.encrypt", "false", "Not available in this version."),
];

/// The smallest segment.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// A segment is a whole number of pages, which direct writes need.
const PAGE_BYTES: u64 = 4096;

/// The settings of `[journal]`.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Bytes of one segment.
    pub segment_bytes: u64,
    /// How entries become durable. Where the file system cannot do this mode, the next one is used.
    pub write_mode: WriteMode,
    /// Bytes of journal after which a snapshot is taken.
    pub snapshot_bytes: u64,
}

impl Journal {
    /// Returns the settings as they fit on a volume of `total` bytes. Two snapshots, the journal since the older one, two
    /// spare segments and the space that is kept free for the next must have room together, or else ordinary requests are
    /// refused each time a segment is full.
    #[must_use]
    fn fitted(&self, total: u64) -> Self {
        let segment = (total / 16).max(SEGMENT_BYTES_MIN);
        Self {
            segment_bytes: self.segment_bytes.min(segment - segment % PAGE_BYTES),
            write_mode: self.write_mode,
            snapshot_bytes: self.snapshot_bytes.min((total / 8).max(SEGMENT_BYTES_MIN)),
        }
    }

    /// Returns the settings as they fit on the volume of `dir`. Where its size is unknown, they stay.
    #[must_use]
    pub fn fitted_to(&self, dir: &Path) -> Self {
        volume::space(dir).map_or_else(|_| self.clone(), |space| self.fitted(space.total))
    }

    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        reader.not_available("journal.mirror_dir", None);
        reader.not_available("journal.encrypt", None);
        let segment_bytes = reader.number("journal.segment_bytes");
        if !segment_bytes.is_multiple_of(PAGE_BYTES) {
            reader.wrong("journal.segment_bytes", "must be a multiple of 4096");
        }
        let write_mode = reader.choice("journal.write_mode");
        Self {
            segment_bytes,
            // "auto" is no mode: it begins with the first one.
            write_mode: WriteMode::of_name(&write_mode).unwrap_or(WriteMode::Direct),
            snapshot_bytes: reader.number("journal.snapshot_bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_journal_fit_on_a_small_volume() {
        let journal =
            Journal { segment_bytes: 16 << 20, write_mode: WriteMode::Direct, snapshot_bytes: 64 << 20 };
        for (total_mib, segment_mib, snapshot_mib) in
            [(1 << 20, 16, 64), (512, 16, 64), (96, 6, 12), (28, 4, 4)]
        {
            let fitted = journal.fitted(total_mib << 20);
            let expected = (segment_mib << 20, snapshot_mib << 20);
            assert_eq!((fitted.segment_bytes, fitted.snapshot_bytes), expected, "{total_mib}");
        }
        let odd = journal.fitted((100 << 20) + 12_345).segment_bytes;
        assert!(odd.is_multiple_of(PAGE_BYTES) && odd > 6 << 20, "{odd}");
    }
}
