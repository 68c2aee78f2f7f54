#![doc = include_str!("README.md")]

pub mod outgoing;
#[cfg(feature = "mail")]
pub mod smtp;
pub mod template;
pub mod transport;
