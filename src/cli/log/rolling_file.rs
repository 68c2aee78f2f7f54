//! A file of the log that is renamed when it is full, of which a fixed number are kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis::config::LogFile;
use portcullis::system::file_error::at;

/// The open file. A line that cannot be written is counted and lost.
pub(super) struct RollingFile {
    config: LogFile,
    file: File,
    bytes: u64,
    failed: Arc<AtomicU64>,
}

impl RollingFile {
    /// Opens the file to append to it.
    pub(super) fn open(config: LogFile, failed: Arc<AtomicU64>) -> io::Result<Self> {
        let file = append_to(&config.path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { config, file, bytes, failed })
    }

    /// Returns the path of the file that is `age` renamings old.
    fn aged(&self, age: u32) -> PathBuf {
        if age == 0 {
            return self.config.path.clone();
        }
        let mut path = self.config.path.clone().into_os_string();
        path.push(format!(".{age}"));
        path.into()
    }

    /// Renames the files, so that the oldest is replaced, and opens a new one.
    fn roll(&mut self) -> io::Result<()> {
        for age in (1..self.config.count).rev() {
            match std::fs::rename(self.aged(age - 1), self.aged(age)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = append_to(&self.config.path)?;
        if self.config.count == 1 {
            self.file.set_len(0)?;
        }
        self.bytes = 0;
        Ok(())
    }

    /// Opens a new file if a program that rotates logs has moved this one, or somebody has removed it.
    fn follow(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_own = |found: std::fs::Metadata| (found.dev(), found.ino()) == (own.dev(), own.ino());
        if !std::fs::metadata(&self.config.path).is_ok_and(is_own) {
            self.file = append_to(&self.config.path)?;
            self.bytes = self.file.metadata()?.len();
        }
        Ok(())
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.follow()?;
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.config.bytes_max {
            self.roll()?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl Write for RollingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.append(line).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_renamed_and_the_oldest_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let failed = Arc::new(AtomicU64::new(0));
        let open = |count| {
            let config = LogFile { path: path.clone(), bytes_max: 20, count };
            RollingFile::open(config, Arc::clone(&failed)).unwrap()
        };
        let mut file = open(3);
        for number in 0..9 {
            file.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        drop(file);
        // A new start goes on in the same file.
        open(3).write_all(b"line 9\n").unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("log"), "line 8\nline 9\n");
        assert_eq!(read("log.1"), "line 6\nline 7\n");
        assert_eq!(read("log.2"), "line 4\nline 5\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        assert_eq!(failed.load(Ordering::Relaxed), 0);
        let mut one = open(1);
        one.write_all(b"line 10\n").unwrap();
        assert_eq!(read("log"), "line 10\n");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        if !std::path::Path::new("/dev/full").exists() {
            return;
        }
        let failed = Arc::new(AtomicU64::new(0));
        let config = LogFile { path: "/dev/full".into(), bytes_max: 1 << 20, count: 2 };
        let mut file = RollingFile::open(config, Arc::clone(&failed)).unwrap();
        file.write_all(b"lost\n").unwrap();
        assert_eq!(failed.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_file_that_somebody_moves_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let config = LogFile { path: path.clone(), bytes_max: 1 << 20, count: 3 };
        let mut file = RollingFile::open(config, Arc::default()).unwrap();
        file.write_all(b"one\n").unwrap();
        std::fs::rename(&path, dir.path().join("log-20261130")).unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        assert_eq!(std::fs::read(dir.path().join("log-20261130")).unwrap(), b"one\n");
    }
}
