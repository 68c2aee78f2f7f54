//! `/v1/refresh`: a refresh token is exchanged for a new pair.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::flow::client::Client;
use crate::flow::refresh::refresh;
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::response::{TokenPair, opened_response};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Endpoint, Operation, Tag, Takes};
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/refresh",
    &[Operation::post("refresh", "Exchanges a refresh token for a new pair", |to| to.to(post_refresh))
        .explained(
            "Send one request at a time. A lost answer is given again for `refresh.grace_secs`, until its successor is \
             used; after that the token counts as copied, and all of its session ends.",
        )
        .about(Tag::LogIn)
        .takes(Takes::Json(Schema::of::<Refresh>()))
        .charged(Class::Refresh)
        .answers(&[Answer::json(200, "A new pair.", &[Schema::of::<TokenPair>()])])
        .refuses(&["invalid_refresh_token", "refresh_token_reused", "session_expired", "login_refused", "hook_unavailable"])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    #[schema(value_type = String)]
    refresh_token: SecretText,
}

async fn post_refresh(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Refresh = body.json_charged(&engine, &client, Class::Refresh).await?;
    refresh(&engine, &client, &read.refresh_token)
        .await
        .respond(|opened| opened_response(&engine, &opened, StatusCode::OK))
}
