//! `/v1/login`: a password is exchanged for tokens or a session cookie.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::shared_body::ModeName;
use crate::flow::client::Client;
use crate::flow::log_in::{Mode, log_in};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::{cookie_of, csrf_source, device_tokens};
use crate::http::response::{CookieName, opened_response};
use crate::registry::refresh::Audience;
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/login", "POST").route(web::post().to(post_login)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogIn {
    email: String,
    password: SecretText,
    #[serde(default)]
    mode: ModeName,
    #[serde(default)]
    remember: bool,
    #[serde(default)]
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
