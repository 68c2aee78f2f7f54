//! Backups of a data directory and what is restored from them, by the real binary.

use std::path::{Path, PathBuf};

use super::TestServer;
use super::process::{Ran, run};

/// A server's data directory, a directory for its backup, and one to restore into.
pub struct Directories {
    pub root: tempfile::TempDir,
    pub data: PathBuf,
    pub backup: PathBuf,
    pub restored: PathBuf,
}

impl Directories {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let [data, backup, restored] = ["data", "copy", "new"].map(|name| root.path().join(name));
        Self { root, data, backup, restored }
    }
}

pub fn back_up(data: &Path, to: &Path) -> Ran {
    run(&["data", "backup", to.to_str().unwrap(), "--with-keys"], data).exits(0)
}

pub fn restore(backup: &Path, options: &[&str], into: &Path) -> Ran {
    let mut args = vec!["data", "restore", backup.to_str().unwrap()];
    args.extend(options);
    run(&args, into)
}

/// Stops `server`, restores a backup of its directory in its place, and starts it again.
pub fn restored(server: TestServer) -> TestServer {
    let Directories { backup, restored, root: _root, .. } = Directories::new();
    server.restart_after(|dir| {
        back_up(dir, &backup);
        restore(&backup, &[], &restored).exits(0);
        std::fs::remove_dir_all(dir).unwrap();
        std::fs::rename(&restored, dir).unwrap();
    })
}
