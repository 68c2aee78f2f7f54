//! `/v1/email/…`: proof of an e-mail address, and its change.

use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::shared_body::{Email, Token};
use crate::flow::client::Client;
use crate::flow::email::{Link, Proof};
use crate::flow::{email, mailed};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::{Credentials, SignedIn, credentials, device_tokens};
use crate::registry::throttle::class::Class;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/email/verify", "POST").route(web::post().to(post_verify)))
        .service(resource("/v1/email/verify/resend", "POST").route(web::post().to(post_resend)))
        .service(resource("/v1/email/change", "POST").route(web::post().to(post_change)))
        .service(resource("/v1/email/change/confirm", "POST").route(web::post().to(post_confirm)))
        .service(resource("/v1/email/change/undo", "POST").route(web::post().to(post_undo)));
}

async fn post_verify(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Token = body.json_charged(&engine, &client, Class::Verify).await?;
    mailed::verify(&engine, &client, &read.token).await.respond(|()| HttpResponse::NoContent().finish())
}

async fn post_resend(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Email = body.json_charged(&engine, &client, Class::Forgot).await?;
    mailed::resend(&engine, &client, &read.email)
        .await
        .respond(|()| HttpResponse::Accepted().json(json!({"status": "verification_sent"})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    email: String,
    password: String,
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
    token: String,
    email: String,
    password: Option<String>,
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
    let identity;
    let mut devices = device_tokens(&request, &engine)?;
    let devices = [devices.next(), devices.next()];
    let proof = match &read.password {
        Some(password) => Proof::Password { password, devices },
        None if matches!(credentials(&request, &engine)?, Credentials::None) => Proof::None,
        None => {
            identity = SignedIn::extract(&request).await?;
            Proof::Session(&identity)
        }
    };
    email::confirm(&engine, &client, read.link(), proof)
        .await
        .respond(|()| HttpResponse::NoContent().finish())
}

async fn post_undo(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: BoundToken = body.json_charged(&engine, &client, Class::Reset).await?;
    email::undo(&engine, &client, read.link(), read.password.as_deref())
        .await
        .respond(|()| HttpResponse::NoContent().finish())
}
