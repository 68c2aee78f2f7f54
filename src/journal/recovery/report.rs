//! What recovery replays into, what it found, and why it refuses.

use std::{fmt, io};

use crate::journal::recovery::Tail;
use crate::journal::snapshot::status::Named;

/// Why the server does not start. Never offers deletion.
#[derive(Debug)]
pub struct Refusal {
    /// The file it is about.
    pub path: String,
    /// Where in it.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What to do next.
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

pub(in crate::journal) const INSPECT: &str = "nothing was changed; look at it with `portcullis data inspect`, and restore a backup if it is \
     really damaged";

pub(super) const FIX_DISK: &str = "mend the disk or its permissions and start again";

pub(in crate::journal) fn unreadable(path: &str) -> impl FnOnce(io::Error) -> Refusal {
    move |error| Refusal::new(path, None, error, FIX_DISK)
}

/// Calls of recovery into whoever owns the state.
pub trait ReplayTarget {
    /// Makes one write true: total, in order, no rule, clock or chance. An error when no version of ours wrote it.
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String>;
    /// The installation is new and nothing has been acknowledged: keys are made now. May be called again after a
    /// crash of the first start.
    fn first_start(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Whether keys are there, which a new installation cannot have.
    fn has_keys(&self) -> bool {
        false
    }
}

/// What recovery found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecoveryReport {
    /// There was nothing before.
    pub first_start: bool,
    /// The server before was stopped in order.
    pub clean_stop: bool,
    /// Entries replayed from segments.
    pub entries: u64,
    /// Records read from a snapshot.
    pub records: u64,
    /// The last sequence.
    pub seq: u64,
    /// Bytes of a torn tail that were cut off.
    pub torn: u64,
    /// Things an operator should know.
    pub warnings: Vec<String>,
    /// The latest time that was seen.
    pub wall_ms: u64,
    /// The newest snapshot that has a name.
    pub newest: Option<Named>,
    /// What lies behind the snapshot that was read.
    pub tail: Tail,
}
