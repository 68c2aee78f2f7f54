//! The library inside another program, as the author of that program writes it: its own routes are guarded, its accounts made
//! and its mails sent, on every runtime.

mod accounts;
mod events;
mod guards;
mod hooks;
mod mails;
mod mounted;
mod printed;
mod runtimes;
mod sessions;

use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::ServiceResponse;
use serde_json::Value;

/// Returns status, headers and body of an answer.
async fn read(
    response: ServiceResponse<impl MessageBody>,
) -> (u16, actix_web::http::header::HeaderMap, Value) {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = to_bytes(response.into_body()).await.unwrap_or_else(|_| panic!("the body ended early"));
    (status, headers, serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()))
}
