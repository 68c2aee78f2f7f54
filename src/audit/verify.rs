//! Walks the chain of all files: one changed byte anywhere is found, with its file and line.

use std::io;
use std::path::Path;

use super::line::Line;
use super::line::{digest, is_sealed};
use super::read::files;

/// Where the chain breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct Break {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

/// Walks all files and says how many lines they have, or where the chain breaks first. The first file may be gone, as
/// operators keep so many days; every other line must follow the one before.
pub fn verify(dir: &Path, key: &[u8; 32]) -> io::Result<Result<u64, Break>> {
    let mut before: Option<(String, u64)> = None;
    let mut count = 0;
    for path in files(dir)? {
        let bytes = std::fs::read(&path)?;
        let mut rest = bytes.as_slice();
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let found =
                |what: &str| Break { file: path.display().to_string(), line: number, what: what.to_owned() };
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return Ok(Err(found(
                    "does not end: cut short by a crash, which the next start mends, or changed",
                )));
            };
            let (line, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            match judge(line, before.as_ref(), key) {
                Ok(seq) => before = Some((digest(line), seq)),
                Err(what) => return Ok(Err(found(what))),
            }
            count += 1;
        }
    }
    Ok(Ok(count))
}

fn judge(line: &[u8], before: Option<&(String, u64)>, key: &[u8; 32]) -> Result<u64, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "is no text")?;
    if !is_sealed(key, text) {
        return Err("was changed: its seal is not its own");
    }
    let read: Line = serde_json::from_str(text).map_err(|_| "is no event")?;
    match before {
        Some((prev, seq)) if *prev != read.prev || seq + 1 != read.seq => {
            Err("does not follow the line before it: lines are missing, or stand in another order")
        }
        None if read.seq == 1 && read.prev != digest(b"") => Err("is not the first"),
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

    fn life(dir: &Path, day: u64) {
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
    fn the_chain_goes_on_over_restarts_and_days_and_any_changed_byte_breaks_it() {
        let dir = tempfile::tempdir().unwrap();
        (0..3).for_each(|day| life(dir.path(), day));
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
        // A line taken out of the middle is found where the next one stands; whoever lacks the key can add none.
        let path = files(dir.path()).unwrap().remove(1);
        let text = std::fs::read_to_string(&path).unwrap();
        let without: String =
            text.lines().enumerate().filter(|(n, _)| *n != 2).map(|(_, l)| format!("{l}\n")).collect();
        std::fs::write(&path, without).unwrap();
        let found = verify(dir.path(), &KEY).unwrap().unwrap_err();
        assert!(found.line == 3 && found.to_string().contains("jsonl:3: does not follow"), "{found}");
        std::fs::write(&path, text).unwrap();
        assert!(verify(dir.path(), &[8; 32]).unwrap().is_err());
        // Old days may be gone.
        std::fs::remove_file(files(dir.path()).unwrap().remove(0)).unwrap();
        assert_eq!(lines(dir.path()), 10);
    }

    #[test]
    fn a_line_that_a_crash_cut_short_is_mended_and_noted() {
        let dir = tempfile::tempdir().unwrap();
        life(dir.path(), 0);
        let path = files(dir.path()).unwrap().remove(0);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 30]).unwrap();
        let found = verify(dir.path(), &KEY).unwrap().unwrap_err();
        assert!(found.line == 5 && found.what.contains("cut short"), "{found}");
        life(dir.path(), 0);
        assert_eq!(lines(dir.path()), 4 + 6);
        let mended =
            find(dir.path(), &Wanted { event: Some("audit.mended".into()), limit: 9, ..Wanted::default() });
        assert!(mended.unwrap()[0].reason.contains("bytes of an unfinished line"));
    }

    #[test]
    fn events_are_found_by_time_name_account_and_page() {
        let dir = tempfile::tempdir().unwrap();
        (0..3).for_each(|day| life(dir.path(), day));
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
