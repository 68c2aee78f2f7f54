//! The check of requests that a browser might have been made to send.
//!
//! **The attack:** another site lets the browser send a request that carries our cookie, or logs the browser in to the
//! attacker's account.
//!
//! **The rule:** for unsafe methods with a cookie, and for log-in to one: the browser's own word on where the request
//! comes from, else its origin; both absent is a no. With a cookie also a token that only our own page can read,
//! bound to the session.
//!
//! Source: OWASP Cross-Site Request Forgery Prevention Cheat Sheet; Fetch Metadata Request Headers (W3C).

use base64ct::{Base64UrlUnpadded, Encoding};
use subtle::ConstantTimeEq;

use crate::value::id::keyed_digest;

/// What a request says of where it comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// `Sec-Fetch-Mode`.
    pub fetch_mode: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Referer`.
    pub referer: Option<&'a str>,
}

/// A request that may not come from our own page.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("request may come from another site")]
pub struct Rejected;

/// Checks where a request comes from against the origins that are ours.
pub fn check_source<'a>(
    source: Source<'_>,
    mut origins: impl Iterator<Item = &'a str>,
) -> Result<(), Rejected> {
    let own = match (source.fetch_site, source.origin.or(source.referer)) {
        (Some("same-origin"), None) => true,
        (Some("none"), None) => source.fetch_mode == Some("navigate"),
        // Another site is another site, even one that an origin header calls ours.
        (Some("cross-site"), _) | (_, None) => false,
        (_, Some(from)) => origins.any(|origin| origin == origin_of(from)),
    };
    if own { Ok(()) } else { Err(Rejected) }
}

/// The token of a session, for the page that holds it. New at each log-in, since the session is.
pub fn issue(key: &[u8; 32], session: [u8; 16]) -> String {
    Base64UrlUnpadded::encode_string(&keyed_digest(key, &[b"csrf", &session]))
}

/// Checks the token that came with a request of `session`.
pub fn check_token(key: &[u8; 32], session: [u8; 16], shown: Option<&str>) -> Result<(), Rejected> {
    let right = issue(key, session);
    let agrees = shown.is_some_and(|shown| shown.as_bytes().ct_eq(right.as_bytes()).into());
    if agrees { Ok(()) } else { Err(Rejected) }
}

/// Scheme, host and port of a URL: what an `Origin` header would say.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(host..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(url.len(), |at| host + at);
    url.get(..end).unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_pass() {
        let cases = [
            ((Some("same-origin"), None, None), true),
            ((Some("same-origin"), Some("https://us.example"), None), true),
            ((Some("same-site"), Some("https://us.example"), None), true),
            ((None, Some("https://us.example"), None), true),
            ((None, None, Some("https://us.example/login?next=x")), true),
            ((None, None, None), false),
            ((Some("none"), None, None), false),
            ((Some("cross-site"), Some("https://us.example"), None), false),
            ((Some("same-site"), None, None), false),
            ((Some("same-origin"), Some("https://evil.example"), None), false),
            ((None, Some("null"), Some("https://us.example/")), false),
            ((None, None, Some("https://us.example.evil.example/")), false),
            ((None, Some("https://us.example:444"), None), false),
            ((None, Some("http://us.example"), None), false),
        ];
        for ((fetch_site, origin, referer), passes) in cases {
            let source = Source { fetch_site, fetch_mode: None, origin, referer };
            let checked = check_source(source, ["https://us.example"].into_iter());
            assert_eq!(checked.is_ok(), passes, "{source:?}");
        }
    }

    #[test]
    fn a_token_is_bound_to_its_session() {
        let token = issue(&[1; 32], [2; 16]);
        assert_eq!(check_token(&[1; 32], [2; 16], Some(&token)), Ok(()));
        for shown in [None, Some(""), Some(&token[1..]), Some("x")] {
            assert_eq!(check_token(&[1; 32], [2; 16], shown), Err(Rejected));
        }
        assert_eq!(check_token(&[1; 32], [3; 16], Some(&token)), Err(Rejected));
    }
}
