//! `/v1/email/…`: proof of an e-mail address, and its change.

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shared_body::Status;
use crate::engine::Engine;
use crate::flow::client::Client;
use crate::flow::email::{Confirmed, Link, Proof};
use crate::flow::mailed::Verified;
use crate::flow::{email, mailed};
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::{
    SignedIn, cookie_of, credentials as credentials_of, csrf_source, signed_in_lately,
};
use crate::http::response::{CookieName, TokenPair, renewed_response, set_device};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag, Takes};
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/v1/email/verify",
        &[Operation::post("verifyEmail", "Proves an e-mail address by the link of a mail", |to| to.to(post_verify))
            .explained(
                "With the half of the sign-up that its client keeps, in the body or in its cookie, the account exists and \
                 its password opens it. The link alone proves the address, drops the password, and leads to \
                 `POST /v1/password/reset`. The same again within an hour gets the same answer.",
            )
            .about(Tag::SignUp)
            .takes(Takes::Json(Schema::of::<Verify>()))
            .charged(Class::Verify)
            .answers(&[
                Answer::json(200, "The link alone: a password must be set.", &[Schema::of::<NextStep>()]),
                Answer::empty("Both halves: log in."),
            ])
            .refuses(&[
                "invalid_or_expired_token",
                "signup_disabled",
                "signup_refused",
                "csrf_rejected",
                "cookie_needs_same_site",
                "ambiguous_credentials",
            ])],
    ),
    Endpoint::at(
        "/v1/email/verify/resend",
        &[Operation::post("resendVerification", "Mails the link of a sign-up again", |to| to.to(post_resend))
            .explained("The same answer for any address. Mails beyond the quota are not sent.")
            .about(Tag::SignUp)
            .takes(Takes::Json(Schema::of::<Resend>()))
            .charged(Class::Forgot)
            .answers(&[Answer::json(202, "`verification_sent`.", &[Schema::of::<Status>()])])
            .refuses(&["csrf_rejected", "cookie_needs_same_site", "ambiguous_credentials"])],
    ),
    Endpoint::at(
        "/v1/email/change",
        &[Operation::post("requestEmailChange", "Mails a link to a new address", |to| to.to(post_change))
            .explained("Nothing changes until the link is used. A taken address gets the same answer.")
            .about(Tag::Email)
            .by(Credential::Account)
            .takes(Takes::Json(Schema::of::<Change>()))
            .charged(Class::Check)
            .answers(&[Answer::json(202, "`confirmation_sent`.", &[Schema::of::<Status>()])])
            .refuses(&[
                "invalid_credentials",
                "session_expired",
                "email_changed_lately",
                "too_many_attempts",
                "too_many_at_once",
            ])],
    ),
    Endpoint::at(
        "/v1/email/change/confirm",
        &[Operation::post("confirmEmailChange", "Changes the address by the link of a mail", |to| to.to(post_confirm))
            .explained(
                "The link is not enough: send a credential of the account, or its password. The session is replaced; the same \
                 again with the credential of before gets the same new one, as long as that is not used. If a hook lets the \
                 account have none, the address is changed all the same, and the client is signed out. For three days the \
                 old address can undo the change.",
            )
            .about(Tag::Email)
            .by(Credential::AccountOrNobody)
            .takes(Takes::Json(Schema::of::<BoundToken>()))
            .charged(Class::Verify)
            .answers(&[
                Answer::json(200, "By an access token: a new pair.", &[Schema::of::<TokenPair>()])
                    .with(&["Set-Cookie", "X-Device-Token"]),
                Answer::empty("By a cookie: a new one. By the password: a device token. The same again by the password or the new session: nothing.")
                    .with(&["Set-Cookie", "X-CSRF-Token", "X-Device-Token"]),
            ])
            .refuses(&[
                "invalid_or_expired_token",
                "proof_needed",
                "invalid_credentials",
                "session_expired",
                "email_taken",
                "email_changed_lately",
                "account_disabled",
                "too_many_attempts",
                "too_many_at_once",
                "login_refused",
                "hook_unavailable",
            ])],
    ),
    Endpoint::at(
        "/v1/email/change/undo",
        &[Operation::post("undoEmailChange", "Takes the old address back", |to| to.to(post_undo))
            .explained(
                "By the link of the mail to the old address. Every session of the account ends, its password is removed, \
                 and a link for a new one is mailed, unless the account is disabled.",
            )
            .about(Tag::Email)
            .takes(Takes::Json(Schema::of::<BoundToken>()))
            .charged(Class::Reset)
            .answers(&[Answer::empty("The account has its old address.")])
            .refuses(&[
                "invalid_or_expired_token",
                "proof_needed",
                "invalid_credentials",
                "account_deleted",
                "email_taken",
                "too_many_attempts",
                "too_many_at_once",
            ])],
    ),
];

/// A link, and the half of a sign-up that the client keeps. A browser keeps it in a cookie.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VerifyEmail)]
struct Verify {
    /// From the link in the mail.
    #[schema(value_type = String)]
    token: SecretText,
    /// From the answer of the sign-up. A browser that signed up with a cookie sends none.
    #[schema(value_type = Option<String>)]
    signup_token: Option<SecretText>,
}

/// Returns the half of a sign-up that the client keeps. A cookie counts on a page of this site alone, as every cookie that
/// something is done with.
fn half<'a>(
    request: &'a HttpRequest,
    engine: &Engine,
    named: Option<&'a str>,
) -> Result<Option<&'a str>, Rejection> {
    let cookie = cookie_of(request, engine, CookieName::SignUp)?;
    if named.is_none() && cookie.is_some() {
        csrf_source(request, engine)?;
    }
    Ok(named.or(cookie))
}

async fn post_verify(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: Verify = body.json_charged(&engine, &client, Class::Verify).await?;
    let half = half(&request, &engine, read.signup_token.as_deref())?;
    mailed::verify(&engine, &client, &read.token, half).await.respond(|verified| match verified {
        Verified::Done => HttpResponse::NoContent().finish(),
        Verified::SetPassword(token) => {
            HttpResponse::Ok().json(NextStep { next: "set_password", token: token.as_str() })
        }
    })
}

/// What to do after the proof of an address by the link alone.
#[derive(Serialize, ToSchema)]
struct NextStep<'a> {
    /// `set_password`.
    #[schema(example = "set_password")]
    next: &'static str,
    /// For `POST /v1/password/reset`.
    token: &'a str,
}

/// The address of a sign-up, and its half if the client keeps one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResendVerification)]
struct Resend {
    #[schema(format = Email, example = "ada@example.org")]
    email: String,
    /// From the answer of the sign-up. A browser that signed up with a cookie sends none.
    #[schema(value_type = Option<String>)]
    signup_token: Option<SecretText>,
}

async fn post_resend(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: Resend = body.json_charged(&engine, &client, Class::Forgot).await?;
    let half = half(&request, &engine, read.signup_token.as_deref())?;
    mailed::resend(&engine, &client, &read.email, half)
        .await
        .respond(|()| HttpResponse::Accepted().json(Status { status: "verification_sent" }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RequestEmailChange)]
struct Change {
    /// The new address.
    #[schema(format = Email, example = "ada@example.org")]
    email: String,
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "correct horse battery staple")]
    password: SecretText,
}

async fn post_change(
    engine: Eng,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: Change = body.json_charged(&engine, &client, Class::Check).await?;
    email::ask(&engine, &client, &identity, &read.password, &read.email)
        .await
        .respond(|()| HttpResponse::Accepted().json(Status { status: "confirmation_sent" }))
}

/// A token that is good for one e-mail address only, and a password that may be needed with it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenForAddress)]
struct BoundToken {
    /// From the link in the mail.
    #[schema(value_type = String)]
    token: SecretText,
    /// The address in the link.
    #[schema(format = Email, example = "ada@example.org")]
    email: String,
    /// The password of the account, in place of a credential.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 1024)]
    password: Option<SecretText>,
}

impl BoundToken {
    fn link(&self) -> Link<'_> {
        Link { token: &self.token, email: &self.email }
    }
}

async fn post_confirm(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: BoundToken = body.json_charged(&engine, &client, Class::Verify).await?;
    let (credentials, identity);
    let proof = match &read.password {
        Some(password) => Proof::Password(password),
        None => {
            credentials = credentials_of(&request, &engine)?;
            match credentials.presented() {
                Some(credential) => {
                    identity = signed_in_lately(&request, &engine, credential).await?;
                    Proof::Session(credential, identity.as_deref())
                }
                None => Proof::None,
            }
        }
    };
    email::confirm(&engine, &client, read.link(), proof).await.respond(|confirmed| match confirmed {
        Confirmed::Renewed(opened) => renewed_response(&engine, &opened),
        Confirmed::Again => HttpResponse::NoContent().finish(),
        Confirmed::Changed { device } => {
            let mut response = HttpResponse::NoContent();
            set_device(&engine, &mut response, &device);
            response.finish()
        }
    })
}

async fn post_undo(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: BoundToken = body.json_charged(&engine, &client, Class::Reset).await?;
    email::undo(&engine, &client, read.link(), read.password.as_deref())
        .await
        .respond(|()| HttpResponse::NoContent().finish())
}
