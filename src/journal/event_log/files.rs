//! The list of files, and pages of events out of them.

use std::collections::VecDeque;
use std::io;

use super::event::{Event, Gap, Page, end_of, entry_of};
use super::format::{FileHeader, HEADER_BYTES, Record};
use crate::storage::Storage;

/// Bytes that are read at once.
const PIECE: u64 = 256 << 10;
/// Bytes of a file between two places that are remembered.
const PLACE_EVERY: u64 = 32 << 10;
/// How often a page is begun anew because a file was removed while it was read.
const TRIES: usize = 4;

/// One file of the log.
#[derive(Clone, Debug)]
pub(super) struct FileInfo {
    pub(super) path: String,
    pub(super) header: FileHeader,
    /// Bytes that hold sound records.
    pub(super) len: u64,
    /// Numbers of events, and where the record of each begins, every few of them. Those of a file of an earlier run are
    /// noted while it is read.
    places: Vec<(u64, u64)>,
}

impl FileInfo {
    pub(super) const fn new(path: String, header: FileHeader, len: u64) -> Self {
        Self { path, header, len, places: Vec::new() }
    }

    /// Notes that the event `seq` begins at `at`.
    pub(super) fn note(&mut self, seq: u64, at: u64) {
        let noted = self.places.last().map_or(HEADER_BYTES as u64, |(_, noted)| *noted);
        if at >= noted + PLACE_EVERY {
            self.places.push((seq, at));
        }
    }

    /// Returns a place at or before the first event after `after`.
    fn begin(&self, after: u64) -> u64 {
        let before = self.places.partition_point(|(seq, _)| *seq <= after);
        let place = before.checked_sub(1).and_then(|at| self.places.get(at));
        place.map_or(HEADER_BYTES as u64, |(_, at)| *at)
    }
}

/// The log as it can be read.
#[derive(Debug)]
pub(super) struct Files {
    /// Its history.
    pub(super) history: u64,
    /// Its files, oldest first. There is one at least.
    pub(super) list: VecDeque<FileInfo>,
    /// The events of all entries up to this one are in the log, or gone.
    pub(super) covered: u64,
}

impl Files {
    /// Returns the number after which nothing has been removed.
    pub(super) fn kept_after(&self) -> u64 {
        self.list.front().map_or(0, |oldest| end_of(oldest.header.covered))
    }

    /// Returns the bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.list.iter().map(|file| file.len).sum()
    }

    /// Returns the file in which the events after `after` begin, and the entry at which the next one begins.
    fn file_of(&self, after: u64) -> Option<(FileInfo, Option<u64>)> {
        let later = self.list.partition_point(|file| end_of(file.header.covered) <= after);
        let at = later.saturating_sub(1);
        let next = self.list.get(at + 1).map(|next| next.header.covered);
        Some((self.list.get(at)?.clone(), next))
    }
}

/// Where a page comes from: the log, asked again for each file, since files come and go while it is read.
pub(super) trait Source {
    /// Calls `look` with the log as it is; `None` if it is not open yet.
    fn with<T>(&self, look: impl FnOnce(&mut Files) -> T) -> Option<T>;
}

/// A page that is being read.
struct Reading {
    page: Page,
    /// Bytes of its events.
    bytes: usize,
    limit: usize,
    bytes_max: usize,
}

impl Reading {
    /// Says whether the page takes no more.
    const fn is_full(&self) -> bool {
        self.page.events.len() >= self.limit || self.bytes >= self.bytes_max
    }

    /// Takes a gap. Returns false if it must be that of the next page.
    fn take_gap(&mut self, from: u64, to: u64) -> bool {
        if end_of(to) <= self.page.next {
            return true;
        }
        if !self.page.events.is_empty() || self.page.gap.is_some() {
            return false;
        }
        self.page.gap = Some(Gap::Lost { from, to });
        self.page.next = end_of(to);
        true
    }
}

/// Reads the events after `after`, or the oldest ones: as many as `limit`, and `bytes_max` bytes of them.
pub(super) fn page(
    source: &impl Source,
    storage: &dyn Storage,
    after: Option<u64>,
    limit: usize,
    bytes_max: usize,
) -> io::Result<Page> {
    let mut tries = 0;
    loop {
        let kept = source.with(|files| (files.history, files.kept_after(), files.covered));
        // Before the log is open nothing can be said, and the cursor stays as it is.
        let Some((history, kept_after, covered)) = kept else {
            return Ok(Page { history: None, events: Vec::new(), next: after.unwrap_or(0), gap: None });
        };
        let next = after.unwrap_or(kept_after);
        let is_expired = next < kept_after;
        let page = Page {
            history: Some(history),
            events: Vec::new(),
            next: next.max(kept_after),
            gap: is_expired.then_some(Gap::Expired { kept_after }),
        };
        let mut reading = Reading { page, bytes: 0, limit, bytes_max };
        match read_files(source, storage, &mut reading, covered) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
            Ok(()) => return Ok(reading.page),
        }
    }
}

/// Reads file after file until the page is full, or the log as far as it went has been read.
fn read_files(
    source: &impl Source,
    storage: &dyn Storage,
    reading: &mut Reading,
    covered: u64,
) -> io::Result<()> {
    while reading.page.next < end_of(covered) && !reading.is_full() {
        let found = source.with(|files| files.file_of(reading.page.next)).flatten();
        let Some((file, next)) = found else { return Ok(()) };
        let whole = read_file(source, storage, reading, &file)?;
        if !whole {
            return Ok(());
        }
        // All of the file was read: its end, or that of the log as it was at the beginning.
        let end = end_of(next.unwrap_or(covered));
        reading.page.next = reading.page.next.max(end);
    }
    Ok(())
}

/// Reads the events of one file. Returns whether it was read to its end.
fn read_file(
    source: &impl Source,
    storage: &dyn Storage,
    reading: &mut Reading,
    info: &FileInfo,
) -> io::Result<bool> {
    let file = storage.open(&info.path)?;
    let mut at = info.begin(reading.page.next);
    let mut piece = PIECE;
    let mut seen = Vec::new();
    while at < info.len {
        let len = piece.min(info.len - at);
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_at(&mut bytes, at)?;
        let mut rest = bytes.as_slice();
        while let Some((record, len)) = Record::read(info.header.history, rest) {
            let goes_on = match record {
                Record::Event { seq, .. } if seq <= reading.page.next => true,
                Record::Event { seq, .. } if reading.is_full() => {
                    // After the last event of an entry, the page is as far as that entry.
                    let last = entry_of(reading.page.next);
                    if last < entry_of(seq) {
                        reading.page.next = end_of(last);
                    }
                    false
                }
                Record::Event { seq, schema, key, value } => {
                    reading.bytes += value.len();
                    reading.page.next = seq;
                    let event = Event { seq, schema, key: key.into(), value: value.into() };
                    reading.page.events.push(event);
                    true
                }
                Record::Mark(_) => true,
                Record::Gap { from, to } => reading.take_gap(from, to),
            };
            if !goes_on {
                note_places(source, info, &seen);
                return Ok(false);
            }
            if let Record::Event { seq, .. } = record {
                seen.push((seq, at));
            }
            at += len as u64;
            rest = rest.get(len..).unwrap_or_default();
        }
        if rest.len() == bytes.len() {
            // No record begins here, or one that is longer than a piece.
            if piece > PIECE || at + len >= info.len {
                return Ok(lost(reading, info, source));
            }
            piece = PIECE * 2;
        } else {
            piece = PIECE;
        }
    }
    note_places(source, info, &seen);
    Ok(true)
}

/// Notes that the rest of a file cannot be read. Returns whether the page goes on after it.
fn lost(reading: &mut Reading, info: &FileInfo, source: &impl Source) -> bool {
    let next = source.with(|files| files.file_of(end_of(info.header.covered)).and_then(|(_, next)| next));
    let to = next.flatten().or_else(|| source.with(|files| files.covered)).unwrap_or(info.header.covered);
    let from = entry_of(reading.page.next) + 1;
    from > to || reading.take_gap(from, to)
}

/// Remembers where events of a file begin, unless that is known.
fn note_places(source: &impl Source, info: &FileInfo, seen: &[(u64, u64)]) {
    source.with(|files| {
        let found = files.list.iter_mut().find(|file| file.header.covered == info.header.covered);
        let Some(file) = found else { return };
        for (seq, at) in seen {
            file.note(*seq, *at);
        }
    });
}
