//! `[log]`: the form of the log of the process, and where it goes.

use std::path::PathBuf;

use crate::config::key::{Key, choice, number, text};
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[
    choice(
        "log.format",
        "\"auto\"",
        &["auto", "text", "json"],
        "Lines for people (\"text\") or for programs (\"json\"). \"auto\": text on a terminal, json elsewhere.",
    ),
    text("log.file", "", "File of the log. Default: standard output, for a collector such as journald."),
    number(
        "log.file_bytes_max",
        "67108864",
        64 << 10..=1 << 40,
        "Bytes of that file. A full one is renamed to NAME.1, and the numbers of older ones rise.",
    ),
    number("log.file_count", "8", 1..=1000, "How many such files are kept, the one in use included."),
];

/// The settings of `[log]`.
#[derive(Clone, Debug)]
pub struct Log {
    /// The form of the lines.
    pub format: LogFormat,
    /// Where lines go instead of standard output.
    pub file: Option<LogFile>,
}

/// The form of the lines of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text, for people.
    Text,
    /// A JSON object in each line, for programs.
    Json,
}

/// The file of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFile {
    /// Its path. Older files have `.1`, `.2` and so on after it.
    pub path: PathBuf,
    /// Maximum size of one file in bytes.
    pub bytes_max: u64,
    /// How many files are kept, the one in use included.
    pub count: u32,
}

impl Log {
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        let format = match reader.choice("log.format").as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => LogFormat::Auto,
        };
        let (bytes_max, count) =
            (reader.number("log.file_bytes_max"), reader.number("log.file_count") as u32);
        let file = reader.path("log.file");
        Self { format, file: file.map(|path| LogFile { path, bytes_max, count }) }
    }
}
