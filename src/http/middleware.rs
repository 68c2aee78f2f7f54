//! The middleware around every request. It assigns the request id, reads the body, writes the body of a rejection, logs
//! one line, and sets the headers that every answer has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::ConnectionType;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ResponseHead, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderValue, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest};

use super::body::streamed::{Streamed, Unread};
use super::body::{self, Early};
use super::connection::{Connection, Serving};
use super::cors;
use super::endpoint::Eng;
use super::problem::answer::{write_headers, write_problem};
use super::reference::has_get;
use super::rejection::Rejection;
use super::request::{client_address_of, has_bearer, watch_for_proxy};
use super::request_id::{RequestId, new_request_id};
use super::routes::count;
use super::served::Served;
use crate::engine::Engine;
use crate::value::network::Network;

/// Serves one request: reads its body, calls the endpoint, completes the answer. See the [module](self).
pub(crate) async fn wrap_request(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<Served>, actix_web::Error> {
    let Some(engine) = request.app_data::<Eng>().cloned() else {
        return pass_on(request, &next, None).await;
    };
    let serving = request.conn_data::<Arc<Connection>>().map(Serving::on);
    let wants_upgrade = wants_another_protocol(&request);
    if let Some(serving) = serving.as_ref().filter(|_| wants_upgrade) {
        // The HTTP library takes the bytes that follow for another protocol, and closes the connection after the answer.
        serving.is_last();
    }
    let is_head = *request.method() == Method::HEAD;
    if is_head {
        // Every endpoint with GET answers HEAD alike (RFC 9110 §9.3.2). The HTTP library leaves the body out.
        request.head_mut().method = Method::GET;
    }
    let id = new_request_id(&engine.services.random);
    request.extensions_mut().insert(RequestId(id.as_str().into()));
    watch_for_proxy(request.request(), &engine);
    // Before the endpoint is called, which may show them.
    let figures = count::figures(&engine);
    let begin = engine.clock.steady();
    let response = match body::read(&mut request, &engine, serving.as_ref(), has_get).await {
        Ok(()) => {
            let streamed = request.extensions().get::<Streamed>().cloned();
            serving.iter().for_each(Serving::body_is_read);
            if request.headers().contains_key(TRANSFER_ENCODING) {
                serving.iter().for_each(Serving::ends);
            }
            let allowed = &engine.services.config.http.allowed_origins;
            match cors::preflight(request.method(), request.headers(), allowed) {
                Some(response) => request.into_response(response),
                None => {
                    let response = call(&next, request).await?.map_into_boxed_body();
                    let response = complete(response, &engine, &id);
                    match streamed {
                        Some(streamed) => close_after(response, streamed.unread()),
                        None => response,
                    }
                }
            }
        }
        Err((problem, unread)) => {
            let response = request.error_response(Rejection::from(problem));
            close_after(complete(response, &engine, &id), Some(unread))
        }
    };
    let took = engine.clock.steady().duration_since(begin);
    count::count(figures, &response, took);
    log(&response, &engine, &id, took);
    let http = &engine.services.config.http;
    let (request, mut response) = response.into_parts();
    if wants_upgrade {
        // The library would say `upgrade`, and close: a proxy would send the next request into a closed connection.
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    if request.headers().contains_key(TRANSFER_ENCODING) {
        // The HTTP library takes anything for the trailers of a chunked body. Who forwards it may take a part of that for the
        // next request, so nothing behind it is served (RFC 9112 §11.2).
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    write_headers(response.headers_mut(), id, http.public_origin.is_https());
    if !http.allowed_origins.is_empty() {
        cors::write_headers(request.headers(), &http.allowed_origins, response.headers_mut());
    }
    let response = response.map_body(|_, body| Served { body, is_head, _serving: serving });
    Ok(ServiceResponse::new(request, response))
}

/// Closes the connection after an answer to a request that was perhaps not read to its end.
fn close_after(response: ServiceResponse, unread: Option<Unread>) -> ServiceResponse {
    let early = |head: &mut ResponseHead, answer| {
        head.set_connection_type(ConnectionType::Close);
        match unread {
            Some(unread) => BoxBody::new(Early::new(answer, unread)),
            None => answer,
        }
    };
    response.map_body(early).map_into_boxed_body()
}

/// Serves a request as it is. `serving` is held until the answer is sent.
pub(super) async fn pass_on(
    request: ServiceRequest,
    next: &Next<impl MessageBody + 'static>,
    serving: Option<Serving>,
) -> Result<ServiceResponse<Served>, actix_web::Error> {
    let served = |_: &mut _, body: BoxBody| Served { body, is_head: false, _serving: serving };
    Ok(next.call(request).await?.map_into_boxed_body().map_body(served))
}

/// Paths whose requests are dropped when their client goes away. Log-in and refresh run on the actors' thread, which drops
/// only a hash that has not begun; the others change nothing.
const DROPPED: [&str; 4] = ["/v1/login", "/v1/refresh", "/v1/introspect", "/v1/password/check"];

/// Calls the endpoint. A request that may change something is served to its end, also if its client goes away.
///
/// Security: otherwise a thief hangs up between two steps, such as the change of a password and the mail about it.
async fn call<B: MessageBody + 'static>(
    next: &Next<B>,
    request: ServiceRequest,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    if request.method().is_safe() || DROPPED.contains(&own_path(request.request())) {
        return next.call(request).await;
    }
    ToItsEnd(Some(Box::pin(next.call(request)))).await
}

/// Returns the path of a request below the place where the API is mounted. Ask before the request is routed.
pub(super) fn own_path(request: &HttpRequest) -> &str {
    request.match_info().unprocessed()
}

/// A request that is served where it is polled. Dropped before its end, it goes on as a task of the event loop.
struct ToItsEnd<F: Future + 'static>(Option<Pin<Box<F>>>);

impl<F: Future + 'static> Future for ToItsEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(serving) = self.0.as_mut() else { return Poll::Pending };
        let polled = serving.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: Future + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        let Some(rest) = self.0.take() else { return };
        // A request that panicked does not go on.
        if !std::thread::panicking() {
            // A test of an embedding program may poll a request on a runtime that has no event loop. What is dropped there ends.
            let _ = catch_unwind(AssertUnwindSafe(|| actix_web::rt::spawn(async { drop(rest.await) })));
        }
    }
}

/// Says whether a request offers to go on in another protocol, such as `h2c`, which every Java client does. It is served as
/// if it did not (RFC 9110 §7.8).
fn wants_another_protocol(request: &ServiceRequest) -> bool {
    let mut upgrades = request.headers().get_all(UPGRADE);
    *request.method() == Method::CONNECT
        || request.head().upgrade()
        || upgrades.any(|to| to.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Turns the empty response of a [`Rejection`] into its problem: status, headers and body. Other responses stay as they
/// are, and so do headers that an inner middleware has set.
fn complete(mut response: ServiceResponse, engine: &Engine, id: &str) -> ServiceResponse {
    let error = response.response().error();
    let Some(rejection) = error.and_then(|error| error.as_error::<Rejection>()) else { return response };
    let mut problem = rejection.problem(engine);
    let rate_limit = rejection.rate_limit;
    let is_for_service = rejection.is_for_service();
    let is_bad_token = rejection.is_unauthenticated() && has_bearer(response.request().headers());
    *response.response_mut().status_mut() = problem.status();
    let headers = response.headers_mut();
    write_problem(&mut problem, rate_limit, is_bad_token && !is_for_service, headers);
    if is_for_service {
        // RFC 6750 §3.1 and RFC 6749 §5.2: names the scheme that the client has used.
        let challenge =
            if is_bad_token { "Bearer error=\"invalid_token\"" } else { "Basic realm=\"portcullis\"" };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    let body = problem.body(engine.services.config.http.public_origin.as_str(), id);
    response.map_body(|_, _| BoxBody::new(body))
}

/// Logs the request, for whoever asks for this level: what strangers cause must not fill a disk. Only the path: a query
/// may hold a secret.
fn log(response: &ServiceResponse, engine: &Engine, id: &str, took: Duration) {
    if !tracing::enabled!(target: "portcullis::request", tracing::Level::DEBUG) {
        return;
    }
    let request = response.request();
    tracing::debug!(
        target: "portcullis::request",
        method = %request.method(),
        path = request.path(),
        status = response.status().as_u16(),
        // A number of 128 bits would be written as a string.
        duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        network = %Network::of(client_address_of(request, engine)).to_net(),
        request.id = id,
        "request"
    );
}
