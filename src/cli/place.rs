//! Where `data restore` and `data salvage` make a data directory: an empty place, in which nothing is touched that is not
//! their own.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use portcullis::config::Config;
use portcullis::journal::archive::staging::{self, Leftover};
use portcullis::journal::format::layout::{BUILDING, IDENTITY};
use portcullis::storage::local::LocalStorage;
use portcullis::storage::{Storage, write_whole};
use portcullis::system::clock::Clock;
use portcullis::system::random::Random;
use portcullis::token::Keys;

use super::{Failure, say};

/// Builds a data directory inside its place, moves it there when it is whole, and says what `build` has to tell.
pub(super) fn anew(
    config: &Config,
    from: &Path,
    keys: Option<&Path>,
    build: impl FnOnce(Arc<dyn Storage>, Clock, Arc<Random>) -> Result<Vec<String>, Failure>,
) -> Result<(), Failure> {
    let dir = &config.data_dir;
    let of_place = |error: io::Error| Failure::refused(format!("{}: {error}", dir.display()));
    let unfinished = left_in(dir)?;
    let whole = matches!(unfinished, Leftover::Whole(_));
    let own = from.join("keys");
    let keys = keys.unwrap_or(&own);
    if !whole {
        refuse_used(config)?;
        if !keys.join("directory-1.key").is_file() {
            return Err(Failure::refused(format!(
                "no keys in {}: without them no name is found again; name their directory with --keys",
                keys.display()
            )));
        }
    }
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(dir).map_err(of_place)?);
    let _lock = storage.lock().map_err(of_place)?;
    // Nobody else can have begun since.
    if left_in(dir)? != unfinished {
        return Err(Failure::refused(format!(
            "another restore into {} was at work; look at it",
            dir.display()
        )));
    }
    if let Leftover::Whole(lines) = unfinished {
        settle(config, &*storage)?;
        say(&format!(
            "nothing was read of {}: what an earlier restore into {} had built was whole, and is in its place now",
            from.display(),
            dir.display()
        ));
        say(&lines);
        return Ok(());
    }
    refuse_used(config)?;
    let building = staging::begin(&storage).map_err(of_place)?;
    let mut lines = build(Arc::new(building.clone()), Clock::system(), Arc::new(Random::system()))?;
    let target = building.keys();
    target.create_dir("").map_err(of_place)?;
    copy_keys(keys, &target, false)?;
    // Only the signing key is missing.
    Keys::form(&target, &Random::system(), config.token.algorithm).map_err(Failure::refused)?;
    lines.insert(0, format!("{} was made of {}", dir.display(), from.display()));
    let lines = lines.join("\n");
    staging::whole(&*storage, &lines).map_err(of_place)?;
    settle(config, &*storage)?;
    say(&lines);
    Ok(())
}

fn settle(config: &Config, storage: &dyn Storage) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::refused(format!(
            "{}: {error}; what was built is whole: mend this, and run the same command again",
            config.data_dir.display()
        ))
    };
    let keys = LocalStorage::open(&config.keys.dir).map_err(failed)?;
    staging::settle(storage, &keys).map_err(failed)
}

/// What an earlier restore has left in a directory that is not in use.
fn left_in(dir: &Path) -> Result<Leftover, Failure> {
    let of_place = |error: io::Error| Failure::refused(format!("{}: {error}", dir.display()));
    let storage = match LocalStorage::open_existing(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Leftover::Nothing),
        storage => storage.map_err(of_place)?,
    };
    refuse_another_owner(dir)?;
    if dir.join(IDENTITY).try_exists().map_err(of_place)? {
        return Err(Failure::refused(format!("{} is in use; give an empty --data-dir", dir.display())));
    }
    staging::left(&storage).map_err(of_place)
}

/// A past and what lies about it belong together: nothing but what a file system puts into its root, what a restore has
/// left, and directories in which nothing is.
fn refuse_used(config: &Config) -> Result<(), Failure> {
    let dir = &config.data_dir;
    let of_place = |error: io::Error| Failure::refused(format!("{}: {error}", dir.display()));
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries.map_err(of_place)?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.map_err(of_place)?;
        let name = entry.file_name();
        let expected = ["LOCK", BUILDING, "lost+found"].iter().any(|expected| name == **expected);
        let is_dir = entry.file_type().map_err(of_place)?.is_dir();
        if !(expected || is_dir && is_empty(&entry.path())?) {
            return Err(Failure::refused(format!(
                "{} is not empty: {} is in it; give an empty --data-dir",
                dir.display(),
                name.display()
            )));
        }
    }
    match LocalStorage::open_existing(&config.keys.dir) {
        Ok(keys) if Keys::exist(&keys) => Err(Failure::refused(format!(
            "{} holds keys, which belong to another past; name an empty keys.dir",
            config.keys.dir.display()
        ))),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::refused(format!("{}: {error}", config.keys.dir.display())))
        }
        _ => Ok(()),
    }
}

/// Whether nothing is in a directory, or no directory is there.
pub(super) fn is_empty(dir: &Path) -> Result<bool, Failure> {
    match dir.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Failure::refused(format!("{}: {error}", dir.display()))),
        Ok(mut inside) => Ok(inside.next().is_none()),
    }
}

/// A server could not read what another user writes into its directory.
pub(super) fn refuse_another_owner(dir: &Path) -> Result<(), Failure> {
    let found = fs::metadata(dir).map_err(|error| Failure::refused(format!("{}: {error}", dir.display())))?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() == own {
        return Ok(());
    }
    let owner = found.uid();
    Err(Failure::refused(format!(
        "{} belongs to user {owner}, and this is user {own}: run it as that one (sudo -u '#{owner}'), which could not read \
         what another writes",
        dir.display()
    )))
}

/// Copies key files; signing keys only for a backup, since a new past signs with new ones.
pub(super) fn copy_keys(from: &Path, to: &dyn Storage, signing: bool) -> Result<usize, Failure> {
    let mut copied = 0;
    for entry in from.read_dir().map_err(|error| Failure::refused(format!("{}: {error}", from.display())))? {
        let name = entry.map_err(Failure::refused)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".key") && (signing || !name.starts_with("signing-")) {
            let bytes = fs::read(from.join(&name)).map_err(Failure::refused)?;
            write_whole(to, "", &name, &bytes).map_err(Failure::refused)?;
            copied += 1;
        }
    }
    Ok(copied)
}
