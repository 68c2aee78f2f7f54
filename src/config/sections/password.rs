//! `[password]`: the cost of a hash, the threads that compute it, and refused passwords.

use std::path::PathBuf;
use std::time::Duration;

use super::keys::secret_file;
use crate::config::key::{Key, choice, number, text};
use crate::config::reader::Reader;
use crate::config::secret_file::SecretFile;
use crate::password::Cost;
use crate::password::argon2id::Choice;

pub(in crate::config) const KEYS: &[Key] = &[
    number("password.memory_kib", "19456", 8..=262_144, "KiB of memory that one argon2id hash uses."),
    number("password.passes", "2", 1..=10, "Passes over that memory."),
    number("password.lanes", "1", 1..=4, "Lanes of argon2id."),
    number("password.threads", "", 1..=1024, "Threads that hash. Default: the number of cores."),
    choice(
        "password.implementation",
        "\"auto\"",
        &["auto", "reference"],
        "\"auto\": vector instructions if they pass their self-test; \"reference\": the argon2 crate.",
    ),
    number(
        "password.wait_budget_ms",
        "2000",
        0..=600_000,
        "A password that would wait longer than this for a thread is refused at once.",
    ),
    number(
        "password.min_length",
        "15",
        8..=64,
        "Fewest characters of a new password. 8 is enough only where a second factor is required.",
    ),
    text(
        "password.pepper_file",
        "",
        "File of peppers, newest first, one a line: an id and a secret of 32 characters or more; or credential:NAME. \
         Default: none.",
    ),
    text(
        "password.list_file",
        "",
        "File of known passwords to refuse, one a line, in addition to the built-in list.",
    ),
    number(
        "password.drop_foreign_after_days",
        "0",
        0..=3650,
        "Days from an import after which the hash of another system is no password any more. 0: never.",
    ),
];

/// The settings of `[password]`.
#[derive(Clone, Debug)]
pub struct Password {
    /// The cost of a new hash.
    pub cost: Cost,
    /// Threads that hash.
    pub threads: usize,
    /// Which implementation of argon2id hashes.
    pub implementation: Choice,
    /// How long a password may wait for a thread before it is refused.
    pub wait_budget: Duration,
    /// The secrets that go into each hash.
    pub pepper_file: Option<SecretFile>,
    /// The fewest characters of a new password.
    pub chars_min: usize,
    /// A file of known passwords to refuse, in addition to the built-in list.
    pub list_file: Option<PathBuf>,
    /// How long after an import the hash of another system counts as a password; `None` for ever.
    pub foreign_for: Option<Duration>,
}

impl Password {
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        let threads = match reader.optional_number("password.threads") {
            Some(threads) => threads as usize,
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        };
        let cost = Cost {
            memory_kib: reader.number("password.memory_kib") as u32,
            passes: reader.number("password.passes") as u32,
            lanes: reader.number("password.lanes") as u32,
        };
        if !cost.is_bounded() {
            reader.wrong("password.memory_kib", "must be at least 8 for each lane");
        }
        let implementation = match reader.choice("password.implementation").as_str() {
            "reference" => Choice::Reference,
            _ => Choice::Auto,
        };
        let foreign_days = reader.number("password.drop_foreign_after_days");
        Self {
            cost,
            threads,
            implementation,
            wait_budget: Duration::from_millis(reader.number("password.wait_budget_ms")),
            pepper_file: secret_file(reader, "password.pepper_file"),
            chars_min: reader.number("password.min_length") as usize,
            list_file: reader.path("password.list_file"),
            foreign_for: (foreign_days > 0).then(|| Duration::from_hours(24 * foreign_days)),
        }
    }
}
