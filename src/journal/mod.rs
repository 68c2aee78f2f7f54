#![doc = include_str!("README.md")]

pub mod append;
pub mod archive;
pub mod context;
pub mod event_log;
pub mod format;
pub mod recovery;
pub mod snapshot;
