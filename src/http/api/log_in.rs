//! `/v1/login`: a password is exchanged for tokens or a session cookie.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::ToSchema;

use super::shared_body::ModeName;
use crate::flow::client::Client;
use crate::flow::log_in::{Mode, log_in};
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::{cookie_of, csrf_source, device_tokens};
use crate::http::response::{CookieName, CookieSession, TokenPair, opened_response};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Endpoint, Operation, Tag, Takes};
use crate::registry::refresh::Audience;
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/login",
    &[Operation::post("logIn", "Logs in with an e-mail address and a password", |to| to.to(post_login))
        .explained(
            "Mode `cookie` answers with a session cookie and is subject to the check of the origin; it replaces the \
             session of the cookie that the request carries. A device that has logged in before sends its token in \
             `X-Device-Token`, or in its cookie.",
        )
        .about(Tag::LogIn)
        .reads(&["X-Device-Token"])
        .takes(Takes::Json(Schema::of::<LogIn>()))
        .charged(Class::Login)
        .answers(&[Answer::json(
            200,
            "Signed in: tokens, or a cookie.",
            &[Schema::of::<TokenPair>(), Schema::of::<CookieSession>()],
        )
        .with(&["Set-Cookie", "X-Device-Token"])])
        .refuses(&[
            "invalid_credentials",
            "email_not_verified",
            "account_disabled",
            "login_refused",
            "hook_unavailable",
            "too_many_attempts",
            "too_many_at_once",
            "csrf_rejected",
            "cookie_needs_same_site",
            "ambiguous_credentials",
        ])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogIn {
    #[schema(format = Email, example = "ada@example.org")]
    email: String,
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "correct horse battery staple")]
    password: SecretText,
    #[serde(default)]
    mode: ModeName,
    /// Whether the cookie outlives the browser, for `session.remember_absolute_secs` at most. For mode `cookie`.
    #[serde(default)]
    remember: bool,
    /// `admin` for the endpoints below `/v1/admin`. For mode `token`.
    #[serde(default)]
    #[schema(inline)]
    audience: Audience,
}

async fn post_login(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: LogIn = body.json_charged(&engine, &client, Class::Login).await?;
    let mode = match read.mode {
        ModeName::Token => Mode::Token { audience: read.audience },
        ModeName::Cookie => {
            csrf_source(&request, &engine)?;
            let replaces = cookie_of(&request, &engine, CookieName::Session)?;
            Mode::Cookie { remember: read.remember, replaces }
        }
    };
    let devices = device_tokens(&request, &engine)?;
    log_in(&engine, &client, &read.email, &read.password, mode, devices)
        .await
        .respond(|opened| opened_response(&engine, &opened, StatusCode::OK))
}
