//! The log as a start finds it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::event::{end_of, entry_of};
use super::files::FileInfo;
use super::format::{DIR, EXTENSION, FileHeader, HEADER_BYTES, Record, path_of};
use crate::journal::context::JournalContext;
use crate::journal::format::layout::numbers;
use crate::storage::{File, Storage, unlink_if_there};

/// A log that was found.
pub(super) struct Found {
    pub(super) list: VecDeque<FileInfo>,
    pub(super) end: End,
    /// The newest file.
    pub(super) file: Arc<dyn File>,
}

/// The end of a log.
pub(super) struct End {
    /// The number of the last event.
    pub(super) last: u64,
    /// The events of all entries up to this one are in the log.
    pub(super) covered: u64,
    /// The entry up to which the records of the newest file say so.
    pub(super) said: u64,
    /// Whether the newest file holds a record other than marks.
    pub(super) is_used: bool,
}

/// Reads the headers of all files, and the records of the newest one; `None` if they are no log of this journal.
pub(super) fn find(storage: &dyn Storage, context: &JournalContext) -> io::Result<Option<Found>> {
    let mut list = VecDeque::new();
    let mut names = numbers(storage, DIR, EXTENSION)?;
    // The newest file may have been begun when the machine stopped: then its header is not whole.
    let mut newest = None;
    while let Some(number) = names.pop() {
        let path = path_of(number);
        let file = storage.open_to_write(&path)?;
        let bytes = file.read_all()?;
        if let Some(header) = FileHeader::read(&bytes).filter(|header| header.covered == number) {
            newest = Some((path, file, bytes, header));
            break;
        }
        unlink_if_there(storage, &path)?;
    }
    let Some((path, file, bytes, header)) = newest else { return Ok(None) };
    if header.cluster != context.cluster || header.timeline != context.timeline {
        return Ok(None);
    }
    for number in names {
        let path = path_of(number);
        let file = storage.open(&path)?;
        let len = file.length()?;
        let mut head = vec![0; HEADER_BYTES.min(usize::try_from(len).map_err(io::Error::other)?)];
        file.read_at(&mut head, 0)?;
        match FileHeader::read(&head).filter(|found| found.history == header.history) {
            Some(header) => list.push_back(FileInfo::new(path, header, len)),
            // Damaged: what was before it can be followed to no later file.
            None => list.clear(),
        }
    }
    let mut info = FileInfo::new(path, header, HEADER_BYTES as u64);
    let end = scan(&mut info, &bytes);
    list.push_back(info);
    Ok(Some(Found { list, end, file }))
}

/// Reads the records of the newest file, up to one that is not whole and sound.
fn scan(info: &mut FileInfo, bytes: &[u8]) -> End {
    let covered = info.header.covered;
    let mut end = End { last: 0, covered, said: covered, is_used: false };
    let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
    while let Some((record, len)) = Record::read(info.header.history, rest) {
        match record {
            Record::Event { seq, .. } => {
                info.note(seq, info.len);
                end.last = seq;
                end.is_used = true;
                // Another event of the same entry may be missing.
                end.covered = end.covered.max(entry_of(seq) - 1);
            }
            Record::Mark(entry) => {
                end.covered = end.covered.max(entry);
                end.said = end.covered;
            }
            Record::Gap { to, .. } => {
                end.covered = end.covered.max(to);
                end.is_used = true;
            }
        }
        info.len += len as u64;
        rest = rest.get(len..).unwrap_or_default();
    }
    end.last = end.last.max(end_of(covered));
    end
}
