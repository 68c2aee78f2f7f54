//! Makes a new data directory of the records of an old one, up to a point.
//!
//! The new directory continues nothing: its timeline is one higher, and the global epoch with it, so that every session,
//! refresh token and mailed token of the old one is invalid. Signing keys are not taken over, which invalidates access
//! tokens. The caller names the tables that are left out, such as that of waiting mails, which would be sent twice.

use std::sync::Arc;

use super::records::{Discard, Records};
use crate::journal::append::handle::{Class, NoRoom, Permit};
use crate::journal::format::entry::{Change, EncodedEntry, Entry};
use crate::journal::format::identity_file::IdentityFile;
use crate::journal::format::layout::{IDENTITY, JOURNAL_DIR, Sizes};
use crate::journal::recovery::replay::{Range, RecoveryTarget, replay_read_only_until};
use crate::journal::recovery::report::{Refusal, ReplayTarget};
use crate::journal::recovery::{Options, Recovered, recover};
use crate::storage::Storage;
use crate::system::clock::{Clock, Timestamp};
use crate::system::random::Random;

/// The directory that is made, and how.
pub struct Destination<'a> {
    /// The directory, which is empty.
    pub storage: Arc<dyn Storage>,
    /// The sizes of the format.
    pub sizes: Sizes,
    /// The clock. Its floor is raised to the latest time of the old journal.
    pub clock: Clock,
    /// The source of randomness, for salts.
    pub random: Arc<Random>,
    /// The numbers of the tables whose records are left out.
    pub left_out: &'a [u16],
    /// Says of each other record whether it is taken over.
    pub admit: &'a Admit<'a>,
    /// Changes of the new history, after those records.
    pub added: &'a [Change],
}

/// Says whether a record is taken over into a new directory, of its table, schema, key and value.
///
/// Errors: no directory may be made of these records.
pub type Admit<'a> = dyn Fn(u16, u16, &[u8], &[u8]) -> Result<bool, Refusal> + 'a;

/// Takes over every record.
#[expect(clippy::unnecessary_wraps, reason = "an Admit")]
pub const fn admit_all(_: u16, _: u16, _: &[u8], _: &[u8]) -> Result<bool, Refusal> {
    Ok(true)
}

/// A directory that was made.
#[derive(Debug)]
pub struct Restored {
    /// The number of records that the old journal held at that sequence.
    pub read: usize,
    /// The number of them that were taken over.
    pub records: usize,
    /// The number of records that were left out with their tables.
    pub left_out: usize,
    /// The last sequence of the old journal that it includes.
    pub seq: u64,
    /// Its timeline.
    pub timeline: u32,
}

/// Which installation a directory belongs to: its cluster, and its timeline, which each restore raises.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Origin {
    pub(super) cluster: [u8; 16],
    pub(super) timeline: u32,
}

impl Origin {
    /// Reads the origin of a directory from its `IDENTITY`.
    pub(super) fn read(from: &dyn Storage) -> Result<Self, Refusal> {
        const NEXT: &str = "name a data directory or a backup of one";
        let identity = IdentityFile::open(from).map_err(|error| Refusal::of(IDENTITY, &error, NEXT))?;
        let identity = identity.ok_or_else(|| Refusal::new(IDENTITY, None, "missing", NEXT))?;
        let identity = identity.map_err(|error| Refusal::new(IDENTITY, None, error, NEXT))?;
        Ok(Self { cluster: identity.cluster(), timeline: identity.timeline() })
    }
}

/// Refuses a recovery target that lies outside of what the directory or backup `from` holds.
///
/// Errors: it does, or `from` does not start.
pub fn check_target(from: &dyn Storage, sizes: Sizes, until: RecoveryTarget) -> Result<(), Refusal> {
    const NEXT: &str = "name a point between these, or leave the flag out for all of it; nothing was changed";
    if until.is_the_end() {
        return Ok(());
    }
    let range = Range::read(from, sizes)?;
    match range.map(|range| range.judge(until)) {
        None => Err(Refusal::new(JOURNAL_DIR, None, "holds no entry, so there is no point to restore", NEXT)),
        Some(Some(what)) => Err(Refusal::new(JOURNAL_DIR, None, what, NEXT)),
        Some(None) => Ok(()),
    }
}

/// Reads a directory or a backup up to `until`, a sequence or a time, and makes a new directory of its records.
///
/// Errors: `from` does not start, or lacks an `IDENTITY`; or `to` cannot be written, and must be emptied first.
pub fn restore(from: &dyn Storage, to: Destination<'_>, until: RecoveryTarget) -> Result<Restored, Refusal> {
    let mut records = Records::default();
    let report = replay_read_only_until(from, to.sizes, &mut records, until)?;
    let origin = Origin::read(from)?;
    to.clock.raise_floor(Timestamp(report.wall_ms));
    begin_anew(to, &records, origin, report.seq)
}

/// Changes a record on its way into a new directory: of its table, schema and value. `None` leaves it as it is.
///
/// Errors: no directory may be made of these records.
pub type Amend<'a> = dyn Fn(u16, u16, &[u8]) -> Result<Option<Change>, Refusal> + 'a;

/// Does the same as [`restore`] up to the end of `from`, and leaves the time behind that its journal has seen: the new one
/// begins at the time of the clock of `to`. `amend` changes records that hold later times.
///
/// Security: what had expired by the old journal could be valid again, so it matters that the new timeline ends all that
/// lived before.
pub fn restore_at_another_time(
    from: &dyn Storage,
    to: Destination<'_>,
    amend: &Amend<'_>,
) -> Result<Restored, Refusal> {
    let mut records = Records::default();
    let report = replay_read_only_until(from, to.sizes, &mut records, RecoveryTarget::default())?;
    let changes = records.iter().map(|(table, schema, _, value)| amend(table, schema, value));
    let changes: Vec<Option<Change>> = changes.collect::<Result<_, _>>()?;
    for Change { table, schema, key, value } in changes.into_iter().flatten() {
        let applied = records.apply(table, schema, &key, value.as_deref());
        applied.map_err(|what| failed(&what))?;
    }
    let origin = Origin::read(from)?;
    begin_anew(to, &records, origin, report.seq)
}

/// Makes a new directory of `records`, on the timeline after that of `origin`. `seq` is the last sequence of the old
/// journal that they include.
pub(super) fn begin_anew(
    to: Destination<'_>,
    records: &Records,
    origin: Origin,
    seq: u64,
) -> Result<Restored, Refusal> {
    let Destination { storage, sizes, clock, random, left_out, admit, added } = to;
    // Before anything is written.
    let mut admitted = Vec::new();
    for (table, schema, key, value) in records.iter() {
        admitted.push(!left_out.contains(&table) && admit(table, schema, key, value)?);
    }
    let timeline = origin.timeline + 1;
    let created_ms = clock.now().as_millis();
    IdentityFile::form(&*storage, origin.cluster, timeline, created_ms).map_err(|error| failed(&error))?;
    let options = Options { storage, sizes, clock, random, accept_clock_floor: false };
    let mut recovered = recover(options, &mut Discard)?;
    let mut restored = Restored { read: records.len(), records: 0, left_out: 0, seq, timeline };
    let mut append = |change: Change| {
        let entry = Entry::encode(&[change]).map_err(|error| failed(&error))?;
        let permit = reserve(&mut recovered, &entry)?;
        recovered.handle.append(permit, &entry);
        Ok(())
    };
    for ((table, schema, key, value), is_admitted) in records.iter().zip(admitted) {
        if !is_admitted {
            restored.left_out += usize::from(left_out.contains(&table));
            continue;
        }
        restored.records += 1;
        append(Change { table, schema, key: key.to_vec(), value: Some(value.to_vec()) })?;
    }
    added.iter().cloned().try_for_each(append)?;
    recovered.writer.close().map_err(|error| failed(&error))?;
    Ok(restored)
}

/// Reserves room for `entry`, and writes and prepares segments until there is some.
fn reserve(recovered: &mut Recovered, entry: &EncodedEntry) -> Result<Permit, Refusal> {
    loop {
        match recovered.handle.reserve(entry.as_bytes().len(), Class::Essential) {
            Ok(permit) => return Ok(permit),
            Err(NoRoom::Stopped) => return Err(failed(&NoRoom::Stopped)),
            Err(_) => {
                recovered.writer.step().map_err(|error| failed(&error))?;
                recovered.prepare().map_err(|error| failed(&error))?;
            }
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> Refusal {
    const NEXT: &str = "mend the disk and restore again into an empty directory";
    Refusal::new(IDENTITY, None, error, NEXT)
}
