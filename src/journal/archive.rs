//! Copies of the past: a backup taken while the server serves, what is restored from it, and what can be saved of a
//! directory that no longer starts.
//!
//! A restore is a new past: the timeline rises and the global epoch with it, so that sessions, families and mailed tokens
//! of before are dead; signing keys are not taken over, so that access tokens are; waiting mails are not sent again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::entry::{Change, Entries, Entry};
use super::frame::{self, Seen};
use super::handle::{Class, NoRoom};
use super::header::{FileKind, HEADER_BYTES, Header};
use super::layout::{
    IDENTITY, IdentityFile, JOURNAL_DIR, SNAPSHOT_DIR, Sizes, numbers, segment_path, snapshot_path,
};
use super::past::{Until, look_until};
use super::recover::{Found, Options, Past, Refusal, recover};
use super::segment::salt_tag;
use super::snapshot;
use super::storage::{Storage, join, write_whole};
use crate::clock::{Clock, Timestamp};
use crate::id::hex;
use crate::secret::Chance;

/// The list of a backup's files with their SHA-256.
pub const SUMS: &str = "SHA256SUMS";
/// Mails that wait are not part of what is restored.
const OUTBOX: u16 = 7;
/// A file that the server deletes meanwhile makes the copy begin anew, at most so often.
const COPIES_MAX: usize = 8;

/// Records by table and key, each with its schema and bytes.
#[derive(Default)]
pub struct Records(BTreeMap<(u16, Vec<u8>), (u16, Vec<u8>)>);

impl Past for Records {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let place = (table, key.to_vec());
        match value {
            Some(value) => self.0.insert(place, (schema, value.to_vec())),
            None => self.0.remove(&place),
        };
        Ok(())
    }
}

impl Records {
    /// Table, schema, key and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16, &[u8], &[u8])> {
        self.0.iter().map(|((table, key), (schema, value))| (*table, *schema, &key[..], &value[..]))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Copies snapshots and journal of a directory that may be in use, so that the copy reaches everything that was durable
/// when it began. Says how far the copy reaches, by reading all of it.
pub fn back_up(from: &dyn Storage, to: &dyn Storage, sizes: Sizes) -> io::Result<Found> {
    for _ in 0..COPIES_MAX {
        match copy(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => {
                copied?;
                return look_until(to, sizes, &mut Records::default(), Until::default())
                    .map_err(io::Error::other);
            }
        }
    }
    Err(io::Error::other("files were deleted faster than they could be copied; try again"))
}

/// In this order nothing that is copied asks for more than what is copied after it.
fn copy(from: &dyn Storage, to: &dyn Storage) -> io::Result<()> {
    let mut sums = String::new();
    let mut one = |dir: &str, name: &str| -> io::Result<()> {
        let bytes = from.open(&join(dir, name))?.read_all()?;
        let sum = hex(&Sha256::digest(&bytes));
        sums.push_str(&format!("{sum}  {}\n", join(dir, name)));
        write_whole(to, dir, name, &bytes)
    };
    for dir in [SNAPSHOT_DIR, JOURNAL_DIR] {
        to.create_dir(dir)?;
        for name in to.list(dir)? {
            to.unlink(&join(dir, &name))?;
        }
    }
    one("", IDENTITY)?;
    for number in numbers(from, SNAPSHOT_DIR, ".snap")? {
        one(SNAPSHOT_DIR, name_of(&snapshot_path(number)))?;
    }
    for number in numbers(from, JOURNAL_DIR, ".log")? {
        one(JOURNAL_DIR, name_of(&segment_path(number)))?;
    }
    write_whole(to, "", SUMS, sums.as_bytes())
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Compares every file of a backup with its list.
pub fn check_sums(storage: &dyn Storage) -> Result<(), Refusal> {
    const NEXT: &str = "take another backup";
    let refuse = |path: &str, what: &dyn std::fmt::Display| Refusal::new(path, None, what, NEXT);
    let list = storage.open(SUMS).and_then(|file| file.read_all()).map_err(|error| refuse(SUMS, &error))?;
    for line in String::from_utf8_lossy(&list).lines() {
        let (sum, path) = line.split_once("  ").ok_or_else(|| refuse(SUMS, &"a line without a sum"))?;
        let bytes =
            storage.open(path).and_then(|file| file.read_all()).map_err(|error| refuse(path, &error))?;
        let found = hex(&Sha256::digest(&bytes));
        if found != sum {
            return Err(refuse(path, &"is not what was backed up: its sum differs"));
        }
    }
    Ok(())
}

/// What a new past was made of.
#[derive(Debug)]
pub struct Restored {
    /// Records in it.
    pub records: usize,
    /// Mails that waited and are not sent.
    pub mails: usize,
    /// The last sequence of the old past that is in it.
    pub seq: u64,
    /// Its timeline.
    pub timeline: u32,
}

/// Reads a directory up to a sequence or a time, and makes a new past of it in an empty directory.
pub fn restore(
    from: &dyn Storage,
    to: Arc<dyn Storage>,
    sizes: Sizes,
    until: Until,
    clock: Clock,
    chance: Arc<Chance>,
) -> Result<Restored, Refusal> {
    let mut records = Records::default();
    let found = look_until(from, sizes, &mut records, until)?;
    let (cluster, timeline) = origin(from)?;
    clock.raise_floor(Timestamp(found.wall_ms));
    begin_anew(to, sizes, records, (cluster, timeline), found.seq, clock, chance)
}

fn origin(from: &dyn Storage) -> Result<([u8; 16], u32), Refusal> {
    const NEXT: &str = "name a data directory or a backup of one";
    let identity = IdentityFile::open(from).map_err(|error| Refusal::new(IDENTITY, None, error, NEXT))?;
    let identity = identity.ok_or_else(|| Refusal::new(IDENTITY, None, "missing", NEXT))?;
    let identity = identity.map_err(|error| Refusal::new(IDENTITY, None, error, NEXT))?;
    Ok((identity.cluster(), identity.timeline()))
}

/// Keys are made by whoever starts it; here they are none of our business.
struct Nobody;

impl Past for Nobody {
    fn apply(&mut self, _: u16, _: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
        Ok(())
    }
}

fn begin_anew(
    to: Arc<dyn Storage>,
    sizes: Sizes,
    records: Records,
    (cluster, timeline): ([u8; 16], u32),
    seq: u64,
    clock: Clock,
    chance: Arc<Chance>,
) -> Result<Restored, Refusal> {
    const NEXT: &str = "mend the disk and restore again into an empty directory";
    let fault = |error: &dyn std::fmt::Display| Refusal::new(IDENTITY, None, error, NEXT);
    let timeline = timeline + 1;
    let created_ms = clock.now().as_millis();
    IdentityFile::form(&*to, cluster, timeline, created_ms).map_err(|error| fault(&error))?;
    let options = Options { storage: to, sizes, clock, chance, accept_clock_floor: false };
    let mut recovered = recover(options, &mut Nobody)?;
    let (mut kept, mut mails) = (0, 0);
    for ((table, key), (schema, value)) in records.0 {
        if table == OUTBOX {
            mails += 1;
            continue;
        }
        kept += 1;
        let change = Change { table, schema, key, value: Some(value) };
        let entry = Entry::encode(&[change]).map_err(|error| fault(&error))?;
        let permit = loop {
            match recovered.handle.reserve(entry.as_bytes().len(), Class::Essential) {
                Ok(permit) => break permit,
                Err(NoRoom::Stopped) => return Err(fault(&NoRoom::Stopped)),
                Err(_) => {
                    recovered.writer.step().map_err(|error| fault(&error))?;
                    recovered.prepare().map_err(|error| fault(&error))?;
                }
            }
        };
        recovered.handle.append(permit, &entry);
    }
    recovered.writer.close().map_err(|error| fault(&error))?;
    Ok(Restored { records: kept, mails, seq, timeline })
}

/// What was saved of a damaged directory, and what is lost.
#[derive(Debug)]
pub struct Salvaged {
    /// What came of it.
    pub restored: Restored,
    /// Sequences that no readable frame holds, first and last, in order.
    pub lost: Vec<(u64, u64)>,
    /// What was passed over, a line each.
    pub passed_over: Vec<String>,
}

/// Takes every record and every entry whose checksums are right, in order, and makes a new past of them. What is lost is
/// told: an account may have an older password than its owner was told, so look at the list before serving it.
pub fn salvage(
    from: &dyn Storage,
    to: Arc<dyn Storage>,
    sizes: Sizes,
    clock: Clock,
    chance: Arc<Chance>,
) -> Result<Salvaged, Refusal> {
    let unreadable = |path: &str| {
        let path = path.to_owned();
        move |error: io::Error| Refusal::new(&path, None, error, "mend the disk first")
    };
    let mut records = Records::default();
    let mut passed_over = Vec::new();
    let (mut origin_of, mut start) = (origin(from).ok(), 0);
    for number in numbers(from, SNAPSHOT_DIR, ".snap").map_err(unreadable(SNAPSHOT_DIR))?.into_iter().rev() {
        let path = snapshot_path(number);
        let file = from.open(&path).map_err(unreadable(&path))?;
        let mut found = Records::default();
        match snapshot::read(&*file, None, &mut |table, schema, key, value| {
            found.apply(table, schema, key, Some(value))
        }) {
            Ok(summary) => {
                (records, start) = (found, summary.start_seq);
                break;
            }
            Err(error) => passed_over.push(format!("{path}: {error}")),
        }
    }
    let mut entries: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
    for number in numbers(from, JOURNAL_DIR, ".log").map_err(unreadable(JOURNAL_DIR))? {
        let path = segment_path(number);
        let bytes = from.open(&path).and_then(|file| file.read_all()).map_err(unreadable(&path))?;
        let header =
            bytes.first_chunk::<HEADER_BYTES>().and_then(|block| Header::read(FileKind::Segment, block).ok());
        if let Some(header) = &header {
            origin_of.get_or_insert((header.cluster, header.timeline));
        } else {
            passed_over.push(format!("{path}: its header block cannot be read"));
        }
        let tag = header.as_ref().map(salt_tag);
        let mut at = HEADER_BYTES;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match frame::read(rest, sizes.align) {
                Seen::End => break,
                Seen::Frame(frame) if tag.is_none_or(|tag| tag == frame.header.salt_tag) => {
                    clock.raise_floor(Timestamp(frame.header.wall_ms));
                    for (seq, entry) in (frame.header.first_seq..).zip(Entries::new(frame.body)) {
                        match entry {
                            Ok(changes) => drop(entries.insert(seq, changes)),
                            Err(error) => passed_over.push(format!("{path} at byte {at}: {error}")),
                        }
                    }
                    at += frame.len;
                }
                Seen::Frame(_) | Seen::Bad => {
                    passed_over.push(format!("{path} at byte {at}: not a frame of it"));
                    at += sizes.align;
                }
            }
        }
    }
    let mut lost = Vec::new();
    let mut reached = start;
    for (seq, changes) in entries.range(start + 1..) {
        if *seq > reached + 1 {
            lost.push((reached + 1, seq - 1));
        }
        reached = *seq;
        for Change { table, schema, key, value } in changes {
            // Records have no rule to break here; whoever starts the new past judges them.
            let _ = records.apply(*table, *schema, key, value.as_deref());
        }
    }
    let origin_of = match origin_of {
        Some(origin) => origin,
        None => origin(from)?,
    };
    let restored = begin_anew(to, sizes, records, origin_of, reached, clock, chance)?;
    Ok(Salvaged { restored, lost, passed_over })
}

#[cfg(test)]
mod tests;
