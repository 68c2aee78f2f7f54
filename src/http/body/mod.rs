//! The body of a request: it is read to its end before anything else is done, within a size limit and a deadline.
//!
//! **The attack:** a client announces a body and sends nothing, or a byte now and then, on as many connections as it
//! can open. Each holds a descriptor before any limit of its network applies.
//!
//! **The rule:** a body that is not complete by the deadline is answered with 408, and the connection is closed. This
//! holds for every path, also for those that use no body: a request does not end before its body does.

mod headers;
mod json_body;
pub(super) mod streamed;
mod strict_json;

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, poll_fn, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING, UPGRADE};
use actix_web::web::{self, Bytes, BytesMut};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroize;

use self::headers::{announced, is_encoded};
use self::streamed::{Streamed, Unread};
use super::connection::{Serving, has_valid_host};
use super::problem::Problem;
use super::rejection::Rejection;
use crate::engine::Engine;
use crate::flow::client::Client;
use crate::registry::throttle::class::Class;

/// The largest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// The time for the body to arrive, the same as for the head before it. A slower line (2 KiB a second) is not served.
const DEADLINE: Duration = Duration::from_secs(10);

/// The time for a body that is still on its way when the server stops. Containers are killed ten seconds after they are asked
/// to stop.
const DEADLINE_AT_STOP: Duration = Duration::from_secs(4);
/// How often a deadline looks whether the server stops.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The body of a request and its declared type.
///
/// A handler parses it when it has checked all that comes before, so that a request without credentials is answered
/// with 401, whatever its body says.
pub(super) struct Body {
    bytes: ReadBody,
    media_type: MediaType,
    /// Whether the body is encoded, such as compressed.
    is_encoded: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum MediaType {
    Absent,
    Json,
    Form,
    Other,
}

/// The members of a body in which nothing is to be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoMembers {}

/// A body that [`read`] has read, in the extensions of its request.
#[derive(Default)]
struct ReadBody(Bytes);

impl Drop for ReadBody {
    /// Wipes the body, which may hold a password, unless something else still holds it.
    fn drop(&mut self) {
        if let Ok(mut bytes) = std::mem::take(&mut self.0).try_into_mut() {
            bytes.as_mut().zeroize();
        }
    }
}

impl FromRequest for Body {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let bytes: ReadBody = request.extensions_mut().remove().unwrap_or_default();
        let headers = request.headers();
        ready(Ok(Self { bytes, media_type: MediaType::of(headers), is_encoded: is_encoded(headers) }))
    }
}

impl MediaType {
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(CONTENT_TYPE);
        let Some(value) = values.next() else { return Self::Absent };
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if values.next().is_some() {
            Self::Other
        } else if essence.eq_ignore_ascii_case(b"application/json") {
            Self::Json
        } else if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            Self::Form
        } else {
            Self::Other
        }
    }
}

impl Body {
    /// Reads the body as JSON.
    ///
    /// Errors: 415 unless the request declares plain JSON; 400 and 422 as [`json_body::read`].
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.check_is_plain()?;
        if self.media_type == MediaType::Json {
            json_body::read(&self.bytes.0)
        } else {
            let detail = "Send the body with Content-Type: application/json.";
            Err(Problem::new(415, "unsupported_media_type", detail))
        }
    }

    /// Says whether the body is declared to be a form. Only an endpoint whose standard demands forms takes one: any page
    /// may send a form without being asked.
    pub(super) fn is_form(&self) -> bool {
        self.media_type == MediaType::Form
    }

    /// Reads the body as a form.
    ///
    /// Errors: 415 for an encoded body; 422 for a member that is missing or there twice.
    pub(super) fn form<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.check_is_plain()?;
        serde_urlencoded::from_bytes(&self.bytes.0).map_err(|_| {
            let detail = "A member of the form is missing, there twice, or no UTF-8.";
            Problem::new(422, "unprocessable", detail)
        })
    }

    fn check_is_plain(&self) -> Result<(), Problem> {
        if self.is_encoded {
            let detail = "Send the body without Content-Encoding.";
            return Err(Problem::new(415, "unsupported_media_type", detail).with_plain_bodies());
        }
        Ok(())
    }

    /// Reads the body as JSON, for an endpoint that charges the client's network. A body that cannot be read is charged
    /// like one that can, so that garbage is no way around the limit.
    ///
    /// Errors: as [`Body::json`], with the rate limit; 429.
    pub(super) async fn json_charged<T: DeserializeOwned>(
        &self,
        engine: &Engine,
        client: &Client,
        class: Class,
    ) -> Result<T, Rejection> {
        charged(self.json(), engine, client, class).await
    }

    /// Reads the body like [`Body::json_or_default`], for an endpoint without a charge of its own. A body that cannot be read
    /// is charged as a rejected request.
    ///
    /// Errors: as [`Body::json_charged`].
    pub(super) async fn json_or_default_charged<T: DeserializeOwned + Default>(
        &self,
        engine: &Engine,
        client: &Client,
    ) -> Result<T, Rejection> {
        charged(self.json_or_default(), engine, client, Class::Rejected).await
    }

    /// Refuses a body that says something, for an endpoint that takes none.
    ///
    /// Errors: as [`Body::json`], for anything but an empty object.
    pub(super) fn refuse(&self) -> Result<(), Problem> {
        if self.bytes.0.is_empty() { Ok(()) } else { self.json().map(|NoMembers {}| ()) }
    }

    /// Refuses a body like [`Body::refuse`], and charges one that says something as a rejected request.
    pub(super) async fn refuse_charged(&self, engine: &Engine, client: &Client) -> Result<(), Rejection> {
        charged(self.refuse(), engine, client, Class::Rejected).await
    }

    /// Reads the body as JSON, or returns the default if the request has no body. Client libraries declare JSON for a body
    /// that they leave out, too.
    ///
    /// Errors: as [`Body::json`].
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if matches!(self.media_type, MediaType::Absent | MediaType::Json) && self.bytes.0.is_empty() {
            return Ok(T::default());
        }
        self.json()
    }
}

/// Charges the network of `client` for a body that could not be read.
///
/// Errors: that of `read`, with the rate limit; 429.
async fn charged<T>(
    read: Result<T, Problem>,
    engine: &Engine,
    client: &Client,
    class: Class,
) -> Result<T, Rejection> {
    match read {
        Ok(value) => Ok(value),
        Err(problem) => {
            // Boxed, so that a request that is served needs no room for it.
            let admission = Box::pin(engine.admit(class, client.address)).await;
            let rejection = admission.result.map_or_else(Rejection::from, |_| Rejection::from(problem));
            Err(rejection.with_rate_limit(admission.rate_limit))
        }
    }
}

/// Reads the body of a request and keeps it for the [`Body`] extractor.
///
/// `has_get` says whether the endpoint has GET: one that has none refuses the method, whatever the body.
///
/// Errors: 408, 413 or 400, also for a host that is none, and the unread rest, for [`Early`].
pub(super) async fn read(
    request: &mut ServiceRequest,
    engine: &Engine,
    serving: Option<&Serving>,
    has_get: fn(&HttpRequest) -> bool,
) -> Result<(), (Problem, Unread)> {
    let has_host = has_valid_host(request);
    let headers = request.headers();
    if has_host && !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    let announced = announced(headers);
    let is_streamed = streamed::is_streamed(request);
    let is_too_large = announced.is_some_and(if is_streamed { streamed::is_too_much } else { is_too_much });
    // The HTTP library finds no end of the body of a request that offers WebSocket.
    let is_without_end = headers.contains_key(UPGRADE) && !headers.contains_key(TRANSFER_ENCODING);
    let ends_at = announced.filter(|_| is_without_end).and_then(|announced| usize::try_from(announced).ok());
    let method = request.method().clone();
    let Ok(payload) = request.extract::<web::Payload>().await else { return Ok(()) };
    let mut unread = Box::pin(BodyStream::new(payload));
    if !has_host {
        serving.inspect(|serving| serving.is_last());
        let detail =
            "The Host header, or the host in the target of the request, is none; see RFC 9112 \u{a7}3.2.";
        return Err((Problem::new(400, "malformed_request", detail), unread));
    }
    if is_too_large {
        serving.inspect(|serving| serving.is_last());
        let problem = if is_streamed { streamed::too_large() } else { too_large() };
        return Err((problem, unread));
    }
    if is_streamed && !is_without_end {
        serving.inspect(|serving| serving.is_last());
        request.extensions_mut().insert(Streamed::new(unread));
        return Ok(());
    }
    let read = tokio::select! {
        biased;
        read = to_end(&mut unread, ends_at, serving) => Some(read),
        () = deadline(engine) => None,
    };
    let problem = match read {
        Some(Ok(bytes))
            if !matches!(bytes.trim_ascii(), b"" | b"{}")
                && matches!(method, Method::GET | Method::HEAD)
                && has_get(request.request()) =>
        {
            let detail = "A GET or HEAD request has no body here; send it without one.";
            Problem::new(400, "unexpected_body", detail)
        }
        Some(Ok(bytes)) => {
            request.extensions_mut().insert(ReadBody(bytes));
            return Ok(());
        }
        Some(Err(problem)) => problem,
        None => {
            let secs = DEADLINE.as_secs();
            let detail = format!("The body did not arrive within {secs} s; send the request again.");
            Problem::new(408, "request_timeout", detail)
        }
    };
    // The rest of the body is thrown away, however long it is.
    serving.inspect(|serving| serving.is_last());
    Err((problem, unread))
}

/// Waits until a body has had its time, which is shorter once the server stops.
async fn deadline(engine: &Engine) {
    let mut left = DEADLINE;
    while !left.is_zero() {
        tokio::time::sleep(LOOK_EVERY).await;
        left -= LOOK_EVERY;
        if engine.services.is_stopping() {
            left = left.min(DEADLINE_AT_STOP);
        }
    }
}

/// Says whether a request announces a body that is too large.
pub fn announces_too_much(headers: &HeaderMap) -> bool {
    announced(headers).is_some_and(is_too_much)
}

const fn is_too_much(announced: u64) -> bool {
    announced > BODY_BYTES_MAX as u64
}

/// Reads the body to its end, or to the length `ends_at`: of a request that offers WebSocket the library finds no end.
async fn to_end(
    unread: &mut Unread,
    ends_at: Option<usize>,
    serving: Option<&Serving>,
) -> Result<Bytes, Problem> {
    let mut whole = BytesMut::new();
    while ends_at.is_none_or(|end| whole.len() < end) {
        let Some(piece) = poll_fn(|cx| unread.as_mut().poll_next(cx)).await else { break };
        let piece =
            piece.map_err(|_| Problem::new(400, "malformed_request", "The body could not be read."))?;
        if whole.len() + piece.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        whole.extend_from_slice(&piece);
        serving.inspect(|serving| serving.read());
    }
    whole.truncate(ends_at.unwrap_or(whole.len()));
    Ok(whole.freeze())
}

/// Returns the refusal of a body that is too large.
pub(super) fn too_large() -> Problem {
    Problem::new(413, "payload_too_large", format!("A body has at most {BODY_BYTES_MAX} bytes."))
}

/// The body of an answer to a request that was not read to its end. It holds the unread rest until the answer is sent,
/// so that the server then closes the connection. If the rest were dropped earlier, the server would wait for the end
/// of a chunked body without a deadline.
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
