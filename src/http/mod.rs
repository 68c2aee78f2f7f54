//! The HTTP layer: parses, calls one flow, answers.

pub mod api;
mod body;
pub mod client_address;
mod connections;
pub mod csrf;
pub(crate) mod json;
pub mod middleware;
pub mod problem;
pub(crate) mod rejection;
mod request;
pub mod request_id;
pub(crate) mod response;

use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, Resource, web};

use crate::engine::Engine;
pub use body::{BODY_BYTES_MAX, Body};
pub use connections::Connections;
pub use problem::Problem;
pub use request::{Credentials, client, credentials, read_json};

/// All endpoints of the API.
pub fn configure(config: &mut web::ServiceConfig) {
    api::log_in::configure(config);
    api::mailed::configure(config);
    api::me::configure(config);
    api::admin::configure(config);
    api::operations::configure(config);
    api::revocations::configure(config);
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
