//! The mark in the id of an access token, by which this server recognises its own tokens before it checks a signature.
//!
//! **The attack:** a network sends tokens that look right, and each of them costs the check of a signature. If its
//! requests were refused altogether, everybody behind the same address would be shut out.
//!
//! **The rule:** one half of the id (`jti`) is random, the other half a tag of the random half, the session and the
//! expiry under a key of this server. While a network is over its limit of rejected requests, only tokens with a right
//! tag are looked at further. The tag is no proof of anything else: the signature is still checked.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::access::TOKEN_CHARS_MAX;
use crate::value::id::{hex, short_digest};

/// The key of the marks.
pub struct TokenMarks([u8; 32]);

/// The claims that a mark covers.
#[derive(Deserialize)]
struct Marked {
    jti: String,
    sid: String,
    exp: u64,
}

impl TokenMarks {
    /// Returns the marks under `key`.
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Returns the id of a token of the session `sid` that expires at `exp`.
    pub fn id(&self, random: [u8; 8], sid: &str, exp: u64) -> String {
        let random = hex(&random);
        let tag = self.tag(&random, sid, exp);
        random + &tag
    }

    /// Returns when `token` expires, in seconds since 1970, if it has a right mark.
    pub fn expiry(&self, token: &str) -> Option<u64> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let claims = Base64UrlUnpadded::decode_vec(token.split('.').nth(1)?).ok()?;
        let Marked { jti, sid, exp } = serde_json::from_slice(&claims).ok()?;
        let (random, tag) = jti.split_at_checked(16)?;
        let is_own: bool = tag.as_bytes().ct_eq(self.tag(random, &sid, exp).as_bytes()).into();
        is_own.then_some(exp)
    }

    fn tag(&self, random: &str, sid: &str, exp: u64) -> String {
        hex(&short_digest(&self.0, &[random.as_bytes(), sid.as_bytes(), &exp.to_le_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(jti: &str, sid: &str, exp: u64) -> String {
        let claims = serde_json::json!({"jti": jti, "sid": sid, "exp": exp, "iss": "x"}).to_string();
        format!("e30.{}.e30", Base64UrlUnpadded::encode_string(claims.as_bytes()))
    }

    #[test]
    fn own_tokens_are_recognised_and_no_others() {
        let marks = TokenMarks::new([1; 32]);
        let id = marks.id([9; 8], "s", 7);
        assert_eq!(id.len(), 32);
        assert_eq!(marks.expiry(&token(&id, "s", 7)), Some(7));
        assert_eq!(TokenMarks::new([2; 32]).expiry(&token(&id, "s", 7)), None);
        let mut wrong = id.clone();
        wrong.replace_range(31.., if id.ends_with('0') { "1" } else { "0" });
        for other in [token(&id, "t", 7), token(&id, "s", 8), token(&wrong, "s", 7), token("", "s", 7)] {
            assert_eq!(marks.expiry(&other), None, "{other}");
        }
        for garbage in ["", "x", "a.b.c", "..", "a.e30.c", &"a".repeat(10_000)] {
            assert_eq!(marks.expiry(garbage), None);
        }
    }
}
