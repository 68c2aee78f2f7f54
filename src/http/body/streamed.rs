//! A body that is read while it arrives: the lines of an import, which are more than memory should hold.
//!
//! **The attack:** a client sends without an end, or a byte now and then, and keeps others from importing.
//!
//! **The rule:** only one endpoint takes such a body, and it reads nothing before it knows who sends it. Each part has the
//! deadline of a whole body elsewhere, all of it a GiB. The time that is spent waiting for parts is bounded by [`Patience`]. The
//! connection ends with the answer, so what was not read is no next request.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use actix_web::body::{BodyStream, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::Method;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{self, Bytes};
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::headers::is_encoded;
use crate::engine::Engine;
use crate::flow::admin::import::patience::Patience;
use crate::http::problem::Problem;

/// The path of the endpoint that takes such a body by POST.
pub(in crate::http) const PATH: &str = "/v1/admin/users/import";
/// The type of lines of JSON.
pub(in crate::http) const MEDIA_TYPE: &str = "application/x-ndjson";
/// The most bytes of such a body.
pub(in crate::http) const BYTES_MAX: u64 = 1 << 30;
/// The time for a part to arrive.
const DEADLINE: Duration = Duration::from_secs(10);

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
    patience: Patience,
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
        ready(Ok(Self { streamed, is_lines, patience: Patience::new(DEADLINE) }))
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
        let Some(mut unread) = self.streamed.unread() else { return Ok(None) };
        let part = self.patience.wait(&engine.clock, poll_fn(|cx| unread.as_mut().poll_next(cx))).await;
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
        self.patience.note(part.len());
        if self.patience.read() > BYTES_MAX {
            return Err(too_large());
        }
        Ok(Some(part))
    }
}

/// Returns the refusal of a body that is too large.
pub(super) fn too_large() -> Problem {
    Problem::new(413, "payload_too_large", "An import has at most a GiB; send it in parts.")
}
