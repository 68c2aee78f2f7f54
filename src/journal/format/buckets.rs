//! The buckets in which records of a table are kept and saved.

/// Buckets of a table; also the range of bucket numbers in a snapshot.
pub const BUCKETS: usize = 4_096;

/// The bucket of a key, by its stored bytes. Fixed for ever.
pub fn bucket_of(key: &[u8]) -> usize {
    crc32c::crc32c(key) as usize % BUCKETS
}
