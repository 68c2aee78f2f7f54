//! Floods of every event, from one network, from many and at accounts.

use std::net::IpAddr;

use super::*;
use crate::registry::account::record::AccountV1;
use crate::registry::account::{AccountV4, Status};
use crate::value::id::{AccountId, Slot};

/// Bytes of a line in both logs together, at most.
const LINE_BYTES: usize = 520;

/// The network with the number `number`, of as many sites.
fn network(number: u32) -> Network {
    Network::of(IpAddr::from((0x0b00_0000 + number * 256).to_be_bytes()))
}

fn stranger(event: Event, number: u32) -> Note {
    Note::new(event).from(network(number), "0123456789abcdef01234567")
}

fn at_account(event: Event, number: u32) -> Note {
    let mut note = stranger(event, 0).about(&format!("account {number}"));
    note.names_account = true;
    note
}

/// Events, and the lines and sums that were written for them.
#[derive(Debug, Default)]
struct Flood {
    lines: usize,
    sums: Vec<Line>,
}

impl Flood {
    /// Sends `count` events within `time`, and lets the minute after them pass.
    fn of(count: u32, time: Duration, note: impl Fn(u32) -> Note) -> Self {
        let start = Instant::from_clock();
        let mut fold = Fold::new(start);
        let mut flood = Self::default();
        for number in 0..count {
            let now = start + time / count * number;
            flood.lines += usize::from(fold.admits(&note(number), false, now));
            if number % 1000 == 0 {
                flood.sums.extend(fold.sum_up(now, false));
            }
            assert!(fold.cells.len() <= CELLS_MAX);
        }
        flood.sums.extend(fold.sum_up(start + time, false));
        flood.sums.extend(fold.sum_up(start + time + WINDOW, true));
        assert_eq!(fold.cells.len(), 0);
        let folded: u64 = flood.sums.iter().map(|line| line.folded).sum();
        assert_eq!(flood.lines as u64 + folded, u64::from(count), "every event is in a line or in a sum");
        flood
    }

    fn written(&self) -> usize {
        (self.lines + self.sums.len()) * LINE_BYTES
    }
}

/// Some moment. Tests must not read the clock of the system, and cannot make up an instant.
trait FromClock {
    fn from_clock() -> Instant;
}

impl FromClock for Instant {
    fn from_clock() -> Instant {
        use crate::system::clock::{Clock, Timestamp};
        Clock::manual(Timestamp::from_secs(1_800_000_000)).steady()
    }
}

const TEN_SECS: Duration = Duration::from_secs(10);

#[test]
fn one_network_has_five_lines_a_minute_and_a_sum() {
    let flood = Flood::of(100_000, TEN_SECS, |_| stranger(Event::TokenRejected, 1));
    assert_eq!(flood.lines, 5);
    assert_eq!(flood.sums.len(), 1);
    assert_eq!(flood.sums[0].folded, 99_995);
    assert_eq!(flood.sums[0].network, network(1).to_net().to_string());
    let flood = Flood::of(100_000, Duration::from_mins(10), |_| stranger(Event::TokenRejected, 1));
    assert_eq!((flood.lines, flood.sums.len()), (50, 10));
}

#[test]
fn ever_new_networks_and_sites_share_the_lines_of_strangers() {
    let flood = Flood::of(400_000, TEN_SECS, |number| stranger(Event::TokenRejected, number));
    assert_eq!(flood.lines, STRANGERS_LINES as usize);
    assert_eq!(flood.sums.len(), 1);
    assert_eq!(flood.sums[0].reason, "of any network");
    // Networks of one site share the lines of the site.
    let one_site = |number: u32| {
        let address = IpAddr::from((0x0b00_0000 + number % 200).to_be_bytes());
        Note::new(Event::CsrfRejected).from(Network::of(address), "")
    };
    let flood = Flood::of(100_000, TEN_SECS, one_site);
    assert_eq!(flood.lines, SITE_LINES as usize);
    assert!(flood.sums.len() <= 2 + SITE_LINES as usize, "{:?}", flood.sums);
    // Just enough of each network for a sum of its own.
    let flood = Flood::of(60_000, TEN_SECS, |number| stranger(Event::SessionMoved, number / 6));
    assert!(flood.lines + flood.sums.len() <= 2 * STRANGERS_LINES as usize + 1);
}

#[test]
fn all_events_together_have_two_hundred_lines_a_second() {
    let strangers: Vec<Event> = Event::ALL.into_iter().filter(|e| e.cause() <= Cause::AtAccount).collect();
    let event = |number: u32| strangers[number as usize % strangers.len()];
    let burst = Duration::from_millis(900);
    let flood = Flood::of(100_000, burst, |number| at_account(event(number), number));
    assert!(flood.lines <= LINES_A_SECOND as usize, "{}", flood.lines);
    let flood = Flood::of(100_000, burst, |number| stranger(event(number), number));
    assert!(flood.lines <= LINES_A_SECOND as usize, "{}", flood.lines);
}

#[test]
fn a_flood_of_any_event_of_strangers_writes_at_most_two_bytes_for_each() {
    for event in Event::ALL.into_iter().filter(|event| event.cause() <= Cause::AtAccount) {
        for of in [1, 7, 256, 5000, u32::MAX] {
            let flood = Flood::of(100_000, TEN_SECS, |number| stranger(event, number % of));
            assert!(flood.written() <= 200_000, "{} of {of}: {} bytes", event.name(), flood.written());
        }
    }
}

#[test]
fn lines_at_accounts_are_bounded_by_the_account_and_strangers_do_not_use_them_up() {
    let flood = Flood::of(10_000, TEN_SECS, |_| at_account(Event::LoginFailed, 1));
    assert_eq!((flood.lines, flood.sums.len()), (5, 1));
    assert_eq!(flood.sums[0].subject, "account 1");
    let start = Instant::from_clock();
    let mut fold = Fold::new(start);
    for number in 0..100_000 {
        fold.admits(&stranger(Event::LoginFailed, number), false, start);
    }
    let later = start + Duration::from_secs(1);
    assert!(fold.admits(&at_account(Event::LoginFailed, 1), false, later));
    let flood = Flood::of(100_000, TEN_SECS, |number| at_account(Event::ResetRequested, number));
    assert!(flood.lines <= ACCOUNTS_LINES as usize);
}

#[test]
fn holders_are_bounded_each_alone_and_together_once_there_are_too_many() {
    let holder = |number: u32| Note::new(Event::RefreshRotated).about(&number);
    let flood = Flood::of(10_000, TEN_SECS, |_| holder(1));
    assert_eq!((flood.lines, flood.sums.len()), (HOLDER_LINES as usize, 1));
    let flood = Flood::of(1_000, TEN_SECS, holder);
    assert_eq!(flood.lines, 1_000);
    let flood = Flood::of(100_000, TEN_SECS, holder);
    assert_eq!(flood.lines, CELLS_MAX + HOLDERS_LINES as usize);
}

#[test]
fn operators_are_never_folded() {
    let start = Instant::from_clock();
    let mut fold = Fold::new(start);
    fold.set_low(true);
    for _ in 0..1000 {
        assert!(fold.admits(&Note::new(Event::KeyRotated), false, start));
        assert!(fold.admits(&Note::new(Event::SessionRevoked).by_operator("ada", ""), true, start));
    }
}

#[test]
fn while_space_is_low_changes_alone_have_lines_and_the_rest_is_told_afterwards() {
    let start = Instant::from_clock();
    let mut fold = Fold::new(start);
    let failed = at_account(Event::LoginFailed, 1);
    for _ in 0..7 {
        fold.admits(&failed, false, start);
    }
    fold.set_low(true);
    assert!(!fold.admits(&at_account(Event::LoginFailed, 2), false, start));
    assert!(fold.admits(&Note::new(Event::PasswordChanged).about(&1), true, start));
    assert_eq!(fold.sum_up(start + WINDOW, false), []);
    fold.set_low(false);
    let sums = fold.sum_up(start + WINDOW, false);
    assert_eq!(sums.len(), 1);
    assert_eq!((sums[0].folded, sums[0].event.as_str()), (3, "login.failed"));
}

#[test]
fn what_is_only_counted_has_one_sum_a_minute() {
    let start = Instant::from_clock();
    let mut fold = Fold::new(start);
    let mut sums = Vec::new();
    for second in 0..180 {
        fold.add_counted(Event::Throttled, 40_000);
        sums.extend(fold.sum_up(start + Duration::from_secs(second), false));
    }
    sums.extend(fold.sum_up(start + Duration::from_mins(3), true));
    let told: Vec<_> = sums.iter().map(|line| (line.event.as_str(), line.reason.as_str())).collect();
    assert_eq!(told, [("request.throttled", "of any network"); 3]);
    assert_eq!(sums.iter().map(|line| line.folded).sum::<u64>(), 180 * 40_000);
    assert_eq!(fold.sum_up(start + Duration::from_mins(9), true), []);
}

#[test]
fn an_account_in_a_note_is_told_apart_from_a_name_without_one() {
    let account: AccountV4 = AccountV1 {
        id: AccountId::mint(Slot::ALL.start().to_owned(), [1; 14]),
        name_key: [1; 16],
        email: "ada@test.org".into(),
        email_verified: true,
        name: None,
        phc: None,
        roles: Vec::new(),
        status: Status::Active,
        auth_epoch: 0,
        created_ms: 0,
    }
    .into();
    assert!(Note::new(Event::LoginFailed).for_account(Some(&account)).names_account);
    assert!(!Note::new(Event::LoginFailed).for_account(None).names_account);
}
