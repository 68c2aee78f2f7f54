#![doc = include_str!("README.md")]

pub mod append;
pub mod archive;
pub mod buckets;
pub mod context;
#[cfg(test)]
mod fields;
pub mod format;
#[cfg(test)]
mod golden;
pub mod record;
pub mod recovery;
#[cfg(test)]
mod sim;
pub mod snapshot;
