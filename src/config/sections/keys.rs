//! `[keys]`: where the server's keys are.

use std::path::{Path, PathBuf};

use crate::config::key::{Key, text};
use crate::config::reader::Reader;
use crate::config::secret_file::SecretFile;

pub(in crate::config) const KEYS: &[Key] = &[
    text("keys.dir", "", "Directory of the server's keys. Default: keys in the data directory."),
    text(
        "keys.master_file",
        "",
        "File with the secret that seals the keys at rest, at least 32 random bytes; or credential:NAME, a systemd \
         credential. Default: none, the keys are not sealed.",
    ),
];

/// The settings of `[keys]`.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Directory of the server's keys.
    pub dir: PathBuf,
    /// The secret that seals them at rest.
    pub master_file: Option<SecretFile>,
}

impl Keys {
    pub(in crate::config) fn read(reader: &mut Reader, data_dir: &Path) -> Self {
        Self {
            dir: reader.path("keys.dir").unwrap_or_else(|| data_dir.join("keys")),
            master_file: secret_file(reader, "keys.master_file"),
        }
    }
}

/// Returns the place of a secret, if the key `name` is set.
pub(super) fn secret_file(reader: &mut Reader, name: &str) -> Option<SecretFile> {
    let path = reader.path(name)?;
    let Some(text) = path.to_str() else { return Some(SecretFile::Path(path)) };
    let file = SecretFile::parse(text);
    if file.is_none() {
        reader.wrong(name, "must be a path, or credential: and the name of a credential");
    }
    file
}
