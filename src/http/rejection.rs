//! The error of a handler: a problem of the request itself, or a flow that ended early.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};

use super::problem::Problem;
use crate::engine::Engine;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::throttle::RateLimitState;

/// The error of a handler.
///
/// As a [`ResponseError`] it produces an empty response: the problem body needs the engine and the request id, so
/// [`super::middleware::wrap_request`] writes it.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Rejection {
    cause: Cause,
    /// The rate limit of the client's network, if the request was charged.
    pub(super) rate_limit: Option<RateLimitState>,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Flow(FlowError),
    #[error("{0}")]
    // Boxed: it is seldom and large, and every handler returns room for it.
    Problem(Box<Problem>),
}

impl Rejection {
    /// Reports the rate limit of the client's network in the headers of the answer.
    pub(super) const fn with_rate_limit(mut self, rate_limit: Option<RateLimitState>) -> Self {
        self.rate_limit = rate_limit;
        self
    }

    /// Returns the problem that answers the request.
    pub(super) fn problem(&self, engine: &Engine) -> Problem {
        match &self.cause {
            Cause::Flow(error) => error.problem(engine),
            Cause::Problem(problem) => Problem::clone(problem),
        }
    }

    /// Says whether the request has no credential that is valid.
    pub(super) const fn is_unauthenticated(&self) -> bool {
        matches!(self.cause, Cause::Flow(FlowError::Refused(Refusal::Unauthenticated)))
            || self.is_for_service()
    }

    /// Says whether the request has an API key that is not valid, or what a service sends for one.
    pub(super) const fn is_for_service(&self) -> bool {
        matches!(self.cause, Cause::Flow(FlowError::Refused(Refusal::InvalidApiKey)))
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self { cause: Cause::Problem(Box::new(problem)), rate_limit: None }
    }
}

impl<E: Into<FlowError>> From<E> for Rejection {
    fn from(error: E) -> Self {
        Self { cause: Cause::Flow(error.into()), rate_limit: None }
    }
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        match &self.cause {
            // The middleware sets the right one: the table of problems needs the engine's clock.
            Cause::Flow(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Cause::Problem(problem) => problem.status(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}
