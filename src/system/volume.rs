//! The space of a volume, and which volume a path is on.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The space of a volume in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    /// Bytes that this process can still write.
    pub free: u64,
    /// Bytes of the whole volume.
    pub total: u64,
}

/// Returns the space of the volume of `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let of = rustix::fs::statvfs(path)?;
    Ok(Space {
        free: of.f_bavail.saturating_mul(of.f_frsize),
        total: of.f_blocks.saturating_mul(of.f_frsize),
    })
}

/// Returns how many files can still be made on the volume of `path`; `None` if its file system keeps no count.
pub fn inodes_free(path: &Path) -> io::Result<Option<u64>> {
    let of = rustix::fs::statvfs(path)?;
    Ok((of.f_files > 0).then_some(of.f_favail))
}

/// Says whether two paths are on the same volume.
pub fn is_shared(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(one)?.dev() == std::fs::metadata(other)?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_no_more_free_space_than_space() {
        let dir = tempfile::tempdir().unwrap();
        let space = space(dir.path()).unwrap();
        assert!(space.free <= space.total);
        assert!(space.total > 0);
        assert!(is_shared(dir.path(), dir.path()).unwrap());
    }
}
