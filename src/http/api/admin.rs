//! Other people's accounts, for administrators.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::read::Wanted;
use crate::engine::Engine;
use crate::flow::admin::{self, Admin};
use crate::flow::refusal::Refusal;
use crate::http::rejection::{Rejection, answer};
use crate::http::request::signed_in;
use crate::http::response::user;
use crate::http::{Body, Problem, read_json, resource};
use crate::registry::account::actor::List;
use crate::registry::account::{AccountV1, Status};
use crate::system::clock::Timestamp;
use crate::value::id::AccountId;

type Eng = web::Data<Engine>;

const PAGE: usize = 50;
const PAGE_MAX: usize = 200;
const AUDIT_PAGE: usize = 100;
const AUDIT_PAGE_MAX: usize = 10_000;

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/v1/admin/users", "GET, POST")
                .route(web::get().to(get_users))
                .route(web::post().to(post_user)),
        )
        .service(
            resource("/v1/admin/users/{id}", "GET, PATCH, DELETE")
                .route(web::get().to(get_user))
                .route(web::patch().to(patch_user))
                .route(web::delete().to(delete_user)),
        )
        .service(resource("/v1/admin/keys/rotate", "POST").route(web::post().to(post_rotate)))
        .service(resource("/v1/admin/keys/{kid}/retire", "POST").route(web::post().to(post_retire)))
        .service(resource("/v1/admin/audit", "GET").route(web::get().to(get_audit)))
        .service(resource("/v1/admin/users/{id}/{act}", "POST").route(web::post().to(post_act)));
}

async fn admin(request: &HttpRequest, engine: &Engine) -> Result<Admin, Rejection> {
    Ok(Admin::of(&*signed_in(request, engine).await?)?)
}

fn user_json(account: &AccountV1) -> Value {
    let mut shown = json!(user(account));
    if let Some(fields) = shown.as_object_mut() {
        let status = if account.status == Status::Active { "active" } else { "disabled" };
        fields.insert(String::from("status"), json!(status));
    }
    shown
}

fn parse_id(id: &str) -> Result<AccountId, Refusal> {
    id.parse().map_err(|_| Refusal::NotFound)
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusName {
    Active,
    Disabled,
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Active => Self::Active,
            StatusName::Disabled => Self::Disabled,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    q: Option<String>,
    status: Option<StatusName>,
    cursor: Option<String>,
    limit: Option<usize>,
}

async fn get_users(request: HttpRequest, engine: Eng) -> HttpResponse {
    let result = async {
        let admin = admin(&request, &engine).await?;
        let query = web::Query::<Query>::from_query(request.query_string()).map_err(|_| {
            Problem::new(422, "unprocessable", "The query takes q, status, cursor and limit.")
        })?;
        let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let after = query.cursor.as_deref().map(parse_id).transpose()?;
        let (q, status) = (query.q.as_deref().map(str::to_lowercase), query.status.map(Status::from));
        let list = List { after, limit: limit + 1, q, status };
        let mut found = admin::list(&engine, &admin, list).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|account| account.account_id().to_string());
        let items: Vec<Value> = found.iter().map(user_json).collect();
        Ok::<_, Rejection>(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next})))
    };
    answer(&request, &engine, result.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: String,
    password: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    verified: bool,
}

async fn post_user(request: HttpRequest, engine: Eng, body: Body) -> HttpResponse {
    let result = async {
        let admin = admin(&request, &engine).await?;
        let read: NewUser = read_json(&request, body)?;
        let (email, password) = (read.email.as_str(), read.password.as_deref());
        let new = admin::New { email, password, roles: read.roles, verified: read.verified };
        let account = admin::create(&engine, &admin, new).await?;
        Ok::<_, Rejection>(HttpResponse::Created().json(user_json(&account)))
    };
    answer(&request, &engine, result.await)
}

async fn get_user(request: HttpRequest, engine: Eng, id: web::Path<String>) -> HttpResponse {
    let result = async {
        let admin = admin(&request, &engine).await?;
        let account = admin::get(&engine, &admin, parse_id(&id)?).await?;
        Ok::<_, Rejection>(HttpResponse::Ok().json(user_json(&account)))
    };
    answer(&request, &engine, result.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchUser {
    roles: Option<Vec<String>>,
    status: Option<StatusName>,
    name: Option<String>,
}

async fn patch_user(request: HttpRequest, engine: Eng, id: web::Path<String>, body: Body) -> HttpResponse {
    let result = async {
        let admin = admin(&request, &engine).await?;
        let read: PatchUser = read_json(&request, body)?;
        let (id, status) = (parse_id(&id)?, read.status.map(Status::from));
        let account = admin::change(&engine, &admin, id, read.roles, status, read.name.as_deref()).await?;
        Ok::<_, Rejection>(HttpResponse::Ok().json(user_json(&account)))
    };
    answer(&request, &engine, result.await)
}

async fn delete_user(request: HttpRequest, engine: Eng, id: web::Path<String>) -> HttpResponse {
    let result = async {
        let admin = admin(&request, &engine).await?;
        admin::delete(&engine, &admin, parse_id(&id)?).await?;
        Ok::<_, Rejection>(HttpResponse::NoContent().finish())
    };
    answer(&request, &engine, result.await)
}

async fn post_rotate(request: HttpRequest, engine: Eng) -> HttpResponse {
    let result = async {
        let admin = admin(&request, &engine).await?;
        let (kid, from) = admin::rotate_key(&engine, &admin).await?;
        Ok::<_, Rejection>(HttpResponse::Ok().json(json!({"kid": kid, "signs_from": from.rfc3339()})))
    };
    answer(&request, &engine, result.await)
}

async fn post_retire(request: HttpRequest, engine: Eng, kid: web::Path<String>) -> HttpResponse {
    let result = async {
        let admin = admin(&request, &engine).await?;
        admin::retire_key(&engine, &admin, &kid).await?;
        Ok::<_, Rejection>(HttpResponse::NoContent().finish())
    };
    answer(&request, &engine, result.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    since: Option<String>,
    r#type: Option<String>,
    account: Option<String>,
    cursor: Option<u64>,
    limit: Option<usize>,
}

/// Events from the files of `audit.dir`, the newest last: from `since` or behind `cursor` on, else the newest.
async fn get_audit(request: HttpRequest, engine: Eng) -> HttpResponse {
    let result = async {
        let admin = admin(&request, &engine).await?;
        let query = web::Query::<AuditQuery>::from_query(request.query_string()).map_err(|_| {
            Problem::new(422, "unprocessable", "The query takes since, type, account, cursor and limit.")
        })?;
        let since = query.since.as_deref().map(|text| Timestamp::parse_rfc3339(text).ok_or(())).transpose();
        let since =
            since.map_err(|()| Problem::new(422, "unprocessable", "`since` is a time by RFC 3339."))?;
        let limit = query.limit.unwrap_or(AUDIT_PAGE).clamp(1, AUDIT_PAGE_MAX);
        let (event, account, after) = (query.r#type.clone(), query.account.clone(), query.cursor);
        let items = admin::audit(&engine, &admin, Wanted { since, event, account, after, limit }).await?;
        let lines = request.headers().get("accept").is_some_and(|accept| accept == "application/x-ndjson");
        if lines {
            let text: String = items.iter().map(|item| format!("{}\n", json!(item))).collect();
            return Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(text));
        }
        // More can come at any time: the cursor goes on from the last one, full page or not.
        let next = items.last().map(|line| line.seq).or(query.cursor);
        Ok::<_, Rejection>(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next})))
    };
    answer(&request, &engine, result.await)
}

async fn post_act(request: HttpRequest, engine: Eng, path: web::Path<(String, String)>) -> HttpResponse {
    let result = async {
        let admin = admin(&request, &engine).await?;
        let (id, act) = path.into_inner();
        let id = parse_id(&id)?;
        match act.as_str() {
            "unlock" => admin::unlock(&engine, &admin, id).await?,
            "revoke_sessions" => admin::revoke_sessions(&engine, &admin, id).await?,
            "send_reset" => admin::send_reset(&engine, &admin, id).await?,
            _ => return Err(Refusal::NotFound.into()),
        }
        Ok::<_, Rejection>(HttpResponse::NoContent().finish())
    };
    answer(&request, &engine, result.await)
}
