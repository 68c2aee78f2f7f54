//! `/v1/login`: a password is exchanged for tokens or a session cookie.

use actix_web::cookie::Cookie;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::shared_body::ModeName;
use crate::flow::client::Client;
use crate::flow::log_in::{Mode, log_in};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::{csrf_source, text};
use crate::http::response::{CookieName, opened_response};

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/login", "POST").route(web::post().to(post_login)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogIn {
    email: String,
    password: String,
    #[serde(default)]
    mode: ModeName,
    #[serde(default)]
    remember: bool,
}

async fn post_login(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: LogIn = body.json()?;
    let old_session;
    let mode = match read.mode {
        ModeName::Token => Mode::Token,
        ModeName::Cookie => {
            csrf_source(&request, &engine)?;
            old_session = request.cookie(CookieName::Session.text(&engine));
            let replaces = old_session.as_ref().map(Cookie::value);
            Mode::Cookie { remember: read.remember, replaces }
        }
    };
    let cookie = request.cookie(CookieName::Device.text(&engine));
    let device = cookie.as_ref().map(Cookie::value).or_else(|| text(request.headers(), "x-device-token"));
    log_in(&engine, &client, &read.email, &read.password, mode, device)
        .await
        .respond(|opened| opened_response(&engine, &opened, StatusCode::OK))
}
