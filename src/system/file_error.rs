//! Errors of files, with what an operator needs to mend them: the path, who this process is, whom the path belongs to,
//! and what to do.
//!
//! Whoever opens a file passes its errors through [`at`] or [`at_dir`]. The kind of the error stays as it was.

use std::fmt;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

/// An error of the system that names its file.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    error: io::Error,
    /// What to do; empty if the error says it all.
    advice: String,
}

impl FileError {
    /// Returns the named error in `error`, if it is one.
    pub fn within(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says what is wrong and what to do, without the path.
    pub fn what(&self) -> String {
        let Self { error, advice, .. } = self;
        if advice.is_empty() { error.to_string() } else { format!("{error}; {advice}") }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what())
    }
}

impl std::error::Error for FileError {}

/// Returns a function that names `path`, a file, in an error of the system. Errors that say more already stay as they are.
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| named(path, error, false)
}

/// Does the same as [`at`] for a directory.
pub fn at_dir(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| named(path, error, true)
}

/// Does the same as [`at`] for a call that some file systems do not have. `lacks` names what it is for, and why it is needed.
pub fn at_lacking(path: &Path, lacks: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| {
        let is_lacking = error.raw_os_error().and_then(errno).is_some_and(|errno| LACKING.contains(&errno));
        if !is_lacking {
            return at(path)(error);
        }
        let advice = format!(
            "its file system does not offer {lacks}: choose a directory on a local disk, or another mount option"
        );
        io::Error::new(error.kind(), FileError { path: path.to_owned(), error, advice })
    }
}

/// The errors by which file systems say that they do not have a call. `EPERM` is one of them: what a process may not do
/// for the mode of a file is `EACCES`.
const LACKING: [Errno; 5] = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOLCK, Errno::PERM];

fn errno(raw: i32) -> Option<Errno> {
    (raw > 0).then(|| Errno::from_raw_os_error(raw))
}

fn named(path: &Path, error: io::Error, is_dir: bool) -> io::Error {
    if error.get_ref().is_some() {
        return error;
    }
    let advice = advice(path, &error, is_dir);
    io::Error::new(error.kind(), FileError { path: path.to_owned(), error, advice })
}

/// Says what an operator can do about `error`.
fn advice(path: &Path, error: &io::Error, is_dir: bool) -> String {
    if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) {
        return String::from("raise the limit of open files: LimitNOFILE= of systemd, or ulimit -n");
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => permission(path, is_dir),
        io::ErrorKind::ReadOnlyFilesystem => String::from(
            "its file system is mounted read-only: mount it writable, or choose another directory",
        ),
        io::ErrorKind::StorageFull if inodes_free(path) == Some(0) => {
            String::from("its file system has no free inodes: remove files, or make one with more inodes")
        }
        io::ErrorKind::StorageFull => String::from("make room on its file system"),
        io::ErrorKind::QuotaExceeded => {
            format!("the quota of user {} is used up", rustix::process::geteuid())
        }
        io::ErrorKind::IsADirectory => String::from("it is a directory where a file belongs: move it away"),
        io::ErrorKind::NotADirectory => no_directory(path),
        io::ErrorKind::AlreadyExists if is_dir => no_directory(path),
        _ => String::new(),
    }
}

/// Names the part of `path` that is no directory although it has to be one.
fn no_directory(path: &Path) -> String {
    let mut existing = path.ancestors().filter(|part| std::fs::metadata(part).is_ok());
    let wrong = existing.find(|part| !part.is_dir());
    let wrong = wrong.unwrap_or(path).display();
    format!("{wrong} is a file where a directory belongs: move it away")
}

/// Says who may use `path`, who this process is, and how to bring them together.
///
/// What it advises changes nothing but a file or directory of this server: never a whole tree, and never a directory in
/// which others keep theirs.
fn permission(path: &Path, is_dir: bool) -> String {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let Some((part, found)) = refused_part(path) else {
        return format!("this process runs as user {user}, group {group}");
    };
    let (owner, owner_group) = (found.uid(), found.gid());
    let mode = found.permissions().mode() & 0o7777;
    let remedy = if user == 0 {
        String::from("even so a security module, an immutable file (lsattr) or a user namespace forbids it")
    } else if owner == user {
        format!("chmod u+rwX {}", part.display())
    } else if found.is_dir() {
        remedy_of_dir(path, is_dir, part, owner, (user, group))
    } else {
        remedy_of_file(part, owner, (user, group))
    };
    format!(
        "{} belongs to user {owner}, group {owner_group}, with mode {mode:04o}, and this process runs as user {user}, \
         group {group}: {remedy}",
        part.display()
    )
}

/// Says how `file`, which belongs to `owner`, can be used by the user and the group `us`.
fn remedy_of_file(file: &Path, owner: u32, (user, group): (u32, u32)) -> String {
    if !file.parent().is_some_and(is_ours) {
        format!("let user {user} read it, or name another file")
    } else if owner == 0 {
        format!("as root: chown {user}:{group} {}", file.display())
    } else {
        format!("run it as user {owner}")
    }
}

/// Says how `path` can be used by the user and the group `us`, although the directory `part`, which is `path` or above it
/// and belongs to `owner`, refuses them.
fn remedy_of_dir(path: &Path, is_dir: bool, part: &Path, owner: u32, (user, group): (u32, u32)) -> String {
    let install = |dir: &Path| format!("as root: install -d -o {user} -g {group} -m 0700 {}", dir.display());
    let may = |access| rustix::fs::accessat(CWD, part, access, AtFlags::EACCESS).is_ok();
    if is_ours(part) || is_fresh(path, part) {
        // Nobody should run a server as root to read files of root.
        return match owner {
            0 => format!("as root: chown {user}:{group} {}", part.display()),
            _ => format!("run it as user {owner}"),
        };
    }
    if !may(Access::EXEC_OK) {
        return match owner {
            0 => format!("user {user} reaches nothing in it: name another place"),
            _ => format!(
                "if it holds files of this server, run it as user {owner}; if not, name another place"
            ),
        };
    }
    let name = path.file_name().unwrap_or_default();
    // These two may have a place of their own.
    let is_part = PARTS.iter().any(|part| name == *part) && name != "keys" && name != "audit";
    let dir = if is_dir { Some(path) } else { path.parent() };
    if let Some(dir) = dir.filter(|dir| !(dir.exists() || is_part && dir.parent() == Some(part))) {
        return format!("make {} for this user alone, {}", dir.display(), install(dir));
    }
    if is_dir || is_part {
        return String::from("it is not a directory of this server: name one for it alone");
    }
    let dir = path.with_extension("");
    let dir = if dir == path { path.with_extension("d") } else { dir };
    format!("name {}, and make that directory, {}", dir.join(name).display(), install(&dir))
}

/// Names of what is in a data directory.
const PARTS: [&str; 10] = [
    "IDENTITY",
    "LOCK",
    "journal",
    "snapshot",
    "keys",
    "audit",
    "audit.end",
    "outbox",
    "quarantine",
    "restoring.tmp",
];

/// Says whether `dir` holds files of this server: a data directory, a part of one, or a directory of keys or of security
/// events that is elsewhere.
fn is_ours(dir: &Path) -> bool {
    let is_data = |dir: &Path| dir.join("IDENTITY").exists() || dir.join("LOCK").exists();
    let is_part = || {
        let is_named = dir.file_name().is_some_and(|name| PARTS.iter().any(|part| name == *part));
        is_named && dir.parent().is_some_and(is_data)
    };
    let names_of_ours = |name: &str| {
        let is_of = |start: &str, end: &str| name.starts_with(start) && name.ends_with(end);
        is_of("directory-", ".key") || is_of("signing-", ".key") || is_of("audit-", ".jsonl")
    };
    let holds_ours = || {
        let mut entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_str().is_some_and(names_of_ours))
    };
    is_data(dir) || is_part() || holds_ours()
}

/// Says whether `part` is empty and to become a directory of this server: a volume that is just mounted.
fn is_fresh(path: &Path, part: &Path) -> bool {
    let is_named = path.file_name().is_some_and(|name| PARTS.iter().any(|part| name == *part));
    let is_asked = path == part || (path.parent() == Some(part) && is_named);
    is_asked && std::fs::read_dir(part).is_ok_and(|mut entries| entries.next().is_none())
}

/// Returns the part of `path` that refuses this process: the last one that can be seen, or the directory that it is in.
fn refused_part(path: &Path) -> Option<(&Path, std::fs::Metadata)> {
    let here = Path::new(".");
    let parts = path.ancestors().map(|part| if part.as_os_str().is_empty() { here } else { part });
    let mut seen = parts.filter_map(|part| Some((part, std::fs::metadata(part).ok()?)));
    let last = seen.next()?;
    let refuses = |(part, found): &(&Path, std::fs::Metadata)| {
        let wanted = Access::READ_OK | Access::WRITE_OK;
        let wanted = if found.is_dir() { wanted | Access::EXEC_OK } else { wanted };
        rustix::fs::accessat(CWD, *part, wanted, AtFlags::EACCESS).is_err()
    };
    if refuses(&last) {
        return Some(last);
    }
    Some(seen.next().filter(refuses).unwrap_or(last))
}

/// Returns how many files can still be made on the file system of `path`; `None` if it keeps no count.
fn inodes_free(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|part| part.exists()).unwrap_or(Path::new("."));
    super::volume::inodes_free(existing).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn an_error_names_its_path_once_and_keeps_its_kind() {
        let error = at(Path::new("/a/b"))(os(Errno::NOENT));
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "/a/b: No such file or directory (os error 2)");
        let error = at_dir(Path::new("/c"))(error);
        assert!(error.to_string().starts_with("/a/b: "), "{error}");
        assert_eq!(FileError::within(&error).unwrap().path(), Path::new("/a/b"));
        let said = at(Path::new("/a"))(io::Error::other("said already"));
        assert_eq!(said.to_string(), "said already");
        assert!(FileError::within(&said).is_none());
    }

    #[test]
    fn the_part_that_is_no_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit");
        std::fs::write(&file, "").unwrap();
        let below = file.join("x/y");
        for error in [
            at_dir(&file)(std::fs::create_dir(&file).unwrap_err()),
            at_dir(&below)(std::fs::create_dir_all(&below).unwrap_err()),
            at(&below)(std::fs::File::open(&below).unwrap_err()),
        ] {
            let expected = format!("{} is a file where a directory belongs", file.display());
            assert!(error.to_string().contains(&expected), "{error}");
        }
        let error = at(dir.path())(std::fs::write(dir.path(), "").unwrap_err());
        assert!(error.to_string().contains("it is a directory where a file belongs"), "{error}");
    }

    /// Kind: a call that a file system does not have, told as a fault of the disk or of another process.
    #[test]
    fn a_call_that_a_file_system_lacks_is_told_by_its_name() {
        let path = Path::new("/data/LOCK");
        for errno in LACKING {
            let error = at_lacking(path, "locks")(os(errno));
            assert!(error.to_string().starts_with("/data/LOCK: "), "{error}");
            assert!(error.to_string().contains("its file system does not offer locks: "), "{error}");
            assert_eq!(error.kind(), os(errno).kind());
        }
        for other in [Errno::IO, Errno::ACCESS, Errno::NOSPC] {
            let error = at_lacking(path, "locks")(os(other));
            assert!(!error.to_string().contains("does not offer"), "{error}");
        }
        let said = at_lacking(path, "locks")(io::Error::other("said already"));
        assert_eq!(said.to_string(), "said already");
    }

    /// Each error that an operator can mend says how.
    #[test]
    fn what_can_be_mended_says_how() {
        let dir = tempfile::tempdir().unwrap();
        for (errno, said) in [
            (Errno::ACCESS, "and this process runs as user "),
            (Errno::PERM, "and this process runs as user "),
            (Errno::ROFS, "mounted read-only"),
            (Errno::NOSPC, "make room"),
            (Errno::DQUOT, "the quota of user "),
            (Errno::MFILE, "ulimit -n"),
        ] {
            let error = at(&dir.path().join("new"))(os(errno));
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
