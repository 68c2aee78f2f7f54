//! The buckets of a table, in which its records are kept in memory and saved in snapshots.

/// Number of buckets of a table, and of bucket numbers in a snapshot.
pub const BUCKETS: usize = 4_096;

/// Returns the bucket of a stored key. The function is part of the format and never changes.
pub fn bucket_of(key: &[u8]) -> usize {
    crc32c::crc32c(key) as usize % BUCKETS
}
