//! Which named snapshots there are, and which of them are kept.

use crate::journal::format::header::{FileKind, HEADER_BYTES, Header};
use crate::journal::format::layout::{SNAPSHOT_DIR, numbers, snapshot_path};
use crate::journal::snapshot::read::{Contents, Unreadable};
use crate::journal::snapshot::status::Named;
use crate::storage::Storage;
use crate::system::clock::Timestamp;
use crate::system::seeded_bug::{Bug, seeded};

/// Returns the size and the age of the newest named snapshot, if there is one and its header can be read.
pub fn newest(storage: &dyn Storage) -> Option<Named> {
    let number = numbers(storage, SNAPSHOT_DIR, ".snap").ok()?.pop()?;
    let file = storage.open(&snapshot_path(number)).ok()?;
    let mut block = [0; HEADER_BYTES];
    file.read_at(&mut block, 0).ok()?;
    let header = Header::read(FileKind::Snapshot, &block).ok()?;
    Some(Named { bytes: file.length().ok()?, begun: Timestamp(header.created_ms) })
}

/// Deletes all named snapshots except the newest two, and returns the start of the older one: no kept snapshot needs a
/// segment that ends before it. The caller has just proved both.
///
/// Errors: the header or footer of the older one cannot be read; nothing was deleted.
pub fn keep_two(storage: &dyn Storage, cluster: [u8; 16]) -> Result<u64, Unreadable> {
    let mut numbers = numbers(storage, SNAPSHOT_DIR, ".snap")?;
    numbers.reverse();
    let mut start = 0;
    if let Some(older) = numbers.get(1) {
        let file = storage.open(&snapshot_path(*older))?;
        start = Contents::read(&*file, Some(cluster))?.start_seq();
    }
    let kept = if seeded(Bug::OneSnapshotKept) { 1 } else { 2 };
    for number in numbers.iter().skip(kept).rev() {
        storage.unlink(&snapshot_path(*number))?;
    }
    storage.sync_dir(SNAPSHOT_DIR)?;
    Ok(start)
}
