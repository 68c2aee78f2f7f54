//! Copies the log into a backup: its files, and the record of both ends, so that the copy can be verified like the log.

use std::io;
use std::path::Path;

use super::ends::Ends;
use super::read::{last_line, named_files};
use crate::journal::archive::copy_file;
use crate::storage::{Storage, unlink_if_there};

pub use super::ends::NAME as RECORD;

/// The directory of the copied files.
pub const DIR: &str = "audit";
/// If the server removes an old file meanwhile, the copy begins again, at most this many times.
const COPIES_MAX: usize = 8;

/// The files that a backup got of the log, and what a check of them found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Copied {
    /// The paths of the files in the backup, each with the SHA-256 of its bytes.
    pub sums: Vec<(String, String)>,
}

/// Copies the files in `dir` and the record of their ends in `data` to `to`: they may be in use. Of the last file, an
/// unfinished line is left out.
pub fn copy(dir: &Path, data: &dyn Storage, to: &dyn Storage) -> io::Result<Copied> {
    for _ in 0..COPIES_MAX {
        match try_copy(dir, data, to) {
            Ok(Some(copied)) => return Ok(copied),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Err(io::Error::other(
        "the server removed old files of audit.dir faster than they could be copied; try again",
    ))
}

/// Copies once. Returns `None` if a file was removed meanwhile.
fn try_copy(dir: &Path, data: &dyn Storage, to: &dyn Storage) -> io::Result<Option<Copied>> {
    to.create_dir(DIR)?;
    for name in to.list(DIR)? {
        to.unlink(&format!("{DIR}/{name}"))?;
    }
    unlink_if_there(to, RECORD)?;
    let mut copied = Copied::default();
    // The record comes first: it never names a line that the files copied after it do not hold.
    let removed = removed(data)?;
    match data.open(RECORD) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        record => {
            let record = record?;
            let sum = copy_file(&*record, record.length()?, to, "", RECORD)?;
            copied.sums.push((RECORD.to_owned(), sum));
        }
    }
    let files = match named_files(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        files => files?,
    };
    for (name, path) in files {
        let (_, whole, _) = last_line(&path)?;
        let file = crate::storage::local::open(&path)?;
        let name = name.to_string();
        let sum = copy_file(&*file, whole, to, DIR, &name)?;
        copied.sums.push((format!("{DIR}/{name}"), sum));
    }
    Ok((self::removed(data)? == removed).then_some(copied))
}

/// Returns the number of the last line that was removed by age or size; `None` if there is no record that can be read.
fn removed(data: &dyn Storage) -> io::Result<Option<u64>> {
    match data.open(RECORD) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        record => {
            let ends = serde_json::from_slice::<Ends>(&record?.read_all()?).ok();
            Ok(ends.map(|ends| ends.removed.seq))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::ends::{Place, Record};
    use super::super::line::{Line, digest, seal};
    use super::super::verify::verify;
    use super::*;
    use crate::storage::local::LocalStorage;
    use crate::system::clock::Timestamp;

    const KEY: [u8; 32] = [5; 32];

    /// Writes `count` lines after `last` into the file `name` and returns the place of the last.
    fn write(dir: &Path, name: &str, last: Place, count: u64) -> Place {
        let mut text = String::new();
        let mut last = last;
        for _ in 0..count {
            let time = Timestamp::from_secs(1_800_000_000);
            let line = Line { seq: last.seq + 1, time, prev: last.digest, ..Line::default() };
            let sealed = seal(&KEY, &line);
            last = Place { seq: line.seq, digest: digest(sealed.as_bytes()) };
            text.push_str(&sealed);
            text.push('\n');
        }
        fs::write(dir.join(name), text).unwrap();
        last
    }

    #[test]
    fn a_copy_is_verified_like_the_log_and_holds_no_unfinished_line() {
        let root = tempfile::tempdir().unwrap();
        let [data, to] = ["data", "to"].map(|name| LocalStorage::open(&root.path().join(name)).unwrap());
        let log = root.path().join("data/audit");
        // Nothing was ever written.
        assert_eq!(copy(&log, &data, &to).unwrap(), Copied::default());
        fs::create_dir(&log).unwrap();
        let removed = Place::default();
        let last = write(&log, "2027-01-14.jsonl", removed.clone(), 3);
        let last = write(&log, "2027-01-15.jsonl", last, 2);
        Ends { removed, last: last.clone() }.write(&data, &KEY).unwrap();
        // The server writes on: one line after the record, and a half one.
        write(&log, "2027-01-15.001.jsonl", last, 1);
        let newest = log.join("2027-01-15.001.jsonl");
        let whole = fs::read(&newest).unwrap();
        fs::write(&newest, [&whole[..], b"{\"seq\":7,"].concat()).unwrap();

        let copied = copy(&log, &data, &to).unwrap();
        let paths: Vec<&str> = copied.sums.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            ["audit.end", "audit/2027-01-14.jsonl", "audit/2027-01-15.jsonl", "audit/2027-01-15.001.jsonl"]
        );
        assert_eq!(fs::read(root.path().join("to/audit/2027-01-15.001.jsonl")).unwrap(), whole);
        let record = Record::read(&to, &KEY).unwrap();
        assert_eq!(verify(&root.path().join("to/audit"), &KEY, Some(&record)).unwrap().unwrap().lines, 6);
        // A copy that is repeated holds no file that is gone.
        fs::remove_file(log.join("2027-01-14.jsonl")).unwrap();
        assert_eq!(copy(&log, &data, &to).unwrap().sums.len(), 3);
        assert!(!root.path().join("to/audit/2027-01-14.jsonl").exists());
    }
}
