//! `/v1/refresh`: a refresh token is exchanged for a new pair.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;

use crate::flow::client::Client;
use crate::flow::refresh::refresh;
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::response::opened_response;
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/refresh", "POST").route(web::post().to(post_refresh)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: SecretText,
}

async fn post_refresh(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Refresh = body.json_charged(&engine, &client, Class::Refresh).await?;
    refresh(&engine, &client, &read.refresh_token)
        .await
        .respond(|opened| opened_response(&engine, &opened, StatusCode::OK))
}
