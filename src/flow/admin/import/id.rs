//! The id of an account that has one in another system.
//!
//! Our ids begin with a slot, of which there are 16,384, so they have two bits fewer than a UUID. A UUID that begins with a
//! slot is kept bit by bit. Of any other the last 14 bytes are kept, behind the slot of the address; of an id that is no UUID,
//! 14 bytes of its SHA-256. The same line therefore always gives the same id. What an account cannot have as its id is its
//! external id, by which it is found.

use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::value::id::{AccountId, Slot};

/// The id of an account, as another system names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Mapped {
    /// The id here.
    pub(super) id: AccountId,
    /// Whether the id of there cannot be told from it, so that the account needs it as its external id.
    pub(super) needs_external_id: bool,
}

/// Returns the id of the account whose address is in `slot` and whose id elsewhere is `text`.
pub(super) fn mapped(text: &str, slot: Slot) -> Mapped {
    if let Ok(id) = AccountId::from_str(text) {
        return Mapped { id, needs_external_id: false };
    }
    let id = match uuid(text) {
        Some(bytes) => AccountId::from_bytes(bytes).unwrap_or_else(|| {
            let [_, _, rest @ ..] = bytes;
            AccountId::mint(slot, rest)
        }),
        None => AccountId::mint(slot, digest(text)),
    };
    Mapped { id, needs_external_id: true }
}

/// Returns the first 14 bytes of the SHA-256 of an id.
fn digest(text: &str) -> [u8; 14] {
    Sha256::digest(text).first_chunk().copied().unwrap_or_default()
}

/// Reads a UUID (RFC 9562): 32 hexadecimal digits, with hyphens behind the 8th, 12th, 16th and 20th or without any.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let is_hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let has_hyphens =
        text.len() == 36 && text.bytes().enumerate().all(|(at, b)| is_hyphen(at) == (b == b'-'));
    if !has_hyphens && text.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let read = base16ct::mixed::decode(digits, &mut bytes).ok()?;
    (read.len() == 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot::FIRST;

    #[test]
    fn a_uuid_is_kept_where_it_begins_with_a_slot_and_otherwise_its_last_fourteen_bytes_are() {
        for (text, id, needs_external_id) in [
            // Our own form.
            ("0191e4bc6f1e7c3a9d2b5a4c3d2e1f00", "0191e4bc6f1e7c3a9d2b5a4c3d2e1f00", false),
            ("0191e4bc-6f1e-7c3a-9d2b-5a4c3d2e1f00", "0191e4bc6f1e7c3a9d2b5a4c3d2e1f00", true),
            ("0191E4BC-6F1E-7C3A-9D2B-5A4C3D2E1F00", "0191e4bc6f1e7c3a9d2b5a4c3d2e1f00", true),
            ("3fffffff-6f1e-4c3a-9d2b-5a4c3d2e1f00", "3fffffff6f1e4c3a9d2b5a4c3d2e1f00", true),
            ("40000000-6f1e-4c3a-9d2b-5a4c3d2e1f00", "000000006f1e4c3a9d2b5a4c3d2e1f00", true),
            ("f47ac10b-58cc-4372-a567-0e02b2c3d479", "0000c10b58cc4372a5670e02b2c3d479", true),
            ("f47ac10b58cc4372a5670e02b2c3d479", "0000c10b58cc4372a5670e02b2c3d479", true),
        ] {
            let mapped = mapped(text, SLOT);
            assert_eq!((mapped.id.to_string().as_str(), mapped.needs_external_id), (id, needs_external_id));
        }
    }

    #[test]
    fn any_other_id_gives_always_the_same_one_in_the_slot_of_the_address() {
        let texts =
            ["7", "auth0|5f7c8ec7c33c6c004bbafe82", "f47ac10b-58cc4372-a567-0e02b2c3d479--", "\u{e9}", ""];
        let mut ids: Vec<_> = texts.iter().map(|text| mapped(text, SLOT).id).collect();
        assert_eq!(mapped("7", SLOT).id, ids[0]);
        assert!(ids.iter().all(|id| id.slot() == SLOT));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), texts.len());
    }
}
