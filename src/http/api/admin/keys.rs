//! `/v1/admin/keys/…`: rotates keys, and retires signing keys.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shown::KindOfKey;
use crate::flow::client::Client;
use crate::flow::keys::rotation;
use crate::http::api::caller::CalledBy;
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, PathPart, Tag, Takes};
use crate::registry::api_key::Scope;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/v1/admin/keys/rotate",
        &[Operation::post("rotateKey", "Makes a new key of a kind", |to| to.to(post_rotate))
            .explained("What older keys have made stays valid until its time is over.")
            .about(Tag::Administration)
            .by(Credential::Admin(Scope::AdminWrite))
            .takes(Takes::OptionalJson(Schema::of::<Rotate>()))
            .answers(&[Answer::json(200, "The new key.", &[Schema::of::<RotatedKey>()])])
            .refuses(&["too_many_keys"])],
    ),
    Endpoint::at(
        "/v1/admin/keys/{kid}/retire",
        &[Operation::post("retireKey", "Retires a signing key at once", |to| to.to(post_retire))
            .explained("For a key that may have leaked: its access tokens are no longer valid, here and by the feed.")
            .about(Tag::Administration)
            .by(Credential::Admin(Scope::AdminWrite))
            .path(&[PathPart {
                name: "kid",
                meaning: "The `kid` of the key in `/.well-known/jwks.json`.",
                example: "none",
            }])
            .answers(&[Answer::empty("It is retired.")])
            .refuses(&["not_found"])],
    ),
];

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateKey)]
struct Rotate {
    /// `signing` if none is named.
    #[schema(value_type = Option<KindOfKey>)]
    kind: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct RotatedKey {
    /// The id of the new key.
    kid: String,
    /// From when it is used. A signing key is published for ten minutes before.
    #[schema(format = DateTime)]
    signs_from: String,
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
    Ok(HttpResponse::Ok().json(RotatedKey { kid, signs_from: from.rfc3339() }))
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
