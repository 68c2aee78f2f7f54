//! What several benches share: a load generator, directories full of records, and the least that a refresh needs.
#![allow(dead_code, reason = "each bench uses some of it")]

pub mod floor;
pub mod load;
pub mod records;
