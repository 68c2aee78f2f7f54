#![doc = include_str!("README.md")]

mod event;
mod files;
mod format;
mod found;
mod log;
#[cfg(test)]
mod tests;
mod writer;

pub use self::event::{Event, Gap, Page, Stats, end_of, entry_of};
pub use self::log::EventLog;
pub use self::writer::{EventWriter, Keep, RunningWriter};
