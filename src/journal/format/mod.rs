//! The bytes of the journal: headers, frames, entries, file names and the codec of values.
//!
//! Invariant: nothing here opens a file of its own accord, appends or recovers.

pub mod buckets;
pub(crate) mod bytes;
pub mod codec;
pub mod entry;
pub mod frame;
pub mod header;
pub mod identity_file;
pub mod layout;
