//! The error of a handler: a problem of the request itself, or a flow that ended early.

use std::fmt;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, ORIGIN};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};

use super::cors;
use super::problem::Problem;
use super::problem::answer::{write_headers, write_problem};
use super::request_id::new_request_id;
use crate::engine::Engine;
use crate::flow::refusal::{Error, FlowError, Refusal};
use crate::registry::throttle::RateLimitState;

/// The error of a handler.
///
/// Around the endpoints, the middleware writes its answer, since the problem body needs the engine and the request id. The
/// extractors of an embedding program's handlers return one that writes its answer itself: the same problem, with the same
/// headers.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Rejection {
    cause: Cause,
    /// The rate limit of the client's network, if the request was charged.
    pub(super) rate_limit: Option<RateLimitState>,
    /// What the answer needs where no middleware of ours completes it.
    outside: Option<Box<Outside>>,
}

/// What the answer to a request needs that has not come through our middleware: a handler of the embedding program refuses it.
pub(super) struct Outside {
    /// The engine; `None` if the program has not said which.
    engine: Option<Arc<Engine>>,
    /// The `Origin` headers of the request.
    origins: HeaderMap,
    has_bearer: bool,
}

impl Outside {
    /// Returns what the answer to `request` needs. `has_bearer` says whether it has come with an access token.
    pub(super) fn of(request: &HttpRequest, has_bearer: bool) -> Self {
        let mut origins = HeaderMap::new();
        for origin in request.headers().get_all(ORIGIN) {
            origins.append(ORIGIN, origin.clone());
        }
        Self {
            engine: request.app_data::<web::Data<Engine>>().map(|engine| Arc::clone(engine)),
            origins,
            has_bearer,
        }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside(..)")
    }
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

    /// Lets the rejection write its whole answer itself.
    pub(super) fn outside(mut self, outside: Outside) -> Self {
        self.outside = Some(Box::new(outside));
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
        Self { cause: Cause::Problem(Box::new(problem)), rate_limit: None, outside: None }
    }
}

impl<E: Into<FlowError>> From<E> for Rejection {
    fn from(error: E) -> Self {
        Self { cause: Cause::Flow(error.into()), rate_limit: None, outside: None }
    }
}

/// Lets a handler of the embedding program return what a flow has refused.
impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let (cause, engine) = error.into_parts();
        Self::from(cause).outside(Outside { engine, origins: HeaderMap::new(), has_bearer: false })
    }
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        match (&self.cause, self.outside.as_ref().and_then(|outside| outside.engine.as_ref())) {
            (Cause::Problem(problem), _) => problem.status(),
            (Cause::Flow(error), Some(engine)) => error.problem(engine).status(),
            // The middleware sets the right one: the table of problems needs the engine's clock.
            (Cause::Flow(_), None) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let Some(outside) = &self.outside else { return HttpResponse::new(self.status_code()) };
        let Outside { engine, origins, has_bearer } = &**outside;
        match (engine, &self.cause) {
            (Some(engine), _) => {
                let is_bad_token = self.is_unauthenticated() && *has_bearer;
                whole_answer(engine, self.problem(engine), self.rate_limit, is_bad_token, origins)
            }
            (None, Cause::Problem(problem)) => answer_without_engine(problem),
            (None, Cause::Flow(_)) => answer_without_engine(&stopping()),
        }
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        self.engine()
            .map_or(StatusCode::SERVICE_UNAVAILABLE, |engine| self.flow_error().problem(engine).status())
    }

    fn error_response(&self) -> HttpResponse {
        match self.engine() {
            Some(engine) => {
                whole_answer(engine, self.flow_error().problem(engine), None, false, &HeaderMap::new())
            }
            None => answer_without_engine(&stopping()),
        }
    }
}

/// Returns the answer that the middleware would complete.
fn whole_answer(
    engine: &Engine,
    mut problem: Problem,
    rate_limit: Option<RateLimitState>,
    is_bad_token: bool,
    origins: &HeaderMap,
) -> HttpResponse {
    let http = &engine.services.config.http;
    let mut response = HttpResponse::new(problem.status());
    let headers = response.headers_mut();
    write_problem(&mut problem, rate_limit, is_bad_token, headers);
    let id = new_request_id(&engine.services.random);
    let body = problem.body(http.public_origin.as_str(), &id);
    write_headers(headers, id, http.public_origin.is_https());
    if !http.allowed_origins.is_empty() {
        cors::write_headers(origins, &http.allowed_origins, headers);
    }
    response.set_body(BoxBody::new(body))
}

/// Returns an answer for which no engine knows an origin.
fn answer_without_engine(problem: &Problem) -> HttpResponse {
    let mut response = HttpResponse::new(problem.status());
    problem.write_headers(response.headers_mut());
    write_headers(response.headers_mut(), String::from("none"), false);
    response.set_body(BoxBody::new(problem.body("", "none")))
}

fn stopping() -> Problem {
    Problem::new(503, "server_busy", "The server is stopping.")
}
