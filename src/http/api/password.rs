//! `/v1/password/…`: a forgotten password, a new one, a changed one, advice on one.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shared_body::{Email, Status};
use crate::flow::client::Client;
use crate::flow::password;
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::http::response::{TokenPair, renewed_response, set_device};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag, Takes};
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/v1/password/forgot",
        &[Operation::post("requestPasswordReset", "Mails a link for a new password", |to| to.to(post_forgot))
            .explained(
                "The same answer, in the same time, for any address. Mails beyond the quota are not sent. The former address of \
                 an account gets the link that undoes the change again.",
            )
            .about(Tag::Password)
            .takes(Takes::Json(Schema::of::<Email>()))
            .charged(Class::Forgot)
            .answers(&[Answer::json(202, "`reset_sent`.", &[Schema::of::<Status>()])])],
    ),
    Endpoint::at(
        "/v1/password/reset",
        &[Operation::post("resetPassword", "Sets a new password by the link of a mail", |to| to.to(post_reset))
            .explained(
                "Every session of the account ends, and a lockout too. Nobody is logged in. A password that is refused \
                 leaves the link as it is.",
            )
            .about(Tag::Password)
            .takes(Takes::Json(Schema::of::<Reset>()))
            .charged(Class::Reset)
            .answers(&[Answer::empty("The password is set.").with(&["Set-Cookie", "X-Device-Token"])])
            .refuses(&["invalid_or_expired_token", "weak_password"])],
    ),
    Endpoint::at(
        "/v1/password/change",
        &[Operation::post("changePassword", "Changes the password", |to| to.to(post_change))
            .explained(
                "Everything else that was signed in ends; this client goes on with the new credential. If a hook lets the account \
                 have none, the password is changed all the same, and the client is signed out.",
            )
            .about(Tag::Password)
            .by(Credential::Account)
            .takes(Takes::Json(Schema::of::<Change>()))
            .charged(Class::Check)
            .answers(&[
                Answer::json(200, "By an access token: a new pair.", &[Schema::of::<TokenPair>()])
                    .with(&["Set-Cookie", "X-Device-Token"]),
                Answer::empty("By a cookie: a new cookie, and its CSRF token in a header.")
                    .with(&["Set-Cookie", "X-CSRF-Token"]),
            ])
            .refuses(&[
                "invalid_credentials",
                "weak_password",
                "session_expired",
                "too_many_attempts",
                "too_many_at_once",
                "login_refused",
                "hook_unavailable",
            ])],
    ),
    Endpoint::at(
        "/v1/password/check",
        &[Operation::post("checkPassword", "Says whether a new password would be taken", |to| to.to(post_check))
            .explained("For a form: wait until the user pauses.")
            .about(Tag::Password)
            .takes(Takes::Json(Schema::of::<Check>()))
            .charged(Class::Advice)
            .answers(&[Answer::json(200, "Advice on the password.", &[Schema::of::<PasswordAdvice>()])])],
    ),
];

async fn post_forgot(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Email = body.json_charged(&engine, &client, Class::Forgot).await?;
    password::forgot(&engine, &client, &read.email)
        .await
        .respond(|()| HttpResponse::Accepted().json(Status { status: "reset_sent" }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResetPassword)]
struct Reset {
    /// From the link in the mail.
    #[schema(value_type = String)]
    token: SecretText,
    /// As at sign-up.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "a quite different long phrase")]
    new_password: SecretText,
}

async fn post_reset(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Reset = body.json_charged(&engine, &client, Class::Reset).await?;
    password::reset(&engine, &client, &read.token, &read.new_password).await.respond(|device| {
        let mut response = HttpResponse::NoContent();
        if let Some(device) = device {
            set_device(&engine, &mut response, &device);
        }
        response.finish()
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangePassword)]
struct Change {
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "correct horse battery staple")]
    current_password: SecretText,
    /// As at sign-up.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "a quite different long phrase")]
    new_password: SecretText,
}

async fn post_change(
    engine: Eng,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: Change = body.json_charged(&engine, &client, Class::Check).await?;
    password::change(&engine, &client, &identity, &read.current_password, &read.new_password)
        .await
        .respond(|opened| renewed_response(&engine, &opened))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CheckPassword)]
struct Check {
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "correct horse battery staple")]
    password: SecretText,
    /// The address of the account, whose parts make a password easy to guess.
    #[serde(default)]
    email: String,
}

/// Advice on a password.
#[derive(Serialize, ToSchema)]
struct PasswordAdvice<'a> {
    /// How hard it is to guess, from 0 to 4.
    #[schema(minimum = 0, maximum = 4)]
    score: u8,
    /// Whether it would be taken.
    acceptable: bool,
    /// Why not, for programs.
    reasons: Vec<&'a str>,
    /// What would make it better, for people.
    suggestions: &'a [String],
}

async fn post_check(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Check = body.json_charged(&engine, &client, Class::Advice).await?;
    password::check(&engine, &client, &read.password, &read.email).await.respond(|advice| {
        let reasons: Vec<_> = advice.reasons.iter().map(|reason| reason.code()).collect();
        HttpResponse::Ok().json(PasswordAdvice {
            score: advice.score,
            acceptable: reasons.is_empty(),
            reasons,
            suggestions: &advice.suggestions,
        })
    })
}
