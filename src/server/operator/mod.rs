//! The operator's way in: the socket in the data directory and the operations that it serves.

mod acknowledge;
mod answer;
mod backup;
pub mod dumps;
mod invitation;
mod keys;
pub mod operation;
pub mod socket;
mod transfer;
mod webhooks;
