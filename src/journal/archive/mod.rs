//! Copies of the past: a backup taken while the server serves, what is restored from it, and what can be saved of a
//! directory that no longer starts.
//!
//! A restore is a new past: the timeline rises and the global epoch with it, so that sessions, families and mailed tokens
//! of before are dead; signing keys are not taken over, so that access tokens are; waiting mails are not sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::append::handle::{Class, NoRoom};
use super::format::entry::{Change, Entry};
use super::format::identity_file::IdentityFile;
use super::format::layout::{IDENTITY, Sizes};
use super::recovery::replay::{RecoveryTarget, replay_read_only_until};
use super::recovery::report::{Refusal, ReplayTarget};
use super::recovery::{Options, recover};
use crate::storage::Storage;
use crate::system::clock::{Clock, Timestamp};
use crate::system::random::Random;

mod backup;
pub mod inspect;
mod salvage;
pub mod staging;

pub use backup::{SUMS, back_up, check_sums};
pub use salvage::{Salvaged, salvage};

/// Mails that wait are not part of what is restored.
const OUTBOX: u16 = 7;

/// Records by table and key, each with its schema and bytes.
#[derive(Default)]
pub struct Records(BTreeMap<(u16, Vec<u8>), (u16, Vec<u8>)>);

impl ReplayTarget for Records {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let place = (table, key.to_vec());
        match value {
            Some(value) => self.0.insert(place, (schema, value.to_vec())),
            None => self.0.remove(&place),
        };
        Ok(())
    }
}

impl Records {
    /// Table, schema, key and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16, &[u8], &[u8])> {
        self.0.iter().map(|((table, key), (schema, value))| (*table, *schema, &key[..], &value[..]))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a new past was made of.
#[derive(Debug)]
pub struct Restored {
    /// Records in it.
    pub records: usize,
    /// Mails that waited and are not sent.
    pub mails: usize,
    /// The last sequence of the old past that is in it.
    pub seq: u64,
    /// Its timeline.
    pub timeline: u32,
}

/// Reads a directory up to a sequence or a time, and makes a new past of it in an empty directory.
pub fn restore(
    from: &dyn Storage,
    to: Arc<dyn Storage>,
    sizes: Sizes,
    until: RecoveryTarget,
    clock: Clock,
    random: Arc<Random>,
) -> Result<Restored, Refusal> {
    let mut records = Records::default();
    let found = replay_read_only_until(from, sizes, &mut records, until)?;
    let (cluster, timeline) = origin(from)?;
    clock.raise_floor(Timestamp(found.wall_ms));
    begin_anew(to, sizes, records, (cluster, timeline), found.seq, clock, random)
}

fn origin(from: &dyn Storage) -> Result<([u8; 16], u32), Refusal> {
    const NEXT: &str = "name a data directory or a backup of one";
    let identity = IdentityFile::open(from).map_err(|error| Refusal::new(IDENTITY, None, error, NEXT))?;
    let identity = identity.ok_or_else(|| Refusal::new(IDENTITY, None, "missing", NEXT))?;
    let identity = identity.map_err(|error| Refusal::new(IDENTITY, None, error, NEXT))?;
    Ok((identity.cluster(), identity.timeline()))
}

/// Keys are made by whoever starts it; here they are none of our business.
struct Nobody;

impl ReplayTarget for Nobody {
    fn apply(&mut self, _: u16, _: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
        Ok(())
    }
}

fn begin_anew(
    to: Arc<dyn Storage>,
    sizes: Sizes,
    records: Records,
    (cluster, timeline): ([u8; 16], u32),
    seq: u64,
    clock: Clock,
    random: Arc<Random>,
) -> Result<Restored, Refusal> {
    const NEXT: &str = "mend the disk and restore again into an empty directory";
    let fault = |error: &dyn std::fmt::Display| Refusal::new(IDENTITY, None, error, NEXT);
    let timeline = timeline + 1;
    let created_ms = clock.now().as_millis();
    IdentityFile::form(&*to, cluster, timeline, created_ms).map_err(|error| fault(&error))?;
    let options = Options { storage: to, sizes, clock, random, accept_clock_floor: false };
    let mut recovered = recover(options, &mut Nobody)?;
    let (mut kept, mut mails) = (0, 0);
    for ((table, key), (schema, value)) in records.0 {
        if table == OUTBOX {
            mails += 1;
            continue;
        }
        kept += 1;
        let change = Change { table, schema, key, value: Some(value) };
        let entry = Entry::encode(&[change]).map_err(|error| fault(&error))?;
        let permit = loop {
            match recovered.handle.reserve(entry.as_bytes().len(), Class::Essential) {
                Ok(permit) => break permit,
                Err(NoRoom::Stopped) => return Err(fault(&NoRoom::Stopped)),
                Err(_) => {
                    recovered.writer.step().map_err(|error| fault(&error))?;
                    recovered.prepare().map_err(|error| fault(&error))?;
                }
            }
        };
        recovered.handle.append(permit, &entry);
    }
    recovered.writer.close().map_err(|error| fault(&error))?;
    Ok(Restored { records: kept, mails, seq, timeline })
}

#[cfg(test)]
mod tests;
