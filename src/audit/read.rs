//! Reads the files of the audit log: for queries, and to continue the chain after a start.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::line::Line;
use crate::system::clock::Timestamp;

/// Maximum length of a written line in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// A query for events.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, serde::Serialize)]
pub struct Wanted {
    /// The earliest time, to the second.
    #[serde(skip)]
    pub since: Option<Timestamp>,
    /// The name of the event, or a prefix that ends with a dot: `login.`
    pub event: Option<String>,
    /// The id of the account or session.
    pub account: Option<String>,
    /// Only events with a larger number than this: the next page.
    pub after: Option<u64>,
    /// Maximum number of events that are returned: the first after `after` or `since`, else the newest.
    pub limit: usize,
}

impl Wanted {
    fn matches(&self, line: &Line) -> bool {
        let event = |wanted: &String| {
            line.event == *wanted || (wanted.ends_with('.') && line.event.starts_with(wanted.as_str()))
        };
        self.since.is_none_or(|since| line.time.as_secs() >= since.as_secs())
            && self.after.is_none_or(|after| line.seq > after)
            && self.event.as_ref().is_none_or(event)
            && self.account.as_ref().is_none_or(|account| line.subject == *account)
    }
}

/// Returns the events in `dir` that match `wanted`, oldest first. With `since` or `after` it returns the first matches,
/// otherwise the newest. It reads files and therefore blocks.
pub fn find(dir: &Path, wanted: &Wanted) -> io::Result<Vec<Line>> {
    let from_start = wanted.since.is_some() || wanted.after.is_some();
    let first_day = wanted.since.map(|since| since.rfc3339().get(..10).unwrap_or("").to_owned());
    let mut paths = files(dir)?;
    paths.retain(|path| first_day.as_deref().is_none_or(|first| day_of(path) >= first));
    let mut found: VecDeque<Line> = VecDeque::new();
    if from_start {
        for path in paths {
            each_line(&path, |line| {
                if wanted.matches(&line) {
                    found.push_back(line);
                }
                found.len() < wanted.limit
            })?;
            if found.len() >= wanted.limit {
                break;
            }
        }
        return Ok(found.into());
    }
    // The newest: the files in reverse order, and of each file its last matches.
    for path in paths.iter().rev() {
        let mut of_file: VecDeque<Line> = VecDeque::new();
        let room = wanted.limit - found.len();
        each_line(path, |line| {
            if wanted.matches(&line) {
                if of_file.len() >= room {
                    of_file.pop_front();
                }
                of_file.push_back(line);
            }
            true
        })?;
        of_file.append(&mut found);
        found = of_file;
        if found.len() >= wanted.limit {
            break;
        }
    }
    Ok(found.into())
}

/// Calls `call` with each line that can be parsed, until it returns false.
fn each_line(path: &Path, mut call: impl FnMut(Line) -> bool) -> io::Result<()> {
    for text in BufReader::new(File::open(path)?).lines() {
        // A line that cannot be parsed is skipped here and reported by `verify`.
        if let Ok(line) = serde_json::from_str::<Line>(&text?)
            && !call(line)
        {
            break;
        }
    }
    Ok(())
}

/// Returns the last whole line of a file, the number of bytes up to its end, and the number of bytes of an unfinished
/// line after it.
pub(super) fn last_line(path: &Path) -> io::Result<(Option<String>, u64, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
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

/// Returns the log files of a directory, sorted by day.
pub(super) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the day that a log file is named after.
pub(super) fn day_of(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("")
}
