//! The codec of stored values: the only file that names its crate.
//!
//! Decoding proves nothing about damage, so it only sees bytes whose checksum was right.

pub use bincode;
pub use bincode::de::{BorrowDecoder, Decoder};
pub use bincode::enc::Encoder;
pub use bincode::error::{DecodeError, EncodeError};
pub use bincode::{BorrowDecode, Decode, Encode};

/// The most bytes one encoded value may take: an entry of 65,536 bytes less its header and the longest key.
const VALUE_BYTES_MAX: usize = 65_536 - 8 - 12 - 256;

/// The limit of decoding. It is above the limit for bytes, since the codec charges a collection with its size in
/// memory.
const MEMORY_BYTES_MAX: usize = 1 << 20;

/// A frozen struct that goes to disk. The pair of table and schema never changes its meaning.
pub trait Stored: Encode + Decode<()> {
    /// The table the value belongs to.
    const TABLE: u16;
    /// The version of the struct within its table.
    const SCHEMA: u16;
}

/// A value that cannot be stored, or bytes that are no such value.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value encodes to more bytes than an entry has room for.
    #[error("value takes {len} bytes, more than {VALUE_BYTES_MAX}")]
    TooLong {
        /// Bytes that the value takes.
        len: usize,
    },
    /// The value cannot be encoded.
    #[error("cannot encode value")]
    Encode(#[from] bincode::error::EncodeError),
    /// The bytes do not decode.
    #[error("cannot decode value")]
    Decode(#[from] bincode::error::DecodeError),
    /// Bytes follow the value.
    #[error("value ends at byte {used} of {len}")]
    Trailing {
        /// Bytes that the value took.
        used: usize,
        /// Bytes that were given.
        len: usize,
    },
}

/// Encodes `value`, and decodes the result once, so that nothing is written that recovery could not read.
pub fn encode<T: Stored>(value: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::encode_to_vec(value, bincode::config::standard())?;
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(CodecError::TooLong { len: bytes.len() });
    }
    decode::<T>(&bytes)?;
    Ok(bytes)
}

/// Decodes the value that `bytes` hold, to the last byte.
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<MEMORY_BYTES_MAX>();
    let (value, used) = bincode::decode_from_slice(bytes, config)?;
    if used == bytes.len() { Ok(value) } else { Err(CodecError::Trailing { used, len: bytes.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::entry::{Change, ENTRY_BYTES_MAX, Entry};

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[bincode(crate = "super::bincode")]
    struct NoteV1 {
        at_ms: u64,
        text: Vec<u8>,
    }

    impl Stored for NoteV1 {
        const TABLE: u16 = 1;
        const SCHEMA: u16 = 1;
    }

    #[test]
    fn a_value_comes_back_and_trailing_bytes_are_refused() {
        let note = NoteV1 { at_ms: 300, text: vec![1, 2, 3] };
        let mut bytes = encode(&note).unwrap();
        assert_eq!(decode::<NoteV1>(&bytes).unwrap(), note);
        bytes.push(0);
        assert!(matches!(decode::<NoteV1>(&bytes), Err(CodecError::Trailing { .. })));
    }

    #[test]
    fn a_value_too_long_to_store_is_refused() {
        let note = NoteV1 { at_ms: 1, text: vec![0; VALUE_BYTES_MAX] };
        assert!(matches!(encode(&note), Err(CodecError::TooLong { .. })));
    }

    #[test]
    fn the_longest_value_and_the_longest_key_fit_into_an_entry() {
        // The encoding takes one byte for the time and three for the length.
        let longest = NoteV1 { at_ms: 1, text: vec![0; VALUE_BYTES_MAX - 4] };
        let value = encode(&longest).unwrap();
        assert_eq!(value.len(), VALUE_BYTES_MAX);
        let change = Change { table: 1, schema: 1, key: vec![0; 256], value: Some(value) };
        assert_eq!(Entry::encode(&[change]).unwrap().as_bytes().len(), ENTRY_BYTES_MAX);
        let longer = NoteV1 { at_ms: 1, text: vec![0; VALUE_BYTES_MAX - 3] };
        assert!(matches!(encode(&longer), Err(CodecError::TooLong { .. })));
    }
}
