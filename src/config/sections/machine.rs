//! `[machine]`: what else runs on the cores.

use crate::config::key::{Key, flag};
use crate::config::reader::Reader;
use crate::system::scheduling::Machine;

pub(in crate::config) const KEYS: &[Key] = &[flag(
    "machine.dedicated",
    "false",
    "true if no other busy program shares the cores: the threads that own state and write to the disk then wake up less often.",
)];

pub(in crate::config) fn read(reader: &mut Reader) -> Machine {
    if reader.flag("machine.dedicated").unwrap_or(false) { Machine::Dedicated } else { Machine::Shared }
}
