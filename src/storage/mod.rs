#![doc = include_str!("README.md")]

pub mod local;
mod local_file;
#[cfg(any(test, feature = "sim"))]
pub mod simulated;
pub mod write_mode;

use std::io;
use std::sync::Arc;

use crate::system::seeded_bug::{Bug, seeded};

/// The number of bytes that are read at once in the search for zeros.
const PIECE: usize = 256 << 10;

/// A directory tree. A crash may lose everything in it that was not synced.
pub trait Storage: Send + Sync + 'static {
    /// Opens an existing file for reading only: the file system may be read-only.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open_to_write(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// Opens the file of a segment for the journal's writer. It has its full length, and its end is not in use yet.
    fn open_log(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.open_to_write(path)
    }
    /// Creates a file. Fails if it exists.
    fn create_new(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// Renames a file, and replaces the file that had the new name. Durable only after [`Storage::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable only after [`Storage::sync_dir`].
    fn unlink(&self, path: &str) -> io::Result<()>;
    /// Creates a directory and those above it. Succeeds if it exists.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// Removes an empty directory. Fails if anything is in it.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable. The empty path is the root.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Returns the names in a directory that are UTF-8, in no order; none if there is no such directory.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// Returns the number of bytes that can still be written.
    fn free_space(&self) -> io::Result<u64>;
    /// Locks the directory until the result is dropped. Fails if another process holds it, or if it lies on a network
    /// file system.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;
    /// Locks the directory against writers until the result is dropped, together with other readers. Changes nothing.
    /// Fails if a writer holds it.
    fn lock_to_read(&self) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. All methods take offsets: no position is shared.
pub trait File: Send + Sync {
    /// Writes a first part of `bytes` at `offset`, and returns the length of that part.
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Fills `bytes` from `offset`. Fails if the file ends before.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Makes the bytes and the length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Sets the length; new bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Returns the length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Drops the file's clean pages from the page cache, so that the next read shows what the disk holds.
    fn forget_cache(&self) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Interrupted and short writes continue with the same bytes.
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

    /// Reads the whole file.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length()?).map_err(io::Error::other)?];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Reads the file without the zeros at its end, except for at most `zeros` of them. A segment is filled with zeros
    /// before it is used, so this reads what was written to it.
    fn read_written(&self, zeros: u64) -> io::Result<Vec<u8>> {
        let len = self.length()?;
        let mut end = len;
        let mut piece = vec![0; PIECE.min(usize::try_from(len).map_err(io::Error::other)?)];
        while end > 0 {
            let begin = end.saturating_sub(piece.len() as u64);
            // Only the piece at the beginning of the file is shorter.
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

/// Writes a small file, so that it exists completely or not at all.
pub fn write_whole(storage: &dyn Storage, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_whole_by(storage, dir, name, |file| file.write_at(bytes, 0))
}

/// Creates a file with `write`, so that it exists completely or not at all: temporary name, sync, rename, sync of the
/// directory. Returns the result of `write`.
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

/// Removes a file, such as a temporary one of an earlier attempt. Succeeds if it is not there.
pub fn unlink_if_there(storage: &dyn Storage, path: &str) -> io::Result<()> {
    match storage.unlink(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns `dir/name`, or `name` if `dir` is the root.
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Says whether all bytes are zero. Compares blocks, which is a comparison of memory rather than of single bytes.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 512] = [0; 512];
    bytes.chunks(ZEROS.len()).all(|block| ZEROS.get(..block.len()) == Some(block))
}

#[cfg(test)]
mod tests {
    use super::simulated::{Failure, SimStorage};
    use super::*;

    #[test]
    fn written_bytes_are_read_with_some_zeros_after_them_and_no_more() {
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
                assert!(read.len() > at, "{at} {zeros}: {}", read.len());
                assert!(read.len() <= len, "{at} {zeros}: {}", read.len());
                assert!(read.len() == len || read.len() > at + zeros, "{at} {zeros}: {}", read.len());
                // At most a piece more than was asked for.
                assert!(read.len() <= at + 1 + PIECE + zeros, "{at} {zeros}: {}", read.len());
                assert!(read == file.read_all().unwrap()[..read.len()], "{at} {zeros}");
            }
        }
    }

    #[test]
    fn a_name_lies_in_its_directory_or_in_the_root() {
        assert_eq!(join("", "a"), "a");
        assert_eq!(join("d", "a"), "d/a");
    }

    #[test]
    fn a_missing_file_need_not_be_removed() {
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
