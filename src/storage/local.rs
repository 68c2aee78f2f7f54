//! Directories of the operating system: here and in `local_file.rs` and `write_mode.rs` alone, data is read and written
//! by `std::fs`.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::write_mode::{self, WriteMode};
use super::{File, Storage};
use crate::storage::local_file::{LocalFile, SYNC};
use crate::system::file_error::{at, at_dir, at_lacking};
use crate::system::lock::Mutex;
use crate::system::volume;

/// A directory tree on a disk.
#[derive(Clone, Debug)]
pub struct LocalStorage {
    root: PathBuf,
    log_mode: WriteMode,
    /// The mode of the last file that the journal's writer opened.
    used: Arc<Mutex<Option<WriteMode>>>,
}

impl LocalStorage {
    /// Opens `root`, and creates it with mode 0700 if it is not there.
    pub fn open(root: &Path) -> io::Result<Self> {
        let missing: Vec<&Path> = root.ancestors().take_while(|dir| !is_dir_or_empty(dir)).collect();
        if !missing.is_empty() {
            make_dir(root)?;
        }
        // The data survive a crash only with the name of `root` itself and of each new directory above it.
        for dir in missing {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(Self::over(root))
    }

    /// Opens `root`, which must exist: for commands that only read.
    pub fn open_existing(root: &Path) -> io::Result<Self> {
        let found = fs::metadata(root).map_err(at_dir(root))?;
        if found.is_dir() {
            Ok(Self::over(root))
        } else {
            Err(at_dir(root)(rustix::io::Errno::NOTDIR.into()))
        }
    }

    fn over(root: &Path) -> Self {
        Self { root: root.to_owned(), log_mode: WriteMode::Fdatasync, used: Arc::default() }
    }

    /// Sets the mode in which the journal is written. A file system without it gets the next one.
    #[must_use]
    pub fn logging(self, log_mode: WriteMode) -> Self {
        Self { log_mode, ..self }
    }

    /// Returns the mode in which the journal is written; `None` before a segment was opened for writing.
    pub fn used_mode(&self) -> Option<WriteMode> {
        *self.used.lock()
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Storage for LocalStorage {
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path(path);
        let file = fs::File::open(&path).map_err(at(&path))?;
        Ok(Arc::new(LocalFile::new(file, &path)))
    }

    fn open_to_write(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path(path);
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).map_err(at(&path))?;
        Ok(Arc::new(LocalFile::new(file, &path)))
    }

    fn open_log(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let (file, mode) = write_mode::open(&self.path(path), self.log_mode)?;
        *self.used.lock() = Some(mode);
        Ok(file)
    }

    fn create_new(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let path = self.path(path);
        let file = options.open(&path).map_err(at(&path))?;
        Ok(Arc::new(LocalFile::new(file, &path)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.path(to);
        fs::rename(self.path(from), &to).map_err(at(&to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        fs::remove_file(&path).map_err(at(&path))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        make_dir(&self.path(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        fs::remove_dir(&path).map_err(at_dir(&path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        sync(&self.path(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let path = self.path(path);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at_dir(&path))?,
        };
        // No file of ours has a name that is not UTF-8, and those of others are passed over like their other files.
        let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().into_string().ok());
        let names = entries.map(name).filter_map(io::Result::transpose);
        names.collect::<io::Result<_>>().map_err(at_dir(&path))
    }

    fn free_space(&self) -> io::Result<u64> {
        let space = volume::space(&self.root).map_err(at_dir(&self.root))?;
        // Without an inode no file can be made, however much room there is for what would be in it.
        let has_inodes = volume::inodes_free(&self.root).map_err(at_dir(&self.root))? != Some(0);
        Ok(if has_inodes { space.free } else { 0 })
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        refuse_network_file_system(&self.root)?;
        let directory = fs::File::open(&self.root).map_err(at_dir(&self.root))?;
        directory.try_lock().map_err(held(&self.root))?;
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let path = self.path("LOCK");
        let file = options.open(&path).map_err(at(&path))?;
        file.try_lock().map_err(held(&path))?;
        Ok(Box::new([directory, file]))
    }

    fn lock_to_read(&self) -> io::Result<Box<dyn Send + Sync>> {
        let directory = fs::File::open(&self.root).map_err(at_dir(&self.root))?;
        directory.try_lock_shared().map_err(held(&self.root))?;
        let path = self.path("LOCK");
        match fs::File::open(&path) {
            // No server has ever run here, for instance in a backup.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(directory)),
            file => {
                let file = file.map_err(at(&path))?;
                file.try_lock_shared().map_err(held(&path))?;
                Ok(Box::new([directory, file]))
            }
        }
    }
}

/// What a file system lacks that refuses a lock.
const LOCKS: &str = "locks (flock), without which two processes could write one directory";

/// Opens one file for reading.
pub fn open(path: &Path) -> io::Result<Arc<dyn File>> {
    let file = fs::File::open(path).map_err(at(path))?;
    Ok(Arc::new(LocalFile::new(file, path)))
}

/// Returns a function that explains why the lock of `path` could not be taken.
fn held(path: &Path) -> impl FnOnce(fs::TryLockError) -> io::Error {
    move |error| match error {
        fs::TryLockError::WouldBlock => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process owns this directory: a running server, or another command",
        ),
        fs::TryLockError::Error(error) => at_lacking(path, LOCKS)(error),
    }
}

fn is_dir_or_empty(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.is_dir()
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at_dir(path))
}

/// Makes the names in a directory durable.
fn sync(dir: &Path) -> io::Result<()> {
    let opened = fs::File::open(dir).map_err(at_dir(dir))?;
    opened.sync_all().map_err(at_lacking(dir, SYNC))
}

#[cfg(target_os = "linux")]
fn refuse_network_file_system(root: &Path) -> io::Result<()> {
    match network_file_system(
        rustix::fs::statfs(root).map_err(io::Error::from).map_err(at_dir(root))?.f_type as u64,
    ) {
        Some(name) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "the data directory lies on a network file system ({name}), whose locks and syncs cannot be relied on: \
                 move it to a local disk"
            ),
        )),
        None => Ok(()),
    }
}

/// Returns the name of a network file system. Their locks and syncs promise less than the journal needs.
///
/// Source: `linux/magic.h`.
#[cfg(target_os = "linux")]
fn network_file_system(kind: u64) -> Option<&'static str> {
    const REMOTE: [(u64, &str); 6] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x00C3_6400, "Ceph"),
    ];
    // If the field is signed, the upper half holds the sign.
    let kind = kind & 0xFFFF_FFFF;
    REMOTE.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
fn refuse_network_file_system(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::write_whole;

    #[test]
    fn a_second_holder_of_the_directory_is_turned_away() {
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(dir.path()).unwrap();
        let held = storage.lock().unwrap();
        let second = LocalStorage::open(dir.path()).unwrap().lock();
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::ResourceBusy));
        drop(held);
        assert!(storage.lock().is_ok());
    }

    /// A file can be removed, or put in the place of another, while it is locked. The directory stays.
    #[test]
    fn who_removes_the_lock_file_does_not_let_a_second_holder_in() {
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(dir.path()).unwrap();
        let busy = |held: io::Result<Box<dyn Send + Sync>>| held.err().map(|error| error.kind());
        let _held = storage.lock().unwrap();
        storage.unlink("LOCK").unwrap();
        assert_eq!(busy(storage.lock()), Some(io::ErrorKind::ResourceBusy));
        assert_eq!(busy(storage.lock_to_read()), Some(io::ErrorKind::ResourceBusy));
        storage.create_new("LOCK").unwrap();
        assert_eq!(busy(storage.lock()), Some(io::ErrorKind::ResourceBusy));
        assert_eq!(busy(storage.lock_to_read()), Some(io::ErrorKind::ResourceBusy));
    }

    /// An earlier version locks the file alone.
    #[test]
    fn a_holder_of_the_file_alone_is_respected() {
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(dir.path()).unwrap();
        let earlier = fs::File::create(dir.path().join("LOCK")).unwrap();
        earlier.try_lock().unwrap();
        let busy = |held: io::Result<Box<dyn Send + Sync>>| held.err().map(|error| error.kind());
        assert_eq!(busy(storage.lock()), Some(io::ErrorKind::ResourceBusy));
        assert_eq!(busy(storage.lock_to_read()), Some(io::ErrorKind::ResourceBusy));
        drop(earlier);
        assert!(storage.lock().is_ok());
    }

    #[test]
    fn readers_lock_a_directory_together_against_writers() {
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(dir.path()).unwrap();
        drop(storage.lock_to_read().unwrap());
        assert_eq!(storage.list("").unwrap(), Vec::<String>::new());
        let busy = |held: io::Result<Box<dyn Send + Sync>>| held.err().map(|error| error.kind());
        let writer = storage.lock().unwrap();
        assert_eq!(busy(storage.lock_to_read()), Some(io::ErrorKind::ResourceBusy));
        drop(writer);
        let readers = [storage.lock_to_read().unwrap(), storage.lock_to_read().unwrap()];
        assert_eq!(busy(storage.lock()), Some(io::ErrorKind::ResourceBusy));
        drop(readers);
        assert!(storage.lock().is_ok());
        // A symbolic link to itself cannot be opened.
        storage.unlink("LOCK").unwrap();
        std::os::unix::fs::symlink("LOCK", dir.path().join("LOCK")).unwrap();
        assert!(storage.lock_to_read().is_err());
    }

    #[test]
    fn a_file_opened_for_reading_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(dir.path()).unwrap();
        storage.create_new("a").unwrap().write_at(b"one", 0).unwrap();
        let file = storage.open("a").unwrap();
        assert!(file.write_at(b"two", 0).is_err());
        assert!(file.set_len(9).is_err());
        assert_eq!(file.read_all().unwrap(), b"one");
        storage.open_to_write("a").unwrap().write_at(b"two", 0).unwrap();
        assert_eq!(file.read_all().unwrap(), b"two");
    }

    #[test]
    fn opening_an_existing_directory_creates_none() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        let kind = |root: &Path| LocalStorage::open_existing(root).err().map(|error| error.kind());
        assert_eq!(kind(&root), Some(io::ErrorKind::NotFound));
        assert!(!dir.path().join("a").exists());
        let storage = LocalStorage::open(&root).unwrap();
        assert_eq!(kind(&root), None);
        storage.create_new("file").unwrap();
        assert_eq!(kind(&root.join("file")), Some(io::ErrorKind::NotADirectory));
        assert!(storage.remove_dir("").is_err());
        storage.unlink("file").unwrap();
        storage.remove_dir("").unwrap();
        assert!(!root.exists());
        assert!(!is_dir_or_empty(&root));
        assert!(is_dir_or_empty(dir.path()));
        assert!(is_dir_or_empty(Path::new("")));
    }

    #[test]
    fn a_small_file_is_replaced_whole_even_over_a_leftover() {
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(dir.path()).unwrap();
        storage.create_new("a.tmp").unwrap();
        for text in [&b"one"[..], b"three"] {
            write_whole(&storage, "", "a", text).unwrap();
            assert_eq!(storage.open("a").unwrap().read_all().unwrap(), text);
        }
        assert_eq!(storage.list("").unwrap(), ["a"]);
        assert!(storage.create_new("a").is_err());
        assert_eq!(storage.list("none").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn only_its_owner_reads_the_directory_and_its_files() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        let storage = LocalStorage::open(&root).unwrap();
        storage.create_dir("sub").unwrap();
        storage.create_new("sub/file").unwrap();
        drop(storage.lock().unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&root), mode(&root.join("sub"))], [0o700; 2]);
        assert_eq!([mode(&root.join("sub/file")), mode(&root.join("LOCK"))], [0o600; 2]);
        // An existing directory keeps its mode.
        assert!(LocalStorage::open(&root).is_ok());
    }

    #[test]
    fn files_are_created_renamed_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(dir.path()).unwrap().logging(WriteMode::Dsync);
        assert_eq!(storage.log_mode, WriteMode::Dsync);
        assert_eq!(storage.used_mode(), None);
        let file = storage.create_new("old").unwrap();
        file.set_len(8_192).unwrap();
        assert_eq!(file.write_some(b"some", 4_000).unwrap(), 4);
        let mut four = [0; 4];
        file.read_at(&mut four, 4_000).unwrap();
        assert_eq!(&four, b"some");
        assert_eq!(file.length().unwrap(), 8_192);
        file.sync_data().unwrap();
        file.forget_cache().unwrap();
        storage.open_log("old").unwrap();
        assert_eq!(storage.used_mode(), Some(WriteMode::Dsync));
        storage.rename("old", "new").unwrap();
        assert_eq!(storage.list("").unwrap(), ["new"]);
        storage.sync_dir("").unwrap();
        storage.unlink("new").unwrap();
        assert_eq!(storage.list("").unwrap(), Vec::<String>::new());
        assert_eq!(
            storage.open_to_write("new").err().map(|error| error.kind()),
            Some(io::ErrorKind::NotFound)
        );
        for fault in [
            storage.rename("new", "old").err(),
            storage.unlink("new").err(),
            storage.sync_dir("new").err(),
            storage.open("new").err(),
        ] {
            assert_eq!(fault.map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        }
        storage.create_new("file").unwrap();
        assert!(storage.create_dir("file/sub").is_err());
        assert!(storage.list("file").is_err());
        let before = storage.free_space().unwrap();
        let blocks = rustix::fs::statvfs(dir.path()).unwrap();
        let all = blocks.f_blocks * blocks.f_frsize;
        assert!(before > 4_096, "{before}");
        assert!(before <= all, "{before} of {all}");
        assert!(LocalStorage { root: dir.path().join("gone"), ..storage }.free_space().is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn errors_of_a_sync_a_read_and_a_length_are_returned() {
        let (reader, _writer) = io::pipe().unwrap();
        let pipe = LocalFile::new(fs::File::from(std::os::fd::OwnedFd::from(reader)), Path::new("pipe"));
        assert!(pipe.sync_data().is_err());
        assert!(pipe.forget_cache().is_err());
        assert!(pipe.set_len(1).is_err());
        assert!(pipe.read_at(&mut [0], 0).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_network_file_system_is_known_by_its_number() {
        // From linux/magic.h, and from the clients that have their own header.
        for (kind, name) in [(0x6969, "NFS"), (0x517B, "SMB"), (0x0102_1997, "9P")] {
            assert_eq!(network_file_system(kind), Some(name));
        }
        // Sign-extended to 64 bits.
        assert_eq!(network_file_system(0xFFFF_FFFF_FF53_4D42), Some("CIFS"));
        for local in [0xEF53, 0x0102_1994, 0x5846_5342, 0x9123_683E] {
            assert_eq!(network_file_system(local), None);
        }
    }

    #[test]
    fn a_file_whose_name_is_not_utf8_is_passed_over() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(dir.path()).unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"a\xFF")), b"").unwrap();
        fs::write(dir.path().join("b"), b"").unwrap();
        assert_eq!(storage.list("").unwrap(), ["b"]);
    }
}
