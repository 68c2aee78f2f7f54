//! What answers have in common: the user, a pair of tokens, cookies, the state of the rate limit.

use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use serde_json::json;

use super::csrf;
use crate::engine::Engine;
use crate::flow::client::Client;
use crate::flow::grant::{Grant, Opened};
use crate::http::json::Json;
use crate::registry::account::AccountV1;
use crate::system::clock::Timestamp;
use crate::value::id::FamilyId;

/// The user of an answer.
#[derive(Serialize)]
pub(in crate::http) struct User<'a> {
    id: String,
    email: &'a str,
    email_verified: bool,
    name: Option<&'a str>,
    roles: &'a [Box<str>],
    created_at: String,
}

pub(in crate::http) fn user(account: &AccountV1) -> User<'_> {
    User {
        id: account.account_id().to_string(),
        email: &account.email,
        email_verified: account.email_verified,
        name: account.name.as_deref(),
        roles: &account.roles,
        created_at: Timestamp(account.created_ms).rfc3339(),
    }
}

/// What an answer says of a pair of tokens.
struct Tokens<'a> {
    access: &'a str,
    secs: u128,
    access_end: Timestamp,
    refresh: &'a str,
    refresh_end: Timestamp,
    family: FamilyId,
}

impl Tokens<'_> {
    fn body(&self, user: &User) -> Vec<u8> {
        let mut json = Json::with_capacity(1536).plain("{\"access_token\":\"").plain(self.access);
        json = json.plain("\",\"token_type\":\"Bearer\",\"expires_in\":").value(&self.secs);
        json = json.plain(",\"expires_at\":\"").plain(&self.access_end.rfc3339());
        json = json.plain("\",\"refresh_token\":\"").plain(self.refresh);
        json = json.plain("\",\"refresh_expires_at\":\"").plain(&self.refresh_end.rfc3339());
        json = json.plain("\",\"session_id\":\"").plain(&self.family.to_string());
        json.plain("\",\"user\":").value(user).plain("}").into_bytes()
    }
}

pub(super) fn opened_response(engine: &Engine, opened: &Opened, status: u16) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).unwrap_or_default();
    let mut response = HttpResponse::build(status);
    if let Some(device) = &opened.device {
        known_device(engine, &mut response, device);
    }
    let user = user(&opened.account);
    match &opened.grant {
        Grant::Tokens { access, access_end, refresh, refresh_end, family } => {
            let tokens = Tokens {
                access,
                secs: access_end.since(engine.clock.now()).as_millis().div_ceil(1000),
                access_end: *access_end,
                refresh,
                refresh_end: *refresh_end,
                family: *family,
            };
            response.content_type(APPLICATION_JSON.clone()).body(tokens.body(&user))
        }
        Grant::Cookie { token, session } => {
            let mut cookie = plain_cookie(engine, "session", token.to_string());
            if session.remember {
                let life = Timestamp(session.absolute_end_ms).since(engine.clock.now()).as_secs();
                cookie = cookie.max_age(CookieDuration::seconds(i64::try_from(life).unwrap_or(0)));
            }
            response.cookie(cookie.finish());
            response.json(json!({
                "session_id": crate::value::id::hex(&session.id),
                "expires_at": session.end().rfc3339(),
                "csrf_token": csrf::issue(&engine.services.keys.csrf, session.id),
                "user": user,
            }))
        }
    }
}

/// Lets a client be known again, by cookie or by header.
pub(in crate::http) fn known_device(engine: &Engine, response: &mut HttpResponseBuilder, device: &str) {
    let cookie = plain_cookie(engine, "device", device.to_owned());
    response.cookie(cookie.max_age(CookieDuration::days(365)).finish());
    response.insert_header(("x-device-token", device));
}

pub(super) fn plain_cookie(
    engine: &Engine,
    name: &str,
    value: String,
) -> actix_web::cookie::CookieBuilder<'static> {
    Cookie::build(cookie_name(engine, name), value)
        .path("/")
        .http_only(true)
        .secure(engine.services.config.http.public_origin.is_https())
        .same_site(SameSite::Lax)
}

pub(super) fn ended_cookie(engine: &Engine) -> Cookie<'static> {
    plain_cookie(engine, "session", String::new()).max_age(CookieDuration::ZERO).finish()
}

/// Says how the client's network stands: the same for known and unknown names.
pub(in crate::http) fn limited(mut response: HttpResponse, client: &Client) -> HttpResponse {
    if let Some(standing) = client.standing.get() {
        let (name, burst, window) = (standing.class.name(), standing.burst, standing.window_secs);
        let headers = response.headers_mut();
        let wait =
            headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()).and_then(|wait| wait.parse().ok());
        let (left, wait): (_, u64) = (standing.remaining, wait.unwrap_or(window));
        let policy = format!("\"{name}\";q={burst};w={window}");
        let state = format!("\"{name}\";r={left};t={wait}");
        for (header, value) in [(&RATELIMIT_POLICY, policy), (&RATELIMIT, state)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(header.clone(), value);
            }
        }
    }
    response
}

static APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The name of a cookie: with the prefix that binds it to the host, where TLS allows it.
pub(super) fn cookie_name(engine: &Engine, name: &str) -> String {
    if engine.services.config.http.public_origin.is_https() {
        format!("__Host-portcullis_{name}")
    } else {
        format!("portcullis_{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body as it is documented.
    #[derive(Serialize)]
    struct Body<'a> {
        access_token: &'a str,
        token_type: &'a str,
        expires_in: u32,
        expires_at: &'a str,
        refresh_token: &'a str,
        refresh_expires_at: &'a str,
        session_id: &'a str,
        user: &'a User<'a>,
    }

    #[test]
    fn the_body_of_a_log_in_is_the_json_of_its_fields() {
        let user = User {
            id: String::from("00"),
            email: "a@b.org",
            email_verified: true,
            name: Some("a \"quoted\" \\ name \u{e9}"),
            roles: &[],
            created_at: String::from("2026-11-26T00:00:00Z"),
        };
        let (access_end, refresh_end) = (Timestamp::from_secs(0), Timestamp::from_secs(86_400));
        let family = FamilyId::from_bytes([1; 16]).unwrap();
        let tokens =
            Tokens { access: "a.b.c", secs: 900, access_end, refresh: "pcr_x-_", refresh_end, family };
        let expected = Body {
            access_token: "a.b.c",
            token_type: "Bearer",
            expires_in: 900,
            expires_at: "1970-01-01T00:00:00Z",
            refresh_token: "pcr_x-_",
            refresh_expires_at: "1970-01-02T00:00:00Z",
            session_id: "01010101010101010101010101010101",
            user: &user,
        };
        assert_eq!(String::from_utf8(tokens.body(&user)).unwrap(), serde_json::to_string(&expected).unwrap());
    }
}
