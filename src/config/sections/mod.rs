//! One file per section of the configuration. Each declares its keys (`KEYS`: name, default, range, comment) and reads
//! them into its struct. Where a registry owns the limits of a section (throttle, lockout, refresh, session, reset),
//! the section fills the `Limits` of that registry.

pub mod admin;
pub mod alert;
pub mod audit;
pub mod events;
pub mod hook;
pub mod http;
pub mod journal;
pub mod keys;
pub mod lockout;
pub mod log;
pub mod machine;
pub mod mail;
pub mod outbound;
pub mod password;
pub mod refresh;
pub mod reset;
pub mod session;
pub mod signup;
pub mod throttle;
pub mod token;
pub mod top_level;

use super::key::KeyList;

/// The keys of every section, in the order of the file.
pub(super) const SECTIONS: KeyList = KeyList(&[
    top_level::KEYS,
    http::KEYS,
    admin::KEYS,
    machine::KEYS,
    signup::KEYS,
    password::KEYS,
    throttle::KEYS,
    lockout::KEYS,
    token::KEYS,
    refresh::KEYS,
    session::KEYS,
    reset::KEYS,
    mail::KEYS,
    journal::KEYS,
    keys::KEYS,
    audit::KEYS,
    events::KEYS,
    log::KEYS,
    alert::KEYS,
    hook::KEYS,
    outbound::KEYS,
]);
