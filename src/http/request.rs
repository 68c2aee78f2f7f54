//! What handlers read of a request: its client, its body, its credentials.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use actix_web::http::header::{
    AUTHORIZATION, AsHeaderName, CONTENT_TYPE, FORWARDED, HeaderMap, ORIGIN, REFERER, USER_AGENT,
    X_FORWARDED_FOR,
};
use actix_web::{HttpRequest, HttpResponse};
use serde::de::DeserializeOwned;

use super::Body;
use super::client_address::client_address;
use super::csrf::{Source, check_source, check_token};
use super::problem::{FieldError, Problem};
use super::rejection::{Rejection, answer};
use super::request_id::request_id;
use super::response::limited;
use crate::config::ForwardedHeader;
use crate::engine::Engine;
use crate::flow::authenticate::{Identity, bearer, cookie};
use crate::flow::client::Client;
use crate::flow::refusal::Refusal;
use crate::http::response::cookie_name;

/// Who asks, by address and name of the program.
pub fn client(request: &HttpRequest, engine: &Engine) -> Client {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip()).to_canonical();
    let (headers, config) = (request.headers(), &engine.services.config);
    let user_agent = text(headers, USER_AGENT).unwrap_or("");
    if !config.http.trusted_proxies.iter().any(|network| network.contains(&peer)) {
        engine
            .services
            .watch_for_proxy(peer, [X_FORWARDED_FOR, FORWARDED].map(|name| headers.contains_key(name)));
        return Client::new(peer, user_agent).with_request_id(&request_id(request));
    }
    let header = config.http.forwarded_header;
    let name = if header == ForwardedHeader::Forwarded { FORWARDED } else { X_FORWARDED_FOR };
    let forwarded: Vec<&str> = headers.get_all(name).map(|value| value.to_str().unwrap_or("")).collect();
    let address = client_address(peer, header, forwarded.into_iter(), &config.http.trusted_proxies);
    Client::new(address, user_agent).with_request_id(&request_id(request))
}

pub(super) fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads a JSON body; unknown fields are refused by the type itself.
pub fn read_json<T: DeserializeOwned>(request: &HttpRequest, Body(bytes): Body) -> Result<T, Problem> {
    let content_type = text(request.headers(), CONTENT_TYPE).unwrap_or("");
    let essence = content_type.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            415,
            "unsupported_media_type",
            "Send the body with Content-Type: application/json.",
        ));
    }
    // Where in the body something is wrong is looked for only when something is.
    serde_json::from_slice(&bytes).or_else(|_| parse(&bytes))
}

/// What a client asks for with a JSON body, answered with the state of its limits.
pub(super) async fn for_json<T: DeserializeOwned>(
    request: &HttpRequest,
    engine: &Engine,
    body: Body,
    done: impl AsyncFnOnce(&Client, T) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    let client = client(request, engine);
    let result = async {
        let read = read_json(request, body)?;
        done(&client, read).await
    };
    limited(answer(request, engine, result.await), &client)
}

/// Likewise, of somebody who is signed in.
pub(super) async fn for_json_signed_in<T: DeserializeOwned>(
    request: &HttpRequest,
    engine: &Engine,
    body: Body,
    done: impl AsyncFnOnce(&Client, &Identity, T) -> Result<HttpResponse, Rejection>,
) -> HttpResponse {
    let client = client(request, engine);
    let result = async {
        let identity = signed_in(request, engine).await?;
        let read = read_json(request, body)?;
        done(&client, &identity, read).await
    };
    limited(answer(request, engine, result.await), &client)
}

/// As [`read_json`], where the body may be left out.
pub fn read_json_or_default<T: DeserializeOwned + Default>(
    request: &HttpRequest,
    body: Body,
) -> Result<T, Problem> {
    let has_body = request.headers().contains_key(CONTENT_TYPE);
    if has_body {
        return read_json(request, body);
    }
    if body.0.is_empty() {
        return Ok(T::default());
    }
    Err(Problem::new(415, "unsupported_media_type", "Send the body with Content-Type: application/json."))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let inner = error.inner();
        if inner.is_data() {
            let pointer: String = error
                .path()
                .iter()
                .map(|segment| format!("/{}", segment.to_string().replace('~', "~0").replace('/', "~1")))
                .collect();
            // The message names fields and types, never a value that was sent.
            let message = inner.to_string();
            let (code, message) = if message.starts_with("unknown field") {
                ("unknown_field", String::from("this field is not known here"))
            } else if message.starts_with("missing field") {
                ("missing_field", message.split(" at line").next().unwrap_or_default().to_owned())
            } else {
                ("invalid_type", String::from("this field has another type or value than expected"))
            };
            let error = FieldError { pointer, code: code.to_owned(), message };
            return Problem::new(422, "unprocessable", "A field is not acceptable; `errors` says which.")
                .with_errors(vec![error]);
        }
        malformed()
    })?;
    json.end().map_err(|_| malformed())?;
    Ok(value)
}

fn malformed() -> Problem {
    Problem::new(400, "malformed_json", "The body is not valid JSON in UTF-8.")
}

/// What a request carries to say who asks.
pub enum Credentials {
    /// A bearer token.
    Bearer(String),
    /// A session cookie.
    Cookie(String),
    /// Nothing.
    None,
}

/// The credentials of a request; two kinds at once are refused.
pub fn credentials(request: &HttpRequest, engine: &Engine) -> Result<Credentials, Refusal> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let authorization = headers.next().map(|value| value.to_str().unwrap_or(""));
    if headers.next().is_some() {
        return Err(Refusal::AmbiguousCredentials);
    }
    let session = request.cookie(&cookie_name(engine, "session"));
    match (authorization, session) {
        (Some(_), Some(_)) => Err(Refusal::AmbiguousCredentials),
        (Some(value), None) => {
            let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                Ok(Credentials::Bearer(token.trim().to_owned()))
            } else {
                Err(Refusal::Unauthenticated)
            }
        }
        (None, Some(cookie)) => Ok(Credentials::Cookie(cookie.value().to_owned())),
        (None, None) => Ok(Credentials::None),
    }
}

/// Who asks, with the CSRF checks where a cookie says so.
pub async fn signed_in(request: &HttpRequest, engine: &Engine) -> Result<Arc<Identity>, Rejection> {
    match credentials(request, engine)? {
        Credentials::Bearer(token) => Ok(bearer(engine, &token).await?),
        Credentials::Cookie(token) => {
            if !request.method().is_safe() {
                csrf_source(request, engine)?;
            }
            let identity = cookie(engine, &token, &client(request, engine)).await?;
            if !request.method().is_safe() {
                let shown = text(request.headers(), "x-csrf-token");
                check_token(&engine.services.keys.csrf, identity.sid(), shown)
                    .map_err(|_| rejected(request, engine))?;
            }
            Ok(identity)
        }
        Credentials::None => Err(Refusal::Unauthenticated.into()),
    }
}

/// Whether the request comes from a page of ours.
pub fn csrf_source(request: &HttpRequest, engine: &Engine) -> Result<(), Refusal> {
    let headers = request.headers();
    let source = Source {
        fetch_site: text(headers, "sec-fetch-site"),
        fetch_mode: text(headers, "sec-fetch-mode"),
        origin: text(headers, ORIGIN),
        referer: text(headers, REFERER),
    };
    let config = &engine.services.config;
    let own = std::iter::once(&config.http.public_origin).chain(&config.http.allowed_origins);
    check_source(source, own.map(crate::config::Origin::as_str)).map_err(|_| rejected(request, engine))
}

fn rejected(request: &HttpRequest, engine: &Engine) -> Refusal {
    engine.record(client(request, engine).note(crate::audit::event::Event::CsrfRejected));
    Refusal::CsrfRejected
}
