//! One's own account and sessions, and introspection.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::engine::Engine;
use crate::flow::authenticate::{Held, introspect};
use crate::flow::refusal::Refusal;
use crate::flow::{account, email, log_out, password};
use crate::http::rejection::{Rejection, answer};
use crate::http::request::for_json_signed_in;
use crate::http::request::signed_in;
use crate::http::response::{User, user};
use crate::http::{Body, read_json, resource};
use crate::registry::refresh::FamilyV1;
use crate::registry::session::SessionV1;
use crate::system::clock::Timestamp;
use crate::value::id::hex;

type Eng = web::Data<Engine>;

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/session", "GET").route(web::get().to(get_session)))
        .service(resource("/v1/csrf", "GET").route(web::get().to(get_csrf)))
        .service(
            resource("/v1/me", "GET, DELETE").route(web::get().to(get_me)).route(web::delete().to(delete_me)),
        )
        .service(resource("/v1/sessions", "GET").route(web::get().to(get_sessions)))
        .service(resource("/v1/sessions/{id}", "DELETE").route(web::delete().to(delete_session)))
        .service(resource("/v1/password/change", "POST").route(web::post().to(post_change)))
        .service(resource("/v1/email/change", "POST").route(web::post().to(post_email)))
        .service(resource("/v1/introspect", "POST").route(web::post().to(post_introspect)));
}

/// What is open, as the list of sessions shows it.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    kind: &'static str,
    created_at: String,
    last_used_at: String,
    expires_at: String,
    network: &'a str,
    user_agent: &'a str,
    current: bool,
}

impl<'a> Shown<'a> {
    fn family(family: &'a FamilyV1, current: bool) -> Self {
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

    fn session(session: &'a SessionV1, current: bool) -> Self {
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
    session: Shown<'a>,
    user: User<'a>,
}

async fn get_session(request: HttpRequest, engine: Eng) -> HttpResponse {
    let result = async {
        let identity = signed_in(&request, &engine).await?;
        let session = match &identity.held {
            Held::Family(family) => Shown::family(family, true),
            Held::Session(session) => Shown::session(session, true),
        };
        let user = user(&identity.account);
        Ok::<_, Rejection>(crate::http::json::json(&mut HttpResponse::Ok(), &SessionBody { session, user }))
    };
    answer(&request, &engine, result.await)
}

async fn get_csrf(request: HttpRequest, engine: Eng) -> HttpResponse {
    let result = async {
        let identity = signed_in(&request, &engine).await?;
        if matches!(identity.held, Held::Family(_)) {
            return Err(Refusal::Unauthenticated.into());
        }
        let token = crate::http::csrf::issue(&engine.services.keys.csrf, identity.sid());
        Ok::<_, Rejection>(HttpResponse::Ok().json(json!({"csrf_token": token})))
    };
    answer(&request, &engine, result.await)
}

async fn get_me(request: HttpRequest, engine: Eng) -> HttpResponse {
    let result = async {
        let identity = signed_in(&request, &engine).await?;
        Ok::<_, Rejection>(HttpResponse::Ok().json(user(&identity.account)))
    };
    answer(&request, &engine, result.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    password: String,
}

async fn delete_me(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json_signed_in(&request, &engine, body, async |client, identity, read: Password| {
        account::delete(&engine, client, identity, &read.password).await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}

async fn get_sessions(request: HttpRequest, engine: Eng) -> HttpResponse {
    let result = async {
        let identity = signed_in(&request, &engine).await?;
        let open = account::sessions(&engine, &identity).await?;
        let sid = identity.sid();
        let families = open.families.iter().map(|family| Shown::family(family, family.id.to_bytes() == sid));
        let sessions = open.sessions.iter().map(|session| Shown::session(session, session.id == sid));
        let items: Vec<Shown<'_>> = families.chain(sessions).collect();
        Ok::<_, Rejection>(HttpResponse::Ok().json(json!({"items": items})))
    };
    answer(&request, &engine, result.await)
}

async fn delete_session(request: HttpRequest, engine: Eng, id: web::Path<String>) -> HttpResponse {
    let result = async {
        let identity = signed_in(&request, &engine).await?;
        log_out::end_one(&engine, &identity, &id).await?;
        Ok::<_, Rejection>(HttpResponse::NoContent().finish())
    };
    answer(&request, &engine, result.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    current_password: String,
    new_password: String,
}

async fn post_change(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json_signed_in(&request, &engine, body, async |client, identity, read: ChangePassword| {
        password::change(&engine, client, identity, &read.current_password, &read.new_password).await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeEmail {
    email: String,
    password: String,
}

async fn post_email(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    for_json_signed_in(&request, &engine, body, async |client, identity, read: ChangeEmail| {
        email::ask(&engine, client, identity, &read.password, &read.email).await?;
        Ok(HttpResponse::Accepted().json(json!({"status": "confirmation_sent"})))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    token: String,
}

async fn post_introspect(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    let result = async {
        let identity = signed_in(&request, &engine).await?;
        let read: Token = read_json(&request, body)?;
        let found = introspect(&engine, &identity, &read.token).await?;
        let shown = found.map_or_else(
            || json!({"active": false}),
            |found| {
                json!({
                    "active": true,
                    "sub": found.sub.to_string(),
                    "sid": hex(&found.sid),
                    "roles": found.roles,
                    "exp": found.exp,
                    "iat": found.iat,
                    "token_type": found.token_type,
                })
            },
        );
        Ok::<_, Rejection>(HttpResponse::Ok().json(shown))
    };
    answer(&request, &engine, result.await)
}
