//! Damages files of a stopped server: bits flip, blocks vanish, files are cut, lost, swapped and doubled.
//!
//! Each damage says what a start may do about it: refuse, or start with everything that answers rested on. There are
//! two documented exceptions: the last frame, if nothing after it says that it was durable; and a tail that vanished so
//! completely that no later frame, snapshot or `IDENTITY` names it. Without its newest snapshot a directory must start:
//! either an older snapshot is there, or no segment was deleted.

use crate::journal::format::frame::{self, Seen};
use crate::journal::format::header::{FileKind, HEADER_BYTES, Header};
use crate::journal::format::layout::{JOURNAL_DIR, SNAPSHOT_DIR, SegmentFields, Sizes};
use crate::storage::simulated::{Dice, SimStorage};

/// A damage, and what a start may do about it.
#[derive(Debug)]
pub(super) struct Damaged {
    pub what: String,
    /// A start must reach this sequence.
    pub floor: u64,
    /// Whether a refusal would be wrong, since nothing that is needed is gone.
    pub must_start: bool,
    /// Whether a start would be wrong, since something is gone that nothing replaces.
    pub must_refuse: bool,
}

/// The last segment: the begin, end, first sequence and count of each frame.
struct Tail {
    path: String,
    born_len: u64,
    frames: Vec<(usize, usize, u64, u32)>,
    len: usize,
}

/// Reads the last segment.
fn tail(disk: &SimStorage, sizes: Sizes) -> Option<Tail> {
    let path = disk.paths().into_iter().rfind(|path| path.starts_with(JOURNAL_DIR))?;
    let bytes = disk.peek(&path)?;
    let header = Header::read(FileKind::Segment, bytes.first_chunk::<HEADER_BYTES>()?).ok()?;
    let fields = SegmentFields::read(&header.by_kind)?;
    let mut at = HEADER_BYTES;
    let mut frames = Vec::new();
    while let Some(Seen::Frame(frame)) = bytes.get(at..).map(|rest| frame::read(rest, sizes.align)) {
        frames.push((at, at + frame.len, frame.header.first_seq, frame.header.count));
        at += frame.len;
    }
    Some(Tail { path, born_len: fields.born_len, frames, len: bytes.len() })
}

impl Tail {
    /// Returns the sequence that a start must still reach if this segment is damaged from byte `at` on.
    fn floor(&self, at: usize, answered: u64) -> u64 {
        match self.frames.last() {
            Some((begin, _, first_seq, count))
                if at >= *begin && *begin as u64 >= self.born_len && *count > 0 =>
            {
                answered.min(first_seq - 1)
            }
            _ => answered,
        }
    }
}

/// Chooses a file in a directory.
fn any_of(dice: &mut Dice, paths: &[String], dir: &str) -> Option<String> {
    let inside: Vec<_> = paths.iter().filter(|path| path.starts_with(dir)).collect();
    inside.get(dice.below(inside.len() as u64) as usize).map(|path| (*path).clone())
}

/// Says whether both slots of `IDENTITY` are sound.
fn both_slots_read(disk: &SimStorage) -> bool {
    let slots = disk.peek("IDENTITY").unwrap_or_default();
    slots.len() == 2 * HEADER_BYTES
        && slots.chunks(HEADER_BYTES).all(|slot| {
            slot.first_chunk().is_some_and(|block| Header::read(FileKind::Identity, block).is_ok())
        })
}

/// Returns the sequence that `IDENTITY` demands.
fn min_seq(disk: &SimStorage) -> u64 {
    let slots = disk.peek("IDENTITY").unwrap_or_default();
    let asked = slots.chunks(HEADER_BYTES).filter_map(|slot| {
        let header = Header::read(FileKind::Identity, slot.first_chunk()?).ok()?;
        Some(u64::from_le_bytes(*header.by_kind.get(16..)?.first_chunk()?))
    });
    asked.max().unwrap_or(0)
}

fn newest_snapshot(paths: &[String]) -> Option<&String> {
    paths.iter().rfind(|path| path.starts_with(SNAPSHOT_DIR))
}

/// Damages the disk in one way that `dice` chooses; `None` if there is nothing to damage in that way.
pub(super) fn damage(disk: &SimStorage, sizes: Sizes, dice: &mut Dice, answered: u64) -> Option<Damaged> {
    let paths = disk.paths();
    let any = |what: String| Damaged { what, floor: answered, must_start: false, must_refuse: false };
    Some(match dice.below(13) {
        0..=2 => {
            let tail = tail(disk, sizes)?;
            let end = tail.frames.last().map_or(HEADER_BYTES, |(_, end, _, _)| *end);
            let at = dice.below((end + 600).min(tail.len) as u64) as usize;
            disk.damage(&tail.path, |bytes| bytes[at] ^= 1 << dice.below(8));
            Damaged { floor: tail.floor(at, answered), ..any(format!("a bit of byte {at} of {}", tail.path)) }
        }
        3 => {
            let path = any_of(dice, &paths, JOURNAL_DIR)?;
            let tail = tail(disk, sizes)?;
            let at = dice.below(tail.len as u64) as usize;
            disk.damage(&path, |bytes| bytes[at] ^= 1 << dice.below(8));
            let floor = if path == tail.path { tail.floor(at, answered) } else { answered };
            Damaged { floor, ..any(format!("a bit of byte {at} of {path}")) }
        }
        4 => {
            let path = newest_snapshot(&paths)?.clone();
            let len = disk.peek(&path)?.len() as u64;
            // Often late in the file: a reader that trusts the beginning has used it by then.
            let at = if dice.once_in(2) { dice.below(len) } else { len - 1 - dice.below(600) } as usize;
            disk.damage(&path, |bytes| bytes[at] ^= 1 << dice.below(8));
            Damaged { must_start: true, ..any(format!("a bit of byte {at} of {path}")) }
        }
        5 => {
            let path = newest_snapshot(&paths)?.clone();
            let len = dice.below(disk.peek(&path)?.len() as u64) as usize;
            disk.damage(&path, |bytes| bytes.truncate(len));
            Damaged { must_start: true, ..any(format!("{path} cut to {len}")) }
        }
        6 => {
            let tail = tail(disk, sizes)?;
            let (begin, end, ..) = *tail.frames.get(dice.below(tail.frames.len() as u64) as usize)?;
            disk.damage(&tail.path, |bytes| bytes[begin..end].fill(0));
            Damaged {
                floor: tail.floor(begin, answered),
                ..any(format!("frame at {begin} of {} zeroed", tail.path))
            }
        }
        7 | 8 => {
            let tail = tail(disk, sizes)?;
            let (begin, _, first_seq, _) = *tail.frames.get(dice.below(tail.frames.len() as u64) as usize)?;
            let named =
                newest_snapshot(&paths).and_then(|path| u64::from_str_radix(path.get(9..25)?, 16).ok());
            let known = named.unwrap_or(0).max(min_seq(disk));
            disk.damage(&tail.path, |bytes| bytes[begin..].fill(0));
            let born = (begin as u64) < tail.born_len;
            Damaged {
                floor: answered.min(known),
                must_refuse: known >= first_seq || born,
                ..any(format!("everything from {begin} on of {} zeroed", tail.path))
            }
        }
        9 => {
            let path = paths.get(dice.below(paths.len() as u64) as usize)?;
            disk.lose(path);
            let is_identity = path == "IDENTITY";
            let is_newest_snapshot = newest_snapshot(&paths) == Some(path);
            Damaged {
                must_refuse: is_identity,
                must_start: is_newest_snapshot,
                ..any(format!("{path} lost"))
            }
        }
        10 => {
            let path = paths.iter().rfind(|path| path.starts_with(JOURNAL_DIR))?;
            disk.lose(path);
            any(format!("{path} lost"))
        }
        11 => {
            let dir = if dice.once_in(2) { JOURNAL_DIR } else { SNAPSHOT_DIR };
            let from = any_of(dice, &paths, dir)?;
            let to = any_of(dice, &paths, dir)?;
            let to = if dice.once_in(2) && dir == JOURNAL_DIR {
                let number =
                    paths.iter().filter_map(|path| u64::from_str_radix(path.get(8..24)?, 16).ok()).max()?;
                crate::journal::format::layout::segment_path(number + 1)
            } else {
                to
            };
            if from == to {
                return None;
            }
            disk.plant(&to, disk.peek(&from)?);
            any(format!("{from} copied over {to}"))
        }
        _ => {
            let was_sound = both_slots_read(disk);
            let at = dice.below(2 * HEADER_BYTES as u64) as usize;
            if disk.peek("IDENTITY")?.len() <= at {
                return None;
            }
            disk.damage("IDENTITY", |bytes| bytes[at] ^= 1 << dice.below(8));
            Damaged { must_start: was_sound, ..any(format!("a bit of byte {at} of IDENTITY")) }
        }
    })
}
