//! Problem bodies (RFC 9457), and the one table that turns refusals and faults into them.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;

use super::json::Json;
use crate::engine::{Engine, Fault};
use crate::flow::refusal::{FlowError, Refusal};
use crate::journal::append::handle::{Handle, NoRoom};
use crate::password::Weakness;

/// A fault of one field of a request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FieldError {
    /// The JSON pointer of the field.
    pub(super) pointer: String,
    /// The kind of fault, for programs.
    pub(super) code: String,
    /// The fault, for people.
    pub(super) message: String,
}

/// An answer that reports a failure.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<u32>,
    reasons: Option<Vec<&'static str>>,
    challenge: bool,
    allow: Option<&'static str>,
}

impl Problem {
    /// Creates a problem with a status and a code that never changes. `detail` says what to do next.
    pub(super) fn new(status: u16, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            reasons: None,
            challenge: false,
            allow: None,
        }
    }

    /// Creates the problem of a field that is not acceptable.
    pub(super) fn unprocessable(error: FieldError) -> Self {
        Self::new(422, "unprocessable", "A field is not acceptable; see `errors`.").with_errors(vec![error])
    }

    /// Adds the faults of fields.
    fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds the methods that the endpoint has.
    pub(super) const fn with_allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Adds the time after which a retry is worthwhile, rounded up to a second.
    fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(u32::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u32::MAX));
        self
    }

    /// Asks the client to authenticate.
    const fn with_challenge(mut self) -> Self {
        self.challenge = true;
        self
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// Writes the headers of the problem.
    pub(super) fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, PROBLEM_JSON.clone());
        if let Some(secs) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
    }

    /// Returns the body of the answer to request `id`. `origin` is that of this site.
    pub(super) fn body(&self, origin: &str, id: &str) -> Vec<u8> {
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
    /// Returns the answer to a flow that ended early.
    pub(super) fn problem(&self, engine: &Engine) -> Problem {
        match self {
            Self::Refused(refusal) => refused(refusal, engine),
            Self::Fault(fault) => failed(fault),
        }
    }
}

fn refused(refusal: &Refusal, engine: &Engine) -> Problem {
    match refusal {
        Refusal::Throttled { wait } => Problem::new(
            429,
            "too_many_requests",
            "Too many requests from your network; wait, then try again.",
        )
        .with_retry_after(*wait),
        Refusal::Locked { until } => Problem::new(
            429,
            "too_many_attempts",
            "Too many wrong passwords for this account; wait, or use a device that has logged in before.",
        )
        .with_retry_after(until.since(engine.clock.now())),
        Refusal::InvalidCredentials => {
            Problem::new(401, "invalid_credentials", "E-mail address or password is wrong.").with_challenge()
        }
        Refusal::EmailNotVerified => Problem::new(
            403,
            "email_not_verified",
            "Confirm your e-mail address with the link in our mail first.",
        ),
        Refusal::AccountDisabled => {
            Problem::new(403, "account_disabled", "This account is disabled; ask the operator.")
        }
        Refusal::InvalidMailedToken => Problem::new(
            400,
            "invalid_or_expired_token",
            "The link is wrong, used or expired; ask for a new one.",
        ),
        Refusal::WeakPassword { pointer, found } => {
            let mut problem = Problem::new(422, "weak_password", "Choose another password; see `reasons`.");
            problem.reasons = Some(found.iter().map(|weakness| weakness.code()).collect());
            let error = |weakness: &Weakness| FieldError {
                pointer: (*pointer).to_owned(),
                code: weakness.code().to_owned(),
                message: weakness.message().to_owned(),
            };
            problem.with_errors(found.iter().map(error).collect())
        }
        Refusal::SignupDisabled => {
            Problem::new(403, "signup_disabled", "Sign-up is disabled; ask the operator for an account.")
        }
        Refusal::EmailTaken => {
            Problem::new(409, "email_taken", "An account with this e-mail address exists already.")
        }
        Refusal::EmailChangedLately => Problem::new(
            409,
            "email_changed_lately",
            "The e-mail address was changed in the last three days, and that can still be undone; try again later.",
        ),
        Refusal::InvalidRefreshToken => {
            Problem::new(401, "invalid_refresh_token", "The refresh token is not valid; log in again.")
                .with_challenge()
        }
        Refusal::RefreshTokenReused => Problem::new(
            401,
            "refresh_token_reused",
            "The refresh token was used before, so its session has ended; log in again.",
        )
        .with_challenge(),
        Refusal::SessionExpired => {
            Problem::new(401, "session_expired", "The session has ended; log in again.").with_challenge()
        }
        Refusal::Unauthenticated => {
            Problem::new(401, "unauthenticated", "Log in, then send the access token or the session cookie.")
                .with_challenge()
        }
        Refusal::InsufficientRole => {
            Problem::new(403, "insufficient_role", "Your account lacks the role that this endpoint requires.")
        }
        Refusal::NotFound => Problem::new(404, "not_found", "The requested object does not exist."),
        Refusal::CsrfRejected => Problem::new(
            403,
            "csrf_rejected",
            "Send the request from a page of this site; with a session cookie, add its X-CSRF-Token.",
        ),
        Refusal::AmbiguousCredentials => Problem::new(
            400,
            "ambiguous_credentials",
            "Send one credential only: an access token, the session cookie, or (to log out) a refresh token.",
        ),
        Refusal::Field { pointer, code, message } => {
            let error = FieldError {
                pointer: (*pointer).to_owned(),
                code: (*code).to_owned(),
                message: message.clone(),
            };
            Problem::unprocessable(error)
        }
    }
}

fn failed(fault: &Fault) -> Problem {
    match fault {
        Fault::NoRoom(NoRoom::StorageFull) => {
            Problem::new(503, "storage_full", "The server's disk is full; try again later.")
                .with_retry_after(Handle::RETRY_AFTER)
        }
        Fault::Shed(shed) => {
            Problem::new(503, "server_busy", "Too many passwords are being checked; try again shortly.")
                .with_retry_after(shed.retry_after)
        }
        Fault::NoRoom(NoRoom::Busy) => {
            Problem::new(503, "server_busy", "The server's disk is too slow at present; try again shortly.")
                .with_retry_after(Handle::RETRY_AFTER)
        }
        Fault::NoRoom(NoRoom::Stopped) | Fault::Ending | Fault::HungUp => {
            Problem::new(503, "server_busy", "The server is stopping; try again shortly.")
                .with_retry_after(Handle::RETRY_AFTER)
        }
        Fault::NoRandomness(_) | Fault::Sign(_) | Fault::Backup(_) => {
            tracing::error!(error = %fault, "cannot serve a request");
            Problem::new(
                503,
                "server_busy",
                "The server cannot serve this request at present; try again shortly.",
            )
            .with_retry_after(Handle::RETRY_AFTER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented fields, in their order.
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
        retry_after: Option<u32>,
    }

    #[test]
    fn a_body_is_the_json_of_its_fields() {
        let hostile = "a \"quoted\" \\ line\nend \u{7}\u{e9}";
        let error =
            FieldError { pointer: hostile.into(), code: "weak_password".into(), message: hostile.into() };
        let plain =
            Problem::new(429, "too_many_requests", "Wait.").with_retry_after(Duration::from_millis(1));
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
