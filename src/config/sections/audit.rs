//! `[audit]`: where security events are written, and how long they are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::key::{Key, number, text};
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[
    text("audit.dir", "", "Directory of the log of security events. Default: audit in the data directory."),
    number("audit.keep_days", "400", 1..=36_500, "Days after which a file of the log is removed."),
    number(
        "audit.bytes_max",
        "8589934592",
        1 << 20..=1 << 50,
        "Bytes of all files of the log together. Beyond it the oldest files are removed.",
    ),
];

/// The settings of `[audit]`.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Directory of the log of security events.
    pub dir: PathBuf,
    /// How long a file is kept.
    pub keep: Duration,
    /// Maximum size of all files together.
    pub bytes_max: u64,
}

impl Audit {
    pub(in crate::config) fn read(reader: &mut Reader, data_dir: &Path) -> Self {
        Self {
            dir: reader.path("audit.dir").unwrap_or_else(|| data_dir.join("audit")),
            keep: Duration::from_secs(86_400 * reader.number("audit.keep_days")),
            bytes_max: reader.number("audit.bytes_max"),
        }
    }
}
