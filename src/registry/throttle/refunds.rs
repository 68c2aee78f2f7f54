//! How many successes are given back: five a minute for each account. Who succeeds more often than that
//! pays for it like anybody else, or one account would open the server to as many requests as its owner likes.

use std::collections::HashMap;

use crate::system::clock::Timestamp;

/// The most charges that one account is given back in a minute.
pub const REFUNDS_MAX: u8 = 5;
/// The most accounts and families that are given back anything in one minute. No other one is.
const PAYEES_MAX: usize = 65_536;

/// The refunds of the present minute.
#[derive(Default)]
pub struct Refunds {
    minute: u64,
    given: HashMap<[u8; 16], u8>,
}

impl Refunds {
    /// Says whether `payee` may be given back a charge at `now`, and counts it if so.
    pub fn allows(&mut self, payee: [u8; 16], now: Timestamp) -> bool {
        let minute = now.as_secs() / 60;
        if minute != self.minute {
            self.minute = minute;
            self.given.clear();
        }
        if self.given.len() >= PAYEES_MAX && !self.given.contains_key(&payee) {
            return false;
        }
        let given = self.given.entry(payee).or_default();
        let is_allowed = *given < REFUNDS_MAX;
        *given += u8::from(is_allowed);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn five_a_minute_are_given_back_and_memory_is_bounded() {
        let mut refunds = Refunds::default();
        let now = Timestamp::from_secs(1_800_000_000);
        let given = |refunds: &mut Refunds, now| (0..20).filter(|_| refunds.allows([1; 16], now)).count();
        assert_eq!(given(&mut refunds, now), 5);
        assert!(refunds.allows([2; 16], now));
        assert_eq!(given(&mut refunds, now + Duration::from_secs(59)), 0);
        assert_eq!(given(&mut refunds, now + Duration::from_mins(1)), 5);
        for number in 0..200_000_u128 {
            refunds.allows(number.to_le_bytes(), now);
        }
        assert!(refunds.given.len() <= PAYEES_MAX);
        assert!(!refunds.allows([9; 16], now));
    }
}
