//! Who gets the slots for deliveries: a pure rule. Knows no actor, file or clock.
//!
//! **The attack:** a stranger signs up with addresses of domains whose mail server takes a minute for each mail. The
//! deliveries take every slot, and the resets of everybody else wait behind them, for days if the mails are tried again.
//!
//! **The rule:** a domain whose last deliveries were quick may have any free slot. All others together have half of the
//! slots, and of these the slow ones share one. One domain has two. So half of the slots are never taken by a domain that
//! has not shown that it gives them back soon. Domains are counted by [the part that is registered](group), since whoever
//! owns it has as many names below it as they like.
//!
//! ```text
//!              quick delivery              slow delivery
//!   unknown ────────────────────▶ quick ────────────────▶ unknown
//!      │  ▲
//!      │  └──── ten minutes ────┐
//!      └── slow delivery ──▶ slow, whatever is delivered meanwhile
//! ```

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::system::clock::Timestamp;

/// The most mails that are on their way at once.
pub const AT_ONCE: usize = 8;
/// Of these, the most to domains that are not known to be quick.
pub const UNPROVEN: usize = 4;
const _: () = assert!(2 * UNPROVEN <= AT_ONCE);
/// Of these, the most to domains that are known to be slow.
pub const SLOW: usize = 1;
/// The most mails that are on their way to one domain.
pub const PER_DOMAIN: usize = 2;

/// The longest time of a quick delivery.
pub const QUICK_WITHIN: Duration = Duration::from_secs(5);
/// The shortest time of a slow delivery, or of a try that ends without one.
pub const SLOW_FROM: Duration = Duration::from_secs(10);
/// How long a domain is slow.
pub const SLOW_FOR: Duration = Duration::from_mins(10);
/// The most domains that are remembered.
pub const DOMAINS_MAX: usize = 10_000;

/// Labels below a country under which names are registered, as in `co.uk`.
const SECOND_LEVELS: [&str; 16] = [
    "ac", "co", "com", "ed", "edu", "gob", "gov", "gv", "ltd", "mil", "ne", "net", "nom", "or", "org", "plc",
];

/// Returns the part of `domain` that somebody has registered: its last two labels, or three below `co.uk` and the like.
///
/// A name that is given away by others, such as one below a blog host, counts as its host: its readers wait for one
/// another, and nobody takes slots by such names.
pub fn group(domain: &str) -> &str {
    let mut dots = domain.rmatch_indices('.').map(|(at, _)| at);
    let (Some(last), Some(second)) = (dots.next(), dots.next()) else { return domain };
    let is_country = domain.len() - last == 3;
    let label = domain.get(second + 1..last).unwrap_or_default();
    let start = if is_country && SECOND_LEVELS.contains(&label) { dots.next() } else { Some(second) };
    start.and_then(|dot| domain.get(dot + 1..)).unwrap_or(domain)
}

/// How soon a domain gives a slot back.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Speed {
    /// Its last delivery was quick.
    Quick,
    /// Nothing is known.
    #[default]
    Unknown,
    /// Its last deliveries were slow.
    Slow,
}

impl Speed {
    /// All speeds, in the order in which mails of one urgency are sent.
    pub const ALL: [Self; 3] = [Self::Quick, Self::Unknown, Self::Slow];
}

/// The slots that are taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    all: usize,
    unproven: usize,
    slow: usize,
    of_group: HashMap<Box<str>, usize>,
}

impl Taken {
    /// Says whether a mail to a domain of `speed` may get a slot, whichever domain it is.
    pub const fn admits(&self, speed: Speed) -> bool {
        let has_room = match speed {
            Speed::Quick => true,
            Speed::Unknown => self.unproven < UNPROVEN,
            Speed::Slow => self.unproven < UNPROVEN && self.slow < SLOW,
        };
        has_room && self.all < AT_ONCE
    }

    /// Says whether a mail to `group`, of `speed`, may get a slot.
    pub fn admits_to(&self, speed: Speed, group: &str) -> bool {
        self.admits(speed) && self.of_group.get(group).is_none_or(|taken| *taken < PER_DOMAIN)
    }

    /// Counts a slot for a mail to `group`.
    pub fn take(&mut self, speed: Speed, group: &str) {
        self.all += 1;
        self.unproven += usize::from(speed != Speed::Quick);
        self.slow += usize::from(speed == Speed::Slow);
        *self.of_group.entry(group.into()).or_default() += 1;
    }
}

/// What is known of a domain.
#[derive(Clone, Copy, Debug)]
struct Known {
    speed: Speed,
    /// Since when it is that.
    since: Timestamp,
    /// The number of its last delivery.
    last: u64,
}

/// What is known of domains, in memory of a bounded size. After a restart nothing is.
#[derive(Debug, Default)]
pub struct Speeds {
    by_group: HashMap<Box<str>, Known>,
    /// The domains by the number of their last delivery.
    by_last: BTreeMap<u64, Box<str>>,
    deliveries: u64,
}

impl Speeds {
    /// Returns how quick `group` is.
    pub fn of(&self, group: &str) -> Speed {
        self.by_group.get(group).map_or(Speed::Unknown, |known| known.speed)
    }

    /// Notes at `now` that a delivery to `group` took `took`, and whether it was `taken`. Returns the domains whose speed
    /// may have changed.
    pub fn note(&mut self, group: &str, took: Duration, taken: bool, now: Timestamp) -> Vec<Box<str>> {
        let mut changed = self.forget_slow(now);
        let before = self.by_group.get(group).copied();
        let (speed, since) =
            before.map_or((Speed::Unknown, Timestamp::ZERO), |known| (known.speed, known.since));
        let next = match speed {
            Speed::Slow => Speed::Slow,
            // Deliveries that were on their way together tell one thing, not two.
            _ if took >= SLOW_FROM && now.since(since) < took => speed,
            Speed::Quick if took >= SLOW_FROM => Speed::Unknown,
            Speed::Unknown if took >= SLOW_FROM => Speed::Slow,
            _ if taken && took <= QUICK_WITHIN => Speed::Quick,
            _ => speed,
        };
        let since = if next == speed { since } else { now };
        self.deliveries += 1;
        if let Some(known) = before {
            self.by_last.remove(&known.last);
        }
        self.by_group.insert(group.into(), Known { speed: next, since, last: self.deliveries });
        self.by_last.insert(self.deliveries, group.into());
        changed.push(group.into());
        while self.by_group.len() > DOMAINS_MAX {
            let Some((_, oldest)) = self.by_last.pop_first() else { break };
            self.by_group.remove(&oldest);
            changed.push(oldest);
        }
        changed
    }

    /// Forgets the domains that have been slow for long enough, and returns them.
    fn forget_slow(&mut self, now: Timestamp) -> Vec<Box<str>> {
        let is_over = |known: &Known| known.speed == Speed::Slow && now.since(known.since) >= SLOW_FOR;
        let over = self.by_group.extract_if(|_, known| is_over(known));
        let over: Vec<(Box<str>, Known)> = over.collect();
        over.into_iter()
            .map(|(group, known)| {
                self.by_last.remove(&known.last);
                group
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const SOON: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn names_below_a_registered_one_count_as_it() {
        for (domain, registered) in [
            ("example.org", "example.org"),
            ("d7.evil.org", "evil.org"),
            ("a.b.c.evil.org", "evil.org"),
            ("d7.evil.co.uk", "evil.co.uk"),
            ("evil.co.uk", "evil.co.uk"),
            ("co.uk", "co.uk"),
            ("d7.evil.com.br", "evil.com.br"),
            // No country: `com` is a name like another.
            ("d7.com.info", "com.info"),
            ("mail.evil.de", "evil.de"),
            ("localhost", "localhost"),
            ("", ""),
            (".org", ".org"),
        ] {
            assert_eq!(group(domain), registered, "{domain}");
        }
    }

    #[test]
    fn a_domain_is_quick_by_a_quick_delivery_and_slow_by_slow_ones_for_ten_minutes() {
        let mut speeds = Speeds::default();
        let mut now = START;
        assert_eq!(speeds.of("a.org"), Speed::Unknown);
        // A quick refusal shows nothing, nor does a delivery that is neither quick nor slow.
        speeds.note("a.org", SOON, false, now);
        speeds.note("a.org", Duration::from_secs(7), true, now);
        assert_eq!(speeds.of("a.org"), Speed::Unknown);
        speeds.note("a.org", SOON, true, now);
        assert_eq!(speeds.of("a.org"), Speed::Quick);
        now = now + LONG;
        // Two that were on their way together: the relay may have stalled.
        speeds.note("a.org", LONG, false, now);
        speeds.note("a.org", LONG, true, now + SOON);
        assert_eq!(speeds.of("a.org"), Speed::Unknown);
        now = now + LONG;
        speeds.note("a.org", LONG, true, now);
        assert_eq!(speeds.of("a.org"), Speed::Slow);
        // What is quick meanwhile buys nothing.
        speeds.note("a.org", SOON, true, now + SOON);
        assert_eq!(speeds.of("a.org"), Speed::Slow);
        let changed = speeds.note("b.org", SOON, true, now + SLOW_FOR);
        assert_eq!(speeds.of("a.org"), Speed::Unknown);
        assert_eq!(changed, [Box::from("a.org"), Box::from("b.org")]);
    }

    #[test]
    fn memory_is_bounded_and_the_domain_unused_longest_is_forgotten() {
        let mut speeds = Speeds::default();
        speeds.note("first.org", SOON, true, START);
        speeds.note("second.org", SOON, true, START);
        for number in 0..DOMAINS_MAX - 2 {
            speeds.note(&format!("{number}.org"), SOON, true, START);
        }
        speeds.note("first.org", SOON, true, START);
        let changed = speeds.note("one-more.org", SOON, true, START);
        assert_eq!(changed, [Box::from("one-more.org"), Box::from("second.org")]);
        assert_eq!(speeds.of("first.org"), Speed::Quick);
        assert_eq!(speeds.by_group.len(), DOMAINS_MAX);
        assert_eq!(speeds.by_last.len(), DOMAINS_MAX);
    }
}
