//! The signature of a call, and of what a receiver answers.

use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;

use crate::system::clock::Timestamp;
use crate::value::id::hex;

/// The header that holds a signature.
pub const HEADER: &str = "portcullis-signature";
/// How far the time of a signature may be from now, in seconds.
pub const AGE_MAX_SECS: u64 = 300;

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

/// Says whether `header` signs `body` under `secret`, at most [`AGE_MAX_SECS`] from `now`.
///
/// Security: the comparison takes constant time.
pub fn is_genuine(secret: &[u8], header: &str, body: &[u8], now: Timestamp) -> bool {
    let parts = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1="));
    let Some((Ok(secs), given)) = parts.map(|(secs, given)| (secs.parse::<u64>(), given)) else {
        return false;
    };
    let expected = signature(secret, secs, body);
    secs.abs_diff(now.as_secs()) <= AGE_MAX_SECS && bool::from(expected.as_bytes().ct_eq(given.as_bytes()))
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
    fn only_the_holder_of_the_secret_signs_and_only_for_a_while() {
        let signed = header(b"key", NOW, b"{}");
        assert!(is_genuine(b"key", &signed, b"{}", NOW));
        let late = Timestamp::from_secs(NOW.as_secs() + AGE_MAX_SECS);
        assert!(is_genuine(b"key", &signed, b"{}", late));
        assert!(!is_genuine(b"key", &signed, b"{}", Timestamp::from_secs(late.as_secs() + 1)));
        assert!(!is_genuine(b"kez", &signed, b"{}", NOW));
        assert!(!is_genuine(b"key", &signed, b"[]", NOW));
        let (time, _) = signed.split_once(",v1=").unwrap();
        for forged in ["", "t=,v1=", "v1=00", time, &format!("{time},v1="), &format!("{time},v1=00")] {
            assert!(!is_genuine(b"key", forged, b"{}", NOW), "{forged}");
        }
    }
}
