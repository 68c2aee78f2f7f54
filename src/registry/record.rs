//! A record and the total write of it: what an entry is made of before it is bytes.

use crate::journal::format::codec::{CodecError, Stored, encode};
use crate::journal::format::entry::Change;

/// A stored value that knows its own key.
pub trait Record: Stored {
    /// Names the record within its table. Its bytes begin with the slot.
    type Key: Copy + Eq + std::fmt::Debug;

    /// The key of this record.
    fn key(&self) -> Self::Key;

    /// The bytes of a key, as they stand in the journal: the slot as u16 big-endian first.
    fn key_bytes(key: Self::Key) -> Vec<u8>;
}

/// One total write: the record as it now is, or that it is gone. Never a delta, never a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write<R: Record> {
    /// The record as it now is.
    Put(R),
    /// There is no such record any more.
    Remove(R::Key),
}

impl<R: Record> Write<R> {
    /// Of which record.
    pub fn key(&self) -> R::Key {
        match self {
            Self::Put(record) => record.key(),
            Self::Remove(key) => *key,
        }
    }

    /// The write in the form that goes into an entry.
    pub fn to_change(&self) -> Result<Change, CodecError> {
        Ok(match self {
            Self::Put(record) => Change {
                table: R::TABLE,
                schema: R::SCHEMA,
                key: R::key_bytes(record.key()),
                value: Some(encode(record)?),
            },
            Self::Remove(key) => Change { table: R::TABLE, schema: 0, key: R::key_bytes(*key), value: None },
        })
    }
}

/// The most sessions or families that one decision ends: the writes of more would not fit into one entry.
pub const ENDED_AT_ONCE: usize = 64;

/// What a rule makes of a command: writes to make true, and the answer. A "no" may carry writes as well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision<R: Record, V> {
    /// In the order in which they are to be applied.
    pub writes: Vec<Write<R>>,
    /// The answer.
    pub verdict: V,
}

impl<R: Record, V> Decision<R, V> {
    /// An answer that changes nothing.
    pub const fn unchanged(verdict: V) -> Self {
        Self { writes: Vec::new(), verdict }
    }

    /// An answer with one record as it is from now on.
    pub fn put(record: R, verdict: V) -> Self {
        Self { writes: vec![Write::Put(record)], verdict }
    }
}
