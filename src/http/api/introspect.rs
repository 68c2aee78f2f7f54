//! `/v1/introspect`: tells a resource server whether a token is valid.
//!
//! Source: RFC 7662. Client libraries send the token in a form, and a hint of its kind that is not needed here.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::flow::authenticate::introspect;
use crate::http::api::caller::CalledBy;
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::registry::api_key::Scope;
use crate::registry::refresh::Audience;
use crate::token::OwnClient;
use crate::value::id::hex;
use crate::value::secret_text::SecretText;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/introspect", "POST").route(web::post().to(post_introspect)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Introspect {
    token: SecretText,
    /// Ignored: the token says its kind itself.
    #[expect(dead_code, reason = "a member that is read and not used")]
    token_type_hint: Option<String>,
}

/// The same as a form, in which members that are not known are passed over (RFC 6749 §3.2).
#[derive(Deserialize)]
struct Form {
    token: SecretText,
}

impl From<Form> for Introspect {
    fn from(form: Form) -> Self {
        Self { token: form.token, token_type_hint: None }
    }
}

async fn post_introspect(engine: Eng, caller: CalledBy, body: Body) -> Result<HttpResponse, Rejection> {
    caller.may(&["introspect", "admin"], Scope::Introspect)?;
    let read: Introspect = if body.is_form() { body.form::<Form>()?.into() } else { body.json()? };
    let introspected = introspect(&engine, &read.token).await?;
    let signer = engine.services.signer.read();
    let body = match introspected {
        None => json!({"active": false}),
        Some(token) => json!({
            "active": true,
            "sub": token.sub.to_string(),
            "sid": hex(&token.sid),
            "roles": token.roles,
            "exp": token.exp,
            "iat": token.iat,
            "token_type": token.token_type,
            "iss": signer.issuer(),
            "aud": match token.audience {
                Audience::App => signer.audience(),
                Audience::Admin => signer.admin_audience(),
            },
            "client_id": OwnClient,
        }),
    };
    Ok(HttpResponse::Ok().json(body))
}
