//! What a data directory holds, for an operator's eyes: without applying or changing anything.

use std::io;
use std::sync::Arc;

use super::frame;
use super::header::{FileKind, HEADER_BYTES, Header};
use super::layout::{
    IdentityFile, JOURNAL_DIR, SNAPSHOT_DIR, SegmentFields, Sizes, numbers, segment_path, snapshot_path,
};
use super::past::look;
use super::recover::{Found, Past, Refusal};
use super::snapshot;
use super::storage::Storage;

/// Files, headers and frames, a line each. Takes no lock, so on a running server the last frames may be in flight.
pub fn inspect(storage: &dyn Storage) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    lines.push(match IdentityFile::open(storage)? {
        None => String::from("IDENTITY: none"),
        Some(Err(error)) => format!("IDENTITY: {error}"),
        Some(Ok(identity)) => {
            let cluster = u128::from_be_bytes(identity.cluster());
            format!(
                "IDENTITY: cluster {cluster:032x}, timeline {}, {:?}",
                identity.timeline(),
                identity.newest()
            )
        }
    });
    for number in numbers(storage, SNAPSHOT_DIR, ".snap")? {
        let path = snapshot_path(number);
        let file = storage.open(&path)?;
        let read = snapshot::read(&*file, None, &mut |_, _, _, _| Ok(()));
        lines.push(
            read.map_or_else(|error| format!("{path}: {error}"), |summary| format!("{path}: {summary:?}")),
        );
    }
    for number in numbers(storage, JOURNAL_DIR, ".log")? {
        inspect_segment(storage, &segment_path(number), &mut lines)?;
    }
    Ok(lines)
}

fn inspect_segment(storage: &dyn Storage, path: &str, lines: &mut Vec<String>) -> io::Result<()> {
    let bytes = storage.open(path)?.read_all()?;
    let Some(block) = bytes.first_chunk::<HEADER_BYTES>() else {
        lines.push(format!("{path}: shorter than its header"));
        return Ok(());
    };
    let fields = match Header::read(FileKind::Segment, block) {
        Ok(header) => SegmentFields::read(&header.by_kind).map(|fields| (header.epoch, fields)),
        Err(error) => {
            lines.push(format!("{path}: {error}"));
            None
        }
    };
    let Some((epoch, fields)) = fields else { return Ok(()) };
    lines.push(format!("{path}: epoch {epoch}, {fields:?}"));
    let align = (fields.align as usize).max(512);
    let mut at = HEADER_BYTES;
    while let Some(rest) = bytes.get(at..) {
        match frame::read(rest, align) {
            frame::Seen::End => break,
            frame::Seen::Bad => {
                lines.push(format!("  {at}: not a frame"));
                at += align;
            }
            frame::Seen::Frame(frame) => {
                let header = &frame.header;
                lines.push(format!(
                    "  {at}: {:?} batch {}, {} entries from {}, {} bytes",
                    header.kind, header.batch_no, header.count, header.first_seq, frame.len
                ));
                at += frame.len;
            }
        }
    }
    Ok(())
}

/// Reads the whole past as recovery would, and changes nothing. The caller holds the lock.
pub fn verify(storage: &Arc<dyn Storage>) -> Result<Found, Refusal> {
    struct Nothing;
    impl Past for Nothing {
        fn apply(&mut self, _: u16, _: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
            Ok(())
        }
    }
    look(&**storage, Sizes::PRODUCTION, &mut Nothing)
}
