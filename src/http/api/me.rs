//! `/v1/me`: the account that is signed in.

use actix_web::{HttpResponse, web};
use serde::Deserialize;

use crate::flow::account;
use crate::flow::client::Client;
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::http::response::user;
use crate::registry::throttle::class::Class;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    let me = resource("/v1/me", "GET, DELETE");
    config.service(me.route(web::get().to(get_me)).route(web::delete().to(delete_me)));
}

async fn get_me(_: Eng, identity: SignedIn) -> HttpResponse {
    HttpResponse::Ok().json(user(&identity.account))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteMe {
    password: String,
}

async fn delete_me(
    engine: Eng,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: DeleteMe = body.json_charged(&engine, &client, Class::Check).await?;
    account::delete(&engine, &client, &identity, &read.password)
        .await
        .respond(|()| HttpResponse::NoContent().finish())
}
