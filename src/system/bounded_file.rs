//! Files that are read whole: up to a bound, and only where there is an end. A path that names a device by mistake, or a file
//! that grows without end, must not take all memory.

use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use zeroize::Zeroize;

/// Returns the bytes of the file or pipe at `path`, of which there are at most `most`.
///
/// Errors: as of the system; of the kind `InvalidInput` if it is neither a file nor a pipe; of the kind `FileTooLarge` if it
/// is longer. What was read of it is wiped then.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let found = file.metadata()?;
    if !found.is_file() && !found.file_type().is_fifo() {
        // A directory has an error of its own, which is better known.
        let is_directory = found.is_dir();
        let kind = if is_directory { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
        return Err(if is_directory { kind.into() } else { io::Error::new(kind, "it is no file") });
    }
    // Room for all of it, so that a text that grows leaves no copies of a secret.
    let length = usize::try_from(found.len()).unwrap_or(most).min(most);
    let mut bytes = Vec::with_capacity(length.saturating_add(1).max(4096));
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = file.take(limit).read_to_end(&mut bytes);
    if read.is_ok() && bytes.len() <= most {
        return Ok(bytes);
    }
    bytes.zeroize();
    read?;
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {most} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_a_device_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (length, most, is_read) in [(0, 0, true), (10, 10, true), (11, 10, false), (100_000, 10, false)] {
            std::fs::write(&path, vec![7; length]).unwrap();
            let found = read(&path, most);
            assert_eq!(found.as_ref().ok().map(Vec::len), is_read.then_some(length), "{length} of {most}");
        }
        assert_eq!(read(&path, 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(dir.path(), 10).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        for device in ["/dev/zero", "/dev/null"] {
            assert_eq!(read(Path::new(device), 10).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(read(&dir.path().join("none"), 10).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
