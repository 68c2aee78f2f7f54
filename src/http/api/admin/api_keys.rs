//! `/v1/admin/api_keys`: credentials of services. Administrators make them; an API key makes none.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::flow::admin::Admin;
use crate::flow::client::Client;
use crate::flow::keys::api_keys;
use crate::flow::refusal::Refusal;
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::system::clock::Timestamp;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/v1/admin/api_keys", "GET, POST")
                .route(web::get().to(get_api_keys))
                .route(web::post().to(post_api_key)),
        )
        .service(resource("/v1/admin/api_keys/{id}", "DELETE").route(web::delete().to(delete_api_key)));
}

async fn get_api_keys(engine: Eng, client: Client, identity: SignedIn) -> Result<HttpResponse, Rejection> {
    let admin = Admin::of(&identity, &client)?;
    let keys = api_keys::list(&engine, &admin).await?;
    Ok(HttpResponse::Ok().json(json!({"items": keys.iter().map(api_keys::described).collect::<Vec<_>>()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewApiKey {
    name: String,
    scopes: Vec<String>,
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
