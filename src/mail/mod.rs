#![doc = include_str!("README.md")]

#[cfg(feature = "mail")]
pub mod connection;
pub mod deliver;
pub mod outgoing;
#[cfg(feature = "mail")]
pub mod smtp;
pub mod template;
#[cfg(feature = "mail")]
mod tls_fault;
pub mod transport;
