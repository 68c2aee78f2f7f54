#![doc = include_str!("README.md")]

pub mod api;
mod body;
pub mod client_address;
mod connection;
pub mod cookie;
mod cors;
pub mod csrf;
pub mod embed;
mod endpoint;
mod header;
mod json;
pub mod middleware;
mod problem;
mod reference;
mod rejection;
mod request;
mod request_id;
mod response;
mod routes;
mod served;

use actix_web::web;

pub use body::{BODY_BYTES_MAX, announces_too_much};
pub use connection::{Connections, GuardedStream, connection_limit};
pub use reference::document as openapi;
pub use reference::sdk;
pub use rejection::Rejection;
pub use request::SignedIn;

/// Returns the name of the session cookie of `engine`.
#[cfg(feature = "testing")]
pub(crate) fn session_cookie_name(engine: &crate::engine::Engine) -> &str {
    response::CookieName::Session.text(engine)
}

/// Adds all endpoints of the API.
pub fn configure(config: &mut web::ServiceConfig) {
    routes::serve(config, reference::endpoints());
    config.default_service(web::to(endpoint::unknown_path));
}
