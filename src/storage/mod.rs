//! The door to files: the whole journal runs over this trait, on a disk or in the simulator.
//!
//! A name and the bytes behind it are two things: `sync_data` makes bytes durable, `sync_dir` makes names durable.
//! Paths are relative to the data directory and use `/`.

pub mod local;
mod local_file;
#[cfg(any(test, feature = "sim"))]
pub mod simulated;
pub mod write_mode;

use std::io;
use std::sync::Arc;

use crate::system::seeded_bug::{Bug, seeded};

/// Read at once when zeros are looked for.
const PIECE: usize = 256 << 10;

/// A directory tree that may lose what was not synced.
pub trait Storage: Send + Sync + 'static {
    /// Opens a file that exists, for reading alone: it may lie where nothing can be written.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file that exists, for reading and writing.
    fn open_to_write(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a segment's file for the writer: of full length, and nothing of it in use yet.
    fn open_log(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.open_to_write(path)
    }
    /// Makes a file that must not exist yet.
    fn create_new(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, replacing what had it. Durable only after [`Storage::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a name away.
    fn unlink(&self, path: &str) -> io::Result<()>;
    /// Makes the directory and those above it; no error when it exists.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// Takes an empty directory away; an error when anything is in it.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable. The root is the empty path.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// The names in a directory, in no order; none when there is no such directory.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// Bytes that may still be written.
    fn free_space(&self) -> io::Result<u64>;
    /// Refuses a directory that another process holds or that lies on a network file system; holds it until dropped.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;
    /// Keeps writers off until dropped, beside other readers, and changes nothing: where no writer ever held the directory,
    /// nobody is kept off. Refuses a directory that a writer holds.
    fn lock_to_read(&self) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. All methods take offsets: no position is shared.
pub trait File: Send + Sync {
    /// Writes some of `bytes` at `offset`, from their begin, and says how many.
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Fills `bytes` from `offset`; an error when the file ends before.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Makes the bytes and the length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Sets the length; new bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The length.
    fn length(&self) -> io::Result<u64>;
    /// Drops what the page cache holds, so that the next reading shows what the disk has.
    fn forget_cache(&self) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; interrupted and short writes are continued with the same bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.write_some(rest, offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) if seeded(Bug::ShortWriteTaken) => return Ok(()),
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// All bytes.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length()?).map_err(io::Error::other)?];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// All bytes but the zeros at the end, of which no more than `zeros` stay: of a segment, which is filled with zeros at
    /// birth, what was written to it.
    fn read_written(&self, zeros: u64) -> io::Result<Vec<u8>> {
        let len = self.length()?;
        let mut end = len;
        let mut piece = vec![0; PIECE.min(usize::try_from(len).map_err(io::Error::other)?)];
        while end > 0 {
            let begin = end.saturating_sub(piece.len() as u64);
            // Shorter only where the file begins.
            piece.truncate(end as usize);
            self.read_at(&mut piece, begin)?;
            if !is_zero(&piece) {
                break;
            }
            end = begin;
        }
        let kept = len.min(end.saturating_add(zeros));
        let mut bytes = vec![0; usize::try_from(kept).map_err(io::Error::other)?];
        let written = bytes.len().min(end as usize);
        self.read_at(bytes.get_mut(..written).unwrap_or_default(), 0)?;
        Ok(bytes)
    }
}

/// Writes a small file so that it is there whole or not at all.
pub fn write_whole(storage: &dyn Storage, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_whole_by(storage, dir, name, |file| file.write_at(bytes, 0))
}

/// Lets `write` fill a file that is there whole or not at all: temporary name, sync, rename, sync of the directory.
pub fn write_whole_by<T>(
    storage: &dyn Storage,
    dir: &str,
    name: &str,
    write: impl FnOnce(&dyn File) -> io::Result<T>,
) -> io::Result<T> {
    let path = join(dir, name);
    let temporary = format!("{path}.tmp");
    unlink_if_there(storage, &temporary)?;
    let file = storage.create_new(&temporary)?;
    let written = write(&*file)?;
    file.sync_data()?;
    storage.rename(&temporary, &path)?;
    storage.sync_dir(dir)?;
    Ok(written)
}

/// Removes what may be there: a temporary file of before.
pub fn unlink_if_there(storage: &dyn Storage, path: &str) -> io::Result<()> {
    match storage.unlink(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `dir/name`, or `name` in the root.
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Whether all are zero: block by block, which is a comparison of memory and not of bytes.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 512] = [0; 512];
    bytes.chunks(ZEROS.len()).all(|block| ZEROS.get(..block.len()) == Some(block))
}

#[cfg(test)]
mod tests {
    use super::simulated::{Failure, SimStorage};
    use super::*;

    #[test]
    fn what_was_written_is_read_with_some_zeros_behind_it_and_no_more() {
        let disk = SimStorage::new();
        let file = disk.create_new("a").unwrap();
        assert!(file.read_written(10).unwrap().is_empty());
        let len = 2 * PIECE + 100;
        file.set_len(len as u64).unwrap();
        assert!(file.read_written(0).unwrap().is_empty());
        assert_eq!(file.read_written(10).unwrap(), [0; 10]);
        // The last byte that is not zero: in the first piece from the end, in the second, in the last, and at the end.
        for at in [0, 99, 100, PIECE, PIECE + 99, PIECE + 100, 2 * PIECE, len - 1] {
            file.write_at(&[7], at as u64).unwrap();
            for zeros in [0, 1, 5_000, 10 * PIECE] {
                let read = file.read_written(zeros as u64).unwrap();
                assert!(read.len() > at && read.len() <= len, "{at} {zeros}: {}", read.len());
                assert!(read.len() == len || read.len() > at + zeros, "{at} {zeros}: {}", read.len());
                // Never more than a piece beyond what was asked for.
                assert!(read.len() <= at + 1 + PIECE + zeros, "{at} {zeros}: {}", read.len());
                assert!(read == file.read_all().unwrap()[..read.len()], "{at} {zeros}");
            }
        }
    }

    #[test]
    fn a_name_lies_in_its_directory_or_in_the_root() {
        assert_eq!((join("", "a"), join("d", "a")), ("a".to_owned(), "d/a".to_owned()));
    }

    #[test]
    fn what_is_not_there_need_not_be_removed() {
        let disk = SimStorage::new();
        disk.create_new("a").unwrap();
        unlink_if_there(&disk, "a").unwrap();
        assert!(disk.open("a").is_err());
        unlink_if_there(&disk, "a").unwrap();
        assert_eq!(disk.unlink("a").unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.create_new("a").unwrap();
        let error = io::ErrorKind::PermissionDenied;
        disk.fail(Some(Failure { at: 0, lasting: true, only: None, error }));
        assert_eq!(unlink_if_there(&disk, "a").unwrap_err().kind(), error);
    }
}
