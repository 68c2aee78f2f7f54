//! `/v1/session`, `/v1/sessions`, `/v1/csrf`: this session, all sessions of the account, and the CSRF token.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::flow::authenticate::Held;
use crate::flow::refusal::Refusal;
use crate::flow::{account, log_out};
use crate::http::body::Body;
use crate::http::csrf;
use crate::http::endpoint::{Eng, resource};
use crate::http::json::json;
use crate::http::rejection::Rejection;
use crate::http::request::{SignedIn, query};
use crate::http::response::{User, user};
use crate::registry::refresh::FamilyV1;
use crate::registry::session::SessionV1;
use crate::system::clock::Timestamp;
use crate::value::id::hex;

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
    /// Whether this request came with it.
    current: bool,
}

impl<'a> OpenSession<'a> {
    fn of_family(family: &'a FamilyV1, current: bool) -> Self {
        Self {
            id: family.id.to_string(),
            kind: "token",
            created_at: Timestamp(family.opened_ms).rfc3339(),
            last_used_at: Timestamp(family.rotated_ms).rfc3339(),
            expires_at: Timestamp(family.idle_end_ms).rfc3339(),
            network: family.network(),
            user_agent: family.user_agent(),
            current,
        }
    }

    fn of_session(session: &'a SessionV1, current: bool) -> Self {
        Self {
            id: hex(&session.id),
            kind: "cookie",
            created_at: Timestamp(session.opened_ms).rfc3339(),
            last_used_at: Timestamp(session.used_ms).rfc3339(),
            expires_at: session.end().rfc3339(),
            network: &session.network,
            user_agent: &session.user_agent,
            current,
        }
    }
}

#[derive(Serialize)]
struct SessionBody<'a> {
    session: OpenSession<'a>,
    user: User<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionQuery {
    /// Whether nobody may be there. A flag: its value is of no account.
    optional: Option<String>,
}

/// Answers with the session of the request. With `?optional` a page may ask whether somebody is logged in without an
/// error in the browser's console if nobody is.
async fn get_session(
    request: HttpRequest,
    _: Eng,
    identity: Result<SignedIn, Rejection>,
) -> Result<HttpResponse, Rejection> {
    let query = query(&request, "The query accepts optional.");
    let identity = match (identity, &query) {
        (Err(rejection), Ok(SessionQuery { optional: Some(_) })) if rejection.is_unauthenticated() => {
            return Ok(HttpResponse::Ok().json(json!({"session": null})));
        }
        (identity, _) => identity?,
    };
    query?;
    let session = match &identity.held {
        Held::Family(family) => OpenSession::of_family(family, true),
        Held::Session(session) => OpenSession::of_session(session, true),
    };
    let user = user(&identity.account);
    Ok(json(&mut HttpResponse::Ok(), &SessionBody { session, user }))
}

async fn get_csrf(engine: Eng, identity: SignedIn) -> Result<HttpResponse, Rejection> {
    if matches!(identity.held, Held::Family(_)) {
        return Err(Refusal::Unauthenticated.into());
    }
    let token = csrf::issue(&engine.services.keys.csrf, identity.sid());
    Ok(HttpResponse::Ok().json(json!({"csrf_token": token})))
}

async fn get_sessions(engine: Eng, identity: SignedIn) -> Result<HttpResponse, Rejection> {
    let open = account::sessions(&engine, &identity).await?;
    let current = identity.sid();
    let families =
        open.families.iter().map(|family| OpenSession::of_family(family, family.id.to_bytes() == current));
    let sessions =
        open.sessions.iter().map(|session| OpenSession::of_session(session, session.id == current));
    let items: Vec<_> = families.chain(sessions).collect();
    Ok(HttpResponse::Ok().json(json!({"items": items})))
}

async fn delete_session(
    engine: Eng,
    id: web::Path<String>,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    body.refuse()?;
    log_out::end_one(&engine, &identity, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}
