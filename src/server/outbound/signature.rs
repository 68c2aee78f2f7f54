//! The signature of a call, and of what a receiver answers.

use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;

use crate::system::clock::Timestamp;
use crate::value::id::hex;

/// The header that holds a signature.
pub const HEADER: &str = "portcullis-signature";

/// Returns the HMAC-SHA-256 of `<secs>.<body>` under `secret`, in hexadecimal.
pub fn signature(secret: &[u8], secs: u64, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(secret) else {
        unreachable!("HMAC takes a key of any length")
    };
    mac.update(format!("{secs}.").as_bytes());
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

/// Returns the header that signs `body` at `now`.
pub fn header(secret: &[u8], now: Timestamp, body: &[u8]) -> String {
    let secs = now.as_secs();
    format!("t={secs},v1={}", signature(secret, secs, body))
}

/// Returns the header that signs `body` as the answer to the question `id`, which was put at `asked_at`: over
/// `<secs>.<id>.<body>`, so that an answer fits one question alone.
pub fn answer_header(secret: &[u8], id: &str, body: &[u8], asked_at: Timestamp) -> String {
    header(secret, asked_at, &[id.as_bytes(), b".", body].concat())
}

/// Says whether `given` is that header.
///
/// Security: the comparison takes constant time.
pub(super) fn is_answer(secret: &[u8], given: &str, id: &str, body: &[u8], asked_at: Timestamp) -> bool {
    let expected = answer_header(secret, id, body, asked_at);
    bool::from(expected.as_bytes().ct_eq(given.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_signature_binds_time_and_body() {
        let signed = signature(b"key", 7, b"{}");
        assert_eq!(signed.len(), 64);
        assert_eq!(signed, signature(b"key", 7, b"{}"));
        for (secret, secs, body) in [(&b"kez"[..], 7, &b"{}"[..]), (b"key", 8, b"{}"), (b"key", 7, b"[]")] {
            assert_ne!(signature(secret, secs, body), signed);
        }
    }

    #[test]
    fn an_answer_fits_one_question_of_one_time() {
        let signed = answer_header(b"key", "7f", b"{}", NOW);
        assert!(is_answer(b"key", &signed, "7f", b"{}", NOW));
        assert!(!is_answer(b"kez", &signed, "7f", b"{}", NOW));
        assert!(!is_answer(b"key", &signed, "7e", b"{}", NOW));
        assert!(!is_answer(b"key", &signed, "7f", b"[]", NOW));
        assert!(!is_answer(b"key", &signed, "7f", b"{}", Timestamp::from_secs(NOW.as_secs() + 1)));
        // A question is signed otherwise, so it is no answer to itself.
        for forged in ["", "t=,v1=", &*header(b"key", NOW, b"{}")] {
            assert!(!is_answer(b"key", forged, "7f", b"{}", NOW), "{forged}");
        }
    }
}
