#![doc = include_str!("README.md")]

mod format;
pub mod proof;
mod read;
mod retention;
pub mod run;
pub mod schedule;
pub mod status;
#[cfg(test)]
mod tests;
mod writer;

pub use format::CHUNK_BYTES_MAX;
pub(super) use format::record_digest;
pub use read::{Apply, Summary, Unreadable, read, read_verified, verify};
pub use retention::{keep_two, newest};
pub use writer::{Records, SnapshotWriter, UnnamedSnapshot, abandon};
