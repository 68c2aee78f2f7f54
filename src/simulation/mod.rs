#![doc = include_str!("README.md")]

mod damage;
mod forged_fields;
pub(crate) mod golden;
mod oracle;
mod people;
mod run;
mod scripted;
mod search;
mod sweep;
mod toys;
mod world;

pub(crate) use oracle::Fold;
