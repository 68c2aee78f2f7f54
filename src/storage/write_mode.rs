//! Opens the file of a segment for the journal's writer, in the cheapest mode that the file system has.
//!
//! In the synced modes a frame is durable when its write returns, with one system call for each frame. With `O_DIRECT`
//! the write also goes past the page cache, which then never shows bytes that the disk does not have.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::File;
use super::local_file::LocalFile;
use crate::system::file_error::at;
use crate::system::lock::Mutex;

/// Writes past the page cache need offsets, lengths and addresses that are multiples of this.
const BLOCK: usize = 4096;

/// How the journal makes a frame durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WriteMode {
    /// A write past the page cache that returns when the bytes are durable: `O_DIRECT | O_DSYNC`.
    Direct,
    /// A write that returns when the bytes are durable: `O_DSYNC`.
    Dsync,
    /// A write, followed by `fdatasync`.
    Fdatasync,
}

impl WriteMode {
    /// All modes, the cheapest first.
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Dsync, Self::Fdatasync];

    /// Returns the name of the mode in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Dsync => "dsync",
            Self::Fdatasync => "fdatasync",
        }
    }

    /// Returns the mode with that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Returns the flags to open a file with; `None` if the mode needs a sync of its own.
    #[cfg(target_os = "linux")]
    const fn flags(self) -> Option<i32> {
        use rustix::fs::OFlags;
        match self {
            Self::Direct => Some(OFlags::DIRECT.union(OFlags::DSYNC).bits().cast_signed()),
            Self::Dsync => Some(OFlags::DSYNC.bits().cast_signed()),
            Self::Fdatasync => None,
        }
    }

    #[cfg(not(target_os = "linux"))]
    const fn flags(self) -> Option<i32> {
        None
    }
}

/// Opens the file of a segment in the first mode, from `wanted` on, in which its last block can be written, and returns
/// that mode. The file has its full length and its end is not in use: the trial writes the zeros that are there
/// already.
pub(crate) fn open(path: &Path, wanted: WriteMode) -> io::Result<(Arc<dyn File>, WriteMode)> {
    for mode in WriteMode::ALL.into_iter().skip_while(|mode| *mode != wanted) {
        let Some(flags) = mode.flags() else { break };
        match SyncedFile::open(path, flags) {
            Ok(file) => return Ok((Arc::new(file), mode)),
            // The file system does not have this mode.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((Arc::new(LocalFile::new(open_with(path, 0)?, path)), WriteMode::Fdatasync))
}

fn open_with(path: &Path, flags: i32) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(at(path))
}

/// A file that is open twice: with the flags of a synced mode, and without.
struct SyncedFile {
    plain: LocalFile,
    /// The same file with the mode's flags: bytes written here are durable when the call returns.
    synced: fs::File,
    /// The buffer for a copy of the bytes that begins at a multiple of the block length.
    aligned: Mutex<Vec<u8>>,
    /// Whether bytes were written to `plain` since its last sync.
    unsynced: AtomicBool,
}

impl SyncedFile {
    fn open(path: &Path, flags: i32) -> io::Result<Self> {
        let plain = LocalFile::new(open_with(path, 0)?, path);
        let last = plain.length()?.checked_sub(BLOCK as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let file = Self {
            plain,
            synced: open_with(path, flags)?,
            aligned: Mutex::default(),
            unsynced: AtomicBool::new(false),
        };
        file.write_synced(&[0; BLOCK], last)?;
        Ok(file)
    }

    /// Copies `bytes` to an aligned address, and writes them with the mode's flags.
    fn write_synced(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut aligned = self.aligned.lock();
        aligned.clear();
        aligned.reserve(bytes.len() + BLOCK);
        let begin = aligned.as_ptr().align_offset(BLOCK).min(BLOCK);
        aligned.resize(begin, 0);
        aligned.extend_from_slice(bytes);
        self.synced.write_at(aligned.get(begin..).unwrap_or_default(), offset)
    }
}

impl File for SyncedFile {
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if bytes.len().is_multiple_of(BLOCK) && offset.is_multiple_of(BLOCK as u64) {
            return self.write_synced(bytes, offset);
        }
        // The rest of a write that ended inside a block.
        self.unsynced.store(true, Ordering::Relaxed);
        self.plain.write_some(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.plain.read_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.unsynced.load(Ordering::Relaxed) {
            self.plain.sync_data()?;
            self.unsynced.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.unsynced.store(true, Ordering::Relaxed);
        self.plain.set_len(len)
    }

    fn length(&self) -> io::Result<u64> {
        self.plain.length()
    }

    fn forget_cache(&self) -> io::Result<()> {
        self.plain.forget_cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;
    use crate::storage::local::LocalStorage;

    #[test]
    fn every_mode_writes_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(dir.path()).unwrap();
        // One byte first, so that what is written does not begin at a block's address.
        let bytes: Vec<u8> = (0..=3 * BLOCK).map(|at| at as u8).collect();
        for wanted in WriteMode::ALL {
            let name = wanted.name();
            storage.create_new(name).unwrap().write_at(&vec![0; 8 * BLOCK], 0).unwrap();
            let (file, mode) = open(&dir.path().join(name), wanted).unwrap();
            assert!(mode == wanted || wanted == WriteMode::Direct, "{wanted:?} became {mode:?}");
            file.write_at(&bytes[1..], 0).unwrap();
            file.write_at(&bytes[..100], 4 * BLOCK as u64).unwrap();
            file.sync_data().unwrap();
            let found = storage.open(name).unwrap().read_all().unwrap();
            assert_eq!(found.len(), 8 * BLOCK, "{name}");
            assert!(found[..3 * BLOCK] == bytes[1..], "{name}");
            assert!(found[4 * BLOCK..][..100] == bytes[..100], "{name}");
            assert!(found[4 * BLOCK + 100..].iter().all(|byte| *byte == 0), "{name}");
        }
    }

    #[test]
    fn a_name_leads_to_its_mode() {
        for mode in WriteMode::ALL {
            assert_eq!(WriteMode::of_name(mode.name()), Some(mode));
        }
        assert_eq!(WriteMode::of_name("auto"), None);
    }

    /// Creates a file of eight blocks of zeros.
    fn made(dir: &tempfile::TempDir) -> std::path::PathBuf {
        let storage = LocalStorage::open(dir.path()).unwrap();
        storage.create_new("log").unwrap().write_at(&vec![0; 8 * BLOCK], 0).unwrap();
        dir.path().join("log")
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn each_mode_opens_with_its_flags() {
        use rustix::fs::{OFlags, fcntl_getfl};
        let dir = tempfile::tempdir().unwrap();
        let path = made(&dir);
        for mode in [WriteMode::Direct, WriteMode::Dsync] {
            let Ok(file) = SyncedFile::open(&path, mode.flags().unwrap()) else {
                // The file system does not have this mode.
                assert_eq!(mode, WriteMode::Direct);
                continue;
            };
            let of_synced = fcntl_getfl(&file.synced).unwrap();
            assert!(of_synced.contains(OFlags::DSYNC), "{mode:?}: {of_synced:?}");
            assert_eq!(of_synced.contains(OFlags::DIRECT), mode == WriteMode::Direct, "{of_synced:?}");
            assert!(!fcntl_getfl(&file.plain.file).unwrap().contains(OFlags::DSYNC));
        }
        assert_eq!(WriteMode::Fdatasync.flags(), None);
    }

    #[test]
    fn a_file_that_no_synced_mode_can_write_falls_back_to_fdatasync() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("short");
        fs::write(&path, [0; BLOCK - 1]).unwrap();
        assert_eq!(open(&path, WriteMode::Direct).unwrap().1, WriteMode::Fdatasync);
        let missing = open(&dir.path().join("none"), WriteMode::Direct);
        assert_eq!(missing.err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn bytes_outside_whole_blocks_are_synced_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = made(&dir);
        let file = SyncedFile::open(&path, WriteMode::Dsync.flags().unwrap_or_default()).unwrap();
        let unsynced = || file.unsynced.load(Ordering::Relaxed);
        file.write_at(&[7; BLOCK], BLOCK as u64).unwrap();
        assert!(!unsynced(), "a whole block is durable when it is written");
        for (bytes, offset) in [(&[8; 10][..], 0), (&[8; BLOCK], 100)] {
            file.write_at(bytes, offset).unwrap();
            assert!(unsynced());
            file.sync_data().unwrap();
            assert!(!unsynced());
        }
        file.set_len(9 * BLOCK as u64).unwrap();
        assert!(unsynced());
        assert_eq!(file.length().unwrap(), 9 * BLOCK as u64);
        let mut found = [0; 2];
        file.read_at(&mut found, 4_195).unwrap();
        assert_eq!(found, [8, 7]);
        file.forget_cache().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_failed_sync_is_an_error_and_the_next_one_is_too() {
        let (reader, _writer) = io::pipe().unwrap();
        let pipe = || fs::File::from(std::os::fd::OwnedFd::from(reader.try_clone().unwrap()));
        let unsynced = AtomicBool::new(true);
        let plain = LocalFile::new(pipe(), Path::new("pipe"));
        let file = SyncedFile { plain, synced: pipe(), aligned: Mutex::default(), unsynced };
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_err());
        assert!(file.set_len(1).is_err());
        assert!(file.forget_cache().is_err());
        assert!(file.read_at(&mut [0], 0).is_err());
        assert!(file.write_some(&[0; BLOCK], 0).is_err());
    }
}
