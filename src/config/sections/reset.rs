//! `[reset]`: limits of mailed links. The lifetime of the link that proves an address is `signup.verify_ttl_secs`,
//! since users meet it there; the same registry keeps both kinds of link.

use crate::config::key::{Key, number, secs};
use crate::config::reader::Reader;
use crate::registry::reset::Limits;

pub(in crate::config) const KEYS: &[Key] = &[
    secs("reset.ttl_secs", "1800", "Lifetime of a link that sets a new password."),
    secs("reset.invitation_ttl_secs", "604800", "Lifetime of a link that sets the first password."),
    number(
        "reset.mails_per_hour",
        "3",
        1..=1000,
        "Mails of one kind to one account in an hour. One is kept for a network that has not asked.",
    ),
    number(
        "reset.mails_per_network",
        "10",
        1..=1_000_000,
        "Mails in an hour that one network causes, by sign-up, resend, forgot or wrong passwords.",
    ),
    number(
        "reset.mails_per_domain",
        "1000",
        10..=10_000_000,
        "Mails to one domain in an hour that strangers cause. Beyond it each account gets its first one alone.",
    ),
];

pub(in crate::config) fn read(reader: &mut Reader) -> Limits {
    Limits {
        reset: reader.secs("reset.ttl_secs"),
        verify: reader.secs("signup.verify_ttl_secs"),
        invitation: reader.secs("reset.invitation_ttl_secs"),
        mails_per_hour: reader.number("reset.mails_per_hour") as u32,
        mails_per_network: reader.number("reset.mails_per_network") as u32,
        mails_per_domain: reader.number("reset.mails_per_domain") as u32,
    }
}
