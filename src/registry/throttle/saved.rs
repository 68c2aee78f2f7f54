//! The contents of the table as records of 16 bytes, which `throttle.bin` ([`file`](super::file)) keeps over a restart.
//!
//! ```text
//!   0 number (8)   8 time (7), microseconds since 1970   15 kind (1)
//! ```
//!
//! | kind | number | time |
//! |---|---|---|
//! | class × 8 + width | bits of the network | when its next request is due in theory |
//! | class × 8 + 6 | id of a known device | when its next request is due in theory |
//! | 0x40 + width | bits of the network | when its mark as a suspect ends |
//! | 0x80 + class | which cell of the crowd | when its next request is due in theory |
//!
//! The table is read in pieces and restored record by record, so that no message to the actor takes long.

use super::cells::CellKey;
use super::class::Class;
use super::gcra::Cell;
use super::table::{CROWD_CELLS, CROWD_MULTIPLE, Table};
use crate::system::clock::Timestamp;
use crate::value::network::{Network, Width};

/// The length of a record in bytes.
pub const RECORD_BYTES: usize = 16;
/// Sets of places in one piece: 8,192 cells, which are read and copied in well under a millisecond.
const SETS_PER_PIECE: usize = 1024;

const TIME_MAX: u64 = (1 << 56) - 1;
const SUSPECT: u8 = 0x40;
const CROWD: u8 = 0x80;
/// Added to the kind of a cell that would fall among those of suspects: of the classes that the first form had no room for.
const LATER_CELL: u8 = 0x80;

const LATER_CELLS: u8 = LATER_CELL + SUSPECT;

/// One saved fact about a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SavedRecord {
    /// The cell of a network for a class.
    Cell(CellKey, Cell),
    /// A shared cell of a class, by its number, of networks that found no place of their own.
    Crowd(Class, u8, Cell),
    /// A network whose log-ins cost more, and the end of its mark.
    Suspect(Network, Timestamp),
}

/// Some of the records, and where the next piece begins.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Records, back to back.
    pub bytes: Vec<u8>,
    /// Where the next piece begins; `None` after the last one.
    pub next: Option<usize>,
}

impl SavedRecord {
    /// Returns the bytes of the record in the file.
    pub fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let (kind, number, time) = match self {
            Self::Cell(key, cell) => {
                let (kind, bits) = key.to_parts();
                let later = if kind < SUSPECT { 0 } else { LATER_CELL };
                (kind | later, bits, cell.micros())
            }
            Self::Crowd(class, number, cell) => (CROWD | class as u8, u64::from(number), cell.micros()),
            Self::Suspect(network, until) => {
                (SUSPECT | network.width as u8, network.bits, until.as_millis().saturating_mul(1000))
            }
        };
        let word = u64::from(kind) << 56 | time.min(TIME_MAX);
        (u128::from(number) | u128::from(word) << 64).to_le_bytes()
    }

    /// Reads the bytes of a record; `None` if no version wrote them.
    pub fn read(bytes: [u8; RECORD_BYTES]) -> Option<Self> {
        let words = u128::from_le_bytes(bytes);
        let number = words as u64;
        let word = (words >> 64) as u64;
        let kind = (word >> 56) as u8;
        let time = word & TIME_MAX;
        let cell = Cell::from_micros(time);
        match kind {
            ..SUSPECT => Some(Self::Cell(CellKey::from_parts(kind, number)?, cell)),
            SUSPECT..CROWD => {
                let width = Width::ALL.into_iter().find(|width| *width as u8 == kind - SUSPECT)?;
                Some(Self::Suspect(Network { width, bits: number }, Timestamp(time / 1000)))
            }
            CROWD..LATER_CELLS => {
                let class = Class::ALL.into_iter().find(|class| *class as u8 == kind - CROWD)?;
                let number = u8::try_from(number).ok().filter(|number| usize::from(*number) < CROWD_CELLS)?;
                Some(Self::Crowd(class, number, cell))
            }
            LATER_CELLS.. => Some(Self::Cell(CellKey::from_parts(kind - LATER_CELL, number)?, cell)),
        }
    }
}

impl Table {
    /// Reads the records of the piece that begins at `from`. Changes nothing, and touches no memory that was never
    /// used.
    pub fn piece(&self, from: usize, now: Timestamp) -> Piece {
        let end = (from + SETS_PER_PIECE).min(self.cells.sets());
        let mut bytes = Vec::new();
        for set in from..end {
            for (key, cell) in self.cells.in_set(set, now) {
                bytes.extend(SavedRecord::Cell(key, cell).to_bytes());
            }
        }
        if from == 0 {
            for (network, until) in self.suspects.marked(now) {
                bytes.extend(SavedRecord::Suspect(network, until).to_bytes());
            }
            for (class, cells) in Class::ALL.into_iter().zip(self.crowd.chunks(CROWD_CELLS)) {
                for (number, cell) in (0_u8..).zip(cells).filter(|(_, cell)| !cell.is_idle(now)) {
                    bytes.extend(SavedRecord::Crowd(class, number, *cell).to_bytes());
                }
            }
        }
        Piece { bytes, next: (end < self.cells.sets()).then_some(end) }
    }

    /// Restores a saved record. Suspects must come in the order in which their marks end. Records that time has paid
    /// off since, and those of a class that is no longer limited, are skipped.
    ///
    /// Security: a time that a wrong clock wrote counts as one whole burst at most, or it would refuse a network for
    /// years.
    pub fn restore(&mut self, record: SavedRecord, now: Timestamp) {
        match record {
            SavedRecord::Cell(key, cell) => {
                let Some(policy) = self.policies.get(key) else { return };
                let cell = cell.bounded(policy, now).or_more(self.newcomer(policy));
                if !cell.is_idle(now) {
                    let policies = self.policies;
                    let at = self.cells.locate(key);
                    self.cells.put(at, cell, now, |key, cell| policies.worth(key, cell, now));
                }
            }
            SavedRecord::Crowd(class, number, cell) => {
                let policy = self.limits.rate(class).and_then(|rate| rate.times(CROWD_MULTIPLE));
                let place = self.crowd.get_mut(class as usize * CROWD_CELLS + usize::from(number));
                if let Some((place, policy)) = place.zip(policy) {
                    *place = cell.bounded(policy, now);
                }
            }
            SavedRecord::Suspect(network, until) => self.suspects.restore(network, until, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::registry::throttle::{Limits, Rate};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn table(cells: usize, half_spent: bool) -> Table {
        let rates = vec![(Class::Login, Rate { burst: 20, per_minute: 20 })];
        Table::new(Limits { rates, cells, exempt: Vec::new(), half_spent }, NOW)
    }

    fn passed(table: &mut Table, address: &str, now: Timestamp) -> usize {
        (0..100).filter(|_| table.take(Class::Login, address.parse().unwrap(), now).is_ok()).count()
    }

    fn saved(table: &Table, now: Timestamp) -> Vec<SavedRecord> {
        let mut records = Vec::new();
        let mut from = Some(0);
        while let Some(begin) = from {
            let piece = table.piece(begin, now);
            records.extend(piece.bytes.as_chunks().0.iter().map(|bytes| SavedRecord::read(*bytes).unwrap()));
            from = piece.next;
        }
        records
    }

    #[test]
    fn what_is_saved_comes_back_and_no_more() {
        for cells in [1000, 100_000] {
            let mut table = table(cells, false);
            passed(&mut table, "192.0.2.1", NOW);
            table.suspect(Network::of("198.51.100.1".parse().unwrap()), NOW);
            for _ in 0..5 {
                let _ = table.take(Class::Login, "2001:db8::1".parse().unwrap(), NOW);
            }
            let records = saved(&table, NOW);
            assert_eq!(records.len(), 6);
            let mut next = self::table(cells, false);
            for record in records {
                next.restore(record, NOW);
            }
            assert_eq!(passed(&mut next, "192.0.2.1", NOW), 0);
            assert_eq!(passed(&mut next, "2001:db8::1", NOW), 15);
            assert_eq!(passed(&mut next, "198.51.100.1", NOW), 2);
            assert_eq!(passed(&mut next, "203.0.113.1", NOW), 20);
            assert!(saved(&table, NOW + Duration::from_hours(2)).is_empty());
        }
    }

    #[test]
    fn the_shared_cells_of_a_full_table_come_back() {
        let mut table = table(8, false);
        for host in 0..8 {
            passed(&mut table, &format!("192.0.{host}.1"), NOW);
        }
        for number in 0..20_000_u32 {
            let address = std::net::Ipv4Addr::from_bits(0x0A00_0001 | number << 8);
            let _ = table.take(Class::Login, address.into(), NOW);
        }
        let crowd: Vec<_> = saved(&table, NOW)
            .into_iter()
            .filter(|record| matches!(record, SavedRecord::Crowd(..)))
            .collect();
        assert!(!crowd.is_empty());
        let mut next = self::table(8, false);
        for record in crowd {
            next.restore(record, NOW);
        }
        assert_eq!(next.crowd, table.crowd);
    }

    #[test]
    fn after_a_crash_a_network_owes_half_or_the_more_it_owed() {
        let mut table = table(1000, false);
        passed(&mut table, "192.0.2.1", NOW);
        let _ = table.take(Class::Login, "192.0.2.200".parse().unwrap(), NOW);
        let mut next = self::table(1000, true);
        for record in saved(&table, NOW) {
            next.restore(record, NOW);
        }
        let left = ["192.0.2.1", "192.0.2.200", "203.0.113.1"].map(|address| passed(&mut next, address, NOW));
        assert_eq!(left, [0, 10, 10]);
    }

    #[test]
    fn a_time_of_a_wrong_clock_costs_a_burst_and_not_years() {
        let mut table = table(1000, false);
        let century = Timestamp::from_secs(4_900_000_000);
        let network = Network::of("192.0.2.1".parse().unwrap());
        let cell = Cell::from_micros(century.as_millis() * 1000);
        table.restore(SavedRecord::Cell(CellKey::new(Class::Login, network), cell), NOW);
        table.restore(SavedRecord::Crowd(Class::Login, 3, cell), NOW);
        table.restore(SavedRecord::Suspect(network, century), NOW);
        // A class that is not limited here.
        table.restore(SavedRecord::Cell(CellKey::new(Class::Forgot, network), cell), NOW);
        assert_eq!(passed(&mut table, "192.0.2.1", NOW), 0);
        assert_eq!(saved(&table, NOW).len(), 3);
        let later = NOW + Duration::from_hours(1);
        assert!(saved(&table, later).is_empty());
        assert_eq!(passed(&mut table, "192.0.2.1", later), 20);
    }

    #[test]
    fn a_record_has_the_bytes_of_the_format_and_other_bytes_are_refused() {
        let network = Network::of("192.0.2.1".parse().unwrap());
        let cell = Cell::from_micros(0x01_0203);
        let bytes = SavedRecord::Cell(CellKey::new(Class::Check, network), cell).to_bytes();
        assert_eq!(bytes, [1, 2, 0, 192, 0, 0, 0, 0, 3, 2, 1, 0, 0, 0, 0, 0x39]);
        for record in [
            SavedRecord::Cell(CellKey::new(Class::Login, network), cell),
            SavedRecord::Cell(CellKey::of_device(Class::Login, u64::MAX), cell),
            SavedRecord::Cell(CellKey::new(Class::Rejected, network), cell),
            SavedRecord::Crowd(Class::Check, 15, cell),
            SavedRecord::Crowd(Class::Rejected, 15, cell),
            SavedRecord::Cell(CellKey::of_device(Class::Change, u64::MAX), cell),
            SavedRecord::Crowd(Class::Change, 15, cell),
            SavedRecord::Cell(CellKey::new(Class::Advice, network), cell),
            SavedRecord::Crowd(Class::Advice, 15, cell),
            SavedRecord::Suspect(network, NOW),
        ] {
            assert_eq!(SavedRecord::read(record.to_bytes()), Some(record));
        }
        for (kind, number) in [
            (0, 0),
            (7, 0),
            (0x3F, 0),
            (0x40, 0),
            (0x46, 0),
            (0x48, 0),
            (0x4E, 0),
            (0x8B, 0),
            (0x80, 16),
            (0xC0, 0),
            (0xC7, 0),
            (0xD9, 0),
            (0xFF, 0),
        ] {
            let mut bytes = [0; 16];
            bytes[0] = number;
            bytes[15] = kind;
            assert_eq!(SavedRecord::read(bytes), None, "{kind:x}");
        }
    }
}
