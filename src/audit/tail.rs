//! The end of the log, as its files hold it: the newest events, and those that are written after them. Needs no key, and no
//! running server.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::line::Line;
use super::read::{FileName, Wanted, named_files};

/// An event, and its line as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The event.
    pub line: Line,
    /// The text of the line, with its seal.
    pub text: String,
}

impl Stored {
    /// Reads a stored line. A line that cannot be read is passed over here and reported by `verify`.
    fn read(text: &[u8]) -> Option<Self> {
        let line = serde_json::from_slice(text).ok()?;
        Some(Self { line, text: std::str::from_utf8(text).ok()?.to_owned() })
    }
}

/// The newest events of a log.
#[derive(Debug, Default)]
pub struct Tail {
    /// The events, oldest first.
    pub events: Vec<Stored>,
    /// Whether older ones match too, beyond the limit.
    pub is_cut: bool,
    /// The newest line that cannot be read: its file and its number there.
    pub unreadable: Option<(PathBuf, usize)>,
}

/// Returns the newest events in `dir` that match `wanted`, also with a `since`. It reads files and therefore blocks.
pub fn tail(dir: &Path, wanted: &Wanted) -> io::Result<Tail> {
    let first_day = wanted.since.map(|since| since.rfc3339().get(..10).unwrap_or("").to_owned());
    let mut found: VecDeque<Stored> = VecDeque::new();
    let mut unreadable = None;
    for (name, path) in named_files(dir)?.into_iter().rev() {
        if first_day.as_deref().is_some_and(|first| name.day.as_str() < first) {
            break;
        }
        // One more than is wanted tells that there are more.
        let room = wanted.limit.saturating_add(1) - found.len();
        let mut of_file: VecDeque<Stored> = VecDeque::new();
        let mut unread = None;
        // The last line may be half written yet.
        let mut last = None;
        for (number, text) in BufReader::new(File::open(&path)?).split(b'\n').enumerate() {
            unread = last.take().or(unread);
            let Some(stored) = Stored::read(&text?) else {
                last = Some((path.clone(), number + 1));
                continue;
            };
            if !wanted.matches(&stored.line) {
                continue;
            }
            of_file.push_back(stored);
            if of_file.len() > room {
                of_file.pop_front();
            }
        }
        unreadable = unreadable.or(unread);
        of_file.append(&mut found);
        found = of_file;
        if found.len() > wanted.limit {
            break;
        }
    }
    let is_cut = found.len() > wanted.limit;
    if is_cut {
        found.pop_front();
    }
    Ok(Tail { events: found.into(), is_cut, unreadable })
}

/// Follows a log from file to file.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    /// The file that was read last, and how far; `None` if there was none.
    read: Option<(FileName, u64)>,
}

impl Follower {
    /// Begins after everything that the files in `dir` hold now.
    pub fn begin(dir: &Path) -> io::Result<Self> {
        let mut follower = Self { dir: dir.to_owned(), read: None };
        if let Some((name, path)) = files_if_any(dir)?.pop() {
            let length = std::fs::metadata(&path)?.len();
            follower.read = Some((name, 0));
            // Up to the last line end: the line after it may be half written.
            follower.next_lines(&path, 0, length)?;
        }
        Ok(follower)
    }

    /// Returns the events that were written since the last call, in order.
    pub fn next_events(&mut self) -> io::Result<Vec<Stored>> {
        let mut events = Vec::new();
        for (name, path) in files_if_any(&self.dir)? {
            let from = match &self.read {
                Some((read, _)) if name < *read => continue,
                Some((read, at)) if name == *read => *at,
                _ => 0,
            };
            self.read = Some((name, from));
            match std::fs::metadata(&path).map(|found| found.len()) {
                // Removed by its age since the list was made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                length => {
                    let text = self.next_lines(&path, from, length?)?;
                    events.extend(text.lines().filter_map(|line| Stored::read(line.as_bytes())));
                }
            }
        }
        Ok(events)
    }

    /// Reads the whole lines of the current file from `from`, and notes how far it has come.
    fn next_lines(&mut self, path: &Path, from: u64, length: u64) -> io::Result<String> {
        // A start cuts off an unfinished line, which was not read.
        let from = from.min(length);
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(length - from).read_to_end(&mut bytes)?;
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        if let Some((_, at)) = &mut self.read {
            *at = from + bytes.len() as u64;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Returns the files of a log, oldest first; none if there is no such directory yet.
fn files_if_any(dir: &Path) -> io::Result<Vec<(FileName, PathBuf)>> {
    match named_files(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        files => files,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::super::line::seal;
    use super::*;
    use crate::system::clock::Timestamp;

    const NOON: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn append(dir: &Path, file: &str, text: &str) {
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).open(dir.join(file)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn line(seq: u64, event: &str, network: &str) -> String {
        let time = NOON + std::time::Duration::from_secs(seq);
        let line = Line { seq, time, event: event.into(), network: network.into(), ..Line::default() };
        seal(&[7; 32], &line) + "\n"
    }

    fn seqs(events: &[Stored]) -> Vec<u64> {
        events.iter().map(|stored| stored.line.seq).collect()
    }

    #[test]
    fn the_newest_events_are_found_and_a_cut_list_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for seq in 1..=9 {
            let event = if seq % 3 == 0 { "login.failed" } else { "key.rotated" };
            let network = if seq > 5 { "192.0.2.7/32" } else { "2001:db8:1::/48" };
            append(dir.path(), &format!("2027-01-1{}.jsonl", 4 + seq / 4), &line(seq, event, network));
        }
        append(dir.path(), "2027-01-16.jsonl", "half a line");
        let of = |wanted: Wanted| {
            let found = tail(dir.path(), &wanted).unwrap();
            (seqs(&found.events), found.is_cut)
        };
        let all = Wanted { limit: 99, ..Wanted::default() };
        assert_eq!(of(all.clone()), ((1..=9).collect(), false));
        assert_eq!(of(Wanted { limit: 9, ..all.clone() }), ((1..=9).collect(), false));
        assert_eq!(of(Wanted { limit: 4, ..all.clone() }), (vec![6, 7, 8, 9], true));
        assert_eq!(of(Wanted { event: Some("login.".into()), limit: 2, ..all.clone() }), (vec![6, 9], true));
        let network = |text: &str| Wanted { network: Some(text.parse().unwrap()), ..all.clone() };
        // The line's network holds the wanted one, or the other way round.
        assert_eq!(of(network("192.0.2.7/32")).0, [6, 7, 8, 9]);
        assert_eq!(of(network("192.0.0.0/16")).0, [6, 7, 8, 9]);
        assert_eq!(of(network("2001:db8:1:2::/64")).0, [1, 2, 3, 4, 5]);
        assert_eq!(of(network("192.0.2.8/32")).0, Vec::<u64>::new());
        let since = Some(NOON + std::time::Duration::from_secs(7));
        assert_eq!(of(Wanted { since, limit: 2, ..all.clone() }), (vec![8, 9], true));
        // A line that is no text hides none of the others, and is named.
        append(dir.path(), "2027-01-17.jsonl", &line(10, "key.rotated", ""));
        let mut damaged = fs::read(dir.path().join("2027-01-17.jsonl")).unwrap();
        damaged.extend_from_slice(b"\xff\xfe\n");
        damaged.extend_from_slice(line(11, "key.rotated", "").as_bytes());
        fs::write(dir.path().join("2027-01-17.jsonl"), damaged).unwrap();
        let found = tail(dir.path(), &all).unwrap();
        assert_eq!(seqs(&found.events), (1..=11).collect::<Vec<_>>());
        assert_eq!(found.unreadable, Some((dir.path().join("2027-01-17.jsonl"), 2)));
        fs::remove_file(dir.path().join("2027-01-17.jsonl")).unwrap();
        // The stored line is whole, with its seal.
        let found = tail(dir.path(), &Wanted { limit: 1, ..Wanted::default() }).unwrap();
        assert_eq!(found.events[0].text.clone() + "\n", line(9, "login.failed", "192.0.2.7/32"));
    }

    #[test]
    fn a_log_is_followed_from_file_to_file_and_no_line_is_read_twice() {
        let dir = tempfile::tempdir().unwrap();
        let first = line(1, "key.rotated", "");
        append(dir.path(), "2027-01-15.jsonl", &first);
        append(dir.path(), "2027-01-15.jsonl", "{\"se");
        let mut follower = Follower::begin(dir.path()).unwrap();
        let mut next = || seqs(&follower.next_events().unwrap());
        assert_eq!(next(), Vec::<u64>::new());
        // A start cuts the half line off and goes on after it.
        fs::write(dir.path().join("2027-01-15.jsonl"), &first).unwrap();
        assert_eq!(next(), Vec::<u64>::new());
        let second = line(2, "key.rotated", "");
        append(dir.path(), "2027-01-15.jsonl", &second[..20]);
        assert_eq!(next(), Vec::<u64>::new());
        append(dir.path(), "2027-01-15.jsonl", &second[20..]);
        append(dir.path(), "2027-01-15.001.jsonl", &line(3, "key.rotated", ""));
        append(dir.path(), "2027-01-16.jsonl", &line(4, "key.rotated", ""));
        assert_eq!(next(), [2, 3, 4]);
        assert_eq!(next(), Vec::<u64>::new());
        // Old files may go.
        fs::remove_file(dir.path().join("2027-01-15.jsonl")).unwrap();
        append(dir.path(), "2027-01-16.jsonl", &line(5, "key.rotated", ""));
        assert_eq!(next(), [5]);
        // A directory that is not there yet is followed too.
        let later = dir.path().join("later");
        let mut follower = Follower::begin(&later).unwrap();
        assert!(follower.next_events().unwrap().is_empty());
        fs::create_dir(&later).unwrap();
        append(&later, "2027-01-17.jsonl", &line(1, "key.rotated", ""));
        assert_eq!(seqs(&follower.next_events().unwrap()), [1]);
    }
}
