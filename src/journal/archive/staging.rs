//! Where a new past is built: inside the directory that it is meant for, under a name of its own, so that it is on the same
//! disk, and nothing beside it is touched. What is whole moves to its place, `IDENTITY` last: a crash leaves a directory
//! that no server takes for an empty one, and that the next restore goes on with, or one that is whole.

use std::io;
use std::sync::Arc;

use crate::journal::format::layout::{BUILDING, IDENTITY, JOURNAL_DIR, SNAPSHOT_DIR, number_in};
use crate::storage::{File, Storage, join, write_whole};

/// Keys that wait in it.
const KEYS_DIR: &str = "keys";
/// Says that whatever lies beside it may be built anew.
const BEGUN: &str = "BEGUN";
/// Says that nothing is missing beside it but the moves. Holds what is to be told at the end.
const WHOLE: &str = "WHOLE";

/// What an earlier restore has left in a place.
#[derive(Debug, Eq, PartialEq)]
pub enum Leftover {
    /// Nothing.
    Nothing,
    /// Something half built.
    Begun,
    /// Something whole that is not in its place yet, and what is to be told of it.
    Whole(String),
}

/// Looks for it.
pub fn left(place: &dyn Storage) -> io::Result<Leftover> {
    let names = place.list(BUILDING)?;
    let holds = |name: &str| names.iter().any(|found| found == name);
    if holds(WHOLE) {
        let told = place.open(&join(BUILDING, WHOLE))?.read_all()?;
        return Ok(Leftover::Whole(String::from_utf8_lossy(&told).into_owned()));
    }
    match names.first() {
        None => Ok(Leftover::Nothing),
        // Made before anything else, under a temporary name at first.
        Some(only) if names.len() == 1 && *only == format!("{BEGUN}.tmp") => Ok(Leftover::Begun),
        Some(_) if holds(BEGUN) => Ok(Leftover::Begun),
        Some(name) => Err(strange(&join(BUILDING, name))),
    }
}

/// Makes room for a new past, which is built in what comes back, keys in its `keys/`. The caller holds the place.
pub fn begin(place: &Arc<dyn Storage>) -> io::Result<Within> {
    match left(&**place)? {
        Leftover::Nothing => {}
        Leftover::Begun => clear(&**place)?,
        Leftover::Whole(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "one is whole and not in its place"));
        }
    }
    place.create_dir(BUILDING)?;
    write_whole(&**place, BUILDING, BEGUN, b"a restore or salvage at work\n")?;
    place.sync_dir("")?;
    Ok(Within { storage: Arc::clone(place), dir: BUILDING.to_owned() })
}

/// What was begun is whole: from here on it is gone on with. Says `told` at the end, whoever gets there.
pub fn whole(place: &dyn Storage, told: &str) -> io::Result<()> {
    write_whole(place, BUILDING, WHOLE, told.as_bytes())
}

/// Moves what is whole to its place, and its keys into their directory. May be called again after a crash.
pub fn settle(place: &dyn Storage, keys: &dyn Storage) -> io::Result<()> {
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
        if name.ends_with(".key") {
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

/// Never another key over one that is there.
fn put_key(keys: &dyn Storage, name: &str, key: &[u8]) -> io::Result<()> {
    match keys.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_whole(keys, "", name, key),
        there => {
            let same = there?.read_all()? == key;
            let other =
                || io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} is there, and another key"));
            if same { Ok(()) } else { Err(other()) }
        }
    }
}

/// Takes away what was built and not moved. First looks for what no restore has made: then nothing is taken.
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
    // As long as anything else is there, the marks are; that it is whole is forgotten before that it was begun.
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

/// Names of segments, snapshots, keys, and of those that are being written.
fn is_own(name: &str) -> bool {
    let numbered = |extension| number_in(name, extension).is_some();
    numbered(".log") || numbered(".snap") || name.ends_with(".key") || name.ends_with(".tmp")
}

fn strange(path: &str) -> io::Error {
    let what = format!("{path} was not made by a restore: nothing was deleted; move it away, and try again");
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

/// A directory inside another one, for as long as that one is held.
#[derive(Clone)]
pub struct Within {
    storage: Arc<dyn Storage>,
    dir: String,
}

impl Within {
    /// The keys of what is built.
    #[must_use]
    pub fn keys(&self) -> Self {
        Self { storage: Arc::clone(&self.storage), dir: self.path(KEYS_DIR) }
    }

    fn path(&self, path: &str) -> String {
        if path.is_empty() { self.dir.clone() } else { join(&self.dir, path) }
    }
}

impl Storage for Within {
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

    /// Whoever builds holds the place.
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
    use super::super::{Records, restore};
    use super::*;
    use crate::journal::recovery::recover;
    use crate::journal::recovery::replay::RecoveryTarget;
    use crate::journal::recovery::report::ReplayTarget;
    use crate::simulation::golden::{SIZES, disk_of, frozen};
    use crate::storage::simulated::SimStorage;
    use crate::system::clock::{Clock, Timestamp};
    use crate::system::random::Random;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn within(disk: &SimStorage, dir: &str) -> Within {
        Within { storage: Arc::new(disk.clone()), dir: dir.to_owned() }
    }

    /// The whole way, as the command goes it; `begun` is called when the place is marked.
    fn make(disk: &SimStorage, begun: impl FnOnce()) -> io::Result<String> {
        let place: Arc<dyn Storage> = Arc::new(disk.clone());
        let keys = within(disk, "keys");
        if let Leftover::Whole(told) = left(&*place)? {
            return settle(&*place, &keys).map(|()| told);
        }
        let building = begin(&place)?;
        begun();
        let source = disk_of(&frozen("snapshots"));
        let random = Arc::new(Random::seeded(1));
        let to = Arc::new(building.clone());
        restore(&source, to, SIZES, RecoveryTarget::default(), Clock::manual(NOW), random)
            .map_err(io::Error::other)?;
        write_whole(&building.keys(), "", "a.key", b"of before")?;
        whole(&*place, "what there is to tell")?;
        settle(&*place, &keys).map(|()| String::from("what there is to tell"))
    }

    /// What a server finds, and whether it takes the directory for an empty one.
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
    fn a_crash_at_any_operation_leaves_a_place_that_is_whole_or_that_no_server_takes_for_an_empty_one() {
        let sound = SimStorage::new();
        let mut begun_at = 0;
        make(&sound, || begun_at = sound.operations()).unwrap();
        let all = start(&sound.after_kill()).unwrap().0;
        assert!(all.len() > 3 && begun_at > 3, "{} {begun_at}", all.len());
        assert!(!sound.paths().iter().any(|path| path.starts_with(BUILDING)), "{:?}", sound.paths());
        let (mut refused, mut settled) = (0, 0);
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
                        assert!(
                            why.starts_with(BUILDING) && why.contains("run the same command again"),
                            "{at}: {why}"
                        );
                        refused += 1;
                    }
                    Ok((_, true)) => assert!(at <= begun_at, "operation {at}: taken for an empty directory"),
                    Ok((found, _)) => assert!(found.iter().eq(all.iter()), "operation {at}"),
                }
                if after.peek(IDENTITY).is_none() {
                    let was_whole = matches!(left(&after).unwrap(), Leftover::Whole(_));
                    settled += usize::from(was_whole);
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
        assert!(refused > 100 && settled > 20, "{refused} {settled}");
    }

    #[test]
    fn nothing_is_deleted_that_no_restore_has_made() {
        for strange in ["notes.txt", "journal/notes.txt", "keys/notes.txt", "snapshot/1f.snap", "LOCK"] {
            // In the simulator a directory in which only directories are is an empty one.
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
                assert!(refused.starts_with(&path) && refused.contains("nothing was deleted"), "{refused}");
                assert_eq!((disk.paths(), disk.peek(&path).unwrap()), (before, b"mine".to_vec()));
            }
        }
    }

    #[test]
    fn what_an_earlier_one_left_is_told_apart() {
        let of = |names: &[&str]| {
            let disk = SimStorage::new();
            for name in names {
                disk.plant(&join(BUILDING, name), b"to tell".to_vec());
            }
            left(&disk)
        };
        assert_eq!(of(&[]).unwrap(), Leftover::Nothing);
        // A mark under its temporary name has nothing beside it.
        for names in [&["BEGUN.tmp"][..], &["BEGUN"], &["BEGUN", "IDENTITY"], &["BEGUN", "WHOLE.tmp"]] {
            assert_eq!(of(names).unwrap(), Leftover::Begun, "{names:?}");
        }
        assert_eq!(of(&["BEGUN", "WHOLE"]).unwrap(), Leftover::Whole(String::from("to tell")));
        for names in [&["IDENTITY"][..], &["BEGUN.tmp", "IDENTITY"], &["x"]] {
            assert!(of(names).is_err(), "{names:?}");
        }
        let disk = SimStorage::new();
        disk.plant(&join(BUILDING, WHOLE), vec![]);
        let place: Arc<dyn Storage> = Arc::new(disk);
        assert!(begin(&place).is_err(), "what is whole was built anew");
    }

    #[test]
    fn a_key_is_never_put_over_another_one() {
        let disk = SimStorage::new();
        put_key(&disk, "a.key", b"one").unwrap();
        put_key(&disk, "a.key", b"one").unwrap();
        assert!(put_key(&disk, "a.key", b"two").unwrap_err().to_string().starts_with("a.key is there"));
        assert_eq!(disk.peek("a.key").unwrap(), b"one");
        // Other files of a directory of keys stay behind.
        let place = SimStorage::new();
        for name in ["keys/a.key", "keys/notes.txt", "IDENTITY"] {
            place.plant(&join(BUILDING, name), b"one".to_vec());
        }
        assert!(settle(&place, &disk).is_err(), "what is strange was deleted");
        assert_eq!((disk.paths(), place.paths().len()), (vec![String::from("a.key")], 3));
        // Without an IDENTITY nothing is whole.
        assert!(settle(&SimStorage::new(), &SimStorage::new()).is_err());
    }

    #[test]
    fn a_directory_inside_another_is_that_ones() {
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
        assert_eq!(
            (disk.peek("in/d/b").unwrap(), inner.list("d").unwrap()),
            (b"bc".to_vec(), vec![String::from("b")])
        );
        assert!(inner.remove_dir("d").is_err());
        inner.unlink("d/b").unwrap();
        inner.remove_dir("d").unwrap();
        assert!(inner.list("d").unwrap().is_empty());
        disk.set_free(77);
        assert_eq!(inner.free_space().unwrap(), 77);
        inner.create_new("e").unwrap();
        assert_eq!(
            (inner.list("").unwrap(), inner.keys().path("a")),
            (vec![String::from("e")], String::from("in/keys/a"))
        );
        // The place itself is held meanwhile.
        let _held = disk.lock().unwrap();
        assert!(inner.lock().is_ok() && inner.lock_to_read().is_ok());
    }
}
