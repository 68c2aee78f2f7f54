//! A backup: a copy of the files with a list of their sums, read to its end before it counts as one.

use std::io;

use sha2::{Digest, Sha256};

use super::Nobody;
use crate::journal::format::layout::{
    IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR, Sizes, numbers, segment_path, snapshot_path,
};
use crate::journal::recovery::replay::{RecoveryTarget, replay_read_only_until};
use crate::journal::recovery::report::{RecoveryReport, Refusal};
use crate::storage::{File, Storage, join, write_whole, write_whole_by};
use crate::value::id::hex;

/// The list of a backup's files with their SHA-256.
pub const SUMS: &str = "SHA256SUMS";
/// A file that the server deletes meanwhile makes the copy begin anew, at most so often.
const COPIES_MAX: usize = 8;
/// A copy that cannot be read to its end is made anew, at most so often: its last frame may have been in flight.
const REFUSALS_MAX: usize = 3;
/// Of a file so many bytes are held at once.
const PIECE: usize = 1 << 20;

/// Copies snapshots and journal of a directory that may be in use, so that the copy reaches everything that was durable
/// when it began. Says how far the copy reaches, by reading all of it. Holds neither records nor whole files.
pub fn back_up(from: &dyn Storage, to: &dyn Storage, sizes: Sizes) -> io::Result<RecoveryReport> {
    let mut refused = 0;
    for _ in 0..COPIES_MAX {
        match copy(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            copied => copied?,
        }
        match replay_read_only_until(to, sizes, &mut Nobody, RecoveryTarget::default()) {
            Ok(found) => return Ok(found),
            Err(refusal) => {
                refused += 1;
                if refused == REFUSALS_MAX {
                    return Err(io::Error::other(refusal));
                }
            }
        }
    }
    Err(io::Error::other("files were deleted faster than they could be copied; try again"))
}

/// In this order nothing that is copied asks for more than what is copied after it.
fn copy(from: &dyn Storage, to: &dyn Storage) -> io::Result<()> {
    let mut sums = String::new();
    let mut one = |dir: &str, name: &str| -> io::Result<()> {
        let path = join(dir, name);
        let sum = copy_file(&*from.open(&path)?, to, dir, name)?;
        sums.push_str(&format!("{sum}  {path}\n"));
        Ok(())
    };
    for dir in [SNAPSHOT_DIR, JOURNAL_DIR] {
        to.create_dir(dir)?;
        for name in to.list(dir)? {
            to.unlink(&join(dir, &name))?;
        }
    }
    one("", IDENTITY)?;
    for number in numbers(from, SNAPSHOT_DIR, ".snap")? {
        one(SNAPSHOT_DIR, name_of(&snapshot_path(number)))?;
    }
    for number in numbers(from, JOURNAL_DIR, ".log")? {
        one(JOURNAL_DIR, name_of(&segment_path(number)))?;
    }
    write_whole(to, "", SUMS, sums.as_bytes())
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Copies a file so that it is there whole or not at all, and says the sum of what was copied.
fn copy_file(from: &dyn File, to: &dyn Storage, dir: &str, name: &str) -> io::Result<String> {
    write_whole_by(to, dir, name, |file| in_pieces(from, |piece, at| file.write_at(piece, at)))
}

/// Reads a file piece by piece, each with its place, and says the sum of all.
fn in_pieces(file: &dyn File, mut each: impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<String> {
    let len = file.length()?;
    let mut sum = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        // Shorter only where the file ends.
        piece.truncate(usize::try_from(len - at).unwrap_or(PIECE));
        file.read_at(&mut piece, at)?;
        sum.update(&piece);
        each(&piece, at)?;
        at += piece.len() as u64;
    }
    Ok(hex(&sum.finalize()))
}

/// Compares every file of a backup with its list.
pub fn check_sums(storage: &dyn Storage) -> Result<(), Refusal> {
    const ANOTHER: &str = "take another backup";
    const UNREADABLE: &str = "the backup may be sound: mend the disk or its permissions, and try again";
    let wrong = |path: &str, what: &str| Refusal::new(path, None, what, ANOTHER);
    let failed = |path: &str, error: &io::Error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        Refusal::new(path, None, error, if is_missing { ANOTHER } else { UNREADABLE })
    };
    let list = storage.open(SUMS).and_then(|file| file.read_all()).map_err(|error| failed(SUMS, &error))?;
    for line in String::from_utf8_lossy(&list).lines() {
        let (sum, path) = line.split_once("  ").ok_or_else(|| wrong(SUMS, "a line without a sum"))?;
        let found = storage.open(path).and_then(|file| in_pieces(&*file, |_, _| Ok(())));
        if found.map_err(|error| failed(path, &error))? != sum {
            return Err(wrong(path, "is not what was backed up: its sum differs"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::tests::{directory, frames};
    use super::*;
    use crate::simulation::golden::SIZES;
    use crate::storage::simulated::SimStorage;

    #[test]
    fn files_are_read_and_copied_in_pieces_and_their_sum_is_that_of_the_whole() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 100] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let (from, to) = (SimStorage::new(), SimStorage::new());
            from.plant("d/a", bytes.clone());
            let file = from.open("d/a").unwrap();
            let mut seen = Vec::new();
            let sum = in_pieces(&*file, |piece, at| {
                assert!(piece.len() <= PIECE && at == seen.len() as u64);
                seen.extend_from_slice(piece);
                Ok(())
            });
            assert_eq!(sum.unwrap(), hex(&Sha256::digest(&bytes)));
            assert!(seen == bytes);
            to.plant("d/a.tmp", vec![1; len + 9]);
            assert_eq!(copy_file(&*file, &to, "d", "a").unwrap(), hex(&Sha256::digest(&bytes)));
            let after = to.after_crash(1);
            assert!(after.peek("d/a").unwrap() == bytes && after.peek("d/a.tmp").is_none());
        }
        let disk = SimStorage::new();
        disk.plant("a", vec![1]);
        assert!(in_pieces(&*disk.open("a").unwrap(), |_, _| Err(io::ErrorKind::StorageFull.into())).is_err());
    }

    /// A directory whose last frames are in flight for so many readers to come.
    struct InFlight {
        disk: SimStorage,
        torn: SimStorage,
        path: String,
        left: AtomicUsize,
    }

    impl Storage for InFlight {
        fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
            let is_torn = path == self.path
                && self
                    .left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok();
            if is_torn { self.torn.open(path) } else { self.disk.open(path) }
        }
        fn list(&self, path: &str) -> io::Result<Vec<String>> {
            self.disk.list(path)
        }
        fn open_to_write(&self, _: &str) -> io::Result<Arc<dyn File>> {
            panic!("a backup writes where it reads")
        }
        fn create_new(&self, _: &str) -> io::Result<Arc<dyn File>> {
            panic!("a backup writes where it reads")
        }
        fn rename(&self, _: &str, _: &str) -> io::Result<()> {
            panic!("a backup writes where it reads")
        }
        fn unlink(&self, _: &str) -> io::Result<()> {
            panic!("a backup writes where it reads")
        }
        fn create_dir(&self, _: &str) -> io::Result<()> {
            panic!("a backup writes where it reads")
        }
        fn remove_dir(&self, _: &str) -> io::Result<()> {
            panic!("a backup writes where it reads")
        }
        fn sync_dir(&self, _: &str) -> io::Result<()> {
            panic!("a backup writes where it reads")
        }
        fn free_space(&self) -> io::Result<u64> {
            self.disk.free_space()
        }
        fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
            panic!("a backup keeps the server out")
        }
        fn lock_to_read(&self) -> io::Result<Box<dyn Send + Sync>> {
            panic!("a backup keeps the server out")
        }
    }

    #[test]
    fn a_copy_of_a_frame_in_flight_is_made_again_and_one_of_damaged_bytes_is_refused_in_the_end() {
        let of = |left| {
            let (disk, torn) = (directory(6), directory(6));
            let (path, at, len) = frames(&disk)[&3].clone();
            // As a copy finds it whose reader was overtaken by the writer: zeros, and frames behind them.
            torn.damage(&path, |bytes| bytes[at..at + len].fill(0));
            let from = InFlight { disk, torn, path, left: AtomicUsize::new(left) };
            let to = SimStorage::new();
            (back_up(&from, &to, SIZES).map(|found| found.seq).map_err(|error| error.to_string()), to)
        };
        for torn in 0..REFUSALS_MAX {
            let (copied, to) = of(torn);
            assert_eq!(copied, Ok(6), "{torn}");
            super::super::check_sums(&to).unwrap();
        }
        let why = of(REFUSALS_MAX).0.unwrap_err();
        assert!(why.starts_with("journal/") && !why.contains("faster"), "{why}");
    }
}
