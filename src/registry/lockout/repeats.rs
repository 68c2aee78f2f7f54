//! The last wrong passwords of names, as keyed digests and in memory alone: a client that repeats one wrong password
//! for ever must not lock the owner out.

use std::collections::HashMap;
use std::time::Duration;

use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;

/// The most names whose wrong passwords are remembered.
const NAMES_MAX: usize = 100_000;
/// The most wrong passwords of one name.
const EACH_MAX: usize = 8;
const WINDOW: Duration = Duration::from_mins(10);

/// The wrong passwords of the last minutes.
#[derive(Default)]
pub(super) struct Repeats(HashMap<NameKey, Vec<([u8; 8], Timestamp)>>);

impl Repeats {
    /// Says whether the same password was wrong for `name` within the last ten minutes.
    pub(super) fn has(&self, name: NameKey, password: [u8; 8], now: Timestamp) -> bool {
        let seen = self.0.get(&name).into_iter().flatten();
        seen.into_iter().any(|(seen, at)| *seen == password && now.since(*at) < WINDOW)
    }

    /// Remembers a wrong password for ten minutes.
    pub(super) fn note(&mut self, name: NameKey, password: [u8; 8], now: Timestamp) {
        if self.0.len() >= NAMES_MAX {
            // Forgetting costs a client that repeats itself one more failure; growing would cost the server memory.
            self.0.clear();
        }
        let passwords = self.0.entry(name).or_default();
        passwords.retain(|(seen, at)| *seen != password && now.since(*at) < WINDOW);
        if passwords.len() < EACH_MAX {
            passwords.push((password, now));
        }
    }

    /// Forgets the passwords whose ten minutes are over.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|_, seen| seen.iter().any(|(_, at)| now.since(*at) < WINDOW));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_password_is_remembered_for_ten_minutes_in_bounded_memory() {
        let mut repeats = Repeats::default();
        let now = Timestamp::from_secs(1_800_000_000);
        let name = |number: u32| NameKey(std::array::from_fn(|at| number.to_le_bytes()[at % 4]));
        repeats.note(name(1), [1; 8], now);
        assert!(repeats.has(name(1), [1; 8], now));
        assert!(!repeats.has(name(1), [2; 8], now));
        assert!(!repeats.has(name(2), [1; 8], now));
        assert!(!repeats.has(name(1), [1; 8], now + WINDOW));
        repeats.sweep(now + WINDOW);
        assert!(repeats.0.is_empty());
        (0..250_000).for_each(|number| repeats.note(name(number), [1; 8], now));
        (0..100).for_each(|number| repeats.note(name(1), [number; 8], now));
        assert!(repeats.0.len() <= NAMES_MAX);
        assert!(repeats.0[&name(1)].len() <= EACH_MAX);
    }
}
