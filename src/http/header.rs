//! Reading the headers of a request: a header is bytes, and may come twice.
//!
//! **The attack:** a header is sent twice, or with bytes that are no text, so that two programs on the way, or two parts
//! of one, read it differently: a proxy checks the first `Origin` and the server believes the second, or a header that
//! cannot be read passes for one that is absent.
//!
//! **The rule:** a header that decides something is read by [`only_text`]: one value of visible ASCII, or an error. A
//! header that only describes (`User-Agent`) is read by [`lossy`].

use std::borrow::Cow;

use actix_web::http::header::{AsHeaderName, HeaderMap};

use crate::value::locale;

/// The most elements of `Accept-Language` that are looked at.
const LANGUAGES_MAX: usize = 20;

/// The error for a header that cannot be read in one way only.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the header is there more than once")]
    Repeated,
    #[error("the header holds bytes other than visible ASCII")]
    NotText,
}

/// Returns the value of a header that may come once.
///
/// Errors: [`Unreadable`], which is not the same as absent.
pub(super) fn only_text(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Option<&str>, Unreadable> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unreadable::Repeated);
    }
    value.to_str().map(Some).map_err(|_| Unreadable::NotText)
}

/// Returns the first value of a header, with a replacement character for what is no UTF-8; empty if there is none.
pub(super) fn lossy(headers: &HeaderMap, name: impl AsHeaderName) -> Cow<'_, str> {
    headers.get(name).map_or(Cow::Borrowed(""), |value| String::from_utf8_lossy(value.as_bytes()))
}

/// Returns the language that the client prefers, as far as it says: the first of `Accept-Language` that is a tag, in its
/// canonical case. Browsers write the list in the order of preference.
pub(super) fn accepted_language(headers: &HeaderMap) -> Option<Box<str>> {
    let list = headers.get(actix_web::http::header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    let tags =
        list.split(',').take(LANGUAGES_MAX).map(|element| element.split(';').next().unwrap_or_default());
    tags.into_iter().find_map(|tag| locale::parse(tag).ok())
}

/// Says whether the `Accept` header names `media_type` itself, not by a wildcard, and does not refuse it by `q=0`.
pub(super) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let values = headers.get_all(actix_web::http::header::ACCEPT);
    let elements = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    elements.into_iter().any(|element| {
        let mut parts = element.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(media_type));
        let is_refused = parts.any(|part| {
            let q = part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
            q.is_some_and(|(_, q)| q.trim().parse() == Ok(0.0_f32))
        });
        is_named && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{ACCEPT, ACCEPT_LANGUAGE, HeaderName, HeaderValue, ORIGIN};

    use super::*;

    fn headers(name: HeaderName, values: &[&'static [u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_header_that_comes_twice_or_is_no_text_is_not_absent() {
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&[&b"a"[..]], Ok(Some("a"))),
            (&[b""], Ok(Some(""))),
            (&[b"a", b"a"], Err(Unreadable::Repeated)),
            (&[b"a", b"\xff"], Err(Unreadable::Repeated)),
            (&[b"a\xff"], Err(Unreadable::NotText)),
        ] {
            assert_eq!(only_text(&headers(ORIGIN, values), ORIGIN), expected, "{values:?}");
        }
        assert_eq!(lossy(&headers(ORIGIN, &[b"caf\xe9", b"x"]), ORIGIN), "caf\u{fffd}");
        assert_eq!(lossy(&HeaderMap::new(), ORIGIN), "");
    }

    #[test]
    fn the_first_tag_of_a_list_of_languages_counts() {
        let late = "*,".repeat(LANGUAGES_MAX - 1);
        let last: &'static str = (late.clone() + "de").leak();
        let too_late: &'static str = (late + "*,de").leak();
        for (values, expected) in [
            (&[][..], None),
            (&[&b"de-at,de;q=0.9,en;q=0.8"[..]], Some("de-AT")),
            (&[b" *;q=0.1 , en_GB, , fr;q=0.2, de"], Some("fr")),
            (&[b"*"], None),
            (&[b""], None),
            (&[b"\xff, de"], None),
            // One that comes twice is read as its first.
            (&[b"fr", b"de"], Some("fr")),
            (&[last.as_bytes()], Some("de")),
            (&[too_late.as_bytes()], None),
        ] {
            let found = accepted_language(&headers(ACCEPT_LANGUAGE, values));
            assert_eq!(found.as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn a_media_type_is_found_in_a_list() {
        for (values, expected) in [
            (&[][..], false),
            (&[&b"text/event-stream"[..]], true),
            (&[b"Text/Event-Stream; charset=utf-8, */*"], true),
            (&[b"*/*;q=0.1", b"application/json , text/event-stream ;q=0.5"], true),
            (&[b"*/*"], false),
            (&[b"text/*"], false),
            (&[b"text/event-stream;q=0"], false),
            (&[b"text/event-stream; Q = 0.000"], false),
            (&[b"text/event-streams"], false),
            (&[b"\xff, text/event-stream", b"text/event-stream"], true),
        ] {
            assert_eq!(accepts(&headers(ACCEPT, values), "text/event-stream"), expected, "{values:?}");
        }
    }
}
