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

use crate::flow::refusal::CsrfFault;
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

/// Checks that a request comes from our `own` origin, or from one of the `allowed` ones of the same site.
pub fn check_source<'a>(
    source: Source<'_>,
    own: &str,
    mut allowed: impl Iterator<Item = &'a str>,
) -> Result<(), CsrfFault> {
    // A page that sends no referrer has a `null` for its origin in some requests, and so has the page of a stranger: the
    // browser's other word decides.
    let origin = source.origin.filter(|origin| *origin != "null" || source.fetch_site != Some("same-origin"));
    let from = origin.or(source.referer).map(origin_of);
    match (source.fetch_site, from) {
        (Some("same-origin"), None) => Ok(()),
        (Some("none"), None) if source.fetch_mode == Some("navigate") => Ok(()),
        (_, None) => Err(CsrfFault::NoOrigin),
        // The browser says that it is another site, so an `Origin` of ours does not count.
        (Some("cross-site"), Some(from)) if from != own && allowed.any(|origin| origin == from) => {
            Err(CsrfFault::OtherSite)
        }
        (Some("cross-site"), _) => Err(CsrfFault::OtherOrigin),
        (_, Some(from)) if from == own || allowed.any(|origin| origin == from) => Ok(()),
        (_, Some(_)) => Err(CsrfFault::OtherOrigin),
    }
}

/// Returns the CSRF token of a session. Each log-in has a new one, since it opens a new session.
pub fn issue(key: &[u8; 32], session: [u8; 16]) -> String {
    Base64UrlUnpadded::encode_string(&keyed_digest(key, &[b"csrf", &session]))
}

/// Checks the token that a request of `session` presents. Compares in constant time.
pub fn check_token(key: &[u8; 32], session: [u8; 16], presented: Option<&str>) -> Result<(), CsrfFault> {
    let presented = presented.ok_or(CsrfFault::NoToken)?;
    let agrees: bool = presented.as_bytes().ct_eq(issue(key, session).as_bytes()).into();
    if agrees { Ok(()) } else { Err(CsrfFault::OtherToken) }
}

/// Returns scheme, host and port of a URL, in the form of an `Origin` header.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(host..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(url.len(), |at| host + at);
    url.get(..end).unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::CsrfFault::{NoOrigin, NoToken, OtherOrigin, OtherSite, OtherToken};
    use super::*;

    #[test]
    fn only_our_own_pages_pass() {
        let cases = [
            ((Some("same-origin"), None, None), Ok(())),
            ((Some("same-origin"), Some("https://us.example"), None), Ok(())),
            ((Some("same-site"), Some("https://us.example"), None), Ok(())),
            ((Some("same-site"), Some("https://app.us.example"), None), Ok(())),
            ((None, Some("https://us.example"), None), Ok(())),
            ((None, Some("https://app.us.example"), None), Ok(())),
            ((None, None, Some("https://us.example/login?next=x")), Ok(())),
            ((Some("same-origin"), Some("null"), None), Ok(())),
            ((Some("cross-site"), Some("null"), None), Err(OtherOrigin)),
            ((Some("same-site"), Some("null"), None), Err(OtherOrigin)),
            ((Some("none"), Some("null"), None), Err(OtherOrigin)),
            ((None, Some("null"), None), Err(OtherOrigin)),
            ((None, None, None), Err(NoOrigin)),
            ((Some("none"), None, None), Err(NoOrigin)),
            ((Some("cross-site"), None, None), Err(NoOrigin)),
            ((Some("cross-site"), Some("https://us.example"), None), Err(OtherOrigin)),
            ((Some("cross-site"), Some("https://app.us.example"), None), Err(OtherSite)),
            ((Some("cross-site"), None, Some("https://app.us.example/x")), Err(OtherSite)),
            ((Some("cross-site"), Some("https://evil.example"), None), Err(OtherOrigin)),
            ((Some("same-site"), None, None), Err(NoOrigin)),
            ((Some("same-origin"), Some("https://evil.example"), None), Err(OtherOrigin)),
            ((None, Some("null"), Some("https://us.example/")), Err(OtherOrigin)),
            ((None, None, Some("https://us.example.evil.example/")), Err(OtherOrigin)),
            ((None, Some("https://us.example:444"), None), Err(OtherOrigin)),
            ((None, Some("http://us.example"), None), Err(OtherOrigin)),
        ];
        for ((fetch_site, origin, referer), expected) in cases {
            let source = Source { fetch_site, fetch_mode: None, origin, referer };
            let checked = check_source(source, "https://us.example", ["https://app.us.example"].into_iter());
            assert_eq!(checked, expected, "{source:?}");
        }
    }

    #[test]
    fn a_token_is_bound_to_its_session() {
        let token = issue(&[1; 32], [2; 16]);
        assert_eq!(check_token(&[1; 32], [2; 16], Some(&token)), Ok(()));
        assert_eq!(check_token(&[1; 32], [2; 16], None), Err(NoToken));
        for presented in ["", &token[1..], "x"] {
            assert_eq!(check_token(&[1; 32], [2; 16], Some(presented)), Err(OtherToken));
        }
        assert_eq!(check_token(&[1; 32], [3; 16], Some(&token)), Err(OtherToken));
    }
}
