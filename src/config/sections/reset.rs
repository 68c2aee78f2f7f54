//! `[reset]`: limits of mailed links. The lifetime of the link that proves an address is `signup.verify_ttl_secs`,
//! since users meet it there; the same registry keeps both kinds of link.

use crate::config::key::{Key, number, secs};
use crate::config::reader::Reader;
use crate::registry::reset::Limits;

pub(in crate::config) const KEYS: &[Key] = &[
    secs("reset.ttl_secs", "1800", "Lifetime of a link that sets a new password."),
    number("reset.mails_per_hour", "3", 1..=1000, "Mails of one kind to one account in an hour."),
];

pub(in crate::config) fn read(reader: &mut Reader) -> Limits {
    Limits {
        reset: reader.secs("reset.ttl_secs"),
        verify: reader.secs("signup.verify_ttl_secs"),
        mails_per_hour: reader.number("reset.mails_per_hour") as u32,
    }
}
