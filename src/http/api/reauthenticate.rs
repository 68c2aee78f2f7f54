//! `/v1/reauthenticate`: the password again, before an act that needs a fresh proof.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::flow::client::Client;
use crate::flow::grant::renew::{Reauthenticated, reauthenticate};
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::http::response::renewed_response;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag, Takes};
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/reauthenticate",
    &[Operation::post("reauthenticate", "Proves the password again", |to| to.to(post_reauthenticate))
        .explained(
            "For 15 minutes the new credential opens what asks for a fresh proof. A refresh gives the proof of the log-in \
             again, so keep the access token of this answer for as long as it is needed.",
        )
        .about(Tag::LogIn)
        .by(Credential::Account)
        .takes(Takes::Json(Schema::of::<Reauthenticate>()))
        .charged(Class::Check)
        .answers(&[
            Answer::json(200, "By an access token: a fresh one.", &[Schema::of::<FreshAccess>()]),
            Answer::empty("By a cookie: a new cookie, and its CSRF token in a header.")
                .with(&["Set-Cookie", "X-CSRF-Token"]),
        ])
        .refuses(&["invalid_credentials", "session_expired", "too_many_attempts", "too_many_at_once", "login_refused", "hook_unavailable"])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reauthenticate {
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "correct horse battery staple")]
    password: SecretText,
}

/// An access token with a fresh proof. The refresh token stays as it is.
#[derive(Serialize, ToSchema)]
struct FreshAccess<'a> {
    /// A JWT, sent as `Authorization: Bearer …`.
    access_token: &'a str,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until it expires.
    #[schema(value_type = u64, example = 900)]
    expires_in: u128,
    #[schema(format = DateTime)]
    expires_at: String,
    /// The session, which is the same as before.
    session_id: String,
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
        Reauthenticated::Access { token, end, family } => HttpResponse::Ok().json(FreshAccess {
            access_token: &token,
            token_type: "Bearer",
            expires_in: end.since(engine.clock.now()).as_millis().div_ceil(1000),
            expires_at: end.rfc3339(),
            session_id: family.to_string(),
        }),
    })
}
