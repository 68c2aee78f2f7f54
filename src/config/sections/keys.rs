//! `[keys]`: where the server's keys are.

use std::path::{Path, PathBuf};

use crate::config::key::{Key, text};
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[
    text("keys.dir", "", "Directory of the server's keys. Default: keys in the data directory."),
    text("keys.master_file", "", "Not available in this version."),
];

/// The settings of `[keys]`.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Directory of the server's keys.
    pub dir: PathBuf,
}

impl Keys {
    pub(in crate::config) fn read(reader: &mut Reader, data_dir: &Path) -> Self {
        reader.not_available("keys.master_file");
        Self { dir: reader.text("keys.dir").map_or_else(|| data_dir.join("keys"), PathBuf::from) }
    }
}
