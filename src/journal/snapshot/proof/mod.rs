//! A second path to the same state: what snapshots and journal say is worked out again by a reader that shares nothing with
//! recovery but the checksum and the digest, so that a mistake of one is not hidden by the other.
//!
//! Recovery takes one snapshot and writes over it what follows. Here every snapshot is asked, and the empty beginning as
//! well while the first segment is there: of each, the digest of what no later entry has touched, and the last word on
//! every key that one has. All must come to the same at one common sequence. What a sweep may have forgotten by the time of
//! the newest snapshot counts for none of them.
//!
//! Asked before a snapshot gets its name, so before anything is deleted for its sake, and by `portcullis data verify`. The
//! keys are gone through in stripes of buckets, so that memory stays small.

mod raw;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;

use self::raw::{BUCKETS, Segment, Snapshot, bucket_of, digest_of, entries};
use crate::storage::Storage;

/// Journal that is gone through for one stripe.
const STRIPE_BYTES: u64 = 128 << 20;
const STRIPES_MAX: u64 = 64;

/// Whether a sweep may have forgotten a record by then: table, value, milliseconds since 1970.
pub type MayBeGone<'a> = dyn Fn(u16, &[u8], u64) -> bool + 'a;

/// What all paths agree on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proof {
    /// Up to this sequence.
    pub seq: u64,
    /// Records that no sweep may have forgotten.
    pub records: u64,
    /// The sum of their digests.
    pub digest: u128,
    /// How many beginnings led there.
    pub paths: usize,
    /// What a sweep may have forgotten by then, in milliseconds since 1970, is not counted.
    pub at_ms: u64,
}

/// Why they do not.
#[derive(Debug, thiserror::Error)]
pub enum Disproof {
    /// Bytes that are not what the format says.
    #[error("{path} at byte {at}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// Where in it.
        at: usize,
        /// What was looked for.
        what: &'static str,
    },
    /// Two beginnings lead to two states.
    #[error(
        "{one} and {other}, each with the journal behind it, differ at sequence {seq} in bucket {bucket}"
    )]
    Differ {
        /// The earlier beginning.
        one: String,
        /// The later one.
        other: String,
        /// Up to which sequence.
        seq: u64,
        /// The first bucket in which they do.
        bucket: usize,
    },
    /// The journal does not reach what a snapshot holds.
    #[error("{path} holds what was done up to {needed}, and the journal ends at {seq}")]
    Short {
        /// The snapshot.
        path: String,
        /// Its end.
        needed: u64,
        /// The journal's.
        seq: u64,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Io {
        /// The file.
        path: String,
        /// Why.
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

/// Sums of digests by bucket, and how many records there are.
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

/// By table, the last word on each key that an entry has touched: its sequence, and the digest unless it is gone.
type Touched = BTreeMap<u16, HashMap<Vec<u8>, (u64, Option<u128>)>>;

/// Works the state out from every beginning, up to `upto` or the end of the journal. `unnamed` is a snapshot that has no
/// name yet; `step` is called between two steps of the work.
pub fn prove(
    storage: &dyn Storage,
    unnamed: Option<&str>,
    upto: Option<u64>,
    may_be_gone: &MayBeGone<'_>,
    step: &dyn Fn(),
) -> Result<Proof, Disproof> {
    let segments = segments(storage)?;
    let Some(first) = segments.first() else {
        return Err(Disproof::damaged("journal", 0, "a segment"));
    };
    let mut snapshots = Vec::new();
    let mut names = storage.list("snapshot").map_err(Disproof::io("snapshot"))?;
    names.sort_unstable();
    let named = names.iter().filter(|name| name.ends_with(".snap")).map(|name| format!("snapshot/{name}"));
    for path in named.chain(unnamed.map(ToOwned::to_owned)) {
        let snapshot = Snapshot::open(storage, &path)?;
        if snapshot.cluster != first.cluster {
            return Err(Disproof::damaged(&path, 16, "the installation that the journal belongs to"));
        }
        snapshots.push(snapshot);
    }
    // One that is older than the journal that is left leads nowhere.
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
        let live = |table, value: &[u8]| !may_be_gone(table, value, at_ms);
        let mut touched = Touched::new();
        seq = entries(storage, &segments, upto.unwrap_or(u64::MAX), &mut |seq, table, key, value| {
            step();
            if buckets.contains(&bucket_of(key)) {
                let value = value.filter(|value| live(table, value));
                let digest = value.map(|value| digest_of(&first.cluster, table, key, value));
                touched.entry(table).or_default().insert(key.to_vec(), (seq, digest));
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
            let part = snapshot.records(
                &buckets,
                &|table, key, value| {
                    step();
                    live(table, value) && untouched(table, key)
                },
                &mut |_, key, digest| sums.add(key, digest),
            )?;
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

/// Into how many stripes the work on `segments` of `len` bytes each is cut.
fn stripes_of(segments: u64, len: u64) -> u32 {
    (segments * len / STRIPE_BYTES + 1).min(STRIPES_MAX) as u32
}

/// The buckets of one stripe: together all, each once.
const fn buckets_of(stripe: u32, stripes: u32) -> Range<u32> {
    stripe * BUCKETS / stripes..(stripe + 1) * BUCKETS / stripes
}

fn agree(names: &[String], sums: &[Sums], seq: u64, at_ms: u64) -> Result<Proof, Disproof> {
    for (pair, names) in sums.windows(2).zip(names.windows(2)) {
        let ([one, other], [name, other_name]) = (pair, names) else { continue };
        let differs = one.buckets.iter().zip(&other.buckets).position(|(one, other)| one != other);
        if let Some(bucket) = differs {
            let (one, other) = (name.clone(), other_name.clone());
            return Err(Disproof::Differ { one, other, seq, bucket });
        }
    }
    let first = sums.first();
    let digest = first.map_or(0, |sums| sums.buckets.iter().fold(0, |all: u128, sum| all.wrapping_add(*sum)));
    Ok(Proof { seq, records: first.map_or(0, |sums| sums.records), digest, paths: sums.len(), at_ms })
}

/// The segments that follow each other without a gap up to the last one.
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
