//! An entry: a list of total writes of one owner. After a crash it is there whole or not at all.

/// The most bytes that one entry may take.
pub const ENTRY_BYTES_MAX: usize = 65_536;
/// The most writes in one entry.
const WRITES_MAX: usize = 1_024;

const ENTRY_HEADER: usize = 8;
const WRITE_HEADER: usize = 12;
const SET: u8 = 1;
const REMOVED: u8 = 2;

/// The first of the tables that hold no state. Their changes are events, which recovery, snapshots and their proof pass over;
/// the [event log](crate::journal::event_log) keeps them.
pub const STATELESS: u16 = 0x8000;

/// One total write: the new value of a record, or its removal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The table the record belongs to.
    pub table: u16,
    /// The schema of the value; 0 for a removal.
    pub schema: u16,
    /// The slot as u16 big-endian, then the table's own bytes; 2 to 256 bytes.
    pub key: Vec<u8>,
    /// The encoded record, or `None` for a removal.
    pub value: Option<Vec<u8>>,
}

/// The bytes of an entry, as they go to disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EncodedEntry(Vec<u8>);

impl EncodedEntry {
    /// Returns the bytes for the body of a frame.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The reason why writes make no entry, or bytes hold none.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// An entry holds 1 to 1,024 writes.
    #[error("entry of {0} writes")]
    Writes(usize),
    /// An entry takes at most [`ENTRY_BYTES_MAX`] bytes.
    #[error("entry of {0} bytes")]
    Length(usize),
    /// A key has 2 to 256 bytes.
    #[error("key of {0} bytes")]
    Key(usize),
    /// A removal has schema 0.
    #[error("removal with schema {0}")]
    Schema(u16),
    /// The bytes are not in the form of an entry.
    #[error("malformed entry")]
    Malformed,
}

/// Turns writes into an entry and back.
pub struct Entry;

impl Entry {
    /// Encodes an entry that holds `changes` in their order.
    pub fn encode(changes: &[Change]) -> Result<EncodedEntry, EntryError> {
        if changes.is_empty() || changes.len() > WRITES_MAX {
            return Err(EntryError::Writes(changes.len()));
        }
        let mut len = ENTRY_HEADER;
        for change in changes {
            if !(2..=256).contains(&change.key.len()) {
                return Err(EntryError::Key(change.key.len()));
            }
            if change.value.is_none() && change.schema != 0 {
                return Err(EntryError::Schema(change.schema));
            }
            len += WRITE_HEADER + change.key.len() + change.value.as_ref().map_or(0, Vec::len);
        }
        if len > ENTRY_BYTES_MAX {
            return Err(EntryError::Length(len));
        }
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&(changes.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        for change in changes {
            let value = change.value.as_deref();
            out.extend_from_slice(&change.table.to_le_bytes());
            out.extend_from_slice(&change.schema.to_le_bytes());
            out.extend_from_slice(&[if value.is_some() { SET } else { REMOVED }, 0]);
            out.extend_from_slice(&(change.key.len() as u16).to_le_bytes());
            out.extend_from_slice(&(value.map_or(0, <[u8]>::len) as u32).to_le_bytes());
            out.extend_from_slice(&change.key);
            out.extend_from_slice(value.unwrap_or_default());
        }
        Ok(EncodedEntry(out))
    }

    /// Decodes the entry at the start of `bytes`. Returns its writes, and the bytes after it.
    pub fn decode(bytes: &[u8]) -> Result<(Vec<Change>, &[u8]), EntryError> {
        let len = bytes.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize);
        let len = len.ok_or(EntryError::Malformed)?;
        if len > ENTRY_BYTES_MAX {
            return Err(EntryError::Length(len));
        }
        let (entry, rest) = bytes.split_at_checked(len).ok_or(EntryError::Malformed)?;
        let mut reader = Reader(entry);
        reader.array::<4>()?;
        let count = usize::from(u16::from_le_bytes(reader.array()?));
        if count == 0 || count > WRITES_MAX {
            return Err(EntryError::Writes(count));
        }
        if reader.array::<2>()? != [0, 0] {
            return Err(EntryError::Malformed);
        }
        let changes = (0..count).map(|_| reader.change()).collect::<Result<_, _>>()?;
        if reader.0.is_empty() { Ok((changes, rest)) } else { Err(EntryError::Malformed) }
    }
}

/// An iterator over the entries in the body of a frame. Ends after the first error.
pub struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    /// Iterates over a body whose checksum was right.
    pub const fn new(body: &'a [u8]) -> Self {
        Self(body)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Vec<Change>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let decoded = Entry::decode(self.0);
        self.0 = decoded.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(decoded.map(|(changes, _)| changes))
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(EntryError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], EntryError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(EntryError::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn change(&mut self) -> Result<Change, EntryError> {
        let table = u16::from_le_bytes(self.array()?);
        let schema = u16::from_le_bytes(self.array()?);
        let [op, zero] = self.array()?;
        let klen = usize::from(u16::from_le_bytes(self.array()?));
        let vlen = u32::from_le_bytes(self.array()?) as usize;
        if !(2..=256).contains(&klen) {
            return Err(EntryError::Key(klen));
        }
        let key = self.take(klen)?.to_vec();
        let value = self.take(vlen)?;
        let value = match (op, zero) {
            (SET, 0) => Some(value.to_vec()),
            (REMOVED, 0) if schema == 0 && value.is_empty() => None,
            _ => return Err(EntryError::Malformed),
        };
        Ok(Change { table, schema, key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<Change> {
        vec![
            Change { table: 3, schema: 1, key: vec![0, 7, 9], value: Some(vec![5, 6]) },
            Change { table: 4, schema: 0, key: vec![0, 7], value: None },
        ]
    }

    #[test]
    fn an_entry_has_the_bytes_of_the_format() {
        let entry = Entry::encode(&changes()).unwrap();
        let head = [39, 0, 0, 0, 2, 0, 0, 0];
        let set = [3, 0, 1, 0, 1, 0, 3, 0, 2, 0, 0, 0, 0, 7, 9, 5, 6];
        let removed = [4, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(entry.as_bytes(), [&head[..], &set, &removed].concat());
    }

    #[test]
    fn entries_come_back_and_a_cut_one_is_an_error() {
        let one = Entry::encode(&changes()).unwrap();
        let body = [one.as_bytes(), one.as_bytes()].concat();
        let read: Vec<_> = Entries::new(&body).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, [changes(), changes()]);
        for cut in 1..one.as_bytes().len() {
            assert!(Entry::decode(&one.as_bytes()[..cut]).is_err());
        }
    }

    /// One write with a key of two bytes, whose entry takes `len` bytes.
    fn of_len(len: usize) -> Change {
        let value = vec![7; len - ENTRY_HEADER - WRITE_HEADER - 2];
        Change { table: 1, schema: 1, key: vec![0, 1], value: Some(value) }
    }

    #[test]
    fn an_entry_takes_its_most_bytes_and_no_more() {
        let longest = Entry::encode(&[of_len(ENTRY_BYTES_MAX)]).unwrap();
        assert_eq!(Entry::decode(longest.as_bytes()).unwrap().0, [of_len(ENTRY_BYTES_MAX)]);
        let over = ENTRY_BYTES_MAX + 1;
        assert_eq!(Entry::encode(&[of_len(over)]), Err(EntryError::Length(over)));
        // The bytes of a longer entry, which no version wrote.
        let mut bytes = longest.as_bytes().to_vec();
        bytes.push(7);
        bytes[..4].copy_from_slice(&(over as u32).to_le_bytes());
        let vlen = (over - ENTRY_HEADER - WRITE_HEADER - 2) as u32;
        bytes[16..20].copy_from_slice(&vlen.to_le_bytes());
        assert_eq!(Entry::decode(&bytes), Err(EntryError::Length(over)));
    }

    #[test]
    fn an_entry_holds_at_least_one_write_and_no_more_than_it_may() {
        let removal = Change { table: 1, schema: 0, key: vec![0, 1], value: None };
        let most = Entry::encode(&vec![removal.clone(); WRITES_MAX]).unwrap();
        assert_eq!(Entry::decode(most.as_bytes()).unwrap().0.len(), WRITES_MAX);
        let over = WRITES_MAX + 1;
        assert_eq!(Entry::encode(&vec![removal.clone(); over]), Err(EntryError::Writes(over)));
        assert_eq!(Entry::encode(&[]), Err(EntryError::Writes(0)));
        let one = &most.as_bytes()[ENTRY_HEADER..][..WRITE_HEADER + 2];
        for count in [0, over] {
            let len = (ENTRY_HEADER + count * one.len()) as u32;
            let bytes = [&len.to_le_bytes()[..], &(count as u16).to_le_bytes(), &[0, 0], &one.repeat(count)];
            assert_eq!(Entry::decode(&bytes.concat()), Err(EntryError::Writes(count)));
        }
    }

    #[test]
    fn a_write_that_no_version_wrote_is_an_error() {
        let change = |key: usize| Change { table: 1, schema: 0, key: vec![1; key], value: None };
        for key in [2, 256] {
            assert_eq!(
                Entry::decode(Entry::encode(&[change(key)]).unwrap().as_bytes()).unwrap().0,
                [change(key)]
            );
        }
        for key in [0, 1, 257] {
            assert_eq!(Entry::encode(&[change(key)]), Err(EntryError::Key(key)));
        }
        let schema = Change { schema: 1, ..change(2) };
        assert_eq!(Entry::encode(&[schema]), Err(EntryError::Schema(1)));
        // A removal with a schema, a removal with a value, a byte that should be zero, an unknown operation, flags.
        let set = Change { value: Some(vec![9]), ..change(2) };
        for (of, at, byte) in [
            (change(2), 10, 1),
            (set.clone(), 12, REMOVED),
            (change(2), 13, 1),
            (change(2), 12, 3),
            (set, 6, 1),
        ] {
            let mut bytes = Entry::encode(&[of]).unwrap().as_bytes().to_vec();
            bytes[at] = byte;
            assert_eq!(Entry::decode(&bytes), Err(EntryError::Malformed), "byte {at}");
        }
    }
}
