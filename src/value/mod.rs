//! Plain values that several registries name: ids, account names, networks.
//!
//! Invariant: a value knows no registry, file, clock or randomness.

pub mod account_name;
pub mod id;
pub mod network;
