//! `[throttle]`: the rate limit of each class of requests.

use crate::config::key::{Key, list, number};
use crate::config::reader::Reader;
use crate::registry::throttle::{Class, Limits, Rate};

const fn rate(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    number(name, default, 1..=1_000_000, doc)
}

pub(in crate::config) const KEYS: &[Key] = &[
    list("throttle.exempt_networks", "Networks and addresses that are not throttled."),
    number("throttle.cells", "1000000", 1000..=100_000_000, "How many networks are remembered at most."),
    rate("throttle.login.burst", "20", "Requests that one network may send at once."),
    rate("throttle.login.per_minute", "20", "Requests that it may send per minute after that."),
    rate("throttle.signup.burst", "10", ""),
    rate("throttle.signup.per_minute", "10", ""),
    rate("throttle.refresh.burst", "120", ""),
    rate("throttle.refresh.per_minute", "240", ""),
    rate("throttle.forgot.burst", "10", ""),
    rate("throttle.forgot.per_minute", "10", ""),
    rate("throttle.reset.burst", "20", ""),
    rate("throttle.reset.per_minute", "20", ""),
    rate("throttle.verify.burst", "20", ""),
    rate("throttle.verify.per_minute", "20", ""),
    rate("throttle.unlock.burst", "20", ""),
    rate("throttle.unlock.per_minute", "20", ""),
    rate("throttle.check.burst", "20", ""),
    rate("throttle.check.per_minute", "20", ""),
    rate(
        "throttle.rejected.burst",
        "120",
        "Requests of one network that may be rejected: a wrong access token, a page of another site.",
    ),
    rate("throttle.rejected.per_minute", "240", ""),
    rate(
        "throttle.change.burst",
        "60",
        "Changes of settings that the holder of one account may make at once.",
    ),
    rate("throttle.change.per_minute", "60", ""),
    rate(
        "throttle.advice.burst",
        "60",
        "Passwords that one network may have judged at once, as a form does while they are typed.",
    ),
    rate("throttle.advice.per_minute", "60", ""),
];

pub(in crate::config) fn read(reader: &mut Reader) -> Limits {
    let mut rate_of = |class: Class| {
        let burst = reader.number(&format!("throttle.{}.burst", class.name())) as u32;
        let per_minute = reader.number(&format!("throttle.{}.per_minute", class.name())) as u32;
        (class, Rate { burst, per_minute })
    };
    let rates = Class::ALL.into_iter().map(&mut rate_of).collect();
    Limits {
        rates,
        cells: reader.number("throttle.cells") as usize,
        exempt: reader.networks("throttle.exempt_networks"),
        half_spent: false,
    }
}
