//! `/v1/admin/keys/…`: rotates and retires signing keys.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::flow::admin::{self, Admin};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/v1/admin/keys/rotate", "POST").route(web::post().to(post_rotate)))
        .service(resource("/v1/admin/keys/{kid}/retire", "POST").route(web::post().to(post_retire)));
}

async fn post_rotate(engine: Eng, identity: SignedIn, body: Body) -> Result<HttpResponse, Rejection> {
    let admin = Admin::of(&identity)?;
    body.refuse()?;
    let (kid, from) = admin::rotate_key(&engine, &admin).await?;
    Ok(HttpResponse::Ok().json(json!({"kid": kid, "signs_from": from.rfc3339()})))
}

async fn post_retire(
    engine: Eng,
    kid: web::Path<String>,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = Admin::of(&identity)?;
    body.refuse()?;
    admin::retire_key(&engine, &admin, &kid).await?;
    Ok(HttpResponse::NoContent().finish())
}
