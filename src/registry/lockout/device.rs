//! The device cookie, by which a browser that has logged in to a name is recognised.

use base64ct::{Base64UrlUnpadded, Encoding};
use subtle::ConstantTimeEq;

use crate::value::account_name::NameKey;
use crate::value::id::{keyed_digest, short_digest};

const PREFIX: &str = "pcd_";
const VERSION: u8 = 1;

/// Issues the text of a cookie, which says that its holder has logged in to `name`. It is bound to the name and worth
/// nothing alone.
pub fn issue(key: &[u8; 32], name: NameKey, nonce: [u8; 16]) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&tag(key, name, nonce));
    format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&bytes))
}

/// Returns the digest under which a device of `name` is counted; `None` if this server did not issue `text` for `name`.
pub fn check(key: &[u8; 32], name: NameKey, text: &str) -> Option<[u8; 8]> {
    let mut bytes = [0; 33];
    let read = Base64UrlUnpadded::decode(text.strip_prefix(PREFIX)?, &mut bytes).ok()?;
    let (version, rest) = read.split_first()?;
    let (nonce, presented) = rest.split_first_chunk::<16>()?;
    let is_right = bool::from(tag(key, name, *nonce).ct_eq(presented));
    let digest = short_digest(key, &[b"device count", nonce]);
    (is_right && *version == VERSION).then_some(digest)
}

fn tag(key: &[u8; 32], name: NameKey, nonce: [u8; 16]) -> [u8; 16] {
    let digest = keyed_digest(key, &[b"device", &name.0, &nonce]);
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_bound_to_its_name_and_key() {
        let ada = NameKey([1; 16]);
        let bob = NameKey([2; 16]);
        let text = issue(&[3; 32], ada, [4; 16]);
        assert!(check(&[3; 32], ada, &text).is_some());
        assert_eq!(check(&[3; 32], ada, &text), check(&[3; 32], ada, &text));
        assert_eq!(check(&[3; 32], bob, &text), None);
        assert_eq!(check(&[9; 32], ada, &text), None);
        assert_eq!(check(&[3; 32], ada, &text[..text.len() - 1]), None);
        assert_eq!(check(&[3; 32], ada, &format!("{text}A")), None);
    }
}
