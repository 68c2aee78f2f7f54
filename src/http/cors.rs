//! CORS: which other origins may read answers.
//!
//! **The rule:** only the origins in `http.allowed_origins`, compared byte by byte, and none by default. Their pages may
//! read every answer, refusals included: without the headers a page sees a network error and cannot say what to do. A
//! preflight of theirs is answered with all that is allowed, and the browser compares. One of another origin is an
//! `OPTIONS` request like any other.
//!
//! Source: Fetch (WHATWG) §3.2.

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};

use crate::config::Origin;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE");

/// Request headers that pages may set. The last three are those of distributed tracing, which libraries add to every
/// request.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, x-csrf-token, x-device-token, traceparent, tracestate, baggage",
);

/// Headers of answers that pages may read.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "x-request-id, retry-after, www-authenticate, ratelimit, ratelimit-policy, x-device-token, x-csrf-token",
);

/// How long browsers may keep the answer to a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Returns the `Origin` of a request, if it is one of `allowed`.
fn allowed_origin<'a>(request: &'a HeaderMap, allowed: &[Origin]) -> Option<&'a HeaderValue> {
    let mut origins = request.get_all(ORIGIN);
    let origin = origins.next().filter(|origin| allowed.iter().any(|one| one.as_str() == **origin))?;
    origins.next().is_none().then_some(origin)
}

/// Returns the answer to a preflight of an allowed origin; `None` for any other request.
pub(super) fn preflight(method: &Method, request: &HeaderMap, allowed: &[Origin]) -> Option<HttpResponse> {
    if *method != Method::OPTIONS || !request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    allowed_origin(request, allowed)?;
    let mut response = HttpResponse::NoContent();
    response
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, METHODS))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
        .insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE));
    Some(response.finish())
}

/// Lets pages of an allowed origin read the answer. What an endpoint has opened to everybody stays so.
pub(super) fn write_headers(request: &HeaderMap, allowed: &[Origin], headers: &mut HeaderMap) {
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    // Also on answers to others: a cache must not hand an answer without these headers to an allowed page.
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed_origin(request, allowed) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
}
