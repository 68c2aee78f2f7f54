//! The headers that answers have, whichever way they leave: by the middleware, by the handler of an embedding program, or
//! below HTTP.

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY, CROSS_ORIGIN_RESOURCE_POLICY,
    HeaderMap, HeaderName, HeaderValue, PERMISSIONS_POLICY, REFERRER_POLICY, RETRY_AFTER,
    STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};

use super::Problem;
use crate::registry::throttle::RateLimitState;

/// What a client is told whose access token is not accepted. Why is for the log.
const BAD_TOKEN: &str = "The access token has expired, or is not valid any more: get a new one from /v1/refresh, or log in again. An \
                         API key: ask an administrator for a new one.";

/// Writes the headers of `problem`: its own, the rate limit of the client's network if it was charged, and, if the request
/// came with an access token that is not accepted (`is_bad_token`), that it needs a new one, which the body then says as well.
pub(in crate::http) fn write_problem(
    problem: &mut Problem,
    rate_limit: Option<RateLimitState>,
    is_bad_token: bool,
    headers: &mut HeaderMap,
) {
    problem.write_headers(headers);
    if is_bad_token {
        problem.detail = std::borrow::Cow::Borrowed(BAD_TOKEN);
        // RFC 6750 §3.1: tells a client to get a new token, where the bare scheme asks for one.
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
    }
    if let Some(rate_limit) = rate_limit {
        write_rate_limit(headers, rate_limit);
    }
}

/// Writes the `RateLimit` headers of a network. They are the same for known and unknown account names. `t` is the wait
/// of `Retry-After` if that header is set, so set it before.
pub(in crate::http) fn write_rate_limit(headers: &mut HeaderMap, rate_limit: RateLimitState) {
    let wait = headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse::<u64>().ok());
    let name = rate_limit.class.name();
    let burst = rate_limit.burst;
    let window = rate_limit.window_secs;
    let left = rate_limit.remaining;
    let wait = wait.unwrap_or(window);
    let policy = format!("\"{name}\";q={burst};w={window}");
    let state = format!("\"{name}\";r={left};t={wait}");
    for (header, value) in [(&RATELIMIT_POLICY, policy), (&RATELIMIT, state)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(header.clone(), value);
        }
    }
}

/// Sets the headers that every answer has. The endpoint's own `Cache-Control`, `Content-Security-Policy` and
/// `Cross-Origin-Resource-Policy` stay.
pub(in crate::http) fn write_headers(headers: &mut HeaderMap, id: String, https: bool) {
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(X_REQUEST_ID.clone(), id);
    }
    for (name, value) in &HEADERS {
        headers.insert(name.clone(), value.clone());
    }
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, NOTHING.clone());
    }
    if https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS.clone());
    }
    if !headers.contains_key(CROSS_ORIGIN_RESOURCE_POLICY) {
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, SAME_ORIGIN.clone());
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, NO_STORE.clone());
    }
}

// Statics, so that constant names and values are not parsed again for every answer.
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

static HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");

static NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

static SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// The policy of answers that are no pages.
static NOTHING: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

static HEADERS: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin")),
    (
        PERMISSIONS_POLICY,
        HeaderValue::from_static(
            "accelerometer=(), autoplay=(), camera=(), display-capture=(), fullscreen=(), geolocation=(), gyroscope=(), \
             magnetometer=(), microphone=(), midi=(), payment=(), usb=()",
        ),
    ),
];

static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
