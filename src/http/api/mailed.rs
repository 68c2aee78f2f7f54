//! What has to do with mails: proving an address, forgotten passwords, lockouts.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::engine::Engine;
use crate::flow::{email, mailed, password};
use crate::http::request::for_json;
use crate::http::response::known_device;
use crate::http::{Body, resource};

type Eng = web::Data<Engine>;

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/email/verify", "POST").route(web::post().to(post_verify)))
        .service(resource("/v1/email/verify/resend", "POST").route(web::post().to(post_resend)))
        .service(resource("/v1/password/forgot", "POST").route(web::post().to(post_forgot)))
        .service(resource("/v1/password/reset", "POST").route(web::post().to(post_reset)))
        .service(resource("/v1/password/check", "POST").route(web::post().to(post_check)))
        .service(resource("/v1/email/change/confirm", "POST").route(web::post().to(post_confirm)))
        .service(resource("/v1/email/change/undo", "POST").route(web::post().to(post_undo)))
        .service(resource("/v1/unlock", "POST").route(web::post().to(post_unlock)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Email {
    email: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    token: String,
    email: String,
}

async fn post_confirm(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json(&request, &engine, body, async |client, read: Bound| {
        email::confirm(&engine, client, &read.token, &read.email).await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}

async fn post_undo(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json(&request, &engine, body, async |client, read: Bound| {
        email::undo(&engine, client, &read.token, &read.email).await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}

async fn post_verify(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json(&request, &engine, body, async |client, read: Token| {
        mailed::verify(&engine, client, &read.token).await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}

async fn post_resend(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json(&request, &engine, body, async |client, read: Email| {
        mailed::resend(&engine, client, &read.email).await?;
        Ok(HttpResponse::Accepted().json(json!({"status": "verification_sent"})))
    })
    .await
}

async fn post_forgot(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json(&request, &engine, body, async |client, read: Email| {
        password::forgot(&engine, client, &read.email).await?;
        Ok(HttpResponse::Accepted().json(json!({"status": "reset_sent"})))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    token: String,
    new_password: String,
}

async fn post_reset(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json(&request, &engine, body, async |client, read: Reset| {
        let device = password::reset(&engine, client, &read.token, &read.new_password).await?;
        let mut response = HttpResponse::NoContent();
        known_device(&engine, &mut response, &device);
        Ok(response.finish())
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    password: String,
    #[serde(default)]
    email: String,
}

async fn post_check(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json(&request, &engine, body, async |client, read: Check| {
        let advice = password::check(&engine, client, &read.password, &read.email).await?;
        let reasons: Vec<_> = advice.reasons.iter().map(|reason| reason.code()).collect();
        let acceptable = reasons.is_empty();
        Ok(HttpResponse::Ok().json(json!({
            "score": advice.score,
            "acceptable": acceptable,
            "reasons": reasons,
            "suggestions": advice.suggestions,
        })))
    })
    .await
}

async fn post_unlock(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json(&request, &engine, body, async |client, read: Token| {
        mailed::unlock(&engine, client, &read.token).await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}
