//! Reading the files of the log: for whoever asks for events, and for the next start.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::line::Line;
use crate::system::clock::Timestamp;

/// A line's bytes at most, as written.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Which events are asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, serde::Serialize)]
pub struct Wanted {
    /// Not before.
    #[serde(skip)]
    pub since: Option<Timestamp>,
    /// Of this name, or beginning with it where it ends with a dot: `login.`
    pub event: Option<String>,
    /// Of this account or session.
    pub account: Option<String>,
    /// Behind this one.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl Wanted {
    fn is_met(&self, line: &Line) -> bool {
        let event = |wanted: &String| {
            line.event == *wanted || (wanted.ends_with('.') && line.event.starts_with(wanted.as_str()))
        };
        self.since.is_none_or(|since| line.time.as_secs() >= since.as_secs())
            && self.after.is_none_or(|after| line.seq > after)
            && self.event.as_ref().is_none_or(event)
            && self.account.as_ref().is_none_or(|account| line.subject == *account)
    }
}

/// The events that are wanted, in their order. From `since` or `after` on the first of them; else the newest.
/// Reads files, and so blocks.
pub fn find(dir: &Path, wanted: &Wanted) -> io::Result<Vec<Line>> {
    let from_start = wanted.since.is_some() || wanted.after.is_some();
    let first_day = wanted.since.map(|since| since.rfc3339().get(..10).unwrap_or("").to_owned());
    let mut paths = files(dir)?;
    paths.retain(|path| first_day.as_deref().is_none_or(|first| day_of(path) >= first));
    let mut found: VecDeque<Line> = VecDeque::new();
    if from_start {
        for path in paths {
            each_line(&path, |line| {
                if wanted.is_met(&line) {
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
    // The newest: file by file backwards, of each the last ones.
    for path in paths.iter().rev() {
        let mut of_file: VecDeque<Line> = VecDeque::new();
        let room = wanted.limit - found.len();
        each_line(path, |line| {
            if wanted.is_met(&line) {
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

/// Calls for each whole line that can be read, until told to stop.
fn each_line(path: &Path, mut call: impl FnMut(Line) -> bool) -> io::Result<()> {
    for text in BufReader::new(File::open(path)?).lines() {
        // What cannot be read is for `verify` to tell of.
        if let Ok(line) = serde_json::from_str::<Line>(&text?)
            && !call(line)
        {
            break;
        }
    }
    Ok(())
}

/// The last whole line of a file, the bytes up to its end, and those of an unfinished line behind it.
pub(super) fn last_line(path: &Path) -> io::Result<(Option<String>, u64, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        // Not one whole line: all of it is unfinished, if it is short enough to be one.
        let torn = if from == 0 { length } else { 0 };
        return Ok((None, length - torn, torn));
    };
    let whole = from + end as u64 + 1;
    let before = bytes.get(..end).unwrap_or_default();
    let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let last = String::from_utf8_lossy(before.get(begin..).unwrap_or_default()).into_owned();
    Ok((Some(last), whole, length - whole))
}

/// The files of a directory by their days.
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

pub(super) fn day_of(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("")
}
