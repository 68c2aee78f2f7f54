//! The operator's way in: the socket in the data directory and the operations that it serves.

mod acknowledge;
mod backup;
mod invitation;
mod keys;
pub mod operation;
pub mod socket;
mod webhooks;
