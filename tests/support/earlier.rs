//! Data directories as an earlier version has left them.

use std::path::Path;
use std::sync::Arc;

use portcullis::journal::archive::{Destination, admit_all, restore};
use portcullis::journal::format::layout::Sizes;
use portcullis::journal::recovery::replay::RecoveryTarget;
use portcullis::registry::tables::FILE_CHECKS;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Clock;
use portcullis::system::random::Random;

/// Makes the stopped directory `dir` one whose journal remembers no file, as before there was a table of them:
/// with the same records otherwise. Everybody has to log in again.
pub fn forget_files(dir: &Path) {
    let made = tempfile::tempdir_in(dir.parent().unwrap()).unwrap();
    let from = LocalStorage::open(dir).unwrap();
    let to = Destination {
        storage: Arc::new(LocalStorage::open(made.path()).unwrap()),
        sizes: Sizes::PRODUCTION,
        clock: Clock::system(),
        random: Arc::new(Random::system()),
        left_out: &[FILE_CHECKS],
        admit: &admit_all,
        added: &[],
    };
    let restored = restore(&from, to, RecoveryTarget::default()).unwrap();
    assert!(restored.left_out > 0, "nothing was remembered");
    for name in ["IDENTITY", "journal", "snapshot"] {
        let (old, new) = (dir.join(name), made.path().join(name));
        if old.is_dir() {
            std::fs::remove_dir_all(&old).unwrap();
        } else {
            std::fs::remove_file(&old).unwrap();
        }
        std::fs::rename(new, old).unwrap();
    }
}
