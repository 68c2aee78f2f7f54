//! The simulator: the real journal, snapshots, recovery and registries over a simulated disk.
//!
//! `scripted` stops and faults short stories at every operation. `run` is one seed: owners append, the writer, the
//! preparer and a snapshot are stepped as the seed says, the disk faults and the power goes; `oracle` knows from outside
//! what was told to whom. `world` is what runs, `damage` what happens to files, `search` loops over seeds.

mod damage;
#[cfg(test)]
pub(crate) mod forged_fields;
#[cfg(test)]
pub(crate) mod golden;
mod oracle;
mod run;
mod scripted;
mod search;
mod sweep;
mod toys;
mod world;

pub(crate) use oracle::Fold;
