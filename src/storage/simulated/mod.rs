//! A disk in memory that forgets what was not synced: bytes and names apart, torn inside sectors, in any order.
//!
//! A test may choose an operation at which the machine stops: from then on every operation fails, since the process is
//! dead. [`SimStorage::after_crash`] then gives the disk that a new process finds. A test may also choose operations
//! that fail, once or for good. After a failed sync the cache shows bytes that the disk does not have, as with a
//! kernel.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

mod fault;
mod inode;

pub use fault::{Dice, Failure, Kind};
use inode::{Inode, Pending};

use super::{File, Storage};

/// Names that change together, each with the file that it has afterwards.
type Renames = Vec<(String, Option<usize>)>;

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimStorage(Arc<Mutex<Disk>>);

struct Disk {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names that are not durable yet, with their directory. A crash keeps each whole or not at all.
    renames: Vec<(String, Renames)>,
    locked: bool,
    operations: u64,
    stop_at: Option<u64>,
    stopped: bool,
    failure: Option<Failure>,
    failed: bool,
    /// Whether the disk is mounted read-only.
    read_only: bool,
    /// Files, and offsets in them that cannot be read.
    unreadable: Vec<(usize, u64)>,
    /// Whether writes are sometimes cut short or interrupted.
    unsteady: bool,
    free: u64,
    /// Whether a file that is removed gives its bytes back.
    gives_back: bool,
}

impl Disk {
    /// Counts an operation. Fails if the machine has stopped or a test has chosen this one to fail.
    fn operation(&mut self, kind: Kind) -> io::Result<()> {
        self.operations += 1;
        if self.stop_at.is_some_and(|stop| self.operations >= stop) {
            self.stopped = true;
        }
        if self.stopped {
            return Err(io::Error::other("the simulated machine has stopped"));
        }
        if self.read_only && kind.changes() {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if let Some(failure) = &mut self.failure
            && self.operations >= failure.at
            && failure.only.is_none_or(|only| only == kind)
        {
            let error = io::Error::from(failure.error);
            self.failed = true;
            if !failure.lasting {
                self.failure = None;
            }
            return Err(error);
        }
        Ok(())
    }

    fn find(&self, path: &str) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn set_names(&mut self, dir: &str, changes: Renames) {
        for (name, file) in &changes {
            set(&mut self.names, name, *file);
        }
        self.renames.push((dir.to_owned(), changes));
    }
}

fn set(names: &mut BTreeMap<String, usize>, name: &str, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name.to_owned(), file),
        None => names.remove(name),
    };
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl Default for SimStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl SimStorage {
    /// Returns an empty disk.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Disk {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renames: Vec::new(),
            locked: false,
            operations: 0,
            stop_at: None,
            stopped: false,
            failure: None,
            failed: false,
            read_only: false,
            unreadable: Vec::new(),
            unsteady: false,
            free: u64::MAX,
            gives_back: false,
        })))
    }

    /// Stops the machine at the `operation`-th operation, counted from the first one of this disk.
    pub fn stop_at(&self, operation: u64) {
        self.0.lock().stop_at = Some(operation);
    }

    /// Chooses the operations that fail; `None` ends it.
    pub fn fail(&self, failure: Option<Failure>) {
        self.0.lock().failure = failure;
    }

    /// Says whether an operation has failed or the machine has stopped.
    pub fn has_failed(&self) -> bool {
        let disk = self.0.lock();
        disk.failed || disk.stopped
    }

    /// Sets whether writes are sometimes cut short or interrupted.
    pub fn set_unsteady(&self, unsteady: bool) {
        self.0.lock().unsteady = unsteady;
    }

    /// Makes the disk read-only, as a kernel does after an error of the device.
    pub fn set_read_only(&self) {
        self.0.lock().read_only = true;
    }

    /// Makes reads fail that include the byte `at` of a file.
    pub fn lose_sector(&self, path: &str, at: u64) {
        let mut disk = self.0.lock();
        let Ok(file) = disk.find(path) else { panic!("no file {path} to damage") };
        disk.unreadable.push((file, at));
    }

    /// Sets the free space: [`Storage::free_space`] returns it, and files can grow by as much.
    pub fn set_free(&self, bytes: u64) {
        self.0.lock().free = bytes;
    }

    /// Makes files that are removed from now on give their bytes back to the free space.
    pub fn give_back_space(&self) {
        self.0.lock().gives_back = true;
    }

    /// Returns the number of operations so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Returns the disk that a new process finds after a power loss. `seed` chooses which part of the unsynced bytes
    /// and names is kept.
    #[must_use]
    pub fn after_crash(&self, seed: u64) -> Self {
        let mut random = Dice::new(seed);
        let disk = self.0.lock();
        let mut names = disk.durable_names.clone();
        for (_, changes) in &disk.renames {
            if random.once_in(2) {
                for (name, file) in changes {
                    set(&mut names, name, *file);
                }
            }
        }
        // Files without a name are gone.
        let mut files = Vec::with_capacity(names.len());
        for at in names.values_mut() {
            if let Some(file) = disk.files.get(*at) {
                *at = files.len();
                files.push(file.after_crash(&mut random));
            }
        }
        let new = Self::new();
        {
            let mut next = new.0.lock();
            next.files = files;
            next.durable_names.clone_from(&names);
            next.names = names;
        }
        new
    }

    /// Returns the disk that a new process finds after the old one was killed: the operating system still has
    /// everything, durable or not.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let disk = self.0.lock();
        let new = Self::new();
        {
            let mut next = new.0.lock();
            next.files.clone_from(&disk.files);
            next.names.clone_from(&disk.names);
            next.durable_names.clone_from(&disk.durable_names);
            next.renames.clone_from(&disk.renames);
        }
        new
    }

    /// Returns the paths of all files, except temporary ones.
    pub fn paths(&self) -> Vec<String> {
        self.0.lock().names.keys().filter(|name| !name.ends_with(".tmp")).cloned().collect()
    }

    /// Returns the bytes of a file without counting an operation.
    pub fn peek(&self, path: &str) -> Option<Vec<u8>> {
        let disk = self.0.lock();
        let at = disk.find(path).ok()?;
        disk.files.get(at).map(|file| file.now.to_vec())
    }

    /// Changes the bytes of a file on the disk itself, without counting an operation.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.0.lock();
        let Ok(at) = disk.find(path) else { panic!("no file {path} to damage") };
        if let Some(file) = disk.files.get_mut(at) {
            change(Arc::make_mut(&mut file.now));
            *file = Inode::of(Arc::clone(&file.now));
        }
    }

    /// Creates or replaces a file, durably and without counting an operation.
    pub fn plant(&self, path: &str, bytes: Vec<u8>) {
        let mut disk = self.0.lock();
        let at = disk.files.len();
        let bytes = Arc::new(bytes);
        disk.files.push(Inode::of(bytes));
        disk.names.insert(path.to_owned(), at);
        disk.durable_names.insert(path.to_owned(), at);
    }

    /// Releases the lock, as the end of the process that held it does.
    pub fn unlock(&self) {
        self.0.lock().locked = false;
    }

    /// Removes a file for good, without counting an operation.
    pub fn lose(&self, path: &str) {
        let mut disk = self.0.lock();
        disk.names.remove(path);
        disk.durable_names.remove(path);
    }
}

impl Storage for SimStorage {
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        disk.operation(Kind::Open)?;
        let at = disk.find(path)?;
        Ok(Arc::new(SimFile { disk: self.0.clone(), at, writable: false }))
    }

    fn open_to_write(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        disk.operation(Kind::OpenToWrite)?;
        let at = disk.find(path)?;
        Ok(Arc::new(SimFile { disk: self.0.clone(), at, writable: true }))
    }

    fn create_new(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        disk.operation(Kind::Create)?;
        if disk.names.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let at = disk.files.len();
        disk.files.push(Inode::default());
        disk.set_names(dir_of(path), vec![(path.to_owned(), Some(at))]);
        Ok(Arc::new(SimFile { disk: self.0.clone(), at, writable: true }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operation(Kind::Names)?;
        let at = disk.find(from)?;
        disk.set_names(dir_of(to), vec![(from.to_owned(), None), (to.to_owned(), Some(at))]);
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operation(Kind::Names)?;
        let at = disk.find(path)?;
        if disk.gives_back {
            let bytes = disk.files.get(at).map_or(0, |file| file.now.len() as u64);
            disk.free = disk.free.saturating_add(bytes);
        }
        disk.set_names(dir_of(path), vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        self.0.lock().operation(Kind::Other)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operation(Kind::Names)?;
        let inside = format!("{path}/");
        let is_empty = !disk.names.keys().any(|name| name.starts_with(&inside));
        if is_empty { Ok(()) } else { Err(io::ErrorKind::DirectoryNotEmpty.into()) }
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operation(Kind::SyncNames)?;
        let (synced, rest) = std::mem::take(&mut disk.renames).into_iter().partition(|(dir, _)| dir == path);
        disk.renames = rest;
        let synced: Vec<(String, Renames)> = synced;
        for (name, file) in synced.into_iter().flat_map(|(_, changes)| changes) {
            set(&mut disk.durable_names, &name, file);
        }
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut disk = self.0.lock();
        disk.operation(Kind::List)?;
        let inside = disk.names.keys().filter(|name| dir_of(name) == path);
        Ok(inside.map(|name| name.rsplit('/').next().unwrap_or_default().to_owned()).collect())
    }

    fn free_space(&self) -> io::Result<u64> {
        let mut disk = self.0.lock();
        disk.operation(Kind::Other)?;
        Ok(disk.free)
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut disk = self.0.lock();
        disk.operation(Kind::Other)?;
        if std::mem::replace(&mut disk.locked, true) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process owns this directory"));
        }
        Ok(Box::new(Held(self.0.clone())))
    }

    fn lock_to_read(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut disk = self.0.lock();
        disk.operation(Kind::Other)?;
        if disk.locked {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process owns this directory"));
        }
        Ok(Box::new(()))
    }
}

struct Held(Arc<Mutex<Disk>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().locked = false;
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    at: usize,
    writable: bool,
}

impl SimFile {
    fn may_write(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn with<T>(&self, kind: Kind, act: impl FnOnce(&mut Inode, &mut u64) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        disk.operation(kind)?;
        let Disk { files, free, .. } = &mut *disk;
        files.get_mut(self.at).map_or_else(|| Err(io::Error::other("no such file")), |file| act(file, free))
    }
}

fn grow(free: &mut u64, by: usize) -> io::Result<()> {
    *free = free.checked_sub(by as u64).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
    Ok(())
}

impl File for SimFile {
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.may_write()?;
        let offset = offset as usize;
        let mut disk = self.disk.lock();
        let mut written = disk.operation(Kind::Write);
        // The write at which the machine stops, or that fails, may still reach the disk in part.
        let reaches = written.is_ok() || !disk.stopped || disk.stop_at == Some(disk.operations);
        let mut random = Dice::new(disk.operations);
        let mut len = bytes.len();
        if disk.unsteady && len > 1 {
            match random.below(4) {
                0 => len = 1 + random.below(len as u64 - 1) as usize,
                1 if random.once_in(4) => return Err(io::ErrorKind::Interrupted.into()),
                _ => {}
            }
        }
        let Disk { files, free, .. } = &mut *disk;
        let Some(file) = files.get_mut(self.at).filter(|_| reaches) else { return written.map(|()| 0) };
        if written.is_ok() {
            written = grow(free, (offset + len).saturating_sub(file.now.len()));
        }
        match written {
            Ok(()) => file.write(bytes.get(..len).unwrap_or_default(), offset),
            Err(_) if random.once_in(2) => {
                file.write(bytes.get(..random.below(len as u64 + 1) as usize).unwrap_or_default(), offset);
            }
            Err(_) => {}
        }
        written.map(|()| len)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let asked = offset..offset + bytes.len() as u64;
        if self.disk.lock().unreadable.iter().any(|(file, at)| *file == self.at && asked.contains(at)) {
            return Err(io::Error::other("the simulated device cannot read this"));
        }
        self.with(Kind::Read, |file, _| {
            let offset = offset as usize;
            let from = file.now.get(offset..offset + bytes.len());
            let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            bytes.copy_from_slice(from);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let synced = disk.operation(Kind::Sync);
        let mut random = Dice::new(disk.operations);
        let stopped = disk.stopped;
        if let Some(file) = disk.files.get_mut(self.at).filter(|_| !stopped) {
            if synced.is_ok() {
                file.sync();
            } else {
                // The cache takes these bytes for clean from now on, and the disk has any part of them.
                file.durable = file.after_crash(&mut random).durable;
                file.pending.clear();
                file.diverged = true;
            }
        }
        synced
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.may_write()?;
        self.with(Kind::Length, |file, free| {
            grow(free, (len as usize).saturating_sub(file.now.len()))?;
            Arc::make_mut(&mut file.now).resize(len as usize, 0);
            file.pending.push(Pending::Length(len as usize));
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(Kind::Read, |file, _| Ok(file.now.len() as u64))
    }

    fn forget_cache(&self) -> io::Result<()> {
        self.with(Kind::Other, |file, _| {
            // Only clean pages are dropped: bytes written since the last sync stay.
            if file.pending.is_empty() {
                file.now = Arc::clone(&file.durable);
                file.diverged = false;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
