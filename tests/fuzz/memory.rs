//! Files in memory, for decoders that read from a storage.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use portcullis::storage::{File, Storage};

use crate::mutate::Input;

/// A read-only directory.
pub struct Directory(BTreeMap<String, Arc<Bytes>>);

/// A read-only file.
pub struct Bytes(Mutex<Vec<u8>>);

impl Bytes {
    pub fn new(bytes: &[u8]) -> Self {
        Self(Mutex::new(bytes.to_vec()))
    }
}

impl Directory {
    pub fn of(input: &Input) -> Self {
        Self(input.iter().map(|(path, bytes)| (path.clone(), Arc::new(Bytes::new(bytes)))).collect())
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Storage for Directory {
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = self.0.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    fn open_to_write(&self, _: &str) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn create_new(&self, _: &str) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn unlink(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let inside = |name: &String| {
            let (dir, name) = name.rsplit_once('/').unwrap_or(("", name));
            (dir == path).then(|| name.to_owned())
        };
        Ok(self.0.keys().filter_map(inside).collect())
    }

    fn free_space(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }

    fn lock_to_read(&self) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

impl File for Bytes {
    fn write_some(&self, _: &[u8], _: u64) -> io::Result<usize> {
        refused()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let all = self.0.lock().unwrap();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let part = all.get(from..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn forget_cache(&self) -> io::Result<()> {
        Ok(())
    }
}
