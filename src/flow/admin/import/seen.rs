//! What the lines of an import have that no two accounts may have, so that a line which repeats an earlier one names it. A
//! dry run judges by it; otherwise the accounts themselves decide.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::registry::account::AccountV4;
use crate::registry::account::import::Taken;

/// Most keys that are remembered: what a table of 2^21 places holds, 34 MiB.
const KEYS_MAX: usize = (1 << 21) / 8 * 7;

/// Digests of 8 bytes, each with its line. Of a million lines, one in ten million streams has two that are alike by chance.
#[derive(Default)]
pub(super) struct Seen(HashMap<u64, FirstLine>);

/// The line that had something first, and whether it gave an external id.
#[derive(Clone, Copy)]
struct FirstLine(u64);

impl FirstLine {
    const fn new(number: u64, has_external_id: bool) -> Self {
        Self(number << 1 | has_external_id as u64)
    }

    const fn number(self) -> u64 {
        self.0 >> 1
    }

    const fn has_external_id(self) -> bool {
        self.0 & 1 == 1
    }
}

/// What an earlier line has as well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Earlier {
    /// What it has.
    pub(super) what: Taken,
    /// Its number.
    pub(super) line: u64,
    /// Whether it is about the same person: it has the same address and the same ids, as far as this line gives some.
    pub(super) is_same: bool,
}

impl Seen {
    /// Notes the account of the line `number`. Returns what an earlier one has as well, if one has. What finds no room is not
    /// remembered.
    pub(super) fn note(&mut self, number: u64, account: &AccountV4, has_given_id: bool) -> Option<Earlier> {
        let external_id = account.external_id();
        let keys = [
            (Taken::Email, Some(key(b'e', &account.name_key))),
            (Taken::ExternalId, external_id.map(|id| key(b'x', id.as_bytes()))),
            (Taken::Id, has_given_id.then(|| key(b'i', &account.id.to_bytes()))),
        ];
        let known = keys.iter().find_map(|(what, key)| Some((*what, *self.0.get(key.as_ref()?)?)));
        if let Some((what, first)) = known {
            let is_same = what == Taken::Email
                && first.has_external_id() == external_id.is_some()
                && keys
                    .iter()
                    .filter_map(|(_, key)| key.as_ref())
                    .all(|key| self.0.get(key).is_some_and(|line| line.number() == first.number()));
            return Some(Earlier { what, line: first.number(), is_same });
        }
        let new = keys.into_iter().filter_map(|(_, key)| key);
        let first = FirstLine::new(number, external_id.is_some());
        let room = KEYS_MAX - self.0.len();
        self.0.extend(new.take(room).map(|key| (key, first)));
        None
    }
}

fn key(kind: u8, bytes: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update([kind]).chain_update(bytes).finalize();
    u64::from_le_bytes(digest.first_chunk().copied().unwrap_or_default())
}
