//! What the head of a request says about its body.

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};

/// Says whether a body was encoded for transfer. `identity` is the name of no encoding.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).map(|value| value.as_bytes().trim_ascii());
    codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}

/// Returns the length of the body that a request announces.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    // The HTTP library has refused a length that is no number of 64 bits, and one that comes twice.
    headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.trim().parse().ok())
}
