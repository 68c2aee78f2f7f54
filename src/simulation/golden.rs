//! Whole directories of the first format, and what every later version must say of them, sound or damaged.
//!
//! `data/golden/v1/<base>/` are data directories as the first version wrote them; `verdicts.txt` lists damages to copies
//! of them, each with the verdict that stands for ever. Files of an old format are never edited: a new format is a new
//! folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::append::handle::Class;
use crate::journal::format::buckets::{BUCKETS, bucket_of};
use crate::journal::format::entry::{Change, Entry};
use crate::journal::format::header::HEADER_BYTES;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::report::ReplayTarget;
use crate::journal::recovery::{Options, Recovered, recover};
use crate::journal::snapshot::status::Tail;
use crate::journal::snapshot::{Records, SnapshotWriter, keep_two};
use crate::registry::Registry;
use crate::storage::Storage;
use crate::storage::simulated::SimStorage;
use crate::system::clock::{Clock, Timestamp};
use crate::system::random::Random;

/// Small, so that the files stay small: the code takes sizes as parameters.
pub(crate) const SIZES: Sizes = Sizes { segment: 8_192, body: 1_024, align: 512, window: 16_384 };
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden/v1")
}

/// The records of `values.txt`: one of each table, which all begin with their key.
pub(crate) fn values() -> Vec<Change> {
    let text = std::fs::read_to_string(folder().join("values.txt")).unwrap();
    let value = |line: &str| {
        let [table, schema, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let mut value: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let (table, schema) = (table.parse().unwrap(), schema.parse().unwrap());
        // There the ids have no slot in common; a record that a server keeps lies in the slot of its account.
        value[..2].fill(0);
        if matches!(table, 1 | 4 | 5 | 6) {
            value[16..18].fill(0);
        }
        Change { table, schema, key: value[..16].to_vec(), value: Some(value) }
    };
    text.lines().map(value).collect()
}

/// Every record goes through the registry it belongs to, and is kept as it was written.
pub(crate) struct Everything {
    accounts: crate::registry::account::Accounts,
    lockout: crate::registry::lockout::Lockouts,
    sessions: crate::registry::session::Sessions,
    refresh: crate::registry::refresh::Families,
    mailed: crate::registry::reset::MailedTokens,
    outbox: crate::registry::outbox::Outbox,
    pub(crate) records: BTreeMap<(u16, Vec<u8>), Vec<u8>>,
}

impl Everything {
    fn new() -> Self {
        let config = crate::config::Config::from_reader(crate::config::Reader::new()).unwrap();
        Self {
            accounts: crate::registry::account::Accounts::default(),
            lockout: crate::registry::lockout::Lockouts::new(config.lockout),
            sessions: crate::registry::session::Sessions::new(config.session),
            refresh: crate::registry::refresh::Families::new(config.refresh),
            mailed: crate::registry::reset::MailedTokens::new(config.reset),
            outbox: crate::registry::outbox::Outbox::default(),
            records: BTreeMap::new(),
        }
    }

    fn digest(&self) -> u32 {
        self.records.iter().fold(0, |crc, ((table, key), value)| {
            let crc = crc32c::crc32c_append(crc, &table.to_le_bytes());
            crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value)
        })
    }
}

impl ReplayTarget for Everything {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        match table {
            1 => self.accounts.restore(schema, key, value),
            3 => self.lockout.restore(schema, key, value),
            4 => self.sessions.restore(schema, key, value),
            5 => self.refresh.restore(schema, key, value),
            6 => self.mailed.restore(schema, key, value),
            7 => self.outbox.restore(schema, key, value),
            other => Err(format!("table {other} is not known to this version")),
        }?;
        match value {
            Some(value) => self.records.insert((table, key.to_vec()), value.to_vec()),
            None => self.records.remove(&(table, key.to_vec())),
        };
        Ok(())
    }
}

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
            // Counted bytes: those of a generator may change with its crate.
            random: Arc::new(Random::counting()),
            accept_clock_floor: false,
        };
        Ok(Self { journal: recover(options, &mut state)?, state })
    }

    pub(crate) fn append(&mut self, changes: &[Change]) {
        let _ = self.journal.prepare();
        let entry = Entry::encode(changes).unwrap();
        let permit = self.journal.handle.reserve(entry.as_bytes().len(), Class::Essential).unwrap();
        self.journal.handle.append(permit, &entry);
        for change in changes {
            self.state.apply(change.table, change.schema, &change.key, change.value.as_deref()).unwrap();
        }
    }

    pub(crate) fn sync(&mut self) {
        self.journal.writer.step().unwrap();
    }

    fn attest(&mut self) {
        self.journal.writer.attest().unwrap();
    }

    pub(crate) fn snapshot(&mut self) {
        let (life, handle) = (self.journal.context().clone(), self.journal.handle.clone());
        let mut taking = SnapshotWriter::begin(&life, handle.assigned()).unwrap();
        for table in [1, 3, 4, 5, 6, 7] {
            for (from, to) in [(0, 2000), (2000, BUCKETS)] {
                let mut records = Records::default();
                for ((of, key), value) in &self.state.records {
                    if *of == table && (from..to).contains(&bucket_of(key)) {
                        records.add(1, key, value);
                    }
                }
                taking.chunk(table, 1, from, to, &records).unwrap();
            }
        }
        let taken = taking.finish(handle.assigned(), NOW.as_millis()).unwrap();
        taken.name(handle.durable()).unwrap();
        self.journal.writer.persist_low_bound().unwrap();
        let needed = keep_two(&*life.storage, life.cluster).unwrap();
        crate::journal::append::segment_log::drop_segments(&*life.storage, needed).unwrap();
    }
}

pub(crate) fn removal(of: &Change) -> Change {
    Change { schema: 0, value: None, ..of.clone() }
}

/// Every table, batches of one and of several entries, attests, two switches, a removal, a clean stop.
fn clean() -> SimStorage {
    let disk = SimStorage::new();
    let mut life = Run::begin(&disk).unwrap();
    for round in 0..2 {
        for value in values() {
            life.append(&[value]);
            life.sync();
        }
        life.append(&values()[..2]);
        life.append(&values()[4..]);
        life.sync();
        if round == 0 {
            life.attest();
        }
    }
    life.append(&[removal(&values()[3])]);
    life.sync();
    life.journal.writer.close().unwrap();
    disk
}

/// Killed with a last frame of which nobody knows whether it was acknowledged: fence and carry of the next life.
fn fenced() -> SimStorage {
    let disk = SimStorage::new();
    let mut life = Run::begin(&disk).unwrap();
    for value in values() {
        life.append(&[value]);
        life.sync();
    }
    drop(life);
    let disk = disk.after_kill();
    let mut life = Run::begin(&disk).unwrap();
    life.append(&[removal(&values()[0]), values()[1].clone()]);
    life.sync();
    life.append(&values()[1..]);
    life.sync();
    drop(life);
    disk.after_kill()
}

/// Three snapshots, of which two are kept, segments that were dropped, entries behind the newest.
fn snapshots() -> SimStorage {
    let disk = SimStorage::new();
    let mut life = Run::begin(&disk).unwrap();
    for round in 0..3 {
        for value in values() {
            life.append(&[value]);
            life.sync();
        }
        life.append(&[removal(&values()[round])]);
        life.sync();
        life.snapshot();
    }
    life.append(&[values()[0].clone()]);
    life.sync();
    life.attest();
    drop(life);
    disk.after_kill()
}

/// The power went in the first start, before anything was acknowledged.
fn forming() -> SimStorage {
    let stopped = (1..).map(|operation| {
        let disk = SimStorage::new();
        disk.stop_at(operation);
        assert!(Run::begin(&disk).is_err());
        disk.after_kill()
    });
    // The segment has its name, and `IDENTITY` does not say so yet.
    stopped.into_iter().find(|disk| disk.open("journal/0000000000000001.log").is_ok()).unwrap()
}

const DIRS: [&str; 3] = ["", "journal/", "snapshot/"];

/// The named files, without those that a start sweeps.
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

fn today() -> [(&'static str, SimStorage); 4] {
    [("clean", clean()), ("fenced", fenced()), ("snapshots", snapshots()), ("forming", forming())]
}

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

/// Does one damage: `flip FILE AT`, `zero FILE FROM TO`, `fill FILE FROM TO`, `cut FILE LEN`, `lose FILE`,
/// `copy FILE OVER`, `take BASE FILE` from another directory, `field FILE AT BYTE` (with the header's checksum made right again).
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

pub(crate) fn damaged(base: &str, edits: &str) -> SimStorage {
    let disk = disk_of(&frozen(base));
    edits.split("; ").filter(|edit| *edit != "-").for_each(|edit| damage(&disk, edit));
    disk
}

fn verdict(disk: &SimStorage) -> String {
    match Run::begin(disk) {
        Ok(life) => {
            let found = &life.journal.report;
            let mut said = format!(
                "starts: sequence {}, {} records, {} entries, {} bytes torn, state {:08x}",
                found.seq,
                found.records,
                found.entries,
                found.torn,
                life.state.digest()
            );
            if !found.warnings.is_empty() {
                let _ = write!(said, ", {} warnings", found.warnings.len());
            }
            said
        }
        Err(refusal) => {
            let place = refusal.offset.map_or_else(String::new, |offset| format!(" at {offset}"));
            format!("refuses: {}{place}", refusal.path)
        }
    }
}

/// Of each line what it is about, the directory, the damage, and what is said of it.
pub(crate) fn verdicts() -> Vec<[String; 4]> {
    let text = std::fs::read_to_string(folder().join("verdicts.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let parts = |line: &str| line.split(" | ").map(ToOwned::to_owned).collect::<Vec<_>>().try_into();
    lines.map(|line| parts(line).unwrap()).collect()
}

#[test]
fn no_frozen_byte_of_a_directory_has_moved() {
    for (base, disk) in today() {
        let (today, frozen) = (files(&disk), frozen(base));
        assert_eq!(
            today.keys().collect::<Vec<_>>(),
            frozen.keys().collect::<Vec<_>>(),
            "{base}: other files than those of the format"
        );
        for (path, bytes) in today {
            let moved = bytes.iter().zip(&frozen[&path]).position(|(today, frozen)| today != frozen);
            assert_eq!((moved, bytes.len()), (None, frozen[&path].len()), "{base}/{path} is not what it was");
        }
    }
}

#[test]
fn every_golden_directory_gets_the_verdict_it_always_got() {
    let mut judged = 0;
    for [what, base, edits, expected] in &verdicts() {
        let disk = damaged(base, edits);
        assert_eq!(verdict(&disk), *expected, "{what}");
        // A start changes nothing that makes the next one see another past.
        if expected.starts_with("starts") {
            let again = verdict(&disk.after_kill());
            let state = |said: &str| {
                said.split(", ").skip_while(|part| !part.starts_with("state")).take(1).collect::<String>()
            };
            assert_eq!(state(&again), state(expected), "{what}, started again");
        }
        judged += 1;
    }
    assert!(judged >= 40, "{judged} verdicts");
}

#[test]
fn what_lies_behind_the_newest_snapshot_is_measured() {
    let tail = |disk: &SimStorage| Run::begin(disk).unwrap().journal.report.tail;
    let frame = |at: u64| at * SIZES.align as u64;
    // Without a snapshot everything does: all frames but the first, which begins the life, and three segments.
    let clean = tail(&disk_of(&frozen("clean")));
    assert_eq!(clean, Tail { replayed: frame(19), segments: 3 * SIZES.segment });
    // Behind the snapshot one frame, of one entry.
    let disk = disk_of(&frozen("snapshots"));
    assert_eq!(tail(&disk), Tail { replayed: frame(1), segments: 0 });
    // Lives that write nothing begin segments all the same.
    for lives in 1..4 {
        assert_eq!(tail(&disk).segments, lives * SIZES.segment);
        assert!(tail(&disk.after_kill()).replayed >= frame(1));
    }
    let mut life = Run::begin(&disk).unwrap();
    life.append(&[values()[0].clone()]);
    life.sync();
    life.snapshot();
    drop(life);
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
    // Prints the verdict of today for each damage that has none.
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
