//! `portcullis data restore` and `portcullis data salvage`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use portcullis::config::Config;
use portcullis::engine::StartError;
use portcullis::journal::archive::{self, Restored, Salvaged, check_sums, refuse_unfinished};
use portcullis::journal::recovery::replay::RecoveryTarget;
use portcullis::journal::recovery::report::Refusal;
use portcullis::registry::account::AccountV4;
use portcullis::registry::file_check::FileCheckV1;
use portcullis::registry::record::Record;
use portcullis::registry::tables;
use portcullis::system::clock::Timestamp;
use portcullis::token::key_check::mismatches;
use portcullis::token::{KeyCheck, KeyKind, KeyMismatch, Keys};

use super::{SIZES, destination, lock_to_read, open};
use crate::cli::{Cli, Failure, counted, new_directory};

/// Returns the recovery target of the flags `--to-seq` and `--to-time`.
pub(super) fn target(seq: Option<u64>, time: Option<&str>) -> Result<RecoveryTarget, Failure> {
    let parse = |text: &str| {
        let wrong = || Failure::usage(format!("{text} is not a time such as 2027-01-15T08:00:00Z"));
        Timestamp::parse_rfc3339(text).ok_or_else(wrong)
    };
    Ok(RecoveryTarget { seq, time: time.map(parse).transpose()? })
}

/// Creates the data directory of `config` from the backup in `from`.
pub(super) fn restore(
    cli: &Cli,
    config: &Config,
    from: &Path,
    target: RecoveryTarget,
    keys: Option<&Path>,
) -> Result<(), Failure> {
    let source = open(from)?;
    refuse_unfinished(&*source).map_err(Failure::refused)?;
    check_sums(&*source).map_err(Failure::refused)?;
    // Before anything is made: up to a wrong point there may be nothing.
    archive::check_target(&*source, SIZES, target).map_err(Failure::refused)?;
    new_directory::create(cli, config, from, keys, |to, clock, random, added| {
        let now = clock.system_now();
        let belonging = Belonging::new(config, from, keys)?;
        let admit = |table, schema, _: &[u8], value: &[u8]| belonging.admit(table, schema, value);
        let restored = archive::restore(&*source, destination(to, clock, random, &admit, added), target);
        let restored = restored.map_err(Failure::refused)?;
        let lost = belonging.lost().into_iter().chain(belonging.undoable(now));
        Ok(lost.chain([summary(&restored)]).collect())
    })
}

/// Creates the data directory of `config` from the stopped one in `from`, without the time that its journal has seen.
pub(super) fn reset_clock_floor(
    cli: &Cli,
    config: &Config,
    from: &Path,
    keys: Option<&Path>,
) -> Result<(), Failure> {
    let source = open(from)?;
    let _lock = lock_to_read(&*source)?;
    new_directory::create(cli, config, from, keys, |to, clock, random, added| {
        let now = clock.system_now();
        let belonging = Belonging::new(config, from, keys)?;
        let admit = |table, schema, _: &[u8], value: &[u8]| belonging.admit(table, schema, value);
        let amend = |table, schema, value: &[u8]| {
            tables::future::brought_down(table, schema, value, now).map_err(|error| Refusal {
                path: from.display().to_string(),
                offset: None,
                what: format!("a record of table {table} cannot be read: {error}"),
                next: "look at it with portcullis data verify",
            })
        };
        let to = destination(to, clock, random, &admit, added);
        let restored = archive::restore_at_another_time(&*source, to, &amend).map_err(Failure::refused)?;
        let begins = format!("the new directory begins at {now}, the time of this machine");
        let lost = belonging.lost().into_iter().chain(belonging.undoable(now));
        Ok(lost.chain([begins, summary(&restored)]).collect())
    })
}

/// Creates the data directory of `config` from what is readable of the damaged one in `from`.
pub(super) fn salvage(cli: &Cli, config: &Config, from: &Path, keys: Option<&Path>) -> Result<(), Failure> {
    let source = open(from)?;
    let _lock = lock_to_read(&*source)?;
    new_directory::create(cli, config, from, keys, |to, clock, random, added| {
        let now = clock.system_now();
        let belonging = Belonging::new(config, from, keys)?;
        let admit = |table, schema, _: &[u8], value: &[u8]| belonging.admit(table, schema, value);
        let salvaged = archive::salvage(&*source, destination(to, clock, random, &admit, added));
        let salvaged = salvaged.map_err(Failure::refused)?;
        let lost = losses(&salvaged).chain(belonging.lost()).chain(belonging.undoable(now));
        Ok(lost.chain([summary(&salvaged.restored)]).collect())
    })
}

/// The keys that a new directory gets, compared with those that the old data was written with.
///
/// A key of a ring that is not there is no reason to refuse: a backup is older than its keys, of which some may have ended
/// since, and one may be lost for good. The new directory then remembers it no more.
pub(super) struct Belonging {
    dir: PathBuf,
    in_files: Vec<KeyCheck>,
    missing: RefCell<Vec<KeyMismatch>>,
    /// When the changes of address can be undone no longer, of the accounts of which that can be.
    undo_ends: RefCell<Vec<Timestamp>>,
}

impl Belonging {
    pub(super) fn new(config: &Config, from: &Path, keys: Option<&Path>) -> Result<Self, Failure> {
        let dir = new_directory::keys_of(from, keys);
        let in_files = Keys::check_values(&new_directory::source_keys(config, &dir)?);
        let in_files = in_files.map_err(StartError::from)?;
        Ok(Self { dir, in_files, missing: RefCell::default(), undo_ends: RefCell::default() })
    }

    /// Says whether a record is taken over. What is remembered of the log of security events is not: the new directory
    /// begins its own.
    pub(super) fn admit(&self, table: u16, schema: u16, value: &[u8]) -> Result<bool, Refusal> {
        // A record of another version is the next start's to judge.
        if table == tables::ACCOUNTS
            && let Ok(account) = AccountV4::read(schema, value)
        {
            self.undo_ends.borrow_mut().extend(account.former.map(|former| former.end()));
        }
        let check = (table == tables::FILE_CHECKS).then(|| FileCheckV1::read(schema, value).ok()).flatten();
        let Some(check) = check else { return Ok(true) };
        let Some(key) = check.key_check() else { return Ok(false) };
        // The new directory signs with a new one alone.
        if key.kind == KeyKind::Signing {
            return Ok(false);
        }
        let Some(mismatch) = mismatches(&[key], &self.in_files).pop() else { return Ok(true) };
        if mismatch.is_missing {
            self.missing.borrow_mut().push(mismatch);
            return Ok(false);
        }
        Err(Refusal {
            path: self.dir.join(&mismatch.file).display().to_string(),
            offset: None,
            what: mismatch.to_string(),
            next: "give the directory of the keys that belong to this data with --keys",
        })
    }

    /// Returns a line for each key that is not there.
    fn lost(&self) -> Vec<String> {
        let lost = self.missing.borrow();
        lost.iter().map(|missing| format!("lost: {} {missing}", missing.file)).collect()
    }
}

impl Belonging {
    /// Returns a line about the accounts whose change of address can be undone at `now`: the links for that are dead.
    fn undoable(&self, now: Timestamp) -> Option<String> {
        let undoable = self.undo_ends.borrow().iter().filter(|end| now < **end).count();
        (undoable > 0).then(|| {
            format!(
                "{} an address that was changed within three days: the link that undoes it is dead, and whoever had the \
                 address before gets another one by asking for a new password with it",
                counted(undoable as u64, "account has", "accounts have")
            )
        })
    }
}

fn summary(restored: &Restored) -> String {
    format!(
        "{} up to sequence {}; timeline {}: every session, refresh token, mailed token, API key and device cookie \
         from before is dead; the signing key is new, so access tokens from before are refused; taken over are {}, \
         dropped {}",
        counted(restored.read as u64, "record", "records"),
        restored.seq,
        restored.timeline,
        restored.records,
        counted(restored.left_out as u64, "waiting mail", "waiting mails")
    )
}

fn losses(salvaged: &Salvaged) -> impl Iterator<Item = String> {
    let passed_over = salvaged.passed_over.iter().map(|line| format!("passed over: {line}"));
    let lost = salvaged.lost.iter().map(|(first, last)| format!("lost: sequences {first} to {last}"));
    let last_known = salvaged.lost.last().map_or(0, |(_, last)| *last).max(salvaged.restored.seq);
    let open_end = salvaged.open_end.then(|| {
        format!(
            "lost: all entries after sequence {last_known}, if there were any: the end of the journal is damaged or \
             missing"
        )
    });
    passed_over.chain(lost).chain(open_end)
}
