//! Protection against requests that another site makes a browser send (CSRF).
//!
//! **The attack:** another site makes the browser send a request with our cookie, or logs the browser in to the
//! attacker's account.
//!
//! **The rule:** applies to unsafe methods with a cookie, and to a log-in that sets one. The browser's `Sec-Fetch-Site`
//! must name our own site, or else `Origin` or `Referer` must; a request without any of them is refused. With a cookie
//! the request must also have a token, bound to the session, which only our own page can read.
//!
//! Source: OWASP Cross-Site Request Forgery Prevention Cheat Sheet; Fetch Metadata Request Headers (W3C).

use base64ct::{Base64UrlUnpadded, Encoding};
use subtle::ConstantTimeEq;

use crate::value::id::keyed_digest;

/// The headers that say where a request comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// The value of `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// The value of `Sec-Fetch-Mode`.
    pub fetch_mode: Option<&'a str>,
    /// The value of `Origin`.
    pub origin: Option<&'a str>,
    /// The value of `Referer`.
    pub referer: Option<&'a str>,
}

/// The error for a request that may come from another site.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("request may come from another site")]
pub struct Rejected;

/// Checks that a request comes from one of our own `origins`.
pub fn check_source<'a>(
    source: Source<'_>,
    mut origins: impl Iterator<Item = &'a str>,
) -> Result<(), Rejected> {
    let own = match (source.fetch_site, source.origin.or(source.referer)) {
        (Some("same-origin"), None) => true,
        (Some("none"), None) => source.fetch_mode == Some("navigate"),
        // The browser says that it is another site, so an `Origin` of ours does not count.
        (Some("cross-site"), _) | (_, None) => false,
        (_, Some(from)) => origins.any(|origin| origin == origin_of(from)),
    };
    if own { Ok(()) } else { Err(Rejected) }
}

/// Returns the CSRF token of a session. Each log-in has a new one, since it opens a new session.
pub fn issue(key: &[u8; 32], session: [u8; 16]) -> String {
    Base64UrlUnpadded::encode_string(&keyed_digest(key, &[b"csrf", &session]))
}

/// Checks the token that a request of `session` presents. Compares in constant time.
pub fn check_token(key: &[u8; 32], session: [u8; 16], presented: Option<&str>) -> Result<(), Rejected> {
    let expected = issue(key, session);
    let agrees = presented.is_some_and(|token| token.as_bytes().ct_eq(expected.as_bytes()).into());
    if agrees { Ok(()) } else { Err(Rejected) }
}

/// Returns scheme, host and port of a URL, in the form of an `Origin` header.
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
        for presented in [None, Some(""), Some(&token[1..]), Some("x")] {
            assert_eq!(check_token(&[1; 32], [2; 16], presented), Err(Rejected));
        }
        assert_eq!(check_token(&[1; 32], [3; 16], Some(&token)), Err(Rejected));
    }
}
