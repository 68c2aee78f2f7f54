#![doc = include_str!("README.md")]

#[cfg(feature = "mail")]
pub mod connection;
pub mod outgoing;
#[cfg(feature = "mail")]
pub mod smtp;
pub mod template;
pub mod transport;
