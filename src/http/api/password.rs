//! `/v1/password/…`: a forgotten password, a new one, a changed one, advice on one.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::shared_body::Email;
use crate::flow::client::Client;
use crate::flow::password;
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::http::response::{renewed_response, set_device};
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/password/forgot", "POST").route(web::post().to(post_forgot)))
        .service(resource("/v1/password/reset", "POST").route(web::post().to(post_reset)))
        .service(resource("/v1/password/change", "POST").route(web::post().to(post_change)))
        .service(resource("/v1/password/check", "POST").route(web::post().to(post_check)));
}

async fn post_forgot(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Email = body.json_charged(&engine, &client, Class::Forgot).await?;
    password::forgot(&engine, &client, &read.email)
        .await
        .respond(|()| HttpResponse::Accepted().json(json!({"status": "reset_sent"})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    token: SecretText,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    current_password: SecretText,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    password: SecretText,
    #[serde(default)]
    email: String,
}

async fn post_check(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Check = body.json_charged(&engine, &client, Class::Advice).await?;
    password::check(&engine, &client, &read.password, &read.email).await.respond(|advice| {
        let reasons: Vec<_> = advice.reasons.iter().map(|reason| reason.code()).collect();
        HttpResponse::Ok().json(json!({
            "score": advice.score,
            "acceptable": reasons.is_empty(),
            "reasons": reasons,
            "suggestions": advice.suggestions,
        }))
    })
}
