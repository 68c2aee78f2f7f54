//! Mails to an address that are kept for accounts which have not had one there within a day.
//!
//! Who wants to keep the owner of an account from moving to an address asks for it with accounts of their own, until the
//! hour's mails to it are used up, and so on each hour. So some mails a day are kept for accounts that ask for the first
//! time, and most of them for accounts of some age: an attacker would have to have made as many accounts, each with an
//! address of its own, as long ago.
//!
//! Kept in memory alone: a restart forgives at most one day's mails.

use std::collections::HashMap;
use std::time::Duration;

use crate::system::clock::Timestamp;

const DAY: Duration = Duration::from_hours(24);
/// The mails of a day that are kept for accounts of at least this age.
pub const KEPT: [(Duration, usize); 3] =
    [(DAY, 4), (DAY.saturating_mul(30), 4), (DAY.saturating_mul(365), 4)];
/// The most addresses that are remembered. Beyond it nothing is kept for others.
pub const ADDRESSES_MAX: usize = 100_000;

/// An account that asks for an address.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Its id.
    pub account: [u8; 16],
    /// When it was made.
    pub since: Timestamp,
}

/// A kept mail that was sent.
#[derive(Debug)]
struct Sent {
    at: Timestamp,
    account: [u8; 16],
    /// The place of the age in [`KEPT`].
    age: usize,
}

/// The kept mails of the last day, by address.
#[derive(Debug, Default)]
pub struct FirstAsks {
    by_address: HashMap<[u8; 16], Vec<Sent>>,
}

impl FirstAsks {
    /// Says whether a mail to `address` is kept for `asker` at `now`.
    pub fn has_one_for(&self, address: [u8; 16], asker: Asker, now: Timestamp) -> bool {
        self.age_of(address, asker, now).is_some()
    }

    /// Counts a kept mail, which was sent.
    pub fn count(&mut self, address: [u8; 16], asker: Asker, now: Timestamp) {
        if let Some(age) = self.age_of(address, asker, now) {
            let sent = self.by_address.entry(address).or_default();
            sent.retain(|sent| is_lately(sent.at, now));
            sent.push(Sent { at: now, account: asker.account, age });
        }
    }

    /// Returns the place in [`KEPT`] of the highest age at which a mail is left for `asker`.
    fn age_of(&self, address: [u8; 16], asker: Asker, now: Timestamp) -> Option<usize> {
        let sent = match self.by_address.get(&address) {
            Some(sent) => sent.as_slice(),
            None if self.by_address.len() < ADDRESSES_MAX => &[],
            None => return None,
        };
        let lately = || sent.iter().filter(|sent| is_lately(sent.at, now));
        if lately().any(|sent| sent.account == asker.account) {
            return None;
        }
        let ages = KEPT.iter().enumerate().rev();
        let mut fitting = ages.filter(|(_, (least, _))| now.since(asker.since) >= *least);
        let left = fitting.find(|(age, (_, most))| lately().filter(|sent| sent.age == *age).count() < *most);
        left.map(|(age, _)| age)
    }

    /// Forgets what is older than a day.
    pub fn sweep(&mut self, now: Timestamp) {
        self.by_address.retain(|_, sent| sent.iter().any(|sent| is_lately(sent.at, now)));
    }
}

fn is_lately(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const ADDRESS: [u8; 16] = [7; 16];

    fn asks(asks: &mut FirstAsks, number: u32, days: u32, now: Timestamp) -> bool {
        let mut account = [0; 16];
        account[..4].copy_from_slice(&number.to_le_bytes());
        let since = Timestamp(now.as_millis() - (DAY * days).as_millis() as u64);
        let asker = Asker { account, since };
        let has_one = asks.has_one_for(ADDRESS, asker, now);
        asks.count(ADDRESS, asker, now);
        has_one
    }

    #[test]
    fn an_account_has_one_kept_mail_a_day_to_an_address_and_those_of_an_age_have_four() {
        let mut first = FirstAsks::default();
        assert!(!asks(&mut first, 0, 0, NOW), "made within the day");
        assert!(asks(&mut first, 1, 2, NOW));
        assert!(!asks(&mut first, 1, 2, NOW), "a second one within the day");
        assert_eq!((2..20).filter(|number| asks(&mut first, *number, 2, NOW)).count(), 3);
        assert_eq!((20..40).filter(|number| asks(&mut first, *number, 31, NOW)).count(), 4);
        assert_eq!((40..60).filter(|number| asks(&mut first, *number, 400, NOW)).count(), 4);
        assert!(asks(&mut first, 1, 3, NOW + DAY));
        first.sweep(NOW + DAY * 2);
        assert!(first.by_address.is_empty());
    }

    #[test]
    fn an_old_account_takes_the_mails_of_young_ones_last() {
        let mut first = FirstAsks::default();
        assert_eq!((0..20).filter(|number| asks(&mut first, *number, 400, NOW)).count(), 12);
        let mut first = FirstAsks::default();
        assert_eq!((0..4).filter(|number| asks(&mut first, *number, 400, NOW)).count(), 4);
        assert_eq!((4..20).filter(|number| asks(&mut first, *number, 2, NOW)).count(), 4);
    }

    #[test]
    fn the_memory_for_kept_mails_is_bounded() {
        let mut first = FirstAsks::default();
        let asker = Asker { account: [1; 16], since: Timestamp(0) };
        for number in 0..=ADDRESSES_MAX as u128 {
            first.count(number.to_le_bytes(), asker, NOW);
        }
        assert_eq!(first.by_address.len(), ADDRESSES_MAX);
        assert!(!first.has_one_for([9; 16], asker, NOW));
    }
}
