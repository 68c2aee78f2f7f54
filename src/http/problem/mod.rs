//! Problem bodies (RFC 9457), and the one table that turns refusals and faults into them.

pub(super) mod answer;
pub(in crate::http) mod explained;
mod refusal_table;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::json::Json;

/// A fault of one field of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::http) struct FieldError {
    /// The JSON pointer of the field.
    pub(in crate::http) pointer: String,
    /// The kind of fault, for programs.
    pub(in crate::http) code: String,
    /// The fault, for people.
    pub(in crate::http) message: String,
}

/// An answer that reports a failure.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub(in crate::http) struct Problem {
    status: StatusCode,
    pub(super) code: &'static str,
    pub(super) detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<u32>,
    reasons: Option<Box<[&'static str]>>,
    challenge: bool,
    /// The age in seconds that the last proof of who the user is may have.
    step_up: Option<u32>,
    allow: Option<Arc<str>>,
    plain_bodies: bool,
}

impl Problem {
    /// Creates a problem with a status and a code that never changes. `detail` says what to do next.
    pub(in crate::http) fn new(
        status: u16,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        debug_assert!(explained::explained(code).is_some(), "{code} has no page");
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            reasons: None,
            challenge: false,
            step_up: None,
            allow: None,
            plain_bodies: false,
        }
    }

    /// Creates the problem of a field that is not acceptable.
    pub(in crate::http) fn unprocessable(error: FieldError) -> Self {
        let detail = format!("A field is not acceptable: {}.", error.message);
        Self::new(422, "unprocessable", detail).with_errors(vec![error])
    }

    /// Adds the faults of fields.
    fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds the methods that the endpoint has.
    pub(in crate::http) fn with_allow(mut self, methods: Arc<str>) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Says that bodies are read without an encoding only.
    pub(in crate::http) const fn with_plain_bodies(mut self) -> Self {
        self.plain_bodies = true;
        self
    }

    /// Adds the time after which a retry is worthwhile, rounded up to a second.
    pub(in crate::http) fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(u32::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u32::MAX));
        self
    }

    /// Asks the client to authenticate.
    const fn with_challenge(mut self) -> Self {
        self.challenge = true;
        self
    }

    /// Creates the problem of a user whose last proof of who they are is older than `max_age`.
    pub(in crate::http) fn step_up(max_age: Duration) -> Self {
        let detail =
            "Send your password to /v1/reauthenticate, then repeat the request with the new credential.";
        Self::new(401, "step_up_required", detail).with_step_up_challenge(max_age)
    }

    /// Asks the client to prove again who the user is: the last proof may have this age (RFC 9470).
    fn with_step_up_challenge(mut self, max_age: Duration) -> Self {
        self.step_up = Some(u32::try_from(max_age.as_secs()).unwrap_or(u32::MAX));
        self
    }

    pub(in crate::http) const fn status(&self) -> StatusCode {
        self.status
    }

    /// Writes the headers of the problem.
    pub(in crate::http) fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, PROBLEM_JSON.clone());
        if let Some(secs) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(max_age) = self.step_up {
            let challenge = format!(
                "Bearer error=\"insufficient_user_authentication\", error_description=\"A more recent authentication is \
                 required\", max_age=\"{max_age}\""
            );
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
        }
        if let Some(methods) = self.allow.as_deref().and_then(|methods| HeaderValue::from_str(methods).ok()) {
            headers.insert(ALLOW, methods);
        }
        if self.plain_bodies {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
    }

    /// Returns the body of the answer to request `id`. `origin` is that of this site.
    pub(in crate::http) fn body(&self, origin: &str, id: &str) -> Vec<u8> {
        let code = self.code;
        let title = explained::title(code);
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

/// The body of a problem (RFC 9457).
// `Problem::body` writes it without looking at each byte; a test compares the two.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(in crate::http) struct ProblemBody<'a> {
    /// The page that explains the code.
    #[schema(format = "uri")]
    r#type: &'a str,
    /// The code in words.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What to do next, for people. Never whether an account exists.
    detail: &'a str,
    /// The request, by its id.
    #[schema(example = "/requests/0a1b2c3d4e5f60718293a4b5")]
    instance: &'a str,
    /// What has happened, for programs. Never changed.
    code: &'a str,
    /// The id of the request, as in `X-Request-Id` and in the log.
    request_id: &'a str,
    /// The faults of fields, with `unprocessable` and `weak_password`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<FieldError>, required = false)]
    errors: &'a [FieldError],
    /// Why a password is weak, with `weak_password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    reasons: Option<&'a [&'static str]>,
    /// After how many seconds to try again, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after: Option<u32>,
}

static PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_json_of_its_fields() {
        let hostile = "a \"quoted\" \\ line\nend \u{7}\u{e9}";
        let error =
            FieldError { pointer: hostile.into(), code: "weak_password".into(), message: hostile.into() };
        let plain =
            Problem::new(429, "too_many_requests", "Wait.").with_retry_after(Duration::from_millis(1));
        let mut whole = Problem::new(422, "weak_password", String::from(hostile)).with_errors(vec![error]);
        whole.reasons = Some(["common", "short"].into());
        for (problem, r#type, title) in [
            (&plain, "https://a.example:8/problems/too-many-requests", "Too many requests"),
            (&whole, "https://a.example:8/problems/weak-password", "Weak password"),
        ] {
            let expected = ProblemBody {
                r#type,
                title,
                status: problem.status.as_u16(),
                detail: &problem.detail,
                instance: "/requests/0a1b",
                code: problem.code,
                request_id: "0a1b",
                errors: &problem.errors,
                reasons: problem.reasons.as_deref(),
                retry_after: problem.retry_after,
            };
            let body = String::from_utf8(problem.body("https://a.example:8", "0a1b")).unwrap();
            assert_eq!(body, serde_json::to_string(&expected).unwrap());
        }
    }
}
