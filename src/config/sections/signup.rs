//! `[signup]`: whether and how new accounts are made. The lifetime of the link that proves an address is one of the
//! limits of mailed tokens and is read by [`super::reset`].

use crate::config::key::{Key, choice, flag, secs};
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[
    flag("signup.enabled", "true", "Whether anyone may sign up."),
    choice(
        "signup.verify_email",
        "\"required\"",
        &["required", "off"],
        "\"required\": an address must be proved by a mailed link before it can log in; or \"off\".",
    ),
    secs("signup.verify_ttl_secs", "86400", "Lifetime of the link that proves an address."),
];

/// The settings of `[signup]`.
#[derive(Clone, Debug)]
pub struct Signup {
    /// Whether anyone may sign up.
    pub enabled: bool,
    /// Whether an address must be proved before it can log in.
    pub verify_email: bool,
}

impl Signup {
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        Self {
            enabled: reader.flag("signup.enabled").unwrap_or(true),
            verify_email: reader.choice("signup.verify_email") != "off",
        }
    }
}
