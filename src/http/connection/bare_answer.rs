//! The answers to what the HTTP library cannot read as a request. It sends a status line without a body; what goes to the
//! client instead is a problem with the headers of every other answer.

use std::time::{Duration, SystemTime};

use actix_web::http::StatusCode;
use actix_web::http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderValue, HttpDate};

use crate::engine::Engine;
use crate::http::body::too_large;
use crate::http::problem::Problem;
use crate::http::problem::answer::write_headers;
use crate::http::request_id::new_request_id;

/// The longest bare answer of the library: status line, content length, connection, date.
const BARE_BYTES_MAX: usize = 192;

/// Returns where in `answers` a bare answer of the library begins, and its status. It is always the last one. Every answer
/// of ours has further headers.
pub(super) fn bare_status(answers: &[u8]) -> Option<(usize, u16)> {
    if !answers.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = answers.len().saturating_sub(BARE_BYTES_MAX);
    let tail = answers.get(from..)?;
    let at = tail.windows(7).rposition(|bytes| bytes == b"HTTP/1.")?;
    let mut lines = tail.get(at..)?.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let status = std::str::from_utf8(lines.next()?.get(9..12)?).ok()?.parse().ok()?;
    let is_ours = |line: &[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        !matches!(name, b"" | b"content-length" | b"connection" | b"date")
    };
    let is_refusal = status >= 400 && !lines.any(is_ours);
    is_refusal.then_some((from + at, status))
}

/// Returns the whole answer that replaces a bare one.
pub(super) fn refusal(engine: &Engine, status: u16) -> Vec<u8> {
    let http = &engine.services.config.http;
    let id = new_request_id(&engine.services.random);
    tracing::debug!(target: "portcullis::request", status, request.id = id, "refused what is no request");
    let problem = problem(status);
    let body = problem.body(http.public_origin.as_str(), &id);
    let mut headers = HeaderMap::new();
    problem.write_headers(&mut headers);
    write_headers(&mut headers, id, http.public_origin.is_https());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let date = HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_millis(engine.clock.system_now().0));
    if let Ok(date) = HeaderValue::try_from(date.to_string()) {
        headers.insert(DATE, date);
    }
    let status = problem.status();
    let mut answer = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or(""));
    for (name, value) in &headers {
        answer.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    answer.extend_from_slice(&body);
    answer
}

fn problem(status: u16) -> Problem {
    let (code, detail) = match status {
        413 => return too_large(),
        408 => ("request_timeout", "The request did not arrive in time; send it again."),
        431 => (
            "request_header_fields_too_large",
            "The head of a request has at most 16 KiB and 96 headers; send fewer or shorter ones.",
        ),
        500.. => ("internal_error", "The server could not read the request; send it again."),
        _ => (
            "malformed_request",
            "This is no request of HTTP/1.1; see RFC 9112. A proxy may speak HTTP/1.0: for nginx set `proxy_http_version 1.1`.",
        ),
    };
    let known = StatusCode::from_u16(status).map_or(400, |status| status.as_u16());
    Problem::new(known, code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_answer_at_the_end_is_replaced() {
        let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let bare =
            format!("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n{date}\r\n");
        let ours = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-request-id: 00\r\nconnection: close\r\n{date}\r\n"
        );
        let large =
            format!("HTTP/1.0 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n{date}\r\n");
        let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
        let body = format!("{ours}{{\"x\":\"HTTP/1.1 400 Bad\"}}");
        for (answers, expected) in [
            (bare.clone(), Some((0, 400))),
            (large.clone(), Some((0, 431))),
            (format!("{ours}{large}"), Some((ours.len(), 431))),
            (format!("{go_on}{bare}"), Some((go_on.len(), 400))),
            (format!("{bare}{ours}"), None),
            (format!("{}{bare}", body.repeat(100)), Some((body.len() * 100, 400))),
            (ours.clone(), None),
            (body, None),
            (go_on.to_owned(), None),
            (String::from("\r\n\r\n"), None),
            (String::from("HTTP/1.\r\n\r\n"), None),
            (String::new(), None),
        ] {
            assert_eq!(bare_status(answers.as_bytes()), expected, "{answers}");
        }
    }
}
