//! The log of security events: a JSON line each, every one with the SHA-256 of the line before, a file for each day.
//!
//! Written by a thread of its own behind a bounded queue, so that no request waits for it; what does not fit is counted,
//! and the next line says how many are missing. The newest events are also kept in memory for `GET /v1/admin/audit`.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

/// Events that wait for the disk at most.
const QUEUE: usize = 8192;
/// Events kept in memory.
const RECENT: usize = 10_000;
const PAUSE: Duration = Duration::from_millis(20);

/// One event as it is written.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line {
    /// Counts events of one life of the server, from 1.
    pub seq: u64,
    /// As RFC 3339.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Its stable name.
    pub event: String,
    /// The id of an account or session, or a word; never a name that was typed.
    pub subject: String,
    /// The client's network.
    pub network: String,
    /// Events that were lost before this one, because the disk was behind.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// SHA-256 of the line before, in hexadecimal; of nothing for the first line of a directory.
    pub prev: String,
}

mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&at.rfc3339())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not a time by RFC 3339"))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where events go.
#[derive(Debug, Default)]
pub struct Log {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seq: u64,
    lost: u64,
    recent: VecDeque<Arc<Line>>,
    writer: Option<SyncSender<Arc<Line>>>,
}

impl Log {
    /// Opens the directory and starts the thread that writes. Ends when [`Log::end`] is called.
    pub fn start(&self, dir: &Path) -> io::Result<JoinHandle<()>> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let prev = last_digest(dir)?;
        let (writer, lines) = sync_channel(QUEUE);
        self.state.lock().writer = Some(writer);
        let dir = dir.to_owned();
        std::thread::Builder::new().name("audit".into()).spawn(move || {
            if let Err(error) = write_all(&dir, prev, &lines) {
                tracing::error!(%error, "the log of security events cannot be written");
            }
        })
    }

    /// Lets the thread write what waits and end.
    pub fn end(&self) {
        self.state.lock().writer = None;
    }

    /// Takes down an event.
    pub fn note(&self, now: Timestamp, event: &str, subject: String, network: &str) {
        let mut state = self.state.lock();
        state.seq += 1;
        let line = Arc::new(Line {
            seq: state.seq,
            time: now,
            event: event.to_owned(),
            subject,
            network: network.to_owned(),
            lost: state.lost,
            prev: String::new(),
        });
        if state.recent.len() >= RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back(Arc::clone(&line));
        let full =
            |writer: &SyncSender<Arc<Line>>| matches!(writer.try_send(line), Err(TrySendError::Full(_)));
        state.lost = if state.writer.as_ref().is_some_and(full) { state.lost + 1 } else { 0 };
    }

    /// The newest events of which `wanted` says yes, at most `limit`, the newest last.
    pub fn recent(&self, limit: usize, wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
        let state = self.state.lock();
        let mut found: Vec<Line> = state
            .recent
            .iter()
            .rev()
            .filter(|line| wanted(line))
            .take(limit)
            .map(|line| Line::clone(line))
            .collect();
        found.reverse();
        found
    }
}

fn write_all(dir: &Path, mut prev: String, lines: &Receiver<Arc<Line>>) -> io::Result<()> {
    let mut open: Option<(String, BufWriter<std::fs::File>)> = None;
    loop {
        let mut line = match lines.try_recv() {
            Ok(line) => Line::clone(&line),
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                if let Some((_, file)) = &mut open {
                    file.flush()?;
                }
                // Sleeps by the clock, so that no request pays for waking it.
                std::thread::sleep(PAUSE);
                continue;
            }
        };
        let day = line.time.rfc3339().get(..10).unwrap_or("0000-00-00").to_owned();
        line.prev.clone_from(&prev);
        let mut text = serde_json::to_string(&line).map_err(io::Error::other)?;
        prev = digest(&text);
        text.push('\n');
        if open.as_ref().is_none_or(|(of, _)| *of != day) {
            let file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(dir.join(format!("{day}.jsonl")))?;
            open = Some((day, BufWriter::new(file)));
        }
        if let Some((_, file)) = &mut open {
            file.write_all(text.as_bytes())?;
        }
    }
    open.map_or(Ok(()), |(_, mut file)| file.flush())
}

fn digest(line: &str) -> String {
    Sha256::digest(line.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
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

/// The digest of the last line. A line that a crash cut short is ended first, so that the next one stands alone.
fn last_digest(dir: &Path) -> io::Result<String> {
    for path in files(dir)?.iter().rev() {
        let text = std::fs::read_to_string(path)?;
        if !text.is_empty() && !text.ends_with('\n') {
            std::fs::OpenOptions::new().append(true).open(path)?.write_all(b"\n")?;
        }
        if let Some(line) = text.lines().last() {
            return Ok(digest(line));
        }
    }
    Ok(digest(""))
}

/// Walks the chain of all files and says how many lines it has, or where it breaks.
pub fn verify(dir: &Path) -> io::Result<Result<u64, String>> {
    let mut prev: Option<String> = None;
    let mut count = 0;
    for path in files(dir)? {
        let text = std::fs::read_to_string(&path)?;
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{}:{}", path.display(), number + 1);
            match serde_json::from_str::<Line>(line) {
                Ok(read) if prev.as_ref().is_none_or(|prev| *prev == read.prev) => count += 1,
                Ok(_) => return Ok(Err(format!("{}: does not follow the line before it", place()))),
                // Cut short by a crash: its digest still binds what follows.
                Err(_) if number + 1 < text.lines().count() || !text.ends_with('\n') => {}
                Err(error) => return Ok(Err(format!("{}: {error}", place()))),
            }
            prev = Some(digest(line));
        }
    }
    Ok(Ok(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_goes_on_over_restarts_and_days_and_a_changed_line_breaks_it() {
        let dir = tempfile::tempdir().unwrap();
        for life in 0..3 {
            let log = Log::default();
            let thread = log.start(dir.path()).unwrap();
            for secs in 0..5 {
                let at = Timestamp::from_secs(1_800_000_000 + life * 86_400 + secs);
                log.note(at, "login.failed", String::from("x"), "192.0.2.1/32");
            }
            assert_eq!(log.recent(2, |_| true).iter().map(|line| line.seq).collect::<Vec<_>>(), [4, 5]);
            log.end();
            thread.join().unwrap();
        }
        assert_eq!(verify(dir.path()).unwrap(), Ok(15));
        let path = files(dir.path()).unwrap().remove(1);
        let text = std::fs::read_to_string(&path).unwrap().replacen("login.failed", "login.nothing", 1);
        std::fs::write(&path, text).unwrap();
        assert!(
            verify(dir.path()).unwrap().unwrap_err().ends_with("jsonl:2: does not follow the line before it")
        );
    }
}
