//! The frozen form of what is remembered of a file. A change of it is a `FileCheckV2` and an upcast.

use crate::journal::format::codec::{Decode, Encode, Stored};
use crate::registry::record::Record;
use crate::token::{KeyCheck, KeyKind};

/// A file that the journal remembers. Append only.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub enum CheckedFile {
    /// The directory key.
    Directory,
    /// A key that tags opaque tokens.
    Edge,
    /// A key that signs device cookies.
    Device,
    /// A key that signs CSRF tokens.
    Csrf,
    /// A key that seals tokens of mails.
    Outbox,
    /// `audit.end`, which says where the log of security events ends.
    AuditEnd,
    /// A signing key.
    Signing,
}

impl CheckedFile {
    /// Returns the file of a kind of key; `None` if its keys are not remembered.
    pub const fn of_key(kind: KeyKind) -> Option<Self> {
        match kind {
            KeyKind::Directory => Some(Self::Directory),
            KeyKind::Edge => Some(Self::Edge),
            KeyKind::Device => Some(Self::Device),
            KeyKind::Csrf => Some(Self::Csrf),
            KeyKind::Outbox => Some(Self::Outbox),
            KeyKind::Signing => Some(Self::Signing),
            KeyKind::Audit => None,
        }
    }

    /// Returns the kind of key in the file, if it holds one.
    pub const fn key(self) -> Option<KeyKind> {
        match self {
            Self::Directory => Some(KeyKind::Directory),
            Self::Edge => Some(KeyKind::Edge),
            Self::Device => Some(KeyKind::Device),
            Self::Csrf => Some(KeyKind::Csrf),
            Self::Outbox => Some(KeyKind::Outbox),
            Self::Signing => Some(KeyKind::Signing),
            Self::AuditEnd => None,
        }
    }
}

/// What is remembered of one file.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[bincode(crate = "crate::journal::format::codec::bincode")]
pub struct FileCheckV1 {
    /// The file.
    pub file: CheckedFile,
    /// Number of a key among those of its kind; 0 for a file that is no key. That of a signing key is not in the name of
    /// its file: any number that is free.
    pub number: u8,
    /// The check value of a key, or the SHA-256 of a line of the log of security events.
    pub value: [u8; 32],
    /// Number of that line; 0 for a key, and before the first line.
    pub line: u64,
    /// When it was remembered, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Stored for FileCheckV1 {
    const TABLE: u16 = 15;
    const SCHEMA: u16 = 1;
}

impl Record for FileCheckV1 {
    type Key = [u8; 16];

    fn key(&self) -> [u8; 16] {
        key_of(self.file, self.number)
    }

    fn key_bytes(key: [u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

/// Returns the key of the record of a file: the server's slot, the file, and the number of the key.
pub(super) const fn key_of(file: CheckedFile, number: u8) -> [u8; 16] {
    let mut key = [0; 16];
    key[0] = 0xFF;
    key[1] = 0xFF;
    key[2] = match file {
        CheckedFile::Directory => 1,
        CheckedFile::Edge => 2,
        CheckedFile::Device => 3,
        CheckedFile::Csrf => 4,
        CheckedFile::Outbox => 5,
        CheckedFile::AuditEnd => 6,
        CheckedFile::Signing => 7,
    };
    key[3] = number;
    key
}

impl FileCheckV1 {
    /// Returns the check value of a key, if the record is of one.
    pub fn key_check(&self) -> Option<KeyCheck> {
        Some(KeyCheck { kind: self.file.key()?, number: self.number, value: self.value })
    }

    /// Says whether some version may have written this record, which was read back.
    pub fn is_sound(&self) -> bool {
        let is_key = self.file.key().is_some();
        is_key == (self.number > 0) && !(is_key && self.line > 0)
    }
}
