//! The endpoints of the JSON API, one file for each group.

pub mod admin;
pub mod log_in;
pub mod mailed;
pub mod me;
pub mod metrics;
pub mod operations;
pub mod revocations;
