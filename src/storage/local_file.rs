//! An open file of the local disk.

use super::File;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use rustix::io::Errno;

use crate::system::file_error::{at, at_lacking};

/// What a file system lacks that refuses a sync.
pub(super) const SYNC: &str = "syncs, without which a crash of the machine loses what was answered";

/// A file that is read and written through the page cache. Its errors name it.
pub(crate) struct LocalFile {
    pub(super) file: fs::File,
    path: PathBuf,
}

impl LocalFile {
    /// Takes `file`, which was opened as `path`.
    pub(crate) fn new(file: fs::File, path: &Path) -> Self {
        Self { file, path: path.to_owned() }
    }
}

impl File for LocalFile {
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset).map_err(at(&self.path))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(at(&self.path))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(at_lacking(&self.path, SYNC))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len).map_err(at(&self.path))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(at(&self.path))?.len())
    }

    fn forget_cache(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed) {
            // A hint that the kernel or the file system does not take: what is read next may come from the cache.
            Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => {}
            done => done.map_err(io::Error::from).map_err(at(&self.path))?,
        }
        Ok(())
    }
}
