//! Decides which events get a line and which are only counted: refused requests must not fill a disk.
//!
//! **The attack:** requests that are refused cost nothing, and each of them writes a line. Forty thousand a second fill
//! a disk within minutes, and then the journal has no room for anybody's log-in.
//!
//! **The rule:** lines are counted in cells of one minute. An event gets a line if every cell that it belongs to has
//! room for one. Otherwise the cell without room counts it, and when the minute of that cell is over, one line tells
//! the number. That line needs room in the wider cells too, or else its number is added to theirs; the widest cell of an
//! event always tells its number.
//!
//! ```text
//!   a stranger:        network (5) ─▶ its /24 or /48 (20) ─▶ all strangers (40) ─▶ 200 a second
//!   at an account:     account (5) ─▶ all accounts (1200) ─▶ 200 a second
//!   a holder:          account, session or device (20)        without a cell: all holders (6000)
//! ```
//!
//! The number of cells is bounded. An event that finds no place for a cell of its own is judged by the wider ones.
//! Pure: time comes in with each call.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::event::{Cause, Event, Note};
use super::line::Line;
use crate::value::network::Network;

/// The time over which a cell counts.
pub const WINDOW: Duration = Duration::from_mins(1);
/// Lines of one event and one network within [`WINDOW`].
pub const NETWORK_LINES: u32 = 5;
/// Lines of one event and one IPv4 /24 or IPv6 /48.
pub const SITE_LINES: u32 = 20;
/// Lines of one event that strangers cause, of all networks together.
pub const STRANGERS_LINES: u32 = 40;
/// Lines of one event at one account.
pub const ACCOUNT_LINES: u32 = 5;
/// Lines of one event at all accounts together.
pub const ACCOUNTS_LINES: u32 = 1200;
/// Lines of one event of the holder of one account, session or device.
pub const HOLDER_LINES: u32 = 20;
/// Lines of one event of all holders that have no cell of their own.
pub const HOLDERS_LINES: u32 = 6000;
/// Lines a second of all events that strangers cause.
pub const LINES_A_SECOND: u32 = 200;
/// Maximum number of cells beside the widest ones. Each takes at most about 200 bytes.
pub const CELLS_MAX: usize = 16_384;

/// Whose lines a cell counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Of {
    /// A network or the wide one around it.
    Network(Network),
    /// An account, a session or a device, by a keyed hash of its id.
    Name(u64),
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    event: Event,
    of: Of,
}

/// The widest cells of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Crowd {
    Strangers,
    Accounts,
    Holders,
}

impl Crowd {
    const ALL: [Self; 3] = [Self::Strangers, Self::Accounts, Self::Holders];

    const fn lines(self) -> u32 {
        match self {
            Self::Strangers => STRANGERS_LINES,
            Self::Accounts => ACCOUNTS_LINES,
            Self::Holders => HOLDERS_LINES,
        }
    }

    /// The text that a line of this cell has in common for all its events.
    const fn reason(self) -> &'static str {
        match self {
            Self::Strangers => "of any network",
            Self::Accounts => "at any account",
            Self::Holders => "of any holder",
        }
    }
}

/// The cells that an event belongs to, narrow to wide.
struct Chain {
    event: Event,
    /// Cells of the event, and how many lines each has.
    narrow: [Option<(Of, u32)>; 2],
    crowd: Crowd,
}

/// The lines and the events without one within a minute.
#[derive(Debug)]
struct Cell {
    since: Instant,
    lines: u32,
    folded: u64,
    /// The text of the line that sums up the folded events.
    about: Option<Box<About>>,
    crowd: Crowd,
}

/// The key of a cell: the properties that its events share.
#[derive(Debug, Default)]
struct About {
    subject: String,
    email: String,
    device: String,
}

impl Cell {
    const fn new(since: Instant, crowd: Crowd) -> Self {
        Self { since, lines: 0, folded: 0, about: None, crowd }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

/// The cells of a log.
#[derive(Debug)]
pub(super) struct Fold {
    cells: HashMap<Key, Cell>,
    /// The widest cells: for each event one of each [`Crowd`].
    crowds: Vec<[Cell; 3]>,
    /// The current second and the lines within it.
    second: (Instant, u32),
    /// Lines that tell the numbers of cells whose minute is over.
    due: Vec<Line>,
    /// Whether there is so little space that nothing but numbers is kept.
    is_low: bool,
    hasher: RandomState,
}

impl Fold {
    /// Creates the cells of a log at `now`.
    pub(super) fn new(now: Instant) -> Self {
        let crowds = Event::ALL.iter().map(|_| Crowd::ALL.map(|crowd| Cell::new(now, crowd))).collect();
        Self {
            cells: HashMap::new(),
            crowds,
            second: (now, 0),
            due: Vec::new(),
            is_low: false,
            hasher: RandomState::new(),
        }
    }

    /// Sets whether there is too little space for lines of events that change nothing.
    pub(super) const fn set_low(&mut self, is_low: bool) {
        self.is_low = is_low;
    }

    /// Says whether the event of `note` gets a line. Otherwise it is counted. An event that changes permissions or
    /// credentials (`is_change`) gets its line also while space is low.
    pub(super) fn admits(&mut self, note: &Note, is_change: bool, now: Instant) -> bool {
        let Some(chain) = self.chain_of(note) else { return true };
        if self.is_low && !is_change {
            self.crowd(chain.event, chain.crowd).folded += 1;
            return false;
        }
        let mut has_cell = false;
        for (of, lines) in chain.narrow.into_iter().flatten() {
            let key = Key { event: chain.event, of };
            let Some(cell) = self.cell(key, chain.crowd, now) else { continue };
            has_cell = true;
            if cell.lines >= lines {
                cell.folded += 1;
                let line = &note.line;
                let about = || {
                    let Line { subject, email, device, .. } = line.clone();
                    Box::new(About { subject, email, device })
                };
                if matches!(of, Of::Name(_)) {
                    cell.about.get_or_insert_with(about);
                }
                return false;
            }
        }
        let is_alone = chain.crowd == Crowd::Holders && has_cell;
        let is_admitted = is_alone || self.crowd_admits(&chain, now);
        if !is_admitted {
            self.crowd(chain.event, chain.crowd).folded += 1;
            return false;
        }
        for (of, _) in chain.narrow.into_iter().flatten() {
            if let Some(cell) = self.cells.get_mut(&Key { event: chain.event, of }) {
                cell.lines += 1;
            }
        }
        true
    }

    /// Adds `count` events of strangers that were counted elsewhere to the sum of all networks.
    pub(super) fn add_counted(&mut self, event: Event, count: u64) {
        self.crowd(event, Crowd::Strangers).folded += count;
    }

    /// Ends the minutes that are over and returns the lines that tell their numbers. `is_last` ends all of them.
    pub(super) fn sum_up(&mut self, now: Instant, is_last: bool) -> Vec<Line> {
        let over = |cell: &Cell| is_last || cell.is_over(now);
        // Narrow before wide: the number of a narrow cell may have to be added to that of a wide one.
        for is_site in [false, true] {
            let is_of = |key: &Key| matches!(key.of, Of::Network(network) if network == network.widest());
            let ended: Vec<(Key, Cell)> =
                self.cells.extract_if(|key, cell| is_of(key) == is_site && over(cell)).collect();
            for (key, cell) in ended {
                self.tell(key, cell, now);
            }
        }
        if !self.is_low || is_last {
            for event in Event::ALL {
                for crowd in Crowd::ALL {
                    self.end_crowd(event, crowd, now, is_last);
                }
            }
        }
        std::mem::take(&mut self.due)
    }

    /// Returns the cells that the event of `note` belongs to; `None` if its lines are not bounded.
    fn chain_of(&self, note: &Note) -> Option<Chain> {
        if note.is_of_operator {
            return None;
        }
        let event = note.event;
        let named = |crowd, lines| {
            let name = self.hasher.hash_one((&note.line.subject, &note.line.device));
            Chain { event, narrow: [Some((Of::Name(name), lines)), None], crowd }
        };
        let chain = match event.cause() {
            Cause::Operator => return None,
            Cause::Holder => named(Crowd::Holders, HOLDER_LINES),
            Cause::AtAccount if note.names_account => {
                // The device says who tried, not at whom.
                let name = self.hasher.hash_one(&note.line.subject);
                Chain { narrow: [Some((Of::Name(name), ACCOUNT_LINES)), None], ..named(Crowd::Accounts, 0) }
            }
            Cause::AtAccount | Cause::Stranger => {
                let own = note.network.map(|own| (Of::Network(own), NETWORK_LINES));
                let site = note.network.map(|own| (Of::Network(own.widest()), SITE_LINES));
                Chain { event, narrow: [own, site], crowd: Crowd::Strangers }
            }
        };
        Some(chain)
    }

    /// Returns the cell of `key` in its present minute; `None` if there is no place for it.
    fn cell(&mut self, key: Key, crowd: Crowd, now: Instant) -> Option<&mut Cell> {
        let is_over = self.cells.get(&key).map(|cell| cell.is_over(now));
        match is_over {
            Some(true) => {
                let ended = self.cells.insert(key, Cell::new(now, crowd));
                if let Some(ended) = ended {
                    self.tell(key, ended, now);
                }
            }
            Some(false) => {}
            None if self.cells.len() < CELLS_MAX => {
                self.cells.insert(key, Cell::new(now, crowd));
            }
            None => return None,
        }
        self.cells.get_mut(&key)
    }

    fn crowd(&mut self, event: Event, crowd: Crowd) -> &mut Cell {
        // Both are in the order of their discriminants, and complete.
        let cells = self.crowds.get_mut(event as usize).and_then(|cells| cells.get_mut(crowd as usize));
        cells.unwrap_or_else(|| unreachable!("every event has a cell of each crowd"))
    }

    /// Takes room for one line from the widest cell and from the present second. Holders share no second.
    fn crowd_admits(&mut self, chain: &Chain, now: Instant) -> bool {
        self.end_crowd(chain.event, chain.crowd, now, false);
        if now.saturating_duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        let is_of_holders = chain.crowd == Crowd::Holders;
        if !is_of_holders && self.second.1 >= LINES_A_SECOND {
            return false;
        }
        let cell = self.crowd(chain.event, chain.crowd);
        if cell.lines >= chain.crowd.lines() {
            return false;
        }
        cell.lines += 1;
        self.second.1 += u32::from(!is_of_holders);
        true
    }

    /// Starts the next minute of a widest cell if this one is over, and tells its number.
    fn end_crowd(&mut self, event: Event, crowd: Crowd, now: Instant, is_last: bool) {
        let is_low = self.is_low && !is_last;
        let cell = self.crowd(event, crowd);
        if is_low || !(is_last || cell.is_over(now)) {
            return;
        }
        let ended = std::mem::replace(cell, Cell::new(now, crowd));
        if ended.folded > 0 {
            let reason = crowd.reason().to_owned();
            let event = event.name().to_owned();
            self.due.push(Line { event, folded: ended.folded, reason, ..Line::default() });
        }
    }

    /// Tells the number of a narrow cell whose minute is over, or adds it to the first wider cell that has no room for a
    /// line.
    fn tell(&mut self, key: Key, ended: Cell, now: Instant) {
        if ended.folded == 0 {
            return;
        }
        let Key { event, of } = key;
        let crowd = ended.crowd;
        let site = match of {
            Of::Network(network) if network != network.widest() => {
                Some(Key { event, of: Of::Network(network.widest()) })
            }
            _ => None,
        };
        if !self.is_low {
            if let Some(site) = site
                && let Some(cell) = self.cell(site, crowd, now)
            {
                if cell.lines >= SITE_LINES {
                    cell.folded += ended.folded;
                    return;
                }
                cell.lines += 1;
            }
            let chain = Chain { event, narrow: [None, None], crowd };
            if crowd == Crowd::Holders || self.crowd_admits(&chain, now) {
                let About { subject, email, device } = *ended.about.unwrap_or_default();
                let network = match of {
                    Of::Network(network) => network.to_net().to_string(),
                    Of::Name(_) => String::new(),
                };
                let (event, folded) = (event.name().to_owned(), ended.folded);
                self.due.push(Line { event, subject, email, network, device, folded, ..Line::default() });
                return;
            }
        }
        self.crowd(event, crowd).folded += ended.folded;
    }
}

#[cfg(test)]
mod tests;
