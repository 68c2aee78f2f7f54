//! Shared by several benches: a load generator, directories full of records, and the least that a refresh needs.
#![allow(dead_code, reason = "each bench uses some of it")]

pub mod floor;
pub mod load;
pub mod records;
#[path = "../../tests/support/values.rs"]
pub mod values;

/// Returns the arguments that select parts of a bench, without the options that cargo passes.
pub fn selection() -> Vec<String> {
    std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect()
}
