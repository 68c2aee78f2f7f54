#![doc = include_str!("README.md")]

pub mod archive;
pub mod buckets;
#[cfg(test)]
mod fields;
pub mod format;
#[cfg(test)]
mod golden;
pub mod handle;
pub mod inspect;
pub mod past;
mod preparer;
pub mod record;
pub mod recover;
pub mod round;
pub mod second_path;
pub mod segment;
#[cfg(test)]
mod sim;
pub mod snapshot;
pub mod verdict;
mod walk;
pub mod writer;
