//! Builds a directory inside the place that it is meant for.
//!
//! It is built in a subdirectory, so that it is on the same file system and touches nothing else, and its files move to
//! their place when it is complete, `IDENTITY` last. A crash leaves either a directory that no server takes for an
//! empty one and that the next restore continues, or a complete one.

use std::io;
use std::sync::Arc;

use crate::journal::format::layout::{BUILDING, IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR, number_in};
use crate::storage::{File, Storage, join, write_whole};

/// The subdirectory of keys that wait to be moved.
const KEYS_DIR: &str = "keys";
/// The file that marks a restore at work: everything beside it may be deleted and built again.
const BEGUN: &str = "BEGUN";
/// The file that marks a complete directory, of which only the moves are missing. Holds the lines to print at the end.
const WHOLE: &str = "WHOLE";

/// What an earlier restore has left in a directory.
#[derive(Debug, Eq, PartialEq)]
pub enum Leftover {
    /// Nothing.
    Nothing,
    /// An incomplete directory.
    Begun,
    /// A complete directory that is not moved to its place yet, and the lines to print when it is.
    Whole(String),
}

/// Says what an earlier restore has left in `place`.
///
/// Errors: the staging directory holds a file that no restore has made.
pub fn find_leftover(place: &dyn Storage) -> io::Result<Leftover> {
    let names = place.list(BUILDING)?;
    let holds = |name: &str| names.iter().any(|found| found == name);
    if holds(WHOLE) {
        let lines = place.open(&join(BUILDING, WHOLE))?.read_all()?;
        return Ok(Leftover::Whole(String::from_utf8_lossy(&lines).into_owned()));
    }
    match names.first() {
        None => Ok(Leftover::Nothing),
        // The mark is made first, under a temporary name.
        Some(only) if names.len() == 1 && *only == format!("{BEGUN}.tmp") => Ok(Leftover::Begun),
        Some(_) if holds(BEGUN) => Ok(Leftover::Begun),
        Some(name) => Err(strange(&join(BUILDING, name))),
    }
}

/// Creates the staging directory, in which the caller builds, with keys in its [`Subdirectory::keys`]. The caller holds
/// the lock of `place`. An incomplete leftover is deleted first.
///
/// Errors: a complete leftover, which must be committed instead.
pub fn begin(place: &Arc<dyn Storage>) -> io::Result<Subdirectory> {
    match find_leftover(&**place)? {
        Leftover::Nothing => {}
        Leftover::Begun => clear(&**place)?,
        Leftover::Whole(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "an earlier restore is complete but not moved to its place: run the same command again",
            ));
        }
    }
    place.create_dir(BUILDING)?;
    write_whole(&**place, BUILDING, BEGUN, b"a restore or salvage at work\n")?;
    place.sync_dir("")?;
    Ok(Subdirectory { storage: Arc::clone(place), dir: BUILDING.to_owned() })
}

/// Marks the staged directory as complete: after a crash the next command continues with [`commit`]. `lines` are
/// printed by whichever command completes it.
pub fn mark_whole(place: &dyn Storage, lines: &str) -> io::Result<()> {
    write_whole(place, BUILDING, WHOLE, lines.as_bytes())
}

/// Moves the complete staged directory to its place and its keys into `keys`, and deletes the staging directory. After
/// a crash it is called again.
pub fn commit(place: &dyn Storage, keys: &dyn Storage) -> io::Result<()> {
    for (dir, extension) in [(JOURNAL_DIR, ".log"), (SNAPSHOT_DIR, ".snap")] {
        let from = join(BUILDING, dir);
        place.create_dir(dir)?;
        for name in place.list(&from)? {
            if number_in(&name, extension).is_some() {
                place.rename(&join(&from, &name), &join(dir, &name))?;
            }
        }
        place.sync_dir(dir)?;
    }
    let from = join(BUILDING, KEYS_DIR);
    for name in place.list(&from)? {
        if is_of_keys(&name) {
            put_key(keys, &name, &place.open(&join(&from, &name))?.read_all()?)?;
        }
    }
    keys.sync_dir("")?;
    place.sync_dir("")?;
    match place.rename(&join(BUILDING, IDENTITY), IDENTITY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && place.open(IDENTITY).is_ok() => {}
        moved => moved?,
    }
    place.sync_dir("")?;
    clear(place)
}

/// Writes a key file, if it is not there. Never replaces another key.
fn put_key(keys: &dyn Storage, name: &str, key: &[u8]) -> io::Result<()> {
    match keys.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_whole(keys, "", name, key),
        there => {
            if there?.read_all()? == key {
                return Ok(());
            }
            let what = format!("{name} is there, and holds another key");
            Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
        }
    }
}

/// Deletes the staging directory. Looks first for files that no restore has made; if there is one, deletes nothing.
fn clear(place: &dyn Storage) -> io::Result<()> {
    let dirs = [JOURNAL_DIR, SNAPSHOT_DIR, KEYS_DIR];
    let mut own = Vec::new();
    for dir in dirs {
        let path = join(BUILDING, dir);
        let names = place.list(&path)?;
        if let Some(name) = names.iter().find(|name| !is_own(name)) {
            return Err(strange(&join(&path, name)));
        }
        own.push((path, names));
    }
    let mut beside = place.list(BUILDING)?;
    beside.retain(|name| !dirs.contains(&name.as_str()));
    let known = |name: &str| [BEGUN, WHOLE, IDENTITY].contains(&name.strip_suffix(".tmp").unwrap_or(name));
    if let Some(name) = beside.iter().find(|name| !known(name)) {
        return Err(strange(&join(BUILDING, name)));
    }
    for (dir, names) in own.iter().filter(|(_, names)| !names.is_empty()) {
        names.iter().try_for_each(|name| place.unlink(&join(dir, name)))?;
        place.sync_dir(dir)?;
    }
    for (dir, _) in own {
        remove_if_there(place, &dir)?;
    }
    // The marks go last, and `WHOLE` before `BEGUN`: while anything else is there, it is marked as a restore's own.
    beside.sort_unstable_by_key(|name| [WHOLE, BEGUN].iter().position(|mark| mark == name).map(|at| at + 1));
    for name in beside {
        place.unlink(&join(BUILDING, &name))?;
        place.sync_dir(BUILDING)?;
    }
    remove_if_there(place, BUILDING)?;
    place.sync_dir("")
}

fn remove_if_there(place: &dyn Storage, dir: &str) -> io::Result<()> {
    match place.remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Says whether a file in the directory of keys belongs to the keys: a key, since when it is in use, or that a pepper is
/// used.
pub fn is_of_keys(name: &str) -> bool {
    [".key", ".from", ".used"].iter().any(|suffix| name.ends_with(suffix))
}

/// Says whether a restore gives files such names: segments, snapshots, keys, and temporary files.
fn is_own(name: &str) -> bool {
    let numbered = |extension| number_in(name, extension).is_some();
    numbered(".log") || numbered(".snap") || is_of_keys(name) || name.ends_with(".tmp")
}

/// An error about a file that no restore has made.
fn strange(path: &str) -> io::Error {
    let what = format!("{path} was not made by a restore: nothing was deleted; move it away, and try again");
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

/// A directory inside another one, whose lock the caller holds.
#[derive(Clone)]
pub struct Subdirectory {
    storage: Arc<dyn Storage>,
    dir: String,
}

impl Subdirectory {
    /// Returns the subdirectory of keys.
    #[must_use]
    pub fn keys(&self) -> Self {
        Self { storage: Arc::clone(&self.storage), dir: self.path(KEYS_DIR) }
    }

    fn path(&self, path: &str) -> String {
        if path.is_empty() { self.dir.clone() } else { join(&self.dir, path) }
    }
}

impl Storage for Subdirectory {
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.storage.open(&self.path(path))
    }

    fn open_to_write(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.storage.open_to_write(&self.path(path))
    }

    fn open_log(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.storage.open_log(&self.path(path))
    }

    fn create_new(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.storage.create_new(&self.path(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(&self.path(from), &self.path(to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.storage.unlink(&self.path(path))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.storage.create_dir(&self.path(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.storage.remove_dir(&self.path(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.storage.sync_dir(&self.path(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.storage.list(&self.path(path))
    }

    fn free_space(&self) -> io::Result<u64> {
        self.storage.free_space()
    }

    /// Does nothing: the caller holds the lock of the directory around it.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }

    fn lock_to_read(&self) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::options_of;
    use super::super::{Destination, Records, admit_all, restore};
    use super::*;
    use crate::journal::recovery::recover;
    use crate::journal::recovery::replay::RecoveryTarget;
    use crate::journal::recovery::report::ReplayTarget;
    use crate::simulation::golden::{SIZES, disk_of, frozen};
    use crate::storage::simulated::SimStorage;
    use crate::system::clock::{Clock, Timestamp};
    use crate::system::random::Random;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn within(disk: &SimStorage, dir: &str) -> Subdirectory {
        Subdirectory { storage: Arc::new(disk.clone()), dir: dir.to_owned() }
    }

    /// Restores as the command does; `begun` is called when the staging directory exists.
    fn make(disk: &SimStorage, begun: impl FnOnce()) -> io::Result<String> {
        let place: Arc<dyn Storage> = Arc::new(disk.clone());
        let keys = within(disk, "keys");
        if let Leftover::Whole(lines) = find_leftover(&*place)? {
            return commit(&*place, &keys).map(|()| lines);
        }
        let building = begin(&place)?;
        begun();
        let source = disk_of(&frozen("snapshots"));
        let random = Arc::new(Random::seeded(1));
        let to = Arc::new(building.clone());
        let to = Destination {
            storage: to,
            sizes: SIZES,
            clock: Clock::manual(NOW),
            random,
            left_out: &[],
            admit: &admit_all,
            added: &[],
        };
        restore(&source, to, RecoveryTarget::default()).map_err(io::Error::other)?;
        write_whole(&building.keys(), "", "a.key", b"of before")?;
        mark_whole(&*place, "what there is to tell")?;
        commit(&*place, &keys).map(|()| String::from("what there is to tell"))
    }

    /// Starts a server: returns the records that it finds, and whether it took the directory for an empty one.
    fn start(disk: &SimStorage) -> Result<(Records, bool), String> {
        struct Server(SimStorage, Records);
        impl ReplayTarget for Server {
            fn apply(
                &mut self,
                table: u16,
                schema: u16,
                key: &[u8],
                value: Option<&[u8]>,
            ) -> Result<(), String> {
                self.1.apply(table, schema, key, value)
            }
            fn has_keys(&self) -> bool {
                !self.0.list("keys").unwrap().is_empty()
            }
        }
        let mut server = Server(disk.clone(), Records::default());
        let recovered = recover(options_of(disk, Random::seeded(2)), &mut server)
            .map_err(|refusal| refusal.to_string())?;
        Ok((server.1, recovered.report.first_start))
    }

    #[test]
    fn a_crash_at_any_operation_leaves_a_place_that_is_whole_or_refused() {
        let sound = SimStorage::new();
        let mut begun_at = 0;
        make(&sound, || begun_at = sound.operations()).unwrap();
        let all = start(&sound.after_kill()).unwrap().0;
        assert!(all.len() > 3, "{}", all.len());
        assert!(begun_at > 3, "{begun_at}");
        assert!(!sound.paths().iter().any(|path| path.starts_with(BUILDING)), "{:?}", sound.paths());
        let mut refused = 0;
        let mut continued = 0;
        for at in 1.. {
            let disk = SimStorage::new();
            disk.stop_at(at);
            let made = make(&disk, || ());
            if made.is_ok() {
                break;
            }
            for seed in 0..6 {
                let after = disk.after_crash(seed);
                match start(&after.after_kill()) {
                    Err(why) => {
                        assert!(why.starts_with(BUILDING), "{at}: {why}");
                        assert!(why.contains("run the same command again"), "{at}: {why}");
                        refused += 1;
                    }
                    Ok((_, true)) => assert!(at <= begun_at, "operation {at}: taken for an empty directory"),
                    Ok((found, _)) => assert!(found.iter().eq(all.iter()), "operation {at}"),
                }
                if after.peek(IDENTITY).is_none() {
                    let was_whole = matches!(find_leftover(&after).unwrap(), Leftover::Whole(_));
                    continued += usize::from(was_whole);
                    assert_eq!(make(&after, || assert!(!was_whole)).unwrap(), "what there is to tell");
                    assert!(
                        !after.paths().iter().any(|path| path.starts_with(BUILDING)),
                        "{:?}",
                        after.paths()
                    );
                }
                assert_eq!(after.peek("keys/a.key").unwrap(), b"of before");
                assert!(start(&after).unwrap().0.iter().eq(all.iter()), "operation {at}, seed {seed}");
            }
        }
        assert!(refused > 100, "{refused}");
        assert!(continued > 20, "{continued}");
    }

    #[test]
    fn only_files_that_a_restore_has_made_are_deleted() {
        for strange in ["notes.txt", "journal/notes.txt", "keys/notes.txt", "snapshot/1f.snap", "LOCK"] {
            // The simulated disk has no directories: one that holds only directories is empty to it.
            for begun in [true].into_iter().chain((!strange.contains('/')).then_some(false)) {
                let disk = SimStorage::new();
                let path = join(BUILDING, strange);
                disk.plant(&path, b"mine".to_vec());
                disk.plant(&join(BUILDING, "journal/0000000000000001.log"), vec![1]);
                if begun {
                    disk.plant(&join(BUILDING, BEGUN), vec![]);
                }
                let before = disk.paths();
                let refused = make(&disk, || panic!("begun")).unwrap_err().to_string();
                assert!(refused.starts_with(&path), "{refused}");
                assert!(refused.contains("nothing was deleted"), "{refused}");
                assert_eq!(disk.paths(), before);
                assert_eq!(disk.peek(&path).unwrap(), b"mine");
            }
        }
    }

    #[test]
    fn leftovers_of_an_earlier_restore_are_told_apart() {
        let leftover_of = |names: &[&str]| {
            let disk = SimStorage::new();
            for name in names {
                disk.plant(&join(BUILDING, name), b"to tell".to_vec());
            }
            find_leftover(&disk)
        };
        assert_eq!(leftover_of(&[]).unwrap(), Leftover::Nothing);
        // While the mark has its temporary name, nothing is beside it.
        for names in [&["BEGUN.tmp"][..], &["BEGUN"], &["BEGUN", "IDENTITY"], &["BEGUN", "WHOLE.tmp"]] {
            assert_eq!(leftover_of(names).unwrap(), Leftover::Begun, "{names:?}");
        }
        assert_eq!(leftover_of(&["BEGUN", "WHOLE"]).unwrap(), Leftover::Whole(String::from("to tell")));
        for names in [&["IDENTITY"][..], &["BEGUN.tmp", "IDENTITY"], &["x"]] {
            assert!(leftover_of(names).is_err(), "{names:?}");
        }
        let disk = SimStorage::new();
        disk.plant(&join(BUILDING, WHOLE), vec![]);
        let place: Arc<dyn Storage> = Arc::new(disk);
        assert!(begin(&place).is_err(), "a complete directory was built again");
    }

    #[test]
    fn a_key_is_never_put_over_another_one() {
        let disk = SimStorage::new();
        put_key(&disk, "a.key", b"one").unwrap();
        put_key(&disk, "a.key", b"one").unwrap();
        assert!(put_key(&disk, "a.key", b"two").unwrap_err().to_string().starts_with("a.key is there"));
        assert_eq!(disk.peek("a.key").unwrap(), b"one");
        // Other files in the directory of keys are not moved.
        let place = SimStorage::new();
        for name in ["keys/a.key", "keys/notes.txt", "IDENTITY"] {
            place.plant(&join(BUILDING, name), b"one".to_vec());
        }
        assert!(commit(&place, &disk).is_err(), "a file that no restore has made was deleted");
        assert_eq!(disk.paths(), ["a.key"]);
        assert_eq!(place.paths().len(), 3);
        // Without an IDENTITY the directory is not complete.
        assert!(commit(&SimStorage::new(), &SimStorage::new()).is_err());
    }

    #[test]
    fn paths_of_a_subdirectory_lie_inside_it() {
        let disk = SimStorage::new();
        let inner = within(&disk, "in");
        inner.create_dir("d").unwrap();
        inner.create_new("d/a").unwrap().write_at(b"a", 0).unwrap();
        assert_eq!(disk.peek("in/d/a").unwrap(), b"a");
        assert_eq!(inner.open("d/a").unwrap().read_all().unwrap(), b"a");
        inner.open_to_write("d/a").unwrap().write_at(b"b", 0).unwrap();
        inner.open_log("d/a").unwrap().write_at(b"c", 1).unwrap();
        inner.rename("d/a", "d/b").unwrap();
        inner.sync_dir("d").unwrap();
        assert!((0..9).all(|seed| disk.after_crash(seed).peek("in/d/b").is_some()));
        assert_eq!(disk.peek("in/d/b").unwrap(), b"bc");
        assert_eq!(inner.list("d").unwrap(), ["b"]);
        assert!(inner.remove_dir("d").is_err());
        inner.unlink("d/b").unwrap();
        inner.remove_dir("d").unwrap();
        assert!(inner.list("d").unwrap().is_empty());
        disk.set_free(77);
        assert_eq!(inner.free_space().unwrap(), 77);
        inner.create_new("e").unwrap();
        assert_eq!(inner.list("").unwrap(), ["e"]);
        assert_eq!(inner.keys().path("a"), "in/keys/a");
        // The caller holds the lock of the directory around it.
        let _held = disk.lock().unwrap();
        assert!(inner.lock().is_ok());
        assert!(inner.lock_to_read().is_ok());
    }
}
