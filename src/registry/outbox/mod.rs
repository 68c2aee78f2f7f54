//! Mail: a journalled outbox, from which mails leave after what they speak of is durable.
//!
//! **The attack:** a request that waits for a mail server tells by its time whether an account exists; a crash between
//! an answer and its mail loses the mail; a stolen journal holds live tokens.
//!
//! **The rule:** a request posts one entry, mail or not, and is answered. A thread of its own sends, at least once, with
//! a stable Message-ID, and tries again ever later for three days. A mail server that accepts and says nothing is hung up on
//! at a deadline, and holds up neither the mails behind nor a stop. A token in a waiting mail is sealed under the outbox
//! key, so that the journal alone is worth nothing. For a name without an account a mail to nobody is written, waits, is
//! made and dropped: what a request for it sets off looks the same from outside, also after the answer.
//!
//! ```text
//!   post ──▶ waiting ──▶ gone (sent | refused for good | three days old)
//!              │  ▲
//!              └──┘ failed: 30 s, 1 min, 2 min … 1 h
//! ```

pub mod actor;
pub mod record;
pub mod state;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

pub use record::{Kind, MailV1};
pub use state::{Outbox, Post, Tried};

use crate::value::id::keyed_digest;

/// Seals the token of the mail `id` under a key of its own.
pub fn seal_token(outbox_key: &[u8; 32], id: [u8; 16], token: &str) -> Vec<u8> {
    let mut bytes = token.as_bytes().to_vec();
    // The key belongs to this id alone, and an id to one mail: the nonce can be constant.
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let sealed = token_key(outbox_key, id).seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes);
    assert!(sealed.is_ok(), "AES-256-GCM refused to seal a token");
    bytes
}

/// Opens what [`seal_token`] sealed.
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
    fn a_waiting_token_is_readable_with_the_key_alone() {
        let sealed = seal_token(&[1; 32], [2; 16], "pcm_secret");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(open_token(&[1; 32], [2; 16], &sealed).unwrap().as_str(), "pcm_secret");
        assert!(open_token(&[9; 32], [2; 16], &sealed).is_none());
        assert!(open_token(&[1; 32], [9; 16], &sealed).is_none());
    }
}
