//! What endpoints share: the engine they serve, and the answer to unknown paths.

use actix_web::{HttpResponse, web};

use super::problem::Problem;
use super::rejection::Rejection;
use crate::engine::Engine;

/// The engine that a handler serves.
pub(super) type Eng = web::Data<Engine>;

/// Answers a path at which there is no endpoint.
pub(super) async fn unknown_path() -> Result<HttpResponse, Rejection> {
    Err(Problem::new(404, "not_found", "There is no such endpoint.").into())
}
