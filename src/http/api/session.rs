//! `/v1/session`, `/v1/sessions`, `/v1/csrf`: this session, all sessions of the account, and the CSRF token.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, Type};

use crate::engine::Engine;
use crate::flow::account::Cursor;
use crate::flow::authenticate::{Held, Identity};
use crate::flow::client::Client;
use crate::flow::grant::session_limit::OPEN_MAX;
use crate::flow::refusal::Refusal;
use crate::flow::{account, log_out};
use crate::http::body::Body;
use crate::http::csrf;
use crate::http::endpoint::Eng;
use crate::http::json::json;
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::{SignedIn, query};
use crate::http::response::{User, ended_cookie, user};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, PathPart, Tag};
use crate::registry::refresh::FamilyV3;
use crate::registry::session::SessionV2;
use crate::registry::throttle::class::Class;
use crate::system::clock::Timestamp;
use crate::value::id::hex;
use crate::value::secret_text::SecretText;

/// As many as an account has open, so that all are on one page unless a client asks for less.
const PAGE_MAX: usize = OPEN_MAX;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/v1/session",
        &[Operation::get("getSession", "Shows this session and its user", |to| to.to(get_session))
            .explained("With `?optional` a request without a valid credential is answered with 200 too.")
            .about(Tag::Sessions)
            .by(Credential::AccountOrNobody)
            .query(Schema::of::<SessionQuery>())
            .answers(&[Answer::json(
                200,
                "The session, or with `?optional` that there is none.",
                &[Schema::of::<SessionBody>(), Schema::of::<NoSession>()],
            )])],
    ),
    Endpoint::at(
        "/v1/csrf",
        &[Operation::get("getCsrfToken", "Gets the CSRF token of a session by cookie", |to| to.to(get_csrf))
            .about(Tag::Sessions)
            .by(Credential::Cookie)
            .answers(&[Answer::json(200, "The token.", &[Schema::of::<CsrfToken>()])])],
    ),
    Endpoint::at(
        "/v1/sessions",
        &[Operation::get("listSessions", "Lists the open sessions of the account", |to| to.to(get_sessions))
            .about(Tag::Sessions)
            .by(Credential::Account)
            .query(Schema::of::<Query>())
            .answers(&[Answer::json(200, "A page of sessions.", &[Schema::of::<Sessions>()])])],
    ),
    Endpoint::at(
        "/v1/sessions/{id}",
        &[Operation::delete("endSession", "Ends a session of the account", |to| to.to(delete_session))
            .explained("This session needs no fresh proof; any other one does.")
            .about(Tag::Sessions)
            .by(Credential::Account)
            .charged(Class::Rejected)
            .path(&[PathPart {
                name: "id",
                meaning: "The `id` of the session in the list.",
                example: "01010101010101010101010101010101",
            }])
            .answers(&[Answer::empty("It has ended.").with(&["Set-Cookie"])])
            .refuses(&["not_found", "step_up_required"])],
    ),
];

/// A session by cookie or by tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct OpenSession<'a> {
    id: String,
    /// `cookie` or `token`.
    #[schema(example = "token")]
    kind: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    last_used_at: String,
    /// When it ends if it is not used before.
    #[schema(format = DateTime)]
    expires_at: String,
    /// The network that it was opened from.
    #[schema(example = "192.0.2.7/32")]
    network: &'a str,
    /// The client that opened it, as it calls itself.
    user_agent: &'a str,
    /// Another network that was given its tokens for a lost answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
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

/// This session.
#[derive(Serialize, ToSchema)]
#[schema(as = CurrentSession)]
struct SessionBody<'a> {
    session: OpenSession<'a>,
    user: User<'a>,
    /// That of a session by cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    csrf_token: Option<SecretText>,
}

/// Nobody is signed in.
#[derive(Serialize, ToSchema)]
struct NoSession {
    /// Always null.
    #[schema(schema_with = null)]
    session: (),
}

/// The form of null.
fn null() -> Object {
    Object::with_type(Type::Null)
}

#[derive(Serialize, ToSchema)]
struct CsrfToken {
    /// Sent as `X-CSRF-Token` with every request that changes something.
    #[schema(value_type = String)]
    csrf_token: SecretText,
}

/// A page of sessions. All of them on one page come with the last used first; several pages have no order.
#[derive(Serialize, ToSchema)]
struct Sessions<'a> {
    /// For the parameter `cursor`; null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
    items: Vec<OpenSession<'a>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SessionQuery {
    /// Whether a request without a session gets 200: a flag, or anything but `false` and `0`.
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
            return Ok(HttpResponse::Ok().json(NoSession { session: () }));
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
    let csrf_token = csrf_token(&engine, &identity).ok_or(Refusal::Unauthenticated)?;
    Ok(HttpResponse::Ok().json(CsrfToken { csrf_token }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// The `next_cursor` of the page before.
    #[schema(pattern = "^(token|cookie)-[0-3][0-9a-f]{31}$")]
    cursor: Option<String>,
    /// How many sessions a page has at most: 100, as many as an account may have open; above that it has 100.
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
    let next_cursor = open.next.map(|cursor| cursor.to_string());
    Ok(HttpResponse::Ok().json(Sessions { next_cursor, items }))
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
