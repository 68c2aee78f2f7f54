//! `/v1/introspect`: tells a resource server whether a token is valid.
//!
//! Source: RFC 7662. Client libraries send the token in a form, and a hint of its kind that is not needed here.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::flow::authenticate::introspect;
use crate::http::api::caller::CalledBy;
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag, Takes};
use crate::registry::api_key::Scope;
use crate::registry::refresh::Audience;
use crate::token::OwnClient;
use crate::value::id::hex;
use crate::value::secret_text::SecretText;

/// The roles of accounts that may ask.
const ROLES: &[&str] = &["introspect", "admin"];

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/introspect",
    &[Operation::post("introspect", "Says whether a token is valid", |to| to.to(post_introspect))
        .explained(
            "RFC 7662. An access token or a refresh token; of one that is not valid nothing else is said.",
        )
        .about(Tag::ResourceServers)
        .by(Credential::Service(ROLES, Scope::Introspect))
        .or_basic()
        .takes(Takes::JsonOrForm(Schema::of::<Introspect>(), Schema::of::<Form>()))
        .answers(&[Answer::json(200, "What is known of the token.", &[Schema::of::<Introspection>()])])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Introspect {
    /// An access token or a refresh token.
    #[schema(value_type = String)]
    token: SecretText,
    /// Ignored: the token says its kind itself.
    #[expect(dead_code, reason = "a member that is read and not used")]
    token_type_hint: Option<String>,
}

/// The same as a form, in which members that are not known are passed over (RFC 6749 §3.2).
#[derive(Deserialize, ToSchema)]
#[schema(as = IntrospectForm)]
struct Form {
    /// An access token or a refresh token.
    #[schema(value_type = String)]
    token: SecretText,
}

impl From<Form> for Introspect {
    fn from(form: Form) -> Self {
        Self { token: form.token, token_type_hint: None }
    }
}

/// What is known of a token. One that is not valid has `active` alone.
#[derive(Default, Serialize, ToSchema)]
struct Introspection<'a> {
    active: bool,
    /// The account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sub: Option<String>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sid: Option<String>,
    /// The roles of the account now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    roles: Option<&'a [Box<str>]>,
    /// When the token expires, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    exp: Option<u64>,
    /// When it was issued, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    iat: Option<u64>,
    /// `access_token` or `refresh_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token_type: Option<&'static str>,
    /// The public origin of this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    aud: Option<&'a str>,
    /// `portcullis`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    client_id: Option<OwnClient>,
}

async fn post_introspect(engine: Eng, caller: CalledBy, body: Body) -> Result<HttpResponse, Rejection> {
    caller.may(ROLES, Scope::Introspect)?;
    let read: Introspect = if body.is_form() { body.form::<Form>()?.into() } else { body.json()? };
    let introspected = introspect(&engine, &read.token).await?;
    let signer = engine.services.signer.read();
    let body = introspected.as_ref().map_or_else(Introspection::default, |token| Introspection {
        active: true,
        sub: Some(token.sub.to_string()),
        sid: Some(hex(&token.sid)),
        roles: Some(&token.roles),
        exp: Some(token.exp),
        iat: Some(token.iat),
        token_type: Some(token.token_type),
        iss: Some(signer.issuer()),
        aud: Some(match token.audience {
            Audience::App => signer.audience(),
            Audience::Admin => signer.admin_audience(),
        }),
        client_id: Some(OwnClient),
    });
    Ok(HttpResponse::Ok().json(body))
}
