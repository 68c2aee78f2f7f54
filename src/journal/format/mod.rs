#![doc = include_str!("README.md")]

pub mod buckets;
pub(crate) mod bytes;
pub mod codec;
pub mod entry;
pub mod frame;
pub mod header;
pub mod identity_file;
pub mod layout;
