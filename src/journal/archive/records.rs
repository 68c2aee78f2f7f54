//! The plainest targets of a replay: one keeps every record as bytes, one keeps nothing.

use std::collections::BTreeMap;

use crate::journal::recovery::report::ReplayTarget;

/// All records by table and key, each with its schema and value.
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
    /// Iterates over the table, schema, key and value of each record, by table and key.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16, &[u8], &[u8])> {
        self.0.iter().map(|((table, key), (schema, value))| (*table, *schema, &key[..], &value[..]))
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A target that accepts every write and keeps none: for a reading that only asks how far a journal reaches.
pub(super) struct Discard;

impl ReplayTarget for Discard {
    fn apply(&mut self, _: u16, _: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
        Ok(())
    }
}
