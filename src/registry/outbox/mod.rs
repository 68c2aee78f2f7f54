//! Mail: a journalled outbox. A mail leaves only after what it speaks of is durable.
//!
//! **The attack:** a request that waits for a mail server reveals by its time whether an account exists; a crash
//! between an answer and its mail loses the mail; a stolen journal holds live tokens.
//!
//! **The rule:** a request posts one entry, with or without a mail, and is answered. A separate thread sends each mail
//! at least once, with a stable Message-ID, and retries with growing delays for three days. It sends [a few at a
//! time](slots), fewer to domains that are not known to be quick, and fewest to slow ones: whatever strangers have sent to
//! domains of theirs, a mail to a quick domain leaves soon. Fresh mails go before those that were tried, and resets and
//! unlocks before others. A mail server that accepts a connection and says nothing is disconnected at a deadline, and
//! delays neither later mails nor a stop of the server. A mail whose link has died while it waited is dropped. The token
//! in a waiting mail is sealed under the outbox key, so the journal alone is worth nothing. For a name without an account
//! a mail to nobody is written, waits, is composed and dropped: the work that a request for it causes looks the same from
//! outside, also after the answer.
//!
//! ```text
//!   post ──▶ waiting ──▶ gone (sent | refused for good | its link is dead | three days old)
//!              │  ▲
//!              └──┘ failed: 30 s, 1 min, 2 min … 1 h
//! ```

pub mod actor;
pub mod record;
pub mod slots;
pub mod state;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

pub use record::{Kind, MailV1, MailV2};
pub use state::{DeliveryOutcome, Fate, LastMail, Outbox, Post};

use crate::value::id::keyed_digest;

/// The id of the present outbox key.
pub const KID: u8 = 1;

/// Seals the token of the mail `id` under a key of its own.
pub fn seal_token(outbox_key: &[u8; 32], id: [u8; 16], token: &str) -> Vec<u8> {
    let mut bytes = token.as_bytes().to_vec();
    // Each key belongs to one id and each id to one mail, so the nonce can be constant.
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let sealed = token_key(outbox_key, id).seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes);
    assert!(sealed.is_ok(), "AES-256-GCM refused to seal a token");
    bytes
}

/// Opens what [`seal_token`] sealed; `None` if the key, the id or the bytes are others.
pub fn open_token(outbox_key: &[u8; 32], id: [u8; 16], sealed: &[u8]) -> Option<Zeroizing<String>> {
    let mut bytes = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let opened = token_key(outbox_key, id).open_in_place(nonce, Aad::empty(), &mut bytes).ok()?;
    std::str::from_utf8(opened).ok().map(|token| Zeroizing::new(token.to_owned()))
}

fn token_key(outbox_key: &[u8; 32], id: [u8; 16]) -> LessSafeKey {
    let key = Zeroizing::new(keyed_digest(outbox_key, &[b"portcullis mail v1", &id]));
    match UnboundKey::new(&AES_256_GCM, &key[..]) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("a key of 32 bytes is the length that AES-256 takes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_token_can_only_be_read_with_the_key_and_its_id() {
        let sealed = seal_token(&[1; 32], [2; 16], "pcm_secret");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(open_token(&[1; 32], [2; 16], &sealed).unwrap().as_str(), "pcm_secret");
        assert!(open_token(&[9; 32], [2; 16], &sealed).is_none());
        assert!(open_token(&[1; 32], [9; 16], &sealed).is_none());
    }
}
