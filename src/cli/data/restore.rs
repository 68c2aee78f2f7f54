//! `portcullis data restore` and `portcullis data salvage`.

use std::path::Path;

use portcullis::config::Config;
use portcullis::journal::archive::{self, Restored, Salvaged, check_sums};
use portcullis::journal::recovery::replay::RecoveryTarget;
use portcullis::system::clock::Timestamp;

use super::{destination, open};
use crate::cli::{Failure, counted, new_directory};

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
    config: &Config,
    from: &Path,
    target: RecoveryTarget,
    keys: Option<&Path>,
) -> Result<(), Failure> {
    let source = open(from)?;
    check_sums(&*source).map_err(Failure::refused)?;
    new_directory::create(config, from, keys, |to, clock, random| {
        let restored = archive::restore(&*source, destination(to, clock, random), target);
        Ok(vec![summary(&restored.map_err(Failure::refused)?)])
    })
}

/// Creates the data directory of `config` from what is readable of the damaged one in `from`.
pub(super) fn salvage(config: &Config, from: &Path, keys: Option<&Path>) -> Result<(), Failure> {
    let source = open(from)?;
    let _lock = source.lock_to_read().map_err(Failure::refused)?;
    new_directory::create(config, from, keys, |to, clock, random| {
        let salvaged =
            archive::salvage(&*source, destination(to, clock, random)).map_err(Failure::refused)?;
        Ok(losses(&salvaged).chain([summary(&salvaged.restored)]).collect())
    })
}

fn summary(restored: &Restored) -> String {
    format!(
        "{} up to sequence {}; timeline {}: every session, refresh token, mailed token, API key and device cookie \
         from before is dead; the signing key is new, so access tokens from before are refused; dropped {}",
        counted(restored.records as u64, "record", "records"),
        restored.seq,
        restored.timeline,
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
