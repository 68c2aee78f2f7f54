//! A second reader, which shares nothing with recovery but the checksum and the digest, and works out the same state. A
//! mistake of one is not hidden by the other.
//!
//! Recovery takes one snapshot and applies the entries after it. The second reader takes *every* snapshot, and the
//! empty state as well while the first segment is there. For each of these beginnings it computes the digest of the
//! records that no later entry touches, and adds that of the last write to each key that a later entry touches. All
//! must come to the same digest at one common sequence. Records that a sweep may have removed by the time of the newest
//! snapshot are left out everywhere.
//!
//! A snapshot is proved before it gets its name, so before anything is deleted for its sake; `portcullis data verify`
//! proves a whole directory. The keys are read in stripes of buckets, so that memory stays small.

mod raw;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;

pub use self::raw::Form;
use self::raw::{BUCKETS, Segment, Snapshot, VisitWrite, bucket_of, digest_of, entries};
use crate::storage::Storage;

/// The journal length in bytes for which one stripe is enough.
const STRIPE_BYTES: u64 = 128 << 20;
/// The first of the tables that hold no state.
const STATELESS: u16 = 0x8000;
/// The most stripes: each reads the whole journal once.
const STRIPES_MAX: u64 = 64;

/// A function that returns the value of a record as this version writes it, or `None` if a sweep may have removed the
/// record by a time: form, value, milliseconds since 1970. One history may hold a record in an earlier schema than
/// another does, and means the same by it.
pub type KeptRecord<'a> = dyn for<'v> Fn(Form, &'v [u8], u64) -> Option<Cow<'v, [u8]>> + 'a;

/// The result on which all beginnings agree.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proof {
    /// The last sequence that was read.
    pub seq: u64,
    /// The number of records that no sweep may have removed.
    pub records: u64,
    /// The sum of their digests.
    pub digest: u128,
    /// The number of beginnings.
    pub paths: usize,
    /// Records that a sweep may have removed by this time are left out. Milliseconds since 1970.
    pub at_ms: u64,
}

/// Why there is no such result.
#[derive(Debug, thiserror::Error)]
pub enum Disproof {
    /// Bytes disagree with the format.
    #[error("{path} at byte {at}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// The offset in it.
        at: usize,
        /// The kind of damage.
        what: &'static str,
    },
    /// Two beginnings lead to different states.
    #[error("{one} and {other}, each with the journal after it, differ at sequence {seq} in bucket {bucket}")]
    Differ {
        /// The earlier beginning.
        one: String,
        /// The later one.
        other: String,
        /// The last sequence that was read.
        seq: u64,
        /// The first bucket that differs.
        bucket: usize,
    },
    /// The journal ends before the end of a snapshot.
    #[error(
        "{path} reaches to sequence {needed}, but the journal ends at {seq}: acknowledged entries are lost"
    )]
    Short {
        /// The snapshot.
        path: String,
        /// The end of the snapshot.
        needed: u64,
        /// The end of the journal.
        seq: u64,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Io {
        /// The file.
        path: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

impl Disproof {
    fn io(path: &str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    fn damaged(path: &str, at: usize, what: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), at, what }
    }
}

/// The digest of each bucket, and the number of records.
struct Sums {
    buckets: Vec<u128>,
    records: u64,
}

impl Sums {
    fn new() -> Self {
        Self { buckets: vec![0; BUCKETS as usize], records: 0 }
    }

    fn add(&mut self, key: &[u8], digest: u128) {
        if let Some(sum) = self.buckets.get_mut(bucket_of(key) as usize) {
            *sum = sum.wrapping_add(digest);
            self.records += 1;
        }
    }
}

/// By table, the last write to each key that an entry touches: its sequence, and the digest of the value or `None` for
/// a removal.
type Touched = BTreeMap<u16, HashMap<Vec<u8>, (u64, Option<u128>)>>;

/// Works out the state from every beginning, up to `upto` or the end of the journal, and compares the results.
///
/// `unnamed` is the path of a snapshot that has no name yet. `kept` returns the records that no sweep may have removed.
/// `step` is called between two steps of the work, so that it can be paced.
pub fn prove(
    storage: &dyn Storage,
    unnamed: Option<&str>,
    upto: Option<u64>,
    kept: &KeptRecord<'_>,
    step: &dyn Fn(),
) -> Result<Proof, Disproof> {
    let segments = segments(storage)?;
    let Some(first) = segments.first() else {
        return Err(Disproof::damaged("journal", 0, "no segment"));
    };
    let mut snapshots = Vec::new();
    let mut names = storage.list("snapshot").map_err(Disproof::io("snapshot"))?;
    names.sort_unstable();
    let named = names.iter().filter(|name| name.ends_with(".snap")).map(|name| format!("snapshot/{name}"));
    for path in named.chain(unnamed.map(ToOwned::to_owned)) {
        let snapshot = Snapshot::open(storage, &path)?;
        if snapshot.cluster != first.cluster {
            return Err(Disproof::damaged(&path, 16, "belongs to another installation than the journal"));
        }
        snapshots.push(snapshot);
    }
    // A snapshot that is older than the first remaining segment is no beginning.
    snapshots.retain(|snapshot| snapshot.start_seq + 1 >= first.first_seq);
    let at_ms = snapshots.iter().map(|snapshot| snapshot.max_wall_ms).max().unwrap_or(0);
    let stripes = stripes_of(segments.len() as u64, storage_len(storage, &first.path)?);
    let mut sums: Vec<_> = snapshots.iter().map(|_| Sums::new()).collect();
    let from_nothing = first.first_seq == 1;
    sums.extend(from_nothing.then(Sums::new));
    let mut digests = vec![0_u128; snapshots.len()];
    let mut seq = 0;
    for stripe in 0..stripes {
        let buckets = buckets_of(stripe, stripes);
        let mut touched = Touched::new();
        seq = entries(storage, &segments, upto.unwrap_or(u64::MAX), &mut |seq, form, key, value| {
            step();
            if form.table < STATELESS && buckets.contains(&bucket_of(key)) {
                let value = value.and_then(|value| kept(form, value, at_ms));
                let digest = value.map(|value| digest_of(&first.cluster, form.table, key, &value));
                touched.entry(form.table).or_default().insert(key.to_vec(), (seq, digest));
            }
        })?;
        let starts = snapshots.iter().map(|snapshot| snapshot.start_seq).chain(from_nothing.then_some(0));
        for (start, sums) in starts.zip(&mut sums) {
            for (key, (seq, digest)) in touched.values().flatten() {
                if let Some(digest) = digest.filter(|_| *seq > start) {
                    sums.add(key, digest);
                }
            }
        }
        for ((snapshot, sums), digest) in snapshots.iter().zip(&mut sums).zip(&mut digests) {
            let untouched = |table: u16, key: &[u8]| {
                let later = touched.get(&table).and_then(|keys| keys.get(key));
                later.is_none_or(|(seq, _)| *seq <= snapshot.start_seq)
            };
            let part = snapshot.records(&buckets, &mut |form, key, value, digest| {
                step();
                match kept(form, value, at_ms).filter(|_| untouched(form.table, key)) {
                    Some(Cow::Borrowed(_)) => sums.add(key, digest),
                    Some(Cow::Owned(value)) => {
                        sums.add(key, digest_of(&first.cluster, form.table, key, &value));
                    }
                    None => {}
                }
            })?;
            *digest = digest.wrapping_add(part);
        }
    }
    snapshots.iter().zip(digests).try_for_each(|(snapshot, digest)| snapshot.check(digest))?;
    if let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot.end_seq > seq) {
        return Err(Disproof::Short { path: snapshot.path.clone(), needed: snapshot.end_seq, seq });
    }
    let beginning = "the first segment".to_owned();
    let names =
        snapshots.iter().map(|snapshot| snapshot.path.clone()).chain(from_nothing.then_some(beginning));
    agree(&names.collect::<Vec<_>>(), &sums, seq, at_ms)
}

/// Returns the first entry that the segments hold.
pub(in crate::journal) fn first_entry(storage: &dyn Storage) -> Result<u64, Disproof> {
    let segments = segments(storage)?;
    segments.first().map(|first| first.first_seq).ok_or_else(|| Disproof::damaged("journal", 0, "no segment"))
}

/// Gives the writes of the entries from `from` to `upto` to `visit`: sequence, form, key, and value or `None` for a removal.
/// Both must be durable. Entries that the segments do not hold any more are passed over.
pub(in crate::journal) fn writes_between(
    storage: &dyn Storage,
    from: u64,
    upto: u64,
    visit: &mut VisitWrite<'_>,
) -> Result<(), Disproof> {
    let segments = segments(storage)?;
    // From the last segment on that begins at or before the first entry.
    let begin = segments.partition_point(|segment| segment.first_seq <= from).saturating_sub(1);
    let needed = segments.get(begin..).unwrap_or_default();
    entries(storage, needed, upto, &mut |seq, form, key, value| {
        if seq >= from {
            visit(seq, form, key, value);
        }
    })?;
    Ok(())
}

/// Returns into how many stripes the work on `segments` of `len` bytes each is cut.
fn stripes_of(segments: u64, len: u64) -> u32 {
    (segments * len / STRIPE_BYTES + 1).min(STRIPES_MAX) as u32
}

/// Returns the buckets of one stripe. The stripes together have every bucket once.
const fn buckets_of(stripe: u32, stripes: u32) -> Range<u32> {
    stripe * BUCKETS / stripes..(stripe + 1) * BUCKETS / stripes
}

/// Compares the digests of neighbouring beginnings, and returns their common result.
fn agree(names: &[String], sums: &[Sums], seq: u64, at_ms: u64) -> Result<Proof, Disproof> {
    for (pair, names) in sums.windows(2).zip(names.windows(2)) {
        let ([one, other], [name, other_name]) = (pair, names) else { continue };
        let differs = one.buckets.iter().zip(&other.buckets).position(|(one, other)| one != other);
        if let Some(bucket) = differs {
            return Err(Disproof::Differ { one: name.clone(), other: other_name.clone(), seq, bucket });
        }
    }
    let first = sums.first();
    let digest = first.map_or(0, |sums| sums.buckets.iter().fold(0, |all: u128, sum| all.wrapping_add(*sum)));
    Ok(Proof { seq, records: first.map_or(0, |sums| sums.records), digest, paths: sums.len(), at_ms })
}

/// Opens the segments that follow each other without a gap up to the last one.
fn segments(storage: &dyn Storage) -> Result<Vec<Segment>, Disproof> {
    let mut names = storage.list("journal").map_err(Disproof::io("journal"))?;
    names.retain(|name| name.ends_with(".log"));
    names.sort_unstable();
    let mut segments: Vec<Segment> = Vec::new();
    for name in names.iter().rev() {
        let segment = Segment::open(storage, name)?;
        if segments.last().is_some_and(|later| later.segno != segment.segno + 1) {
            break;
        }
        segments.push(segment);
    }
    segments.reverse();
    Ok(segments)
}

fn storage_len(storage: &dyn Storage, path: &str) -> Result<u64, Disproof> {
    storage.open(path).and_then(|file| file.length()).map_err(Disproof::io(path))
}
