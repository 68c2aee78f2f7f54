//! Backups: copies the files of a directory, lists their sums, and reads the copy to its end before it counts.

use std::io;

use sha2::{Digest, Sha256};

use super::records::Discard;
use crate::journal::format::layout::{
    IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR, Sizes, numbers, segment_path, snapshot_path,
};
use crate::journal::recovery::replay::{RecoveryTarget, replay_read_only_until};
use crate::journal::recovery::report::{RecoveryReport, Refusal};
use crate::storage::{File, Storage, join, write_whole, write_whole_by};
use crate::value::id::hex;

/// The file that lists a backup's files with the SHA-256 of each.
pub const SUMS: &str = "SHA256SUMS";
/// The file that marks a backup that is not finished.
pub const UNFINISHED: &str = "UNFINISHED";
/// If the server deletes a file meanwhile, the copy begins again, at most this many times.
const COPIES_MAX: usize = 8;
/// If the copy cannot be read to its end, it begins again: its last frame may have been in flight. At most this many
/// times.
const REFUSALS_MAX: usize = 3;
/// The number of bytes of a file that are held at once.
const PIECE: usize = 1 << 20;

/// Copies the snapshots and the journal of a directory, which may be in use, and reads the whole copy. The report says
/// how far it reaches: at least to everything that was durable at the call. Memory holds neither records nor whole
/// files.
///
/// Errors: after three copies that cannot be read, the reason of the last one.
pub fn back_up(from: &dyn Storage, to: &dyn Storage, sizes: Sizes) -> io::Result<RecoveryReport> {
    let mut refusals = 0;
    for _ in 0..COPIES_MAX {
        match copy(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            copied => copied?,
        }
        match replay_read_only_until(to, sizes, &mut Discard, RecoveryTarget::default()) {
            Ok(report) => return Ok(report),
            Err(refusal) => {
                refusals += 1;
                if refusals == REFUSALS_MAX {
                    return Err(io::Error::other(refusal));
                }
            }
        }
    }
    Err(io::Error::other("the server deleted files faster than they could be copied; try again"))
}

/// Copies each file once. Snapshots come before segments: no copied file then requires more than the files copied after
/// it hold.
fn copy(from: &dyn Storage, to: &dyn Storage) -> io::Result<()> {
    let mut sums = String::new();
    let mut copy_one = |dir: &str, name: &str| -> io::Result<()> {
        let path = join(dir, name);
        let file = from.open(&path)?;
        let sum = copy_file(&*file, file.length()?, to, dir, name)?;
        sums.push_str(&format!("{sum}  {path}\n"));
        Ok(())
    };
    for dir in [SNAPSHOT_DIR, JOURNAL_DIR] {
        to.create_dir(dir)?;
        for name in to.list(dir)? {
            to.unlink(&join(dir, &name))?;
        }
    }
    copy_one("", IDENTITY)?;
    for number in numbers(from, SNAPSHOT_DIR, ".snap")? {
        copy_one(SNAPSHOT_DIR, name_of(&snapshot_path(number)))?;
    }
    for number in numbers(from, JOURNAL_DIR, ".log")? {
        copy_one(JOURNAL_DIR, name_of(&segment_path(number)))?;
    }
    write_whole(to, "", SUMS, sums.as_bytes())
}

/// Returns the last part of a path.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Copies the first `len` bytes of a file, so that the copy exists completely or not at all, and returns their SHA-256.
pub fn copy_file(from: &dyn File, len: u64, to: &dyn Storage, dir: &str, name: &str) -> io::Result<String> {
    write_whole_by(to, dir, name, |file| in_pieces(from, len, |piece, at| file.write_at(piece, at)))
}

/// Adds files with their SHA-256 to the list of a backup.
pub fn add_sums(to: &dyn Storage, sums: &[(String, String)]) -> io::Result<()> {
    let mut list = to.open(SUMS)?.read_all()?;
    for (path, sum) in sums {
        list.extend_from_slice(format!("{sum}  {path}\n").as_bytes());
    }
    write_whole(to, "", SUMS, &list)
}

/// Refuses a backup that was not finished, or that is still being made.
pub fn refuse_unfinished(backup: &dyn Storage) -> Result<(), Refusal> {
    match backup.open(UNFINISHED) {
        Ok(_) => Err(Refusal::new(UNFINISHED, None, "this backup was not finished", "take another backup")),
        Err(_) => Ok(()),
    }
}

/// Reads the first `len` bytes of a file in pieces, gives each with its offset to `each`, and returns the SHA-256 of all.
fn in_pieces(
    file: &dyn File,
    len: u64,
    mut each: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<String> {
    let mut sum = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        // Only the last piece is shorter.
        piece.truncate(usize::try_from(len - at).unwrap_or(PIECE));
        file.read_at(&mut piece, at)?;
        sum.update(&piece);
        each(&piece, at)?;
        at += piece.len() as u64;
    }
    Ok(hex(&sum.finalize()))
}

/// Compares every file of a backup with the list.
///
/// Errors: a file is missing or differs, and another backup is needed; or the disk reports an error, and the backup may
/// be sound.
pub fn check_sums(storage: &dyn Storage) -> Result<(), Refusal> {
    const TAKE_ANOTHER: &str = "take another backup";
    const MEND_DISK: &str = "the backup may be sound: mend the disk or its permissions, and try again";
    let differs = |path: &str, what: &str| Refusal::new(path, None, what, TAKE_ANOTHER);
    let failed = |path: &str, error: &io::Error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        Refusal::of(path, error, if is_missing { TAKE_ANOTHER } else { MEND_DISK })
    };
    let list = storage.open(SUMS).and_then(|file| file.read_all()).map_err(|error| failed(SUMS, &error))?;
    for line in String::from_utf8_lossy(&list).lines() {
        let (sum, path) = line.split_once("  ").ok_or_else(|| differs(SUMS, "a line without a sum"))?;
        let actual = storage.open(path).and_then(|file| in_pieces(&*file, file.length()?, |_, _| Ok(())));
        if actual.map_err(|error| failed(path, &error))? != sum {
            return Err(differs(path, "is not what was backed up: its sum differs"));
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
    fn files_are_copied_in_pieces_and_summed_as_a_whole() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 100] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let from = SimStorage::new();
            let to = SimStorage::new();
            from.plant("d/a", bytes.clone());
            let file = from.open("d/a").unwrap();
            let mut seen = Vec::new();
            let sum = in_pieces(&*file, len as u64, |piece, at| {
                assert!(piece.len() <= PIECE);
                assert_eq!(at, seen.len() as u64);
                seen.extend_from_slice(piece);
                Ok(())
            });
            assert_eq!(sum.unwrap(), hex(&Sha256::digest(&bytes)));
            assert!(seen == bytes);
            to.plant("d/a.tmp", vec![1; len + 9]);
            assert_eq!(copy_file(&*file, len as u64, &to, "d", "a").unwrap(), hex(&Sha256::digest(&bytes)));
            let after = to.after_crash(1);
            assert!(after.peek("d/a").unwrap() == bytes);
            assert!(after.peek("d/a.tmp").is_none());
        }
        let disk = SimStorage::new();
        disk.plant("a", vec![1]);
        assert!(
            in_pieces(&*disk.open("a").unwrap(), 1, |_, _| Err(io::ErrorKind::StorageFull.into())).is_err()
        );
    }

    /// A directory in which one file shows frames in flight to the next `left` readers.
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
            panic!("a backup wrote to its source")
        }
        fn create_new(&self, _: &str) -> io::Result<Arc<dyn File>> {
            panic!("a backup wrote to its source")
        }
        fn rename(&self, _: &str, _: &str) -> io::Result<()> {
            panic!("a backup wrote to its source")
        }
        fn unlink(&self, _: &str) -> io::Result<()> {
            panic!("a backup wrote to its source")
        }
        fn create_dir(&self, _: &str) -> io::Result<()> {
            panic!("a backup wrote to its source")
        }
        fn remove_dir(&self, _: &str) -> io::Result<()> {
            panic!("a backup wrote to its source")
        }
        fn sync_dir(&self, _: &str) -> io::Result<()> {
            panic!("a backup wrote to its source")
        }
        fn free_space(&self) -> io::Result<u64> {
            self.disk.free_space()
        }
        fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
            panic!("a backup locked the server out")
        }
        fn lock_to_read(&self) -> io::Result<Box<dyn Send + Sync>> {
            panic!("a backup locked the server out")
        }
    }

    #[test]
    fn a_copy_of_a_frame_in_flight_is_repeated_and_one_of_damage_refused() {
        let copy_with = |left| {
            let disk = directory(6);
            let torn = directory(6);
            let (path, at, len) = frames(&disk)[&3].clone();
            // The copy was overtaken by the writer: it has zeros, with later frames after them.
            torn.damage(&path, |bytes| bytes[at..at + len].fill(0));
            let from = InFlight { disk, torn, path, left: AtomicUsize::new(left) };
            let to = SimStorage::new();
            let reached =
                back_up(&from, &to, SIZES).map(|report| report.seq).map_err(|error| error.to_string());
            (reached, to)
        };
        for torn in 0..REFUSALS_MAX {
            let (reached, to) = copy_with(torn);
            assert_eq!(reached, Ok(6), "{torn}");
            super::super::check_sums(&to).unwrap();
        }
        let why = copy_with(REFUSALS_MAX).0.unwrap_err();
        assert!(why.starts_with("journal/"), "{why}");
        assert!(!why.contains("faster"), "{why}");
    }
}
