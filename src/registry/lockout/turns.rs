//! The log-ins of one name that are in flight, and those that wait for them. In memory alone: an attempt that a crash
//! leaves unsettled stays charged.
//!
//! **The attack:** guesses are sent in parallel, so that many are judged before the first one counts. **The harm that
//! the defence must not do:** a charge in flight counts as a failure, so that honest log-ins at the same time would be
//! refused for a lock that nobody has earned.
//!
//! **The rule:** of each name at most four attempts of strangers are in flight, and at most four of known devices. Up to
//! twelve more of the strangers wait, and up to twelve of each device; a further one is refused for a second. Where devices
//! wait, the one that has fewest attempts before it goes first, so that a thief of many cookies delays the owner by no
//! more than his cookies' first attempts.
//!
//! ```text
//!   arrive ──▶ four in flight? ──no──▶ in flight ──▶ settled, or the client is gone
//!                │yes                   │  ▲
//!                ▼          step back ──┘  │ one of the same name is settled
//!     twelve wait? ──no──▶ waiting ────────┘
//!         │yes
//!         ▼
//!      refused
//! ```

use std::collections::HashMap;

use crate::system::seeded_bug::{Bug, seeded};
use crate::value::account_name::NameKey;

/// The most attempts of strangers at one name in flight at once, and of its known devices likewise.
pub const IN_FLIGHT_MAX: usize = 4;
/// The most attempts of strangers at one name, or of one device, that wait.
pub const WAITING_MAX: usize = 12;

/// Whose attempts share a limit: those of one device or session, or those of all strangers (`None`).
pub type Party = Option<[u8; 8]>;

/// Too many attempts of the party are waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Crowded;

/// The answer to an attempt that arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// It is in flight.
    Goes,
    /// It is woken when its turn comes.
    Waits,
}

struct Waiting<W> {
    party: Party,
    /// Attempts of the same party before it when it came.
    behind: usize,
    number: u64,
    waker: W,
}

/// The attempts at one name.
struct NameTurns<W> {
    in_flight: Vec<Party>,
    waiting: Vec<Waiting<W>>,
}

/// The attempts at all names. `W` wakes an attempt that waits.
pub struct Turns<W> {
    by_name: HashMap<NameKey, NameTurns<W>>,
    last_number: u64,
}

impl<W> Default for Turns<W> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), last_number: 0 }
    }
}

impl<W> NameTurns<W> {
    fn in_flight_of(&self, party: Party) -> usize {
        self.in_flight.iter().filter(|other| **other == party).count()
    }

    fn waiting_of(&self, party: Party) -> usize {
        self.waiting.iter().filter(|waiting| waiting.party == party).count()
    }

    /// Says whether another attempt of `party` may be in flight: strangers have places of their own.
    fn has_place(&self, party: Party) -> bool {
        let of_its_kind = self.in_flight.iter().filter(|other| other.is_some() == party.is_some());
        of_its_kind.count() < IN_FLIGHT_MAX || seeded(Bug::KnownLaneByNetwork)
    }

    fn wait(&mut self, party: Party, behind: usize, number: u64, waker: W) {
        self.waiting.push(Waiting { party, behind, number, waker });
    }

    /// Takes the next attempt that may go, and counts it as in flight.
    fn next(&mut self) -> Option<(Party, W)> {
        let places = self.waiting.iter().enumerate().filter(|(_, waiting)| self.has_place(waiting.party));
        let (at, _) = places.min_by_key(|(_, waiting)| (waiting.behind, waiting.number))?;
        let Waiting { party, waker, .. } = self.waiting.remove(at);
        self.in_flight.push(party);
        Some((party, waker))
    }

    fn leave(&mut self, party: Party) {
        if let Some(at) = self.in_flight.iter().position(|other| *other == party) {
            self.in_flight.swap_remove(at);
        }
    }
}

impl<W> Turns<W> {
    /// Counts an attempt of `party` as in flight, or lets it wait. `waker` is kept only if it waits.
    ///
    /// Errors: [`Crowded`] if too many of the party wait already.
    pub fn arrive(
        &mut self,
        name: NameKey,
        party: Party,
        waker: impl FnOnce() -> W,
    ) -> Result<Arrival, Crowded> {
        let turns = self
            .by_name
            .entry(name)
            .or_insert_with(|| NameTurns { in_flight: Vec::new(), waiting: Vec::new() });
        let waiting = turns.waiting_of(party);
        if waiting == 0 && turns.has_place(party) {
            turns.in_flight.push(party);
            return Ok(Arrival::Goes);
        }
        // One that has stepped back had a place in flight, and takes none of those that wait.
        let stepped_back = turns.waiting.iter().filter(|other| other.party == party && other.number == 0);
        if waiting - stepped_back.count() >= WAITING_MAX {
            return Err(Crowded);
        }
        self.last_number += 1;
        let behind = waiting + turns.in_flight_of(party);
        turns.wait(party, behind, self.last_number, waker());
        Ok(Arrival::Waits)
    }

    /// Lets an attempt in flight wait until another one of its name is settled. Returns false if there is none: then it
    /// stays in flight.
    pub fn step_back(&mut self, name: NameKey, party: Party, waker: impl FnOnce() -> W) -> bool {
        let Some(turns) = self.by_name.get_mut(&name).filter(|turns| turns.in_flight.len() > 1) else {
            return false;
        };
        turns.leave(party);
        // Before those that came after it.
        turns.wait(party, 0, 0, waker());
        true
    }

    /// Ends an attempt in flight, and wakes those that may go now. `wake` returns false if an attempt is gone.
    pub fn leave(&mut self, name: NameKey, party: Party, wake: impl Fn(W) -> bool) {
        let Some(turns) = self.by_name.get_mut(&name) else { return };
        turns.leave(party);
        while let Some((party, waker)) = turns.next() {
            if !wake(waker) {
                turns.leave(party);
            }
        }
        if turns.in_flight.is_empty() {
            // No attempt waits either, since none was in flight.
            self.by_name.remove(&name);
        }
    }

    /// Returns how many other attempts at the name are in flight, and how many of them are of `party`, for one that is
    /// in flight itself.
    pub fn others(&self, name: NameKey, party: Party) -> (usize, usize) {
        let turns = self.by_name.get(&name);
        let all = turns.map_or(0, |turns| turns.in_flight.len());
        let own = turns.map_or(0, |turns| turns.in_flight_of(party));
        (all.saturating_sub(1), own.saturating_sub(1))
    }

    /// Returns how many names have attempts in flight.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Says whether no attempt is in flight.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    const NAME: NameKey = NameKey([7; 16]);

    fn leave(turns: &mut Turns<u32>, party: Party) -> Vec<u32> {
        let woken = RefCell::new(Vec::new());
        turns.leave(NAME, party, |waker| {
            woken.borrow_mut().push(waker);
            true
        });
        woken.into_inner()
    }

    #[test]
    fn four_go_twelve_wait_in_order_and_a_further_one_is_refused() {
        let mut turns = Turns::default();
        for number in 0..4 {
            assert_eq!(turns.arrive(NAME, None, || number), Ok(Arrival::Goes));
        }
        for number in 4..16 {
            assert_eq!(turns.arrive(NAME, None, || number), Ok(Arrival::Waits));
        }
        assert_eq!(turns.arrive(NAME, None, || 16), Err(Crowded));
        // Strangers do not keep a device out, and devices take turns among themselves.
        assert_eq!(turns.arrive(NAME, Some([1; 8]), || 20), Ok(Arrival::Goes));
        assert_eq!(turns.others(NAME, None), (4, 3));
        assert_eq!(leave(&mut turns, None), [4]);
        assert_eq!(leave(&mut turns, None), [5]);
        leave(&mut turns, Some([1; 8]));
        for _ in 0..14 {
            leave(&mut turns, None);
        }
        assert!(turns.is_empty());
    }

    #[test]
    fn one_that_steps_back_takes_no_place_of_those_that_wait() {
        let mut turns = Turns::default();
        for number in 0..15 {
            turns.arrive(NAME, None, || number).unwrap();
        }
        assert!(turns.step_back(NAME, None, || 3));
        assert_eq!(turns.arrive(NAME, None, || 15), Ok(Arrival::Waits));
        assert_eq!(turns.arrive(NAME, None, || 16), Err(Crowded));
    }

    #[test]
    fn the_owners_device_goes_before_the_second_attempts_of_stolen_ones() {
        let mut turns = Turns::default();
        for thief in 1..=4 {
            for number in 0..8 {
                turns.arrive(NAME, Some([thief; 8]), || u32::from(thief) * 10 + number).unwrap();
            }
        }
        assert_eq!(turns.arrive(NAME, Some([9; 8]), || 99), Ok(Arrival::Waits));
        let woken: Vec<_> = (0..5).flat_map(|_| leave(&mut turns, Some([1; 8]))).collect();
        assert_eq!(woken[..4], [20, 30, 40, 99]);
    }

    #[test]
    fn one_that_steps_back_goes_when_another_is_settled_and_before_later_ones() {
        let mut turns = Turns::default();
        turns.arrive(NAME, None, || 0).unwrap();
        assert!(!turns.step_back(NAME, None, || 0));
        turns.arrive(NAME, None, || 1).unwrap();
        assert!(turns.step_back(NAME, None, || 1));
        assert_eq!(turns.arrive(NAME, None, || 2), Ok(Arrival::Waits));
        assert_eq!(leave(&mut turns, None), [1, 2]);
        assert_eq!(turns.others(NAME, None), (1, 1));
    }

    proptest! {
        /// Invariant: whoever arrives goes, waits or is refused; nobody waits while nobody is in flight; the limits hold;
        /// an attempt whose client is gone takes no place.
        #[test]
        fn nobody_waits_for_nobody(steps in prop::collection::vec((0_u8..4, 0_u8..3, any::<bool>()), 1..200)) {
            let mut turns: Turns<Party> = Turns::default();
            let mut in_flight: Vec<Party> = Vec::new();
            for (step, who, is_gone) in steps {
                let party = (who > 0).then_some([who; 8]);
                match step {
                    0 | 1 => {
                        if turns.arrive(NAME, party, || party) == Ok(Arrival::Goes) {
                            in_flight.push(party);
                        }
                    }
                    2 => {
                        if let Some(at) = in_flight.iter().position(|other| *other == party)
                            && turns.step_back(NAME, party, || party)
                        {
                            in_flight.swap_remove(at);
                        }
                    }
                    _ => {
                        if let Some(at) = in_flight.iter().position(|other| *other == party) {
                            in_flight.swap_remove(at);
                            let woken = RefCell::new(Vec::new());
                            turns.leave(NAME, party, |waker| {
                                if !is_gone {
                                    woken.borrow_mut().push(waker);
                                }
                                !is_gone
                            });
                            in_flight.extend(woken.into_inner());
                        }
                    }
                }
                for is_device in [false, true] {
                    let of_kind = in_flight.iter().filter(|party| party.is_some() == is_device).count();
                    prop_assert!(of_kind <= IN_FLIGHT_MAX);
                }
                match turns.by_name.get(&NAME) {
                    Some(name) => {
                        prop_assert_eq!(name.in_flight.len(), in_flight.len());
                        prop_assert!(!in_flight.is_empty());
                        prop_assert!(name.waiting_of(party) <= WAITING_MAX + IN_FLIGHT_MAX);
                    }
                    None => prop_assert!(in_flight.is_empty()),
                }
            }
        }
    }
}
