//! `[refresh]`: lifetimes of refresh tokens.

use std::time::Duration;

use crate::config::key::{Key, number, secs};
use crate::config::reader::Reader;
use crate::registry::refresh::Limits;
use crate::token::feed::LEEWAY;

/// The least time for which an ended family is remembered.
const DAY: Duration = Duration::from_hours(24);

pub(in crate::config) const KEYS: &[Key] = &[
    number(
        "refresh.grace_secs",
        "10",
        0..=300,
        "Time in which a spent refresh token returns the same successor.",
    ),
    secs("refresh.idle_ttl_secs", "2592000", "Lifetime of a refresh token that is not used."),
    secs(
        "refresh.absolute_ttl_secs",
        "7776000",
        "Lifetime of one log-in at most, however often it is refreshed.",
    ),
];

pub(in crate::config) fn read(reader: &mut Reader) -> Limits {
    Limits {
        grace: reader.secs("refresh.grace_secs"),
        idle: reader.secs("refresh.idle_ttl_secs"),
        absolute: reader.secs("refresh.absolute_ttl_secs"),
        // Longer than an access token that a resource server accepts.
        remember_ended: DAY
            .max(reader.secs("token.access_ttl_secs") + reader.secs("refresh.grace_secs") + LEEWAY),
    }
}
