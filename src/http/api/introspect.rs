//! `/v1/introspect`: tells a resource server whether a token is valid.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::shared_body::Token;
use crate::flow::authenticate::introspect;
use crate::http::api::caller::CalledBy;
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::registry::api_key::Scope;
use crate::value::id::hex;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/introspect", "POST").route(web::post().to(post_introspect)));
}

async fn post_introspect(engine: Eng, caller: CalledBy, body: Body) -> Result<HttpResponse, Rejection> {
    caller.may(&["introspect", "admin"], Scope::Introspect)?;
    let read: Token = body.json()?;
    let body = match introspect(&engine, &read.token).await? {
        None => json!({"active": false}),
        Some(token) => json!({
            "active": true,
            "sub": token.sub.to_string(),
            "sid": hex(&token.sid),
            "roles": token.roles,
            "exp": token.exp,
            "iat": token.iat,
            "token_type": token.token_type,
        }),
    };
    Ok(HttpResponse::Ok().json(body))
}
