//! `/v1/logout`: ends this session, all others, or all.

use actix_web::{FromRequest, HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::flow::client::Client;
use crate::flow::log_out::{Scope, has_ended, log_out, log_out_both, log_out_token};
use crate::flow::refusal::Refusal;
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::{Credentials, SignedIn, credentials};
use crate::http::response::ended_cookie;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag, Takes};
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/logout",
    &[Operation::post("logOut", "Ends this session, all others, or all", |to| to.to(post_logout))
        .explained(
            "With a credential, or with `refresh_token` in the body, which ends its session alone. 204 says that it was done: \
             an access token in time, or a cookie, whose session has ended before gets it too for scope `local`. One that \
             has expired is refused: refresh it, or send the refresh token alone. Scope `others` needs a fresh proof of the \
             password; `global` needs none, and ends the known devices too with one. The device cookie stays.",
        )
        .about(Tag::LogIn)
        .by(Credential::AccountOrNobody)
        .takes(Takes::OptionalJson(Schema::of::<LogOut>()))
        .charged(Class::Rejected)
        .answers(&[Answer::empty("Logged out.").with(&["Set-Cookie"])])
        .refuses(&["step_up_required", "invalid_refresh_token"])],
)];

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogOut {
    /// Which sessions of the account end.
    #[serde(default)]
    #[schema(inline)]
    scope: Scope,
    /// In place of a credential, with scope `local` alone; or beside the access token of the same session.
    #[schema(value_type = Option<String>)]
    refresh_token: Option<SecretText>,
}

async fn post_logout(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let credentials = credentials(&request, &engine)?;
    let read: LogOut = body.json_or_default_charged(&engine, &client).await?;
    let scope = read.scope;
    match (&credentials, read.refresh_token) {
        (Credentials::Cookie(_), Some(_)) => return Err(Refusal::AmbiguousCredentials.into()),
        (Credentials::None, Some(token)) if scope == Scope::Local => {
            log_out_token(&engine, &client, &token).await?;
        }
        (Credentials::None, Some(_)) => {
            let detail = "With a refresh token alone only scope `local` is possible.";
            return Err(Problem::new(422, "unprocessable", detail).into());
        }
        (_, token) => match (SignedIn::extract(&request).await, token) {
            (Ok(identity), None) => log_out(&engine, &client, &identity, scope).await?,
            (Ok(identity), Some(token)) => {
                log_out_both(&engine, &client, &identity, &token, scope).await?;
            }
            (Err(rejection), token) => {
                let unaccepted = credentials.presented().filter(|_| rejection.is_unauthenticated());
                let has_ended = match unaccepted.filter(|_| scope == Scope::Local) {
                    Some(credential) => has_ended(&engine, credential).await?,
                    None => false,
                };
                if !has_ended {
                    return Err(rejection);
                }
                if let Some(token) = token {
                    log_out_token(&engine, &client, &token).await?;
                }
            }
        },
    }
    let mut response = HttpResponse::NoContent();
    if matches!(credentials, Credentials::Cookie(_)) && scope != Scope::Others {
        // Not `Clear-Site-Data`: it would also delete the device cookie, so that others could lock out the owner on
        // this browser, and the cookies of every neighbour under the same domain.
        response.cookie(ended_cookie(&engine));
    }
    Ok(response.finish())
}
