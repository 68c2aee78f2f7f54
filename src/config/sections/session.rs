//! `[session]`: lifetimes of browser sessions, and the names of cookies.

use crate::config::key::{Key, secs, text};
use crate::config::reader::Reader;
use crate::registry::session::Limits;

pub(in crate::config) const KEYS: &[Key] = &[
    secs("session.idle_secs", "1800", "Lifetime of a browser session that is not used."),
    secs("session.absolute_secs", "43200", "Lifetime of a browser session at most."),
    secs("session.remember_idle_secs", "1209600", "The same two where the user asked to stay logged in."),
    secs("session.remember_absolute_secs", "2592000", ""),
    text(
        "session.cookie_name",
        "\"portcullis\"",
        "Beginning of the names of the cookies: portcullis_session, ... Give each server of one host another one, also those on \
         other ports or below other paths: a browser sends all of them the same cookies, and a log-in to one would end that to \
         the other.",
    ),
];

/// The longest beginning of a cookie's name, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// The names of the cookies. Where the site has TLS, they have the prefix that binds a cookie to its host.
#[derive(Clone, Debug)]
pub struct CookieNames {
    /// That of the session.
    pub session: Box<str>,
    /// That of the device that has logged in before.
    pub device: Box<str>,
    /// That of the half of a sign-up that its browser keeps.
    pub sign_up: Box<str>,
}

impl CookieNames {
    /// Returns the names that begin with `name`.
    pub fn of(name: &str, is_https: bool) -> Self {
        let prefix = if is_https { "__Host-" } else { "" };
        let named = |what: &str| format!("{prefix}{name}_{what}").into();
        Self { session: named("session"), device: named("device"), sign_up: named("signup") }
    }
}

pub(in crate::config) fn cookie_names(reader: &mut Reader, is_https: bool) -> CookieNames {
    let name = reader.text("session.cookie_name").unwrap_or_else(|| String::from("portcullis"));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
        reader.wrong(
            "session.cookie_name",
            format_args!("must be 1 to {NAME_BYTES_MAX} letters, digits, - and _"),
        );
    }
    CookieNames::of(&name, is_https)
}

pub(in crate::config) fn read(reader: &mut Reader) -> Limits {
    Limits {
        idle: reader.secs("session.idle_secs"),
        absolute: reader.secs("session.absolute_secs"),
        remember_idle: reader.secs("session.remember_idle_secs"),
        remember_absolute: reader.secs("session.remember_absolute_secs"),
    }
}
