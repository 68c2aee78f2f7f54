//! `/v1/session`, `/v1/sessions`, `/v1/csrf`: this session, all sessions of the account, and the CSRF token.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::engine::Engine;
use crate::flow::account::Cursor;
use crate::flow::authenticate::{Held, Identity};
use crate::flow::client::Client;
use crate::flow::grant::session_limit::OPEN_MAX;
use crate::flow::refusal::Refusal;
use crate::flow::{account, log_out};
use crate::http::body::Body;
use crate::http::csrf;
use crate::http::endpoint::{Eng, resource};
use crate::http::json::json;
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::{SignedIn, query};
use crate::http::response::{User, ended_cookie, user};
use crate::registry::refresh::FamilyV3;
use crate::registry::session::SessionV2;
use crate::system::clock::Timestamp;
use crate::value::id::hex;
use crate::value::secret_text::SecretText;

/// As many as an account has open, so that all are on one page unless a client asks for less.
const PAGE_MAX: usize = OPEN_MAX;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/session", "GET").route(web::get().to(get_session)))
        .service(resource("/v1/csrf", "GET").route(web::get().to(get_csrf)))
        .service(resource("/v1/sessions", "GET").route(web::get().to(get_sessions)))
        .service(resource("/v1/sessions/{id}", "DELETE").route(web::delete().to(delete_session)));
}

/// A session or a token family, as answers show it.
#[derive(Serialize)]
struct OpenSession<'a> {
    id: String,
    kind: &'static str,
    created_at: String,
    last_used_at: String,
    expires_at: String,
    network: &'a str,
    user_agent: &'a str,
    /// Another network that was given its tokens for a lost answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    second_network: Option<&'a str>,
    /// Whether this request came with it.
    current: bool,
}

impl<'a> OpenSession<'a> {
    fn of(held: &'a Held, current: [u8; 16]) -> Self {
        match held {
            Held::Family(family) => Self::of_family(family, family.id.to_bytes() == current),
            Held::Session(session) => Self::of_session(session, session.id == current),
        }
    }

    fn of_family(family: &'a FamilyV3, current: bool) -> Self {
        Self {
            id: family.id.to_string(),
            kind: "token",
            created_at: Timestamp(family.opened_ms).rfc3339(),
            last_used_at: Timestamp(family.rotated_ms).rfc3339(),
            expires_at: Timestamp(family.idle_end_ms).rfc3339(),
            network: family.network(),
            user_agent: family.user_agent(),
            second_network: family.second_network.as_deref(),
            current,
        }
    }

    fn of_session(session: &'a SessionV2, current: bool) -> Self {
        Self {
            id: hex(&session.id),
            kind: "cookie",
            created_at: Timestamp(session.opened_ms).rfc3339(),
            last_used_at: Timestamp(session.used_ms).rfc3339(),
            expires_at: session.end().rfc3339(),
            network: &session.network,
            user_agent: &session.user_agent,
            second_network: None,
            current,
        }
    }
}

#[derive(Serialize)]
struct SessionBody<'a> {
    session: OpenSession<'a>,
    user: User<'a>,
    /// That of a session by cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<SecretText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionQuery {
    /// Whether a request without a session gets 200: a flag, or true or false.
    optional: Option<String>,
}

impl SessionQuery {
    fn is_optional(&self) -> bool {
        self.optional.as_deref().is_some_and(|value| !["false", "0"].contains(&value))
    }
}

/// Answers with the session of the request. With `?optional` a page may ask whether somebody is logged in without an
/// error in the browser's console if nobody is.
async fn get_session(
    request: HttpRequest,
    engine: Eng,
    identity: Result<SignedIn, Rejection>,
) -> Result<HttpResponse, Rejection> {
    let query: Result<SessionQuery, Problem> = query(&request, "The query accepts optional.");
    let identity = match (identity, &query) {
        (Err(rejection), Ok(query)) if query.is_optional() && rejection.is_unauthenticated() => {
            return Ok(HttpResponse::Ok().json(json!({"session": null})));
        }
        (identity, _) => identity?,
    };
    query?;
    let session = OpenSession::of(&identity.held, identity.sid());
    let user = user(&identity.account);
    let csrf_token = csrf_token(&engine, &identity);
    Ok(json(&mut HttpResponse::Ok(), &SessionBody { session, user, csrf_token }))
}

/// Returns the CSRF token of a session by cookie.
fn csrf_token(engine: &Engine, identity: &Identity) -> Option<SecretText> {
    let Held::Session(session) = &identity.held else { return None };
    Some(engine.services.keys.csrf.with_newest(|_, key| csrf::issue(key, session.id)).into())
}

async fn get_csrf(engine: Eng, identity: SignedIn) -> Result<HttpResponse, Rejection> {
    let token = csrf_token(&engine, &identity).ok_or(Refusal::Unauthenticated)?;
    Ok(HttpResponse::Ok().json(json!({"csrf_token": token})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    cursor: Option<String>,
    limit: Option<usize>,
}

async fn get_sessions(
    request: HttpRequest,
    engine: Eng,
    identity: SignedIn,
) -> Result<HttpResponse, Rejection> {
    let query: Query = query(&request, "The query accepts cursor and limit.")?;
    let unknown = || Problem::new(422, "unprocessable", "`cursor` must be a `next_cursor` of this list.");
    let after =
        query.cursor.as_deref().map(|cursor| Cursor::parse(cursor).ok_or_else(unknown)).transpose()?;
    let limit = query.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let open = account::open_sessions(&engine, &identity.account, after, limit).await?;
    let current = identity.sid();
    let items: Vec<_> = open.items.iter().map(|held| OpenSession::of(held, current)).collect();
    let next = open.next.map(|cursor| cursor.to_string());
    Ok(HttpResponse::Ok().json(json!({"next_cursor": next, "items": items})))
}

async fn delete_session(
    engine: Eng,
    client: Client,
    id: web::Path<String>,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    body.refuse_charged(&engine, &client).await?;
    log_out::end_one(&engine, &client, &identity, &id).await?;
    let mut response = HttpResponse::NoContent();
    if matches!(identity.held, Held::Session(_)) && *id == hex(&identity.sid()) {
        response.cookie(ended_cookie(&engine));
    }
    Ok(response.finish())
}
