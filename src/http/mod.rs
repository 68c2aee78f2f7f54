#![doc = include_str!("README.md")]

pub mod api;
mod body;
pub mod client_address;
mod connections;
pub mod csrf;
mod json;
pub mod middleware;
mod problem;
mod rejection;
mod request;
mod request_id;
mod response;

use actix_web::{HttpResponse, Resource, web};

use crate::engine::Engine;
pub use body::BODY_BYTES_MAX;
use body::Body;
pub use connections::Connections;
use problem::Problem;
use rejection::Rejection;

/// The engine that a handler serves.
type Eng = web::Data<Engine>;

/// Adds all endpoints of the API.
pub fn configure(config: &mut web::ServiceConfig) {
    api::configure(config);
    config.default_service(web::to(async || {
        let problem = Problem::new(404, "not_found", "There is no such endpoint.");
        Err::<HttpResponse, _>(Rejection::from(problem))
    }));
}

/// Returns the resource at `path`. It answers methods other than those in `allow` with 405.
fn resource(path: &str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move || async move {
        let detail = format!("This endpoint accepts {allow} only.");
        let problem = Problem::new(405, "method_not_allowed", detail).with_allow(allow);
        Err::<HttpResponse, _>(Rejection::from(problem))
    }))
}
