//! `/v1/signup`: a new account.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::shared_body::ModeName;
use crate::flow::client::Client;
use crate::flow::log_in::Mode;
use crate::flow::sign_up::{Done, sign_up};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::csrf_source;
use crate::http::response::{opened_response, sign_up_cookie};
use crate::registry::refresh::Audience;
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/signup", "POST").route(web::post().to(post_signup)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignUp {
    email: String,
    password: SecretText,
    name: Option<String>,
    #[serde(default)]
    mode: ModeName,
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
    let outcome = sign_up(&engine, &client, &read.email, &read.password, read.name.as_deref(), mode).await;
    outcome.respond(|done| match done {
        Done::Mailed(half) => match read.mode {
            ModeName::Token => HttpResponse::Accepted()
                .json(json!({"status": "verification_sent", "signup_token": half.as_str()})),
            ModeName::Cookie => HttpResponse::Accepted()
                .cookie(sign_up_cookie(&engine, &half))
                .json(json!({"status": "verification_sent"})),
        },
        Done::LoggedIn(opened) => opened_response(&engine, &opened, StatusCode::CREATED),
    })
}
