//! `throttle.bin`: the contents of the rate limiter, so that a restart is no way around it. It is never a reason to
//! refuse a start.
//!
//! A header block like that of every file, with `96 saved_ms (8)  104 body_len (8)  112 body_crc (4)`, and
//! [records](super::saved) from byte 4096 on. The file is written under a temporary name and renamed, so it is there
//! whole or not at all.

use std::io;

use super::saved::{RECORD_BYTES, SavedRecord};
use super::table::{Limits, Table};
use crate::journal::context::JournalContext;
use crate::journal::format::bytes::Reader;
use crate::journal::format::header::by_kind;
use crate::journal::format::header::{FileKind, HEADER_BYTES, Header, HeaderError};
use crate::journal::recovery::report::RecoveryReport;
use crate::storage::{Storage, unlink_if_there};
use crate::system::clock::Timestamp;
use crate::value::counted::counted;

/// The name of the file.
pub const FILE: &str = "throttle.bin";
const TEMPORARY: &str = "throttle.bin.tmp";
/// Bytes that are written between two syncs, so that the file system does not hold up the journal's writes.
const PART: usize = 1 << 20;
/// The longest that a clean stop takes after it has saved the limiter: it sends mails and closes the journal. A file
/// that is older than the stop by more was not saved by it.
const STOP_MS_MAX: u64 = 120_000;

/// The contents of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedTable {
    /// The id of the installation that wrote it.
    pub cluster: [u8; 16],
    /// When it was saved.
    pub at: Timestamp,
    /// The records of the table at that time.
    pub records: Vec<SavedRecord>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file is missing.
    #[error("there is no {FILE}")]
    Missing,
    /// The header block is wrong.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The records are cut short, or differ from their checksum.
    #[error("its records are damaged")]
    Damaged,
    /// Another installation wrote it.
    #[error("belongs to another installation")]
    Foreign,
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the bytes of the file.
///
/// Errors: checks the header first, then length and checksum, then each record, so that nothing is used before it was
/// vouched for.
pub fn read(bytes: &[u8]) -> Result<SavedTable, Unreadable> {
    let (block, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Unreadable::Damaged)?;
    let header = Header::read(FileKind::Throttle, block)?;
    let mut fields = Reader(&header.by_kind);
    let fields = fields.u64().zip(fields.u64()).zip(fields.u32()).filter(|_| fields.rest_is_zero());
    let ((at, len), crc) = fields.ok_or(Unreadable::Damaged)?;
    let is_intact = len == body.len() as u64 && crc32c::crc32c(body) == crc;
    let (records, rest) = body.as_chunks::<RECORD_BYTES>();
    if !is_intact || !rest.is_empty() {
        return Err(Unreadable::Damaged);
    }
    let records = records.iter().map(|record| SavedRecord::read(*record)).collect::<Option<_>>();
    Ok(SavedTable {
        cluster: header.cluster,
        at: Timestamp(at),
        records: records.ok_or(Unreadable::Damaged)?,
    })
}

/// Reads the file of a data directory.
fn load(storage: &dyn Storage) -> Result<SavedTable, Unreadable> {
    let file = storage.open(FILE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unreadable::Missing,
        _ => error.into(),
    })?;
    read(&file.read_all()?)
}

/// Reads the file of a data directory, which must belong to the installation `cluster`.
fn load_own(storage: &dyn Storage, cluster: [u8; 16]) -> Result<SavedTable, Unreadable> {
    let saved = load(storage)?;
    if saved.cluster == cluster { Ok(saved) } else { Err(Unreadable::Foreign) }
}

/// Returns the table for a start, filled from the file. Sets `limits.half_spent` if the file leaves anything unknown.
///
/// After a clean stop nothing is unknown, and every network has what it had. After a crash up to 30 s are missing, so a
/// network begins half spent unless it is known to owe more. Without a file every network begins half spent.
pub fn restored(
    storage: &dyn Storage,
    context: &JournalContext,
    recovery: &RecoveryReport,
    mut limits: Limits,
) -> Table {
    let now = context.clock.now();
    if recovery.first_start {
        return Table::new(Limits { half_spent: false, ..limits }, now);
    }
    let saved = load_own(storage, context.cluster);
    let is_of_the_stop =
        |saved: &SavedTable| saved.at.as_millis().saturating_add(STOP_MS_MAX) >= recovery.wall_ms;
    let is_complete = recovery.clean_stop && saved.as_ref().is_ok_and(is_of_the_stop);
    limits.half_spent = !is_complete;
    let mut table = Table::new(limits, now);
    match saved {
        Ok(SavedTable { at, mut records, .. }) => {
            // Marks must be restored in the order of their ends.
            records.sort_by_key(
                |record| {
                    if let SavedRecord::Suspect(_, until) = record { *until } else { now }
                },
            );
            let count = records.len();
            for record in records {
                table.restore(record, now);
            }
            let rest = if is_complete { "a whole burst" } else { "half of a burst" };
            tracing::info!(
                records = count,
                saved = %at,
                "restored the rate limiter from {FILE}: networks that are not in it begin with {rest}"
            );
        }
        Err(error) => {
            tracing::warn!(%error, "cannot restore the rate limiter: every network begins with half of a burst");
        }
    }
    table
}

/// Writes the file.
pub struct Saver {
    context: JournalContext,
    /// The checksum of the records that were written last.
    last: Option<u32>,
}

impl Saver {
    /// Creates a saver that writes beside the journal of `context`.
    pub const fn new(context: JournalContext) -> Self {
        Self { context, last: None }
    }

    /// Replaces the file by one with these records, which were read at `at`. Returns how many bytes were written: 0 if
    /// the records have not changed since the last call, unless the caller `must` have the new time in the file.
    ///
    /// Errors: the old file is intact, and a full disk loses no space that the journal needs.
    pub fn save(&mut self, records: &[u8], at: Timestamp, must: bool) -> io::Result<usize> {
        let crc = crc32c::crc32c(records);
        if self.last == Some(crc) && !must {
            return Ok(0);
        }
        let storage = &*self.context.storage;
        let len = HEADER_BYTES + records.len();
        if storage.free_space()? < len as u64 + 2 * self.context.sizes.segment {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the free space is kept for the journal"));
        }
        unlink_if_there(storage, TEMPORARY)?;
        let written = self.write(records, crc, at);
        if written.is_err() {
            // Half a file is useless, and a full disk needs its bytes back.
            let _ = storage.unlink(TEMPORARY);
        }
        written?;
        self.last = Some(crc);
        Ok(len)
    }

    fn write(&self, records: &[u8], crc: u32, at: Timestamp) -> io::Result<()> {
        let storage = &*self.context.storage;
        let fields =
            [&at.as_millis().to_le_bytes()[..], &(records.len() as u64).to_le_bytes(), &crc.to_le_bytes()];
        let header = self.context.header(FileKind::Throttle, &by_kind(&fields))?;
        let file = storage.create_new(TEMPORARY)?;
        file.write_at(&header.to_bytes(), 0)?;
        for (part, bytes) in records.chunks(PART).enumerate() {
            file.write_at(bytes, (HEADER_BYTES + part * PART) as u64)?;
            file.sync_data()?;
        }
        file.sync_data()?;
        storage.rename(TEMPORARY, FILE)?;
        storage.sync_dir("")
    }
}

/// Returns a line about the file for an operator; `None` if there is no file.
pub fn inspect(storage: &dyn Storage) -> Option<String> {
    match load(storage) {
        Ok(saved) => {
            let records = counted(saved.records.len() as u64, "record", "records");
            Some(format!("{FILE}: {records} of {}", saved.at))
        }
        Err(Unreadable::Missing) => None,
        Err(error) => Some(format!("{FILE}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::journal::format::layout::Sizes;
    use crate::registry::throttle::gcra::{Cell, Policy};
    use crate::registry::throttle::{Class, Rate};
    use crate::storage::simulated::SimStorage;
    use crate::system::clock::Clock;
    use crate::system::random::Random;
    use crate::value::network::Network;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn context(disk: &SimStorage) -> JournalContext {
        JournalContext {
            storage: Arc::new(disk.clone()),
            sizes: Sizes { segment: 8_192, body: 1_024, align: 512, window: 16_384 },
            clock: Clock::manual(NOW),
            random: Arc::new(Random::counting()),
            cluster: [7; 16],
            timeline: 1,
            epoch: 3,
        }
    }

    /// Returns a table in which one network has spent its burst.
    fn spent() -> Table {
        let mut table = Table::new(limits(), NOW);
        while table.take(Class::Login, "192.0.2.1".parse().unwrap(), NOW).is_ok() {}
        table
    }

    fn limits() -> Limits {
        let rates = vec![(Class::Login, Rate { burst: 20, per_minute: 20 })];
        Limits { rates, cells: 1000, exempt: Vec::new(), half_spent: false }
    }

    fn report(first_start: bool, clean_stop: bool, at: Timestamp) -> RecoveryReport {
        RecoveryReport { first_start, clean_stop, wall_ms: at.as_millis(), ..RecoveryReport::default() }
    }

    fn left(mut table: Table, address: &str) -> usize {
        (0..100).filter(|_| table.take(Class::Login, address.parse().unwrap(), NOW).is_ok()).count()
    }

    #[test]
    fn the_file_has_the_bytes_of_the_format_and_comes_back() {
        let disk = SimStorage::new();
        let records = spent().piece(0, NOW).bytes;
        let written = Saver::new(context(&disk)).save(&records, NOW, false).unwrap();
        let bytes = disk.open(FILE).unwrap().read_all().unwrap();
        assert_eq!((written, bytes.len()), (4096 + 32, 4096 + 32));
        assert_eq!(bytes[..8], *b"PCTHRT\r\n");
        assert_eq!(bytes[96..104], NOW.as_millis().to_le_bytes());
        assert_eq!(bytes[104..112], 32_u64.to_le_bytes());
        assert_eq!(bytes[112..116], crc32c::crc32c(&records).to_le_bytes());
        assert_eq!(bytes[4096..], records);
        let saved = read(&bytes).unwrap();
        assert_eq!((saved.cluster, saved.at, saved.records.len()), ([7; 16], NOW, 2));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    /// Returns a file with every kind of record, written with a fixed clock and fixed random bytes.
    fn fixture() -> Vec<u8> {
        let disk = SimStorage::new();
        let mut table = spent();
        table.suspect(Network::of("2001:db8::1".parse().unwrap()), NOW);
        let mut records = table.piece(0, NOW).bytes;
        records.extend(
            SavedRecord::Crowd(Class::Login, 3, Cell::half_spent(Policy::new(20, 20).unwrap(), NOW))
                .to_bytes(),
        );
        // The place of a network in the table differs from process to process.
        let mut sorted: Vec<_> = records.as_chunks::<RECORD_BYTES>().0.to_vec();
        sorted.sort_unstable();
        Saver::new(context(&disk)).save(&sorted.concat(), NOW, false).unwrap();
        disk.peek(FILE).unwrap()
    }

    fn frozen() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden/v1/throttle.bin")
    }

    #[test]
    fn no_frozen_byte_has_moved() {
        assert!(std::fs::read(frozen()).unwrap() == fixture(), "throttle.bin is not what it was");
    }

    #[test]
    #[ignore = "writes data/golden: by hand, once for each format"]
    fn freeze() {
        std::fs::write(frozen(), fixture()).unwrap();
    }

    #[test]
    fn an_unchanged_table_is_not_rewritten_and_a_full_disk_not_filled() {
        let disk = SimStorage::new();
        let mut saver = Saver::new(context(&disk));
        let records = spent().piece(0, NOW).bytes;
        assert!(saver.save(&records, NOW, false).unwrap() > 0);
        assert_eq!(saver.save(&records, NOW + Duration::from_secs(30), false).unwrap(), 0);
        assert!(saver.save(&records, NOW + Duration::from_secs(30), true).unwrap() > 0);
        disk.set_free(16_000);
        assert!(saver.save(&[], NOW, true).is_err());
        assert_eq!(read(&disk.open(FILE).unwrap().read_all().unwrap()).unwrap().records.len(), 2);
        assert_eq!(disk.list("").unwrap(), [FILE]);
    }

    #[test]
    fn a_crash_while_it_is_saved_leaves_the_old_one_or_the_new_one() {
        let mut seen = [0, 0];
        for operation in 1..40 {
            let disk = SimStorage::new();
            let mut saver = Saver::new(context(&disk));
            saver.save(&[], NOW, false).unwrap();
            disk.stop_at(disk.operations() + operation);
            let _ = saver.save(&spent().piece(0, NOW).bytes, NOW, false);
            for disk in [disk.after_kill(), disk.after_crash(operation), disk.after_crash(operation + 100)] {
                let records = read(&disk.open(FILE).unwrap().read_all().unwrap()).unwrap().records.len();
                seen[usize::from(records == 2)] += 1;
            }
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    }

    #[test]
    fn only_after_a_clean_stop_is_nothing_unknown() {
        let disk = SimStorage::new();
        let context = context(&disk);
        Saver::new(context.clone()).save(&spent().piece(0, NOW).bytes, NOW, false).unwrap();
        let other = JournalContext { cluster: [8; 16], ..context.clone() };
        let soon = NOW + Duration::from_secs(100);
        let late = NOW + Duration::from_secs(200);
        for (context, report, [spent_burst, others]) in [
            (&context, report(false, true, soon), [0, 20]),
            // Killed, or stopped while the file could not be saved.
            (&context, report(false, false, soon), [0, 10]),
            (&context, report(false, true, late), [0, 10]),
            (&other, report(false, true, soon), [10, 10]),
            (&context, report(true, false, soon), [20, 20]),
        ] {
            let table = || restored(&disk, context, &report, limits());
            assert_eq!(
                [left(table(), "192.0.2.1"), left(table(), "203.0.113.1")],
                [spent_burst, others],
                "{report:?}"
            );
        }
    }

    #[test]
    fn a_record_that_no_version_wrote_is_damage_despite_a_right_checksum() {
        let disk = SimStorage::new();
        Saver::new(context(&disk)).save(&[0xFF; 16], NOW, false).unwrap();
        assert!(matches!(read(&disk.open(FILE).unwrap().read_all().unwrap()), Err(Unreadable::Damaged)));
        Saver::new(context(&disk)).save(&[0; 15], NOW, false).unwrap();
        assert!(matches!(read(&disk.open(FILE).unwrap().read_all().unwrap()), Err(Unreadable::Damaged)));
        assert!(matches!(read(&[]), Err(Unreadable::Damaged)));
    }
}
