//! Why a handler gives no success.

use super::Problem;
use actix_web::{HttpRequest, HttpResponse};

use crate::engine::Engine;

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
