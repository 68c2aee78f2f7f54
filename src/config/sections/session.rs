//! `[session]`: lifetimes of browser sessions.

use crate::config::key::{Key, secs};
use crate::config::reader::Reader;
use crate::registry::session::Limits;

pub(in crate::config) const KEYS: &[Key] = &[
    secs("session.idle_secs", "1800", "Lifetime of a browser session that is not used."),
    secs("session.absolute_secs", "43200", "Lifetime of a browser session at most."),
    secs("session.remember_idle_secs", "1209600", "The same two where the user asked to stay logged in."),
    secs("session.remember_absolute_secs", "2592000", ""),
];

pub(in crate::config) fn read(reader: &mut Reader) -> Limits {
    Limits {
        idle: reader.secs("session.idle_secs"),
        absolute: reader.secs("session.absolute_secs"),
        remember_idle: reader.secs("session.remember_idle_secs"),
        remember_absolute: reader.secs("session.remember_absolute_secs"),
    }
}
