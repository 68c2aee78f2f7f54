//! The points up to which a directory can be replayed.

use std::fmt;

use super::recovery_target::RecoveryTarget;
use super::{Directory, read_directory};
use crate::journal::format::frame;
use crate::journal::format::identity_file::IdentityFile;
use crate::journal::format::layout::{JOURNAL_DIR, Sizes, segment_path, snapshot_path};
use crate::journal::recovery::replay::reader::Replay;
use crate::journal::recovery::report::{Refusal, ReplayTarget, unreadable};
use crate::journal::snapshot;
use crate::storage::Storage;
use crate::system::clock::Timestamp;

/// A sequence and its time in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Point {
    /// The sequence.
    pub seq: u64,
    /// Its time.
    pub wall_ms: u64,
}

/// The first and the last point up to which a directory can be replayed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    /// The first point: the first entry, or the end of the oldest snapshot from which the journal goes on.
    pub first: Point,
    /// The last point.
    pub last: Point,
}

impl Range {
    /// Reads the range of a directory or a backup; `None` if it holds nothing. Changes nothing. It reads all of it.
    ///
    /// Errors: recovery would refuse the directory.
    pub fn read(storage: &dyn Storage, sizes: Sizes) -> Result<Option<Self>, Refusal> {
        let list = || Directory::list(storage, IdentityFile::open);
        let past = read_directory(storage, sizes, list()?, &mut Nothing, RecoveryTarget::default())?;
        let last = Point { seq: past.report.seq, wall_ms: past.report.wall_ms };
        if last.seq == 0 {
            return Ok(None);
        }
        let first = first_point(storage, sizes, &list()?)?.unwrap_or(last);
        Ok(Some(Self { first, last }))
    }

    /// Returns what is wrong with a recovery target that lies outside of the range. Times count in whole seconds, as people
    /// write them.
    pub fn judge(&self, target: RecoveryTarget) -> Option<String> {
        let Self { first, last } = self;
        let range = format!("what can be restored is {first} to {last}");
        let second = |ms: u64| ms.div_ceil(1000);
        match target {
            RecoveryTarget { seq: Some(seq), .. } if seq < first.seq => {
                Some(format!("sequence {seq} is before all that is there: {range}"))
            }
            RecoveryTarget { seq: Some(seq), .. } if seq > last.seq => {
                Some(format!("sequence {seq} is after all that is there: {range}"))
            }
            RecoveryTarget { time: Some(time), .. } if second(time.as_millis()) < second(first.wall_ms) => {
                Some(format!("{time} is before all that is there: {range}"))
            }
            RecoveryTarget { time: Some(time), .. } if second(time.as_millis()) > second(last.wall_ms) => {
                Some(format!("{time} is after all that is there: {range}"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_secs(self.wall_ms.div_ceil(1000));
        write!(f, "sequence {} ({})", self.seq, time.rfc3339())
    }
}

/// Takes every record and keeps none.
struct Nothing;

impl ReplayTarget for Nothing {
    fn apply(&mut self, _: u16, _: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
        Ok(())
    }
}

/// Returns the first point of a directory that recovery reads; `None` if only its end is one.
fn first_point(storage: &dyn Storage, sizes: Sizes, directory: &Directory) -> Result<Option<Point>, Refusal> {
    let mut nothing = Nothing;
    let replay = Replay::new(storage, sizes, directory, &mut nothing, RecoveryTarget::default());
    let Some(first_seq) = replay.first_seq_of(&directory.segments)? else {
        return Ok(None);
    };
    if first_seq == 1 {
        return first_entry(storage, sizes, directory);
    }
    for end_seq in &directory.snapshots {
        let path = snapshot_path(*end_seq);
        let file = storage.open(&path).map_err(unreadable(&path))?;
        // One that cannot be read is passed over, as recovery does.
        let Ok(summary) = snapshot::verify(&*file, None) else { continue };
        if first_seq <= summary.start_seq + 1 {
            return Ok(Some(Point { seq: summary.end_seq, wall_ms: summary.max_wall_ms }));
        }
    }
    Ok(None)
}

/// Returns the first entry of a whole journal.
fn first_entry(storage: &dyn Storage, sizes: Sizes, directory: &Directory) -> Result<Option<Point>, Refusal> {
    for segno in &directory.segments {
        let path = segment_path(*segno);
        let file = storage.open(&path).map_err(unreadable(&path))?;
        let bytes = file.read_written(sizes.frame_max()).map_err(unreadable(JOURNAL_DIR))?;
        let mut frames = bytes.chunks(sizes.align).filter_map(frame::read_header);
        if let Some(frame) = frames.find(|frame| frame.count > 0) {
            return Ok(Some(Point { seq: frame.first_seq, wall_ms: frame.wall_ms }));
        }
    }
    Ok(None)
}
