//! Sign-up, log-in, refresh, log-out.

use crate::http::response::{ended_cookie, limited, opened_response};
use actix_web::cookie::Cookie;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::engine::Engine;
use crate::flow::log_in::Mode;
use crate::flow::log_out::Scope;
use crate::flow::refusal::Refusal;
use crate::flow::sign_up::Done;
use crate::flow::{authenticate, log_in, log_out, refresh, sign_up};
use crate::http::rejection::{Rejection, answer};
use crate::http::request::{csrf_source, read_json_or_default, signed_in, text};
use crate::http::response::cookie_name;
use crate::http::{Body, Credentials, Problem, client, credentials, read_json, resource};

type Eng = web::Data<Engine>;

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/signup", "POST").route(web::post().to(post_signup)))
        .service(resource("/v1/login", "POST").route(web::post().to(post_login)))
        .service(resource("/v1/refresh", "POST").route(web::post().to(post_refresh)))
        .service(resource("/v1/logout", "POST").route(web::post().to(post_logout)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignUp {
    email: String,
    password: String,
    name: Option<String>,
}

async fn post_signup(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    let client = client(&request, &engine);
    let result = async {
        let read: SignUp = read_json(&request, body)?;
        let done =
            sign_up::sign_up(&engine, &client, &read.email, &read.password, read.name.as_deref()).await?;
        Ok::<_, Rejection>(match done {
            Done::Mailed => HttpResponse::Accepted().json(json!({"status": "verification_sent"})),
            Done::LoggedIn(opened) => opened_response(&engine, &opened, 201),
        })
    };
    limited(answer(&request, &engine, result.await), &client)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModeName {
    #[default]
    Token,
    Cookie,
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

async fn post_login(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    let client = client(&request, &engine);
    let result = async {
        let read: LogIn = read_json(&request, body)?;
        let mode = match read.mode {
            ModeName::Token => Mode::Token,
            ModeName::Cookie => {
                csrf_source(&request, &engine)?;
                Mode::Cookie { remember: read.remember }
            }
        };
        let cookie = request.cookie(&cookie_name(&engine, "device"));
        let known = cookie.as_ref().map(Cookie::value).or_else(|| text(request.headers(), "x-device-token"));
        let opened = log_in::log_in(&engine, &client, &read.email, &read.password, mode, known).await?;
        if matches!(mode, Mode::Cookie { .. })
            && let Some(before) = request.cookie(&cookie_name(&engine, "session"))
        {
            Box::pin(authenticate::replace(&engine, before.value())).await?;
        }
        Ok::<_, Rejection>(opened_response(&engine, &opened, 200))
    };
    limited(answer(&request, &engine, result.await), &client)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: String,
}

async fn post_refresh(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    let client = client(&request, &engine);
    let result = async {
        let read: Refresh = read_json(&request, body)?;
        let opened = refresh::refresh(&engine, &client, &read.refresh_token).await?;
        Ok::<_, Rejection>(opened_response(&engine, &opened, 200))
    };
    limited(answer(&request, &engine, result.await), &client)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogOut {
    #[serde(default)]
    scope: Scope,
    refresh_token: Option<String>,
}

async fn post_logout(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    let result = async {
        let with_cookie = matches!(credentials(&request, &engine)?, Credentials::Cookie(_));
        let without = matches!(credentials(&request, &engine)?, Credentials::None);
        let read: LogOut = read_json_or_default(&request, body)?;
        match read.refresh_token {
            Some(token) if without && read.scope == Scope::Local => {
                log_out::log_out_token(&engine, &token).await?;
            }
            Some(_) if without => {
                return Err(Problem::new(
                    422,
                    "unprocessable",
                    "With a refresh token only scope `local` is possible.",
                )
                .into());
            }
            Some(_) => return Err(Refusal::AmbiguousCredentials.into()),
            None => match signed_in(&request, &engine).await {
                Ok(identity) => log_out::log_out(&engine, &identity, read.scope).await?,
                // Whoever is logged out already has what they ask for.
                Err(Rejection::FlowError(crate::flow::refusal::FlowError::Refused(
                    Refusal::Unauthenticated,
                ))) if !without => {}
                Err(rejection) => return Err(rejection),
            },
        }
        let mut response = HttpResponse::NoContent();
        if with_cookie {
            // Not `Clear-Site-Data`: it would take the device cookie along, so that a browser whose owner logs out is a
            // stranger again and can be locked out by others, and the cookies of every neighbour under the same domain.
            response.cookie(ended_cookie(&engine));
        }
        Ok::<_, Rejection>(response.finish())
    };
    answer(&request, &engine, result.await)
}
