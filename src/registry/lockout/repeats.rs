//! The last wrong passwords of names, as keyed digests and in memory alone: a program that repeats one wrong password
//! for ever must not lock the owner out, however seldom it tries.

use std::collections::HashMap;
use std::time::Duration;

use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;

/// The most names whose wrong passwords are remembered, of each generation.
const NAMES_MAX: usize = 50_000;
/// The most wrong passwords of one name.
const EACH_MAX: usize = 8;
const WINDOW: Duration = Duration::from_hours(24);

/// The wrong passwords of one name, each with the time of its last try, the latest last.
type Passwords = Vec<([u8; 8], Timestamp)>;

/// The wrong passwords of the last day.
///
/// Security: a repeat tells nobody anything, since the password is known to be wrong. Names with and without an account
/// are remembered alike.
#[derive(Default)]
pub(super) struct Repeats {
    /// The names that failed last.
    young: HashMap<NameKey, Passwords>,
    /// Those that failed before. When the young ones are too many, these are forgotten and the young ones take their
    /// place: a program that comes back before as many names have failed is remembered.
    old: HashMap<NameKey, Passwords>,
}

impl Repeats {
    /// Says whether the same password was wrong for `name` within the last day.
    pub(super) fn has(&self, name: NameKey, password: [u8; 8], now: Timestamp) -> bool {
        let seen = self.young.get(&name).or_else(|| self.old.get(&name)).into_iter().flatten();
        seen.into_iter().any(|(seen, at)| *seen == password && is_lately(*at, now))
    }

    /// Remembers a wrong password for a day from now on. Of too many, the one tried longest ago is forgotten.
    pub(super) fn note(&mut self, name: NameKey, password: [u8; 8], now: Timestamp) {
        let mut passwords = self.young.remove(&name).or_else(|| self.old.remove(&name)).unwrap_or_default();
        passwords.retain(|(seen, at)| *seen != password && is_lately(*at, now));
        if passwords.len() >= EACH_MAX {
            passwords.remove(0);
        }
        passwords.push((password, now));
        if self.young.len() >= NAMES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, passwords);
    }

    /// Forgets the names whose day is over.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        for names in [&mut self.young, &mut self.old] {
            names.retain(|_, seen| seen.iter().any(|(_, at)| is_lately(*at, now)));
        }
    }
}

fn is_lately(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn name(number: u32) -> NameKey {
        NameKey(std::array::from_fn(|at| number.to_le_bytes()[at % 4]))
    }

    #[test]
    fn a_wrong_password_is_remembered_for_a_day_after_its_last_try() {
        let mut repeats = Repeats::default();
        repeats.note(name(1), [1; 8], NOW);
        assert!(repeats.has(name(1), [1; 8], NOW));
        assert!(!repeats.has(name(1), [2; 8], NOW));
        assert!(!repeats.has(name(2), [1; 8], NOW));
        let again = NOW + WINDOW / 2;
        repeats.note(name(1), [1; 8], again);
        assert!(repeats.has(name(1), [1; 8], NOW + WINDOW));
        assert!(!repeats.has(name(1), [1; 8], again + WINDOW));
        repeats.sweep(NOW + WINDOW);
        assert_eq!(repeats.young.len(), 1);
        repeats.sweep(again + WINDOW);
        assert!(repeats.young.is_empty());
    }

    #[test]
    fn a_password_that_comes_back_is_remembered_in_bounded_memory() {
        let mut repeats = Repeats::default();
        // Guesses at the same name, between two tries of the owner's program.
        for guess in 0..100 {
            if guess % 8 == 0 {
                repeats.note(name(0), [255; 8], NOW);
            }
            assert!(repeats.has(name(0), [255; 8], NOW), "{guess}");
            repeats.note(name(0), [guess; 8], NOW);
        }
        assert_eq!(repeats.young[&name(0)].len(), EACH_MAX);
        // Failures at other names.
        for number in 1..250_000 {
            if number % NAMES_MAX as u32 == 0 {
                assert!(repeats.has(name(0), [255; 8], NOW), "{number}");
                repeats.note(name(0), [255; 8], NOW);
            }
            repeats.note(name(number), [1; 8], NOW);
        }
        assert!(repeats.young.len() <= NAMES_MAX);
        assert!(repeats.old.len() <= NAMES_MAX);
        repeats.sweep(NOW + WINDOW);
        assert!(repeats.young.is_empty());
        assert!(repeats.old.is_empty());
    }
}
