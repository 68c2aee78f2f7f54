//! Reads the files of the audit log: for queries, and to continue the chain after a start.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use super::line::Line;
use crate::system::clock::Timestamp;
use crate::system::file_error::{at, at_dir};

/// Maximum length of a written line in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// A query for events.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, serde::Serialize)]
pub struct Wanted {
    /// The earliest time, to the second.
    #[serde(skip)]
    pub since: Option<Timestamp>,
    /// The name of the event, or a prefix that ends with a dot, `login.`, or with a star, `log*`.
    pub event: Option<String>,
    /// The id of the account or session.
    pub account: Option<String>,
    /// The administrator, API key or operator that caused the event.
    pub by: Option<String>,
    /// Only events of networks that hold this one, or that it holds.
    #[serde(skip)]
    pub network: Option<IpNet>,
    /// Only events with a larger number than this: the next page.
    pub after: Option<u64>,
    /// Maximum number of events that are returned: the first after `after` or `since`, else the newest.
    pub limit: usize,
    /// Maximum size of the written lines that are returned, but for the first; `None` for any.
    #[serde(skip)]
    pub bytes_max: Option<usize>,
}

impl Wanted {
    /// Says whether an event is one of those, whatever the limit.
    pub fn matches(&self, line: &Line) -> bool {
        let event = |wanted: &String| {
            let prefix =
                wanted.strip_suffix('*').or_else(|| wanted.ends_with('.').then_some(wanted.as_str()));
            line.event == *wanted || prefix.is_some_and(|prefix| line.event.starts_with(prefix))
        };
        let network = |wanted: &IpNet| {
            let of_line = line.network.parse::<IpNet>();
            of_line.is_ok_and(|of_line| wanted.contains(&of_line) || of_line.contains(wanted))
        };
        self.since.is_none_or(|since| line.time.as_secs() >= since.as_secs())
            && self.after.is_none_or(|after| line.seq > after)
            && self.event.as_ref().is_none_or(event)
            && self.network.as_ref().is_none_or(network)
            && self.account.as_ref().is_none_or(|account| line.is_about(account))
            && self.by.as_ref().is_none_or(|by| line.is_by(by))
    }
}

/// Returns the events in `dir` that match `wanted`, oldest first. With `since` or `after` it returns the first matches,
/// otherwise the newest. It reads files and therefore blocks.
pub fn find(dir: &Path, wanted: &Wanted) -> io::Result<Vec<Line>> {
    let from_start = wanted.since.is_some() || wanted.after.is_some();
    let first_day = wanted.since.map(|since| since.rfc3339().get(..10).unwrap_or("").to_owned());
    let mut files = named_files(dir)?;
    files.retain(|(name, _)| first_day.as_deref().is_none_or(|first| name.day.as_str() >= first));
    let paths: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).collect();
    let bytes_max = wanted.bytes_max.unwrap_or(usize::MAX);
    let mut bytes = 0;
    let mut is_full = false;
    let mut found: VecDeque<(Line, usize)> = VecDeque::new();
    if from_start {
        for path in paths {
            each_line(&path, |line, length| {
                if wanted.matches(&line) {
                    is_full = !found.is_empty() && bytes + length > bytes_max;
                    if !is_full {
                        bytes += length;
                        found.push_back((line, length));
                    }
                }
                is_full |= found.len() >= wanted.limit;
                !is_full
            })?;
            if is_full {
                break;
            }
        }
        return Ok(found.into_iter().map(|(line, _)| line).collect());
    }
    // The newest: the files in reverse order, and of each file its last matches.
    for path in paths.iter().rev() {
        let mut of_file: VecDeque<(Line, usize)> = VecDeque::new();
        let room = wanted.limit - found.len();
        each_line(path, |line, length| {
            if wanted.matches(&line) {
                bytes += length;
                of_file.push_back((line, length));
            }
            while of_file.len() > room || (bytes > bytes_max && of_file.len() + found.len() > 1) {
                let Some((_, length)) = of_file.pop_front() else { break };
                bytes -= length;
                // Older lines are left out, too, so that the page has no gap.
                is_full = true;
            }
            true
        })?;
        of_file.append(&mut found);
        found = of_file;
        if is_full || found.len() >= wanted.limit {
            break;
        }
    }
    Ok(found.into_iter().map(|(line, _)| line).collect())
}

/// Calls `call` with each line that can be parsed and its length, until it returns false.
pub(super) fn each_line(path: &Path, mut call: impl FnMut(Line, usize) -> bool) -> io::Result<()> {
    for text in BufReader::new(open(path)?).split(b'\n') {
        let text = text.map_err(at(path))?;
        // A line that cannot be parsed is skipped here and reported by `verify`.
        if let Ok(line) = serde_json::from_slice::<Line>(&text)
            && !call(line, text.len())
        {
            break;
        }
    }
    Ok(())
}

/// Returns the last whole line of a file, the number of bytes up to its end, and the number of bytes of an unfinished
/// line after it.
pub(super) fn last_line(path: &Path) -> io::Result<(Option<String>, u64, u64)> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // It may have grown meanwhile.
    let length = from + bytes.len() as u64;
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        // There is no whole line: the file is one unfinished line, if it is short enough for that.
        let torn = if from == 0 { length } else { 0 };
        return Ok((None, length - torn, torn));
    };
    let whole = from + end as u64 + 1;
    let before = bytes.get(..end).unwrap_or_default();
    let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let last = String::from_utf8_lossy(before.get(begin..).unwrap_or_default()).into_owned();
    Ok((Some(last), whole, length - whole))
}

/// Returns the first line of a file that can be read as one; `None` if that is not the first line or there is none.
pub(super) fn first_line(path: &Path) -> io::Result<Option<Line>> {
    let mut text = Vec::new();
    BufReader::new(open(path)?.take(2 * LINE_BYTES_MAX)).read_until(b'\n', &mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

/// Returns the number of the last line in `dir`, where that line cannot be read: that of the last line which can be, and
/// one for each line after it.
pub(super) fn last_number(dir: &Path) -> io::Result<u64> {
    let mut after = 0;
    for (_, path) in named_files(dir)?.iter().rev() {
        let mut last = None;
        for text in BufReader::new(open(path)?).split(b'\n') {
            match serde_json::from_slice::<Line>(&text?) {
                Ok(line) => last = Some((line.seq, 0)),
                Err(_) => last = Some(last.map_or((0, 1), |(seq, after)| (seq, after + 1))),
            }
        }
        let (seq, of_file) = last.unwrap_or((0, 0));
        after += of_file;
        if seq > 0 {
            return Ok(seq + after);
        }
    }
    Ok(after)
}

/// The name of a file: its day, and a number if the day has more than one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct FileName {
    /// The day, as in `2026-11-24`.
    pub(super) day: String,
    /// The number of the file in its day, from 0.
    part: u32,
}

impl FileName {
    /// Reads the name of a file. Every name with the right ending is one, since it may hold lines.
    fn read(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".jsonl")?;
        let numbered = stem.split_once('.').and_then(|(day, part)| Some((day, part.parse().ok()?)));
        let (day, part) = numbered.unwrap_or((stem, 0));
        Some(Self { day: day.to_owned(), part })
    }

    /// Returns the name of the newest file of a day in `dir`; of its first file if it has none.
    pub(super) fn newest_of(dir: &Path, day: &str) -> io::Result<Self> {
        let names = named_files(dir)?.into_iter().map(|(name, _)| name);
        Ok(names.filter(|name| name.day == day).max().unwrap_or(Self { day: day.to_owned(), part: 0 }))
    }

    /// Returns the name of the next file of the same day.
    pub(super) fn next(&self) -> Self {
        Self { day: self.day.clone(), part: self.part + 1 }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            0 => write!(f, "{}.jsonl", self.day),
            part => write!(f, "{}.{part:03}.jsonl", self.day),
        }
    }
}

/// Returns the log files of a directory with their names, oldest first.
pub(super) fn named_files(dir: &Path) -> io::Result<Vec<(FileName, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(at_dir(dir))? {
        let entry = entry.map_err(at_dir(dir))?;
        if let Some(name) = entry.file_name().to_str().and_then(FileName::read) {
            files.push((name, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(at(path))
}

/// Returns the log files of a directory, oldest first.
pub(super) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(named_files(dir)?.into_iter().map(|(_, path)| path).collect())
}
