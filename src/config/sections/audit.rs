//! `[audit]`: where security events are written.

use std::path::{Path, PathBuf};

use crate::config::key::{Key, text};
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[text(
    "audit.dir",
    "",
    "Directory of the log of security events. Default: audit in the data directory.",
)];

/// The settings of `[audit]`.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Directory of the log of security events.
    pub dir: PathBuf,
}

impl Audit {
    pub(in crate::config) fn read(reader: &mut Reader, data_dir: &Path) -> Self {
        Self { dir: reader.text("audit.dir").map_or_else(|| data_dir.join("audit"), PathBuf::from) }
    }
}
