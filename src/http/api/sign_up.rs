//! `/v1/signup`: a new account.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shared_body::ModeName;
use crate::flow::client::Client;
use crate::flow::log_in::Mode;
use crate::flow::sign_up::{Done, Form, sign_up};
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::header::accepted_language;
use crate::http::rejection::Rejection;
use crate::http::request::csrf_source;
use crate::http::response::{CookieSession, TokenPair, opened_response, sign_up_cookie};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Endpoint, Operation, Tag, Takes};
use crate::registry::refresh::Audience;
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/signup",
    &[Operation::post("signUp", "Signs up with an e-mail address and a password", |to| to.to(post_signup))
        .explained(
            "The account exists once the link of the mail and the client's half of the sign-up come together at \
             `POST /v1/email/verify`. A taken address gets the same answer; its owner gets a different mail. Mode \
             `cookie` keeps the half in a cookie, and is subject to the check of the origin.",
        )
        .about(Tag::SignUp)
        .takes(Takes::Json(Schema::of::<SignUp>()))
        .charged(Class::Signup)
        .answers(&[
            Answer::json(202, "The mail is on its way.", &[Schema::of::<Sent>()]).with(&["Set-Cookie"]),
            Answer::json(
                201,
                "With `signup.verify_email = \"off\"`: the account is made, and signed in.",
                &[Schema::of::<TokenPair>(), Schema::of::<CookieSession>()],
            )
            .with(&["Set-Cookie", "X-Device-Token"]),
        ])
        .refuses(&[
            "weak_password",
            "signup_disabled",
            "signup_refused",
            "login_refused",
            "hook_unavailable",
            "email_taken",
            "csrf_rejected",
            "cookie_needs_same_site",
        ])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignUp {
    #[schema(format = Email, example = "ada@example.org")]
    email: String,
    /// At least `password.min_length` characters (15), and hard to guess; at most 1024 bytes.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "correct horse battery staple")]
    password: SecretText,
    /// The name by which the owner wants to be called: at most 100 characters.
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$", example = "Ada")]
    name: Option<String>,
    /// The language of the owner. Without it, the first tag of `Accept-Language`.
    #[schema(max_length = 35, pattern = "^([A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*)?$", example = "en-GB")]
    locale: Option<String>,
    #[serde(default)]
    mode: ModeName,
}

/// A sign-up that waits for the link of its mail.
#[derive(Serialize, ToSchema)]
#[schema(as = SignUpSent)]
struct Sent<'a> {
    /// `verification_sent`.
    #[schema(example = "verification_sent")]
    status: &'static str,
    /// The half of the sign-up that the client keeps. In mode `cookie` it is in a cookie instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    signup_token: Option<&'a str>,
}

async fn post_signup(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: SignUp = body.json_charged(&engine, &client, Class::Signup).await?;
    let mode = match read.mode {
        ModeName::Token => Mode::Token { audience: Audience::App },
        ModeName::Cookie => {
            // Or another site could have this browser keep the half of a sign-up of its own.
            csrf_source(&request, &engine)?;
            Mode::Cookie { remember: false, replaces: None }
        }
    };
    let preferred = accepted_language(request.headers());
    let form = Form {
        email: &read.email,
        password: &read.password,
        name: read.name.as_deref(),
        locale: read.locale.as_deref().or(preferred.as_deref()),
    };
    let outcome = sign_up(&engine, &client, form, mode).await;
    outcome.respond(|done| match done {
        Done::Mailed(half) => match read.mode {
            ModeName::Token => HttpResponse::Accepted()
                .json(Sent { status: "verification_sent", signup_token: Some(half.as_str()) }),
            ModeName::Cookie => HttpResponse::Accepted()
                .cookie(sign_up_cookie(&engine, &half))
                .json(Sent { status: "verification_sent", signup_token: None }),
        },
        Done::LoggedIn(opened) => opened_response(&engine, &opened, StatusCode::CREATED),
    })
}
