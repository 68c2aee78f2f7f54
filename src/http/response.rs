//! Parts that answers share: the user, a pair of tokens, cookies, the rate limit.

use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, CookieBuilder, SameSite};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, LOCATION};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::csrf;
use super::json::Json;
use super::problem::answer::{write_headers, write_rate_limit};
use super::rejection::Rejection;
use super::request_id::new_request_id;
use crate::engine::Engine;
use crate::flow::admission::Outcome;
use crate::flow::grant::{Grant, Opened};
use crate::registry::account::AccountV4;
use crate::registry::session::SessionV2;
use crate::system::clock::Timestamp;
use crate::value::id::{FamilyId, hex};

impl<T> Outcome<T> {
    /// Answers with `response(value)`, or rejects the request. Both report the rate limit of the client's network.
    pub(in crate::http) fn respond(
        self,
        response: impl FnOnce(T) -> HttpResponse,
    ) -> Result<HttpResponse, Rejection> {
        match self.result {
            Ok(value) => {
                let mut response = response(value);
                if let Some(rate_limit) = self.rate_limit {
                    write_rate_limit(response.headers_mut(), rate_limit);
                }
                Ok(response)
            }
            Err(error) => Err(Rejection::from(error).with_rate_limit(self.rate_limit)),
        }
    }
}

/// An account, as its owner sees it.
#[expect(clippy::struct_field_names, reason = "the names of the contract")]
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct User<'a> {
    /// 32 hexadecimal digits; never changes.
    #[schema(example = "2b8fa2f3c1d94e0b8a7c6d5e4f301122")]
    id: String,
    #[schema(format = Email, example = "ada@example.org")]
    email: &'a str,
    /// Whether the address was proved by a link.
    email_verified: bool,
    /// The name by which the owner wants to be called.
    #[schema(required, example = "Ada")]
    name: Option<&'a str>,
    #[schema(value_type = Vec<String>)]
    roles: &'a [Box<str>],
    #[schema(format = DateTime)]
    created_at: String,
    /// The language of the owner. This and the objects below are shown only where the account has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "en-GB")]
    locale: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    user_metadata: Option<Object<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    app_metadata: Option<Object<'a>>,
}

/// A JSON object that an account carries, which is copied into answers as it is stored.
struct Object<'a>(&'a str);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Returns what answers show of `account`.
pub(in crate::http) fn user(account: &AccountV4) -> User<'_> {
    User {
        id: account.account_id().to_string(),
        email: &account.email,
        email_verified: account.email_verified,
        name: account.name.as_deref(),
        roles: &account.roles,
        created_at: Timestamp(account.created_ms).rfc3339(),
        locale: account.locale(),
        user_metadata: account.user_metadata().map(Object),
        app_metadata: account.app_metadata().map(Object),
    }
}

/// A new pair of tokens.
// `Tokens` writes it without looking at each byte; a test compares the two.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TokenPair<'a> {
    /// A JWT, sent as `Authorization: Bearer …`.
    access_token: &'a str,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'a str,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    expires_in: u32,
    /// When the access token expires.
    #[schema(format = DateTime)]
    expires_at: &'a str,
    /// For `POST /v1/refresh`, once.
    refresh_token: &'a str,
    /// When the refresh token expires, if it is not used before.
    #[schema(format = DateTime)]
    refresh_expires_at: &'a str,
    /// 32 hexadecimal digits, as in the list of sessions and in `sid` of the access token.
    session_id: &'a str,
    user: &'a User<'a>,
}

/// A new session by cookie. The cookie is in `Set-Cookie`.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CookieSession<'a> {
    /// 32 hexadecimal digits, as in the list of sessions.
    session_id: String,
    /// When the session ends if it is not used before.
    #[schema(format = DateTime)]
    expires_at: String,
    /// Sent as `X-CSRF-Token` with every request that changes something.
    csrf_token: String,
    user: User<'a>,
}

/// A pair of tokens, as answers show it.
struct Tokens<'a> {
    access: &'a str,
    /// Seconds until the access token expires.
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

/// Answers with what replaces the credential of a client: a new pair of tokens, or 204 with a new cookie. The CSRF token
/// of the new session is in a header, since the answer has no body.
pub(super) fn renewed_response(engine: &Engine, opened: &Opened) -> HttpResponse {
    match &opened.grant {
        Grant::Tokens { .. } => opened_response(engine, opened, StatusCode::OK),
        Grant::Cookie { token, session } => {
            let mut response = HttpResponse::NoContent();
            if let Some(device) = &opened.device {
                set_device_cookie(engine, &mut response, device);
            }
            response.cookie(session_cookie(engine, token, session));
            response.insert_header((
                "x-csrf-token",
                engine.services.keys.csrf.with_newest(|_, key| csrf::issue(key, session.id)),
            ));
            response.finish()
        }
    }
}

/// Answers with what was opened for a client: a pair of tokens, or a session cookie.
pub(super) fn opened_response(engine: &Engine, opened: &Opened, status: StatusCode) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    if let Some(device) = &opened.device {
        match &opened.grant {
            Grant::Tokens { .. } => set_device(engine, &mut response, device),
            Grant::Cookie { .. } => set_device_cookie(engine, &mut response, device),
        }
    }
    let user = user(&opened.account);
    match &opened.grant {
        Grant::Tokens { access, access_end, refresh, refresh_end, family } => {
            let tokens = Tokens {
                access,
                secs: access_end.since(engine.clock.system_now()).as_millis().div_ceil(1000),
                access_end: *access_end,
                refresh,
                refresh_end: *refresh_end,
                family: *family,
            };
            response.content_type(APPLICATION_JSON.clone()).body(tokens.body(&user))
        }
        Grant::Cookie { token, session } => {
            response.cookie(session_cookie(engine, token, session));
            response.json(CookieSession {
                session_id: hex(&session.id),
                expires_at: session.end().rfc3339(),
                csrf_token: engine.services.keys.csrf.with_newest(|_, key| csrf::issue(key, session.id)),
                user,
            })
        }
    }
}

impl Opened {
    /// Answers a client with what was opened for it, as `/v1/login` does: a pair of tokens, or a session cookie and its CSRF
    /// token. For handlers of the embedding program.
    pub fn into_response(self, engine: &Engine) -> HttpResponse {
        outside(engine, opened_response(engine, &self, StatusCode::OK))
    }

    /// Leads a browser on to `location` with its new session cookie, for the way back from another provider. Tokens are not
    /// for this: with them the answer is that of [`Opened::into_response`].
    pub fn into_redirect(self, engine: &Engine, location: &str) -> HttpResponse {
        let (Grant::Cookie { token, session }, Ok(location)) = (&self.grant, HeaderValue::try_from(location))
        else {
            return self.into_response(engine);
        };
        let mut response = HttpResponse::SeeOther();
        if let Some(device) = &self.device {
            set_device_cookie(engine, &mut response, device);
        }
        response.cookie(session_cookie(engine, token, session)).insert_header((LOCATION, location));
        outside(engine, response.finish())
    }
}

/// Completes an answer that no middleware of ours completes.
fn outside(engine: &Engine, mut response: HttpResponse) -> HttpResponse {
    let is_https = engine.services.config.http.public_origin.is_https();
    write_headers(response.headers_mut(), new_request_id(&engine.services.random), is_https);
    response
}

/// Returns the cookie of a session. It outlives the browser's session if the user asked for that.
fn session_cookie(engine: &Engine, token: &str, session: &SessionV2) -> Cookie<'static> {
    let cookie = build_cookie(engine, CookieName::Session, token.to_owned());
    if !session.remember {
        return cookie.finish();
    }
    let life = Timestamp(session.absolute_end_ms).since(engine.clock.now()).as_secs();
    cookie.max_age(CookieDuration::seconds(i64::try_from(life).unwrap_or(0))).finish()
}

/// Gives the client a device token, as a cookie and as a header, by which a later log-in recognises the device. For a
/// client that keeps its tokens itself, or of which that is not known.
pub(in crate::http) fn set_device(engine: &Engine, response: &mut HttpResponseBuilder, device: &str) {
    set_device_cookie(engine, response, device);
    response.insert_header(("x-device-token", device));
}

/// Gives a browser a device token, as a cookie alone: scripts of its pages can read a header, and not this cookie.
fn set_device_cookie(engine: &Engine, response: &mut HttpResponseBuilder, device: &str) {
    let cookie = build_cookie(engine, CookieName::Device, device.to_owned());
    response.cookie(cookie.max_age(CookieDuration::days(365)).finish());
}

/// Returns the cookie in which a browser keeps its half of a sign-up for as long as the sign-up waits.
pub(super) fn sign_up_cookie(engine: &Engine, half: &str) -> Cookie<'static> {
    let life = i64::try_from(engine.services.config.signup.limits.ttl.as_secs()).unwrap_or(i64::MAX);
    let cookie = build_cookie(engine, CookieName::SignUp, half.to_owned());
    cookie.max_age(CookieDuration::seconds(life)).finish()
}

/// Returns a cookie that makes the browser delete its session cookie.
pub(super) fn ended_cookie(engine: &Engine) -> Cookie<'static> {
    build_cookie(engine, CookieName::Session, String::new()).max_age(CookieDuration::ZERO).finish()
}

fn build_cookie(engine: &Engine, name: CookieName, value: String) -> CookieBuilder<'static> {
    Cookie::build(name.text(engine).to_owned(), value)
        .path("/")
        .http_only(true)
        .secure(engine.services.config.http.public_origin.is_https())
        .same_site(SameSite::Lax)
}

/// The cookies that the server sets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CookieName {
    /// The session.
    Session,
    /// The device that has logged in before.
    Device,
    /// The half of a sign-up that its browser keeps.
    SignUp,
}

impl CookieName {
    /// Returns the name of the cookie.
    pub(super) fn text(self, engine: &Engine) -> &str {
        let names = &engine.services.config.cookies;
        match self {
            Self::Session => &names.session,
            Self::Device => &names.device,
            Self::SignUp => &names.sign_up,
        }
    }
}

static APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_log_in_is_the_json_of_its_fields() {
        let user = User {
            id: String::from("00"),
            email: "a@b.org",
            email_verified: true,
            name: Some("a \"quoted\" \\ name \u{e9}"),
            roles: &[],
            created_at: String::from("2026-11-26T00:00:00Z"),
            locale: Some("en-GB"),
            user_metadata: None,
            app_metadata: Some(Object("{\"z\":1,\"a\":\"\\u001b\"}")),
        };
        let (access_end, refresh_end) = (Timestamp::from_secs(0), Timestamp::from_secs(86_400));
        let family = FamilyId::from_bytes([1; 16]).unwrap();
        let tokens =
            Tokens { access: "a.b.c", secs: 900, access_end, refresh: "pcr_x-_", refresh_end, family };
        let expected = TokenPair {
            access_token: "a.b.c",
            token_type: "Bearer",
            expires_in: 900,
            expires_at: "1970-01-01T00:00:00Z",
            refresh_token: "pcr_x-_",
            refresh_expires_at: "1970-01-02T00:00:00Z",
            session_id: "01010101010101010101010101010101",
            user: &user,
        };
        let body = String::from_utf8(tokens.body(&user)).unwrap();
        assert_eq!(body, serde_json::to_string(&expected).unwrap());
        let shown = r#""locale":"en-GB","app_metadata":{"z":1,"a":"\u001b"}}}"#;
        assert!(body.ends_with(shown), "{body}");
    }
}
