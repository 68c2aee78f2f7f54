//! `/v1/email/…`: proof of an e-mail address, and its change.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::engine::Engine;
use crate::flow::client::Client;
use crate::flow::email::{Confirmed, Link, Proof};
use crate::flow::mailed::Verified;
use crate::flow::{email, mailed};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::{
    SignedIn, cookie_of, credentials as credentials_of, csrf_source, signed_in_lately,
};
use crate::http::response::{CookieName, renewed_response, set_device};
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/email/verify", "POST").route(web::post().to(post_verify)))
        .service(resource("/v1/email/verify/resend", "POST").route(web::post().to(post_resend)))
        .service(resource("/v1/email/change", "POST").route(web::post().to(post_change)))
        .service(resource("/v1/email/change/confirm", "POST").route(web::post().to(post_confirm)))
        .service(resource("/v1/email/change/undo", "POST").route(web::post().to(post_undo)));
}

/// A link, and the half of a sign-up that the client keeps. A browser keeps it in a cookie.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    token: SecretText,
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
            HttpResponse::Ok().json(json!({"next": "set_password", "token": token.as_str()}))
        }
    })
}

/// The address of a sign-up, and its half if the client keeps one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resend {
    email: String,
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
        .respond(|()| HttpResponse::Accepted().json(json!({"status": "verification_sent"})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    email: String,
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
        .respond(|()| HttpResponse::Accepted().json(json!({"status": "confirmation_sent"})))
}

/// A token that is good for one e-mail address only, and a password that may be needed with it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundToken {
    token: SecretText,
    email: String,
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
