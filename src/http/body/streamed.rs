//! A body that is read while it arrives: the lines of an import, which are more than memory should hold.
//!
//! **The attack:** a client sends without an end, or a byte now and then, and keeps others from importing.
//!
//! **The rule:** only one endpoint takes such a body, and it reads nothing before it knows who sends it. Each part has the
//! deadline of a whole body elsewhere, all of it an hour and a GiB. The time that is spent waiting for parts is bounded by the
//! bytes that have come, so that a trickle keeps the only place for less than a minute. The connection ends with the answer, so what was not read
//! is no next request.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::body::{BodyStream, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::Method;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{self, Bytes};
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::headers::is_encoded;
use crate::engine::Engine;
use crate::http::problem::Problem;

/// The path of the endpoint that takes such a body by POST.
pub(in crate::http) const PATH: &str = "/v1/admin/users/import";
/// The type of lines of JSON.
pub(in crate::http) const MEDIA_TYPE: &str = "application/x-ndjson";
/// The most bytes of such a body.
pub(in crate::http) const BYTES_MAX: u64 = 1 << 30;
/// The time for a part to arrive.
const DEADLINE: Duration = Duration::from_secs(10);
/// The time for all of it.
const WHOLE_DEADLINE: Duration = Duration::from_hours(1);
/// The time that all waiting together may take before the rate counts.
const PATIENCE: Duration = Duration::from_secs(30);
/// The least rate from then on, in bytes for each second that is spent waiting.
const RATE_MIN: u64 = 4 * 1024;

/// Says whether the body of a request is left to its endpoint. Ask before the request is routed.
pub(super) fn is_streamed(request: &ServiceRequest) -> bool {
    *request.method() == Method::POST && request.match_info().unprocessed() == PATH
}

/// Says whether so many bytes are too many.
pub(super) const fn is_too_much(announced: u64) -> bool {
    announced > BYTES_MAX
}

/// The rest of a body that was not read to its end.
pub(in crate::http) type Unread = Pin<Box<BodyStream<web::Payload>>>;

/// A body that has not been read, or not to its end. Shared by the endpoint and the middleware, which closes the connection.
#[derive(Clone, Default)]
pub(in crate::http) struct Streamed(Rc<RefCell<Option<Unread>>>);

impl Streamed {
    pub(super) fn new(unread: Unread) -> Self {
        Self(Rc::new(RefCell::new(Some(unread))))
    }

    /// Takes what was not read, after the endpoint has answered.
    pub(in crate::http) fn unread(&self) -> Option<Unread> {
        self.0.borrow_mut().take()
    }
}

/// The lines that a request sends.
pub(in crate::http) struct Incoming {
    streamed: Streamed,
    is_lines: bool,
    read: u64,
    begin: Option<Instant>,
    /// The time that was spent waiting for parts. What the import itself takes for them does not count.
    waited: Duration,
}

impl FromRequest for Incoming {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let streamed = request.extensions().get::<Streamed>().cloned().unwrap_or_default();
        let headers = request.headers();
        let mut types = headers.get_all(CONTENT_TYPE).map(|value| {
            value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
        });
        let is_lines = types.next().is_some_and(|of| of.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()));
        let is_lines = is_lines && types.next().is_none() && !is_encoded(headers);
        ready(Ok(Self { streamed, is_lines, read: 0, begin: None, waited: Duration::ZERO }))
    }
}

impl Incoming {
    /// Returns the next part; `None` at the end.
    ///
    /// Errors: 415 for another type; 408, 413 or 400.
    pub(in crate::http) async fn next(&mut self, engine: &Engine) -> Result<Option<Bytes>, Problem> {
        if !self.is_lines {
            let detail =
                "Send lines of JSON with Content-Type: application/x-ndjson, and without Content-Encoding.";
            return Err(Problem::new(415, "unsupported_media_type", detail));
        }
        let now = engine.clock.steady();
        let begin = *self.begin.get_or_insert(now);
        let Some(mut unread) = self.streamed.unread() else { return Ok(None) };
        let rest = WHOLE_DEADLINE.saturating_sub(now.duration_since(begin));
        let deadline = rest.min(wait_for_next(self.read, self.waited));
        let part = tokio::time::timeout(deadline, poll_fn(|cx| unread.as_mut().poll_next(cx))).await;
        self.waited += engine.clock.steady().saturating_duration_since(now);
        let part = match part {
            Ok(None) => return Ok(None),
            Ok(Some(part)) => part,
            Err(_) => {
                *self.streamed.0.borrow_mut() = Some(unread);
                let detail = "The next lines did not arrive in time. Send all again: what was taken is not taken twice.";
                return Err(Problem::new(408, "request_timeout", detail));
            }
        };
        *self.streamed.0.borrow_mut() = Some(unread);
        let part = part.map_err(|_| Problem::new(400, "malformed_request", "The body could not be read."))?;
        self.read += part.len() as u64;
        if self.read > BYTES_MAX {
            return Err(too_large());
        }
        Ok(Some(part))
    }
}

/// Returns how long the next part may take after `read` bytes for which `waited` was spent.
fn wait_for_next(read: u64, waited: Duration) -> Duration {
    let earned = PATIENCE + Duration::from_millis(read.saturating_mul(1000) / RATE_MIN);
    DEADLINE.min(earned.saturating_sub(waited))
}

/// Returns the refusal of a body that is too large.
pub(super) fn too_large() -> Problem {
    Problem::new(413, "payload_too_large", "An import has at most a GiB; send it in parts.")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns for how long a sender keeps its place that sends `bytes` every `pause`, up to an hour.
    fn kept(bytes: u64, pause: Duration) -> Duration {
        let (mut read, mut waited) = (0, Duration::ZERO);
        while waited < WHOLE_DEADLINE && pause <= wait_for_next(read, waited) {
            waited += pause;
            read += bytes;
        }
        waited
    }

    #[test]
    fn a_trickle_loses_its_place_within_a_minute_and_a_slow_line_keeps_it() {
        for (bytes, pause_ms) in [(1, 1), (100, 1_500), (1, 9_999), (2_000, 1_000)] {
            let kept = kept(bytes, Duration::from_millis(pause_ms));
            assert!(kept < Duration::from_mins(1), "{bytes} bytes each {pause_ms} ms: {kept:?}");
        }
        // Modems of 56 kbit/s, a burst after a pause, and a line that sends all it has now and then.
        for (bytes, pause_ms) in [(1_400, 200), (65_536, 9_000), (8_192, 1_900)] {
            assert_eq!(kept(bytes, Duration::from_millis(pause_ms)).as_secs(), 3_600, "{bytes} {pause_ms}");
        }
        assert_eq!(wait_for_next(0, Duration::ZERO), DEADLINE);
        assert_eq!(wait_for_next(0, PATIENCE), Duration::ZERO);
    }
}
