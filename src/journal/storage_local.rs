//! Files of the operating system: the only file of the journal that touches `std::fs`.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::log_file::{self, WriteMode};
use super::storage::{File, Storage};

/// The data directory on a disk.
#[derive(Clone, Debug)]
pub struct LocalStorage {
    root: PathBuf,
    log_mode: WriteMode,
    /// That of the last file the writer was given.
    used: Arc<Mutex<Option<WriteMode>>>,
}

impl LocalStorage {
    /// Over `root`, which is made with mode 0700 when it is not there.
    pub fn open(root: &Path) -> io::Result<Self> {
        if !root.is_dir() {
            make_dir(root)?;
            // Its own name is as much a part of the past as what lies in it.
            let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
            fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(Self { root: root.to_owned(), log_mode: WriteMode::Fdatasync, used: Arc::default() })
    }

    /// Has the journal written in this mode, or the next one that the file system can.
    #[must_use]
    pub fn logging(self, log_mode: WriteMode) -> Self {
        Self { log_mode, ..self }
    }

    /// How frames become durable; `None` before the first was to be written.
    pub fn used_mode(&self) -> Option<WriteMode> {
        *self.used.lock()
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Storage for LocalStorage {
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.path(path))?;
        Ok(Arc::new(LocalFile(file)))
    }

    fn open_log(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let (file, mode) = log_file::open(&self.path(path), self.log_mode)?;
        *self.used.lock() = Some(mode);
        Ok(file)
    }

    fn create_new(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Arc::new(LocalFile(options.open(self.path(path))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        make_dir(&self.path(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        fs::File::open(self.path(path))?.sync_all()
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let name = |entry: io::Result<fs::DirEntry>| -> io::Result<String> {
            entry?.file_name().into_string().map_err(|name| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("file name {} is not UTF-8", name.display()),
                )
            })
        };
        entries.map(name).collect()
    }

    fn free_space(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        refuse_network_file_system(&self.root)?;
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.path("LOCK"))?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process owns this directory: a running server, or a command at work",
            ),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Box::new(file))
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Locks and syncs of these promise less than ours need.
#[cfg(target_os = "linux")]
fn refuse_network_file_system(root: &Path) -> io::Result<()> {
    const REMOTE: [(u64, &str); 6] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x00C3_6400, "Ceph"),
    ];
    let kind = rustix::fs::statfs(root)?.f_type as u64 & 0xFFFF_FFFF;
    match REMOTE.iter().find(|(magic, _)| *magic == kind) {
        Some((_, name)) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the data directory lies on a network file system ({name}), which cannot be relied on"),
        )),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn refuse_network_file_system(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) struct LocalFile(pub(super) fs::File);

impl File for LocalFile {
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn forget_cache(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::storage::write_whole;

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
}
