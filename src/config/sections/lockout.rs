//! `[lockout]`: when an account name is closed to devices that it does not know, and for how long.

use crate::config::key::{Key, number, secs};
use crate::config::reader::Reader;
use crate::registry::lockout::Limits;

/// How many names the lockout remembers at most. Not a key: it bounds memory.
const NAMES_MAX: usize = 1_000_000;

pub(in crate::config) const KEYS: &[Key] = &[
    number(
        "lockout.failures",
        "5",
        1..=100,
        "Wrong passwords that lock a name for unknown devices, and after which a known device is known no longer. In a day \
         unknown devices have four times as many, and all known devices of a name together as many again.",
    ),
    number(
        "lockout.cap",
        "100",
        1..=1_000_000,
        "Consecutive wrong passwords after which only a known device or a mailed link lets the owner in. Known devices have \
         as many of them as in a day, unknown devices have the rest.",
    ),
    secs(
        "lockout.first_lock_secs",
        "60",
        "Length of the first lock; each further wrong password doubles it.",
    ),
    secs("lockout.max_lock_secs", "3600", "Length of the longest lock."),
    secs(
        "lockout.forget_secs",
        "86400",
        "Time without a wrong password after which locks start again from the first.",
    ),
];

pub(in crate::config) fn read(reader: &mut Reader) -> Limits {
    Limits {
        failures: reader.number("lockout.failures") as u32,
        cap: reader.number("lockout.cap") as u32,
        first_lock: reader.secs("lockout.first_lock_secs"),
        max_lock: reader.secs("lockout.max_lock_secs"),
        forget: reader.secs("lockout.forget_secs"),
        names_max: NAMES_MAX,
    }
}
