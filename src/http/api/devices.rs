//! `/v1/devices`: the devices that are known to the account, and their end.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::flow::client::Client;
use crate::flow::devices;
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    let all = resource("/v1/devices", "GET, DELETE");
    config.service(all.route(web::get().to(get_devices)).route(web::delete().to(delete_devices)));
}

async fn get_devices(engine: Eng, identity: SignedIn) -> Result<HttpResponse, Rejection> {
    let families = devices::list(&engine, &identity.account).await?;
    let items: Vec<_> = families
        .iter()
        .map(|of| json!({"family": of.family, "count": of.count, "newest": of.newest.rfc3339()}))
        .collect();
    Ok(HttpResponse::Ok().json(json!({"items": items})))
}

async fn delete_devices(
    engine: Eng,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    body.refuse_charged(&engine, &client).await?;
    devices::end(&engine, &client, &identity).await?;
    Ok(HttpResponse::NoContent().finish())
}
