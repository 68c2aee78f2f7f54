//! Checks of keys for `portcullis doctor`: whether they are sealed at rest, how old the signing key is, whether the
//! peppers are there, and whether this system keeps secrets out of core dumps.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis::config::{Config, SecretFile};
use portcullis::engine::key_loading;
use portcullis::engine::partition::{StartError, key_files};
use portcullis::storage::Storage;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Clock;
use portcullis::system::random::Random;
use portcullis::system::secrets_in_memory;
use portcullis::token::{KeyFiles, Keys, Sealing};

use crate::cli::remembered::compare_keys;
use crate::cli::{Failure, counted};

/// The result of one check.
pub(super) struct Checked {
    pub(super) is_good: bool,
    /// The state if it is not good: `warn` or `fail`.
    pub(super) otherwise: &'static str,
    pub(super) what: String,
    pub(super) why: &'static str,
    pub(super) fix: String,
}

/// Checks the keys of `config`, and this process as one like the server's.
pub(super) fn checks(config: &Config) -> Vec<Checked> {
    let mut checks = Vec::new();
    let mut has_keys = false;
    // A new machine has no keys yet, and a check must not create them.
    if let Ok(storage) = LocalStorage::open_existing(&config.keys.dir) {
        let random = Arc::new(Random::system());
        let stored = KeyFiles::new(Arc::new(storage), None, Arc::clone(&random));
        has_keys = stored.exist();
        if has_keys {
            checks.push(at_rest(config, &stored));
            let opened = key_files(config, &random);
            let opened =
                opened.and_then(|files| Keys::check(&files).map(|()| files).map_err(StartError::from));
            checks.push(match &config.keys.master_file {
                Some(file) if file.resolved().is_err() => not_here(file),
                _ => readable(opened.as_ref().err()),
            });
            if let Ok(files) = &opened {
                let peppers = key_loading::peppers(files, config);
                checks.push(peppers_present(peppers.err()));
                checks.extend(belonging(config));
            }
        }
    }
    if !has_keys {
        checks.extend(belonging(config).filter(|check| !check.is_good));
    }
    checks.extend(signing_key_age(config));
    checks.push(memory());
    checks
}

fn at_rest(config: &Config, stored: &KeyFiles) -> Checked {
    let is_sealed = matches!(stored.sealing(), Ok(Sealing::Sealed));
    let state = if is_sealed { "sealed" } else { "not sealed" };
    let fix = if config.keys.master_file.is_some() {
        "the next start of the server seals them"
    } else {
        "set [keys] master_file = \"credential:portcullis-master\", or to a file outside the data directory"
    };
    Checked {
        is_good: is_sealed,
        otherwise: "warn",
        what: format!("keys at rest, {state}"),
        why: "a stolen copy of the key files forges tokens",
        fix: fix.to_owned(),
    }
}

/// Says that the keys could not be opened here, which is no fault of them.
fn not_here(file: &SecretFile) -> Checked {
    Checked {
        is_good: false,
        otherwise: "warn",
        what: String::from("key files"),
        why: "not checked: systemd gives the secret that opens them to the unit of the server alone",
        fix: format!("run this check there; see the line of the secret in {file}"),
    }
}

fn readable(error: Option<&StartError>) -> Checked {
    Checked {
        is_good: error.is_none(),
        otherwise: "fail",
        what: String::from("key files"),
        why: "they cannot be read, so the server will not start",
        fix: error.map_or_else(String::new, ToString::to_string),
    }
}

/// Compares the keys with what the data remembers. A running server has done so, and is asked what has changed since.
fn belonging(config: &Config) -> Option<Checked> {
    let data = LocalStorage::open_existing(&config.data_dir).ok()?;
    let _lock = data.lock_to_read().ok()?;
    // A directory that cannot be read is for `data verify`.
    let error = compare_keys(config, &data).err();
    Some(Checked {
        is_good: error.is_none(),
        otherwise: "fail",
        what: String::from("keys of this data directory"),
        why: "accounts, devices and sessions are unknown with other keys, so the server will not start",
        fix: error.map_or_else(String::new, |Failure(_, why)| why),
    })
}

fn peppers_present(error: Option<StartError>) -> Checked {
    Checked {
        is_good: error.is_none(),
        otherwise: "fail",
        what: String::from("peppers of passwords"),
        why: "passwords that were hashed with a missing pepper cannot be checked, so the server will not start",
        fix: error.map_or_else(String::new, |error| error.to_string()),
    }
}

/// Checks the age of the newest signing key. The running server changes it by itself, so an old one means that no server
/// has run, or that it could not write.
fn signing_key_age(config: &Config) -> Option<Checked> {
    let age = newest_key_age(&config.keys.dir)?;
    let days = age.as_secs() / 86_400;
    Some(Checked {
        is_good: days <= config.token.key_days,
        otherwise: "warn",
        what: format!("age of the signing key, {}", counted(days, "day", "days")),
        why: "the server changes it every token.key_days, and has not: it does not run, or cannot write into keys.dir",
        fix: String::from("start the server, look into its log, or run: portcullis key rotate"),
    })
}

fn newest_key_age(dir: &Path) -> Option<Duration> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let signing = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("signing-"));
    let newest = signing.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()?;
    let created = newest.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(Clock::system().now().as_secs()).saturating_sub(created))
}

fn memory() -> Checked {
    let refused = secrets_in_memory::refuse_dumps();
    Checked {
        is_good: refused.is_ok(),
        otherwise: "warn",
        what: String::from("core dumps and debuggers, refused"),
        why: "a core dump, or a debugger of the same user, holds keys and passwords",
        fix: refused.err().map_or_else(String::new, |error| {
            format!("this system does not let a process refuse them ({error}): run the server in a unit with LimitCORE=0")
        }),
    }
}
