//! The types that recovery shares with its callers: the target that it replays into, the report of what it read, and
//! the refusal to start.

use std::{fmt, io};

use crate::journal::format::header::HeaderError;
use crate::journal::snapshot::status::{Named, Tail};
use crate::system::file_error::FileError;

/// The reason why a directory is refused, with the next step for the operator. It never suggests deleting anything.
#[derive(Debug)]
pub struct Refusal {
    /// The file that is refused.
    pub path: String,
    /// The offset in that file, if the reason is at one place.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What the operator should do next.
    pub next: &'static str,
}

impl Refusal {
    pub(in crate::journal) fn new(
        path: &str,
        offset: Option<u64>,
        what: impl fmt::Display,
        next: &'static str,
    ) -> Self {
        Self { path: path.to_owned(), offset, what: what.to_string(), next }
    }

    /// Creates the refusal for an I/O error on `path`. An error that names its file itself knows better.
    pub(in crate::journal) fn of(path: &str, error: &io::Error, next: &'static str) -> Self {
        match FileError::within(error) {
            Some(named) => Self::new(&named.path().to_string_lossy(), None, named.what(), next),
            None => Self::new(path, None, error, next),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}; {}", self.what, self.next)
    }
}

impl std::error::Error for Refusal {}

pub(in crate::journal) const INSPECT: &str = "nothing was changed; look at it with `portcullis data inspect`; if it is \
     really damaged, restore a backup with `portcullis data restore`, or save what can be read with `portcullis data \
     salvage`";

/// What to do with a file or a record of a newer version. It is sound, so no salvage and no backup helps.
pub(in crate::journal) const START_NEWER: &str =
    "start that version of Portcullis again; nothing was changed, and the data are not damaged";

/// Returns what to do about a header block that is not believed.
pub(in crate::journal) fn next_step(error: &HeaderError) -> &'static str {
    if matches!(error, HeaderError::Newer { .. }) { START_NEWER } else { INSPECT }
}

pub(super) const FIX_DISK: &str = "mend the disk or its permissions and start again";

/// Returns a function that turns an I/O error on `path` into a refusal.
pub(in crate::journal) fn unreadable(path: &str) -> impl FnOnce(io::Error) -> Refusal {
    move |error| Refusal::of(path, &error, FIX_DISK)
}

/// A target that recovery replays into. Implemented by the owner of the state.
pub trait ReplayTarget {
    /// Makes one write true. Writes are total and arrive in order; no rule, clock or randomness is involved.
    ///
    /// Errors: no version of this server wrote such a record.
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String>;
    /// Says whether only a later version writes records of this table and schema. Asked about a record that
    /// [`Self::apply`] has refused.
    fn is_newer(&self, _table: u16, _schema: u16) -> bool {
        false
    }
    /// Makes the keys of a new installation, in which nothing has been acknowledged yet. Called again if the first
    /// start crashed after it.
    fn first_start(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Returns whether keys exist. A new installation cannot have any.
    fn has_keys(&self) -> bool {
        false
    }
}

/// The facts that reading a directory showed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecoveryReport {
    /// Whether the directory held nothing, or only the traces of a first start that did not finish.
    pub first_start: bool,
    /// Whether the previous run ended with a clean stop.
    pub clean_stop: bool,
    /// Entries replayed from segments.
    pub entries: u64,
    /// Records read from a snapshot.
    pub records: u64,
    /// The last sequence.
    pub seq: u64,
    /// Bytes of a torn tail that are cut off.
    pub torn: u64,
    /// Findings that an operator should know of.
    pub warnings: Vec<String>,
    /// The latest time that a frame or the snapshot names, in milliseconds since 1970.
    pub wall_ms: u64,
    /// The newest named snapshot. Known only after the directory is owned.
    pub newest: Option<Named>,
    /// The part of the journal after the snapshot that was read.
    pub tail: Tail,
}
