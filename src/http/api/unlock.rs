//! `/v1/unlock`: lifts a lockout with a mailed token.

use actix_web::{HttpResponse, web};

use super::shared_body::Token;
use crate::flow::client::Client;
use crate::flow::mailed;
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::registry::throttle::class::Class;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/unlock", "POST").route(web::post().to(post_unlock)));
}

async fn post_unlock(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Token = body.json_charged(&engine, &client, Class::Unlock).await?;
    mailed::unlock(&engine, &client, &read.token).await.respond(|()| HttpResponse::NoContent().finish())
}
