//! Checks the chain over all files. It finds any changed byte and names the file and the line.

use std::io;
use std::path::Path;

use super::line::Line;
use super::line::{digest, is_sealed};
use super::read::files;

/// The place where the chain breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct Break {
    /// Path of the file.
    pub file: String,
    /// Number of the line in the file, from 1.
    pub line: usize,
    /// The fault.
    pub what: String,
}

/// Checks all files of `dir` and returns the number of their lines, or the first place where the chain breaks. Old
/// files may be missing, since operators delete them by age; from the first file on every line must follow the one
/// before.
pub fn verify(dir: &Path, key: &[u8; 32]) -> io::Result<Result<u64, Break>> {
    let mut before: Option<(String, u64)> = None;
    let mut count = 0;
    for path in files(dir)? {
        let bytes = std::fs::read(&path)?;
        let mut rest = bytes.as_slice();
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let broken =
                |what: &str| Break { file: path.display().to_string(), line: number, what: what.to_owned() };
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return Ok(Err(broken(
                    "has no line end: cut short by a crash, which the next start repairs, or changed",
                )));
            };
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            match judge(line, before.as_ref(), key) {
                Ok(seq) => before = Some((digest(line), seq)),
                Err(what) => return Ok(Err(broken(what))),
            }
            count += 1;
        }
    }
    Ok(Ok(count))
}

/// Checks the seal of `line` and that it follows `before`. Returns its number.
fn judge(line: &[u8], before: Option<&(String, u64)>, key: &[u8; 32]) -> Result<u64, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8")?;
    if !is_sealed(key, text) {
        return Err("was changed: its seal does not match");
    }
    let read: Line = serde_json::from_str(text).map_err(|_| "is not an event")?;
    match before {
        Some((prev, seq)) if *prev != read.prev || seq + 1 != read.seq => {
            Err("does not follow the line before it: lines are missing or out of order")
        }
        None if read.seq == 1 && read.prev != digest(b"") => Err("has number 1 but is not the first line"),
        _ => Ok(read.seq),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::log::Log;
    use crate::audit::read::{Wanted, find};
    use crate::system::clock::{Clock, Timestamp};

    const KEY: [u8; 32] = [7; 32];

    /// Starts the log on that day, writes four events and stops it.
    fn run_for_a_day(dir: &Path, day: u64) {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000 + day * 86_400));
        let log = Log::default();
        let thread = log.start(dir, KEY, &clock, day).unwrap();
        for number in 0..4 {
            let subject = format!("account {number}");
            let event = String::from(if number % 2 == 0 { "login.failed" } else { "login.succeeded" });
            log.note(Line { time: clock.now(), event, subject, journal: day, ..Line::default() });
        }
        log.end();
        thread.join().unwrap();
    }

    fn lines(dir: &Path) -> u64 {
        verify(dir, &KEY).unwrap().unwrap()
    }

    #[test]
    fn the_chain_spans_restarts_and_days_and_any_changed_byte_breaks_it() {
        let dir = tempfile::tempdir().unwrap();
        (0..3).for_each(|day| run_for_a_day(dir.path(), day));
        assert_eq!(lines(dir.path()), 15);
        for path in files(dir.path()).unwrap() {
            let whole = std::fs::read(&path).unwrap();
            for at in 0..whole.len() {
                for flip in [1, 32] {
                    let mut changed = whole.clone();
                    changed[at] ^= flip;
                    std::fs::write(&path, &changed).unwrap();
                    let found = verify(dir.path(), &KEY).unwrap();
                    assert!(found.is_err(), "byte {at} of {}", path.display());
                }
            }
            std::fs::write(&path, &whole).unwrap();
        }
        // A line removed from the middle is found at the line after it. Without the key no line can be added.
        let path = files(dir.path()).unwrap().remove(1);
        let text = std::fs::read_to_string(&path).unwrap();
        let without: String =
            text.lines().enumerate().filter(|(n, _)| *n != 2).map(|(_, l)| format!("{l}\n")).collect();
        std::fs::write(&path, without).unwrap();
        let found = verify(dir.path(), &KEY).unwrap().unwrap_err();
        assert_eq!(found.line, 3);
        assert!(found.to_string().contains("jsonl:3: does not follow"), "{found}");
        std::fs::write(&path, text).unwrap();
        assert!(verify(dir.path(), &[8; 32]).unwrap().is_err());
        // Old files may be deleted.
        std::fs::remove_file(files(dir.path()).unwrap().remove(0)).unwrap();
        assert_eq!(lines(dir.path()), 10);
    }

    #[test]
    fn a_line_cut_short_by_a_crash_is_removed_and_noted() {
        let dir = tempfile::tempdir().unwrap();
        run_for_a_day(dir.path(), 0);
        let path = files(dir.path()).unwrap().remove(0);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 30]).unwrap();
        let found = verify(dir.path(), &KEY).unwrap().unwrap_err();
        assert_eq!(found.line, 5);
        assert!(found.what.contains("cut short"), "{found}");
        run_for_a_day(dir.path(), 0);
        assert_eq!(lines(dir.path()), 4 + 6);
        let mended =
            find(dir.path(), &Wanted { event: Some("audit.mended".into()), limit: 9, ..Wanted::default() });
        assert!(mended.unwrap()[0].reason.contains("bytes of an unfinished line"));
    }

    #[test]
    fn events_are_found_by_time_name_account_and_page() {
        let dir = tempfile::tempdir().unwrap();
        (0..3).for_each(|day| run_for_a_day(dir.path(), day));
        let seqs = |wanted: Wanted| -> Vec<u64> {
            find(dir.path(), &wanted).unwrap().iter().map(|line| line.seq).collect()
        };
        let all = Wanted { limit: 4, ..Wanted::default() };
        assert_eq!(seqs(all.clone()), [12, 13, 14, 15]);
        assert_eq!(seqs(Wanted { event: Some("login.failed".into()), ..all.clone() }), [7, 9, 12, 14]);
        assert_eq!(
            seqs(Wanted { event: Some("login.".into()), after: Some(8), ..all.clone() }),
            [9, 10, 12, 13]
        );
        assert_eq!(seqs(Wanted { account: Some("account 1".into()), ..all.clone() }), [3, 8, 13]);
        let since = Some(Timestamp::from_secs(1_800_000_000 + 86_400));
        assert_eq!(seqs(Wanted { since, ..all.clone() }), [6, 7, 8, 9]);
        assert_eq!(seqs(Wanted { since, after: Some(9), ..all }), [10, 11, 12, 13]);
    }
}
