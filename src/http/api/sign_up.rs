//! `/v1/signup`: a new account.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::flow::client::Client;
use crate::flow::sign_up::{Done, sign_up};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::response::opened_response;
use crate::registry::throttle::class::Class;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/signup", "POST").route(web::post().to(post_signup)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignUp {
    email: String,
    password: String,
    name: Option<String>,
}

async fn post_signup(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: SignUp = body.json_charged(&engine, &client, Class::Signup).await?;
    let outcome = sign_up(&engine, &client, &read.email, &read.password, read.name.as_deref()).await;
    outcome.respond(|done| match done {
        Done::Mailed => HttpResponse::Accepted().json(json!({"status": "verification_sent"})),
        Done::LoggedIn(opened) => opened_response(&engine, &opened, StatusCode::CREATED),
    })
}
