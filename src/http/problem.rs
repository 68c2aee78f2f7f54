//! The one table that turns refusals and faults into status and problem body (RFC 9457).

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Serialize, Serializer};

use super::request_id;
use crate::engine::{Engine, Fault};
use crate::flow::{Refusal, Stop};
use crate::journal::handle::{Handle, NoRoom};

/// A fault of one field.
#[derive(Clone, Debug, Serialize)]
pub struct FieldError {
    /// JSON pointer.
    pub pointer: String,
    /// Stable.
    pub code: String,
    /// For people.
    pub message: String,
}

/// An answer that is no success.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<u64>,
    reasons: Option<Vec<&'static str>>,
    challenge: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(serialize_with = "spell")]
    r#type: Type<'a>,
    #[serde(serialize_with = "spell")]
    title: Title,
    status: u16,
    detail: &'a str,
    #[serde(serialize_with = "spell")]
    instance: Instance<'a>,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<&'a Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem of that status and stable code; `detail` says what to do next.
    pub fn new(status: u16, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            reasons: None,
            challenge: false,
        }
    }

    /// With faults of fields.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// With the seconds after which it is worth trying again.
    #[must_use]
    pub fn after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after = Some(wait.as_millis().div_ceil(1000).max(1) as u64);
        self
    }

    fn challenged(mut self) -> Self {
        self.challenge = true;
        self
    }

    /// The response.
    pub fn response(&self, request: &HttpRequest, engine: &Engine) -> HttpResponse {
        let id = request_id(request);
        let body = Body {
            r#type: Type { origin: engine.config.public_origin.as_str(), code: self.code },
            title: Title(self.code),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: Instance(&id),
            code: self.code,
            request_id: &id,
            errors: &self.errors,
            reasons: self.reasons.as_ref(),
            retry_after: self.retry_after,
        };
        let mut response = HttpResponse::build(self.status);
        response.content_type(PROBLEM_JSON.clone());
        if let Some(secs) = self.retry_after {
            response.insert_header((RETRY_AFTER, HeaderValue::from(secs)));
        }
        if self.challenge {
            response.insert_header((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        // In one piece of memory, as most answers are refusals when it matters.
        let mut text = Vec::with_capacity(512);
        // Texts and numbers have no way to fail.
        let _ = serde_json::to_writer(&mut text, &body);
        response.body(text)
    }
}

static PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Texts that are put together while they are written.
fn spell<S: Serializer>(text: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(text)
}

struct Type<'a> {
    origin: &'a str,
    code: &'static str,
}

impl Display for Type<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin)?;
        f.write_str("/problems")?;
        let mut between = "/";
        self.code.split('_').try_for_each(|word| {
            f.write_str(std::mem::replace(&mut between, "-"))?;
            f.write_str(word)
        })
    }
}

struct Title(&'static str);

impl Display for Title {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (first, rest) = self.0.split_at_checked(1).unwrap_or_default();
        f.write_char(first.chars().next().map_or(' ', |first| first.to_ascii_uppercase()))?;
        let mut between = "";
        rest.split('_').try_for_each(|word| {
            f.write_str(std::mem::replace(&mut between, " "))?;
            f.write_str(word)
        })
    }
}

struct Instance<'a>(&'a str);

impl Display for Instance<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("/requests/")?;
        f.write_str(self.0)
    }
}

impl Stop {
    /// The answer to a flow that ended early.
    pub fn problem(&self, engine: &Engine) -> Problem {
        match self {
            Self::Refused(refusal) => refused(refusal, engine),
            Self::Fault(fault) => failed(fault),
        }
    }
}

fn refused(refusal: &Refusal, engine: &Engine) -> Problem {
    match refusal {
        Refusal::Throttled { wait } => {
            Problem::new(429, "too_many_requests", "Too many requests from your network; wait and try again.")
                .after(*wait)
        }
        Refusal::Locked { until } => Problem::new(
            429,
            "too_many_attempts",
            "Too many wrong passwords for this name; wait, or use a device that has logged in before.",
        )
        .after(until.since(engine.clock.now())),
        Refusal::InvalidCredentials => {
            Problem::new(401, "invalid_credentials", "E-mail address or password is wrong.").challenged()
        }
        Refusal::EmailNotVerified => {
            Problem::new(403, "email_not_verified", "Confirm your address with the link in the mail first.")
        }
        Refusal::AccountDisabled => {
            Problem::new(403, "account_disabled", "This account is disabled; ask the operator.")
        }
        Refusal::InvalidMailedToken => Problem::new(
            400,
            "invalid_or_expired_token",
            "The link is wrong, used or too old; ask for a new one.",
        ),
        Refusal::WeakPassword { pointer, found } => {
            let mut problem =
                Problem::new(422, "weak_password", "Choose another password; `reasons` says why.");
            problem.reasons = Some(found.iter().map(|weakness| weakness.code()).collect());
            let error = |weakness: &crate::password::Weakness| FieldError {
                pointer: (*pointer).to_owned(),
                code: weakness.code().to_owned(),
                message: weakness.message().to_owned(),
            };
            problem.with_errors(found.iter().map(error).collect())
        }
        Refusal::SignupDisabled => {
            Problem::new(403, "signup_disabled", "New accounts are made by the operator.")
        }
        Refusal::EmailTaken => Problem::new(409, "email_taken", "This address has an account already."),
        Refusal::EmailChangedLately => Problem::new(
            409,
            "email_changed_lately",
            "The address was changed in the last three days and can still be undone; wait until then.",
        ),
        Refusal::InvalidRefreshToken => {
            Problem::new(401, "invalid_refresh_token", "Log in again.").challenged()
        }
        Refusal::RefreshTokenReused => Problem::new(
            401,
            "refresh_token_reused",
            "This token was used before, so its session was ended; log in again.",
        )
        .challenged(),
        Refusal::SessionExpired => {
            Problem::new(401, "session_expired", "The session is over; log in again.").challenged()
        }
        Refusal::Unauthenticated => {
            Problem::new(401, "unauthenticated", "Log in, and send the access token or the cookie.")
                .challenged()
        }
        Refusal::InsufficientRole => {
            Problem::new(403, "insufficient_role", "Your account lacks the role for this.")
        }
        Refusal::NotFound => Problem::new(404, "not_found", "There is no such thing."),
        Refusal::CsrfRejected => Problem::new(
            403,
            "csrf_rejected",
            "Send the request from a page of this origin, with its X-CSRF-Token where a cookie is used.",
        ),
        Refusal::AmbiguousCredentials => Problem::new(
            400,
            "ambiguous_credentials",
            "Send one credential: a bearer token, the cookie, or to log out a refresh token.",
        ),
        Refusal::Field { pointer, code, message } => {
            let error = FieldError {
                pointer: (*pointer).to_owned(),
                code: (*code).to_owned(),
                message: message.clone(),
            };
            Problem::new(422, "unprocessable", "A field is not acceptable; `errors` says which.")
                .with_errors(vec![error])
        }
    }
}

fn failed(fault: &Fault) -> Problem {
    match fault {
        Fault::NoRoom(NoRoom::StorageFull) => {
            Problem::new(503, "storage_full", "The server has no room to write; try again later.")
                .after(Handle::RETRY_AFTER)
        }
        Fault::Shed(shed) => {
            Problem::new(503, "server_busy", "Too many passwords are being checked; try again.")
                .after(shed.retry_after)
        }
        Fault::NoRoom(NoRoom::Busy) => {
            Problem::new(503, "server_busy", "The disk is behind; try again.").after(Handle::RETRY_AFTER)
        }
        Fault::NoRoom(NoRoom::Stopped) | Fault::Ending | Fault::HungUp => {
            Problem::new(503, "server_busy", "The server is stopping; try again.").after(Handle::RETRY_AFTER)
        }
        Fault::NoChance(_) | Fault::Sign(_) | Fault::Backup(_) => {
            tracing::error!(error = %fault, "a request could not be served");
            Problem::new(503, "server_busy", "The server cannot serve this now; try again.")
                .after(Handle::RETRY_AFTER)
        }
    }
}
