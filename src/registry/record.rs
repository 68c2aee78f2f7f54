//! A record and its write: what an entry of the journal is made of before it is bytes.

use crate::journal::format::codec::{CodecError, Stored, decode, encode};
use crate::journal::format::entry::Change;

/// A stored value that knows its own key.
pub trait Record: Stored {
    /// Names the record within its table. Its bytes begin with the slot.
    type Key: Copy + Eq + std::fmt::Debug;

    /// Returns the key of this record.
    fn key(&self) -> Self::Key;

    /// Returns the bytes of a key in the journal, which begin with the slot as a big-endian u16.
    fn key_bytes(key: Self::Key) -> Vec<u8>;

    /// Reads a record of any schema that some version wrote. One of an earlier schema is brought to today's.
    ///
    /// Errors: a schema that this version does not know; bytes that are no such record.
    fn read(schema: u16, value: &[u8]) -> Result<Self, ReadError> {
        if schema == Self::SCHEMA { Ok(decode(value)?) } else { Err(ReadError::Schema(schema)) }
    }
}

/// Why a stored record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A later version wrote it.
    #[error("this version does not know schema {0}")]
    Schema(u16),
    /// The bytes are no such record.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// A total write: the new value of a record, or its removal. Never a delta, never a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write<R: Record> {
    /// The record as it is from now on.
    Put(R),
    /// The record of this key is gone.
    Remove(R::Key),
}

impl<R: Record> Write<R> {
    /// Returns the key of the record that is written.
    pub fn key(&self) -> R::Key {
        match self {
            Self::Put(record) => record.key(),
            Self::Remove(key) => *key,
        }
    }

    /// Encodes the write for an entry.
    ///
    /// Errors: a record that is too long to be stored.
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

/// The bit of a session's or family's methods that stands for the password.
pub const BY_PASSWORD: u16 = 1;

/// The methods of a session or family that the embedding program has opened: it vouches for the user, in a way of its own.
pub const BY_PROGRAM: u16 = 0;

/// The level of an authentication by one factor (AAL1 of NIST SP 800-63B).
pub const AAL1: u8 = 1;

/// The most sessions or families that one decision ends: the writes of more would not fit into one entry.
pub const ENDED_AT_ONCE: usize = 64;

/// The most sessions or families of an account that one decision looks at, so that no message takes long.
pub const EXAMINED_AT_ONCE: usize = 1024;

/// When a session or family was used last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LastUse {
    /// When, in milliseconds since 1970.
    pub ms: u64,
    /// Its id.
    pub id: [u8; 16],
}

/// The decision of a rule about a message: writes to apply, and the verdict. A refusal may have writes as well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision<R: Record, V> {
    /// The writes, in the order in which they are applied.
    pub writes: Vec<Write<R>>,
    /// The answer.
    pub verdict: V,
}

impl<R: Record, V> Decision<R, V> {
    /// Answers without changing anything.
    pub const fn unchanged(verdict: V) -> Self {
        Self { writes: Vec::new(), verdict }
    }

    /// Answers and writes one record.
    pub fn put(record: R, verdict: V) -> Self {
        Self { writes: vec![Write::Put(record)], verdict }
    }

    /// Answers and removes the record of `key`.
    pub fn remove(key: R::Key, verdict: V) -> Self {
        Self { writes: vec![Write::Remove(key)], verdict }
    }
}
