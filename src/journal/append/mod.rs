#![doc = include_str!("README.md")]

pub mod handle;
pub(crate) mod preparer;
pub mod segment_log;
pub mod writer;
