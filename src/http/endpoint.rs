//! What endpoints share: the engine they serve, and the answers to unknown paths and methods.

use std::sync::Arc;

use actix_web::{HttpResponse, Resource, web};

use super::problem::Problem;
use super::rejection::Rejection;
use super::routes::ROUTES;
use crate::engine::Engine;

/// The engine that a handler serves.
pub(super) type Eng = web::Data<Engine>;

/// Returns the resource at `path`. It answers methods other than those in `allow` with 405. The middleware turns HEAD
/// into GET, so `allow` does not name it.
pub(super) fn resource(path: &str, allow: &'static str) -> Resource {
    assert!(ROUTES.contains(&path), "{path} is not on the list of routes");
    let allow: Arc<str> = allow.replace("GET", "GET, HEAD").into();
    web::resource(path).name(path).default_service(web::to(move || {
        let allow = Arc::clone(&allow);
        async move {
            let detail = format!("This endpoint accepts {allow} only.");
            let problem = Problem::new(405, "method_not_allowed", detail).with_allow(allow);
            Err::<HttpResponse, _>(Rejection::from(problem))
        }
    }))
}

/// Answers a path at which there is no endpoint.
pub(super) async fn unknown_path() -> Result<HttpResponse, Rejection> {
    Err(Problem::new(404, "not_found", "There is no such endpoint.").into())
}
