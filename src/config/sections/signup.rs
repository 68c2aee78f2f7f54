//! `[signup]`: whether and how new accounts are made. The lifetime of a sign-up is that of its link, which is one of the
//! limits of mailed tokens and is read by [`super::reset`] too.

use crate::config::key::{Key, choice, flag, secs};
use crate::config::reader::Reader;
use crate::registry::sign_up::Limits;

pub(in crate::config) const KEYS: &[Key] = &[
    flag("signup.enabled", "true", "Whether anyone may sign up."),
    choice(
        "signup.verify_email",
        "\"required\"",
        &["required", "off"],
        "\"required\": an address must be proved by a mailed link before it can log in; or \"off\".",
    ),
    secs(
        "signup.verify_ttl_secs",
        "86400",
        "Lifetime of a sign-up, and of the link that proves its address.",
    ),
    flag(
        "signup.allow_local_domains",
        "false",
        "Whether new accounts may have addresses of this machine or network, such as ada@localhost, \
         ada@printer.local or ada@192.0.2.1.",
    ),
];

/// The settings of `[signup]`.
#[derive(Clone, Debug)]
pub struct Signup {
    /// Whether anyone may sign up.
    pub enabled: bool,
    /// Whether an address must be proved before it can log in.
    pub verify_email: bool,
    /// Whether new accounts may have addresses whose domain is no public one.
    pub allow_local_domains: bool,
    /// The lifetime of a sign-up.
    pub limits: Limits,
}

impl Signup {
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        Self {
            enabled: reader.flag("signup.enabled").unwrap_or(true),
            verify_email: reader.choice("signup.verify_email") != "off",
            allow_local_domains: reader.flag("signup.allow_local_domains").unwrap_or(false),
            limits: Limits { ttl: reader.secs("signup.verify_ttl_secs") },
        }
    }
}
