//! The format that the writer and the reader of snapshots share: lengths, the layout of a record, its digest.

use sha2::{Digest, Sha256};

use crate::journal::format::bytes::Reader;

/// The most bytes of records in one chunk.
pub const CHUNK_BYTES_MAX: usize = 262_144;
/// The length of a chunk's header.
pub(super) const CHUNK_HEADER: usize = 48;
/// The length of the footer.
pub(super) const FOOTER: usize = 4096;

/// Reads one record from the front of `reader` and returns its schema, key and value; `None` if the bytes end first.
pub(super) fn read_record<'a>(reader: &mut Reader<'a>) -> Option<(u16, &'a [u8], &'a [u8])> {
    let schema = reader.u16()?;
    let key_len = usize::from(reader.u16()?);
    let value_len = reader.u32()? as usize;
    Some((schema, reader.take(key_len)?, reader.take(value_len)?))
}

/// Returns a record's share of a digest. The shares of all records are added, so that their order does not matter and two
/// files can be compared.
pub(in crate::journal) fn record_digest(cluster: &[u8; 16], table: u16, key: &[u8], value: &[u8]) -> u128 {
    let mut digest = Sha256::new();
    digest.update(cluster);
    digest.update(table.to_le_bytes());
    digest.update((key.len() as u16).to_le_bytes());
    digest.update(key);
    digest.update(value);
    let bytes: [u8; 32] = digest.finalize().into();
    bytes.first_chunk::<16>().map_or(0, |first| u128::from_le_bytes(*first))
}
