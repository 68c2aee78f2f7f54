//! The HTTP layer: parses, calls one flow, answers.

pub mod admin;
mod body;
pub mod client_address;
mod connections;
pub mod csrf;
pub mod log_in;
pub mod mailed;
pub mod me;
pub mod operations;
pub mod problem;
mod request;
pub mod revocations;

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY, CROSS_ORIGIN_RESOURCE_POLICY,
    HeaderName, HeaderValue, PERMISSIONS_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder, Resource, web};

use crate::engine::Engine;
use crate::value::id::hex;
pub use body::{BODY_BYTES_MAX, Body};
pub use connections::Connections;
use connections::{Connection, Served, Serving};
pub use problem::Problem;
pub use request::{Credentials, client, credentials, read_json};

#[derive(Clone)]
struct RequestId(Rc<str>);

/// The id of a request, as its answer and the log show it.
pub fn request_id(request: &HttpRequest) -> Rc<str> {
    request.extensions().get::<RequestId>().map_or_else(Rc::default, |id| Rc::clone(&id.0))
}

/// All endpoints of the API.
pub fn configure(config: &mut web::ServiceConfig) {
    log_in::configure(config);
    mailed::configure(config);
    me::configure(config);
    admin::configure(config);
    operations::configure(config);
    revocations::configure(config);
    config.default_service(web::to(|request: HttpRequest, engine: web::Data<Engine>| async move {
        Problem::new(404, "not_found", "There is no such endpoint.").response(&request, &engine)
    }));
}

/// A resource that answers other methods than its own with the list of those it has.
pub(crate) fn resource(path: &str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(
        move |request: HttpRequest, engine: web::Data<Engine>| async move {
            let mut response =
                Problem::new(405, "method_not_allowed", format!("This endpoint takes {allow}."))
                    .response(&request, &engine);
            response.headers_mut().insert(actix_web::http::header::ALLOW, HeaderValue::from_static(allow));
            response
        },
    ))
}

/// An answer in JSON. In one piece of memory: most answers fit, and growing costs more than writing.
pub(crate) fn json(response: &mut HttpResponseBuilder, body: &impl serde::Serialize) -> HttpResponse {
    let mut text = Vec::with_capacity(1536);
    match serde_json::to_writer(&mut text, body) {
        Ok(()) => response.content_type("application/json").body(text),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// JSON of which most is known to need no look: copied, where serde would look at each byte. In one piece of memory.
pub(crate) struct Json(Vec<u8>);

impl Json {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Names, braces, and values in which nothing is to be escaped.
    #[must_use]
    pub(crate) fn plain(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// A value that may hold anything.
    #[must_use]
    pub(crate) fn value(mut self, value: &impl serde::Serialize) -> Self {
        // What is given here is texts and numbers, and has no way to fail.
        let _ = serde_json::to_writer(&mut self.0, value);
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Turns what a handler made of a request into its response.
pub(crate) fn answer<E: Into<Rejection>>(
    request: &HttpRequest,
    engine: &Engine,
    result: Result<HttpResponse, E>,
) -> HttpResponse {
    result.unwrap_or_else(|rejection| match rejection.into() {
        Rejection::Stop(stop) => stop.problem(engine).response(request, engine),
        Rejection::Problem(problem) => problem.response(request, engine),
    })
}

/// Why a handler gives no success.
pub enum Rejection {
    /// A flow ended early.
    Stop(crate::flow::refusal::Stop),
    /// The request could not be read.
    Problem(Problem),
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl<E: Into<crate::flow::refusal::Stop>> From<E> for Rejection {
    fn from(stop: E) -> Self {
        Self::Stop(stop.into())
    }
}

/// Around every request: its id, its body, its line in the log, the headers that every answer carries.
pub async fn surround(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let Some(engine) = request.app_data::<web::Data<Engine>>().cloned() else {
        let served = |_: &mut _, body: BoxBody| Served { body, _serving: None };
        return Ok(next.call(request).await?.map_into_boxed_body().map_body(served));
    };
    let serving = request.conn_data::<Arc<Connection>>().map(Serving::on);
    let id = engine.chance.bytes::<12>().map_or_else(|_| String::from("none"), |bytes| hex(&bytes));
    request.extensions_mut().insert(RequestId(id.as_str().into()));
    let begin = engine.clock.steady();
    let mut response = match body::read(&mut request).await {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err((problem, unread)) => {
            let answer = problem.response(request.request(), &engine);
            let early = |_: &mut _, answer| body::Early::new(answer, unread);
            request.into_response(answer).map_body(early).map_into_boxed_body()
        }
    };
    let status = response.status().as_u16();
    let duration_ms = engine.clock.steady().duration_since(begin).as_millis();
    let asked = response.request();
    // The path alone: a query may hold what is secret.
    tracing::info!(
        target: "portcullis::request",
        method = %asked.method(),
        path = asked.path(),
        status,
        duration_ms,
        request.id = id,
        "request"
    );
    let https = engine.config.public_origin.is_https();
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(X_REQUEST_ID.clone(), id);
    }
    for (name, value) in &HEADERS {
        headers.insert(name.clone(), value.clone());
    }
    if https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS.clone());
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, NO_STORE.clone());
    }
    Ok(response.map_body(|_, body| Served { body, _serving: serving }))
}

// Read once: of names and values that never change nothing is looked at for an answer.
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");
static NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
static HEADERS: [(HeaderName, HeaderValue); 6] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ),
    (CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin")),
    (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    (
        PERMISSIONS_POLICY,
        HeaderValue::from_static(
            "accelerometer=(), autoplay=(), camera=(), display-capture=(), fullscreen=(), geolocation=(), gyroscope=(), \
             magnetometer=(), microphone=(), midi=(), payment=(), usb=()",
        ),
    ),
];
