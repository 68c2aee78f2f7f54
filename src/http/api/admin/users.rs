//! `/v1/admin/users`: accounts of other people.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::flow::account::carried::Carried;
use crate::flow::admin::{self, Changes, Found, StatusWanted, account_json};
use crate::flow::client::Client;
use crate::flow::refusal::Refusal;
use crate::http::api::caller::CalledBy;
use crate::http::api::shared_body::{new_object, null_is_empty};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::{limit_of_page, query};
use crate::registry::account::Status;
use crate::registry::api_key::Scope;
use crate::value::account_name::NAME_BYTES_MAX;
use crate::value::id::AccountId;
use crate::value::json_object::NewObject;
use crate::value::secret_text::SecretText;

const PAGE: usize = 50;
const PAGE_MAX: usize = 1_000;

pub(super) fn configure(config: &mut web::ServiceConfig) {
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
        .service(resource("/v1/admin/users/{id}/{act}", "POST").route(web::post().to(post_act)));
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

/// The state that listed accounts must have.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusQuery {
    Active,
    Disabled,
    Pending,
}

impl From<StatusQuery> for StatusWanted {
    fn from(name: StatusQuery) -> Self {
        match name {
            StatusQuery::Active => Self::Account(Status::Active),
            StatusQuery::Disabled => Self::Account(Status::Disabled),
            StatusQuery::Pending => Self::Pending,
        }
    }
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
    status: Option<StatusQuery>,
    verified: Option<bool>,
    /// The external id of the one account that is wanted. It stands alone.
    external_id: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

impl Query {
    /// Says whether something is asked beside an external id.
    const fn has_filters(&self) -> bool {
        let Self { q, status, verified, external_id: _, cursor, limit } = self;
        q.is_some() || status.is_some() || verified.is_some() || cursor.is_some() || limit.is_some()
    }
}

async fn get_users(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    caller: CalledBy,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminRead)?;
    let query: Query =
        query(&request, "The query accepts q, status, verified, cursor and limit; or external_id.")?;
    if let Some(external_id) = &query.external_id {
        if query.has_filters() {
            let detail = "An external id names one account: send `external_id` alone.";
            return Err(Problem::new(422, "unprocessable", detail).into());
        }
        let found = admin::find_external(&engine, &admin, external_id).await?;
        let items: Vec<Value> = found.iter().map(account_json).collect();
        return Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": null})));
    }
    let limit = limit_of_page(query.limit, PAGE, PAGE_MAX)?;
    // Every account is compared with it, on the thread that all requests share.
    if query.q.as_ref().is_some_and(|q| q.len() > NAME_BYTES_MAX) {
        let detail = format!("Search for at most {NAME_BYTES_MAX} bytes of an address or a name.");
        return Err(Problem::new(422, "unprocessable", detail).into());
    }
    // One more than the page: it says whether there is another page.
    let list = admin::Query {
        after: query.cursor.as_deref().map(parse_id).transpose()?,
        limit: limit + 1,
        q: query.q.as_deref(),
        status: query.status.map(StatusWanted::from),
        verified: query.verified,
    };
    let mut found = admin::list(&engine, &admin, list).await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|found| found.id().to_string());
    let items: Vec<Value> = found.iter().map(Found::json).collect();
    Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: String,
    password: Option<SecretText>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    verified: bool,
    /// Whether to mail an invitation; by default to an account without a password.
    invite: Option<bool>,
    /// Null or an empty one is none, as in the fields below.
    #[serde(default, deserialize_with = "null_is_empty")]
    name: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    locale: Option<String>,
    #[serde(default, deserialize_with = "new_object")]
    user_metadata: Option<NewObject>,
    #[serde(default, deserialize_with = "new_object")]
    app_metadata: Option<NewObject>,
    /// The id that another program knows the account by.
    #[serde(default, deserialize_with = "null_is_empty")]
    external_id: Option<String>,
}

async fn post_user(
    engine: Eng,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    let read: NewUser = body.json()?;
    let new = admin::New {
        email: &read.email,
        password: read.password.as_deref(),
        roles: read.roles,
        verified: read.verified,
        carried: Carried {
            name: read.name.as_deref(),
            locale: read.locale.as_deref(),
            user_metadata: read.user_metadata,
            app_metadata: read.app_metadata,
            external_id: read.external_id.as_deref(),
        },
    };
    let invite = read.invite.unwrap_or(read.password.is_none());
    if invite && read.password.is_some() {
        let message = String::from("an invitation sets the first password, and this account has one");
        return Err(Refusal::Field { pointer: "/invite", code: "has_password", message }.into());
    }
    let account = admin::create(&engine, &admin, new).await?;
    if invite {
        admin::invite(&engine, &admin, &account).await?;
    }
    Ok(HttpResponse::Created().json(account_json(&account)))
}

async fn get_user(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminRead)?;
    let id = parse_id(&id)?.to_string();
    let found = admin::find(&engine, &admin, &id).await?.into_iter().next();
    let body = match found.ok_or(Refusal::NotFound)? {
        Found::Account(account) => admin::details(&engine, &admin, account).await?.json(),
        pending @ Found::SignUp(_) => pending.json(),
    };
    Ok(HttpResponse::Ok().json(body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchUser {
    roles: Option<Vec<String>>,
    status: Option<StatusName>,
    /// Null or an empty one takes it away, as in the fields below. An object replaces the one from before as a whole.
    #[serde(default, deserialize_with = "null_is_empty")]
    name: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    locale: Option<String>,
    #[serde(default, deserialize_with = "new_object")]
    user_metadata: Option<NewObject>,
    #[serde(default, deserialize_with = "new_object")]
    app_metadata: Option<NewObject>,
    /// The id that another program knows the account by.
    #[serde(default, deserialize_with = "null_is_empty")]
    external_id: Option<String>,
    email: Option<String>,
    /// Whether the address counts as proved. A new one does not, unless this says so.
    email_verified: Option<bool>,
    /// The former address, from which the change that the owner has made can then no longer be undone.
    end_undo: Option<String>,
}

async fn patch_user(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    let read: PatchUser = body.json()?;
    let id = parse_id(&id)?;
    let changes = Changes {
        roles: read.roles,
        status: read.status.map(Status::from),
        email: read.email.as_deref(),
        email_verified: read.email_verified,
        end_undo: read.end_undo.as_deref(),
        carried: Carried {
            name: read.name.as_deref(),
            locale: read.locale.as_deref(),
            user_metadata: read.user_metadata,
            app_metadata: read.app_metadata,
            external_id: read.external_id.as_deref(),
        },
    };
    let account = admin::change(&engine, &admin, id, changes).await?;
    Ok(HttpResponse::Ok().json(account_json(&account)))
}

async fn delete_user(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    body.refuse()?;
    admin::delete(&engine, &admin, parse_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn post_act(
    engine: Eng,
    path: web::Path<(String, String)>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    body.refuse()?;
    let (id, act) = path.into_inner();
    let id = parse_id(&id)?;
    match act.as_str() {
        "unlock" => admin::unlock(&engine, &admin, id).await?,
        "revoke_sessions" => admin::revoke_sessions(&engine, &admin, id).await?,
        "send_reset" => {
            admin::send_reset(&engine, &admin, id).await?;
        }
        "revoke_password" => {
            admin::revoke_password(&engine, &admin, id).await?;
        }
        _ => return Err(Refusal::NotFound.into()),
    }
    Ok(HttpResponse::NoContent().finish())
}
