//! What the lines of a dry run have that no two accounts may have, so that a line which repeats an earlier one is found.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::registry::account::AccountV4;
use crate::registry::account::import::Taken;

/// Most keys that are remembered: what a table of 2^21 places holds, 18 MiB.
const KEYS_MAX: usize = (1 << 21) / 8 * 7;

/// Digests of 8 bytes. Of a million lines, one in ten million streams has two that are alike by chance.
#[derive(Default)]
pub(super) struct Seen(HashSet<u64>);

impl Seen {
    /// Notes an account. Returns what an earlier one has as well, if one has. What finds no room is not remembered.
    pub(super) fn note(&mut self, account: &AccountV4) -> Option<Taken> {
        let keys = [
            (Taken::Email, Some(key(b'e', &account.name_key))),
            (Taken::ExternalId, account.external_id().map(|id| key(b'x', id.as_bytes()))),
            (Taken::Id, Some(key(b'i', &account.id.to_bytes()))),
        ];
        let known = keys.iter().find(|(_, key)| key.is_some_and(|key| self.0.contains(&key)));
        if let Some((what, _)) = known {
            return Some(*what);
        }
        let new = keys.into_iter().filter_map(|(_, key)| key);
        let room = KEYS_MAX - self.0.len();
        self.0.extend(new.take(room));
        None
    }
}

fn key(kind: u8, bytes: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update([kind]).chain_update(bytes).finalize();
    u64::from_le_bytes(digest.first_chunk().copied().unwrap_or_default())
}
