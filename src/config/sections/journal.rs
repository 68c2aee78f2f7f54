//! `[journal]`: sizes of the journal's files, and how entries become durable.

use crate::config::key::{Key, choice, flag, number, text};
use crate::config::reader::Reader;
use crate::storage::write_mode::WriteMode;

pub(in crate::config) const KEYS: &[Key] = &[
    number("journal.segment_bytes", "16777216", 4 << 20..=1 << 30, "Bytes of one file of the journal."),
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
        "Bytes of journal after which a snapshot is taken.",
    ),
    text("journal.mirror_dir", "", "Not available in this version."),
    flag("journal.encrypt", "false", "Not available in this version."),
];

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
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        reader.not_available("journal.mirror_dir");
        reader.not_available("journal.encrypt");
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
