//! The one table that turns refusals and faults into status and problem body (RFC 9457).

use std::borrow::Cow;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::json::Json;
use super::request_id::request_id;
use crate::engine::{Engine, Fault};
use crate::flow::refusal::{FlowError, Refusal};
use crate::journal::append::handle::{Handle, NoRoom};

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
        let mut response = HttpResponse::build(self.status);
        response.content_type(PROBLEM_JSON.clone());
        if let Some(secs) = self.retry_after {
            response.insert_header((RETRY_AFTER, HeaderValue::from(secs)));
        }
        if self.challenge {
            response.insert_header((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        response.body(self.body(engine.services.config.http.public_origin.as_str(), &id))
    }

    /// The body.
    fn body(&self, origin: &str, id: &str) -> Vec<u8> {
        let code = self.code;
        let mut title = code.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let mut json = Json::with_capacity(512).plain("{\"type\":\"").plain(origin).plain("/problems/");
        json = json.plain(&code.replace('_', "-")).plain("\",\"title\":\"").plain(&title);
        json = json.plain("\",\"status\":").value(&self.status.as_u16());
        json = json.plain(",\"detail\":").value(&self.detail);
        json = json.plain(",\"instance\":\"/requests/").plain(id).plain("\",\"code\":\"").plain(code);
        json = json.plain("\",\"request_id\":\"").plain(id).plain("\"");
        if !self.errors.is_empty() {
            json = json.plain(",\"errors\":").value(&self.errors);
        }
        if let Some(reasons) = &self.reasons {
            json = json.plain(",\"reasons\":").value(reasons);
        }
        if let Some(secs) = self.retry_after {
            json = json.plain(",\"retry_after\":").value(&secs);
        }
        json.plain("}").into_bytes()
    }
}

static PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

impl FlowError {
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
        Fault::NoRandomness(_) | Fault::Sign(_) | Fault::Backup(_) => {
            tracing::error!(error = %fault, "a request could not be served");
            Problem::new(503, "server_busy", "The server cannot serve this now; try again.")
                .after(Handle::RETRY_AFTER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body as it is documented.
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: &'a str,
        title: &'a str,
        status: u16,
        detail: &'a str,
        instance: &'a str,
        code: &'a str,
        request_id: &'a str,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        errors: &'a [FieldError],
        #[serde(skip_serializing_if = "Option::is_none")]
        reasons: Option<&'a Vec<&'static str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    }

    #[test]
    fn a_body_is_the_json_of_its_fields() {
        let hostile = "a \"quoted\" \\ line\nend \u{7}\u{e9}";
        let error =
            FieldError { pointer: hostile.into(), code: "weak_password".into(), message: hostile.into() };
        let plain =
            Problem::new(429, "too_many_requests", "Wait.").after(std::time::Duration::from_millis(1));
        let mut whole = Problem::new(422, "weak_password", String::from(hostile)).with_errors(vec![error]);
        whole.reasons = Some(vec!["common", "short"]);
        for (problem, r#type, title) in [
            (&plain, "https://a.example:8/problems/too-many-requests", "Too many requests"),
            (&whole, "https://a.example:8/problems/weak-password", "Weak password"),
        ] {
            let expected = Body {
                r#type,
                title,
                status: problem.status.as_u16(),
                detail: &problem.detail,
                instance: "/requests/0a1b",
                code: problem.code,
                request_id: "0a1b",
                errors: &problem.errors,
                reasons: problem.reasons.as_ref(),
                retry_after: problem.retry_after,
            };
            let body = String::from_utf8(problem.body("https://a.example:8", "0a1b")).unwrap();
            assert_eq!(body, serde_json::to_string(&expected).unwrap());
        }
    }
}
