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
pub mod inspect;
pub mod record;
pub mod recovery;
pub mod round;
pub mod second_path;
#[cfg(test)]
mod sim;
pub mod snapshot;
