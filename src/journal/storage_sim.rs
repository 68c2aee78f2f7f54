//! A disk that forgets what was not synced: bytes and names apart, torn at sectors, in any order.
//!
//! An operation may be chosen at which the machine stops: from there on every operation fails, as nothing can be said to
//! a dead process. [`SimStorage::after_crash`] then gives what a new process finds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::storage::{File, Storage};

const SECTOR: usize = 512;

/// Names that change together, each with its file from then on.
type Renames = Vec<(String, Option<usize>)>;

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimStorage(Arc<Mutex<Disk>>);

struct Disk {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names that are not durable yet, each whole or not at all, with their directory.
    renames: Vec<(String, Renames)>,
    locked: bool,
    operations: u64,
    stop_at: Option<u64>,
    stopped: bool,
    fail_at: Option<u64>,
    free: u64,
}

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    /// Counts an operation; an error when the machine has stopped or this one is to fail.
    fn operation(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.stop_at.is_some_and(|stop| self.operations >= stop) {
            self.stopped = true;
        }
        if self.stopped {
            return Err(io::Error::other("the simulated machine has stopped"));
        }
        if self.fail_at == Some(self.operations) {
            return Err(io::Error::other("simulated fault of the disk"));
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
    /// An empty disk.
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
            fail_at: None,
            free: u64::MAX,
        })))
    }

    /// Stops the machine at the `operation`-th operation, counted from the first one of this disk.
    pub fn stop_at(&self, operation: u64) {
        self.0.lock().stop_at = Some(operation);
    }

    /// Lets one operation fail, and the disk go on.
    pub fn fail_at(&self, operation: u64) {
        self.0.lock().fail_at = Some(operation);
    }

    /// Sets what [`Storage::free_space`] says, and what making files longer may take.
    pub fn set_free(&self, bytes: u64) {
        self.0.lock().free = bytes;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// What a new process finds after the power went: of what was not synced, any part, chosen by `seed`.
    #[must_use]
    pub fn after_crash(&self, seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let disk = self.0.lock();
        let mut names = disk.durable_names.clone();
        for (_, changes) in &disk.renames {
            if chance.next_u32() & 1 == 0 {
                for (name, file) in changes {
                    set(&mut names, name, *file);
                }
            }
        }
        let files = disk.files.iter().map(|file| file.after_crash(&mut chance)).collect();
        Self::with(files, names)
    }

    /// What a new process finds after the old one was killed: the operating system has everything.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let disk = self.0.lock();
        // Still not durable: a later power cut may take it.
        let files = disk.files.iter().map(|file| Inode {
            now: file.now.clone(),
            durable: file.durable.clone(),
            pending: file.pending.clone(),
        });
        let next = Self::with(Vec::new(), BTreeMap::new());
        {
            let mut new = next.0.lock();
            new.files = files.collect();
            new.names.clone_from(&disk.names);
            new.durable_names.clone_from(&disk.durable_names);
            new.renames.clone_from(&disk.renames);
        }
        next
    }

    /// Changes bytes of a file behind everybody's back, on the disk itself.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.0.lock();
        let Ok(at) = disk.find(path) else { panic!("no file {path} to damage") };
        if let Some(file) = disk.files.get_mut(at) {
            change(&mut file.now);
            file.durable.clone_from(&file.now);
            file.pending.clear();
        }
    }

    /// Takes a file away for good.
    pub fn lose(&self, path: &str) {
        let mut disk = self.0.lock();
        disk.names.remove(path);
        disk.durable_names.remove(path);
    }

    fn with(files: Vec<Inode>, names: BTreeMap<String, usize>) -> Self {
        let new = Self::new();
        {
            let mut disk = new.0.lock();
            disk.files = files;
            disk.durable_names.clone_from(&names);
            disk.names = names;
        }
        new
    }
}

impl Inode {
    fn after_crash(&self, chance: &mut StdRng) -> Self {
        let mut bytes = self.durable.clone();
        for pending in &self.pending {
            match pending {
                Pending::Length(len) => {
                    if chance.next_u32() & 1 == 0 {
                        bytes.resize(*len, 0);
                    }
                }
                Pending::Bytes(offset, written) => {
                    for (at, sector) in written.chunks(SECTOR).enumerate() {
                        // Most sectors arrive whole or not at all; now and then one is torn inside.
                        let kept = match chance.random_range(0..8_u32) {
                            0..=3 => sector.len(),
                            4 => chance.random_range(0..=sector.len()),
                            _ => 0,
                        };
                        let begin = offset + at * SECTOR;
                        if kept > 0 && bytes.len() < begin + kept {
                            bytes.resize(begin + kept, 0);
                        }
                        for (to, from) in bytes.iter_mut().skip(begin).zip(sector.iter().take(kept)) {
                            *to = *from;
                        }
                    }
                }
            }
        }
        Self { now: bytes.clone(), durable: bytes, pending: Vec::new() }
    }
}

impl Storage for SimStorage {
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        disk.operation()?;
        let at = disk.find(path)?;
        Ok(Arc::new(SimFile { disk: self.0.clone(), at }))
    }

    fn create_new(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        disk.operation()?;
        if disk.names.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let at = disk.files.len();
        disk.files.push(Inode::default());
        disk.set_names(dir_of(path), vec![(path.to_owned(), Some(at))]);
        Ok(Arc::new(SimFile { disk: self.0.clone(), at }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operation()?;
        let at = disk.find(from)?;
        disk.set_names(dir_of(to), vec![(from.to_owned(), None), (to.to_owned(), Some(at))]);
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operation()?;
        disk.find(path)?;
        disk.set_names(dir_of(path), vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        self.0.lock().operation()
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operation()?;
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
        disk.operation()?;
        let inside = disk.names.keys().filter(|name| dir_of(name) == path);
        Ok(inside.map(|name| name.rsplit('/').next().unwrap_or_default().to_owned()).collect())
    }

    fn free_space(&self) -> io::Result<u64> {
        let mut disk = self.0.lock();
        disk.operation()?;
        Ok(disk.free)
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut disk = self.0.lock();
        disk.operation()?;
        if std::mem::replace(&mut disk.locked, true) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process owns this directory"));
        }
        Ok(Box::new(Held(self.0.clone())))
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
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut Inode, &mut u64) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        disk.operation()?;
        let Disk { files, free, .. } = &mut *disk;
        files.get_mut(self.at).map_or_else(|| Err(io::Error::other("no such file")), |file| act(file, free))
    }
}

impl File for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = offset as usize;
        let written = self.with(|file, free| {
            let grown = (offset + bytes.len()).saturating_sub(file.now.len()) as u64;
            *free = free.checked_sub(grown).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
            Ok(())
        });
        // The write at which the machine stops may still reach the disk in part.
        let mut disk = self.disk.lock();
        if written.is_err() && !(disk.stopped && disk.stop_at == Some(disk.operations)) {
            return written;
        }
        if let Some(file) = disk.files.get_mut(self.at) {
            if file.now.len() < offset + bytes.len() {
                file.now.resize(offset + bytes.len(), 0);
            }
            for (to, from) in file.now.iter_mut().skip(offset).zip(bytes) {
                *to = *from;
            }
            file.pending.push(Pending::Bytes(offset, bytes.to_vec()));
        }
        written
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|file, _| {
            let offset = offset as usize;
            let from = file.now.get(offset..offset + bytes.len());
            let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            bytes.copy_from_slice(from);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|file, _| {
            file.pending.clear();
            file.durable.clone_from(&file.now);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|file, free| {
            let grown = len.saturating_sub(file.now.len() as u64);
            *free = free.checked_sub(grown).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
            file.now.resize(len as usize, 0);
            file.pending.push(Pending::Length(len as usize));
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|file, _| Ok(file.now.len() as u64))
    }

    fn forget_cache(&self) -> io::Result<()> {
        self.with(|_, _| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_stays_and_what_was_not_may_go() {
        let disk = SimStorage::new();
        let file = disk.create_new("d/a").unwrap();
        file.write_at(&[1; 1024], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir("d").unwrap();
        file.write_at(&[2; 1024], 1024).unwrap();
        disk.create_new("d/b").unwrap();
        let found: Vec<_> = (0..64).map(|seed| disk.after_crash(seed)).collect();
        for after in &found {
            assert_eq!(after.open("d/a").unwrap().read_all().unwrap()[..1024], [1; 1024]);
        }
        let lens = |len| found.iter().filter(|d| d.open("d/a").unwrap().length().unwrap() == len).count();
        assert!(lens(1024) > 0 && lens(2048) > 0);
        let with_b = found.iter().filter(|disk| disk.open("d/b").is_ok()).count();
        assert!((1..64).contains(&with_b));
    }

    #[test]
    fn a_stopped_machine_does_nothing_more() {
        let disk = SimStorage::new();
        disk.stop_at(2);
        let file = disk.create_new("a").unwrap();
        assert!(file.write_at(&[1], 0).is_err());
        assert!(disk.create_new("b").is_err());
        assert_eq!(disk.after_kill().list("").unwrap(), ["a"]);
    }
}
