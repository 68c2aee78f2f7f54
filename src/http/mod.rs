#![doc = include_str!("README.md")]

pub mod api;
mod body;
pub mod client_address;
mod connection;
pub mod cookie;
mod cors;
pub mod csrf;
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
pub use connection::{Connections, GuardedStream};
pub use reference::document as openapi;

/// Adds all endpoints of the API.
pub fn configure(config: &mut web::ServiceConfig) {
    routes::serve(config, reference::endpoints());
    config.default_service(web::to(endpoint::unknown_path));
}
