//! The whole rule of stuffing. Knows no actor, file, clock or randomness but the hash of its places.

use std::time::Duration;

use super::sketch::Sketch;
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;
use crate::value::network::Network;
use crate::value::network::Width;

const NETWORKS: usize = 32_768;
const NAMES: usize = 32_768;
/// The most distinct names that may fail from one network, and the most networks that may fail at one name.
const NAMES_MAX: usize = 10;
/// IPv6 /48 networks that are watched as a whole.
const SITES: usize = 4096;
/// The most distinct names that may fail from one /48: it may be one attacker with 65,536 networks of /64, or a carrier
/// with as many customers.
const SITE_NAMES_MAX: usize = 40;
pub(super) const NAMES_WINDOW: Duration = Duration::from_mins(15);
const NETWORKS_WINDOW: Duration = Duration::from_hours(1);
const TELL_AGAIN: Duration = Duration::from_hours(24);
/// How long a network counts as known to the alarm after a log-in from it.
pub(super) const KNOWN_FOR: Duration = Duration::from_hours(24);
/// The last minutes, whose failures are compared with the mean.
const RECENT_MINUTES: usize = 5;
/// The least number of log-ins in these minutes that says anything.
const ATTEMPTS_MIN: u32 = 50;
/// The weight of one minute's ratio in the mean: a memory of an hour.
const MEAN_SHARE: f64 = 1.0 / 60.0;
/// Minutes below the line after which the alarm ends.
const QUIET_MINUTES: u32 = 10;

/// How a log-in ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The right password.
    Succeeded,
    /// A wrong password, an unknown name or a locked name, from an unknown device.
    Failed,
    /// A wrong password from a known device: the owner has mistyped.
    Mistyped,
}

/// A log-in that ended.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// The network it came from.
    pub network: Network,
    /// The key of the typed name.
    pub name: NameKey,
    /// How it ended.
    pub outcome: Outcome,
}

/// The consequences of a log-in that ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Noticed {
    /// The network that is a suspect from now on: the client's, or the IPv6 /48 around it.
    pub suspect: Option<Network>,
    /// Whether the name is tried from many networks and its owner is to be notified.
    pub targeted: bool,
    /// Whether the alarm began to ring.
    pub alarm: bool,
}

/// The reputation of a network, which decides the lane of its password checks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reputation {
    /// Whether names failed from it within the last minutes; or the alarm rings, and there was no log-in from it within
    /// the last day.
    pub recently_failing: bool,
}

/// The log-ins of one minute.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    attempts: u32,
    failures: u32,
}

/// The counts of all networks and names of one engine, and the alarm.
pub struct Stuffing {
    names: Sketch<Network, [u8; 4], { NAMES_MAX + 1 }>,
    site_names: Sketch<Network, [u8; 4], { SITE_NAMES_MAX + 1 }>,
    networks: Sketch<NameKey, Network, { NAMES_MAX + 1 }>,
    /// The last minutes, beginning with the present one.
    minutes: [Minute; RECENT_MINUTES],
    minute: u64,
    /// The moving mean of the share of log-ins that fail, while the alarm is off.
    mean: f64,
    /// Minutes below the line while the alarm rings; `None` while it is off.
    ringing: Option<u32>,
}

impl Default for Stuffing {
    fn default() -> Self {
        Self {
            names: Sketch::new(NETWORKS, NAMES_WINDOW),
            site_names: Sketch::new(SITES, NAMES_WINDOW),
            networks: Sketch::new(NAMES, NETWORKS_WINDOW),
            minutes: [Minute::default(); RECENT_MINUTES],
            minute: 0,
            // The initial mean: about a third of log-ins fail on an ordinary day.
            mean: 0.3,
            ringing: None,
        }
    }
}

impl Stuffing {
    /// Notes how a log-in ended, and returns what it has set off.
    pub fn note(&mut self, tried: Tried, now: Timestamp) -> Noticed {
        self.turn(now);
        let is_failure = tried.outcome == Outcome::Failed;
        if let Some(minute) = self.minutes.first_mut() {
            minute.attempts = minute.attempts.saturating_add(1);
            minute.failures = minute.failures.saturating_add(u32::from(is_failure));
        }
        let mut noticed = Noticed { alarm: self.judge(), ..Noticed::default() };
        match tried.outcome {
            Outcome::Succeeded => self.names.succeed(tried.network, now),
            Outcome::Mistyped => {}
            Outcome::Failed => {
                let name = tried.name.0.last_chunk().copied().unwrap_or_default();
                let own = (self.names.see(tried.network, name, now) > NAMES_MAX).then_some(tried.network);
                let site = site_of(tried.network);
                let over = site.filter(|site| self.site_names.see(*site, name, now) > SITE_NAMES_MAX);
                noticed.suspect = over.or(own);
                let is_targeted = self.networks.see(tried.name, tried.network, now) > NAMES_MAX;
                noticed.targeted = is_targeted && self.networks.tell(tried.name, TELL_AGAIN, now);
            }
        }
        noticed
    }

    /// Returns the reputation of `network` at `now`.
    pub fn look(&self, network: Network, now: Timestamp) -> Reputation {
        let (names, succeeded) = self.names.look(network, now);
        let is_stranger = succeeded == Timestamp::ZERO || now.since(succeeded) >= KNOWN_FOR;
        let site_fails =
            site_of(network).is_some_and(|site| self.site_names.look(site, now).0 > SITE_NAMES_MAX);
        Reputation { recently_failing: names > 0 || site_fails || (self.ringing.is_some() && is_stranger) }
    }

    /// Says whether the alarm rings.
    pub const fn rings(&self) -> bool {
        self.ringing.is_some()
    }

    /// Returns the moving mean of the share of log-ins that fail.
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// Returns the size of the counts in bytes.
    pub fn bytes(&self) -> usize {
        self.names.bytes() + self.site_names.bytes() + self.networks.bytes()
    }

    /// Starts the alarm if it is off and the failures are over the line. Returns whether it did.
    fn judge(&mut self) -> bool {
        let begins = self.ringing.is_none() && self.is_over();
        if begins {
            self.ringing = Some(0);
        }
        begins
    }

    /// Says whether the failures are over the line: twice the mean, and a fifth of all log-ins above it, so that the
    /// few failures of a quiet night do not ring.
    fn is_over(&self) -> bool {
        let (attempts, failures) = self.recent();
        let line = (self.mean * 2.0).max(self.mean + 0.2).min(0.95);
        attempts >= ATTEMPTS_MIN && f64::from(failures) > line * f64::from(attempts)
    }

    fn recent(&self) -> (u32, u32) {
        self.minutes.iter().fold((0, 0), |(attempts, failures), minute| {
            (attempts.saturating_add(minute.attempts), failures.saturating_add(minute.failures))
        })
    }

    /// Ends the minutes that have passed since the last log-in.
    fn turn(&mut self, now: Timestamp) {
        let minute = now.as_secs() / 60;
        let passed = minute.saturating_sub(self.minute);
        self.minute = self.minute.max(minute);
        for _ in 0..passed.min(2 * u64::from(QUIET_MINUTES)) {
            let is_over = self.is_over();
            self.ringing = match self.ringing {
                Some(_) if is_over => Some(0),
                Some(quiet) if quiet + 1 < QUIET_MINUTES => Some(quiet + 1),
                _ => None,
            };
            let Minute { attempts, failures } = self.minutes.first().copied().unwrap_or_default();
            // An attack must not raise the mean.
            if attempts > 0 && self.ringing.is_none() && !is_over {
                let ratio = f64::from(failures) / f64::from(attempts);
                self.mean += (ratio - self.mean) * MEAN_SHARE;
            }
            self.minutes.rotate_right(1);
            if let Some(first) = self.minutes.first_mut() {
                *first = Minute::default();
            }
        }
    }
}

/// Returns the IPv6 /48 around a network.
pub(super) fn site_of(network: Network) -> Option<Network> {
    Some(network.widest()).filter(|widest| widest.width == Width::V6Site)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn network(number: u32) -> Network {
        Network::of(std::net::Ipv4Addr::from_bits(number << 8).into())
    }

    fn name(number: u32) -> NameKey {
        let mut key = [0; 16];
        key[12..].copy_from_slice(&number.to_le_bytes());
        NameKey(key)
    }

    fn note(stuffing: &mut Stuffing, from: u32, at: u32, outcome: Outcome, now: Timestamp) -> Noticed {
        stuffing.note(Tried { network: network(from), name: name(at), outcome }, now)
    }

    #[test]
    fn many_names_from_one_network_make_it_a_suspect_but_mistyping_does_not() {
        let mut stuffing = Stuffing::default();
        for at in 0..30 {
            assert_eq!(note(&mut stuffing, 1, at, Outcome::Mistyped, NOW).suspect, None);
            assert_eq!(note(&mut stuffing, 2, 7, Outcome::Failed, NOW).suspect, None);
        }
        assert!(!stuffing.look(network(1), NOW).recently_failing);
        let suspect =
            (0..30).find_map(|at| Some((at, note(&mut stuffing, 3, at, Outcome::Failed, NOW).suspect?)));
        assert_eq!(suspect, Some((10, network(3))));
        assert!(stuffing.look(network(3), NOW).recently_failing);
        assert!(!stuffing.look(network(3), NOW + NAMES_WINDOW).recently_failing);
        let slow = (0..60).any(|at| {
            note(&mut stuffing, 4, at, Outcome::Failed, NOW + Duration::from_mins(2) * at).suspect.is_some()
        });
        assert!(!slow);
    }

    #[test]
    fn many_names_from_the_links_of_one_site_make_the_site_a_suspect() {
        let mut stuffing = Stuffing::default();
        let link = |site: u128, link: u128| {
            Network::of(std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | site << 80 | link << 64).into())
        };
        let mut fail = |from: Network, at: u32| {
            stuffing.note(Tried { network: from, name: name(at), outcome: Outcome::Failed }, NOW).suspect
        };
        let suspect = (0..100).find_map(|at| Some((at, fail(link(1, at.into()), at)?)));
        let (at, suspect) = suspect.unwrap();
        assert_eq!((at, suspect.to_net().to_string()), (40, String::from("2001:db8:1::/48")));
        // One name from many links makes no suspect, and one link over its own line makes only itself one.
        assert!((0..100).all(|from| fail(link(2, from), 7).is_none()));
        assert_eq!((0..11).find_map(|at| fail(link(3, 9), at)), Some(link(3, 9)));
        // Switch the alarm off, which rings by now.
        stuffing.ringing = None;
        assert!(stuffing.look(link(1, 9999), NOW).recently_failing);
        assert!(!stuffing.look(link(3, 10), NOW).recently_failing);
        assert!(!stuffing.look(link(1, 9999), NOW + NAMES_WINDOW).recently_failing);
    }

    #[test]
    fn a_name_tried_from_many_networks_is_reported_once_a_day() {
        let mut stuffing = Stuffing::default();
        let told = |stuffing: &mut Stuffing, now| {
            (0..50).filter(|from| note(stuffing, *from, 1, Outcome::Failed, now).targeted).count()
        };
        assert_eq!(told(&mut stuffing, NOW), 1);
        assert_eq!(told(&mut stuffing, NOW + Duration::from_hours(3)), 0);
        assert_eq!(told(&mut stuffing, NOW + TELL_AGAIN), 1);
    }

    #[test]
    fn ten_networks_at_a_name_are_not_reported_and_an_eleventh_within_the_hour_is() {
        for (last, told) in [(Duration::from_secs(3599), true), (NETWORKS_WINDOW * 2, false)] {
            let mut stuffing = Stuffing::default();
            for round in 0..3 {
                assert!(
                    (0..10).all(|from| !note(&mut stuffing, from, 1, Outcome::Failed, NOW).targeted),
                    "{round}"
                );
            }
            assert_eq!(note(&mut stuffing, 10, 1, Outcome::Failed, NOW + last).targeted, told);
        }
    }

    #[test]
    fn the_alarm_needs_fifty_log_ins_in_five_minutes() {
        for (minutes, rings) in [(4, true), (5, false)] {
            let mut stuffing = Stuffing::default();
            assert!((0..49).all(|n| !note(&mut stuffing, n, n, Outcome::Failed, NOW).alarm));
            let later = NOW + Duration::from_mins(minutes);
            assert_eq!(note(&mut stuffing, 99, 99, Outcome::Failed, later).alarm, rings, "{minutes}");
        }
    }

    #[test]
    fn the_alarm_rings_during_an_attack_and_not_on_an_ordinary_day() {
        let mut stuffing = Stuffing::default();
        let mut now = NOW;
        let mut rang = 0;
        let minutes = |stuffing: &mut Stuffing, now: &mut Timestamp, count: u32, failing: u32| {
            let mut rang = 0;
            for _ in 0..count {
                for n in 0..40 {
                    let outcome = if n % 10 < failing { Outcome::Failed } else { Outcome::Succeeded };
                    rang += u32::from(note(stuffing, n, n, outcome, *now).alarm);
                }
                *now = *now + Duration::from_mins(1);
            }
            rang
        };
        rang += minutes(&mut stuffing, &mut now, 300, 2);
        assert!(rang == 0 && (0.19..0.22).contains(&stuffing.mean()), "{} {}", rang, stuffing.mean());
        let calm = stuffing.mean();
        assert_eq!(minutes(&mut stuffing, &mut now, 120, 9), 1);
        assert!(stuffing.rings() && (stuffing.mean() - calm).abs() < 0.1, "{}", stuffing.mean());
        // Networks with a recent log-in go on as before; unknown ones wait.
        assert!(stuffing.look(network(99_999), now - Duration::from_mins(1)).recently_failing);
        assert_eq!(minutes(&mut stuffing, &mut now, 20, 2), 0);
        assert!(!stuffing.rings());
    }

    #[test]
    fn a_million_names_and_networks_stay_within_24_mebibytes() {
        let mut stuffing = Stuffing::default();
        for number in 0..1_000_000 {
            note(&mut stuffing, number, number, Outcome::Failed, NOW);
        }
        assert!((16 << 20..=24 << 20).contains(&stuffing.bytes()), "{}", stuffing.bytes());
        assert!(Stuffing::default().bytes() < 1 << 17);
    }
}
