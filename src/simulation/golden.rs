//! Whole directories of the first format, sound and damaged, and the verdict on each that every later version must
//! give.
//!
//! `data/golden/v1/<base>/` are data directories as the first version wrote them. `verdicts.txt` lists damages to
//! copies of them, each with its verdict, which never changes. Files of an old format are never edited: a new format is
//! a new folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::journal::append::handle::Class;
use crate::journal::append::segment_log::drop_segments;
use crate::journal::format::buckets::{BUCKETS, bucket_of};
use crate::journal::format::entry::{Change, Entry};
use crate::journal::format::header::HEADER_BYTES;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::report::ReplayTarget;
use crate::journal::recovery::{Options, Recovered, recover};
use crate::journal::snapshot::status::Tail;
use crate::journal::snapshot::{Records, SnapshotWriter, keep_two};
use crate::registry::tables::{Limits, States, TABLES};
use crate::registry::{account, lockout, refresh, reset, session, sign_up};
use crate::storage::Storage;
use crate::storage::simulated::SimStorage;
use crate::system::clock::{Clock, Timestamp};
use crate::system::random::Random;

/// Small sizes keep the files small; the code takes sizes as parameters.
pub(crate) const SIZES: Sizes = Sizes { segment: 8_192, body: 1_024, align: 512, window: 16_384 };
/// The tables of these directories.
const TABLES_OF_V1: [u16; 6] = [1, 3, 4, 5, 6, 7];
/// The schema of every record in these directories.
const SCHEMA: u16 = 1;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden/v1")
}

/// Returns the records of `values.txt`: one of each table. Each begins with its key.
pub(crate) fn values() -> Vec<Change> {
    let text = std::fs::read_to_string(folder().join("values.txt")).unwrap();
    let value = |line: &str| {
        let [table, schema, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let mut value: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let table = table.parse().unwrap();
        let schema = schema.parse().unwrap();
        // The ids of that file have no slot in common; a record that a server stores lies in the slot of its account.
        value[..2].fill(0);
        if matches!(table, 1 | 4 | 5 | 6) {
            value[16..18].fill(0);
        }
        Change { table, schema, key: value[..16].to_vec(), value: Some(value) }
    };
    text.lines().map(value).collect()
}

/// The state of every table, and each record as it was written.
pub(crate) struct Everything {
    states: States,
    pub(crate) records: BTreeMap<(u16, Vec<u8>), Vec<u8>>,
}

impl Everything {
    fn new() -> Self {
        Self { states: States::new(&limits()), records: BTreeMap::new() }
    }

    /// Returns a checksum of all records, as `verdicts.txt` names it.
    fn digest(&self) -> u32 {
        self.records.iter().fold(0, |crc, ((table, key), value)| {
            let crc = crc32c::crc32c_append(crc, &table.to_le_bytes());
            crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value)
        })
    }
}

impl ReplayTarget for Everything {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        self.states.restore(table, schema, key, value)?;
        match value {
            Some(value) => self.records.insert((table, key.to_vec()), value.to_vec()),
            None => self.records.remove(&(table, key.to_vec())),
        };
        Ok(())
    }
}

/// Limits that a server could have. Restoring a record does not depend on them.
fn limits() -> Limits {
    const HOUR: Duration = Duration::from_hours(1);
    Limits {
        account: account::Limits::default(),
        lockout: lockout::Limits {
            failures: 5,
            cap: 100,
            first_lock: Duration::from_secs(30),
            max_lock: HOUR,
            forget: 24 * HOUR,
            names_max: 1_000_000,
        },
        refresh: refresh::Limits {
            grace: Duration::from_secs(10),
            idle: 24 * HOUR,
            absolute: 720 * HOUR,
            remember_ended: 24 * HOUR,
        },
        session: session::Limits {
            idle: HOUR,
            absolute: 24 * HOUR,
            remember_idle: 24 * HOUR,
            remember_absolute: 720 * HOUR,
        },
        reset: reset::Limits {
            reset: HOUR,
            verify: 24 * HOUR,
            invitation: 168 * HOUR,
            mails_per_hour: 3,
            mails_per_network: 10,
            mails_per_domain: 1000,
        },
        sign_up: sign_up::Limits { ttl: 24 * HOUR },
    }
}

/// A server's journal and state over a simulated disk, with bytes that are the same in every run.
pub(crate) struct Run {
    pub(crate) journal: Recovered,
    pub(crate) state: Everything,
}

impl Run {
    pub(crate) fn begin(disk: &SimStorage) -> Result<Self, crate::journal::recovery::report::Refusal> {
        let mut state = Everything::new();
        let options = Options {
            storage: Arc::new(disk.clone()),
            sizes: SIZES,
            clock: Clock::manual(NOW),
            // Counted bytes: those of a generator could change with its crate.
            random: Arc::new(Random::counting()),
            accept_clock_floor: false,
        };
        Ok(Self { journal: recover(options, &mut state)?, state })
    }

    /// Appends an entry of `changes` and applies it. It is durable only after [`Run::sync`].
    pub(crate) fn append(&mut self, changes: &[Change]) {
        let _ = self.journal.prepare();
        let entry = Entry::encode(changes).unwrap();
        let permit = self.journal.handle.reserve(entry.as_bytes().len(), Class::Essential).unwrap();
        self.journal.handle.append(permit, &entry);
        for change in changes {
            self.state.apply(change.table, change.schema, &change.key, change.value.as_deref()).unwrap();
        }
    }

    /// Writes everything that was appended as one frame.
    pub(crate) fn sync(&mut self) {
        self.journal.writer.step().unwrap();
    }

    fn attest(&mut self) {
        self.journal.writer.attest().unwrap();
    }

    /// Takes and names a snapshot of every table, in two chunks each, and deletes what it makes superfluous.
    pub(crate) fn snapshot(&mut self) {
        let context = self.journal.context().clone();
        let handle = self.journal.handle.clone();
        let mut writer = SnapshotWriter::begin(&context, handle.assigned()).unwrap();
        for table in TABLES.iter().filter(|table| TABLES_OF_V1.contains(&table.number)) {
            for (from, to) in [(0, 2000), (2000, BUCKETS)] {
                let mut records = Records::default();
                for ((of, key), value) in &self.state.records {
                    if *of == table.number && (from..to).contains(&bucket_of(key)) {
                        records.add(SCHEMA, key, value);
                    }
                }
                writer.chunk(table.number, SCHEMA, from, to, &records).unwrap();
            }
        }
        let unnamed = writer.finish(handle.assigned(), NOW.as_millis()).unwrap();
        unnamed.name(handle.durable()).unwrap();
        self.journal.writer.persist_low_bound().unwrap();
        let needed = keep_two(&*context.storage, context.cluster).unwrap();
        drop_segments(&*context.storage, needed).unwrap();
    }
}

/// Returns the removal of the record that `of` writes.
pub(crate) fn removal(of: &Change) -> Change {
    Change { schema: 0, value: None, ..of.clone() }
}

/// Makes a directory with every table, batches of one and of several entries, attest frames, two switches of segments,
/// a removal, and a clean stop.
fn clean() -> SimStorage {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk).unwrap();
    for round in 0..2 {
        for value in values() {
            run.append(&[value]);
            run.sync();
        }
        run.append(&values()[..2]);
        run.append(&values()[4..]);
        run.sync();
        if round == 0 {
            run.attest();
        }
    }
    run.append(&[removal(&values()[3])]);
    run.sync();
    run.journal.writer.close().unwrap();
    disk
}

/// Makes a directory of a server that was killed after a frame that may or may not have been acknowledged; the next
/// start wrote a fence and carried the frame over.
fn fenced() -> SimStorage {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk).unwrap();
    for value in values() {
        run.append(&[value]);
        run.sync();
    }
    drop(run);
    let disk = disk.after_kill();
    let mut run = Run::begin(&disk).unwrap();
    run.append(&[removal(&values()[0]), values()[1].clone()]);
    run.sync();
    run.append(&values()[1..]);
    run.sync();
    drop(run);
    disk.after_kill()
}

/// Makes a directory in which three snapshots were taken and two are kept, with deleted segments, and entries after the
/// newest snapshot.
fn snapshots() -> SimStorage {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk).unwrap();
    for round in 0..3 {
        for value in values() {
            run.append(&[value]);
            run.sync();
        }
        run.append(&[removal(&values()[round])]);
        run.sync();
        run.snapshot();
    }
    run.append(&[values()[0].clone()]);
    run.sync();
    run.attest();
    drop(run);
    disk.after_kill()
}

/// Makes a directory of a first start that lost power before anything was acknowledged.
fn forming() -> SimStorage {
    let stopped = (1..).map(|operation| {
        let disk = SimStorage::new();
        disk.stop_at(operation);
        assert!(Run::begin(&disk).is_err());
        disk.after_kill()
    });
    // The segment has its name, and `IDENTITY` does not name it yet.
    stopped.into_iter().find(|disk| disk.open("journal/0000000000000001.log").is_ok()).unwrap()
}

const DIRS: [&str; 3] = ["", "journal/", "snapshot/"];

/// Returns the bytes of every file, except those that a start sweeps.
pub(crate) fn files(disk: &SimStorage) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in DIRS {
        for name in disk.list(dir.trim_end_matches('/')).unwrap() {
            if !name.ends_with(".tmp") {
                let path = format!("{dir}{name}");
                let bytes = disk.open(&path).unwrap().read_all().unwrap();
                files.insert(path, bytes);
            }
        }
    }
    files
}

/// Makes every golden directory again with the code of today.
fn today() -> [(&'static str, SimStorage); 4] {
    [("clean", clean()), ("fenced", fenced()), ("snapshots", snapshots()), ("forming", forming())]
}

/// Reads the files of a golden directory.
pub(crate) fn frozen(base: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in DIRS {
        let Ok(entries) = std::fs::read_dir(folder().join(base).join(dir)) else { continue };
        for entry in entries.map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            let path = format!("{dir}{}", entry.file_name().to_str().unwrap());
            files.insert(path, std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// Returns a simulated disk that holds `files`.
pub(crate) fn disk_of(files: &BTreeMap<String, Vec<u8>>) -> SimStorage {
    let disk = SimStorage::new();
    for (path, bytes) in files {
        disk.create_new(path).unwrap();
        disk.damage(path, |content| content.clone_from(bytes));
    }
    for dir in DIRS {
        disk.sync_dir(dir.trim_end_matches('/')).unwrap();
    }
    disk
}

/// Applies one damage: `flip FILE AT`, `zero FILE FROM TO`, `fill FILE FROM TO`, `cut FILE LEN`, `lose FILE`,
/// `copy FILE OVER`, `take BASE FILE` from another directory, or `field FILE AT BYTE`, which corrects the header's
/// checksum.
fn damage(disk: &SimStorage, edit: &str) {
    let words: Vec<&str> = edit.split(' ').collect();
    let number = |at: usize| words[at].parse::<usize>().unwrap();
    match words[0] {
        "flip" => disk.damage(words[1], |bytes| bytes[number(2)] ^= 1),
        "zero" => disk.damage(words[1], |bytes| bytes[number(2)..number(3)].fill(0)),
        "fill" => disk.damage(words[1], |bytes| bytes[number(2)..number(3)].fill(0xA5)),
        "cut" => disk.damage(words[1], |bytes| bytes.truncate(number(2))),
        "lose" => disk.lose(words[1]),
        "copy" => {
            let from = disk.open(words[1]).unwrap().read_all().unwrap();
            if disk.open(words[2]).is_err() {
                disk.create_new(words[2]).unwrap();
            }
            disk.damage(words[2], |bytes| bytes.clone_from(&from));
        }
        "take" => {
            let from = frozen(words[1]).remove(words[2]).unwrap();
            disk.damage(words[2], |bytes| bytes.clone_from(&from));
        }
        "field" => disk.damage(words[1], |bytes| {
            bytes[number(2)] = number(3) as u8;
            let crc = crc32c::crc32c(&bytes[12..HEADER_BYTES]);
            bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        }),
        other => panic!("no such damage: {other}"),
    }
}

/// Returns a copy of a golden directory with damages, which are separated by `; `. `-` is none.
pub(crate) fn damaged(base: &str, edits: &str) -> SimStorage {
    let disk = disk_of(&frozen(base));
    edits.split("; ").filter(|edit| *edit != "-").for_each(|edit| damage(&disk, edit));
    disk
}

/// Starts on a directory and describes the result as in `verdicts.txt`.
fn verdict(disk: &SimStorage) -> String {
    match Run::begin(disk) {
        Ok(run) => {
            let report = &run.journal.report;
            let mut verdict = format!(
                "starts: sequence {}, {} records, {} entries, {} bytes torn, state {:08x}",
                report.seq,
                report.records,
                report.entries,
                report.torn,
                run.state.digest()
            );
            if !report.warnings.is_empty() {
                let _ = write!(verdict, ", {} warnings", report.warnings.len());
            }
            verdict
        }
        Err(refusal) => {
            let place = refusal.offset.map_or_else(String::new, |offset| format!(" at {offset}"));
            format!("refuses: {}{place}", refusal.path)
        }
    }
}

/// Returns of each line its subject, the directory, the damages, and the verdict.
pub(crate) fn verdicts() -> Vec<[String; 4]> {
    let text = std::fs::read_to_string(folder().join("verdicts.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let parts = |line: &str| line.split(" | ").map(ToOwned::to_owned).collect::<Vec<_>>().try_into();
    lines.map(|line| parts(line).unwrap()).collect()
}

#[test]
fn no_frozen_byte_of_a_directory_has_moved() {
    for (base, disk) in today() {
        let today = files(&disk);
        let frozen = frozen(base);
        assert_eq!(
            today.keys().collect::<Vec<_>>(),
            frozen.keys().collect::<Vec<_>>(),
            "{base}: other files than those of the format"
        );
        for (path, bytes) in today {
            let moved = bytes.iter().zip(&frozen[&path]).position(|(today, frozen)| today != frozen);
            assert_eq!(moved, None, "{base}/{path} is not the frozen file");
            assert_eq!(
                bytes.len(),
                frozen[&path].len(),
                "{base}/{path} has another length than the frozen file"
            );
        }
    }
}

#[test]
fn every_golden_directory_gets_the_verdict_it_always_got() {
    let mut judged = 0;
    for [what, base, edits, expected] in &verdicts() {
        let disk = damaged(base, edits);
        assert_eq!(verdict(&disk), *expected, "{what}");
        // A start changes nothing that would make the next one read another state.
        if expected.starts_with("starts") {
            let again = verdict(&disk.after_kill());
            let state = |verdict: &str| {
                verdict.split(", ").skip_while(|part| !part.starts_with("state")).take(1).collect::<String>()
            };
            assert_eq!(state(&again), state(expected), "{what}, started again");
        }
        judged += 1;
    }
    assert!(judged >= 40, "{judged} verdicts");
}

#[test]
fn the_journal_after_the_newest_snapshot_is_measured() {
    let tail = |disk: &SimStorage| Run::begin(disk).unwrap().journal.report.tail;
    let frame = |at: u64| at * SIZES.align as u64;
    // Without a snapshot that is all of it: every frame but the first, which begins the journal, and three segments.
    let clean = tail(&disk_of(&frozen("clean")));
    assert_eq!(clean, Tail { replayed: frame(19), segments: 3 * SIZES.segment });
    // After the snapshot comes one frame, of one entry.
    let disk = disk_of(&frozen("snapshots"));
    assert_eq!(tail(&disk), Tail { replayed: frame(1), segments: 0 });
    // Starts that write nothing begin segments all the same.
    for starts in 1..4 {
        assert_eq!(tail(&disk).segments, starts * SIZES.segment);
        assert!(tail(&disk.after_kill()).replayed >= frame(1));
    }
    let mut run = Run::begin(&disk).unwrap();
    run.append(&[values()[0].clone()]);
    run.sync();
    run.snapshot();
    drop(run);
    assert_eq!(tail(&disk.after_kill()), Tail::default());
}

/// Writes the folder of a new format; does nothing to one that is there.
#[test]
#[ignore = "writes data/golden: by hand, once for each format"]
fn freeze() {
    for (base, disk) in today() {
        let root = folder().join(base);
        if root.exists() {
            continue;
        }
        for (path, bytes) in files(&disk) {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    // Prints the verdict of today for each damage that has none yet.
    let cases = std::fs::read_to_string(folder().join("verdicts.txt")).unwrap_or_default();
    for line in cases.lines() {
        match line.strip_suffix(" | ?").map(|line| line.split(" | ").collect::<Vec<_>>()).as_deref() {
            Some([what, base, edits]) => {
                eprintln!("{what} | {base} | {edits} | {}", verdict(&damaged(base, edits)));
            }
            _ => eprintln!("{line}"),
        }
    }
}
