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
        Rejection::FlowError(stop) => stop.problem(engine).response(request, engine),
        Rejection::Problem(problem) => problem.response(request, engine),
    })
}

/// Why a handler gives no success.
pub enum Rejection {
    /// A flow ended early.
    FlowError(crate::flow::refusal::FlowError),
    /// The request could not be read.
    Problem(Problem),
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl<E: Into<crate::flow::refusal::FlowError>> From<E> for Rejection {
    fn from(stop: E) -> Self {
        Self::FlowError(stop.into())
    }
}
