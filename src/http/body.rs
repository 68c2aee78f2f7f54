//! The body of a request: read to its end before anything else is done for it, within a bound and a deadline.
//!
//! **The attack:** a client says that a body comes and sends none, or a byte now and then, on as many connections as it can
//! open: each holds one, and its descriptor, before any limit of its network is asked.
//!
//! **The rule:** what has not come whole by the deadline is answered with 408, and the connection is closed. That holds for
//! every path, also for those that have no use for a body: a request is not over before its body is.

use std::error::Error;
use std::future::{Ready, poll_fn, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::web::{self, Bytes, BytesMut};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use tokio::time::timeout;

use super::Problem;

/// Bytes of a request body at most.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// So long may it take to come: as long as the head before it. A line that is slower than 2 KiB a second is none.
const DEADLINE: Duration = Duration::from_secs(10);

/// A body, read to its end by [`super::middleware::wrap_request`]; empty where that is not around.
#[derive(Clone, Default)]
pub struct Body(pub(super) Bytes);

impl FromRequest for Body {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(request.extensions_mut().remove().unwrap_or_default()))
    }
}

/// What is left of a body that was not read to its end.
type Unread = Pin<Box<BodyStream<web::Payload>>>;

/// Reads the body of a request, and leaves it for [`Body`].
pub(super) async fn read(request: &mut ServiceRequest) -> Result<(), (Problem, Unread)> {
    let headers = request.headers();
    if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    let Ok(payload) = request.extract::<web::Payload>().await else { return Ok(()) };
    let mut unread = Box::pin(BodyStream::new(payload));
    let problem = match timeout(DEADLINE, to_end(&mut unread)).await {
        Ok(Ok(bytes)) => {
            request.extensions_mut().insert(Body(bytes));
            return Ok(());
        }
        Ok(Err(problem)) => problem,
        Err(_) => {
            let secs = DEADLINE.as_secs();
            Problem::new(
                408,
                "request_timeout",
                format!("The body did not come within {secs} s; send it again."),
            )
        }
    };
    Err((problem, unread))
}

async fn to_end(unread: &mut Unread) -> Result<Bytes, Problem> {
    let mut whole = BytesMut::new();
    while let Some(piece) = poll_fn(|cx| unread.as_mut().poll_next(cx)).await {
        let piece =
            piece.map_err(|_| Problem::new(400, "malformed_request", "The body could not be read."))?;
        if whole.len() + piece.len() > BODY_BYTES_MAX {
            let most = format!("A body has at most {BODY_BYTES_MAX} bytes.");
            return Err(Problem::new(413, "payload_too_large", most));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// An answer to a request whose body was not read to its end. What is left is held until the answer is out, so that the
/// connection is closed then: where it was let go of, the rest of a chunked body would be waited for, without a deadline.
pub(super) struct Early {
    answer: BoxBody,
    _unread: Unread,
}

impl Early {
    pub(super) fn new(answer: BoxBody, unread: Unread) -> Self {
        Self { answer, _unread: unread }
    }
}

impl MessageBody for Early {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(cx)
    }
}
