//! `/v1/reauthenticate`: the password again, before an act that needs a fresh proof.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::flow::client::Client;
use crate::flow::grant::renew::{Reauthenticated, reauthenticate};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::http::response::renewed_response;
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/reauthenticate", "POST").route(web::post().to(post_reauthenticate)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reauthenticate {
    password: SecretText,
}

async fn post_reauthenticate(
    engine: Eng,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: Reauthenticate = body.json_charged(&engine, &client, Class::Check).await?;
    reauthenticate(&engine, &client, &identity, &read.password).await.respond(|renewed| match renewed {
        Reauthenticated::Session(opened) => renewed_response(&engine, &opened),
        Reauthenticated::Access { token, end, family } => HttpResponse::Ok().json(json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": end.since(engine.clock.now()).as_millis().div_ceil(1000),
            "expires_at": end.rfc3339(),
            "session_id": family.to_string(),
        })),
    })
}
