//! `/v1/admin/api_keys`: credentials of services. Administrators make them; an API key makes none.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::shown::ScopeName;
use crate::flow::admin::Admin;
use crate::flow::client::Client;
use crate::flow::keys::api_keys;
use crate::flow::refusal::Refusal;
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, PathPart, Tag, Takes};
use crate::system::clock::Timestamp;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/v1/admin/api_keys",
        &[
            Operation::get("listApiKeys", "Lists the API keys", |to| to.to(get_api_keys))
                .about(Tag::Administration)
                .by(Credential::AdminPerson)
                .answers(&[Answer::json(200, "Every key that is alive.", &[Schema::of::<ApiKeys>()])]),
            Operation::post("createApiKey", "Makes an API key", |to| to.to(post_api_key))
                .explained("The key itself is in this answer alone. No API key makes another.")
                .about(Tag::Administration)
                .by(Credential::AdminPerson)
                .fresh()
                .takes(Takes::Json(Schema::of::<NewApiKey>()))
                .answers(&[Answer::json(201, "The key.", &[Schema::of::<MadeApiKey>()])])
                .refuses(&["too_many_api_keys"]),
        ],
    ),
    Endpoint::at(
        "/v1/admin/api_keys/{id}",
        &[Operation::delete("deleteApiKey", "Deletes an API key", |to| to.to(delete_api_key))
            .explained("It is dead at once.")
            .about(Tag::Administration)
            .by(Credential::AdminPerson)
            .fresh()
            .path(&[PathPart {
                name: "id",
                meaning: "The `id` of the key.",
                example: "ffff0000000000000000000000000000",
            }])
            .answers(&[Answer::empty("There is no such key any more.")])
            .refuses(&["not_found"])],
    ),
];

/// The key of a service.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `api_keys::described` writes")]
struct ApiKey {
    id: String,
    name: String,
    scopes: Vec<ScopeName>,
    #[schema(format = DateTime)]
    created_at: String,
    /// The id of an account, or `operator`.
    created_by: String,
    #[schema(format = DateTime)]
    expires_at: String,
    #[schema(required, format = DateTime)]
    last_used_at: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `get_api_keys` writes")]
struct ApiKeys {
    items: Vec<ApiKey>,
}

#[derive(Serialize, ToSchema)]
struct MadeApiKey {
    /// The key: shown this once.
    key: String,
    #[serde(flatten)]
    #[schema(value_type = ApiKey)]
    described: (),
}

async fn get_api_keys(engine: Eng, client: Client, identity: SignedIn) -> Result<HttpResponse, Rejection> {
    let admin = Admin::of(&identity, &client)?;
    let keys = api_keys::list(&engine, &admin).await?;
    Ok(HttpResponse::Ok().json(json!({"items": keys.iter().map(api_keys::described).collect::<Vec<_>>()})))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewApiKey {
    /// 1 to 100 characters, of which one is seen.
    #[schema(min_length = 1, max_length = 100, example = "shop")]
    name: String,
    #[schema(value_type = Vec<ScopeName>, min_items = 1)]
    scopes: Vec<String>,
    /// At most 400 days ahead; a year if it is left out.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

async fn post_api_key(
    engine: Eng,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = Admin::who_may_write(&engine, &identity, &client)?;
    let read: NewApiKey = body.json()?;
    let end = read.expires_at.as_deref().map(parse_end).transpose()?;
    let made = api_keys::make(&engine, &admin, &read.name, &read.scopes, end).await?;
    Ok(HttpResponse::Created().json(made.described()))
}

fn parse_end(text: &str) -> Result<Timestamp, Refusal> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| Refusal::Field {
        pointer: "/expires_at",
        code: "invalid_time",
        message: String::from("expected a time in the format of RFC 3339"),
    })
}

async fn delete_api_key(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = Admin::who_may_write(&engine, &identity, &client)?;
    body.refuse()?;
    api_keys::delete(&engine, &admin, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}
