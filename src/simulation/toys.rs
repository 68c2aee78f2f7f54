//! Records without meaning, and the plainest registry around them.

use std::borrow::Cow;

use crate::journal::format::buckets::BUCKETS;
use crate::journal::format::codec::{self, Decode, Encode, Stored};
use crate::journal::snapshot::proof::Form;
use crate::registry::Registry;
use crate::registry::buckets::Buckets;
use crate::registry::record::{Decision, Record, Write};
use crate::system::clock::Timestamp;

/// A toy registry holds this many records; one more evicts the first.
pub(super) const TOYS_MAX: usize = 12;

/// A record without meaning.
#[derive(Clone, Debug, Encode, Decode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub(super) struct ToyV1<const TABLE: u16> {
    key: [u8; 16],
    end_ms: u64,
    fill: Vec<u8>,
}

impl<const TABLE: u16> Stored for ToyV1<TABLE> {
    const TABLE: u16 = TABLE;
    const SCHEMA: u16 = 1;
}

impl<const TABLE: u16> Record for ToyV1<TABLE> {
    type Key = [u8; 16];
    fn key(&self) -> [u8; 16] {
        self.key
    }
    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

/// Says whether a record has expired at `now_ms`, so that a sweep may have removed it.
pub(super) fn is_out_of_time(table: u16, value: &[u8], now_ms: u64) -> bool {
    matches!(table, TOY_A | TOY_B)
        && codec::decode::<ToyV1<TOY_A>>(value).is_ok_and(|toy| toy.end_ms <= now_ms)
}

/// Returns a record that no sweep may have removed by `now_ms`.
pub(super) fn kept(form: Form, value: &[u8], now_ms: u64) -> Option<Cow<'_, [u8]>> {
    (!is_out_of_time(form.table, value, now_ms)).then_some(Cow::Borrowed(value))
}

/// The plainest registry with all habits of the real ones: total writes, expiry, a cap.
#[derive(Default)]
pub(super) struct Toys<const TABLE: u16>(pub(super) Buckets<[u8; 16], ToyV1<TABLE>>);

impl<const TABLE: u16> Toys<TABLE> {
    /// Writes a record, and evicts the first one if the table is full.
    pub(super) fn put(&self, key: [u8; 16], end_ms: u64, fill: Vec<u8>) -> Decision<ToyV1<TABLE>, ()> {
        let mut writes = Vec::new();
        if self.0.len() >= TOYS_MAX && self.0.get(&key).is_none() {
            let first = (0..BUCKETS).flat_map(|at| self.0.bucket(at)).map(|(key, _)| *key).next();
            writes.extend(first.map(Write::Remove));
        }
        writes.push(Write::Put(ToyV1 { key, end_ms, fill }));
        Decision { writes, verdict: () }
    }

    /// Removes a record, if it is there.
    pub(super) fn remove(&self, key: [u8; 16]) -> Decision<ToyV1<TABLE>, ()> {
        let writes = self.0.get(&key).map(|_| Write::Remove(key));
        Decision { writes: writes.into_iter().collect(), verdict: () }
    }
}

impl<const TABLE: u16> Registry for Toys<TABLE> {
    type Record = ToyV1<TABLE>;
    const NAME: &'static str = "toys";
    fn apply(&mut self, write: Write<ToyV1<TABLE>>) {
        match write {
            Write::Put(toy) => self.0.insert(toy.key, toy),
            Write::Remove(key) => self.0.remove(&key),
        };
    }
    fn buckets(&self) -> &Buckets<[u8; 16], ToyV1<TABLE>> {
        &self.0
    }
    fn is_sound(_: &ToyV1<TABLE>) -> bool {
        true
    }
    fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let expired = self.0.bucket(bucket).filter(|(_, toy)| toy.end_ms <= now.as_millis());
        let expired: Vec<_> = expired.map(|(key, _)| *key).collect();
        expired.iter().filter_map(|key| self.0.remove(key)).count()
    }
}

pub(super) const TOY_A: u16 = 9;

pub(super) const TOY_B: u16 = 10;
