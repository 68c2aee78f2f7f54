//! The operator's hands: the socket in the data directory and the operations that it takes.

pub mod operation;
pub mod socket;
