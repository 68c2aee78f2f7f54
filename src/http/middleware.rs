//! Around every request: its id, its body, its line in the log, the headers that every answer carries.

use std::sync::Arc;

use super::connections::{Connection, Served, Serving};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY, CROSS_ORIGIN_RESOURCE_POLICY,
    HeaderName, HeaderValue, PERMISSIONS_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, web};

use super::body;
use crate::engine::Engine;
use crate::http::request_id::RequestId;
use crate::value::id::hex;

/// Around every request: its id, its body, its line in the log, the headers that every answer carries.
pub async fn wrap_request(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let Some(engine) = request.app_data::<web::Data<Engine>>().cloned() else {
        let served = |_: &mut _, body: BoxBody| Served { body, _serving: None };
        return Ok(next.call(request).await?.map_into_boxed_body().map_body(served));
    };
    let serving = request.conn_data::<Arc<Connection>>().map(Serving::on);
    let id = engine.services.random.bytes::<12>().map_or_else(|_| String::from("none"), |bytes| hex(&bytes));
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
    let https = engine.services.config.http.public_origin.is_https();
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
