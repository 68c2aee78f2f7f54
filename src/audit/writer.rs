//! Writes the files of the audit log: the open file, the end of the chain, what is removed by age and size, and the
//! record of both ends.

use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ends::{Ends, Place, Record};
use super::line::{Line, digest, seal};
use super::read::{FileName, first_line, last_line, last_number, named_files};
use super::verify::CUT;
use crate::storage::Storage;
use crate::system::clock::Timestamp;
use crate::system::file_error::{at, at_dir};
use crate::value::counted::counted;

/// How the files of a log are kept.
pub struct Options {
    /// The directory of the files.
    pub dir: PathBuf,
    /// The key that seals lines.
    pub key: [u8; 32],
    /// How long a file is kept after its day.
    pub keep: Duration,
    /// Maximum size of all files together.
    pub bytes_max: u64,
    /// The data directory, for the record of both ends.
    pub data: Arc<dyn Storage>,
    /// Whether the data directory was made by this start, so that a log without a record of its ends is expected.
    pub is_first_start: bool,
    /// The last durable sequence of the journal.
    pub journal: u64,
    /// The line that the record of the ends is known to have reached, if the journal remembers any.
    pub known_end: Option<Place>,
}

/// Something that is not as this server left it, for an event.
pub(super) struct Found {
    /// The name of the event.
    pub(super) event: &'static str,
    /// The text that the event gives as its reason.
    pub(super) reason: String,
    /// Lines that are known to be missing.
    pub(super) missing: u64,
}

/// Maximum size of one file. Whole files are removed, so a file is a small part of all of them.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// How many files of full size there are room for.
const FILES: u64 = 16;

/// The open file and the end of the chain.
pub(super) struct Writer {
    options: Options,
    /// Maximum size of one file.
    file_bytes_max: u64,
    /// Hash and number of the last line that was added.
    last: Place,
    /// The last sequence of the journal that a line before this start had seen.
    pub(super) seen: u64,
    /// The last sequence of the journal that a line of this start has seen.
    journal: u64,
    /// Lines dropped since the last line that was added.
    lost: u64,
    /// The open file and its name.
    open: Option<(FileName, std::fs::File)>,
    /// How long the open file must be at least.
    length: u64,
    /// The last file that another program has removed, replaced or cut. Its name is not used again.
    displaced: Option<FileName>,
    /// The description of what was done to it (removed, replaced, cut), until an event with it is written.
    untold: Option<String>,
    /// Whether a file was opened since the last time that old files were removed.
    has_opened: bool,
    /// Whole lines that are not written yet, all of one day.
    text: Vec<u8>,
    /// The day of `text`.
    day: String,
    /// Number of lines in `text`.
    pending: u64,
    /// Hash and number of the line before `text`, to return to when `text` is dropped.
    before: Place,
    /// The ends as they are on disk.
    ends: Ends,
}

impl Writer {
    pub(super) fn new(options: Options) -> Self {
        Self {
            file_bytes_max: (options.bytes_max / FILES).min(FILE_BYTES_MAX),
            options,
            last: Place::default(),
            seen: 0,
            journal: 0,
            lost: 0,
            open: None,
            length: 0,
            displaced: None,
            untold: None,
            has_opened: true,
            text: Vec::new(),
            day: String::new(),
            pending: 0,
            before: Place::default(),
            ends: Ends::default(),
        }
    }

    /// Whether lines wait to be written.
    pub(super) const fn is_dirty(&self) -> bool {
        !self.text.is_empty()
    }

    /// Size of the lines that wait.
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.text.len()
    }

    /// Cuts off an unfinished last line, finds the end of the chain and compares it with the record of the ends. Returns
    /// whatever is not as the last run left it.
    pub(super) fn recover(&mut self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for (name, path) in named_files(&self.options.dir)?.iter().rev() {
            let (last, whole, torn) = last_line(path)?;
            if torn > 0 {
                let file = std::fs::OpenOptions::new().write(true).open(path).map_err(at(path))?;
                file.set_len(whole).and_then(|()| file.sync_data()).map_err(at(path))?;
                let reason = format!(
                    "{} of an unfinished line cut off the end of {name}",
                    counted(torn, "byte", "bytes")
                );
                found.push(Found { event: "audit.mended", reason, missing: 0 });
            }
            let Some(last) = last else { continue };
            self.last.digest = digest(last.as_bytes());
            if let Ok(read) = serde_json::from_str::<Line>(&last) {
                self.last.seq = read.seq;
                self.seen = read.journal;
            } else {
                // Every line after the last that can be read has a number, so that no number is given twice.
                self.last.seq = last_number(&self.options.dir)?;
                let reason = format!("the last line of {name} cannot be read");
                found.push(Found { event: "audit.damaged", reason, missing: 0 });
            }
            break;
        }
        found.extend(self.compare()?);
        Ok(found)
    }

    /// Compares the end of the chain with the record of it, and the record with what the journal remembers of it. If one
    /// of them reaches further, the chain goes on after the line that it names, so that the gap stays visible.
    fn compare(&mut self) -> io::Result<Option<Found>> {
        let found = self.last.clone();
        let record = Record::read(&*self.options.data, &self.options.key)?;
        self.ends = match &record {
            Record::Missing | Record::Changed => Ends { removed: self.before_first()?, last: found.clone() },
            Record::Of(ends) => ends.clone(),
        };
        let known = self.options.known_end.clone();
        let mut said: Vec<String> = match &known {
            None if record == Record::Changed => {
                vec![String::from("the record of the log's end was changed")]
            }
            known => known.iter().filter_map(|known| record.compare(known)).collect(),
        };
        let mut furthest = self.ends.last.clone();
        if let Some(known) = known.filter(|known| known.seq >= furthest.seq) {
            furthest = known;
        }
        let from = found.seq.max(self.ends.removed.seq);
        let missing = furthest.seq.saturating_sub(from);
        if missing > 0 {
            said.push(format!(
                "{} missing from the end: number {} to {}",
                counted(missing, "line is", "lines are"),
                from + 1,
                furthest.seq
            ));
        } else if furthest.seq == found.seq && furthest != found {
            said.push(format!("line {} is not the one that the last run wrote", found.seq));
        }
        if furthest.seq > found.seq {
            self.last = furthest.clone();
        }
        self.ends.last = furthest;
        if !said.is_empty() {
            let reason = said.join("; ");
            tracing::error!(
                "the log of security events was changed while the server was stopped: {reason}. Keep a copy of audit.dir, \
                 and find out who could write to it; then run: portcullis audit acknowledge"
            );
            return Ok(Some(Found { event: CUT, reason, missing }));
        }
        if record != Record::Missing || self.options.is_first_start {
            return Ok(None);
        }
        let reason = "there is no record of the log's end: an older version or a restore made this directory, or the \
                      record was removed";
        tracing::warn!(
            "{reason}. Lines that were cut off the log of security events before this start are not noticed"
        );
        Ok(Some(Found { event: "audit.unrecorded", reason: reason.to_owned(), missing: 0 }))
    }

    /// Records the ends that [`Writer::recover`] found if the record says something else. Returns where the log ends by it.
    pub(super) fn begin_record(&mut self) -> io::Result<Place> {
        let record = Record::read(&*self.options.data, &self.options.key)?;
        if record != Record::Of(self.ends.clone()) {
            // The record never names a line that a crash can still take away.
            if let Some((_, path)) = named_files(&self.options.dir)?.last() {
                std::fs::File::open(path).and_then(|file| file.sync_data()).map_err(at(path))?;
            }
            self.write_ends(self.ends.clone())?;
        }
        Ok(self.ends.last.clone())
    }

    /// Returns the place before the first line that is there.
    fn before_first(&self) -> io::Result<Place> {
        for (_, path) in named_files(&self.options.dir)? {
            if let Some(first) = first_line(&path)? {
                return Ok(Place { seq: first.seq.saturating_sub(1), digest: first.prev });
            }
        }
        Ok(Place::default())
    }

    /// Chains and seals a line and adds it to the text that waits.
    pub(super) fn add(&mut self, mut line: Line) {
        let day = day_of(line.time);
        if day != self.day && self.write().is_err() {
            // The lines of the day before cannot be written yet. They keep their order, and this line goes to the same
            // file.
            self.day.clone_from(&day);
        }
        if self.text.is_empty() {
            self.before = self.last.clone();
            self.day = day;
        }
        // Sums have no position of their own.
        line.journal = line.journal.max(self.journal);
        self.journal = line.journal;
        line.seq = self.last.seq + 1;
        line.lost += std::mem::take(&mut self.lost);
        line.prev.clone_from(&self.last.digest);
        let text = seal(&self.options.key, &line);
        self.last = Place { seq: line.seq, digest: digest(text.as_bytes()) };
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(b'\n');
        self.pending += 1;
    }

    /// Appends the text that waits to a file of its day.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let is_full = |file: &std::fs::File| {
            let length = file.metadata()?.len();
            Ok::<_, io::Error>(length > 0 && length + self.text.len() as u64 > self.file_bytes_max)
        };
        let name = match &self.open {
            Some((name, file)) if name.day == self.day => {
                if is_full(file)? {
                    name.next()
                } else {
                    name.clone()
                }
            }
            _ => {
                let mut newest = FileName::newest_of(&self.options.dir, &self.day)?;
                let displaced = self.displaced.as_ref();
                let displaced = displaced.filter(|name| name.day == self.day && **name >= newest);
                if let Some(displaced) = displaced {
                    newest.clone_from(displaced);
                }
                // Nothing is added to a file that does not end with a line, nor is one made anew by the name of one that
                // may be put back.
                let may_grow =
                    displaced.is_none() && ends_with_a_line(&self.options.dir.join(newest.to_string()))?;
                if may_grow { newest } else { newest.next() }
            }
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != name) {
            let mut options = std::fs::OpenOptions::new();
            let path = self.options.dir.join(name.to_string());
            let file = options.append(true).create(true).mode(0o600).open(&path).map_err(at(&path))?;
            if let Some((_, before)) = self.open.replace((name, file)) {
                before.sync_data().map_err(at(&path))?;
            }
            sync_dir(&self.options.dir)?;
            self.has_opened = true;
        }
        if let Some((name, file)) = &mut self.open {
            let path = self.options.dir.join(name.to_string());
            let length_before = file.metadata().map_err(at(&path))?.len();
            if let Err(error) = file.write_all(&self.text) {
                // Remove a partial write, since the same lines are written again.
                file.set_len(length_before).map_err(at(&path))?;
                return Err(at(&path)(error));
            }
            self.length = length_before + self.text.len() as u64;
        }
        self.text.clear();
        self.pending = 0;
        Ok(())
    }

    /// Syncs the open file.
    pub(super) fn sync(&self) -> io::Result<()> {
        let Some((name, file)) = &self.open else { return Ok(()) };
        file.sync_data().map_err(at(&self.options.dir.join(name.to_string())))
    }

    /// Checks whether another program, such as one that rotates logs, has removed, replaced or cut the open file. If so,
    /// the next line begins a new file. Returns the event to write, once; it must be the next line.
    pub(super) fn find_displaced(&mut self) -> io::Result<Option<Found>> {
        // Lines that wait follow those that are missing. They are written first.
        if self.is_dirty() {
            return Ok(None);
        }
        if let Some((name, file)) = &self.open {
            let path = self.options.dir.join(name.to_string());
            let own = file.metadata().map_err(at(&path))?;
            let what = match std::fs::symlink_metadata(&path) {
                Ok(found) if (found.dev(), found.ino()) != (own.dev(), own.ino()) => "replaced",
                Ok(_) if own.len() < self.length => "cut short",
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "moved or removed",
                Err(error) => return Err(at(&path)(error)),
            };
            self.untold = Some(format!("{name} was {what} while the server wrote to it"));
            self.displaced = Some(name.clone());
            self.open = None;
        }
        if self.untold.is_none() {
            return Ok(None);
        }
        let kept = last_number(&self.options.dir)?.max(self.ends.removed.seq);
        let missing = self.last.seq.saturating_sub(kept);
        Ok(self.untold.take().map(|reason| Found { event: CUT, reason, missing }))
    }

    /// Records where the log ends, if it has grown. Call it after a sync, with no lines waiting.
    pub(super) fn record_end(&mut self) -> io::Result<()> {
        if self.ends.last != self.last && self.text.is_empty() {
            let ends = Ends { last: self.last.clone(), ..self.ends.clone() };
            self.write_ends(ends)?;
        }
        Ok(())
    }

    fn write_ends(&mut self, ends: Ends) -> io::Result<()> {
        ends.write(&*self.options.data, &self.options.key)?;
        self.ends = ends;
        Ok(())
    }

    /// Removes whole files, oldest first, that are older than they are kept or that leave no room for one more file.
    /// Returns a description of each. Does nothing until a file was opened since the last call.
    pub(super) fn remove_old(&mut self, now: Timestamp) -> io::Result<Vec<String>> {
        if !std::mem::take(&mut self.has_opened) {
            return Ok(Vec::new());
        }
        let oldest = day_of(now - self.options.keep);
        let mut files = Vec::new();
        let mut bytes = 0;
        for (name, path) in named_files(&self.options.dir)? {
            let length = std::fs::metadata(&path).map_err(at(&path))?.len();
            bytes += length;
            files.push((name, path, length));
        }
        // The newest is the one that grows.
        files.pop();
        let mut removed = Vec::new();
        for (name, path, length) in files {
            let is_old = name.day < oldest;
            if !is_old && bytes + self.file_bytes_max <= self.options.bytes_max {
                break;
            }
            self.remove(&path)?;
            bytes -= length;
            let why = if is_old { "older than audit.keep_days" } else { "audit.bytes_max is reached" };
            removed.push(format!("{name} up to line {}: {why}", self.ends.removed.seq));
        }
        Ok(removed)
    }

    /// Removes the oldest file. Its last line is recorded first, so that the check knows where the log begins.
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        if let (Some(last), _, _) = last_line(path)?
            && let Ok(line) = serde_json::from_str::<Line>(&last)
        {
            let removed = Place { seq: line.seq, digest: digest(last.as_bytes()) };
            self.write_ends(Ends { removed, ..self.ends.clone() })?;
        }
        std::fs::remove_file(path).map_err(at(path))?;
        sync_dir(&self.options.dir)
    }

    /// Drops the text that waits and returns the number of its lines. The next line says how many are missing.
    pub(super) fn give_up(&mut self) -> u64 {
        let lost = std::mem::take(&mut self.pending);
        self.last = std::mem::take(&mut self.before);
        self.text.clear();
        self.lost += lost;
        lost
    }
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(at_dir(dir))
}

/// Says whether a file ends with a whole line, is empty, or is not there.
fn ends_with_a_line(path: &Path) -> io::Result<bool> {
    match last_line(path) {
        Ok((last, whole, torn)) => Ok(torn == 0 && (last.is_some() || whole == 0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Returns the day of `time`, as files are named.
fn day_of(time: Timestamp) -> String {
    time.rfc3339().get(..10).unwrap_or("0000-00-00").to_owned()
}
