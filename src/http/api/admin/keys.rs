//! `/v1/admin/keys/…`: rotates keys, and retires signing keys.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::flow::client::Client;
use crate::flow::keys::rotation;
use crate::http::api::caller::CalledBy;
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::registry::api_key::Scope;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/admin/keys/rotate", "POST").route(web::post().to(post_rotate)))
        .service(resource("/v1/admin/keys/{kid}/retire", "POST").route(web::post().to(post_retire)));
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    kind: Option<String>,
}

async fn post_rotate(
    engine: Eng,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    let read: Rotate = body.json_or_default()?;
    let (kid, from) = rotation::rotate(&engine, &admin, read.kind.as_deref()).await?;
    Ok(HttpResponse::Ok().json(json!({"kid": kid, "signs_from": from.rfc3339()})))
}

async fn post_retire(
    engine: Eng,
    kid: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    body.refuse()?;
    rotation::retire(&engine, &admin, &kid).await?;
    Ok(HttpResponse::NoContent().finish())
}
