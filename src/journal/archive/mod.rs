#![doc = include_str!("README.md")]

mod backup;
pub mod inspect;
mod records;
mod restore;
mod salvage;
pub mod staging;
#[cfg(test)]
mod tests;

pub use backup::{SUMS, UNFINISHED, add_sums, back_up, check_sums, copy_file, refuse_unfinished};
pub use records::Records;
pub use restore::{
    Admit, Amend, Destination, Restored, admit_all, check_target, restore, restore_at_another_time,
};
pub use salvage::{Salvaged, salvage};
